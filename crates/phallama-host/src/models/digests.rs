//! Digests of files that were hashed before.
//!
//! Only a hint for the host, so that a pod with large files starts sooner: the enclave hashes each
//! file itself and refuses any other than the offer names.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use phallama_protocol::ids::Digest32;
use sha2::{Digest as _, Sha256};

use super::ModelError;
use super::store::write_whole;
use crate::private;

const CHUNK_BYTES: usize = 1 << 20;
/// Entries that are kept; a machine has fewer models.
const ENTRIES_MAX: usize = 256;

/// SHA-256 of a file, from the `cache` when device, inode, size and time of change are the same as
/// when it was hashed. `progress` is told bytes done and in total.
///
/// # Errors
/// [`ModelError::File`].
pub fn file_digest(
    path: &Path,
    cache: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Digest32, ModelError> {
    let failed = |source| ModelError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let before = file.metadata().map_err(failed)?;
    let mut known = read_cache(cache);
    if let Some(digest) = known.get(&key(&before)) {
        return Ok(*digest);
    }
    let digest = hash(&mut file, before.len(), &mut progress).map_err(failed)?;
    // A file that changed meanwhile is not worth remembering.
    if key(&file.metadata().map_err(failed)?) == key(&before) {
        if known.len() >= ENTRIES_MAX {
            known.clear();
        }
        known.insert(key(&before), digest);
        let json = serde_json::to_vec(&known).expect("texts and digests are JSON");
        let dir = cache.parent().unwrap_or(Path::new("."));
        private::dir(dir)
            .and_then(|()| write_whole(cache, &json))
            .map_err(|source| ModelError::File { path: cache.to_owned(), source })?;
    }
    Ok(digest)
}

fn key(file: &Metadata) -> String {
    let (seconds, nanos) = (file.mtime(), file.mtime_nsec());
    format!("{}:{}:{}:{seconds}.{nanos:09}", file.dev(), file.ino(), file.len())
}

/// What is known; nothing where it cannot be read.
fn read_cache(path: &Path) -> BTreeMap<String, Digest32> {
    let json = fs::read(path).unwrap_or_default();
    serde_json::from_slice(&json).unwrap_or_default()
}

fn hash(file: &mut File, total: u64, progress: &mut impl FnMut(u64, u64)) -> io::Result<Digest32> {
    let (mut hasher, mut buffer, mut done) = (Sha256::new(), vec![0; CHUNK_BYTES], 0_u64);
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(Digest32(hasher.finalize().into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        done += read as u64;
        progress(done, total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_again_only_when_it_changed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, cache) = (dir.path().join("m.gguf"), dir.path().join("digests.json"));
        let hashed = || {
            let mut steps = 0;
            let digest = file_digest(&file, &cache, |_, _| steps += 1).unwrap();
            (digest, steps > 0)
        };
        fs::write(&file, "one").unwrap();
        let one = Digest32(Sha256::digest("one").into());
        assert_eq!(hashed(), (one, true));
        assert_eq!(hashed(), (one, false));
        fs::write(&file, "other").unwrap();
        let other = Digest32(Sha256::digest("other").into());
        assert_eq!(hashed(), (other, true));
        fs::write(&cache, "damaged").unwrap();
        assert_eq!(hashed(), (other, true));
    }
}

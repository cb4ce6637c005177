use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::EngineError;

/// Read at a time; also the step of the progress report.
const CHUNK_BYTES: usize = 1024 * 1024;

/// SHA-256 of the file at `path`, read once from start to end.
///
/// `progress` is called with the bytes hashed so far and the size of the file.
pub fn weights_digest(path: &Path, mut progress: impl FnMut(u64, u64)) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let total = file.metadata()?.len();
    let (mut hasher, mut buffer, mut done) = (Sha256::new(), vec![0; CHUNK_BYTES], 0);
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..read]);
        done += read as u64;
        progress(done, total);
    }
}

/// Hashes the file off the async threads and compares.
///
/// # Errors
/// [`EngineError::WeightsUnreadable`], [`EngineError::WeightsMismatch`].
pub(crate) async fn check_weights(
    path: &Path,
    expected: [u8; 32],
    progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<(), EngineError> {
    let owned = path.to_owned();
    let got = tokio::task::spawn_blocking(move || weights_digest(&owned, progress))
        .await
        .expect("hashing a file does not panic")
        .map_err(|source| EngineError::WeightsUnreadable { path: path.to_owned(), source })?;
    if got == expected {
        Ok(())
    } else {
        Err(EngineError::WeightsMismatch { path: path.to_owned(), expected, got })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_the_whole_file_and_reports_every_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.gguf");
        let bytes: Vec<u8> = (0..=255).cycle().take(CHUNK_BYTES + 7).collect();
        std::fs::write(&path, &bytes).unwrap();
        let mut steps = Vec::new();
        let digest = weights_digest(&path, |done, total| steps.push((done, total))).unwrap();
        assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(&bytes)));
        let total = bytes.len() as u64;
        assert_eq!(steps.last(), Some(&(total, total)));
        assert!(steps.len() >= 2, "{steps:?}");
    }

    #[tokio::test]
    async fn names_the_digest_found_and_the_one_expected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.gguf");
        std::fs::write(&path, b"abc").unwrap();
        let error = check_weights(&path, [7; 32], |_, _| {}).await.unwrap_err().to_string();
        assert!(error.contains("ba7816bf8f01cfea414140de5dae2223"), "{error}");
        assert!(error.contains("07070707"), "{error}");
    }
}

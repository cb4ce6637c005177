//! A file that has not come whole yet.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::ModelError;
use super::store::write_whole;

const CHUNK_BYTES: usize = 1 << 20;

/// What the server said of the file when it began to send it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// A strong entity tag or a date: what `If-Range` wants. Without one, only a file whose digest
    /// is known is gone on with.
    pub(super) validator: Option<String>,
    /// Size of the whole file.
    pub(super) total_bytes: Option<u64>,
}

/// An unfinished file, with the digest of what is there. Its owner holds the lock of its name.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    have_bytes: u64,
    pub(super) origin: Origin,
}

impl Partial {
    /// Opens what an earlier try has left, and hashes it; `progress` is told bytes done and in
    /// total.
    pub(super) fn open(path: &Path, progress: &dyn Fn(u64, u64)) -> Result<Self, ModelError> {
        let failed = |source| ModelError::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(failed)?;
        let origin = fs::read(origin_path(path)).ok();
        let origin = origin.and_then(|json| serde_json::from_slice(&json).ok());
        let (mut hasher, mut have_bytes) = (Sha256::new(), 0_u64);
        if origin.is_some() {
            let total = file.metadata().map_err(failed)?.len();
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                let read = file.read(&mut buffer).map_err(failed)?;
                if read == 0 {
                    break;
                }
                hasher.update(&buffer[..read]);
                have_bytes += read as u64;
                progress(have_bytes, total);
            }
        }
        let origin = origin.unwrap_or_default();
        let mut partial = Self { path: path.to_owned(), file, hasher, have_bytes, origin };
        if partial.have_bytes == 0 {
            partial.restart(Origin::default())?;
        }
        Ok(partial)
    }

    pub(super) fn have_bytes(&self) -> u64 {
        self.have_bytes
    }

    /// Forgets what is there and begins anew.
    pub(super) fn restart(&mut self, origin: Origin) -> Result<(), ModelError> {
        // First the origin goes: bytes of one file must never be taken for those of another.
        remove_if_there(&origin_path(&self.path)).map_err(|source| self.failed(source))?;
        self.file.set_len(0).map_err(|source| self.failed(source))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|source| self.failed(source))?;
        (self.hasher, self.have_bytes, self.origin) = (Sha256::new(), 0, origin);
        let json = serde_json::to_vec(&self.origin).expect("texts and numbers are JSON");
        write_whole(&origin_path(&self.path), &json).map_err(|source| self.failed(source))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), ModelError> {
        self.file.write_all(bytes).map_err(|source| self.failed(source))?;
        self.hasher.update(bytes);
        self.have_bytes += bytes.len() as u64;
        Ok(())
    }

    /// Digest of what is there.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }

    /// The first four bytes, as far as there are any.
    pub(super) fn begins(&mut self) -> Result<Vec<u8>, ModelError> {
        let mut begins = Vec::new();
        let mut read = |file: &mut File| {
            file.seek(SeekFrom::Start(0))?;
            file.take(4).read_to_end(&mut begins)?;
            file.seek(SeekFrom::End(0))
        };
        read(&mut self.file).map_err(|source| self.failed(source))?;
        Ok(begins)
    }

    /// Moves the complete file to its place, where it survives a power cut.
    pub(super) fn finish(self, blob: &Path) -> Result<(), ModelError> {
        let moved = self.file.sync_all().and_then(|()| fs::rename(&self.path, blob));
        moved.map_err(|source| self.failed(source))?;
        remove_if_there(&origin_path(&self.path)).map_err(|source| self.failed(source))?;
        let dir = blob.parent().unwrap_or(Path::new("."));
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(|source| ModelError::File { path: dir.to_owned(), source })
    }

    /// Deletes it.
    pub(super) fn discard(self) -> Result<(), ModelError> {
        remove_if_there(&origin_path(&self.path))
            .and_then(|()| remove_if_there(&self.path))
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> ModelError {
        ModelError::File { path: self.path.clone(), source }
    }
}

fn origin_path(partial: &Path) -> PathBuf {
    partial.with_extension("origin")
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

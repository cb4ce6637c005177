use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::EngineError;
use crate::gguf::{GgufModel, check_gguf};

/// Read at a time; also the step of the progress report.
const CHUNK_BYTES: usize = 1024 * 1024;

/// SHA-256 of the file at `path`, read once from start to end.
///
/// `progress` is called with the bytes hashed so far and the size of the file.
pub fn weights_digest(path: &Path, progress: impl FnMut(u64, u64)) -> io::Result<[u8; 32]> {
    digest_of(&mut File::open(path)?, progress)
}

fn digest_of(file: &mut File, mut progress: impl FnMut(u64, u64)) -> io::Result<[u8; 32]> {
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

/// A file that has passed the check.
#[derive(Debug)]
pub(crate) struct CheckedWeights {
    pub(crate) model: GgufModel,
    pub(crate) file_bytes: u64,
}

/// Hashes the file off the async threads, compares, and then looks into it.
///
/// # Errors
/// [`EngineError::WeightsUnreadable`], [`EngineError::WeightsMismatch`],
/// [`EngineError::WeightsRefused`].
pub(crate) async fn check_weights(
    path: &Path,
    expected: [u8; 32],
    progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<CheckedWeights, EngineError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || check_file(&path, expected, progress))
        .await
        .expect("checking a file does not panic")
}

/// Hashes the file off the async threads, and compares.
///
/// # Errors
/// [`EngineError::WeightsUnreadable`], [`EngineError::WeightsMismatch`].
pub(crate) async fn check_digest(
    path: &Path,
    expected: [u8; 32],
    progress: impl FnMut(u64, u64) + Send + 'static,
) -> Result<(), EngineError> {
    let hashed = path.to_owned();
    let digest = tokio::task::spawn_blocking(move || weights_digest(&hashed, progress)).await;
    match digest.expect("hashing a file does not panic") {
        Ok(got) if got == expected => Ok(()),
        Ok(got) => Err(EngineError::WeightsMismatch { path: path.to_owned(), expected, got }),
        Err(source) => Err(EngineError::WeightsUnreadable { path: path.to_owned(), source }),
    }
}

fn check_file(
    path: &Path,
    expected: [u8; 32],
    progress: impl FnMut(u64, u64),
) -> Result<CheckedWeights, EngineError> {
    let unreadable = |source| EngineError::WeightsUnreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let got = digest_of(&mut file, progress).map_err(unreadable)?;
    if got != expected {
        return Err(EngineError::WeightsMismatch { path: path.to_owned(), expected, got });
    }
    file.rewind().map_err(unreadable)?;
    let file_bytes = file.metadata().map_err(unreadable)?.len();
    let model =
        check_gguf(BufReader::with_capacity(CHUNK_BYTES, file), file_bytes).map_err(|refused| {
            let source = Box::new(refused);
            EngineError::WeightsRefused { path: path.to_owned(), source }
        })?;
    Ok(CheckedWeights { model, file_bytes })
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

    #[tokio::test]
    async fn looks_into_a_file_that_is_the_offered_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.gguf");
        let mut tiny = include_bytes!("../../../vectors/gguf/tiny.gguf").to_vec();
        std::fs::write(&path, &tiny).unwrap();
        let digest = Sha256::digest(&tiny).into();
        let checked = check_weights(&path, digest, |_, _| {}).await.unwrap();
        assert_eq!((checked.model.layers, checked.file_bytes), (1, tiny.len() as u64));
        tiny.truncate(tiny.len() - 1);
        std::fs::write(&path, &tiny).unwrap();
        let digest = Sha256::digest(&tiny).into();
        let error = check_weights(&path, digest, |_, _| {}).await.unwrap_err();
        assert!(matches!(error, EngineError::WeightsRefused { .. }), "{error}");
        assert!(error.to_string().contains("ends at byte"), "{error}");
    }
}

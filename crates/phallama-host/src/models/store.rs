//! Model files of this machine, by the digest of their content.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use phallama_protocol::ids::Digest32;
use phallama_protocol::offers::check_model_name;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fetch::{Fetcher, Report, Wanted};
use super::manifest::{ACCEPT, MANIFEST_MAX_BYTES, model_blob};
use super::partial::{Partial, remove_if_there};
use super::{FetchPolicy, FetchProgress, ModelError, Source};
use crate::clock::now_unix_s;
use crate::private;

const INDEX_VERSION: u32 = 1;
const INDEX: &str = "models.json";
/// What every GGUF file begins with.
const MAGIC: &[u8] = b"GGUF";

/// `blobs/sha256-…` with the files, `models.json` with their names, `partial/` with what has not
/// come whole yet.
#[derive(Clone, Debug)]
pub struct ModelStore {
    dir: PathBuf,
}

/// A model of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredModel {
    /// Name to serve it by.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: Digest32,
    /// Size of the file.
    pub size_bytes: u64,
    /// Where it came from, for people.
    pub source: String,
    /// When it came.
    pub added_unix_s: u64,
}

/// What is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// The name that was removed.
    pub model: StoredModel,
    /// Bytes that are free again: none while another name has the same file.
    pub freed_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Index {
    version: u32,
    models: Vec<StoredModel>,
}

impl ModelStore {
    /// Opens the store in `dir`, and makes it where there is none.
    ///
    /// # Errors
    /// [`ModelError::File`].
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let store = Self { dir: dir.into() };
        for dir in [store.dir.clone(), store.dir.join("blobs"), store.dir.join("partial")] {
            private::dir(&dir).map_err(|source| ModelError::File { path: dir, source })?;
        }
        Ok(store)
    }

    /// All models, by name.
    ///
    /// # Errors
    /// [`ModelError::File`], [`ModelError::Index`].
    pub fn list(&self) -> Result<Vec<StoredModel>, ModelError> {
        let path = self.dir.join(INDEX);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(ModelError::File { path, source }),
        };
        let damaged = |reason| ModelError::Index { path: path.clone(), reason };
        let index: Index =
            serde_json::from_slice(&json).map_err(|error| damaged(error.to_string()))?;
        if index.version != INDEX_VERSION {
            return Err(damaged(format!("version {}, expected {INDEX_VERSION}", index.version)));
        }
        Ok(index.models)
    }

    /// The model called `name`.
    ///
    /// # Errors
    /// [`ModelError::Unknown`], with the names that there are.
    pub fn find(&self, name: &str) -> Result<StoredModel, ModelError> {
        let models = self.list()?;
        match models.iter().find(|model| model.name == name) {
            Some(model) => Ok(model.clone()),
            None => {
                let known = models.into_iter().map(|model| model.name).collect();
                Err(ModelError::Unknown { name: name.to_owned(), known })
            }
        }
    }

    /// Where the file of a model lies.
    pub fn path(&self, model: &StoredModel) -> PathBuf {
        self.blob(&model.sha256.0)
    }

    /// Copies a file into the store under `name`.
    ///
    /// # Errors
    /// [`ModelError::File`], [`ModelError::NotGguf`], [`ModelError::Name`].
    pub fn add_file(
        &self,
        file: &Path,
        name: &str,
        progress: impl Fn(FetchProgress),
    ) -> Result<StoredModel, ModelError> {
        check_name(name)?;
        let partial = self.partial(&format!("file-{}", std::process::id()));
        let source = file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string();
        let copied = copy(file, &partial, &source, &progress).and_then(|(sha256, size_bytes)| {
            let blob = self.blob(&sha256);
            fs::rename(&partial, &blob)
                .map_err(|source| ModelError::File { path: blob, source })?;
            self.name(name, sha256, size_bytes, source)
        });
        if copied.is_err() {
            // The failure is worth more than what is left of it.
            let _ = remove_if_there(&partial);
        }
        copied
    }

    /// Fetches a model and stores it under `name`. `expected` is its SHA-256, where the operator
    /// knows it.
    ///
    /// # Errors
    /// [`ModelError`].
    pub async fn add_remote(
        &self,
        source: &Source,
        name: &str,
        expected: Option<Digest32>,
        policy: FetchPolicy,
        progress: impl Fn(FetchProgress) + Send + Sync,
    ) -> Result<StoredModel, ModelError> {
        check_name(name)?;
        let fetcher = Fetcher::new(policy);
        let dir = self.dir.clone();
        let expected = expected.map(|digest| digest.0);
        let (wanted, expected) = match source {
            Source::Url(url) => {
                let (url, has_digest) = (url.clone(), expected.is_some());
                (Wanted { url, size_bytes: None, has_digest, dir }, expected)
            }
            Source::Registry(reference) => {
                let url = reference.manifest_url();
                let manifest = fetcher.document(&url, ACCEPT, MANIFEST_MAX_BYTES).await?;
                let blob = model_blob(&manifest, url.as_str())?;
                check_digest(&url, blob.sha256, expected)?;
                let (url, size_bytes) = (reference.blob_url(&blob.sha256), Some(blob.size_bytes));
                (Wanted { url, size_bytes, has_digest: true, dir }, Some(blob.sha256))
            }
        };
        let (sha256, size_bytes) = self.fetch(&fetcher, &wanted, expected, &progress).await?;
        self.name(name, sha256, size_bytes, source.shown())
    }

    /// Removes a name, and the file when no other name has it.
    ///
    /// # Errors
    /// [`ModelError::Unknown`], [`ModelError::File`].
    pub fn remove(&self, name: &str) -> Result<Removed, ModelError> {
        let _locked = self.lock_index()?;
        let model = self.find(name)?;
        let mut models = self.list()?;
        models.retain(|other| other.name != name);
        self.write_index(&models)?;
        let freed_bytes = self.drop_unused(&model, &models)?;
        Ok(Removed { model, freed_bytes })
    }

    /// Brings a file into `blobs/`, unless it is there.
    async fn fetch(
        &self,
        fetcher: &Fetcher,
        wanted: &Wanted,
        expected: Option<[u8; 32]>,
        report: Report<'_>,
    ) -> Result<([u8; 32], u64), ModelError> {
        let key = download_key(&wanted.url, expected);
        let _locked = self.lock_download(&key, report).await?;
        if let Some(there) = expected.and_then(|sha256| self.stored(sha256)) {
            return Ok(there);
        }
        let path = self.partial(&key);
        let mut partial = Partial::open(&path, &|done_bytes, total_bytes| {
            report(FetchProgress::Hashing { done_bytes, total_bytes });
        })?;
        if let Err(error) = fetcher.complete(wanted, &mut partial, report).await {
            if partial.have_bytes() == 0 {
                partial.discard()?;
            }
            return Err(error);
        }
        let (got, size_bytes) = (partial.digest(), partial.have_bytes());
        if let Err(error) = check_digest(&wanted.url, got, expected) {
            partial.discard()?;
            return Err(error);
        }
        let begins = partial.begins()?;
        if begins != MAGIC {
            partial.discard()?;
            return Err(ModelError::NotGguf {
                from: super::source::shown_url(&wanted.url),
                begins,
            });
        }
        partial.finish(&self.blob(&got))?;
        Ok((got, size_bytes))
    }

    /// A blob that is there already.
    fn stored(&self, sha256: [u8; 32]) -> Option<([u8; 32], u64)> {
        let size_bytes = fs::metadata(self.blob(&sha256)).ok()?.len();
        Some((sha256, size_bytes))
    }

    /// Gives a stored file its name; one that had the name before loses it.
    fn name(
        &self,
        name: &str,
        sha256: [u8; 32],
        size_bytes: u64,
        source: String,
    ) -> Result<StoredModel, ModelError> {
        let _locked = self.lock_index()?;
        let (sha256, name) = (Digest32(sha256), name.to_owned());
        let added_unix_s = now_unix_s();
        let model = StoredModel { name, sha256, size_bytes, source, added_unix_s };
        let (replaced, mut models): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().partition(|other| other.name == model.name);
        models.push(model.clone());
        models.sort_by(|a, b| a.name.cmp(&b.name));
        self.write_index(&models)?;
        replaced.iter().try_for_each(|old| self.drop_unused(old, &models).map(drop))?;
        Ok(model)
    }

    /// Deletes the file of a model that lost its name, unless `models` use it. Returns the bytes
    /// that are free again.
    fn drop_unused(&self, old: &StoredModel, models: &[StoredModel]) -> Result<u64, ModelError> {
        if models.iter().any(|other| other.sha256 == old.sha256) {
            return Ok(0);
        }
        let path = self.path(old);
        remove_if_there(&path).map_err(|source| ModelError::File { path, source })?;
        Ok(old.size_bytes)
    }

    fn write_index(&self, models: &[StoredModel]) -> Result<(), ModelError> {
        let path = self.dir.join(INDEX);
        let index = Index { version: INDEX_VERSION, models: models.to_vec() };
        let json = serde_json::to_vec_pretty(&index).expect("texts and numbers are JSON");
        write_whole(&path, &json).map_err(|source| ModelError::File { path, source })
    }

    /// Held while the index is read and written. Short, so waiting for it blocks.
    fn lock_index(&self) -> Result<File, ModelError> {
        let (file, path) = self.lock_file("index")?;
        file.lock().map_err(|source| ModelError::File { path, source })?;
        Ok(file)
    }

    /// Held while a file is fetched: whoever wants the same waits, and then finds it.
    async fn lock_download(&self, key: &str, report: Report<'_>) -> Result<File, ModelError> {
        let (file, path) = self.lock_file(key)?;
        if file.try_lock().is_ok() {
            return Ok(file);
        }
        report(FetchProgress::Waiting);
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        let locked = locked.expect("waiting for a lock does not panic");
        locked.map_err(|source| ModelError::File { path, source })
    }

    fn lock_file(&self, key: &str) -> Result<(File, PathBuf), ModelError> {
        let path = self.dir.join("partial").join(format!("{key}.lock"));
        match private::file(&path) {
            Ok(file) => Ok((file, path)),
            Err(source) => Err(ModelError::File { path, source }),
        }
    }

    fn blob(&self, sha256: &[u8; 32]) -> PathBuf {
        self.dir.join("blobs").join(format!("sha256-{}", hex::encode(sha256)))
    }

    fn partial(&self, key: &str) -> PathBuf {
        self.dir.join("partial").join(format!("{key}.part"))
    }
}

/// What an unfinished file is called: after its digest, or after its URL.
fn download_key(url: &Url, expected: Option<[u8; 32]>) -> String {
    match expected {
        Some(sha256) => format!("sha256-{}", hex::encode(sha256)),
        None => format!("url-{}", hex::encode(Sha256::digest(url.as_str()))),
    }
}

fn check_name(name: &str) -> Result<(), ModelError> {
    check_model_name(name).map_err(|source| ModelError::Name { got: name.to_owned(), source })
}

fn check_digest(url: &Url, got: [u8; 32], expected: Option<[u8; 32]>) -> Result<(), ModelError> {
    match expected {
        Some(expected) if expected != got => {
            let url = super::source::shown_url(url);
            Err(ModelError::Digest { url, got: Digest32(got), expected: Digest32(expected) })
        }
        _ => Ok(()),
    }
}

/// Copies and hashes. Returns digest and size.
fn copy(
    from: &Path,
    to: &Path,
    shown: &str,
    progress: &impl Fn(FetchProgress),
) -> Result<([u8; 32], u64), ModelError> {
    let reading = |source| ModelError::File { path: from.to_owned(), source };
    let writing = |source| ModelError::File { path: to.to_owned(), source };
    let mut source = File::open(from).map_err(reading)?;
    let total = source.metadata().map_err(reading)?.len();
    let mut begins = Vec::new();
    Read::take(&mut source, 4).read_to_end(&mut begins).map_err(reading)?;
    if begins != MAGIC {
        return Err(ModelError::NotGguf { from: shown.to_owned(), begins });
    }
    let mut target = private::empty_file(to).map_err(writing)?;
    let mut hasher = Sha256::new_with_prefix(&begins);
    target.write_all(&begins).map_err(writing)?;
    let (mut buffer, mut done_bytes) = (vec![0; 1 << 20], begins.len() as u64);
    loop {
        let read = source.read(&mut buffer).map_err(reading)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        target.write_all(&buffer[..read]).map_err(writing)?;
        done_bytes += read as u64;
        progress(FetchProgress::Fetching { done_bytes, total_bytes: Some(total) });
    }
    target.sync_all().map_err(writing)?;
    Ok((hasher.finalize().into(), done_bytes))
}

/// Writes a file whole or not at all, for its owner only.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(fresh, path)
}

//! The store against servers that are honest, break, or lie.

mod downloads;
mod lies;
mod names;
mod server;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use phallama_protocol::ids::Digest32;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{FetchPolicy, FetchProgress, ModelError, ModelStore, Source, StoredModel};

/// A store of its own, and what was reported of its downloads.
struct Bench {
    store: ModelStore,
    dir: TempDir,
    policy: FetchPolicy,
    steps: Mutex<Vec<FetchProgress>>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ModelStore::open(dir.path().join("models")).unwrap();
        let policy = FetchPolicy {
            danger_allow_private_address: true,
            stall_timeout: Duration::from_secs(20),
            backoff: Duration::from_millis(1),
            ..FetchPolicy::default()
        };
        Self { store, dir, policy, steps: Mutex::default() }
    }

    async fn add(&self, source: &str) -> Result<StoredModel, ModelError> {
        self.add_checked(source, None).await
    }

    async fn add_checked(
        &self,
        source: &str,
        expected: Option<[u8; 32]>,
    ) -> Result<StoredModel, ModelError> {
        let source = Source::parse(source, None)?;
        let report = |step| self.steps.lock().unwrap().push(step);
        self.store.add_remote(&source, "m:1", expected.map(Digest32), self.policy, report).await
    }

    /// The files in a directory of the store.
    fn files(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("models").join(dir)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !is_lock(name)).collect();
        names.sort();
        names
    }

    /// Asserts that nothing is left, in the store or beside it.
    fn assert_empty(&self) {
        assert_eq!((self.files("blobs"), self.files("partial")), (vec![], vec![]));
        assert_eq!(self.store.list().unwrap(), []);
        assert_eq!(std::fs::read_dir(self.dir.path()).unwrap().count(), 1, "only the store");
    }
}

/// A file that looks like a model, of so many bytes.
fn model(len: usize, seed: u8) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    file.extend((0..=250_u8).cycle().map(|byte| byte ^ seed).take(len - 4));
    file
}

fn is_lock(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "lock")
}

fn sha256(file: &[u8]) -> [u8; 32] {
    Sha256::digest(file).into()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

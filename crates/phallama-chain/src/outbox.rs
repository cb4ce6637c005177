//! Transactions that were signed and are not yet beyond the reach of a reorganisation, on disk or
//! in memory.
//!
//! The file is JSON and small: it is written anew for every change, beside the old one, synced, and
//! put in its place, so it is always a whole state. A lock file keeps a second process away. Only
//! the user that the process runs as may read any of them.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use alloy::primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};

use crate::error::ChainError;

/// The only layout of the file so far.
const VERSION: u32 = 1;
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// A nonce of ours: what it is used for, and every transaction that was signed for it. At most one
/// of those can be mined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) nonce: u64,
    /// The call, for people.
    pub(crate) what: String,
    pub(crate) payload: Payload,
    pub(crate) gas_limit: u64,
    /// Oldest first; each pays more than the one before. Never empty.
    pub(crate) tries: Vec<Try>,
    /// The try that was seen in a block.
    pub(crate) mined: Option<Mined>,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Payload {
    /// `None` creates a contract.
    pub(crate) to: Option<Address>,
    pub(crate) data: Bytes,
    /// In wei.
    pub(crate) value: U256,
}

/// One signed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Try {
    pub(crate) hash: B256,
    pub(crate) fees: Fees,
}

/// What a transaction offers per gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fees {
    pub(crate) max_fee_wei: u64,
    pub(crate) tip_wei: u64,
}

/// Where a try was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mined {
    pub(crate) hash: B256,
    pub(crate) block: u64,
}

impl Entry {
    /// The transaction that pays the most: the one to broadcast.
    pub(crate) fn newest(&self) -> Try {
        *self.tries.last().expect("an entry has a transaction")
    }
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    chain_id: u64,
    account: Address,
    entries: Vec<Entry>,
}

/// Where entries are kept.
#[derive(Debug)]
pub(crate) enum Outbox {
    /// They end with the process.
    Memory,
    /// They outlive it.
    Durable(Durable),
}

#[derive(Debug)]
pub(crate) struct Durable {
    path: PathBuf,
    chain_id: u64,
    account: Address,
    /// Held as long as the outbox is open.
    _lock: File,
}

impl Outbox {
    /// Opens or makes the file of an account, and its directory; returns what it holds.
    pub(crate) fn open(
        path: &Path,
        chain_id: u64,
        account: Address,
    ) -> Result<(Self, Vec<Entry>), ChainError> {
        let failed = |reason: String| ChainError::Outbox { path: path.to_owned(), reason };
        let lock = lock_file(path).map_err(|error| failed(error.to_string()))?;
        lock.try_lock().map_err(|error| failed(format!("in use by another process ({error})")))?;
        let entries = match std::fs::read(path) {
            Ok(bytes) => {
                let mode = Permissions::from_mode(FILE_MODE);
                let private = std::fs::set_permissions(path, mode);
                private.map_err(|error| failed(error.to_string()))?;
                let content: Content =
                    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
                let Content { version, chain_id: chain, account: of, entries } = content;
                if (version, chain, of) != (VERSION, chain_id, account) {
                    return Err(failed(format!(
                        "is of {of} on chain {chain} (layout {version}), not of {account} on \
                         chain {chain_id} (layout {VERSION})"
                    )));
                }
                if let Some(entry) = entries.iter().find(|entry| entry.tries.is_empty()) {
                    return Err(failed(format!("nonce {} has no transaction", entry.nonce)));
                }
                entries
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error.to_string())),
        };
        let path = path.to_owned();
        Ok((Self::Durable(Durable { path, chain_id, account, _lock: lock }), entries))
    }

    /// Makes `entries` what a restart finds.
    pub(crate) async fn store(&self, entries: Vec<Entry>) -> Result<(), ChainError> {
        let Self::Durable(Durable { path, chain_id, account, .. }) = self else { return Ok(()) };
        let content = Content { version: VERSION, chain_id: *chain_id, account: *account, entries };
        let to = path.clone();
        let written = tokio::task::spawn_blocking(move || replace(&to, &content)).await;
        let written = written.map_err(io::Error::other).and_then(|result| result);
        written
            .map_err(|error| ChainError::Outbox { path: path.clone(), reason: error.to_string() })
    }
}

/// The file that is locked, in a directory that is made where it is missing.
fn lock_file(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)?;
    }
    emptied(&path.with_extension("lock"))
}

/// An empty file of mode 0600, whatever was there before.
fn emptied(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// Durable when it returns.
fn replace(path: &Path, content: &Content) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = emptied(&new)?;
    file.write_all(&serde_json::to_vec(content)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Address = Address::repeat_byte(0xac);

    fn entry(nonce: u64) -> Entry {
        let fees = Fees { max_fee_wei: 7, tip_wei: 1 };
        Entry {
            nonce,
            what: "settle".to_owned(),
            payload: Payload {
                to: Some(ACCOUNT),
                data: Bytes::from_static(b"x"),
                value: U256::MAX,
            },
            gas_limit: 21_000,
            tries: vec![Try { hash: B256::repeat_byte(1), fees }],
            mined: Some(Mined { hash: B256::repeat_byte(1), block: 9 }),
        }
    }

    fn reason(result: Result<(Outbox, Vec<Entry>), ChainError>) -> String {
        result.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn what_was_stored_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.json");
        let (outbox, entries) = Outbox::open(&path, 5, ACCOUNT).unwrap();
        assert_eq!(entries, []);
        outbox.store(vec![entry(3), entry(4)]).await.unwrap();
        drop(outbox);
        let (_outbox, entries) = Outbox::open(&path, 5, ACCOUNT).unwrap();
        assert_eq!(entries, [entry(3), entry(4)]);
    }

    #[tokio::test]
    async fn a_file_is_for_one_process_one_chain_and_one_account() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.json");
        let (outbox, _) = Outbox::open(&path, 5, ACCOUNT).unwrap();
        outbox.store(vec![entry(3)]).await.unwrap();
        assert!(reason(Outbox::open(&path, 5, ACCOUNT)).contains("another process"));
        drop(outbox);
        assert!(reason(Outbox::open(&path, 6, ACCOUNT)).contains("on chain 5"));
        assert!(reason(Outbox::open(&path, 5, Address::ZERO)).contains("not of 0x00000"));
    }

    #[tokio::test]
    async fn nobody_else_may_read_any_of_its_files() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join("state");
        let path = dir.join("outbox.json");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (outbox, _) = Outbox::open(&path, 5, ACCOUNT).unwrap();
        outbox.store(vec![entry(3)]).await.unwrap();
        let modes = || [mode(&dir), mode(&path), mode(&path.with_extension("lock"))];
        assert_eq!(modes(), [0o700, 0o600, 0o600]);
        drop(outbox);
        // Those of an earlier version could be read by everybody.
        for file in [path.clone(), path.with_extension("lock"), path.with_extension("new")] {
            std::fs::write(&file, std::fs::read(&path).unwrap()).unwrap();
            std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        }
        let (outbox, _) = Outbox::open(&path, 5, ACCOUNT).unwrap();
        assert_eq!(modes(), [0o700, 0o600, 0o600]);
        outbox.store(vec![entry(4)]).await.unwrap();
        assert_eq!(modes(), [0o700, 0o600, 0o600]);
    }

    #[test]
    fn a_damaged_file_is_named_and_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox.json");
        std::fs::write(&path, "{\"version\":1").unwrap();
        assert!(reason(Outbox::open(&path, 5, ACCOUNT)).contains("outbox.json"));
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"version\":1");
    }
}

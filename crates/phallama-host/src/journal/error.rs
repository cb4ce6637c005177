//! Why the journal cannot be used, and whether that may pass.

use std::io::ErrorKind;
use std::path::PathBuf;

/// The change is not on disk. The cause is in the log and in the pod's health.
///
/// With `Ok` these are the only three answers of [`Journal::store`](super::Journal::store): stored,
/// not yet, stop. There is none that means "probably".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Not now: the disk is full or failing, or too much waits for it. The storage is tried again
    /// without anybody's help; until it works, paid work is paused.
    #[error("the journal cannot store claims; paid work is paused until it can")]
    NotYet,
    /// Never again in this process: what the disk returns is damaged, or not what it was given.
    /// Paid work has stopped; what is known is still settled, from memory.
    #[error("the journal cannot be used any more; paid work has stopped")]
    Stop,
}

/// The journal cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// What the storage says. Whether it may pass is said by [`may_pass`](Self::may_pass).
    #[error("cannot use the journal {path}: {source}")]
    Storage {
        /// The file.
        path: String,
        /// What the storage said.
        source: Box<redb::Error>,
    },
    /// Another process has it open.
    #[error("the journal {path} is in use by another pod; stop that one first")]
    InUse {
        /// The file.
        path: String,
    },
    /// A later version wrote it.
    #[error(
        "the journal {path} has format {found}, this version reads formats up to {supported}; use \
         the version that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        path: String,
        /// The file's format.
        found: u64,
        /// The highest format that is read.
        supported: u64,
    },
    /// A record that its format does not have.
    #[error("the journal {path} holds a record that is none (key {key})")]
    UnknownRecord {
        /// The file.
        path: String,
        /// The record's key, hex.
        key: String,
    },
    /// The lock beside it, or the count.
    #[error("cannot write {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gave no thread to the writer.
    #[error("cannot start the journal's writer: {0}")]
    Thread(std::io::Error),
}

impl JournalError {
    pub(super) fn of(path: &str, error: impl Into<redb::Error>) -> Self {
        let path = path.to_owned();
        match error.into() {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                Self::InUse { path }
            }
            source => Self::Storage { path, source: Box::new(source) },
        }
    }

    /// Whether trying again can help: space may return, a cable may be put back. A disk that
    /// returns what was never written to it is not trusted again.
    pub(super) fn may_pass(&self) -> bool {
        let Self::Storage { source, .. } = self else { return false };
        match &**source {
            redb::Error::Io(error) => {
                !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
            }
            redb::Error::PreviousIo => true,
            _ => false,
        }
    }
}

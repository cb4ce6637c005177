//! What users owe, kept through crashes and power cuts.
//!
//! An answer's last frame leaves only after its claim is on disk (spec/billing.md, step 6). Claims
//! that arrive while the disk works are committed together: one writer thread takes everything that
//! waits, commits once and then answers all of them. If the disk fails, claims are answered
//! [`NotStored`], the journal counts as paused and new paid work is refused until a commit succeeds
//! again.

mod record;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use phallama_protocol::ids::{Address, Amount};
use redb::{Database, DatabaseError};
use tokio::sync::oneshot;

use crate::money;

pub use record::{ChannelKey, ChannelRecord, Claim};

/// Changes that may wait for the disk; more are refused like a failing disk.
const WAITING_MAX: usize = 4_096;

/// Opens the storage; called again after every failure.
pub type OpenStorage = Box<dyn Fn() -> Result<Database, DatabaseError> + Send>;

/// A change to the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An enclave charged for an answer.
    Claim(Box<Claim>),
    /// The contract has paid this much for the channel, cumulative.
    Settled {
        /// The channel.
        key: ChannelKey,
        /// `channel.claimed` on chain.
        claimed: Amount,
        /// When it was read, seconds since 1970.
        at_unix_s: u64,
    },
    /// The channel has moved to a later generation.
    Closed(ChannelKey),
}

/// The change is not on disk. The cause is in the log and in the pod's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot store claims; paid work is paused until it can")]
pub struct NotStored;

/// The journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened or is not a journal.
    #[error("cannot open the journal {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// What the storage said.
        source: Box<redb::Error>,
    },
    /// A record that this version does not read.
    #[error("the journal {path} holds a record that this version does not read (key {key})")]
    UnknownRecord {
        /// The file.
        path: String,
        /// The record's key, hex.
        key: String,
    },
    /// The system gave no thread to the writer.
    #[error("cannot start the journal's writer: {0}")]
    Thread(std::io::Error),
}

type Records = HashMap<ChannelKey, ChannelRecord>;

/// What the writer and the readers share.
#[derive(Default)]
struct Shared {
    records: Mutex<Records>,
    paused: AtomicBool,
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change and where to say whether it is durable.
struct Waiting {
    change: Change,
    answer: oneshot::Sender<Result<(), NotStored>>,
}

/// The journal of one pod on one escrow.
pub struct Journal {
    shared: Arc<Shared>,
    /// `None` only while dropping: the writer ends when the last sender is gone.
    waiting: Option<mpsc::SyncSender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens or creates the journal file.
    ///
    /// # Errors
    /// [`JournalError`]; another process that has it open is one cause.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let file = path.to_owned();
        Self::open_with(&path.display().to_string(), Box::new(move || Database::create(&file)))
    }

    /// Opens a journal on any storage; `name` stands for it in messages.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open_with(name: &str, open: OpenStorage) -> Result<Self, JournalError> {
        let storage = writer::Storage::open(open)
            .map_err(|source| JournalError::Open { path: name.to_owned(), source })?;
        let records = storage.read(name)?;
        let shared =
            Arc::new(Shared { records: Mutex::new(records), paused: AtomicBool::new(false) });
        let (waiting, incoming) = mpsc::sync_channel(WAITING_MAX);
        let writer = writer::Writer { storage, shared: Arc::clone(&shared), incoming };
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let writer = thread.spawn(move || writer.run()).map_err(JournalError::Thread)?;
        Ok(Self { shared, waiting: Some(waiting), writer: Some(writer) })
    }

    /// Stores a change; returns when it is durable.
    ///
    /// # Errors
    /// [`NotStored`] when the disk refused it, or too many changes wait.
    pub async fn store(&self, change: Change) -> Result<(), NotStored> {
        let (answer, stored) = oneshot::channel();
        let waiting = self.waiting.as_ref().expect("the sender lives as long as the journal");
        waiting.try_send(Waiting { change, answer }).map_err(|_| NotStored)?;
        stored.await.map_err(|_| NotStored)?
    }

    /// What is known of one channel generation.
    pub fn record(&self, key: ChannelKey) -> Option<ChannelRecord> {
        self.shared.records().get(&key).cloned()
    }

    /// Highest amount charged in one channel generation; zero when nothing was.
    pub fn cumulative(&self, key: ChannelKey) -> Amount {
        self.shared.records().get(&key).map_or(Amount::ZERO, |record| record.cumulative)
    }

    /// Every channel with something unsettled, oldest first.
    pub fn unsettled(&self) -> Vec<ChannelRecord> {
        let records = self.shared.records();
        let open = records.values().filter(|record| record.unsettled() > Amount::ZERO);
        let mut open: Vec<_> = open.cloned().collect();
        open.sort_by_key(|record| (record.unsettled_since_unix_s, record.key));
        open
    }

    /// Sum of everything unsettled.
    pub fn unsettled_total(&self) -> Amount {
        money::total(self.shared.records().values().map(ChannelRecord::unsettled))
    }

    /// Every channel generation ever charged, in the order of users and epochs.
    pub fn channels(&self) -> Vec<ChannelRecord> {
        let mut all: Vec<_> = self.shared.records().values().cloned().collect();
        all.sort_by_key(|record| record.key);
        all
    }

    /// Users with something unsettled, each once.
    pub fn users_with_unsettled(&self) -> Vec<Address> {
        let mut users: Vec<_> = self.unsettled().iter().map(|record| record.key.user).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Whether the last commit failed and none has succeeded since.
    pub fn is_paused(&self) -> bool {
        self.shared.paused.load(Ordering::Acquire)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.waiting = None;
        if let Some(writer) = self.writer.take() {
            // The file's lock is gone when this returns, so the journal can be opened again.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;

//! What users owe, kept through crashes and power cuts.
//!
//! An answer's last frame leaves only after its claim is on disk (spec/billing.md, step 6). Claims
//! that arrive while the disk works are committed together: one writer thread takes everything that
//! waits, commits once and then answers all of them.
//!
//! A change is stored, or not yet, or never ([`NotStored`]). A disk that is full or fails pauses
//! paid work until a commit succeeds again; a disk that returns damaged data stops it for good.
//! Either way nobody is told that a claim is stored when it is not.
//!
//! The disk is the host's own, so nothing here is secret from it and nothing protects from it. An
//! older copy of the file that is put back costs nobody but this pod: users' records and the
//! contract only ever go up. It is noticed where it can be ([`Journal::is_behind`]).

mod error;
mod place;
mod record;
mod storage;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use phallama_protocol::ids::{Address, Amount};
use tokio::sync::oneshot;

use crate::money;
use place::{JournalFile, Place};
use storage::Storage;

pub use error::{JournalError, NotStored};
pub use record::{ChannelKey, ChannelRecord, Claim};
pub use storage::Medium;

/// Changes that may wait for the disk; more are refused like a failing disk.
const WAITING_MAX: usize = 4_096;

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
    /// The contract was read at the newest block and at the `safe` head.
    Read {
        /// The channel.
        key: ChannelKey,
        /// `channel.claimed` at the newest block.
        claimed: Amount,
        /// The same at the `safe` head.
        safe_claimed: Amount,
        /// When it was read, seconds since 1970.
        at_unix_s: u64,
    },
    /// The channel has moved to a later generation, in a block that stays.
    Closed(ChannelKey),
}

/// Whether claims can be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// As far as is known.
    #[default]
    Storing,
    /// Not now; it is tried again.
    Paused,
    /// Not any more in this process.
    Stopped,
}

type Records = BTreeMap<ChannelKey, ChannelRecord>;

/// What the writer and the readers share.
#[derive(Default)]
struct Shared {
    records: Mutex<Records>,
    condition: Mutex<Condition>,
    behind: AtomicBool,
    commit_observer: OnceLock<CommitObserver>,
}

type CommitObserver = Box<dyn Fn(Duration) + Send + Sync>;

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn condition(&self) -> Condition {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_condition(&self, condition: Condition) {
        *self.condition.lock().unwrap_or_else(PoisonError::into_inner) = condition;
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
    /// `None` for a storage that is no file.
    place: Option<Place>,
    /// `None` only while dropping: the writer ends when the last sender is gone.
    waiting: Option<mpsc::SyncSender<Waiting>>,
    writer: Option<JoinHandle<()>>,
}

impl Journal {
    /// Opens or creates the journal file.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let place = Place::take(path)?;
        let file = Box::new(JournalFile::at(path));
        Self::open_at(&path.display().to_string(), file, Some(place))
    }

    /// Opens a journal on any medium; `name` stands for it in messages.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open_on(name: &str, medium: Box<dyn Medium>) -> Result<Self, JournalError> {
        Self::open_at(name, medium, None)
    }

    fn open_at(
        name: &str,
        medium: Box<dyn Medium>,
        place: Option<Place>,
    ) -> Result<Self, JournalError> {
        let opened_before = place.as_ref().map_or(0, Place::opened);
        let (storage, opened) = Storage::open(name, medium, opened_before)?;
        if let Some(place) = &place {
            place.note_opened(opened.times)?;
        }
        let shared = Arc::new(Shared {
            records: Mutex::new(opened.records),
            condition: Mutex::default(),
            behind: AtomicBool::new(opened.is_older_copy),
            commit_observer: OnceLock::new(),
        });
        let (waiting, incoming) = mpsc::sync_channel(WAITING_MAX);
        let writer = writer::Writer { storage, shared: Arc::clone(&shared), incoming };
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let writer = thread.spawn(move || writer.run()).map_err(JournalError::Thread)?;
        Ok(Self { shared, place, waiting: Some(waiting), writer: Some(writer) })
    }

    /// Stores a change; returns when it is durable.
    ///
    /// # Errors
    /// [`NotStored::NotYet`] when the disk refused it, or too many changes wait;
    /// [`NotStored::Stop`] when nothing will be stored any more.
    pub async fn store(&self, change: Change) -> Result<(), NotStored> {
        let (answer, stored) = oneshot::channel();
        let waiting = self.waiting.as_ref().expect("the sender lives as long as the journal");
        match waiting.try_send(Waiting { change, answer }) {
            Ok(()) => stored.await.unwrap_or_else(|_| self.writer_is_gone()),
            Err(mpsc::TrySendError::Full(_)) => Err(NotStored::NotYet),
            Err(mpsc::TrySendError::Disconnected(_)) => self.writer_is_gone(),
        }
    }

    /// The writer ends only with the journal, or with a panic.
    fn writer_is_gone(&self) -> Result<(), NotStored> {
        self.shared.set_condition(Condition::Stopped);
        Err(NotStored::Stop)
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

    /// Every channel of which something is noted as paid that can still be taken back.
    pub fn provisional(&self) -> Vec<ChannelRecord> {
        let records = self.shared.records();
        records.values().filter(|record| record.is_provisional()).cloned().collect()
    }

    /// Has every commit's duration told to `observer`, from now on. The first observer stays.
    pub fn observe_commits(&self, observer: impl Fn(Duration) + Send + Sync + 'static) {
        let _ = self.shared.commit_observer.set(Box::new(observer));
    }

    /// Sum of everything unsettled.
    pub fn unsettled_total(&self) -> Amount {
        money::total(self.shared.records().values().map(ChannelRecord::unsettled))
    }

    /// Every channel generation ever charged, in the order of users and epochs.
    pub fn channels(&self) -> Vec<ChannelRecord> {
        self.shared.records().values().cloned().collect()
    }

    /// Users with something unsettled, each once.
    pub fn users_with_unsettled(&self) -> Vec<Address> {
        let mut users: Vec<_> = self.unsettled().iter().map(|record| record.key.user).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Whether claims can be stored: whether the last commit succeeded, and the next one will find
    /// room.
    pub fn condition(&self) -> Condition {
        match self.shared.condition() {
            Condition::Storing if self.place.as_ref().is_some_and(|place| !place.has_room()) => {
                Condition::Paused
            }
            known => known,
        }
    }

    /// Holds a user's channel against what the contract has paid, over all generations. More than
    /// was ever charged here means that claims are missing from this journal.
    pub fn compare(&self, user: Address, paid: Amount) {
        let generations = ChannelKey { user, epoch: 0 }..=ChannelKey { user, epoch: u32::MAX };
        let records = self.shared.records();
        let charged = records.range(generations).map(|(_, record)| record.cumulative).max();
        drop(records);
        let charged = charged.unwrap_or_default();
        if paid > charged && !self.shared.behind.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %user, %paid, %charged,
                "journal: the contract has paid more than was charged here; claims are missing, as \
                 after an older copy was put back"
            );
        }
    }

    /// Whether claims are known to be missing: the file is an older copy, or the contract has paid
    /// more than it says. What is missing and was not settled is lost to this pod.
    pub fn is_behind(&self) -> bool {
        self.shared.behind.load(Ordering::Acquire)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.waiting = None;
        if let Some(writer) = self.writer.take() {
            // The file is closed when this returns, so the journal can be opened again.
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;

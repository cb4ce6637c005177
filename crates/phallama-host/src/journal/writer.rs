//! The writer thread: takes everything that waits, commits once, answers.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::record::KEY_LEN;
use super::{
    Change, ChannelKey, ChannelRecord, JournalError, NotStored, OpenStorage, Records, Shared,
    Waiting,
};

const CHANNELS: TableDefinition<[u8; KEY_LEN], &[u8]> = TableDefinition::new("channels");

/// A key and a record, as on disk.
type Stored = ([u8; KEY_LEN], Vec<u8>);

/// Changes per commit, most.
const BATCH_MAX: usize = 512;
/// How often a failed storage is tried again while nothing asks.
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// The database, and how to open it again: after a failed write the open one refuses everything.
pub(super) struct Storage {
    open: OpenStorage,
    database: Option<Database>,
}

impl Storage {
    pub(super) fn open(open: OpenStorage) -> Result<Self, Box<redb::Error>> {
        let mut storage = Self { open, database: None };
        storage.commit(&Records::new())?;
        Ok(storage)
    }

    /// Every record on disk.
    pub(super) fn read(&self, name: &str) -> Result<Records, JournalError> {
        let stored =
            self.stored().map_err(|source| JournalError::Open { path: name.to_owned(), source })?;
        let mut records = Records::new();
        for (key, bytes) in stored {
            let key = ChannelKey::decode(key);
            let record = ChannelRecord::decode(key, &bytes).ok_or_else(|| {
                let (path, key) = (name.to_owned(), hex::encode(key.encode()));
                JournalError::UnknownRecord { path, key }
            })?;
            records.insert(key, record);
        }
        Ok(records)
    }

    fn stored(&self) -> Result<Vec<Stored>, Box<redb::Error>> {
        let database = self.database.as_ref().expect("opening made a commit");
        let read = database.begin_read().map_err(boxed)?;
        let table = read.open_table(CHANNELS).map_err(boxed)?;
        let mut stored = Vec::new();
        for entry in table.iter().map_err(boxed)? {
            let (key, bytes) = entry.map_err(boxed)?;
            stored.push((key.value(), bytes.value().to_vec()));
        }
        Ok(stored)
    }

    /// Writes all records in one durable transaction; none of them on an error.
    fn commit(&mut self, records: &Records) -> Result<(), Box<redb::Error>> {
        let database = match self.database.take() {
            Some(database) => database,
            None => (self.open)().map_err(boxed)?,
        };
        write(&database, records)?;
        self.database = Some(database);
        Ok(())
    }
}

fn write(database: &Database, records: &Records) -> Result<(), Box<redb::Error>> {
    let transaction = database.begin_write().map_err(boxed)?;
    {
        let mut table = transaction.open_table(CHANNELS).map_err(boxed)?;
        for record in records.values() {
            let bytes = record.encode();
            table.insert(record.key.encode(), bytes.as_slice()).map_err(boxed)?;
        }
    }
    transaction.commit().map_err(boxed)
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

pub(super) struct Writer {
    pub(super) storage: Storage,
    pub(super) shared: Arc<Shared>,
    pub(super) incoming: Receiver<Waiting>,
}

impl Writer {
    pub(super) fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            let changed = self.changed(&batch);
            let outcome = self.commit(changed);
            for waiting in batch {
                // Who no longer waits has gone away; the claim is stored all the same.
                let _ = waiting.answer.send(outcome);
            }
        }
    }

    /// Waits for a change and takes all that have gathered. Empty when a failed storage is due for
    /// another try; `None` when the journal is gone.
    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let first = if self.shared.paused.load(Ordering::Acquire) {
            match self.incoming.recv_timeout(RETRY_EVERY) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        } else {
            self.incoming.recv().ok()?
        };
        let mut batch = vec![first];
        batch.extend(self.incoming.try_iter().take(BATCH_MAX - 1));
        Some(batch)
    }

    /// The records that a batch changes, as they will be.
    fn changed(&self, batch: &[Waiting]) -> Records {
        let known = self.shared.records();
        let mut changed = Records::new();
        for waiting in batch {
            apply(&known, &mut changed, &waiting.change);
        }
        changed.retain(|key, record| known.get(key) != Some(&*record));
        changed
    }

    fn commit(&mut self, changed: Records) -> Result<(), NotStored> {
        let paused = self.shared.paused.load(Ordering::Acquire);
        if changed.is_empty() && !paused {
            return Ok(());
        }
        if let Err(error) = self.storage.commit(&changed) {
            if !paused {
                tracing::error!(%error, "journal: cannot store claims, paid work is paused");
            }
            self.shared.paused.store(true, Ordering::Release);
            return Err(NotStored);
        }
        self.shared.records().extend(changed);
        if paused {
            tracing::info!("journal: storing again");
            self.shared.paused.store(false, Ordering::Release);
        }
        Ok(())
    }
}

fn apply(known: &Records, changed: &mut Records, change: &Change) {
    let key = match change {
        Change::Claim(claim) => claim.key,
        Change::Settled { key, .. } | Change::Closed(key) => *key,
    };
    let entry = match changed.entry(key) {
        Entry::Occupied(entry) => Some(entry.into_mut()),
        Entry::Vacant(entry) => known.get(&key).map(|record| entry.insert(record.clone())),
    };
    match (entry, change) {
        (Some(record), Change::Claim(claim)) => record.raise(claim),
        (Some(record), Change::Settled { claimed, at_unix_s, .. }) => {
            record.settle(*claimed, *at_unix_s);
        }
        (Some(record), Change::Closed(_)) => record.close(),
        (None, Change::Claim(claim)) => {
            changed.insert(key, ChannelRecord::first(claim));
        }
        (None, _) => {}
    }
}

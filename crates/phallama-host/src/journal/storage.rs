//! The journal's tables, and how they come back after a failure.
//!
//! After a failed write redb refuses everything. To open the same file again would be worse than to
//! stop: after a failed sync Linux takes the lost pages for written, so a file that looks whole to
//! this process may be beyond repair after the next power cut. What is known in memory is the
//! truth: it is written to a new file aside, which then takes the old one's place as a whole. What
//! a failed commit may have left behind goes with the old file.
//!
//! A new journal is made in the same way, because redb makes a database in several writes and for
//! ever refuses a file that was left between them.

use std::collections::BTreeMap;
use std::io;

use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, TableDefinition,
    TableError, WriteTransaction,
};

use super::record::KEY_LEN;
use super::{ChannelKey, ChannelRecord, JournalError, Records};

const CHANNELS: TableDefinition<[u8; KEY_LEN], &[u8]> = TableDefinition::new("channels");
/// Facts about the journal itself. Files from before it was introduced have format 1.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
const FORMAT_ENTRY: &str = "format";
const OPENED_ENTRY: &str = "opened";

/// The format written. It grows when a version from before could not read it, or would read it
/// wrongly.
const FORMAT: u64 = 2;

/// What holds a journal.
pub trait Medium: Send {
    /// Opens the journal that is there, or an empty one.
    ///
    /// # Errors
    /// What the storage says.
    fn open(&self) -> Result<Database, DatabaseError>;

    /// An empty database beside it.
    ///
    /// # Errors
    /// What the storage says.
    fn aside(&self) -> Result<Database, DatabaseError>;

    /// Puts what was built aside, and closed, in the journal's place: durably, and as a whole or
    /// not at all.
    ///
    /// # Errors
    /// What the system says.
    fn adopt(&self) -> io::Result<()>;
}

/// The database, and what it lies on.
pub(super) struct Storage {
    name: String,
    medium: Box<dyn Medium>,
    database: Option<Database>,
    /// How often the journal was opened by a starting pod, this time included.
    opened: u64,
}

/// What a file holds.
struct Content {
    records: Records,
    opened: u64,
}

impl Storage {
    /// Opens the storage and reads it. `opened_before` is what is known elsewhere of how often it
    /// was opened.
    pub(super) fn open(
        name: &str,
        medium: Box<dyn Medium>,
        opened_before: u64,
    ) -> Result<(Self, Opened), JournalError> {
        let mut storage = Self { name: name.to_owned(), medium, database: None, opened: 0 };
        let database = storage.medium.open().map_err(|error| storage.failed(error))?;
        // Nothing is written before the format is known to be ours.
        let content = storage.read(&database)?;
        let is_older_copy = content.opened < opened_before;
        storage.opened = content.opened.max(opened_before).saturating_add(1);
        let about = |txn: &WriteTransaction| write_about(txn, storage.opened);
        commit(&database, about).map_err(|error| storage.failed(*error))?;
        let opened = Opened { records: content.records, times: storage.opened, is_older_copy };
        storage.database = Some(database);
        Ok((storage, opened))
    }

    /// Writes the changed records in one durable transaction; none of them on an error. `known`
    /// are all records as they were before, for a storage that has failed.
    pub(super) fn commit(
        &mut self,
        changed: &Records,
        known: impl FnOnce() -> Records,
    ) -> Result<(), JournalError> {
        let database = match self.database.take() {
            Some(database) => {
                let changes = |txn: &WriteTransaction| write_records(txn, changed);
                commit(&database, changes).map_err(|error| self.failed(*error))?;
                database
            }
            None => self.restore(changed, known())?,
        };
        self.database = Some(database);
        Ok(())
    }

    /// Everything known and the changes, in a new place.
    fn restore(&self, changed: &Records, mut all: Records) -> Result<Database, JournalError> {
        all.extend(changed.iter().map(|(key, record)| (*key, record.clone())));
        let aside = self.medium.aside().map_err(|error| self.failed(error))?;
        let anew = |txn: &WriteTransaction| {
            write_about(txn, self.opened)?;
            write_records(txn, &all)
        };
        commit(&aside, anew).map_err(|error| self.failed(*error))?;
        drop(aside);
        self.medium.adopt().map_err(|error| self.failed(redb::Error::Io(error)))?;
        self.medium.open().map_err(|error| self.failed(error))
    }

    fn read(&self, database: &Database) -> Result<Content, JournalError> {
        let (about, stored) = stored(database).map_err(|error| self.failed(*error))?;
        let path = || self.name.clone();
        let found = about.get(FORMAT_ENTRY).copied().unwrap_or(FORMAT);
        if found > FORMAT {
            return Err(JournalError::Newer { path: path(), found, supported: FORMAT });
        }
        let mut records = Records::new();
        for (key, bytes) in stored {
            let key = ChannelKey::decode(key);
            let record = ChannelRecord::decode(key, &bytes).ok_or_else(|| {
                JournalError::UnknownRecord { path: path(), key: hex::encode(key.encode()) }
            })?;
            records.insert(key, record);
        }
        Ok(Content { records, opened: about.get(OPENED_ENTRY).copied().unwrap_or(0) })
    }

    fn failed(&self, error: impl Into<redb::Error>) -> JournalError {
        JournalError::of(&self.name, error)
    }
}

/// A journal that was opened.
pub(super) struct Opened {
    pub(super) records: Records,
    /// How often, this time included.
    pub(super) times: u64,
    /// It was opened more often than the file knows.
    pub(super) is_older_copy: bool,
}

/// What stands in [`ABOUT`].
type About = BTreeMap<String, u64>;
/// A key and a record, as on disk.
type Stored = ([u8; KEY_LEN], Vec<u8>);

fn stored(database: &Database) -> Result<(About, Vec<Stored>), Box<redb::Error>> {
    let read = database.begin_read().map_err(boxed)?;
    let (mut about, mut records) = (About::new(), Vec::new());
    match read.open_table(ABOUT) {
        Ok(table) => {
            for entry in table.iter().map_err(boxed)? {
                let (name, value) = entry.map_err(boxed)?;
                about.insert(name.value().to_owned(), value.value());
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(boxed(error)),
    }
    match read.open_table(CHANNELS) {
        Ok(table) => {
            for entry in table.iter().map_err(boxed)? {
                let (key, bytes) = entry.map_err(boxed)?;
                records.push((key.value(), bytes.value().to_vec()));
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(boxed(error)),
    }
    Ok((about, records))
}

fn write_about(txn: &WriteTransaction, opened: u64) -> Result<(), Box<redb::Error>> {
    let mut table = txn.open_table(ABOUT).map_err(boxed)?;
    for (name, value) in [(FORMAT_ENTRY, FORMAT), (OPENED_ENTRY, opened)] {
        table.insert(name, value).map_err(boxed)?;
    }
    Ok(())
}

fn write_records(txn: &WriteTransaction, records: &Records) -> Result<(), Box<redb::Error>> {
    let mut table = txn.open_table(CHANNELS).map_err(boxed)?;
    for record in records.values() {
        table.insert(record.key.encode(), record.encode().as_slice()).map_err(boxed)?;
    }
    Ok(())
}

/// One durable transaction.
fn commit(
    database: &Database,
    changes: impl FnOnce(&WriteTransaction) -> Result<(), Box<redb::Error>>,
) -> Result<(), Box<redb::Error>> {
    let transaction = database.begin_write().map_err(boxed)?;
    changes(&transaction)?;
    transaction.commit().map_err(boxed)
}

fn boxed(error: impl Into<redb::Error>) -> Box<redb::Error> {
    Box::new(error.into())
}

//! A disk that fails, loses what was not synced, and is put back to an earlier day.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use phallama_host::journal::Medium;
use redb::{Builder, Database, DatabaseError, StorageBackend};

/// One change that a power cut may lose.
#[derive(Clone, Debug)]
enum Write {
    Len(usize),
    Data(usize, Vec<u8>),
}

#[derive(Debug, Default)]
struct Bytes {
    /// What survives a power cut for sure.
    durable: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    unsynced: Vec<Write>,
}

#[derive(Debug, Default)]
struct Files {
    journal: Bytes,
    /// Where a journal that has failed is built anew.
    aside: Bytes,
    failing: bool,
    /// The machine has lost its power: nothing is written any more.
    dead: bool,
}

impl Files {
    fn works(&self) -> io::Result<()> {
        if self.failing || self.dead {
            return Err(io::Error::other("the disk does not write"));
        }
        Ok(())
    }
}

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Files>>);

/// One of its files.
#[derive(Debug)]
struct File {
    of: Disk,
    aside: bool,
}

impl Disk {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_failing(&self, failing: bool) {
        self.files().failing = failing;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.files().failing
    }

    /// From now on nothing reaches the disk; what is open can be dropped.
    pub(super) fn cut_power(&self) {
        self.files().dead = true;
    }

    /// The machine starts again: of what was not synced, the writes whose bit is set in `kept` are
    /// there.
    pub(super) fn come_back(&self, kept: u64) {
        let mut files = self.files();
        let mut bytes = std::mem::take(&mut files.journal.durable);
        for (index, write) in files.journal.unsynced.iter().enumerate() {
            if kept >> (index % 64) & 1 == 1 {
                apply(&mut bytes, write);
            }
        }
        files.journal = Bytes { durable: bytes.clone(), current: bytes, unsynced: Vec::new() };
        (files.aside, files.failing, files.dead) = Default::default();
    }

    /// A copy, as a backup takes it.
    pub(super) fn copy(&self) -> Vec<u8> {
        self.files().journal.durable.clone()
    }

    /// An old copy is put back.
    pub(super) fn restore(&self, copy: &[u8]) {
        let (durable, current) = (copy.to_vec(), copy.to_vec());
        self.files().journal = Bytes { durable, current, unsynced: Vec::new() };
    }

    fn open_file(&self, aside: bool) -> Result<Database, DatabaseError> {
        let file = File { of: self.clone(), aside };
        Builder::new().set_cache_size(1 << 20).create_with_backend(file)
    }
}

impl Medium for Disk {
    fn open(&self) -> Result<Database, DatabaseError> {
        self.open_file(false)
    }

    fn aside(&self) -> Result<Database, DatabaseError> {
        self.files().aside = Bytes::default();
        self.open_file(true)
    }

    fn adopt(&self) -> io::Result<()> {
        let mut files = self.files();
        files.works()?;
        let bytes = std::mem::take(&mut files.aside).durable;
        files.journal = Bytes { durable: bytes.clone(), current: bytes, unsynced: Vec::new() };
        Ok(())
    }
}

impl File {
    /// Reads or changes the bytes of the file.
    fn with<T>(&self, change: impl FnOnce(&mut Bytes) -> T) -> T {
        let mut files = self.of.files();
        change(if self.aside { &mut files.aside } else { &mut files.journal })
    }

    fn change(&self, write: Write) -> io::Result<()> {
        self.of.files().works()?;
        self.with(|bytes| {
            apply(&mut bytes.current, &write);
            bytes.unsynced.push(write);
        });
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Len(len) => bytes.resize(*len, 0),
        Write::Data(offset, data) => {
            let end = offset + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*offset..end].copy_from_slice(data);
        }
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a journal here is small")
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.current.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = place(offset);
        self.with(|bytes| {
            let there = bytes.current.get(start..start + out.len());
            out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Write::Len(place(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.of.files().works()?;
        self.with(|bytes| {
            bytes.durable.clone_from(&bytes.current);
            bytes.unsynced.clear();
        });
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Write::Data(place(offset), data.to_vec()))
    }
}

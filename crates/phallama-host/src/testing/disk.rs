use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::Recorder;
use crate::journal::{Journal, Medium};

/// What befalls everything on a disk.
#[derive(Debug, Default)]
struct Faults {
    syncs: AtomicU64,
    syncs_fail: AtomicBool,
    kind: Mutex<Option<io::ErrorKind>>,
}

/// A disk in memory that survives the database, counts its syncs and can be told to fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedDisk {
    bytes: Arc<Mutex<Vec<u8>>>,
    aside: Arc<Mutex<Vec<u8>>>,
    faults: Arc<Faults>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a disk of a test is small")
}

impl SharedDisk {
    /// Every change fails with this kind of error, until told otherwise.
    pub(crate) fn fail_with(&self, fault: Option<io::ErrorKind>) {
        *lock(&self.faults.kind) = fault;
    }

    pub(crate) fn set_broken(&self, broken: bool) {
        self.fail_with(broken.then_some(io::ErrorKind::StorageFull));
    }

    /// Only syncs fail.
    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.faults.syncs_fail.store(fail, Ordering::Release);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.faults.syncs.load(Ordering::Relaxed)
    }

    fn works(&self) -> io::Result<()> {
        lock(&self.faults.kind).map_or(Ok(()), |kind| Err(kind.into()))
    }

    pub(crate) fn journal(&self) -> Journal {
        Journal::open_on("a disk in memory", Box::new(self.clone())).unwrap()
    }
}

impl Medium for SharedDisk {
    fn open(&self) -> Result<Database, DatabaseError> {
        Builder::new().create_with_backend(self.clone())
    }

    fn aside(&self) -> Result<Database, DatabaseError> {
        lock(&self.aside).clear();
        let aside = Self { bytes: Arc::clone(&self.aside), ..self.clone() };
        Builder::new().create_with_backend(aside)
    }

    fn adopt(&self) -> io::Result<()> {
        self.works()?;
        let built = std::mem::take(&mut *lock(&self.aside));
        *lock(&self.bytes) = built;
        Ok(())
    }
}

impl StorageBackend for SharedDisk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(lock(&self.bytes).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (bytes, start) = (lock(&self.bytes), place(offset));
        let there = bytes.get(start..start + out.len());
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.works()?;
        lock(&self.bytes).resize(place(len), 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.works()?;
        if self.faults.syncs_fail.load(Ordering::Acquire) {
            return Err(io::Error::other("the sync failed"));
        }
        self.faults.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.works()?;
        let start = place(offset);
        lock(&self.bytes)[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

/// A journal on a recorded disk.
pub(crate) struct RecordedMedium {
    disk: Recorder,
    aside: Mutex<Recorder>,
}

impl RecordedMedium {
    pub(crate) fn on(disk: &Recorder) -> Self {
        Self { disk: disk.clone(), aside: Mutex::default() }
    }
}

impl Medium for RecordedMedium {
    fn open(&self) -> Result<Database, DatabaseError> {
        Builder::new().create_with_backend(self.disk.clone())
    }

    fn aside(&self) -> Result<Database, DatabaseError> {
        let new = Recorder::default();
        *lock(&self.aside) = new.clone();
        Builder::new().create_with_backend(new)
    }

    fn adopt(&self) -> io::Result<()> {
        self.disk.replace(&lock(&self.aside));
        Ok(())
    }
}

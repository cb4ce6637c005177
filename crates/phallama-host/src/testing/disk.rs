use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::backends::InMemoryBackend;
use redb::{Builder, StorageBackend};

use crate::journal::Journal;

/// A disk in memory that survives the database, counts its syncs and can be told to fail them.
#[derive(Debug, Default)]
struct Disk {
    bytes: InMemoryBackend,
    syncs: AtomicU64,
    broken: AtomicBool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SharedDisk(Arc<Disk>);

impl SharedDisk {
    pub(crate) fn set_broken(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::Release);
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::Relaxed)
    }

    fn works(&self) -> io::Result<()> {
        if self.0.broken.load(Ordering::Acquire) {
            return Err(io::Error::other("the disk is full"));
        }
        Ok(())
    }

    pub(crate) fn journal(&self) -> Journal {
        let disk = self.clone();
        let open = move || Builder::new().create_with_backend(disk.clone());
        Journal::open_with("a disk in memory", Box::new(open)).unwrap()
    }
}

impl StorageBackend for SharedDisk {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.works()?;
        self.0.bytes.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.works()?;
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.works()?;
        self.0.bytes.write(offset, data)
    }
}

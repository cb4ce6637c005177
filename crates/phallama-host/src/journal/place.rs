//! Where a journal lies: its file, its lock, whether the disk has room, how often it was opened.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use redb::{Database, DatabaseError, StorageError};
use rustix::fs::{StatVfsMountFlags, statvfs};

use super::{JournalError, Medium};
use crate::private;

/// Space that a journal wants to see free, in bytes: the pages of a commit of the most changes.
const ROOM_MIN_BYTES: u64 = 4 << 20;

/// A journal's file system, lock and count.
pub(super) struct Place {
    journal: PathBuf,
    /// Holds how often the journal was opened. It is written after the journal says the same, so a
    /// journal that says less is an older copy that was put in its place.
    count: PathBuf,
    /// Locked as long as the journal is ours, whatever becomes of its file.
    _lock: File,
}

impl Place {
    /// Takes the journal: nobody else can, until this is dropped or the process ends.
    pub(super) fn take(journal: &Path) -> Result<Self, JournalError> {
        let lock = journal.with_extension("lock");
        let file = |path: &Path, source| JournalError::File { path: path.to_owned(), source };
        let locked = private::file(&lock).map_err(|source| file(&lock, source))?;
        match locked.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse { path: journal.display().to_string() });
            }
            Err(TryLockError::Error(source)) => return Err(file(&lock, source)),
        }
        let count = journal.with_extension("opened");
        Ok(Self { journal: journal.to_owned(), count, _lock: locked })
    }

    /// Whether a commit would find room. It is asked before paid work begins, so that a full disk
    /// is noticed before an answer was given away. Where the system does not say, the next commit
    /// will.
    pub(super) fn has_room(&self) -> bool {
        let Ok(disk) = statvfs(&self.journal) else { return true };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        free >= ROOM_MIN_BYTES && !disk.f_flag.contains(StatVfsMountFlags::RDONLY)
    }

    /// How often the journal was opened; 0 where nobody has counted.
    pub(super) fn opened(&self) -> u64 {
        let text = fs::read_to_string(&self.count).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    pub(super) fn note_opened(&self, times: u64) -> Result<(), JournalError> {
        let write = || -> io::Result<()> {
            let mut file = private::empty_file(&self.count)?;
            writeln!(file, "{times}")?;
            file.sync_all()
        };
        write().map_err(|source| JournalError::File { path: self.count.clone(), source })
    }
}

/// A journal's file, which is only ever replaced as a whole.
pub(super) struct JournalFile {
    path: PathBuf,
    /// Where the next one is built.
    new: PathBuf,
}

impl JournalFile {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), new: path.with_extension("new") }
    }
}

impl Medium for JournalFile {
    fn open(&self) -> Result<Database, DatabaseError> {
        if self.path.exists() {
            private::file(&self.path).map_err(StorageError::Io)?;
        } else {
            drop(self.aside()?);
            self.adopt().map_err(StorageError::Io)?;
        }
        Database::create(&self.path)
    }

    fn aside(&self) -> Result<Database, DatabaseError> {
        drop(private::empty_file(&self.new).map_err(StorageError::Io)?);
        Database::create(&self.new)
    }

    fn adopt(&self) -> io::Result<()> {
        File::open(&self.new)?.sync_all()?;
        fs::rename(&self.new, &self.path)?;
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

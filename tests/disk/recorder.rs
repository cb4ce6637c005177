//! A disk that remembers every write and every sync, and shows what a power cut at any moment could
//! have left of them.
//!
//! Shared by the tests of the pod's journal and of the wallet's records, which include it by path.
//! What it grants a disk is what disks do: a write that no sync has followed may be there, may be
//! missing, or may be there in some of its sectors; writes reach the plate in any order; a sync
//! that failed leaves its writes visible and never written (as on Linux, where the pages then
//! count as clean).

use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

use super::Random;

/// What a disk writes whole or not at all, in bytes.
const SECTOR_BYTES: usize = 512;

/// One thing that the disk was asked for.
#[derive(Clone, Debug)]
enum Step {
    Write {
        offset: usize,
        data: Vec<u8>,
    },
    Len(usize),
    Sync,
    /// A sync that failed.
    LostSync,
    /// Another file took this one's place, durably and as a whole.
    Replaced(Vec<u8>),
}

#[derive(Debug, Default)]
struct Tape {
    image: Vec<u8>,
    steps: Vec<Step>,
    syncs_to_fail: u32,
}

/// The disk. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Mutex<Tape>>);

impl Recorder {
    /// A disk that holds these bytes.
    pub(crate) fn with(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Tape { image, ..Tape::default() })))
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many steps were recorded.
    pub(crate) fn position(&self) -> usize {
        self.tape().steps.len()
    }

    /// The next sync fails.
    pub(crate) fn fail_a_sync(&self) {
        self.tape().syncs_to_fail += 1;
    }

    /// Another file, whole and synced, takes this one's place.
    pub(crate) fn replace(&self, other: &Self) {
        let image = other.tape().image.clone();
        let mut tape = self.tape();
        tape.image.clone_from(&image);
        tape.steps.push(Step::Replaced(image));
    }

    /// Every moment since the disk was new.
    pub(crate) fn cuts(&self) -> Cuts {
        let steps = self.tape().steps.clone();
        Cuts { steps, at: 0, durable: Vec::new(), pending: Vec::new() }
    }
}

/// A recorded life of a disk, walked from its beginning.
#[derive(Debug)]
pub(crate) struct Cuts {
    steps: Vec<Step>,
    at: usize,
    /// What is there whatever happens.
    durable: Vec<u8>,
    /// Steps that no sync has followed yet.
    pending: Vec<usize>,
}

/// What becomes of the steps that no sync has followed.
#[derive(Debug)]
pub(crate) enum Unsynced<'a> {
    /// None has reached the disk.
    Lost,
    /// All have.
    Kept,
    /// Each by chance, whole or in some of its sectors.
    Torn(&'a mut Random),
}

impl Cuts {
    /// How many steps there are.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The positions right before each sync and right after it.
    pub(crate) fn sync_boundaries(&self) -> Vec<usize> {
        let syncs = self.steps.iter().enumerate().filter(|(_, step)| matches!(step, Step::Sync));
        syncs.flat_map(|(index, _)| [index, index + 1]).collect()
    }

    /// Goes forward to the moment after `position` steps.
    pub(crate) fn advance(&mut self, position: usize) {
        assert!(position >= self.at, "a disk's life is walked forwards");
        for index in self.at..position {
            match self.steps[index] {
                Step::Sync => {
                    for index in std::mem::take(&mut self.pending) {
                        apply(&mut self.durable, &self.steps[index]);
                    }
                }
                Step::LostSync => self.pending.clear(),
                Step::Replaced(ref image) => {
                    self.durable.clone_from(image);
                    self.pending.clear();
                }
                Step::Write { .. } | Step::Len(_) => self.pending.push(index),
            }
        }
        self.at = position;
    }

    /// What the disk holds when the power is cut now.
    pub(crate) fn image(&self, mut unsynced: Unsynced<'_>) -> Vec<u8> {
        let mut image = self.durable.clone();
        for &index in &self.pending {
            let step = &self.steps[index];
            match &mut unsynced {
                Unsynced::Lost => {}
                Unsynced::Kept => apply(&mut image, step),
                Unsynced::Torn(random) => match random.below(3) {
                    0 => {}
                    1 => apply(&mut image, step),
                    _ => apply_torn(&mut image, step, random),
                },
            }
        }
        image
    }
}

fn apply(image: &mut Vec<u8>, step: &Step) {
    match step {
        Step::Len(len) => image.resize(*len, 0),
        Step::Write { offset, data } => put(image, *offset, data),
        Step::Sync | Step::LostSync | Step::Replaced(_) => {}
    }
}

fn apply_torn(image: &mut Vec<u8>, step: &Step, random: &mut Random) {
    let Step::Write { offset, data } = step else { return };
    for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
        if random.below(2) == 0 {
            put(image, offset + index * SECTOR_BYTES, sector);
        }
    }
}

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a disk of a test is small")
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        Ok(self.tape().image.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (tape, start) = (self.tape(), place(offset));
        let there = tape.image.get(start..start + out.len());
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let (mut tape, len) = (self.tape(), place(len));
        tape.image.resize(len, 0);
        tape.steps.push(Step::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut tape = self.tape();
        if tape.syncs_to_fail > 0 {
            tape.syncs_to_fail -= 1;
            tape.steps.push(Step::LostSync);
            return Err(io::Error::from_raw_os_error(EIO));
        }
        tape.steps.push(Step::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut tape, offset) = (self.tape(), place(offset));
        put(&mut tape.image, offset, data);
        tape.steps.push(Step::Write { offset, data: data.to_vec() });
        Ok(())
    }

    // One process at a time uses a recorded disk, so every lock is free.

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}

/// `errno` of an input/output error.
const EIO: i32 = 5;

//! The file system without a journal: what it takes to write some bytes and wait for the disk.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Failure, Quantiles};

/// Room that is written before anything is measured: a file that grows costs more.
const ROOM_BYTES: usize = 64 << 20;
/// A claim's key and record as the journal encodes them.
const CLAIM_BYTES: usize = 24 + 262;

/// What is written at a time: `bytes` and an fdatasync, `syncs` times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    pub(crate) bytes: usize,
    pub(crate) syncs: usize,
}

/// Portions per second, and how long one takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_s: f64,
    pub(crate) took: Quantiles,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.per_s.fmt(f)
    }
}

/// A file of its own.
pub(crate) struct Disk {
    file: File,
}

impl Disk {
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all_at(&vec![0x5a; ROOM_BYTES], 0)?;
        file.sync_all()?;
        Ok(Self { file })
    }

    /// One portion after the other.
    pub(crate) fn portions(&self, portion: Portion, time: Duration) -> Result<Rate, Failure> {
        let Portion { bytes, syncs } = portion;
        let (data, began) = (vec![0xa5; bytes.clamp(1, ROOM_BYTES)], Instant::now());
        let (mut took, mut offset) = (Vec::new(), 0);
        while began.elapsed() < time {
            let start = Instant::now();
            for _ in 0..syncs {
                if offset + data.len() > ROOM_BYTES {
                    offset = 0;
                }
                self.file.write_all_at(&data, offset as u64)?;
                self.file.sync_data()?;
                offset += data.len();
            }
            took.push(start.elapsed());
        }
        let per_s = f64::from(u32::try_from(took.len())?) / began.elapsed().as_secs_f64();
        Ok(Rate { per_s, took: Quantiles::of(took)? })
    }

    /// One claim at a time, without anything around it.
    pub(crate) fn serial(&self, time: Duration) -> Result<Rate, Failure> {
        self.portions(Portion { bytes: CLAIM_BYTES, syncs: 1 }, time)
    }
}

//! The chain's clock: the wall clock, moved.

use std::time::{SystemTime, UNIX_EPOCH};

/// Chooses block timestamps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// Chain time minus wall time, in seconds.
    offset_s: i128,
    /// The exact timestamp asked for the next block.
    next_unix_s: Option<u64>,
}

impl Clock {
    /// A clock that shows `start_unix_s` now, or the wall clock's time.
    pub(crate) fn starting_at(start_unix_s: Option<u64>) -> Self {
        let mut clock = Self { offset_s: 0, next_unix_s: None };
        if let Some(start) = start_unix_s {
            clock.show(start);
        }
        clock
    }

    /// Chain time now, in seconds since the Unix epoch.
    pub(crate) fn now_unix_s(&self) -> u64 {
        u64::try_from(i128::from(wall_unix_s()) + self.offset_s).unwrap_or(0)
    }

    /// The timestamp a block on top of one at `parent_unix_s` would get: timestamps strictly
    /// increase, so a burst of blocks runs ahead of the clock and later waits for it.
    pub(crate) fn preview(&self, parent_unix_s: u64) -> u64 {
        self.next_unix_s.unwrap_or_else(|| self.now_unix_s().max(parent_unix_s + 1))
    }

    /// Notes that a block with the previewed timestamp was made: a requested timestamp is used up,
    /// and the clock goes on from it.
    pub(crate) fn block_made(&mut self, timestamp: u64) {
        if self.next_unix_s.take().is_some() {
            self.show(timestamp);
        }
    }

    /// Moves the clock forward; returns by how much it is ahead of the wall clock, in seconds.
    pub(crate) fn advance(&mut self, seconds: u64) -> i128 {
        self.offset_s += i128::from(seconds);
        self.offset_s
    }

    /// Fixes the next block's timestamp.
    pub(crate) fn set_next(&mut self, unix_s: u64) {
        self.next_unix_s = Some(unix_s);
    }

    /// Sets the clock; returns by how much it is ahead of the wall clock, in seconds.
    pub(crate) fn set(&mut self, unix_s: u64) -> i128 {
        self.show(unix_s);
        self.offset_s
    }

    fn show(&mut self, unix_s: u64) {
        self.offset_s = i128::from(unix_s) - i128::from(wall_unix_s());
    }
}

fn wall_unix_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the machine's clock is set after 1970")
        .as_secs()
}

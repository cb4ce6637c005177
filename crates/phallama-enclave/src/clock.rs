//! Time of day, as a value that is passed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The time of day in whole seconds.
///
/// In an SGX enclave the host decides what time it is. It can thereby lengthen or shorten the life
/// of epoch keys and choose `created` of an answer; no amount depends on it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_s: Arc<AtomicU64>,
}

impl Clock {
    /// The system's time.
    pub fn system() -> Self {
        Self::default()
    }

    /// Seconds since 1970.
    pub fn unix_s(&self) -> u64 {
        let system =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        system.saturating_add(self.ahead_s.load(Ordering::Relaxed))
    }

    /// Moves this clock and its clones `seconds` further ahead of the system's time.
    pub fn advance(&self, seconds: u64) {
        self.ahead_s.fetch_add(seconds, Ordering::Relaxed);
    }
}

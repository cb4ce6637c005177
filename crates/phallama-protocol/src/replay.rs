//! The replay set: every encapsulation opens at most once per epoch key.

use std::collections::BTreeSet;

/// Entries per epoch, at most.
pub const REPLAY_ENTRIES_MAX: usize = 1_048_576;

/// Fingerprints of the encapsulations opened with one epoch key. It lives exactly as long as
/// that key. Ordered, not hashed, so that it needs no random seed.
#[derive(Debug)]
pub struct ReplaySet {
    seen: BTreeSet<[u8; 16]>,
    cap: usize,
}

/// Why a request must not be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// This encapsulation was opened before.
    #[error("request was received before under this epoch key")]
    Seen,
    /// The set is full: refuse until the next epoch.
    #[error("replay set is full with {0} entries; new requests wait for the next epoch key")]
    Full(usize),
}

impl ReplaySet {
    /// An empty set of at most `cap` entries (production: [`REPLAY_ENTRIES_MAX`]).
    pub fn new(cap: usize) -> Self {
        Self { seen: BTreeSet::new(), cap }
    }

    /// Remembers a fingerprint ([`crate::request::enc_fingerprint`]). Call it after the request
    /// opened and before any effect, under one lock.
    ///
    /// # Errors
    /// [`ReplayError::Seen`] (also when full) or [`ReplayError::Full`].
    pub fn insert(&mut self, fingerprint: [u8; 16]) -> Result<(), ReplayError> {
        if self.seen.contains(&fingerprint) {
            return Err(ReplayError::Seen);
        }
        if self.seen.len() >= self.cap {
            return Err(ReplayError::Full(self.cap));
        }
        self.seen.insert(fingerprint);
        Ok(())
    }

    /// Entries so far.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing was opened yet.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_second_insert_and_overflow() {
        let mut set = ReplaySet::new(2);
        assert_eq!(set.insert([1; 16]), Ok(()));
        assert_eq!(set.insert([1; 16]), Err(ReplayError::Seen));
        assert_eq!(set.insert([2; 16]), Ok(()));
        assert_eq!(set.insert([3; 16]), Err(ReplayError::Full(2)));
        assert_eq!(set.insert([2; 16]), Err(ReplayError::Seen), "a full set still knows replays");
        assert_eq!(set.len(), 2);
    }
}

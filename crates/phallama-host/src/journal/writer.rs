//! The writer thread: takes everything that waits, commits once, answers.

use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::storage::Storage;
use super::{Change, ChannelRecord, Condition, NotStored, Records, Shared, Waiting};

/// Changes per commit, most.
const BATCH_MAX: usize = 512;
/// How often a failed storage is tried again while nothing asks.
const RETRY_EVERY: Duration = Duration::from_millis(250);

pub(super) struct Writer {
    pub(super) storage: Storage,
    pub(super) shared: Arc<Shared>,
    pub(super) incoming: Receiver<Waiting>,
}

impl Writer {
    pub(super) fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            let changed = self.changed(&batch);
            let outcome = self.commit(changed);
            for waiting in batch {
                // Who no longer waits has gone away; the claim is stored all the same.
                let _ = waiting.answer.send(outcome);
            }
        }
    }

    /// Waits for a change and takes all that have gathered. Empty when a failed storage is due for
    /// another try; `None` when the journal is gone.
    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let first = if self.shared.condition() == Condition::Paused {
            match self.incoming.recv_timeout(RETRY_EVERY) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        } else {
            self.incoming.recv().ok()?
        };
        let mut batch = vec![first];
        batch.extend(self.incoming.try_iter().take(BATCH_MAX - 1));
        Some(batch)
    }

    /// The records that a batch changes, as they will be.
    fn changed(&self, batch: &[Waiting]) -> Records {
        let known = self.shared.records();
        let mut changed = Records::new();
        for waiting in batch {
            apply(&known, &mut changed, &waiting.change);
        }
        changed.retain(|key, record| known.get(key) != Some(&*record));
        changed
    }

    fn commit(&mut self, changed: Records) -> Result<(), NotStored> {
        let before = self.shared.condition();
        if before == Condition::Stopped {
            return Err(NotStored::Stop);
        }
        if changed.is_empty() && before == Condition::Storing {
            return Ok(());
        }
        let began = Instant::now();
        let known = || self.shared.records().clone();
        if let Err(error) = self.storage.commit(&changed, known) {
            if !error.may_pass() {
                tracing::error!(%error, "journal: of no more use, paid work has stopped");
                self.shared.set_condition(Condition::Stopped);
                return Err(NotStored::Stop);
            }
            if before == Condition::Storing {
                tracing::error!(%error, "journal: cannot store claims, paid work is paused");
            }
            self.shared.set_condition(Condition::Paused);
            return Err(NotStored::NotYet);
        }
        if let Some(observer) = self.shared.commit_observer.get() {
            observer(began.elapsed());
        }
        self.shared.records().extend(changed);
        if before == Condition::Paused {
            tracing::info!("journal: storing again");
            self.shared.set_condition(Condition::Storing);
        }
        Ok(())
    }
}

fn apply(known: &Records, changed: &mut Records, change: &Change) {
    let key = match change {
        Change::Claim(claim) => claim.key,
        Change::Settled { key, .. } | Change::Read { key, .. } | Change::Closed(key) => *key,
    };
    let entry = match changed.entry(key) {
        Entry::Occupied(entry) => Some(entry.into_mut()),
        Entry::Vacant(entry) => known.get(&key).map(|record| entry.insert(record.clone())),
    };
    match (entry, change) {
        (Some(record), Change::Claim(claim)) => record.raise(claim),
        (Some(record), Change::Settled { claimed, at_unix_s, .. }) => {
            record.settle(*claimed, *at_unix_s);
        }
        (Some(record), Change::Read { claimed, safe_claimed, at_unix_s, .. }) => {
            record.read(*claimed, *safe_claimed, *at_unix_s);
        }
        (Some(record), Change::Closed(_)) => record.close(),
        (None, Change::Claim(claim)) => {
            changed.insert(key, ChannelRecord::first(claim));
        }
        (None, _) => {}
    }
}

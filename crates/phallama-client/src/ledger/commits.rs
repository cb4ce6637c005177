//! Changes of the records, each durable before its caller goes on. Those that come while a commit
//! is on its way to the disk wait for it and then share the next one.
//!
//! Whoever comes first begins the transaction and commits it; who comes before that adds to it.
//! Changes are made one after the other, as if each had a transaction of its own, and nobody is
//! told of a change before the commit that holds it.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use redb::{Database, WriteTransaction};

use super::{LedgerError, storage};
use crate::client::lock;

/// Most changes in one commit, so that the first of them does not wait for ever.
const CHANGES_MAX: usize = 32;

/// The commits of one opened file.
#[derive(Default)]
pub(super) struct Commits {
    /// Threads that have come and have not changed anything yet.
    coming: AtomicUsize,
    open: Mutex<Option<Open>>,
    /// Somebody has come into the open transaction.
    joined: Condvar,
}

/// A transaction that more may be added to.
struct Open {
    txn: WriteTransaction,
    changes: usize,
    /// A change failed, so that nothing of this transaction may stay.
    spoilt: bool,
    end: Arc<End>,
}

/// How a transaction ended, for those who did not begin it.
#[derive(Default)]
struct End {
    how: Mutex<Option<How>>,
    told: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Durable,
    /// Nothing of it is there.
    Undone,
    /// The disk failed: nobody knows what is there.
    Failed,
}

impl Commits {
    /// Makes a change and returns when it is durable. It may be made a second time, after the first
    /// was undone because of somebody else's.
    pub(super) fn write<T>(
        &self,
        db: &Database,
        change: impl Fn(&WriteTransaction) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.coming.fetch_add(1, Ordering::SeqCst);
        // Meanwhile the one before may be waiting in here for its turn at the disk.
        let mut open = lock(&self.open);
        self.coming.fetch_sub(1, Ordering::SeqCst);
        let Some(shared) = open.as_mut() else { return self.begin(db, change, open) };
        self.joined.notify_one();
        shared.changes += 1;
        let made = change(&shared.txn);
        shared.spoilt |= made.is_err();
        let end = Arc::clone(&shared.end);
        drop(open);
        match end.wait() {
            How::Durable => made,
            How::Undone => alone(db, change),
            How::Failed => Err(storage(redb::Error::PreviousIo)),
        }
    }

    /// The same for whoever came first.
    fn begin<T>(
        &self,
        db: &Database,
        change: impl Fn(&WriteTransaction) -> Result<T, LedgerError>,
        mut open: MutexGuard<'_, Option<Open>>,
    ) -> Result<T, LedgerError> {
        // It waits for the commit that is on its way; the others wait for `open`.
        let txn = db.begin_write().map_err(storage)?;
        let made = change(&txn)?;
        let end = Arc::default();
        let shared = open.insert(Open { txn, changes: 1, spoilt: false, end: Arc::clone(&end) });
        let mut is_full = shared.changes >= CHANGES_MAX;
        while !is_full && self.coming.load(Ordering::SeqCst) > 0 {
            open = self.joined.wait(open).unwrap_or_else(PoisonError::into_inner);
            is_full = open.as_ref().is_none_or(|shared| shared.changes >= CHANGES_MAX);
        }
        let Open { txn, spoilt, .. } = open.take().expect("only who began it takes it");
        drop(open);
        if spoilt {
            drop(txn);
            end.tell(How::Undone);
            return alone(db, change);
        }
        let committed = txn.commit().map_err(storage);
        end.tell(if committed.is_ok() { How::Durable } else { How::Failed });
        committed.map(|()| made)
    }
}

/// A change in a transaction of its own.
fn alone<T>(
    db: &Database,
    change: impl Fn(&WriteTransaction) -> Result<T, LedgerError>,
) -> Result<T, LedgerError> {
    let txn = db.begin_write().map_err(storage)?;
    let made = change(&txn)?;
    txn.commit().map_err(storage)?;
    Ok(made)
}

impl End {
    fn tell(&self, how: How) {
        *lock(&self.how) = Some(how);
        self.told.notify_all();
    }

    fn wait(&self) -> How {
        let mut how = lock(&self.how);
        loop {
            match *how {
                Some(how) => return how,
                None => how = self.told.wait(how).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl fmt::Debug for Commits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commits").field("coming", &self.coming).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::thread;

    use super::super::power_cuts::open_on;
    use super::super::power_cuts::recorder::Recorder;
    use super::super::tests::{NOW, account, request};
    use super::super::{Funds, Ledger};
    use super::*;

    const COUNT: u8 = 20;

    /// Makes all changes while the records are busy, and lets them go when everybody has come.
    fn together<T: Send>(ledger: &Ledger, change: impl Fn(u8) -> T + Sync) -> Vec<T> {
        let busy = ledger.db.begin_write().unwrap();
        thread::scope(|scope| {
            let change = &change;
            let threads: Vec<_> = (1..=COUNT).map(|id| scope.spawn(move || change(id))).collect();
            // All but the first, who waits for the records.
            while ledger.commits.coming.load(Ordering::SeqCst) < usize::from(COUNT) - 1 {
                thread::yield_now();
            }
            drop(busy);
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    /// The cap of a promise of 10 units.
    fn promise(ledger: &Ledger, id: u8) -> Result<u128, LedgerError> {
        let mut wanted = request(id, 10);
        wanted.funds = Some(Funds { free: 1_000_000, promised_elsewhere: 0 });
        ledger.reserve(&wanted).map(|made| made.unwrap().plan.cap)
    }

    fn syncs(disk: &Recorder) -> usize {
        disk.cuts().sync_boundaries().len() / 2
    }

    fn told_to_fail() -> LedgerError {
        LedgerError::Folder(io::Error::other("told to"))
    }

    #[test]
    fn promises_made_together_share_a_commit_and_no_money() {
        let disk = Recorder::default();
        let ledger = open_on(&disk);
        let before = syncs(&disk);
        drop(ledger.db.begin_write().unwrap());
        promise(&ledger, COUNT + 1).unwrap();
        let one = syncs(&disk) - before;
        let mut caps = together(&ledger, |id| promise(&ledger, id).unwrap());
        let all = syncs(&disk) - before - one;
        // The file may have had to grow.
        assert!(all <= 2 * one, "{all} syncs, {one} for one promise alone");
        caps.sort_unstable();
        assert_eq!(caps, (2..=21).map(|nth| nth * 10).collect::<Vec<u128>>());
        drop(ledger);
        let ledger = open_on(&disk);
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 210);
        assert_eq!(promise(&ledger, COUNT + 2).unwrap(), 220);
    }

    #[test]
    fn a_change_that_fails_takes_no_other_with_it() {
        let ledger = open_on(&Recorder::default());
        let made = together(&ledger, |id| {
            if id % 5 > 0 {
                return promise(&ledger, id).map(|_| ());
            }
            ledger.write(|txn| {
                txn.open_table(super::super::DAYS)
                    .map_err(storage)?
                    .insert(account().day(0), 7)
                    .map_err(storage)?;
                Err(told_to_fail())
            })
        });
        for (id, made) in (1..=COUNT).zip(made) {
            assert_eq!(made.is_err(), id % 5 == 0, "{id}: {made:?}");
        }
        assert_eq!(ledger.spent_on_day(&account(), 0).unwrap(), 0, "nothing of them stays");
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 160);
    }

    #[test]
    fn a_disk_that_fails_lets_no_promise_out() {
        let disk = Recorder::default();
        let ledger = open_on(&disk);
        disk.fail_a_sync();
        for made in together(&ledger, |id| promise(&ledger, id)) {
            assert!(matches!(made, Err(LedgerError::Storage(_))), "{made:?}");
        }
        drop(ledger);
        let cap = promise(&open_on(&disk), COUNT + 1).unwrap();
        assert!(cap == 10 || cap == 210, "{cap}: what is in doubt may only raise caps");
    }
}

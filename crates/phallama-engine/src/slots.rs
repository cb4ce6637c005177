//! Which account computes in which slot of the worker.
//!
//! A slot of llama-server keeps the tokens of its last request and reuses a common prefix when the
//! next request allows it (`cache_prompt`). How long a prompt takes would then tell one account
//! what another has asked. So a slot belongs to the account whose prompt it is known to hold, and
//! a request of any other account runs without the cache. The owner changes only when the worker
//! has computed the new prompt: a request that is cancelled before may leave the old one in place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use tokio::sync::{Notify, oneshot};

use crate::{Account, EngineError};

const RETRY_AFTER_MIN_MS: u64 = 250;
const RETRY_AFTER_MAX_MS: u64 = 60_000;

/// Assumed length of a request before one has been seen.
const FIRST_MEAN_MS: u64 = 2_000;

/// Slots of one worker and the queue in front of them.
#[derive(Debug)]
pub(crate) struct SlotTable {
    state: Mutex<State>,
    idle: Notify,
    queue_max: usize,
}

#[derive(Debug)]
struct State {
    slots: Vec<Slot>,
    queue: VecDeque<Waiter>,
    uses: u64,
    mean_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    owner: Option<Account>,
    busy: bool,
    last_use: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    account: Account,
    grant: oneshot::Sender<Lease>,
}

/// The right to use one slot; dropping it passes the slot to the next in the queue.
#[derive(Debug)]
pub(crate) struct Lease {
    /// `None` once the lease was taken back without ever having been used.
    table: Option<Arc<SlotTable>>,
    slot: usize,
    account: Account,
    reuse_cache: bool,
    since: Instant,
}

/// Leaves the queue when the waiting request goes away.
struct Waiting<'a> {
    table: &'a SlotTable,
    id: u64,
}

impl SlotTable {
    pub(crate) fn new(slots: u32, queue_max: usize) -> Arc<Self> {
        let slots = vec![Slot::default(); slots.max(1) as usize];
        let state = State { slots, queue: VecDeque::new(), uses: 0, mean_ms: FIRST_MEAN_MS };
        Arc::new(Self { state: Mutex::new(state), idle: Notify::new(), queue_max })
    }

    /// Waits for a slot, first come first served. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`EngineError::QueueFull`].
    pub(crate) async fn acquire(self: &Arc<Self>, account: Account) -> Result<Lease, EngineError> {
        let (granted, waiting) = {
            let mut state = self.lock();
            if let Some(lease) = self.grant(&mut state, account) {
                return Ok(lease);
            }
            if state.queue.len() >= self.queue_max {
                return Err(state.queue_full());
            }
            let (grant, granted) = oneshot::channel();
            state.uses += 1;
            let id = state.uses;
            state.queue.push_back(Waiter { id, account, grant });
            (granted, Waiting { table: self, id })
        };
        let lease = granted.await.expect("a waiter keeps its place until it is granted a slot");
        drop(waiting);
        Ok(lease)
    }

    /// Requests that hold a slot.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().slots.iter().filter(|slot| slot.busy).count()
    }

    /// Requests that wait for one.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Returns once no request holds or awaits a slot.
    pub(crate) async fn idle(&self) {
        loop {
            let notified = self.idle.notified();
            if self.in_flight() == 0 {
                return;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the slot table")
    }

    fn grant(self: &Arc<Self>, state: &mut State, account: Account) -> Option<Lease> {
        let slot = state.best_free(account)?;
        state.uses += 1;
        let uses = state.uses;
        let chosen = &mut state.slots[slot];
        let reuse_cache = chosen.owner == Some(account);
        if !reuse_cache {
            chosen.owner = None;
        }
        chosen.busy = true;
        chosen.last_use = uses;
        let table = Some(Arc::clone(self));
        Some(Lease { table, slot, account, reuse_cache, since: Instant::now() })
    }

    /// Frees a slot and hands it to the first waiter that still waits.
    fn release(self: &Arc<Self>, slot: usize) {
        let mut free = slot;
        loop {
            let (waiter, lease) = {
                let mut state = self.lock();
                state.slots[free].busy = false;
                let Some(waiter) = state.queue.pop_front() else { break };
                let lease = self.grant(&mut state, waiter.account);
                (waiter, lease.expect("a slot was freed under this lock"))
            };
            match waiter.grant.send(lease) {
                Ok(()) => return,
                Err(mut unused) => {
                    unused.table = None;
                    free = unused.slot;
                }
            }
        }
        self.idle.notify_waiters();
    }
}

impl State {
    /// The account's own slot if it is free, else one that nobody owns, else the one unused for
    /// longest.
    fn best_free(&self, account: Account) -> Option<usize> {
        let rank = |slot: &Slot| (slot.owner != Some(account), slot.owner.is_some(), slot.last_use);
        let free = self.slots.iter().enumerate().filter(|(_, slot)| !slot.busy);
        free.min_by_key(|(_, slot)| rank(slot)).map(|(index, _)| index)
    }

    fn queue_full(&self) -> EngineError {
        let queued = self.queue.len();
        let rounds = (queued + 1).div_ceil(self.slots.len()) as u64;
        let retry_after_ms = self.mean_ms.saturating_mul(rounds);
        let retry_after_ms = retry_after_ms.clamp(RETRY_AFTER_MIN_MS, RETRY_AFTER_MAX_MS);
        EngineError::QueueFull { queued, retry_after_ms }
    }
}

impl Lease {
    /// Number of the slot in the worker.
    pub(crate) fn slot(&self) -> u32 {
        u32::try_from(self.slot).expect("slots are counted in u32")
    }

    /// Whether the slot is known to hold nothing but this account's own tokens.
    pub(crate) fn reuse_cache(&self) -> bool {
        self.reuse_cache
    }

    /// Notes that the worker has computed this request's prompt in the slot.
    pub(crate) fn confirm(&mut self) {
        if let Some(table) = self.table.as_ref().filter(|_| !self.reuse_cache) {
            table.lock().slots[self.slot].owner = Some(self.account);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(table) = self.table.take() else { return };
        let held_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        {
            let mut state = table.lock();
            state.mean_ms = (state.mean_ms / 4 * 3).saturating_add(held_ms / 4);
        }
        table.release(self.slot);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.table.lock().queue.retain(|waiter| waiter.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const ANNE: Account = [1; 20];
    const BOB: Account = [2; 20];
    const CID: Account = [3; 20];

    /// Takes a slot that must be free at once.
    fn take(table: &Arc<SlotTable>, account: Account) -> Lease {
        match poll_once(pin!(table.acquire(account))) {
            Poll::Ready(Ok(lease)) => lease,
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => panic!("no slot is free"),
        }
    }

    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Runs one request of the account to its end; says whether it could reuse the cache.
    fn run(table: &Arc<SlotTable>, account: Account) -> (u32, bool) {
        let mut lease = take(table, account);
        lease.confirm();
        (lease.slot(), lease.reuse_cache())
    }

    #[test]
    fn only_the_account_that_filled_a_slot_reuses_it() {
        let table = SlotTable::new(1, 0);
        assert_eq!(run(&table, ANNE), (0, false));
        assert_eq!(run(&table, ANNE), (0, true));
        assert_eq!(run(&table, BOB), (0, false));
        assert_eq!(run(&table, BOB), (0, true));
        assert_eq!(run(&table, ANNE), (0, false));
    }

    #[test]
    fn a_request_cancelled_before_its_prompt_was_computed_does_not_own_the_slot() {
        let table = SlotTable::new(1, 0);
        run(&table, ANNE);
        drop(take(&table, BOB));
        assert_eq!(run(&table, BOB), (0, false), "anne's tokens may still be there");
        drop(take(&table, ANNE));
        assert_eq!(run(&table, ANNE), (0, false));
    }

    #[test]
    fn prefers_the_own_slot_then_an_unowned_one_then_the_oldest() {
        let table = SlotTable::new(3, 0);
        assert_eq!(run(&table, ANNE).0, 0);
        assert_eq!(run(&table, BOB).0, 1);
        assert_eq!(run(&table, ANNE), (0, true));
        assert_eq!(run(&table, CID).0, 2);
        assert_eq!(run(&table, [4; 20]), (1, false), "bob's slot was unused for longest");
    }

    #[test]
    fn serves_waiters_in_order_and_skips_those_who_left() {
        let table = SlotTable::new(1, 3);
        let first = take(&table, ANNE);
        let mut second = pin!(table.acquire(BOB));
        assert!(poll_once(second.as_mut()).is_pending());
        {
            let mut left = pin!(table.acquire(CID));
            assert!(poll_once(left.as_mut()).is_pending());
            assert_eq!(table.queued(), 2);
        }
        assert_eq!(table.queued(), 1);
        let mut third = pin!(table.acquire(CID));
        assert!(poll_once(third.as_mut()).is_pending());
        drop(first);
        let Poll::Ready(Ok(second)) = poll_once(second.as_mut()) else { panic!("bob is next") };
        assert!(poll_once(third.as_mut()).is_pending());
        assert_eq!((table.in_flight(), table.queued()), (1, 1));
        drop(second);
        assert!(poll_once(third.as_mut()).is_ready());
    }

    #[test]
    fn a_slot_granted_to_someone_who_leaves_at_once_goes_to_the_next() {
        let table = SlotTable::new(1, 2);
        let first = take(&table, ANNE);
        let mut left = Box::pin(table.acquire(BOB));
        assert!(poll_once(left.as_mut()).is_pending());
        let mut next = pin!(table.acquire(CID));
        assert!(poll_once(next.as_mut()).is_pending());
        drop(first);
        drop(left);
        assert!(matches!(poll_once(next.as_mut()), Poll::Ready(Ok(_))));
        assert_eq!((table.in_flight(), table.queued()), (0, 0));
    }

    #[test]
    fn refuses_more_waiters_than_the_queue_holds() {
        let table = SlotTable::new(1, 1);
        let _busy = take(&table, ANNE);
        let mut waiting = pin!(table.acquire(ANNE));
        assert!(poll_once(waiting.as_mut()).is_pending());
        match poll_once(pin!(table.acquire(BOB))) {
            Poll::Ready(Err(EngineError::QueueFull { queued: 1, retry_after_ms })) => {
                assert!((RETRY_AFTER_MIN_MS..=RETRY_AFTER_MAX_MS).contains(&retry_after_ms));
            }
            _ => panic!("the queue is full"),
        }
    }
}

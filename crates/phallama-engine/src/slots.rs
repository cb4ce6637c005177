//! Which account computes in which slot of the worker.
//!
//! A slot of llama-server keeps the tokens of its last request and reuses a common prefix when the
//! next request allows it (`cache_prompt`). How long a prompt takes would then tell one account
//! what another has asked. So a slot belongs to the account whose prompt it is known to hold, and
//! a request of any other account runs without the cache. The owner changes only when the worker
//! has computed the new prompt: a request that is cancelled before may leave the old one in place.
//!
//! Of its own slots an account gets the one whose last request began like this one: the second
//! turn of a conversation finds the first. A conversation that begins anew leaves alone what was
//! used in the last minutes while there is another slot, and computes beside those that compute:
//! llama-server takes a token of each answer in one batch only where their numbers follow one
//! another, and reads all weights once for each batch (docs/reference/throughput.md, "Slots").
//!
//! A slot that becomes free goes to the waiting account that computes least, and among those to the
//! one that was served longest ago: accounts take turns, however many requests each has waiting.
//! One account may have at most half of the queue, so that there is room for others.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};

use crate::{Account, EngineError};

const RETRY_AFTER_MIN_MS: u64 = 250;
const RETRY_AFTER_MAX_MS: u64 = 60_000;

/// Accounts whose last turn is remembered.
const TURNS_MAX: usize = 4_096;

/// How long the next turn of a conversation is expected.
const WARM: Duration = Duration::from_mins(5);

/// Assumed length of a request before one has been seen.
const FIRST_MEAN_MS: u64 = 2_000;

/// How a request begins: one number for each of its messages, or for each piece of its prompt.
pub(crate) type Prefix = Vec<u64>;

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
    /// When each account was last given a slot, in uses.
    turns: HashMap<Account, u64>,
    uses: u64,
    mean_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    owner: Option<Account>,
    /// Who computes in it.
    user: Option<Account>,
    /// How the last request in it began.
    prefix: Prefix,
    last_use: u64,
    last_used_at: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    account: Account,
    prefix: Prefix,
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
        let state = State {
            slots,
            queue: VecDeque::new(),
            turns: HashMap::new(),
            uses: 0,
            mean_ms: FIRST_MEAN_MS,
        };
        Arc::new(Self { state: Mutex::new(state), idle: Notify::new(), queue_max })
    }

    /// Waits for a slot, account by account. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`EngineError::QueueFull`], [`EngineError::ShareFull`].
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        account: Account,
        prefix: Prefix,
    ) -> Result<Lease, EngineError> {
        let (granted, waiting) = {
            let mut state = self.lock();
            if let Some(slot) = state.best_free(account, &prefix) {
                return Ok(self.grant(&mut state, slot, account, prefix));
            }
            state.check_room(account, self.queue_max)?;
            let (grant, granted) = oneshot::channel();
            state.uses += 1;
            let id = state.uses;
            state.queue.push_back(Waiter { id, account, prefix, grant });
            (granted, Waiting { table: self, id })
        };
        let lease = granted.await.expect("a waiter keeps its place until it is granted a slot");
        drop(waiting);
        Ok(lease)
    }

    /// Requests that hold a slot.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().slots.iter().filter(|slot| slot.user.is_some()).count()
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

    fn grant(
        self: &Arc<Self>,
        state: &mut State,
        slot: usize,
        account: Account,
        prefix: Prefix,
    ) -> Lease {
        state.uses += 1;
        let uses = state.uses;
        let chosen = &mut state.slots[slot];
        let reuse_cache = chosen.owner == Some(account);
        if !reuse_cache {
            chosen.owner = None;
        }
        chosen.user = Some(account);
        chosen.prefix = prefix;
        chosen.last_use = uses;
        state.note_turn(account);
        let table = Some(Arc::clone(self));
        Lease { table, slot, account, reuse_cache, since: Instant::now() }
    }

    /// Frees a slot and hands it to the waiter whose turn it is.
    fn release(self: &Arc<Self>, slot: usize) {
        let mut free = slot;
        loop {
            let (grant, lease) = {
                let mut state = self.lock();
                state.slots[free].user = None;
                let Some(waiter) = state.next_waiter() else { break };
                let Waiter { account, prefix, grant, .. } = waiter;
                let slot = state.best_free(account, &prefix);
                let slot = slot.expect("a slot was freed under this lock");
                (grant, self.grant(&mut state, slot, account, prefix))
            };
            match grant.send(lease) {
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
    /// The account's own slot whose last request began most like this one, else one that is not
    /// kept for a conversation, else one beside slots that compute, else one that nobody owns, else
    /// the one unused for longest.
    fn best_free(&self, account: Account, prefix: &[u64]) -> Option<usize> {
        let common = |slot: &Slot| match slot.owner {
            Some(owner) if owner == account => {
                slot.prefix.iter().zip(prefix).take_while(|(old, new)| old == new).count()
            }
            _ => 0,
        };
        let is_warm = |slot: &Slot| {
            slot.owner.is_some() && slot.last_used_at.is_some_and(|at| at.elapsed() < WARM)
        };
        let computes = |index: usize| self.slots.get(index).is_some_and(|slot| slot.user.is_some());
        let beside = |index: usize| {
            u8::from(computes(index.wrapping_sub(1))) + u8::from(computes(index + 1))
        };
        let free = self.slots.iter().enumerate().filter(|(_, slot)| slot.user.is_none());
        let best = free.min_by_key(|&(index, slot)| {
            let (common, beside) = (Reverse(common(slot)), Reverse(beside(index)));
            (common, is_warm(slot), beside, slot.owner.is_some(), slot.last_use)
        });
        best.map(|(index, _)| index)
    }

    /// Whether one more request of the account may wait.
    fn check_room(&self, account: Account, queue_max: usize) -> Result<(), EngineError> {
        let queued = self.queue.len();
        if queued >= queue_max {
            return Err(EngineError::QueueFull { queued, retry_after_ms: self.wait_ms(queued) });
        }
        let queued = self.queue.iter().filter(|waiter| waiter.account == account).count();
        if queued >= queue_max.div_ceil(2) {
            return Err(EngineError::ShareFull { queued, retry_after_ms: self.wait_ms(queued) });
        }
        Ok(())
    }

    /// How long the last of so many waiting requests may have to wait.
    fn wait_ms(&self, queued: usize) -> u64 {
        let rounds = (queued + 1).div_ceil(self.slots.len()) as u64;
        let wait_ms = self.mean_ms.saturating_mul(rounds);
        wait_ms.clamp(RETRY_AFTER_MIN_MS, RETRY_AFTER_MAX_MS)
    }

    fn next_waiter(&mut self) -> Option<Waiter> {
        let computing =
            |account: Account| self.slots.iter().filter(|slot| slot.user == Some(account)).count();
        let served = |account: Account| self.turns.get(&account).copied().unwrap_or(0);
        let rank = |waiter: &Waiter| (computing(waiter.account), served(waiter.account));
        // Of equals the one that has waited longest: `min_by_key` takes the first.
        let waiting = self.queue.iter().enumerate();
        let (next, _) = waiting.min_by_key(|(_, waiter)| rank(waiter))?;
        self.queue.remove(next)
    }

    fn note_turn(&mut self, account: Account) {
        if self.turns.len() >= TURNS_MAX {
            // Those that wait keep their place; for others it is as if they were new.
            let queue = &self.queue;
            self.turns.retain(|known, _| queue.iter().any(|waiter| waiter.account == *known));
        }
        self.turns.insert(account, self.uses);
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
            state.slots[self.slot].last_used_at = Some(Instant::now());
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
        match poll_once(pin!(table.acquire(account, vec![1]))) {
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
    fn answers_are_computed_side_by_side() {
        let table = SlotTable::new(8, 0);
        for account in 11..=16 {
            run(&table, [account; 20]);
        }
        // Two that nobody owns; then the next to those, though others were unused for longer.
        let leases = [BOB; 4].map(|bob| take(&table, bob));
        assert_eq!(leases.each_ref().map(Lease::slot), [6, 7, 5, 4]);
        let [_six, _seven, five, _four] = leases;
        drop(five);
        assert_eq!(take(&table, CID).slot(), 5, "the gap between two that compute");
    }

    #[test]
    fn a_slot_that_a_conversation_may_come_back_to_is_left_alone() {
        let table = SlotTable::new(4, 0);
        let lease = |prefix: u64| match poll_once(pin!(table.acquire(ANNE, vec![prefix]))) {
            Poll::Ready(Ok(mut lease)) => {
                lease.confirm();
                lease
            }
            _ => panic!("no slot is free"),
        };
        for prefix in 0..4 {
            drop(lease(prefix));
        }
        table.lock().slots[0].last_used_at = None;
        let third = lease(3);
        assert_eq!((third.slot(), lease(9).slot()), (3, 0), "not 2, which was used a moment ago");
        assert_eq!(lease(8).slot(), 2, "all were: beside the one that computes");
    }

    #[test]
    fn accounts_take_turns_however_many_requests_each_has_waiting() {
        let table = SlotTable::new(1, 10);
        let mut busy = Some(take(&table, ANNE));
        let mut waiting: Vec<_> = [ANNE, ANNE, ANNE, BOB, BOB, CID]
            .into_iter()
            .map(|account| (account, Box::pin(table.acquire(account, vec![1]))))
            .collect();
        for (_, waiter) in &mut waiting {
            assert!(poll_once(waiter.as_mut()).is_pending());
        }
        let mut served = Vec::new();
        while !waiting.is_empty() {
            drop(busy.take());
            let ready = waiting.iter_mut().position(|(_, waiter)| {
                match poll_once(waiter.as_mut()) {
                    Poll::Ready(Ok(lease)) => busy = Some(lease),
                    Poll::Ready(Err(error)) => panic!("{error}"),
                    Poll::Pending => return false,
                }
                true
            });
            served.push(waiting.remove(ready.expect("the slot was passed on")).0);
        }
        assert_eq!(served, [BOB, CID, ANNE, BOB, ANNE, ANNE]);
    }

    #[test]
    fn a_free_slot_goes_to_the_account_that_computes_least() {
        let table = SlotTable::new(3, 10);
        let (anne, _anne, bob) = (take(&table, ANNE), take(&table, ANNE), take(&table, BOB));
        let mut annes = pin!(table.acquire(ANNE, vec![1]));
        let mut bobs = pin!(table.acquire(BOB, vec![1]));
        assert!(poll_once(annes.as_mut()).is_pending());
        assert!(poll_once(bobs.as_mut()).is_pending());
        drop(bob);
        assert!(poll_once(annes.as_mut()).is_pending());
        assert!(poll_once(bobs.as_mut()).is_ready());
        drop(anne);
        assert!(poll_once(annes.as_mut()).is_ready());
    }

    #[test]
    fn one_account_has_at_most_half_of_the_queue() {
        let table = SlotTable::new(1, 5);
        let _busy = take(&table, ANNE);
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(table.acquire(ANNE, vec![1]))).collect();
        for waiter in &mut waiting {
            assert!(poll_once(waiter.as_mut()).is_pending());
        }
        match poll_once(pin!(table.acquire(ANNE, vec![1]))) {
            Poll::Ready(Err(EngineError::ShareFull { queued: 3, .. })) => {}
            _ => panic!("anne has her share"),
        }
        let mut bobs = pin!(table.acquire(BOB, vec![1]));
        assert!(poll_once(bobs.as_mut()).is_pending(), "there is room for bob");
        assert_eq!(table.queued(), 4);
    }

    #[test]
    fn a_conversation_finds_its_slot_again_and_a_new_one_leaves_it_alone() {
        let table = SlotTable::new(3, 0);
        let run = |prefix: &[u64]| {
            let Poll::Ready(Ok(mut lease)) = poll_once(pin!(table.acquire(ANNE, prefix.to_vec())))
            else {
                panic!("no slot is free")
            };
            lease.confirm();
            lease.slot()
        };
        assert_eq!((run(&[1, 2]), run(&[5, 6])), (0, 1));
        assert_eq!((run(&[1, 2, 3, 4]), run(&[5, 6, 7, 8])), (0, 1));
        assert_eq!(run(&[9]), 2);
        assert_eq!(run(&[1, 2, 3, 4, 10]), 0);
        assert_eq!(run(&[11]), 1, "all are owned: the one unused for longest");
    }

    #[test]
    fn serves_waiters_in_order_and_skips_those_who_left() {
        let table = SlotTable::new(1, 3);
        let first = take(&table, ANNE);
        let mut second = pin!(table.acquire(BOB, vec![1]));
        assert!(poll_once(second.as_mut()).is_pending());
        {
            let mut left = pin!(table.acquire(CID, vec![1]));
            assert!(poll_once(left.as_mut()).is_pending());
            assert_eq!(table.queued(), 2);
        }
        assert_eq!(table.queued(), 1);
        let mut third = pin!(table.acquire(CID, vec![1]));
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
        let mut left = Box::pin(table.acquire(BOB, vec![1]));
        assert!(poll_once(left.as_mut()).is_pending());
        let mut next = pin!(table.acquire(CID, vec![1]));
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
        let mut waiting = pin!(table.acquire(ANNE, vec![1]));
        assert!(poll_once(waiting.as_mut()).is_pending());
        match poll_once(pin!(table.acquire(BOB, vec![1]))) {
            Poll::Ready(Err(EngineError::QueueFull { queued: 1, retry_after_ms })) => {
                assert!((RETRY_AFTER_MIN_MS..=RETRY_AFTER_MAX_MS).contains(&retry_after_ms));
            }
            _ => panic!("the queue is full"),
        }
    }
}

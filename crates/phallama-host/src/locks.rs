//! Sending users' allocations to the escrow: those that come within a short time share a
//! transaction.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use phallama_chain::{LockRow, Sender};
use phallama_protocol::ids::{Address, Amount, PodId};
use tokio::sync::{mpsc, watch};

use crate::books::{Books, Purpose};
use crate::money::minus;
use crate::view::{ChainView, UserMoney};

/// Rows per transaction, most: at about 34,000 gas each, well below a block.
pub const ROWS_MAX: usize = 100;
/// Locks that may wait; more are refused.
pub const WAITING_MAX: usize = 1_000;

/// How far a lock has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// Waiting for its transaction, or for the block.
    Pending,
    /// The channel's locked amount has reached the allocation's total.
    Locked,
    /// The contract skipped the row, or the transaction failed.
    Failed(String),
}

/// Follows one lock.
#[derive(Clone, Debug)]
pub struct LockTicket(watch::Receiver<LockState>);

impl LockTicket {
    /// Waits until the lock is mined or has failed, at most `limit`.
    pub async fn outcome(mut self, limit: Duration) -> LockState {
        let done = self.0.wait_for(|state| *state != LockState::Pending);
        match tokio::time::timeout(limit, done).await {
            Ok(Ok(state)) => state.clone(),
            Ok(Err(_)) => LockState::Failed("the pod is stopping".to_owned()),
            Err(_) => LockState::Failed(format!("not mined within {} ms", limit.as_millis())),
        }
    }
}

struct Queued {
    user: Address,
    row: LockRow,
    state: watch::Sender<LockState>,
}

struct Pending {
    total: Amount,
    ticket: LockTicket,
}

type PendingMap = Arc<Mutex<HashMap<Address, Pending>>>;

/// Locks on their way. Clones share them.
#[derive(Clone)]
pub struct LockQueue {
    queue: mpsc::Sender<Queued>,
    pending: PendingMap,
}

impl LockQueue {
    /// Starts the task that sends; it ends with the last clone of the queue.
    pub fn start(
        sender: Sender,
        pod: PodId,
        view: Arc<ChainView>,
        gather: Duration,
        books: Books,
    ) -> Self {
        let (queue, incoming) = mpsc::channel(WAITING_MAX);
        let pending = PendingMap::default();
        let pending_too = Arc::clone(&pending);
        let batcher = Batcher { sender, pod, view, gather, books, pending: pending_too };
        tokio::spawn(batcher.run(incoming));
        Self { queue, pending }
    }

    /// Total of the allocation of this user that is on its way.
    pub fn pending_total(&self, user: Address) -> Option<Amount> {
        pending(&self.pending).get(&user).map(|pending| pending.total)
    }

    /// Follows the lock of this user that is on its way.
    pub fn ticket(&self, user: Address) -> Option<LockTicket> {
        pending(&self.pending).get(&user).map(|pending| pending.ticket.clone())
    }

    /// Queues a lock. One of at least this total that is on its way already takes its place. `None`
    /// when too many wait.
    pub fn submit(&self, user: Address, row: LockRow) -> Option<LockTicket> {
        let mut all = pending(&self.pending);
        if let Some(known) = all.get(&user).filter(|known| known.total >= row.total) {
            return Some(known.ticket.clone());
        }
        let (state, ticket) = watch::channel(LockState::Pending);
        let ticket = LockTicket(ticket);
        self.queue.try_send(Queued { user, row, state }).ok()?;
        all.insert(user, Pending { total: row.total, ticket: ticket.clone() });
        Some(ticket)
    }
}

fn pending(map: &PendingMap) -> MutexGuard<'_, HashMap<Address, Pending>> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a row ends that need not be sent any more.
fn needless(row: &LockRow, money: &UserMoney) -> Option<LockState> {
    let (channel, free) = (&money.channel, money.account.free);
    let missing = minus(row.total, channel.locked);
    if channel.epoch != row.epoch || channel.exit_at_unix_s != 0 {
        Some(LockState::Failed("the channel has ended, or its user is leaving".to_owned()))
    } else if missing == Amount::ZERO {
        Some(LockState::Locked)
    } else if missing > free {
        let reason = format!("it takes {missing} of the deposit, {free} is free by now");
        Some(LockState::Failed(reason))
    } else {
        None
    }
}

struct Batcher {
    sender: Sender,
    pod: PodId,
    view: Arc<ChainView>,
    gather: Duration,
    books: Books,
    pending: PendingMap,
}

impl Batcher {
    async fn run(self, mut incoming: mpsc::Receiver<Queued>) {
        while let Some(first) = incoming.recv().await {
            let mut batch = vec![first];
            let gather = tokio::time::sleep(self.gather);
            tokio::pin!(gather);
            while batch.len() < ROWS_MAX {
                tokio::select! {
                    () = &mut gather => break,
                    next = incoming.recv() => match next {
                        Some(next) => batch.push(next),
                        None => break,
                    },
                }
            }
            self.send(batch).await;
        }
    }

    /// Sends one transaction and tells everyone how it went. What counts is what the chain says
    /// afterwards: a row may be locked although the transaction failed, by somebody else's.
    async fn send(&self, batch: Vec<Queued>) {
        let batch = self.sift(batch).await;
        if batch.is_empty() {
            return;
        }
        let rows: Vec<_> = batch.iter().map(|queued| queued.row).collect();
        let sent = self.sender.lock(self.pod, &rows).await;
        let failure = match &sent {
            Ok(tx) => {
                tracing::info!(rows = rows.len(), gas = tx.gas_used, "locks: mined");
                let moved = Amount::new(tx.locked()).unwrap_or(Amount::MAX);
                self.books.note(Purpose::Lock, moved, tx);
                "the contract skipped it: expired, not covered, or signed by another key".to_owned()
            }
            Err(error) => {
                tracing::warn!(%error, rows = rows.len(), "locks: failed");
                error.to_string()
            }
        };
        let users: Vec<_> = batch.iter().map(|queued| queued.user).collect();
        let channels = self.view.channels(&users).await.unwrap_or_default();
        for (index, queued) in batch.into_iter().enumerate() {
            self.view.forget(queued.user);
            let locked = channels.get(index).is_some_and(|c| c.locked >= queued.row.total);
            let state = if locked { LockState::Locked } else { LockState::Failed(failure.clone()) };
            self.finish(&queued, state);
        }
    }

    /// Takes out what the contract would skip by now: the transaction before this one may have
    /// taken long. Whoever cannot be read is not held up.
    async fn sift(&self, batch: Vec<Queued>) -> Vec<Queued> {
        let read = batch.iter().map(|queued| self.view.money(queued.user));
        let read = futures::future::join_all(read).await;
        let mut rows = Vec::with_capacity(batch.len());
        for (queued, money) in batch.into_iter().zip(read) {
            match money.and_then(|money| needless(&queued.row, &money)) {
                Some(state) => self.finish(&queued, state),
                None => rows.push(queued),
            }
        }
        rows
    }

    fn finish(&self, queued: &Queued, state: LockState) {
        let mut all = pending(&self.pending);
        if all.get(&queued.user).is_some_and(|known| known.total == queued.row.total) {
            all.remove(&queued.user);
        }
        drop(all);
        queued.state.send_replace(state);
    }
}

//! Looking after the outbox: one round holds every entry against the chain and does what is due.
//! The states are described in [`crate::sender`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{B256, Bytes, U256};
use alloy::providers::{Provider as _, RootProvider};
use alloy::rpc::types::TransactionReceipt;
use tokio::sync::watch;

use crate::at::AtBlock;
use crate::broadcast::Broadcast;
use crate::convert::to_address;
use crate::error::ChainError;
use crate::outbox::{Entry, Mined, Payload, Try};
use crate::record::BlockTag;
use crate::sender::{Outstanding, Sender};

/// How long a receipt is not read again while the account's count stays above its nonce.
const SEEN_FOR: Duration = Duration::from_secs(10);
/// Where a chain has no `safe` blocks, these many on top of one make it so.
const SAFE_DEPTH_BLOCKS: u64 = 64;
/// As many missing nonces as are filled at once.
const FILL_MAX: u64 = 64;
const TRANSFER_GAS: u64 = 21_000;
const WHAT: &str = "resend";
const RECEIPT: &str = "eth_getTransactionReceipt";

/// What is known about an entry, for whoever waits for it.
#[derive(Clone, Debug)]
pub(crate) enum Progress {
    /// The newest transaction for the nonce.
    Waiting {
        hash: B256,
    },
    Mined(Arc<TransactionReceipt>),
    /// Another program used the nonce.
    Taken,
}

/// An entry of the outbox in this process.
pub(crate) struct Live {
    pub(crate) entry: Entry,
    pub(crate) progress: watch::Sender<Progress>,
    /// The last broadcast by this process.
    sent_at: Option<Instant>,
    /// When the newest transaction was made, or found at the start.
    tried_at: Instant,
    /// The head when that was: without a newer one no price would have helped.
    tried_head: Option<u64>,
    /// Since when the nonce is in a block and no receipt of ours is found.
    missing_since: Option<Instant>,
    /// When its receipt was last read.
    seen_at: Option<Instant>,
}

/// The outbox in this process, by nonce.
#[derive(Default)]
pub(crate) struct State {
    live: Vec<Live>,
    pub(crate) looked_at: Option<Instant>,
}

impl State {
    /// What an earlier process left.
    pub(crate) fn found(entries: Vec<Entry>) -> Self {
        Self {
            live: entries.into_iter().map(|entry| Live::new(entry, None)).collect(),
            looked_at: None,
        }
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.live.iter().map(|live| live.entry.clone()).collect()
    }

    pub(crate) fn last_nonce(&self) -> Option<u64> {
        self.live.last().map(|live| live.entry.nonce)
    }

    pub(crate) fn waiting_with(&self, payload: &Payload) -> Option<&Live> {
        self.live.iter().find(|live| live.entry.mined.is_none() && live.entry.payload == *payload)
    }

    /// Whether an entry that does the same is in a block that could be reorganised away.
    pub(crate) fn was_mined(&self, payload: &Payload) -> bool {
        self.live.iter().any(|live| live.entry.mined.is_some() && live.entry.payload == *payload)
    }

    /// Adds an entry that is broadcast next.
    pub(crate) fn push(&mut self, entry: Entry) -> watch::Receiver<Progress> {
        let live = Live::new(entry, Some(Instant::now()));
        let waiting = live.progress.subscribe();
        self.live.push(live);
        self.live.sort_by_key(|live| live.entry.nonce);
        waiting
    }

    pub(crate) fn withdraw(&mut self, nonce: u64) {
        self.live.retain(|live| live.entry.nonce != nonce);
    }

    /// Whether a transaction for one of these functions is in no block.
    pub(crate) fn is_waiting_for(&self, what: &[&str]) -> bool {
        let waiting = self.live.iter().filter(|live| live.entry.mined.is_none());
        waiting.into_iter().any(|live| what.contains(&live.entry.what.as_str()))
    }

    pub(crate) fn outstanding(&self) -> Outstanding {
        let mined = self.live.iter().filter(|live| live.entry.mined.is_some()).count();
        Outstanding { waiting: self.live.len() - mined, mined }
    }
}

impl Live {
    fn new(entry: Entry, sent_at: Option<Instant>) -> Self {
        let (progress, _) = watch::channel(Progress::Waiting { hash: entry.newest().hash });
        Self {
            entry,
            progress,
            sent_at,
            tried_at: Instant::now(),
            tried_head: None,
            missing_since: None,
            seen_at: None,
        }
    }

    /// Whether there was a block since the newest transaction was made.
    fn was_passed_over(&mut self, head: Option<u64>) -> bool {
        head.is_some_and(|head| head > *self.tried_head.get_or_insert(head))
    }

    /// Sees it in a block; returns whether that is news.
    fn is_mined(&mut self, receipt: TransactionReceipt) -> bool {
        let block = receipt.block_number.unwrap_or_default();
        let mined = Some(Mined { hash: receipt.transaction_hash, block });
        let news = self.entry.mined != mined;
        self.entry.mined = mined;
        (self.missing_since, self.seen_at) = (None, Some(Instant::now()));
        self.progress.send_replace(Progress::Mined(Arc::new(receipt)));
        news
    }

    /// Sees that it is in no block any more.
    fn is_taken_out(&mut self) {
        self.entry.mined = None;
        (self.sent_at, self.seen_at) = (None, None);
        (self.tried_at, self.tried_head) = (Instant::now(), None);
        self.progress.send_replace(Progress::Waiting { hash: self.entry.newest().hash });
    }
}

impl Sender {
    /// One look at every entry.
    pub(crate) async fn round(&self, state: &mut State) -> Result<(), ChainError> {
        state.looked_at = Some(Instant::now());
        if state.live.is_empty() {
            return Ok(());
        }
        let agreed = self.agreed_nonce().await;
        let count = match &agreed {
            Ok((_, count)) => *count,
            // Enough to go on sending, not to believe anything for good.
            Err(_) => self.mined_nonce(WHAT).await?,
        };
        if agreed.is_ok() && self.look_for_receipts(state, count).await? {
            self.store(state).await?;
        }
        if agreed.is_ok() {
            self.fill_gap(state, count).await?;
        }
        let head = agreed.as_ref().ok().map(|(at, _)| at.head().number);
        self.send_what_is_due(state, count, head).await?;
        if let Ok((at, _)) = agreed {
            self.forget_what_is_safe(state, &at).await?;
        }
        Ok(())
    }

    async fn agreed_nonce(&self) -> Result<(AtBlock, u64), ChainError> {
        let at = self.chain.at(BlockTag::Latest).await?;
        let count = at.nonce(self.address()).await?;
        Ok((at, count))
    }

    /// Compares entries with the account's count; returns whether one changed.
    async fn look_for_receipts(&self, state: &mut State, count: u64) -> Result<bool, ChainError> {
        let mut changed = false;
        for live in &mut state.live {
            if live.entry.nonce >= count {
                if live.entry.mined.is_some() {
                    live.is_taken_out();
                    changed = true;
                }
                live.missing_since = None;
            } else if live.seen_at.is_none_or(|at| at.elapsed() >= SEEN_FOR) {
                match self.receipt(&live.entry).await? {
                    Some(receipt) => changed |= live.is_mined(receipt),
                    None => _ = live.missing_since.get_or_insert_with(Instant::now),
                }
            }
        }
        let limit = self.policy.taken_after;
        let is_missing = |live: &&Live| live.missing_since.is_some_and(|at| at.elapsed() >= limit);
        let mut taken = Vec::new();
        for live in state.live.iter().filter(is_missing) {
            if self.is_nowhere(&live.entry).await {
                live.progress.send_replace(Progress::Taken);
                taken.push(live.entry.nonce);
            }
        }
        state.live.retain(|live| !taken.contains(&live.entry.nonce));
        Ok(changed || !taken.is_empty())
    }

    /// Whether no endpoint has a receipt of any of an entry's transactions.
    async fn is_nowhere(&self, entry: &Entry) -> bool {
        for hash in entry.tries.iter().map(|one| one.hash) {
            let ask = move |provider: RootProvider| async move {
                provider.get_transaction_receipt(hash).await
            };
            if !self.chain.endpoints.nobody_has(RECEIPT, ask).await {
                return false;
            }
        }
        true
    }

    /// The receipt of whichever of an entry's transactions was mined.
    async fn receipt(&self, entry: &Entry) -> Result<Option<TransactionReceipt>, ChainError> {
        let mined = entry.mined.map(|mined| mined.hash);
        let tries = entry.tries.iter().rev().map(|one| one.hash);
        for hash in mined.into_iter().chain(tries.filter(|hash| Some(*hash) != mined)) {
            let ask = move |provider: RootProvider| async move {
                provider.get_transaction_receipt(hash).await
            };
            let same =
                |one: &Option<_>, other: &Option<_>| same_receipt(one.as_ref(), other.as_ref());
            let found = self.chain.endpoints.agreed(RECEIPT, ask, same).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Broadcasts what nobody may have, replaces what waits too long.
    async fn send_what_is_due(
        &self,
        state: &mut State,
        count: u64,
        head: Option<u64>,
    ) -> Result<(), ChainError> {
        for index in 0..state.live.len() {
            let live = &mut state.live[index];
            if live.entry.mined.is_some() || live.entry.nonce < count {
                continue;
            }
            let may_replace = live.entry.nonce == count && live.was_passed_over(head);
            let waited = live.tried_at.elapsed();
            let is_due =
                live.sent_at.is_none_or(|at| at.elapsed() >= self.policy.rebroadcast_after);
            if may_replace
                && waited >= self.policy.replace_after
                && self.replace(state, index, head).await?
            {
                continue;
            }
            if !is_due {
                continue;
            }
            let entry = &state.live[index].entry;
            let (_, raw) = self.sign(entry, entry.newest().fees);
            let answer = self.chain.endpoints.broadcast(&raw).await;
            state.live[index].sent_at = Some(Instant::now());
            if may_replace && matches!(answer, Broadcast::Underpriced) {
                self.replace(state, index, head).await?;
            }
        }
        Ok(())
    }

    /// Signs the entry anew with higher fees; returns false where they would be above a limit.
    async fn replace(
        &self,
        state: &mut State,
        index: usize,
        head: Option<u64>,
    ) -> Result<bool, ChainError> {
        let before = state.live[index].entry.newest().fees;
        let market = match self.chain.fees(WHAT).await {
            // No price that may be offered would do.
            Err(ChainError::FeeAboveCeiling { .. }) => return Ok(false),
            market => market?,
        };
        let Ok(fees) = before.raised(market, self.chain.fee_ceiling_wei()) else {
            return Ok(false);
        };
        let live = &mut state.live[index];
        let (hash, raw) = self.sign(&live.entry, fees);
        live.entry.tries.push(Try { hash, fees });
        (live.sent_at, live.tried_at) = (Some(Instant::now()), Instant::now());
        live.tried_head = head;
        live.progress.send_replace(Progress::Waiting { hash });
        self.store(state).await?;
        // Whatever the answer, the next round sees what became of it.
        self.chain.endpoints.broadcast(&raw).await;
        Ok(true)
    }

    /// Nonces below the first entry that no block and no node has: the chain went back further than
    /// the outbox remembers.
    async fn fill_gap(&self, state: &mut State, count: u64) -> Result<(), ChainError> {
        let Some(first) = state.live.first().map(|live| live.entry.nonce) else { return Ok(()) };
        if first <= count {
            return Ok(());
        }
        let from = self.after_the_pool(WHAT, count).await?;
        if from >= first {
            return Ok(());
        }
        let fees = self.chain.fees(WHAT).await?;
        let to = Some(to_address(self.address()));
        let nothing = Payload { to, data: Bytes::new(), value: U256::ZERO };
        for nonce in from..first.min(from + FILL_MAX) {
            let (entry, _) = self.entry(nonce, "fill a gap", &nothing, TRANSFER_GAS, fees);
            state.push(entry);
        }
        for live in state.live.iter_mut().filter(|live| live.entry.nonce < first) {
            live.sent_at = None;
        }
        self.store(state).await
    }

    /// Drops mined entries that nothing can take back.
    async fn forget_what_is_safe(&self, state: &mut State, at: &AtBlock) -> Result<(), ChainError> {
        if state.outstanding().mined == 0 {
            return Ok(());
        }
        let safe = match self.chain.at(BlockTag::Safe).await {
            Ok(safe) => safe.nonce(self.address()).await.ok(),
            Err(_) => None,
        };
        let deep = at.head().number.saturating_sub(SAFE_DEPTH_BLOCKS);
        let is_safe = |live: &Live| {
            live.entry.mined.is_some_and(|mined| match safe {
                Some(count) => live.entry.nonce < count,
                None => mined.block < deep,
            })
        };
        let before = state.live.len();
        state.live.retain(|live| !is_safe(live));
        if state.live.len() == before { Ok(()) } else { self.store(state).await }
    }
}

/// Whether two endpoints tell the same about a transaction. What else a receipt may hold differs
/// between honest nodes, such as the time of the block in every log.
fn same_receipt(one: Option<&TransactionReceipt>, other: Option<&TransactionReceipt>) -> bool {
    let (one, other) = match (one, other) {
        (Some(one), Some(other)) => (one, other),
        (one, other) => return one.is_none() && other.is_none(),
    };
    let place = |receipt: &TransactionReceipt| {
        (receipt.transaction_hash, receipt.block_hash, receipt.block_number, receipt.status())
    };
    let logs = |receipt: &TransactionReceipt| -> Vec<alloy::primitives::Log> {
        receipt.inner.logs().iter().map(|log| log.inner.clone()).collect()
    };
    place(one) == place(other) && logs(one) == logs(other)
}

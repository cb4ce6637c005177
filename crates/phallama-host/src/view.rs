//! What the host believes of the chain: the newest head, and accounts and channels cached per
//! block.
//!
//! The chain may replace its newest blocks. That is noticed by hashes ([`HeadTrail`]): a head must
//! stand on the one before it. If it does not, everything cached is forgotten and read again. What
//! of it was counted as paid or locked for good was read at the `safe` head, below which nothing is
//! replaced.
//!
//! An endpoint that fails, or that shows no new block for longer than the chain needs, counts as
//! behind: the pod then goes on up to its risk cap with what was last read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use phallama_chain::{Account, Advance, BlockTag, Chain, ChainError, Channel, Head, HeadTrail};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use tokio::time::Instant;

use crate::admission::Standing;
use crate::clock;
use crate::money::{minus, plus};

/// Users kept before those of earlier blocks are forgotten.
const CACHED_MAX: usize = 100_000;
/// Heads remembered, to tell how deep a reorganisation was.
const TRAIL_HEADS: usize = 128;

/// One user's money as last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserMoney {
    /// The account.
    pub account: Account,
    /// Of its free money, what the chain's sequencer cannot take back any more.
    pub safe_free: Amount,
    /// The channel with this pod.
    pub channel: Channel,
    /// The same of its locked amount.
    pub safe_locked: Amount,
}

struct Cached {
    money: UserMoney,
    of: Digest32,
}

/// After how long the chain counts as not answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Without an answer of the endpoint.
    pub answer: Duration,
    /// Without a new block, on a chain that makes them by itself.
    pub block: Option<Duration>,
}

struct State {
    head: Head,
    /// When it was first seen.
    head_since: Instant,
    read_at: Instant,
    failing: bool,
    users: HashMap<Address, Cached>,
    /// Channels as last read, of whatever block.
    channels: HashMap<Address, Channel>,
    /// Reserves admitted since the chain stopped answering.
    risked: Amount,
    gas_price_wei: Option<u128>,
}

impl State {
    fn is_current(&self, patience: &Patience) -> bool {
        let late = patience.block.is_some_and(|most| self.head_since.elapsed() >= most);
        !self.failing && !late && self.read_at.elapsed() < patience.answer
    }

    fn moves_to(&mut self, head: Head) {
        (self.head, self.head_since) = (head, Instant::now());
    }

    /// Begins the risk cap anew when the chain is back.
    fn caught_up(&mut self, patience: &Patience) {
        if self.is_current(patience) {
            self.risked = Amount::ZERO;
        }
    }
}

/// The chain as this pod sees it.
pub struct ChainView {
    chain: Chain,
    pod: PodId,
    patience: Patience,
    risk_cap: Amount,
    /// Held while looking at the head.
    trail: tokio::sync::Mutex<Trail>,
    state: Mutex<State>,
}

/// The heads that were seen.
struct Trail {
    heads: HeadTrail,
    /// Since when the chain has shown a lower one than was seen.
    behind_since: Option<Instant>,
}

impl ChainView {
    /// Reads the head.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn open(
        chain: Chain,
        pod: PodId,
        patience: Patience,
        risk_cap: Amount,
    ) -> Result<Self, ChainError> {
        let mut heads = HeadTrail::new(TRAIL_HEADS);
        heads.advance(&chain).await?;
        let head = *heads.last().expect("the first look remembers a head");
        let trail = tokio::sync::Mutex::new(Trail { heads, behind_since: None });
        let state = Mutex::new(State {
            head,
            head_since: Instant::now(),
            read_at: Instant::now(),
            failing: false,
            users: HashMap::new(),
            channels: HashMap::new(),
            risked: Amount::ZERO,
            gas_price_wei: None,
        });
        Ok(Self { chain, pod, patience, risk_cap, trail, state })
    }

    /// The chain itself.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the head.
    ///
    /// # Errors
    /// [`ChainError`]; the view then counts as failing.
    pub async fn advance(&self) -> Result<Advance, ChainError> {
        let looked = self.look().await;
        if looked.is_err() {
            self.state().failing = true;
        }
        looked
    }

    async fn look(&self) -> Result<Advance, ChainError> {
        let mut trail = self.trail.lock().await;
        let mut advance = trail.heads.advance(&self.chain).await?;
        if let Advance::Behind(head) = advance {
            // It counts as no answer: what it says of accounts is old. Unless it stays like that:
            // then the head before was none.
            if trail.behind_since.get_or_insert_with(Instant::now).elapsed() < self.patience.answer
            {
                return Ok(advance);
            }
            tracing::warn!(block = head.number, "chain: a higher head was never seen again");
            let lost = self.state().head;
            trail.heads = HeadTrail::new(TRAIL_HEADS);
            if let Advance::Extended(head) = trail.heads.advance(&self.chain).await? {
                advance = Advance::Reorganised { head, lost, common: None };
            }
        }
        trail.behind_since = None;
        let mut state = self.state();
        (state.read_at, state.failing) = (Instant::now(), false);
        match &advance {
            Advance::Same | Advance::Behind(_) => {}
            Advance::Extended(head) => {
                state.moves_to(*head);
                if state.users.len() > CACHED_MAX {
                    state.users.retain(|_, cached| cached.of == head.hash);
                    let State { users, channels, .. } = &mut *state;
                    channels.retain(|user, _| users.contains_key(user));
                }
            }
            Advance::Reorganised { head, lost, .. } => {
                let (block, was) = (head.number, lost.number);
                tracing::warn!(block, was, "chain: blocks were replaced");
                state.moves_to(*head);
                state.users.clear();
                state.channels.clear();
            }
        }
        state.caught_up(&self.patience);
        Ok(advance)
    }

    /// The newest block read.
    pub fn block(&self) -> u64 {
        self.state().head.number
    }

    /// The chain's time, seconds since 1970: that of the newest block, and what has passed since it
    /// was seen. Whatever is compared with times that the contract compares with takes this one;
    /// the machine's clock may be wrong.
    pub fn now_unix_s(&self) -> u64 {
        let state = self.state();
        state.head.timestamp_unix_s.saturating_add(state.head_since.elapsed().as_secs())
    }

    /// Age of the newest block by the machine's clock.
    pub fn head_lag(&self) -> Duration {
        let made = self.state().head.timestamp_unix_s;
        Duration::from_secs(clock::now_unix_s().saturating_sub(made))
    }

    /// Whether the chain answers.
    pub fn standing(&self) -> Standing {
        let state = self.state();
        if state.is_current(&self.patience) {
            return Standing::Current;
        }
        Standing::Behind { room: minus(self.risk_cap, state.risked) }
    }

    /// Counts a reserve admitted while the chain does not answer.
    pub fn risk(&self, reserve: Amount) {
        let mut state = self.state();
        state.risked = plus(state.risked, reserve);
    }

    /// A user's money: as of the newest block, or, when the chain does not answer, as last read.
    /// `None` when it was never read.
    pub async fn money(&self, user: Address) -> Option<UserMoney> {
        if let Some(cached) = self.cached(user, true) {
            return Some(cached);
        }
        if matches!(self.standing(), Standing::Behind { .. }) {
            return self.cached(user, false);
        }
        match Box::pin(self.read(user)).await {
            Ok(money) => Some(money),
            Err(error) => {
                tracing::warn!(%error, "chain: cannot read an account");
                self.state().failing = true;
                self.cached(user, false)
            }
        }
    }

    async fn read(&self, user: Address) -> Result<UserMoney, ChainError> {
        let of = self.state().head.hash;
        if self.cached(user, false).is_none() {
            // Of a stranger nothing else is read, and nothing is kept.
            let account = self.chain.account(user).await?;
            if account.owner.is_none() {
                let (channel, zero) = (Channel::default(), Amount::ZERO);
                return Ok(UserMoney { account, safe_free: zero, channel, safe_locked: zero });
            }
        }
        let users = [user];
        let (account, channel, safe, safe_channels) = tokio::join!(
            self.chain.account(user),
            self.chain.channel(user, self.pod),
            self.chain.account_at(user, BlockTag::Safe),
            self.chain.channels_at(self.pod, &users, BlockTag::Safe),
        );
        let (account, channel) = (account?, channel?);
        let safe_free = safe?.free.min(account.free);
        // Locked amounts only grow, unless blocks were replaced between two readings.
        let safe_locked = safe_channels?[0].locked.min(channel.locked);
        let money = UserMoney { account, safe_free, channel, safe_locked };
        let mut state = self.state();
        state.users.insert(user, Cached { money, of });
        state.channels.insert(user, channel);
        Ok(money)
    }

    fn cached(&self, user: Address, of_newest_block: bool) -> Option<UserMoney> {
        let state = self.state();
        let cached = state.users.get(&user)?;
        (!of_newest_block || cached.of == state.head.hash).then_some(cached.money)
    }

    /// The channel as last read, from whatever block.
    pub fn last_channel(&self, user: Address) -> Option<Channel> {
        self.state().channels.get(&user).copied()
    }

    /// Forgets a user's money, so that it is read again.
    pub fn forget(&self, user: Address) {
        self.state().users.remove(&user);
    }

    /// Channels with this pod at the `safe` head, in the order asked.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn safe_channels(&self, users: &[Address]) -> Result<Vec<Channel>, ChainError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        self.chain.channels_at(self.pod, users, BlockTag::Safe).await
    }

    /// Reads the price per gas, for [`gas_price_wei`](Self::gas_price_wei).
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn read_gas_price(&self) -> Result<(), ChainError> {
        let price = self.chain.gas_price_wei().await?;
        self.state().gas_price_wei = Some(price);
        Ok(())
    }

    /// The price per gas as last read, in wei.
    pub fn gas_price_wei(&self) -> Option<u128> {
        self.state().gas_price_wei
    }

    /// Channels with this pod, read now and remembered, in the order asked.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn channels(&self, users: &[Address]) -> Result<Vec<Channel>, ChainError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let channels = self.chain.channels(self.pod, users).await?;
        let mut state = self.state();
        for (user, channel) in users.iter().zip(&channels) {
            state.channels.insert(*user, *channel);
            if let Some(cached) = state.users.get_mut(user) {
                cached.money.channel = *channel;
            }
        }
        Ok(channels)
    }
}

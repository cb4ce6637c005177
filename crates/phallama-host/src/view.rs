//! What the host believes of the chain: the newest head, and accounts and channels cached per
//! block.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use phallama_chain::{Account, BlockTag, Chain, ChainError, Channel};
use phallama_protocol::ids::{Address, Amount, PodId};

use crate::admission::Standing;
use crate::money::{minus, plus};

/// Users kept before those of earlier blocks are forgotten.
const CACHED_MAX: usize = 100_000;

/// One user's money as last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserMoney {
    /// The account.
    pub account: Account,
    /// Of its free money, what the chain's sequencer cannot take back any more.
    pub safe_free: Amount,
    /// The channel with this pod.
    pub channel: Channel,
}

struct Cached {
    money: UserMoney,
    block: u64,
}

struct State {
    block: u64,
    read_at: Instant,
    failing: bool,
    users: HashMap<Address, Cached>,
    /// Channels as last read, of whatever block.
    channels: HashMap<Address, Channel>,
    /// Reserves admitted since the chain stopped answering.
    risked: Amount,
}

/// The chain as this pod sees it.
pub struct ChainView {
    chain: Chain,
    pod: PodId,
    stale_after: Duration,
    risk_cap: Amount,
    state: Mutex<State>,
}

impl ChainView {
    /// Reads the head.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn open(
        chain: Chain,
        pod: PodId,
        stale_after: Duration,
        risk_cap: Amount,
    ) -> Result<Self, ChainError> {
        let block = chain.head(BlockTag::Latest).await?.number;
        let state = Mutex::new(State {
            block,
            read_at: Instant::now(),
            failing: false,
            users: HashMap::new(),
            channels: HashMap::new(),
            risked: Amount::ZERO,
        });
        Ok(Self { chain, pod, stale_after, risk_cap, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the head; true when it is a new one.
    ///
    /// # Errors
    /// [`ChainError`]; the view then counts as failing.
    pub async fn advance(&self) -> Result<bool, ChainError> {
        let head = self.chain.head(BlockTag::Latest).await;
        let mut state = self.state();
        let block = match head {
            Ok(head) => head.number,
            Err(error) => {
                state.failing = true;
                return Err(error);
            }
        };
        (state.read_at, state.failing, state.risked) = (Instant::now(), false, Amount::ZERO);
        let new = state.block != block;
        state.block = block;
        if state.users.len() > CACHED_MAX {
            state.users.retain(|_, cached| cached.block == block);
            let State { users, channels, .. } = &mut *state;
            channels.retain(|user, _| users.contains_key(user));
        }
        Ok(new)
    }

    /// The newest block read.
    pub fn block(&self) -> u64 {
        self.state().block
    }

    /// Whether the chain answers.
    pub fn standing(&self) -> Standing {
        let state = self.state();
        if !state.failing && state.read_at.elapsed() < self.stale_after {
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
        match self.read(user).await {
            Ok(money) => Some(money),
            Err(error) => {
                tracing::warn!(%error, "chain: cannot read an account");
                self.state().failing = true;
                self.cached(user, false)
            }
        }
    }

    async fn read(&self, user: Address) -> Result<UserMoney, ChainError> {
        let block = self.block();
        let (account, channel, safe) = tokio::join!(
            self.chain.account(user),
            self.chain.channel(user, self.pod),
            self.chain.account_at(user, BlockTag::Safe),
        );
        let (account, channel) = (account?, channel?);
        // Not every node knows the tag.
        let safe_free = safe.map_or(account.free, |safe| safe.free.min(account.free));
        let money = UserMoney { account, safe_free, channel };
        let mut state = self.state();
        state.users.insert(user, Cached { money, block });
        state.channels.insert(user, channel);
        Ok(money)
    }

    fn cached(&self, user: Address, of_newest_block: bool) -> Option<UserMoney> {
        let state = self.state();
        let cached = state.users.get(&user)?;
        (!of_newest_block || cached.block == state.block).then_some(cached.money)
    }

    /// The channel as last read, from whatever block.
    pub fn last_channel(&self, user: Address) -> Option<Channel> {
        self.state().channels.get(&user).copied()
    }

    /// Forgets a user's money, so that it is read again.
    pub fn forget(&self, user: Address) {
        self.state().users.remove(&user);
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

//! Pods and users on one chain, block by block.

mod audit;
mod mining;

use std::collections::VecDeque;
use std::sync::Arc;

use phallama_chain::{Channel, LockRow};
use phallama_client::{PaymentPolicy, lock_size};
use phallama_host::admission::{Ask, Decision, Facts, Grant, Limits, Standing, decide};
use phallama_host::config::Policy;
use phallama_host::journal::Condition;
use phallama_host::locks;
use phallama_host::settlement::Due;
use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::keys::Signature;
use phallama_protocol::offers::Offer;

use super::chain::{Action, BLOCK_S, BLOCKS_PER_DAY, Chain, ChannelId};
use super::population::{BUSIEST, Ends, Population, Query, Size, busy, units};
use super::rng::{Rng, whole};

const TERMS: Digest32 = Digest32([2; 32]);
const IDENTITY: Address = Address([3; 20]);
const SIGNATURE: Signature = Signature([4; 64]);
/// Time of block 0.
const START_UNIX_S: u64 = 1_800_000_000;
/// How long an exit takes.
const EXIT_S: u64 = 172_800;
/// A settlement that would move nothing is tried again after this many blocks (30 s).
const PAUSE_BLOCKS: u32 = 3;
/// Blocks until nothing takes a lock back any more (5 minutes).
pub(crate) const SAFE_BLOCKS: u32 = 30;
/// Share of a user's requests that go to its usual pod.
const USUAL: f64 = 0.8;

/// One (user, pod) channel: the contract's numbers, the pod's and the wallet's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    ends: Ends,
    pub(crate) locked: u64,
    /// What of it no reorganisation takes back.
    safe_locked: u64,
    pub(crate) claimed: u64,
    pub(crate) charged: u64,
    /// Total of an allocation on its way.
    pending: u64,
    /// Block of the oldest unsettled claim.
    since: u32,
    /// Whether the pod's list of unsettled channels has it.
    listed: bool,
    /// Block of the exit.
    pub(crate) left_at: Option<u32>,
    /// Reserves of the block in which the user last asked.
    block: u32,
    reserved: u64,
}

impl State {
    pub(crate) fn unsettled(&self) -> u64 {
        self.charged - self.claimed
    }

    /// As the contract shows it.
    fn on_chain(&self) -> Channel {
        Channel {
            locked: self.locked.into(),
            claimed: self.claimed.into(),
            exit_at_unix_s: self.left_at.map_or(0, |block| seconds(block) + EXIT_S),
            epoch: 0,
        }
    }

    /// Served before any lock was mined.
    fn on_credit(&self) -> u64 {
        self.charged.saturating_sub(self.locked)
    }

    /// Served before a lock was safe.
    fn at_risk(&self) -> u64 {
        self.charged.saturating_sub(self.safe_locked)
    }
}

/// What a pod keeps.
#[derive(Clone, Debug, Default)]
struct Pod {
    locks: VecDeque<(ChannelId, u64)>,
    locking: bool,
    /// Requests above the credit limit.
    waiting: Vec<(ChannelId, Query)>,
    /// Settlement transactions on their way.
    settling: u32,
    paused_until: u32,
    listed: Vec<ChannelId>,
    unsettled: u64,
    oldest: u32,
    /// Unsettled channels whose user is leaving.
    leaving: u32,
    on_credit: u64,
    at_risk: u64,
    on_credit_most: u64,
    at_risk_most: u64,
    unsettled_most: u64,
    credit: u64,
}

/// What happened in a day.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) queries: u64,
    pub(crate) on_credit: u64,
    pub(crate) after_lock: u64,
    pub(crate) top_ups: u64,
    pub(crate) refused: u64,
    pub(crate) skipped_locks: u64,
    pub(crate) revenue: u64,
    pub(crate) reserve_most: u64,
    pub(crate) user_at_risk_most: u64,
}

/// What a pod and a client go by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    pub(crate) payment: PaymentPolicy,
}

impl Rules {
    fn due(&self) -> Due {
        self.policy.due()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    population: Arc<Population>,
    rules: Rules,
    /// What each pod may have at risk.
    limits: Vec<Limits>,
    pub(crate) chain: Chain,
    pub(crate) channels: Vec<State>,
    free: Vec<u64>,
    pods: Vec<Pod>,
    deposited: u64,
    /// Unsettled claims of channels whose user is leaving.
    leaving_unsettled: u64,
    /// Locks that are mined and not safe yet: when they are, and their totals.
    fresh: VecDeque<(u32, ChannelId, u64)>,
    pub(crate) block: u32,
    rng: Rng,
    pub(crate) counts: Counts,
}

impl World {
    pub(crate) fn new(size: Size, rules: Rules, chain: Chain, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let population = Population::new(size, &mut rng);
        let state = |ends: &Ends| State {
            ends: *ends,
            locked: 0,
            safe_locked: 0,
            claimed: 0,
            charged: 0,
            pending: 0,
            since: 0,
            listed: false,
            left_at: None,
            block: 0,
            reserved: 0,
        };
        let limits = |offer: &Offer| rules.policy.limits(std::slice::from_ref(offer));
        Self {
            limits: population.offers.iter().map(limits).collect(),
            channels: population.channels.iter().map(state).collect(),
            free: vec![0; population.users.len()],
            pods: vec![Pod::default(); population.offers.len()],
            population: Arc::new(population),
            rules,
            chain,
            deposited: 0,
            leaving_unsettled: 0,
            fresh: VecDeque::new(),
            block: 0,
            rng,
            counts: Counts::default(),
        }
    }

    pub(crate) fn population(&self) -> &Population {
        &self.population
    }

    /// Runs a day up to `blocks` of it. On the first day everybody's deposit is there already; on
    /// the second some users come and some change pods.
    pub(crate) fn run_day(&mut self, day: u32, blocks: usize) {
        let population = Arc::clone(&self.population);
        if day == 0 {
            for (user, who) in population.users.iter().enumerate().filter(|(_, u)| !u.joins) {
                self.fund(user, who.deposit);
            }
        }
        let changes = self.changes(day);
        let asked = self.asked(day);
        for (block, (askers, changes)) in asked.iter().zip(&changes).take(blocks).enumerate() {
            for &user in changes {
                self.change(user);
            }
            for &user in askers {
                self.ask(user, day);
            }
            // Each pod is paid out once a day, at a time of its own.
            let paid_out = |blocks: usize| (blocks * self.pods.len()) / BLOCKS_PER_DAY;
            for _ in paid_out(block)..paid_out(block + 1) {
                self.chain.send(Action::Collect);
            }
            self.pods_act();
            self.next_block();
        }
    }

    /// Users who come or move, by block.
    fn changes(&mut self, day: u32) -> Vec<Vec<u32>> {
        let population = Arc::clone(&self.population);
        let mut changes = vec![Vec::new(); BLOCKS_PER_DAY];
        for (user, who) in population.users.iter().enumerate() {
            if day > 0 && (who.joins || who.moves) {
                let block = self.rng.below(u32::try_from(BLOCKS_PER_DAY).expect("thousands"));
                changes[block as usize].push(u32::try_from(user).expect("a u32 of users"));
            }
        }
        changes
    }

    fn change(&mut self, user: u32) {
        let who = self.population.users[user as usize];
        if who.joins {
            self.fund(user as usize, who.deposit);
            self.chain.send(Action::Open);
        } else {
            self.chain.send(Action::StartExit(who.channels().start));
            // Somebody who left two days ago.
            self.chain.send(Action::FinishExit);
        }
    }

    fn fund(&mut self, user: usize, amount: u64) {
        self.free[user] += amount;
        self.deposited += amount;
    }

    /// Who asks, by block.
    fn asked(&mut self, day: u32) -> Vec<Vec<u32>> {
        let population = Arc::clone(&self.population);
        let mut asked = vec![Vec::new(); BLOCKS_PER_DAY];
        for (user, who) in (0_u32..).zip(&population.users) {
            if who.joins && day == 0 {
                continue;
            }
            for _ in 0..self.rng.poisson(who.per_day) {
                asked[self.some_block()].push(user);
            }
        }
        asked
    }

    fn some_block(&mut self) -> usize {
        loop {
            let at = self.rng.unit();
            if self.rng.unit() * BUSIEST < busy(at) {
                return whole((at * 8_640.0).floor()) as usize % BLOCKS_PER_DAY;
            }
        }
    }

    fn ask(&mut self, user: u32, day: u32) {
        if self.free[user as usize] == 0 && self.deposited_nothing(user) {
            return;
        }
        let mine = self.population.users[user as usize].channels_on(day);
        let count = mine.end - mine.start;
        let usual = count == 1 || self.rng.chance(USUAL);
        let at = if usual { 0 } else { 1 + self.rng.below(count - 1) };
        let channel = mine.start + at;
        let pod = self.channels[channel as usize].ends.pod;
        let query = Query::draw(&self.population.offers[pod as usize], &mut self.rng);
        self.counts.queries += 1;
        self.counts.reserve_most = self.counts.reserve_most.max(query.reserve);
        let Some(allocation) = self.allocation(channel, query.reserve) else {
            self.counts.top_ups += 1;
            let deposit = self.population.users[user as usize].deposit;
            self.fund(user as usize, deposit);
            self.chain.send(Action::Open);
            return;
        };
        self.admit(channel, query, allocation);
    }

    /// One who comes later has not asked to open an account yet.
    fn deposited_nothing(&self, user: u32) -> bool {
        let all = self.population.users[user as usize].channels();
        all.clone().all(|channel| self.channels[channel as usize].locked == 0)
    }

    /// The total that the wallet signs for, as far as the deposit allows.
    fn allocation(&self, channel: ChannelId, reserve: u64) -> Option<u64> {
        let state = &self.channels[channel as usize];
        let granted = state.locked.max(state.pending);
        let needs = (state.charged + reserve).saturating_sub(granted);
        if needs == 0 {
            return Some(granted);
        }
        let user = state.ends.user as usize;
        let others = self.population.users[user].channels();
        let promised: u64 = others
            .map(|other| &self.channels[other as usize])
            .map(|other| other.pending.saturating_sub(other.locked))
            .sum();
        let available = self.free[user].saturating_sub(promised);
        let adds = lock_size(
            self.rules.payment.lock_chunk.value(),
            needs.into(),
            available.into(),
            u128::MAX,
        );
        (needs <= available).then(|| granted + u64::try_from(adds).expect("within the deposit"))
    }

    fn admit(&mut self, channel: ChannelId, query: Query, total: u64) {
        let state = &self.channels[channel as usize];
        let (ask, facts) = self.case(state, query, total);
        match decide(&ask, &facts) {
            Decision::Admit { .. } => self.serve(channel, query),
            Decision::OnCredit { lock, .. } => {
                if self.queue_lock(channel, lock) {
                    self.counts.on_credit += 1;
                    self.serve(channel, query);
                }
            }
            Decision::AfterLock { lock } => {
                if self.queue_lock(channel, lock) {
                    self.counts.after_lock += 1;
                    let pod = self.channels[channel as usize].ends.pod;
                    self.pods[pod as usize].waiting.push((channel, query));
                }
            }
            Decision::CapTooLow { .. } | Decision::Deny(_) => self.counts.refused += 1,
        }
    }

    fn case(&self, state: &State, query: Query, total: u64) -> (Ask, Facts) {
        let user = Address([9; 20]);
        let row = LockRow {
            total: total.into(),
            deadline_unix_s: self.now() + self.rules.payment.allocation_life_s,
            terms_hash: TERMS,
            epoch: 0,
            signature: SIGNATURE,
        };
        let ask = Ask {
            user,
            epoch: 0,
            cap: (state.charged + query.reserve).into(),
            terms_hash: TERMS,
            reserve: query.reserve.into(),
            charged: state.charged.into(),
            allocation: (total > state.locked).then_some(Grant { row, signer: Some(user) }),
        };
        let free = self.free[state.ends.user as usize].into();
        let pod = &self.pods[state.ends.pod as usize];
        let facts = Facts {
            terms_hash: TERMS,
            limits: self.limits[state.ends.pod as usize],
            payments: Condition::Storing,
            standing: Standing::Current,
            now_unix_s: self.now(),
            free,
            safe_free: free,
            channel: state.on_chain(),
            safe_locked: state.safe_locked.into(),
            others_at_risk: (pod.at_risk - state.at_risk()).into(),
            claimed: state.charged.into(),
            in_flight: Amount::ZERO,
            pending_lock: (state.pending > state.locked).then(|| state.pending.into()),
        };
        (ask, facts)
    }

    fn now(&self) -> u64 {
        START_UNIX_S + u64::from(self.block) * BLOCK_S
    }

    /// False when too many locks wait, and then the request is refused.
    fn queue_lock(&mut self, channel: ChannelId, lock: Option<LockRow>) -> bool {
        let Some(row) = lock else { return true };
        let pod = &mut self.pods[self.channels[channel as usize].ends.pod as usize];
        if pod.locks.len() >= locks::WAITING_MAX {
            self.counts.refused += 1;
            return false;
        }
        pod.locks.push_back((channel, units(row.total)));
        self.channels[channel as usize].pending = units(row.total);
        true
    }

    fn serve(&mut self, channel: ChannelId, query: Query) {
        let (now, state) = (self.block, &mut self.channels[channel as usize]);
        let pod = &mut self.pods[state.ends.pod as usize];
        if state.unsettled() == 0 {
            state.since = now;
            pod.leaving += u32::from(state.left_at.is_some());
            if pod.unsettled == 0 {
                pod.oldest = now;
            }
        }
        let (on_credit, at_risk) = (state.on_credit(), state.at_risk());
        state.charged += query.cost;
        pod.on_credit += state.on_credit() - on_credit;
        pod.at_risk += state.at_risk() - at_risk;
        pod.on_credit_most = pod.on_credit_most.max(pod.on_credit);
        pod.at_risk_most = pod.at_risk_most.max(pod.at_risk);
        pod.unsettled += query.cost;
        if state.left_at.is_some() {
            self.leaving_unsettled += query.cost;
        }
        pod.unsettled_most = pod.unsettled_most.max(pod.unsettled);
        if !state.listed {
            state.listed = true;
            pod.listed.push(channel);
        }
        if state.block != now {
            (state.block, state.reserved) = (now, 0);
        }
        state.reserved += query.reserve;
        self.counts.user_at_risk_most = self.counts.user_at_risk_most.max(state.reserved);
        self.counts.revenue += query.cost;
    }
}

fn seconds(block: u32) -> u64 {
    START_UNIX_S + u64::from(block) * BLOCK_S
}

//! Somebody with many accounts takes credit from a pod and lets every lock fail.
//!
//! An account's whole deposit is enough for one lock. Its owner asks many pods in the same moment,
//! each of which sees the deposit at the safe head and a good allocation. One pod's lock is mined;
//! those of the others find nothing and are skipped. What these had served is theirs to bear.

use std::collections::VecDeque;

use phallama_chain::{Channel, LockRow};
use phallama_host::admission::{Ask, Decision, Facts, Grant, Limits, Standing, decide};
use phallama_host::journal::Condition;
use phallama_host::locks;
use phallama_protocol::demand::Demand;
use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::keys::Signature;

use super::chain::{BLOCK_S, BLOCKS_PER_DAY};
use super::population::{offer, units};
use super::rng;
use super::world::Rules;

const TERMS: Digest32 = Digest32([2; 32]);
const USER: Address = Address([5; 20]);
const NOW_UNIX_S: u64 = 1_800_000_000;

/// An attack on one pod, over a day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack {
    pub(crate) accounts: u32,
    /// What each request reserves, and costs: answers are as long as they may be.
    pub(crate) reserve: u64,
    /// The most that the pod can sell in a block, in smallest units.
    pub(crate) sells_per_block: u64,
}

/// What it does to the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// Served, and never to be paid.
    pub(crate) lost: u64,
    /// Locks that the pod paid gas for and the contract skipped.
    pub(crate) skipped_locks: u32,
    /// Accounts that got nothing more because they would have had to wait for their lock, or were
    /// refused.
    pub(crate) stopped: u32,
    /// Blocks in which no more locks could be queued, which keeps newcomers out too.
    pub(crate) full_queue_blocks: u32,
}

enum Answer {
    Served,
    NoMore,
    QueueFull,
}

/// The pod under attack.
struct Pod<'a> {
    rules: &'a Rules,
    attack: Attack,
    /// Charged to each account, and nothing of it ever paid.
    charged: Vec<u64>,
    locks: VecDeque<u32>,
    /// Accounts whose lock is queued, or sent.
    locking: Vec<bool>,
    sent: Vec<u32>,
    /// What the pod could have sold up to now and has not.
    room: u64,
    loss: Loss,
}

impl Attack {
    /// On a pod of this speed at the default prices. The longest answers to a short question.
    pub(crate) fn on(accounts: u32, tokens_per_s: f64) -> Self {
        let offer = offer(1.0);
        let reserve =
            offer.reserve(&Demand::of_chat(200, 1, offer.max_output_tokens)).expect("fits");
        let per_s = tokens_per_s * offer.output_price_per_mtok.value() as f64 / 1_000_000.0;
        let sells_per_block = rng::whole(per_s * BLOCK_S as f64).into();
        Self { accounts, reserve: units(reserve), sells_per_block }
    }

    /// Plays it against the pod's real decisions.
    pub(crate) fn run(self, rules: &Rules) -> Loss {
        let accounts = self.accounts as usize;
        let mut pod = Pod {
            rules,
            attack: self,
            charged: vec![0; accounts],
            locks: VecDeque::new(),
            locking: vec![false; accounts],
            sent: Vec::new(),
            room: 0,
            loss: Loss::default(),
        };
        let mut next = 0;
        for _ in 0..BLOCKS_PER_DAY {
            next = pod.block(next);
            if next >= accounts && pod.locks.is_empty() && pod.sent.is_empty() {
                break;
            }
        }
        pod.loss
    }

    /// What an account needs to have to get all the credit there is.
    pub(crate) fn deposit(rules: &Rules) -> u64 {
        units(limits(rules).credit)
    }
}

/// Of a pod with the default prices.
fn limits(rules: &Rules) -> Limits {
    rules.policy.limits(&[offer(1.0)])
}

impl Pod<'_> {
    /// One block: accounts from `next` on ask until they get nothing more. Returns the first that
    /// is not done.
    fn block(&mut self, next: usize) -> usize {
        self.room += self.attack.sells_per_block;
        let mut account = next;
        while account < self.charged.len() && self.room >= self.attack.reserve {
            match self.ask(account) {
                Answer::Served => self.room -= self.attack.reserve,
                Answer::NoMore => account += 1,
                Answer::QueueFull => {
                    self.loss.full_queue_blocks += 1;
                    break;
                }
            }
        }
        self.mine();
        account
    }

    fn ask(&mut self, account: usize) -> Answer {
        match decide(&self.request(account), &self.facts(account)) {
            Decision::OnCredit { lock: Some(_), .. } => {
                if self.locks.len() >= locks::WAITING_MAX {
                    return Answer::QueueFull;
                }
                self.locks.push_back(u32::try_from(account).expect("a u32 of accounts"));
                self.locking[account] = true;
            }
            Decision::Admit { .. } | Decision::OnCredit { lock: None, .. } => {}
            Decision::AfterLock { .. } | Decision::CapTooLow { .. } | Decision::Deny(_) => {
                self.loss.stopped += 1;
                return Answer::NoMore;
            }
        }
        self.charged[account] += self.attack.reserve;
        self.loss.lost += self.attack.reserve;
        Answer::Served
    }

    /// The deposit is locked for another pod: every row is skipped.
    fn mine(&mut self) {
        for account in std::mem::take(&mut self.sent) {
            self.locking[account as usize] = false;
            self.loss.skipped_locks += 1;
        }
        let rows = self.locks.len().min(locks::ROWS_MAX);
        self.sent = self.locks.drain(..rows).collect();
    }

    fn request(&self, account: usize) -> Ask {
        let row = LockRow {
            total: Attack::deposit(self.rules).into(),
            deadline_unix_s: NOW_UNIX_S + 600,
            terms_hash: TERMS,
            epoch: 0,
            signature: Signature([4; 64]),
        };
        let (charged, reserve) = (self.charged[account], self.attack.reserve);
        Ask {
            user: USER,
            epoch: 0,
            cap: (charged + reserve).into(),
            terms_hash: TERMS,
            reserve: reserve.into(),
            charged: charged.into(),
            allocation: Some(Grant { row, signer: Some(USER) }),
        }
    }

    /// What the pod sees: the deposit as it was at the safe head.
    fn facts(&self, account: usize) -> Facts {
        let deposit = Amount::from(Attack::deposit(self.rules));
        Facts {
            terms_hash: TERMS,
            limits: limits(self.rules),
            payments: Condition::Storing,
            standing: Standing::Current,
            now_unix_s: NOW_UNIX_S,
            free: deposit,
            safe_free: deposit,
            channel: Channel::default(),
            safe_locked: Amount::ZERO,
            others_at_risk: (self.loss.lost - self.charged[account]).into(),
            claimed: self.charged[account].into(),
            in_flight: Amount::ZERO,
            pending_lock: self.locking[account].then_some(deposit),
        }
    }
}

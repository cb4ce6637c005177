//! Everybody together, what must always hold, and how it ends.

use std::collections::BTreeMap;

use phallama_host::journal::ChannelKey;
use phallama_protocol::ids::{Address, Amount};

use crate::escrow::{EXIT_WINDOW_S, EscrowModel};

use super::chain::{Chain, Tx};
use super::pod::{Open, Pod, RISK_CAP, limits};
use super::user::{Promise, User};
use super::{OWNER, POD, START_UNIX_S};

pub(super) const USERS: usize = 2;
const DEPOSIT: u128 = 20_000;
/// Rounds of settling after which nothing may be left.
const ROUNDS_MAX: usize = 8;
/// Where the pod's credit goes.
pub(super) const PAYOUT: Address = Address([0x0b; 20]);

/// What happened in a run, to see that runs are not empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests that were admitted.
    pub admitted: u32,
    /// Answers whose claim the disk took.
    pub stored: u32,
    /// Answers whose claim it did not take.
    pub not_stored: u32,
    /// Receipts that a user took over.
    pub receipts: u32,
    /// Transactions of the pod that settled something.
    pub settlements: u32,
    /// Machines that lost their power.
    pub crashes: u32,
    /// Old copies that were put back.
    pub restored: u32,
    /// Blocks that were taken back.
    pub taken_back: u32,
}

/// A receipt on its way.
pub(super) struct Letter {
    pub(super) user: usize,
    pub(super) promise: Promise,
    pub(super) cumulative: Amount,
    pub(super) cost: Amount,
}

type Acknowledged = BTreeMap<(Address, u32), Amount>;

pub(super) struct World {
    pub(super) now_unix_s: u64,
    pub(super) chain: Chain,
    pub(super) pod: Pod,
    pub(super) users: Vec<User>,
    pub(super) open: Vec<(usize, Open)>,
    pub(super) letters: Vec<Letter>,
    /// What the disk has taken, by channel.
    pub(super) acknowledged: Acknowledged,
    pub(super) copy: Option<(Vec<u8>, Acknowledged)>,
    /// A channel ended before the pod had settled it.
    pub(super) ended_early: bool,
    pub(super) report: Report,
    /// What each channel's epoch began with, as first seen.
    begun: BTreeMap<(Address, u32), u128>,
    units: u128,
}

impl World {
    pub(super) fn new() -> Self {
        let users: Vec<User> =
            (1..=USERS).map(|n| User::new(Address([u8::try_from(n).unwrap_or(1); 20]))).collect();
        let addresses: Vec<Address> = users.iter().map(|user| user.address).collect();
        let mut chain = Chain::new(&addresses, DEPOSIT, PAYOUT);
        let units = all_units(chain.head());
        let pod = Pod::new(&mut chain);
        let (open, letters, acknowledged, begun) = Default::default();
        Self {
            now_unix_s: START_UNIX_S,
            chain,
            pod,
            users,
            open,
            letters,
            acknowledged,
            copy: None,
            ended_early: false,
            report: Report::default(),
            begun,
            units,
        }
    }

    pub(super) fn play(mut self, input: &[u8]) -> Result<Report, String> {
        for (index, byte) in input.iter().enumerate() {
            self.now_unix_s += 1;
            let name = self.step(*byte);
            self.check().map_err(|fault| format!("after step {index}, {name}: {fault}"))?;
        }
        self.end().map_err(|fault| format!("at the end: {fault}"))?;
        Ok(self.report)
    }

    /// What holds after every step.
    fn check(&mut self) -> Result<(), String> {
        let escrow = self.chain.head();
        let (held, owed) = (escrow.token.held(), escrow.owed());
        must(held == owed, || format!("the escrow holds {held} and owes {owed}"))?;
        let all = all_units(escrow);
        must(all == self.units, || format!("{all} units of {}", self.units))?;
        let claimed: u128 = escrow.channels().map(|(_, _, channel)| channel.claimed).sum();
        let got = escrow.token.balance(PAYOUT) + escrow.credit(POD);
        must(claimed == got, || format!("{claimed} were claimed, the pod has {got}"))?;
        for user in &self.users {
            let channel = escrow.channel(user.address, POD);
            must(channel.claimed <= channel.locked, || format!("{channel:?}"))?;
            let begun = self.begun.entry((user.address, channel.epoch)).or_insert(channel.claimed);
            let (drawn, signed) =
                (channel.claimed.saturating_sub(*begun), user.signed(channel.epoch));
            must(drawn <= signed || self.chain.epochs_taken_back, || {
                format!("{drawn} was drawn, reserves of {signed} were signed")
            })?;
            let excused = self.report.restored > 0 || self.chain.epochs_taken_back;
            if let (Some(why), false) = (&user.distrusts, excused) {
                return Err(format!("an honest pod is distrusted: {why}"));
            }
        }
        self.check_journal()
    }

    /// What the disk acknowledged is there.
    fn check_journal(&self) -> Result<(), String> {
        for ((user, epoch), amount) in &self.acknowledged {
            let key = ChannelKey { user: *user, epoch: *epoch };
            let kept = self.pod.journal().cumulative(key);
            must(kept >= *amount, || {
                format!("{amount} was acknowledged, {kept} is in the journal")
            })?;
        }
        Ok(())
    }

    /// Everything works again, everybody settles and leaves.
    fn end(&mut self) -> Result<(), String> {
        if self.pod.disk().is_failing() {
            self.pod.repair_disk();
        }
        for (user, open) in std::mem::take(&mut self.open) {
            self.users[user].lose(&open.promise, self.now_unix_s);
        }
        while !self.letters.is_empty() {
            self.deliver(0);
        }
        self.settle_all()?;
        self.check()?;
        self.check_losses()?;
        self.leave()
    }

    fn settle_all(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS_MAX {
            self.mine(5, 12);
            self.pod.read_chain(&self.chain);
            if !self.pod.settle(&mut self.chain, self.now_unix_s) {
                return Ok(());
            }
        }
        Err(format!("something is left to settle after {ROUNDS_MAX} rounds"))
    }

    /// The pod was paid what it can prove, up to what was locked, and lost no more than it risked.
    fn check_losses(&self) -> Result<(), String> {
        let escrow = self.chain.head();
        for user in &self.users {
            let channel = escrow.channel(user.address, POD);
            let key = (user.address, channel.epoch);
            let proven = self.acknowledged.get(&key).map_or(0, |amount| amount.value());
            // What was noted as paid in a block that was taken back may be sent by nobody again.
            let taken_back = self.report.taken_back > 0;
            must(channel.claimed >= proven.min(channel.locked) || taken_back, || {
                format!("{proven} is proven, {} locked, {} paid", channel.locked, channel.claimed)
            })?;
            let lost = proven.saturating_sub(channel.claimed);
            let most = limits().credit.max(limits().per_user).value() + u128::from(RISK_CAP);
            let excused = self.ended_early || taken_back;
            must(lost <= most || excused, || {
                format!("the pod lost {lost}, at most {most} is risked")
            })?;
        }
        Ok(())
    }

    /// Exit, collect, withdraw: nothing stays behind.
    fn leave(&mut self) -> Result<(), String> {
        let addresses: Vec<Address> = self.users.iter().map(|user| user.address).collect();
        self.chain.waiting.extend(addresses.iter().map(|user| Tx::StartExit(*user)));
        self.mine(1, 12);
        self.now_unix_s += EXIT_WINDOW_S;
        self.chain.waiting.extend(addresses.iter().map(|user| Tx::FinishExit(*user)));
        self.chain.waiting.push(Tx::Collect);
        self.mine(1, 12);
        for user in addresses {
            let free = self.chain.head().account(user).map_or(0, |account| account.free);
            self.chain.waiting.push(Tx::Withdraw(user, free));
        }
        self.mine(1, 12);
        let escrow = self.chain.head();
        let (held, all) = (escrow.token.held(), all_units(escrow));
        must(held == 0, || format!("{held} units stay in the escrow"))?;
        must(all == self.units, || format!("{all} units of {}", self.units))
    }

    pub(super) fn mine(&mut self, blocks: usize, seconds: u64) {
        for _ in 0..blocks {
            self.now_unix_s += seconds;
            self.chain.mine(self.now_unix_s);
        }
    }

    pub(super) fn deliver(&mut self, index: usize) {
        let Letter { user, promise, cumulative, cost } = self.letters.remove(index);
        let (user, now) = (&mut self.users[user], self.now_unix_s);
        if now >= promise.over_at_unix_s {
            return user.lose(&promise, now);
        }
        user.receive(&promise, cumulative, cost, now);
        self.report.receipts += 1;
    }
}

/// The owner's, the escrow's and the pod's.
fn all_units(escrow: &EscrowModel) -> u128 {
    escrow.token.balance(OWNER) + escrow.token.held() + escrow.token.balance(PAYOUT)
}

fn must(holds: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(fault()) }
}

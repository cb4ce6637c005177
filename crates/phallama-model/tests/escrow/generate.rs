//! Random calls that are often good, and often wrong in one thing.

use phallama_model::escrow::{AMOUNT_MAX, Channel, EscrowModel};

use crate::action::{Action, Allocated, Claimed, Closing, Opening, Paid, Receipted, SignedPermit};
use crate::party::{Flaw, IDENTITIES, Key, OWNERS, PODS, Sig, USERS};
use crate::rng::Rng;

/// Makes the calls of one sequence; some repeat an earlier one.
pub(crate) struct Generator {
    rng: Rng,
    made: Vec<Action>,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), made: Vec::new() }
    }

    /// The next call, good or bad for `model` as it stands.
    pub(crate) fn next(&mut self, model: &EscrowModel) -> Action {
        let action = match self.made.len() {
            // Something to work with: keys, money, accounts.
            0..=1 => {
                let pod = self.made.len();
                let good_until = model.now_unix_s + 400_000;
                Action::SetKey { pod, identity: Key::Identity(0), good_until }
            }
            2 => Action::Mint { to: Key::Owner(0), amount: 100_000 },
            3 => Action::Approve { by: Key::Owner(0), amount: 50_000 },
            4..=6 => {
                let user = Key::User(u8::try_from(self.made.len() - 4).expect("small"));
                let open = Some(self.opening(user, Some(Key::Owner(0))));
                Action::Deposit { caller: Key::Owner(0), user, amount: 10_000, open }
            }
            made if self.rng.once_in(10) => self.again(made),
            _ => self.fresh(model),
        };
        self.made.push(action.clone());
        action
    }

    /// A replay; a batch perhaps in another order.
    fn again(&mut self, made: usize) -> Action {
        let mut action = self.made[self.rng.below(made)].clone();
        match &mut action {
            Action::Lock { rows, .. } => self.rng.shuffle(rows),
            Action::Settle { rows, .. } => self.rng.shuffle(rows),
            Action::SettleReceipts { rows, .. } => self.rng.shuffle(rows),
            _ => {}
        }
        action
    }

    fn fresh(&mut self, model: &EscrowModel) -> Action {
        match self.rng.below(40) {
            0 => Action::Warp { seconds: self.rng.pick(&[1, 40, 3_600, 90_000, 172_800]) },
            1 => {
                let pod = self.pod();
                let good_until = self.time(model);
                Action::SetKey { pod, identity: self.identity(), good_until }
            }
            2 => Action::Mint {
                to: self.owner(),
                amount: self.rng.pick(&[5, 900, 1 << 95, 1 << 96]),
            },
            3 => {
                let amount = self.rng.pick(&[0, 300, 1 << 96, u128::MAX]);
                Action::Approve { by: self.owner(), amount }
            }
            4 => Action::Donate { by: self.owner(), amount: self.amount(700) },
            5 => {
                let user = self.user();
                let owner = (!self.rng.once_in(5)).then(|| self.owner());
                Action::Open(self.opening(user, owner))
            }
            6..=10 => self.deposit(model),
            11..=12 => self.withdrawal(model),
            13..=18 => {
                let pod = self.pod();
                let rows = (0..self.rows()).map(|_| self.allocated(model, pod)).collect();
                Action::Lock { pod, rows }
            }
            19..=25 => self.settle(model),
            26..=29 => {
                let pod = self.pod();
                let rows = (0..self.rows()).map(|_| self.receipted(model, pod)).collect();
                Action::SettleReceipts { pod, rows }
            }
            30..=37 => self.end(model),
            _ => Action::Collect { pod: self.pod() },
        }
    }

    fn deposit(&mut self, model: &EscrowModel) -> Action {
        let (caller, user) = (self.owner(), self.user());
        let open = self.rng.once_in(3).then(|| {
            let owner = model.account(user.address()).map(|account| account.owner);
            let known = Key::all().find(|key| owner == Some(key.address()));
            let owner = known.filter(|_| !self.rng.once_in(4)).unwrap_or_else(|| self.owner());
            self.opening(user, Some(owner))
        });
        match self.rng.below(3) {
            0 => {
                let payer = caller.address();
                let left = model.token.allowance(payer).min(model.token.balance(payer));
                let all = self.rng.once_in(8);
                let amount = if all { left.min(1 << 96) } else { self.amount(900) };
                Action::Deposit { caller, user, amount, open }
            }
            1 => {
                let (amount, deadline) = (self.amount(900), self.time(model));
                let permit = SignedPermit { amount, deadline, sig: self.token_sig(caller) };
                Action::DepositWithPermit { caller, user, permit, open }
            }
            _ => {
                let from = self.owner();
                let signed_for = if self.rng.once_in(6) { self.user() } else { user };
                let in_time = !self.rng.once_in(6);
                let now = model.now_unix_s;
                let (after, before) =
                    if in_time { (now - 1, now + 1) } else { (self.time(model), self.time(model)) };
                let most = model.token.balance(from.address()).min(1 << 96);
                let amount = if self.rng.once_in(12) { most + 1 } else { self.amount(900) };
                let salt = self.rng.pick(&[0, 1, 2, 3, 4, 5, 6, 7]);
                let sig = self.token_sig(from);
                let paid = Paid { from, amount, after, before, salt, signed_for, sig };
                Action::DepositWithAuthorization { caller, user, paid, open }
            }
        }
    }

    fn withdrawal(&mut self, model: &EscrowModel) -> Action {
        let user = self.user();
        let account = model.account(user.address());
        let free = account.map_or(0, |account| account.free);
        let amount = match self.rng.below(4) {
            0 => free,
            1 => (free + 1).min(AMOUNT_MAX),
            _ => self.amount(400),
        };
        if self.rng.once_in(2) {
            let owner = Key::all().find(|key| account.is_some_and(|a| a.owner == key.address()));
            let caller = if self.rng.once_in(5) { Key::Stranger } else { owner.unwrap_or(user) };
            return Action::Withdraw { caller, user, amount };
        }
        let nonce = model.withdraw_nonce(user.address());
        let nonce = if self.rng.once_in(6) { nonce + 1 } else { nonce };
        Action::WithdrawFor { user, amount, nonce, deadline: self.time(model), sig: self.sig(user) }
    }

    fn allocated(&mut self, model: &EscrowModel, pod: usize) -> Allocated {
        let user = self.user();
        let channel = model.channel(user.address(), PODS[pod]);
        let free = model.account(user.address()).map_or(0, |account| account.free);
        let total = match self.rng.below(6) {
            0 => channel.locked + free,
            1 => channel.locked + free + 1,
            2 => channel.locked,
            _ => channel.locked + self.amount(400),
        };
        let (total, epoch) = (total.min(AMOUNT_MAX), self.epoch(channel));
        Allocated { total, epoch, deadline: self.time(model), sig: self.sig(user) }
    }

    fn claimed(&mut self, model: &EscrowModel, pod: usize, names: Key) -> Claimed {
        let user = self.user();
        let channel = model.channel(user.address(), PODS[pod]);
        let (cap, claimed) = (self.level(channel), self.level(channel));
        let names = if self.rng.once_in(8) { self.identity() } else { names };
        Claimed { cap, claimed, epoch: self.epoch(channel), names, sig: self.sig(user) }
    }

    fn settle(&mut self, model: &EscrowModel) -> Action {
        let pod = self.pod();
        let identity = self.identity();
        let rows = (0..self.rows()).map(|_| self.claimed(model, pod, identity)).collect();
        let tail = if self.rng.once_in(15) { self.rng.pick(&[1, 90, 91]) } else { 0 };
        Action::Settle { pod, rows, tail, sig: self.sig(identity) }
    }

    fn receipted(&mut self, model: &EscrowModel, pod: usize) -> Receipted {
        let identity = self.identity();
        let row = self.claimed(model, pod, identity);
        let settles = if self.rng.once_in(8) { self.user() } else { row.sig.by };
        let by = if self.rng.once_in(8) { self.identity() } else { identity };
        Receipted { row, identity, seq: self.rng.next() >> 60, settles, settlement: self.sig(by) }
    }

    fn end(&mut self, model: &EscrowModel) -> Action {
        let (user, pod) = (self.user(), self.pod());
        let channel = model.channel(user.address(), PODS[pod]);
        let owner = model.account(user.address()).map(|account| account.owner);
        let owner = Key::all().find(|key| owner == Some(key.address())).unwrap_or(user);
        let caller = if self.rng.once_in(6) { Key::Stranger } else { owner };
        let epoch = self.epoch(channel);
        match self.rng.below(8) {
            0 => Action::StartExit { caller, user, pod },
            1 => Action::StartExitFor { pod, epoch, sig: self.sig(user) },
            3 if channel.exit_at_unix_s > model.now_unix_s => {
                // To the second, or one too early.
                let left = channel.exit_at_unix_s - model.now_unix_s;
                Action::Warp { seconds: left - u64::from(self.rng.once_in(3)) }
            }
            2..=4 => Action::FinishExit { user, pod },
            5 => {
                let closing = self.closing(channel);
                Action::Close { caller, user, pod, closing }
            }
            _ => {
                let closing = self.closing(channel);
                let user_sig = self.sig(user);
                Action::CloseFor { user, pod, epoch, closing, user_sig }
            }
        }
    }

    fn closing(&mut self, channel: Channel) -> Closing {
        let identity = self.identity();
        let sig = self.sig(identity);
        Closing { cumulative: self.level(channel), epoch: self.epoch(channel), sig }
    }

    /// Around what is locked and claimed.
    fn level(&mut self, channel: Channel) -> u128 {
        let Channel { locked, claimed, .. } = channel;
        match self.rng.below(6) {
            0 => locked,
            1 => (locked + self.amount(300)).min(AMOUNT_MAX),
            2 => claimed,
            3 => AMOUNT_MAX,
            _ => claimed + self.amount(300).min(AMOUNT_MAX - claimed),
        }
    }

    fn amount(&mut self, most: usize) -> u128 {
        match self.rng.below(12) {
            0 => 0,
            1 => 1,
            2 if self.rng.once_in(3) => AMOUNT_MAX - self.rng.below(3) as u128,
            _ => self.rng.below(most) as u128,
        }
    }

    fn epoch(&mut self, channel: Channel) -> u32 {
        match self.rng.below(14) {
            0 => channel.epoch + 1,
            1 => channel.epoch.saturating_sub(1),
            _ => channel.epoch,
        }
    }

    /// Around now, mostly later.
    fn time(&mut self, model: &EscrowModel) -> u64 {
        let now = model.now_unix_s;
        match self.rng.below(10) {
            0 => now - 1,
            1 => now,
            2 => 0,
            3 => now + 50_000,
            _ => now + 1_000_000,
        }
    }

    fn rows(&mut self) -> usize {
        self.rng.pick(&[0, 1, 1, 1, 2, 2, 3, 4, 5, 9])
    }

    fn opening(&mut self, user: Key, owner: Option<Key>) -> Opening {
        Opening { user, owner, sig: self.sig(user) }
    }

    fn sig(&mut self, by: Key) -> Sig {
        match self.rng.below(40) {
            0 => Sig { by, flaw: Flaw::OtherContent },
            1 => Sig { by, flaw: Flaw::HighS },
            2 => Sig { by, flaw: Flaw::Zero },
            3 => Sig::good(Key::Stranger),
            _ => Sig::good(by),
        }
    }

    /// The token takes a high s; what it says then is not the escrow's matter.
    fn token_sig(&mut self, by: Key) -> Sig {
        match self.sig(by) {
            Sig { flaw: Flaw::HighS, .. } => Sig { by, flaw: Flaw::OtherContent },
            other => other,
        }
    }

    fn pod(&mut self) -> usize {
        self.rng.below(PODS.len())
    }

    fn user(&mut self) -> Key {
        Key::User(self.rng.pick(&[0, 0, 1, 1, 2, USERS - 1]))
    }

    fn owner(&mut self) -> Key {
        Key::Owner(self.rng.pick(&[0, 0, 1, OWNERS - 1]))
    }

    fn identity(&mut self) -> Key {
        Key::Identity(self.rng.pick(&[0, 0, 0, 0, 1, IDENTITIES - 1]))
    }
}

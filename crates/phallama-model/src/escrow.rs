//! The escrow of `spec/billing.md` in plain arithmetic.
//!
//! Written from the page, not from the contract. Signatures are the callers' business: whoever a
//! signature recovers to is an argument ([`Address::ZERO`] for a malformed one), so the model needs
//! no cryptography and runs a million steps in a second. A call that is refused changes nothing.

mod batch;
mod deposit;
mod event;
mod refusal;
mod token;

use std::collections::BTreeMap;

use phallama_protocol::ids::{Address, PodId};

pub use batch::{AllocationRow, BatchOutcome, ReceiptClaim, VoucherRow};
pub use deposit::{Authorization, Permit};
pub use event::Event;
pub use refusal::{Refusal, TokenRefusal};
pub use token::TokenModel;

/// Seconds between the start and the end of an exit.
pub const EXIT_WINDOW_S: u64 = 172_800;
/// Most that an amount can be: u96.
pub const AMOUNT_MAX: u128 = (1 << 96) - 1;

/// A user key's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Who may withdraw; never zero.
    pub owner: Address,
    /// Neither locked nor withdrawn.
    pub free: u128,
}

/// What a user has reserved for one pod; cumulative amounts over the channel's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channel {
    /// Reserved.
    pub locked: u128,
    /// Paid out of it.
    pub claimed: u128,
    /// When the exit can be finished, seconds since 1970; 0: none is running.
    pub exit_at_unix_s: u64,
    /// Generation.
    pub epoch: u32,
}

/// The escrow, its token, and what it asks the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscrowModel {
    /// The time of the block, seconds since 1970.
    pub now_unix_s: u64,
    /// The one token.
    pub token: TokenModel,
    accounts: BTreeMap<Address, Account>,
    channels: BTreeMap<(PodId, Address), Channel>,
    credits: BTreeMap<PodId, u128>,
    withdrawals: BTreeMap<Address, u64>,
    keys: BTreeMap<(PodId, Address), u64>,
    payouts: BTreeMap<PodId, Address>,
    events: Vec<Event>,
}

impl EscrowModel {
    /// An empty escrow at `address`.
    pub fn new(address: Address, now_unix_s: u64) -> Self {
        Self {
            now_unix_s,
            token: TokenModel::new(address),
            accounts: BTreeMap::new(),
            channels: BTreeMap::new(),
            credits: BTreeMap::new(),
            withdrawals: BTreeMap::new(),
            keys: BTreeMap::new(),
            payouts: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// The registry's word: signatures of `identity` for `pod` count up to this second.
    pub fn set_key(&mut self, pod: PodId, identity: Address, good_until_unix_s: u64) {
        self.keys.insert((pod, identity), good_until_unix_s);
    }

    /// The registry's word: where the pod's credit goes.
    pub fn set_payout(&mut self, pod: PodId, payout: Address) {
        self.payouts.insert(pod, payout);
    }

    /// `open(user, owner, sig)`; `signer` is who signed `OpenAccount`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn open(&mut self, user: Address, owner: Address, signer: Address) -> Result<(), Refusal> {
        if let Some(account) = self.accounts.get(&user) {
            return Err(Refusal::AlreadyOpen { user, owner: account.owner });
        }
        if owner == Address::ZERO {
            return Err(Refusal::ZeroOwner);
        }
        signed_by(user, signer)?;
        self.accounts.insert(user, Account { owner, free: 0 });
        self.events.push(Event::AccountOpened { user, owner });
        Ok(())
    }

    /// `withdraw(user, amount)`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn withdraw(
        &mut self,
        caller: Address,
        user: Address,
        amount: u128,
    ) -> Result<(), Refusal> {
        self.only_owner(caller, user)?;
        self.pay_out(user, amount)
    }

    /// `withdrawFor(user, amount, nonce, deadline, sig)`; `signer` is who signed `Withdraw`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn withdraw_for(
        &mut self,
        user: Address,
        amount: u128,
        nonce: u64,
        deadline_unix_s: u64,
        signer: Address,
    ) -> Result<(), Refusal> {
        if self.now_unix_s > deadline_unix_s {
            return Err(Refusal::Expired { deadline_unix_s, now_unix_s: self.now_unix_s });
        }
        let current = self.withdraw_nonce(user);
        if nonce != current {
            return Err(Refusal::WrongNonce { current, got: nonce });
        }
        self.must_be_open(user)?;
        signed_by(user, signer)?;
        self.pay_out(user, amount)?;
        self.withdrawals.insert(user, current + 1);
        Ok(())
    }

    fn pay_out(&mut self, user: Address, amount: u128) -> Result<(), Refusal> {
        let account = self.accounts.get_mut(&user).expect("the caller has checked that it is open");
        if amount > account.free {
            return Err(Refusal::InsufficientFree { user, free: account.free, asked: amount });
        }
        account.free -= amount;
        let owner = account.owner;
        self.events.push(Event::Withdrawn { user, owner, amount });
        self.token.pay(owner, amount);
        Ok(())
    }

    /// `startExit(user, podId)`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn start_exit(
        &mut self,
        caller: Address,
        user: Address,
        pod: PodId,
    ) -> Result<(), Refusal> {
        self.only_owner(caller, user)?;
        self.begin_exit(user, pod)
    }

    /// `startExitFor(podId, epoch, sig)`; `user` is who signed `StartExit`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn start_exit_for(&mut self, pod: PodId, epoch: u32, user: Address) -> Result<(), Refusal> {
        self.must_be_open(user)?;
        self.same_epoch(pod, user, epoch)?;
        self.begin_exit(user, pod)
    }

    fn begin_exit(&mut self, user: Address, pod: PodId) -> Result<(), Refusal> {
        let exit_at_unix_s = self.now_unix_s + EXIT_WINDOW_S;
        let channel = self.channels.entry((pod, user)).or_default();
        if channel.exit_at_unix_s != 0 {
            return Err(Refusal::ExitRunning { exit_at_unix_s: channel.exit_at_unix_s });
        }
        channel.exit_at_unix_s = exit_at_unix_s;
        let epoch = channel.epoch;
        self.events.push(Event::ExitStarted { user, pod, epoch, exit_at_unix_s });
        Ok(())
    }

    /// `finishExit(user, podId)`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn finish_exit(&mut self, user: Address, pod: PodId) -> Result<(), Refusal> {
        let channel = self.channel(user, pod);
        let exit_at_unix_s = channel.exit_at_unix_s;
        if exit_at_unix_s == 0 {
            return Err(Refusal::NoExit { user, pod });
        }
        if self.now_unix_s < exit_at_unix_s {
            return Err(Refusal::ExitTooEarly { exit_at_unix_s, now_unix_s: self.now_unix_s });
        }
        let refund = channel.locked - channel.claimed;
        self.add_free(user, refund)?;
        let new_epoch = self.next_epoch(user, pod, channel);
        self.events.push(Event::ExitFinished { user, pod, new_epoch, refund });
        Ok(())
    }

    /// `close(user, podId, cumulative, enclaveSig)`; `identity` is who signed `Close`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn close(
        &mut self,
        caller: Address,
        user: Address,
        pod: PodId,
        cumulative: u128,
        identity: Address,
    ) -> Result<(), Refusal> {
        self.only_owner(caller, user)?;
        self.end_by_agreement(user, pod, cumulative, identity)
    }

    /// `closeFor(user, podId, epoch, cumulative, enclaveSig, userSig)`; `identity` and `signer` are
    /// who signed `Close`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn close_for(
        &mut self,
        user: Address,
        pod: PodId,
        epoch: u32,
        cumulative: u128,
        [identity, signer]: [Address; 2],
    ) -> Result<(), Refusal> {
        self.must_be_open(user)?;
        self.same_epoch(pod, user, epoch)?;
        signed_by(user, signer)?;
        self.end_by_agreement(user, pod, cumulative, identity)
    }

    fn end_by_agreement(
        &mut self,
        user: Address,
        pod: PodId,
        cumulative: u128,
        identity: Address,
    ) -> Result<(), Refusal> {
        self.must_be_good(pod, identity)?;
        let mut channel = self.channel(user, pod);
        let paid = cumulative.min(channel.locked).saturating_sub(channel.claimed);
        channel.claimed += paid;
        let refund = channel.locked - channel.claimed;
        self.add_free(user, refund)?;
        let new_epoch = self.next_epoch(user, pod, channel);
        self.add_credit(pod, paid);
        self.events.push(Event::Closed { user, pod, new_epoch, paid, refund });
        Ok(())
    }

    /// `collect(podId)`: what was paid.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn collect(&mut self, pod: PodId) -> Result<u128, Refusal> {
        let amount = self.credits.remove(&pod).ok_or(Refusal::NothingToCollect { pod })?;
        let payout = self.payouts.get(&pod).copied().unwrap_or_default();
        self.events.push(Event::Collected { pod, payout, amount });
        self.token.pay(payout, amount);
        Ok(amount)
    }

    /// The account of a user key, once it is open.
    pub fn account(&self, user: Address) -> Option<Account> {
        self.accounts.get(&user).copied()
    }

    /// A user's channel with a pod.
    pub fn channel(&self, user: Address, pod: PodId) -> Channel {
        self.channels.get(&(pod, user)).copied().unwrap_or_default()
    }

    /// What a pod can collect.
    pub fn credit(&self, pod: PodId) -> u128 {
        self.credits.get(&pod).copied().unwrap_or_default()
    }

    /// The nonce of the account's next `Withdraw`.
    pub fn withdraw_nonce(&self, user: Address) -> u64 {
        self.withdrawals.get(&user).copied().unwrap_or_default()
    }

    /// Up to when signatures of `identity` count for `pod`; 0 for an unknown key.
    pub fn key_good_until(&self, pod: PodId, identity: Address) -> u64 {
        self.keys.get(&(pod, identity)).copied().unwrap_or_default()
    }

    /// Every account.
    pub fn accounts(&self) -> impl Iterator<Item = (Address, Account)> {
        self.accounts.iter().map(|(user, account)| (*user, *account))
    }

    /// Every channel that was ever used.
    pub fn channels(&self) -> impl Iterator<Item = (Address, PodId, Channel)> {
        self.channels.iter().map(|((pod, user), channel)| (*user, *pod, *channel))
    }

    /// Every credit above zero.
    pub fn credits(&self) -> impl Iterator<Item = (PodId, u128)> {
        self.credits.iter().map(|(pod, amount)| (*pod, *amount))
    }

    /// Every account that has withdrawn by signature, and how often.
    pub fn withdrawals(&self) -> impl Iterator<Item = (Address, u64)> {
        self.withdrawals.iter().map(|(user, nonce)| (*user, *nonce))
    }

    /// What was emitted since this was last asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// All that the escrow owes: free parts, unclaimed locks, credits.
    pub fn owed(&self) -> u128 {
        let free: u128 = self.accounts.values().map(|account| account.free).sum();
        let unclaimed: u128 = self.channels.values().map(|one| one.locked - one.claimed).sum();
        free + unclaimed + self.credits.values().sum::<u128>()
    }

    fn only_owner(&self, caller: Address, user: Address) -> Result<(), Refusal> {
        let owner = self.account(user).map_or(Address::ZERO, |account| account.owner);
        if caller != owner {
            return Err(Refusal::NotOwner { user, owner, caller });
        }
        Ok(())
    }

    fn must_be_open(&self, user: Address) -> Result<(), Refusal> {
        self.account(user).map(drop).ok_or(Refusal::NotOpen { user })
    }

    fn must_be_good(&self, pod: PodId, identity: Address) -> Result<(), Refusal> {
        let good_until_unix_s = self.key_good_until(pod, identity);
        if self.now_unix_s > good_until_unix_s {
            return Err(Refusal::IdentityNotAccepted { pod, identity, good_until_unix_s });
        }
        Ok(())
    }

    fn same_epoch(&self, pod: PodId, user: Address, got: u32) -> Result<(), Refusal> {
        let current = self.channel(user, pod).epoch;
        if current != got {
            return Err(Refusal::WrongEpoch { current, got });
        }
        Ok(())
    }

    fn add_free(&mut self, user: Address, added: u128) -> Result<(), Refusal> {
        let Some(account) = self.accounts.get_mut(&user) else {
            // Only an open account can have locked anything.
            assert_eq!(added, 0, "money of an account that is not open");
            return Ok(());
        };
        if added > AMOUNT_MAX - account.free {
            return Err(Refusal::FreeTooLarge { user, free: account.free, added });
        }
        account.free += added;
        Ok(())
    }

    fn add_credit(&mut self, pod: PodId, amount: u128) {
        if amount > 0 {
            *self.credits.entry(pod).or_default() += amount;
        }
    }

    /// What is unclaimed has left the channel; signatures of its epoch are void.
    fn next_epoch(&mut self, user: Address, pod: PodId, channel: Channel) -> u32 {
        let Channel { claimed, epoch, .. } = channel;
        let next = Channel { locked: claimed, claimed, exit_at_unix_s: 0, epoch: epoch + 1 };
        self.channels.insert((pod, user), next);
        next.epoch
    }
}

fn signed_by(expected: Address, signer: Address) -> Result<(), Refusal> {
    if signer == Address::ZERO || signer != expected {
        return Err(Refusal::WrongSigner { expected, recovered: signer });
    }
    Ok(())
}

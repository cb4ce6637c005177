//! Deposits: what arrives is free.

use phallama_protocol::ids::{Address, PodId};

use super::{EscrowModel, Event, Refusal, TokenRefusal};

/// An EIP-2612 permit for the escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// What is allowed and deposited.
    pub amount: u128,
    /// The last second in which the token takes it.
    pub deadline_unix_s: u64,
    /// Who signed it, with the caller's next nonce at the token and the caller as its owner.
    pub signer: Address,
}

/// An EIP-3009 authorization to pay the escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Who pays.
    pub from: Address,
    /// How much.
    pub amount: u128,
    /// Valid after this second.
    pub valid_after_unix_s: u64,
    /// Valid before this second.
    pub valid_before_unix_s: u64,
    /// What makes the nonce of this (user, salt).
    pub salt: [u8; 32],
    /// Who signed it, with the nonce for the account that is credited.
    pub signer: Address,
}

impl EscrowModel {
    /// `deposit(user, amount)`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn deposit(&mut self, caller: Address, user: Address, amount: u128) -> Result<(), Refusal> {
        self.atomic(|model| {
            model.must_be_open(user)?;
            model.token.pull(caller, amount)?;
            model.arrived(user, caller, amount)
        })
    }

    /// `depositWithPermit(user, permit)`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn deposit_with_permit(
        &mut self,
        caller: Address,
        user: Address,
        permit: &Permit,
    ) -> Result<(), Refusal> {
        let now = self.now_unix_s;
        self.atomic(|model| {
            // Somebody may have sent the permit before: what counts is the allowance.
            if let Err(reason) = model.token.permit(caller, permit, now)
                && model.token.allowance(caller) < permit.amount
            {
                return Err(Refusal::PermitRefused { reason });
            }
            model.deposit(caller, user, permit.amount)
        })
    }

    /// `depositWithAuthorization(user, authorization)`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn deposit_with_authorization(
        &mut self,
        user: Address,
        authorization: &Authorization,
    ) -> Result<(), Refusal> {
        let now = self.now_unix_s;
        self.atomic(|model| {
            model.must_be_open(user)?;
            model.token.receive(user, authorization, now).map_err(Refusal::Token)?;
            model.arrived(user, authorization.from, authorization.amount)
        })
    }

    /// `openAndDeposit…`: opens the account for `owner` unless it is open for the same one, and
    /// then does `deposit`; both or nothing.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn open_and(
        &mut self,
        user: Address,
        owner: Address,
        signer: Address,
        deposit: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.atomic(|model| {
            if model.account(user).is_none_or(|account| account.owner != owner) {
                model.open(user, owner, signer)?;
            }
            deposit(model)
        })
    }

    /// Deposits add to `free` what the token moved.
    fn arrived(&mut self, user: Address, payer: Address, amount: u128) -> Result<(), Refusal> {
        if amount == 0 {
            return Err(Refusal::NothingArrived);
        }
        self.add_free(user, amount)?;
        self.events.push(Event::Deposited { user, payer, amount });
        Ok(())
    }

    /// All of `change`, or nothing.
    fn atomic(
        &mut self,
        change: impl FnOnce(&mut Self) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let before = self.clone();
        change(self).inspect_err(|_| *self = before)
    }

    /// Money for those who can pay: minted, as far as they need it, and allowed to the escrow.
    pub fn fund(&mut self, payer: Address, amount: u128) {
        self.token.mint(payer, amount);
        self.token.approve(payer, self.token.balance(payer));
    }

    /// All pods that have a credit, in order.
    pub fn pods_with_credit(&self) -> Vec<PodId> {
        self.credits().map(|(pod, _)| pod).collect()
    }
}

impl From<TokenRefusal> for Refusal {
    fn from(refusal: TokenRefusal) -> Self {
        Self::Token(refusal)
    }
}

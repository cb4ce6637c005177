//! The development token, as far as the escrow uses it: balances, allowances to the escrow, permits
//! (EIP-2612) and authorizations (EIP-3009).

use std::collections::{BTreeMap, BTreeSet};

use phallama_protocol::ids::Address;

use super::{Authorization, Permit, TokenRefusal};

/// An ERC-20 as one escrow sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenModel {
    escrow: Address,
    balances: BTreeMap<Address, u128>,
    /// To the escrow; `u128::MAX` stands for a number that no transfer lowers.
    allowances: BTreeMap<Address, u128>,
    nonces: BTreeMap<Address, u64>,
    used: BTreeSet<(Address, Address, [u8; 32])>,
}

impl TokenModel {
    pub(super) fn new(escrow: Address) -> Self {
        let (balances, allowances, nonces, used) = Default::default();
        Self { escrow, balances, allowances, nonces, used }
    }

    /// `mint(to, amount)`: open to everybody.
    pub fn mint(&mut self, to: Address, amount: u128) {
        *self.balances.entry(to).or_default() += amount;
    }

    /// `approve(escrow, amount)`.
    pub fn approve(&mut self, owner: Address, amount: u128) {
        self.allowances.insert(owner, amount);
    }

    /// `transfer(to, amount)`.
    ///
    /// # Errors
    /// [`TokenRefusal::InsufficientBalance`].
    pub fn transfer(
        &mut self,
        from: Address,
        to: Address,
        amount: u128,
    ) -> Result<(), TokenRefusal> {
        let balance = self.balance(from);
        let left = balance.checked_sub(amount).ok_or(TokenRefusal::InsufficientBalance)?;
        self.balances.insert(from, left);
        *self.balances.entry(to).or_default() += amount;
        Ok(())
    }

    /// A balance.
    pub fn balance(&self, of: Address) -> u128 {
        self.balances.get(&of).copied().unwrap_or_default()
    }

    /// What the escrow holds.
    pub fn held(&self) -> u128 {
        self.balance(self.escrow)
    }

    /// What the escrow may pull.
    pub fn allowance(&self, of: Address) -> u128 {
        self.allowances.get(&of).copied().unwrap_or_default()
    }

    /// The nonce of an owner's next permit.
    pub fn nonce(&self, of: Address) -> u64 {
        self.nonces.get(&of).copied().unwrap_or_default()
    }

    /// The escrow pays. It holds whatever it owes, so this cannot fail.
    pub(super) fn pay(&mut self, to: Address, amount: u128) {
        self.transfer(self.escrow, to, amount).expect("the escrow holds what it owes");
    }

    /// The escrow pulls.
    pub(super) fn pull(&mut self, from: Address, amount: u128) -> Result<(), TokenRefusal> {
        let allowance = self.allowance(from);
        if amount > allowance || amount > self.balance(from) {
            return Err(TokenRefusal::TransferFromFailed);
        }
        if allowance != u128::MAX {
            self.allowances.insert(from, allowance - amount);
        }
        self.transfer(from, self.escrow, amount)
    }

    pub(super) fn permit(
        &mut self,
        owner: Address,
        permit: &Permit,
        now_unix_s: u64,
    ) -> Result<(), TokenRefusal> {
        if now_unix_s > permit.deadline_unix_s {
            return Err(TokenRefusal::PermitExpired);
        }
        if permit.signer == Address::ZERO || permit.signer != owner {
            return Err(TokenRefusal::InvalidPermit);
        }
        *self.nonces.entry(owner).or_default() += 1;
        self.approve(owner, permit.amount);
        Ok(())
    }

    pub(super) fn receive(
        &mut self,
        user: Address,
        authorization: &Authorization,
        now_unix_s: u64,
    ) -> Result<(), TokenRefusal> {
        let &Authorization { from, amount, salt, signer, .. } = authorization;
        let (valid_after_unix_s, valid_before_unix_s) =
            (authorization.valid_after_unix_s, authorization.valid_before_unix_s);
        if !(now_unix_s > valid_after_unix_s && now_unix_s < valid_before_unix_s) {
            return Err(TokenRefusal::OutsideOfTime {
                valid_after_unix_s,
                valid_before_unix_s,
                now_unix_s,
            });
        }
        if !self.used.insert((from, user, salt)) {
            return Err(TokenRefusal::NonceUsed { authorizer: from, user, salt });
        }
        if signer == Address::ZERO || signer != from {
            return Err(TokenRefusal::WrongSigner { expected: from, recovered: signer });
        }
        self.transfer(from, self.escrow, amount)
    }
}

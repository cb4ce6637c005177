//! The calls that move a user's money, before anybody sends them: what is looked at first, relayed
//! by somebody else, or only estimated. [`Sender::send_call`](crate::Sender::send_call) sends one.

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use phallama_protocol::ids::{Address, Amount, PodId};
use phallama_protocol::keys::Signature;

use crate::chain::Chain;
use crate::contracts::{Escrow, TestToken, compact};
use crate::convert::{to_address, to_u24, to_u40, to_u96, to_u256};
use crate::error::ChainError;
use crate::record::{Authorization, Permit, RelayedClose};

/// A call of one function of one contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The function's name.
    pub what: &'static str,
    /// The contract.
    pub to: Address,
    /// Selector and arguments.
    pub data: Vec<u8>,
}

/// The account that a deposit goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credited {
    /// It is open.
    Open(Address),
    /// It is opened with the deposit, or open with this owner.
    Opening {
        /// The user key.
        user: Address,
        /// Who may withdraw.
        owner: Address,
        /// The user key's signature on `OpenAccount`.
        open_sig: Signature,
    },
}

impl Chain {
    fn escrow_call<C: SolCall>(&self, what: &'static str, call: &C) -> Call {
        Call { what, to: self.config().escrow, data: call.abi_encode() }
    }

    /// Lets the escrow take `amount` from the caller.
    pub fn approve_call(&self, amount: Amount) -> Call {
        let spender = to_address(self.config().escrow);
        let call = TestToken::approveCall { spender, amount: to_u256(amount) };
        Call { what: "approve", to: self.config().token, data: call.abi_encode() }
    }

    /// A deposit out of the caller's allowance.
    pub fn deposit_call(&self, to: &Credited, amount: Amount) -> Call {
        let amount = to_u256(amount);
        match to {
            Credited::Open(user) => {
                let user = to_address(*user);
                self.escrow_call("deposit", &Escrow::depositCall { user, amount })
            }
            Credited::Opening { user, owner, open_sig } => {
                let (user, owner) = (to_address(*user), to_address(*owner));
                let signature = compact(open_sig);
                let call = Escrow::openAndDepositCall { user, owner, signature, amount };
                self.escrow_call("openAndDeposit", &call)
            }
        }
    }

    /// A deposit with the caller's EIP-2612 permit.
    pub fn deposit_with_permit_call(&self, to: &Credited, permit: &Permit) -> Call {
        let permit = Escrow::Permit {
            amount: to_u256(permit.amount),
            deadline: U256::from(permit.deadline_unix_s),
            signature: compact(&permit.signature),
        };
        match to {
            Credited::Open(user) => {
                let user = to_address(*user);
                let call = Escrow::depositWithPermitCall { user, permit };
                self.escrow_call("depositWithPermit", &call)
            }
            Credited::Opening { user, owner, open_sig } => {
                let (user, owner) = (to_address(*user), to_address(*owner));
                let signature = compact(open_sig);
                let call = Escrow::openAndDepositWithPermitCall { user, owner, signature, permit };
                self.escrow_call("openAndDepositWithPermit", &call)
            }
        }
    }

    /// A deposit with the payer's EIP-3009 authorization; anybody may send it.
    pub fn deposit_with_authorization_call(&self, to: &Credited, paid: &Authorization) -> Call {
        let authorization = Escrow::Authorization {
            from: to_address(paid.from),
            amount: to_u256(paid.amount),
            validAfter: U256::from(paid.valid_after_unix_s),
            validBefore: U256::from(paid.valid_before_unix_s),
            salt: paid.salt.0.into(),
            signature: compact(&paid.signature),
        };
        match to {
            Credited::Open(user) => {
                let user = to_address(*user);
                let call = Escrow::depositWithAuthorizationCall { user, authorization };
                self.escrow_call("depositWithAuthorization", &call)
            }
            Credited::Opening { user, owner, open_sig } => {
                let call = Escrow::openAndDepositWithAuthorizationCall {
                    user: to_address(*user),
                    owner: to_address(*owner),
                    signature: compact(open_sig),
                    authorization,
                };
                self.escrow_call("openAndDepositWithAuthorization", &call)
            }
        }
    }

    /// Free money to the caller, who must be the owner.
    pub fn withdraw_call(&self, user: Address, amount: Amount) -> Call {
        let (user, amount) = (to_address(user), to_u256(amount));
        self.escrow_call("withdraw", &Escrow::withdrawCall { user, amount })
    }

    /// Free money to the owner, as the user key signed; anybody may send it.
    ///
    /// # Errors
    /// [`ChainError::Malformed`]: the deadline does not fit 40 bits.
    pub fn withdraw_for_call(
        &self,
        user: Address,
        amount: Amount,
        (nonce, deadline_unix_s): (u64, u64),
        signature: &Signature,
    ) -> Result<Call, ChainError> {
        let what = "withdrawFor";
        let call = Escrow::withdrawForCall {
            user: to_address(user),
            amount: to_u96(amount),
            nonce,
            deadline: to_u40(deadline_unix_s, what)?,
            signature: compact(signature),
        };
        Ok(self.escrow_call(what, &call))
    }

    /// Starts the 48 hours after which everything unclaimed returns; by the owner.
    pub fn start_exit_call(&self, user: Address, pod: PodId) -> Call {
        let call = Escrow::startExitCall { user: to_address(user), podId: pod.0.into() };
        self.escrow_call("startExit", &call)
    }

    /// The same as the user key signed; anybody may send it.
    ///
    /// # Errors
    /// [`ChainError::Malformed`]: the epoch does not fit 24 bits.
    pub fn start_exit_for_call(
        &self,
        pod: PodId,
        epoch: u32,
        signature: &Signature,
    ) -> Result<Call, ChainError> {
        let (what, signature) = ("startExitFor", compact(signature));
        let epoch = to_u24(epoch, what)?;
        let call = Escrow::startExitForCall { podId: pod.0.into(), epoch, signature };
        Ok(self.escrow_call(what, &call))
    }

    /// Ends an exit whose time has come; anybody may send it.
    pub fn finish_exit_call(&self, user: Address, pod: PodId) -> Call {
        let call = Escrow::finishExitCall { user: to_address(user), podId: pod.0.into() };
        self.escrow_call("finishExit", &call)
    }

    /// Closes at once with the enclave's final amount; by the owner.
    pub fn close_call(
        &self,
        user: Address,
        pod: PodId,
        cumulative: Amount,
        enclave_sig: &Signature,
    ) -> Call {
        let call = Escrow::closeCall {
            user: to_address(user),
            podId: pod.0.into(),
            cumulative: to_u96(cumulative),
            identitySignature: compact(enclave_sig),
        };
        self.escrow_call("close", &call)
    }

    /// The same, signed by the user key as well; anybody may send it.
    ///
    /// # Errors
    /// [`ChainError::Malformed`]: the epoch does not fit 24 bits.
    pub fn close_for_call(&self, close: &RelayedClose) -> Result<Call, ChainError> {
        let what = "closeFor";
        let call = Escrow::closeForCall {
            user: to_address(close.user),
            podId: close.pod.0.into(),
            epoch: to_u24(close.epoch, what)?,
            cumulative: to_u96(close.cumulative),
            identitySignature: compact(&close.enclave_sig),
            userSignature: compact(&close.user_sig),
        };
        Ok(self.escrow_call(what, &call))
    }
}

//! What can go wrong between us and a node, and whose fault it is.

use alloy::transports::{RpcError, TransportErrorKind};
use phallama_protocol::ids::Address;

use crate::attestation::UnknownCode;

/// A call to the chain that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The endpoint did not answer, or not in time.
    #[error("the chain endpoint {url} did not answer `{what}`: {reason}")]
    Unavailable {
        /// The endpoint's URL.
        url: String,
        /// The call.
        what: &'static str,
        /// What the transport said.
        reason: String,
    },
    /// The endpoint belongs to another chain.
    #[error("the endpoint {url} serves chain {got}, expected chain {expected}")]
    WrongChain {
        /// The endpoint's URL.
        url: String,
        /// `eth_chainId` of the endpoint.
        got: u64,
        /// The configured chain id.
        expected: u64,
    },
    /// A configured contract address holds no code.
    #[error("no contract at {address} ({name}) on chain {chain_id}")]
    NoContract {
        /// `registry`, `verifier`, `escrow` or `token`.
        name: &'static str,
        /// The configured address.
        address: Address,
        /// The chain asked.
        chain_id: u64,
    },
    /// The contracts belong to other deployments.
    #[error("the escrow {escrow} uses the {name} {got}, the configuration says {expected}")]
    Mismatch {
        /// `registry` or `token`.
        name: &'static str,
        /// The escrow asked.
        escrow: Address,
        /// What the escrow says.
        got: Address,
        /// What the configuration says.
        expected: Address,
    },
    /// The contract refused; nothing was changed.
    #[error("the contract refused `{what}`: {reason}")]
    Reverted {
        /// The call.
        what: &'static str,
        /// The contract's error with its arguments, e.g. `NotNewer { what: PckCrl, stored: 1,
        /// offered: 1 }`; its name is [`ChainError::refusal`].
        reason: String,
    },
    /// The sending account cannot pay for gas.
    #[error("{address} cannot pay the gas of `{what}`: {reason}")]
    InsufficientGasFunds {
        /// The sending account.
        address: Address,
        /// The call.
        what: &'static str,
        /// What the node said.
        reason: String,
    },
    /// A transaction was sent and not mined in time. It may still be mined.
    #[error("the transaction of `{what}` was sent but not mined within {waited_s} s: 0x{hash}")]
    NotMined {
        /// The call.
        what: &'static str,
        /// Transaction hash, hex.
        hash: String,
        /// How long we waited, in seconds.
        waited_s: u64,
    },
    /// The node's or contract's answer makes no sense.
    #[error("the chain's answer to `{what}` is malformed: {reason}")]
    Malformed {
        /// The call.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ChainError {
    /// The name of the contract's error, e.g. `NotNewer`, where a contract of ours refused.
    pub fn refusal(&self) -> Option<&str> {
        let Self::Reverted { reason, .. } = self else { return None };
        crate::refusal::name(reason)
    }
}

impl UnknownCode {
    /// The same as a malformed answer to `what`.
    pub(crate) fn in_answer(self, what: &'static str) -> ChainError {
        ChainError::Malformed { what, reason: self.to_string() }
    }
}

/// Turns a transport error into ours, keeping a revert's reason.
pub(crate) fn from_rpc(
    url: &str,
    what: &'static str,
    error: &RpcError<TransportErrorKind>,
) -> ChainError {
    if let RpcError::ErrorResp(payload) = error {
        if let Some(reason) = payload.as_revert_data().map(|data| crate::refusal::reason(&data)) {
            return ChainError::Reverted { what, reason };
        }
        if payload.message.contains("revert") {
            return ChainError::Reverted { what, reason: payload.message.to_string() };
        }
    }
    ChainError::Unavailable { url: url.to_owned(), what, reason: error.to_string() }
}

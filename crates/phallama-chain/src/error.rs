//! What can go wrong between us and a node, and whose fault it is.

use std::path::PathBuf;

use alloy::transports::{RpcError, TransportErrorKind};
use phallama_protocol::ids::Address;

use crate::attestation::UnknownCode;

/// Two different answers about one block.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the chain endpoints disagree on `{what}` at block {block}: {} says {}, {} says {}",
    .first.0, .first.1, .second.0, .second.1
)]
pub struct Disagreement {
    /// The call.
    pub what: &'static str,
    /// Number of the block asked about.
    pub block: u64,
    /// URL and answer.
    pub first: (String, String),
    /// URL and answer.
    pub second: (String, String),
}

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
    /// The configuration names an endpoint that cannot be one.
    #[error("`{url}` cannot be used as an endpoint: {reason}")]
    BadEndpoint {
        /// As configured.
        url: String,
        /// Why not.
        reason: String,
    },
    /// No two endpoints are near each other in the chain.
    #[error(
        "the chain endpoints are apart: {} is at block {}, {} at block {}",
        .ahead.0, .ahead.1, .behind.0, .behind.1
    )]
    HeadsApart {
        /// URL and number of the highest head.
        ahead: (String, u64),
        /// URL and number of the lowest head.
        behind: (String, u64),
    },
    /// Two endpoints answer differently about the same block: one of them is wrong.
    #[error(transparent)]
    Disagreement(Box<Disagreement>),
    /// An endpoint does not have the block, or no longer its state: it was reorganised away, is
    /// pruned, or has not arrived there yet.
    #[error("the endpoint {url} cannot answer `{what}` at block {number}: it does not have it")]
    BlockGone {
        /// The call.
        what: &'static str,
        /// The endpoint's URL.
        url: String,
        /// Number of the block asked about.
        number: u64,
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
    /// Somebody else used the nonce of a transaction of ours, which can therefore never be mined.
    /// The account's key must not be used by two programs.
    #[error("another program used the account {address}: `{what}` was not done")]
    NonceTaken {
        /// The call.
        what: &'static str,
        /// The sending account.
        address: Address,
    },
    /// Gas costs more than may be offered.
    #[error(
        "`{what}` was not sent: it needs {needed_wei} wei per gas, the ceiling is {ceiling_wei}"
    )]
    FeeAboveCeiling {
        /// The call.
        what: &'static str,
        /// Per gas: the base fee, or what replaces a transaction that pays too little.
        needed_wei: u64,
        /// Per gas, from `fee_ceiling_gwei`.
        ceiling_wei: u64,
    },
    /// The file of unmined transactions cannot be read or written; nothing was sent.
    #[error("the outbox {}: {reason}", .path.display())]
    Outbox {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
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
    match revert_reason(error) {
        Some(reason) => ChainError::Reverted { what, reason },
        None => ChainError::Unavailable { url: url.to_owned(), what, reason: error.to_string() },
    }
}

/// Why a call reverted, if that is what the error says.
pub(crate) fn revert_reason(error: &RpcError<TransportErrorKind>) -> Option<String> {
    let RpcError::ErrorResp(payload) = error else { return None };
    let data = payload.as_revert_data().map(|data| crate::refusal::reason(&data));
    data.or_else(|| payload.message.contains("revert").then(|| payload.message.to_string()))
}

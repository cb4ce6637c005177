//! The operator's own way to a running pod: a UNIX socket that only its user can open. One line of
//! JSON asks, one line answers.

mod client;
mod server;

use std::path::{Path, PathBuf};

use phallama_protocol::ids::{Amount, Digest32};
use serde::{Deserialize, Serialize};

use crate::earnings::Earnings;
use crate::settlement::{RowsSignedBy, Settlement};
use crate::status::PodStatus;

pub use client::{AdminError, ask};
pub(crate) use server::{AdminServer, Desk};

/// Name of the socket in the state directory.
const SOCKET: &str = "admin.sock";

/// Where the pod of a state directory listens.
pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET)
}

/// What an operator asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask", deny_unknown_fields)]
pub enum Ask {
    /// How the pod is.
    Status,
    /// What it has earned.
    Earnings,
    /// Settle everything that the contract would pay for now.
    Settle {
        /// Only say what would be sent.
        dry_run: bool,
    },
    /// Have the credit paid out.
    Collect,
    /// Refuse new requests, wait for the open ones, settle.
    Drain {
        /// Take requests again instead.
        resume: bool,
    },
}

/// What the pod answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer", content = "with")]
pub enum Answer {
    /// To [`Ask::Status`].
    Status(PodStatus),
    /// To [`Ask::Earnings`].
    Earnings(Earnings),
    /// To [`Ask::Settle`]: the transactions.
    Settled(Vec<Settlement>),
    /// To [`Ask::Settle`] as a dry run: what would be sent.
    Planned(Vec<Planned>),
    /// To [`Ask::Collect`]; `None` when there was nothing.
    Collected(Option<Collected>),
    /// To [`Ask::Drain`].
    Drained(Drained),
    /// It went wrong; what and why.
    Failed(String),
}

/// Rows that would be settled in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Who would sign them.
    pub signed_by: RowsSignedBy,
    /// How many.
    pub rows: usize,
    /// What the contract would pay for them.
    pub payable: Amount,
    /// Transactions it would take.
    pub transactions: usize,
}

/// A payment of the credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collected {
    /// What was paid to the payout address.
    pub amount: Amount,
    /// Transaction hash.
    pub tx_hash: Digest32,
    /// Gas used.
    pub gas_used: u64,
}

/// How far a drain has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drained {
    /// The pod refuses new requests.
    pub draining: bool,
    /// Exchanges that are still open.
    pub open: usize,
    /// What was settled.
    pub settled: Vec<Settlement>,
}

#[cfg(test)]
mod tests;

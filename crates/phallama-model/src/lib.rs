//! Plain models that the contracts and the money code are held against.
//!
//! Nothing of the product links this crate: its users are tests and fuzz targets.
//!
//! - [`escrow`]: the escrow as `spec/billing.md` describes it, without an EVM. `tests/escrow` runs
//!   it beside the contract.
//! - [`ledger`]: the money of one pod and its users, with the real arithmetic of client, host and
//!   enclave, under an adversary.

pub mod escrow;
pub mod ledger;

/// Where the client's own file finds its neighbour (`ledger/user.rs`).
mod config {
    pub(crate) use phallama_client::lock_size;
}

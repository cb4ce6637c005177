//! What the node says about itself.

use revm::primitives::{Bytes, keccak256};
use serde_json::{Value, json};

use super::params::Params;
use super::{Outcome, quantity, to_json};
use crate::ledger::Ledger;

pub(super) fn client_version(_: &Ledger) -> Value {
    json!(concat!("phallama-devchain/", env!("CARGO_PKG_VERSION")))
}

pub(super) fn sha3(_: &Ledger, params: &Params) -> Outcome {
    to_json(keccak256(params.required::<Bytes>(0, "data")?))
}

/// The chain id, in decimal.
pub(super) fn network_version(ledger: &Ledger) -> Value {
    json!(ledger.options.chain_id.to_string())
}

/// There are no peers to listen to.
pub(super) fn listening(_: &Ledger) -> Value {
    json!(false)
}

pub(super) fn chain_id(ledger: &Ledger, _: &Params) -> Outcome {
    quantity(ledger.options.chain_id)
}

pub(super) fn syncing(_: &Ledger) -> Value {
    json!(false)
}

/// The chain holds no keys.
pub(super) fn accounts(_: &Ledger) -> Value {
    json!([])
}

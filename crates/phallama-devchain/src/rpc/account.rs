//! Balances, nonces, code and storage.

use alloy_eips::{BlockId, BlockNumberOrTag};
use revm::primitives::{Address, B256, U256};
use revm::state::AccountInfo;

use super::params::Params;
use super::{Outcome, quantity, to_json};
use crate::error::RpcError;
use crate::ledger::Ledger;

pub(super) fn balance(ledger: &Ledger, params: &Params) -> Outcome {
    let (_, info) = account(ledger, params, 1)?;
    quantity(info.balance)
}

/// The nonce; with `pending` that of the next transaction.
pub(super) fn transaction_count(ledger: &Ledger, params: &Params) -> Outcome {
    let (address, info) = account(ledger, params, 1)?;
    if params.block(1)? == BlockId::Number(BlockNumberOrTag::Pending) {
        return quantity(ledger.next_nonce(address));
    }
    quantity(info.nonce)
}

pub(super) fn code(ledger: &Ledger, params: &Params) -> Outcome {
    let (_, info) = account(ledger, params, 1)?;
    to_json(ledger.state.code(info.code_hash).original_bytes())
}

/// 32 bytes, whatever the value.
pub(super) fn storage_at(ledger: &Ledger, params: &Params) -> Outcome {
    let address = params.required(0, "address")?;
    let key: U256 = params.number(1, "slot")?;
    let revision = ledger.resolve_id(params.block(2)?)?.revision;
    to_json(B256::from(ledger.state.slot(address, key, revision)))
}

/// The account named by parameter 0, as of the block named by parameter `block_index`.
fn account(
    ledger: &Ledger,
    params: &Params,
    block_index: usize,
) -> Result<(Address, AccountInfo), RpcError> {
    let address = params.required(0, "address")?;
    let revision = ledger.resolve_id(params.block(block_index)?)?.revision;
    Ok((address, ledger.state.account(address, revision).cloned().unwrap_or_default()))
}

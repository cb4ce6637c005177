//! Transactions: taking them, and telling what became of them.

use alloy_consensus::transaction::{Recovered, SignerRecoverable, Transaction as _};
use alloy_consensus::{ReceiptEnvelope, TxEnvelope};
use alloy_eips::Decodable2718;
use alloy_rpc_types_eth::{Log, Transaction, TransactionReceipt};
use revm::primitives::Bytes;
use revm::primitives::alloy_primitives::TxHash;
use serde_json::Value;

use super::params::Params;
use super::{Outcome, to_json};
use crate::block::{Block, MinedTx, SignedTx};
use crate::error::RpcError;
use crate::ledger::Ledger;

/// Decodes, recovers the signer, and hands over; returns the hash.
pub(super) fn send_raw(ledger: &mut Ledger, params: &Params) -> Outcome {
    let raw: Bytes = params.required(0, "transaction")?;
    to_json(ledger.submit(decode(&raw)?)?)
}

pub(super) fn by_hash(ledger: &Ledger, params: &Params) -> Outcome {
    let hash: TxHash = params.required(0, "hash")?;
    if let Some((block, index, mined)) = ledger.mined(hash) {
        return to_json(rpc_mined(block, index, mined));
    }
    ledger.pool.find(hash).map_or(Ok(Value::Null), |tx| to_json(rpc_pending(tx)))
}

pub(super) fn receipt(ledger: &Ledger, params: &Params) -> Outcome {
    let hash: TxHash = params.required(0, "hash")?;
    ledger
        .mined(hash)
        .map_or(Ok(Value::Null), |(block, index, mined)| to_json(rpc_receipt(block, index, mined)))
}

/// A signed transaction in its network encoding (EIP-2718), with nothing after it.
fn decode(raw: &Bytes) -> Result<SignedTx, RpcError> {
    // The type byte comes first, except in legacy transactions (an RLP list, from 0xc0 on).
    if let Some(kind @ 3..=0x7f) = raw.first() {
        return Err(RpcError::UnsupportedType(*kind));
    }
    let tx = TxEnvelope::decode_2718_exact(raw)
        .map_err(|error| RpcError::Undecodable(error.to_string()))?;
    let signer = tx.recover_signer().map_err(|error| RpcError::BadSignature(error.to_string()))?;
    Ok(Recovered::new_unchecked(tx, signer))
}

/// A mined transaction as JSON-RPC shows it.
pub(super) fn rpc_mined(block: &Block, index: usize, mined: &MinedTx) -> Transaction {
    Transaction {
        inner: mined.tx.clone(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(mined.effective_gas_price(block.base_fee())),
        block_timestamp: Some(block.header.timestamp),
    }
}

/// A waiting transaction as JSON-RPC shows it.
pub(super) fn rpc_pending(tx: &SignedTx) -> Transaction {
    Transaction {
        inner: tx.clone(),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: Some(tx.max_fee_per_gas()),
        block_timestamp: None,
    }
}

/// A receipt as JSON-RPC shows it.
pub(super) fn rpc_receipt(
    block: &Block,
    index: usize,
    mined: &MinedTx,
) -> TransactionReceipt<ReceiptEnvelope<Log>> {
    let mut logs = rpc_logs(block, index, mined);
    TransactionReceipt {
        inner: mined.receipt.clone().map_logs(|_| {
            logs.next().expect("there is one shown log for every log of the receipt")
        }),
        transaction_hash: mined.hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: mined.gas_used,
        effective_gas_price: mined.effective_gas_price(block.base_fee()),
        blob_gas_used: None,
        blob_gas_price: None,
        from: mined.tx.signer(),
        to: mined.tx.to(),
        contract_address: mined.contract_address,
    }
}

/// The logs of a mined transaction as JSON-RPC shows them.
pub(super) fn rpc_logs(block: &Block, index: usize, mined: &MinedTx) -> impl Iterator<Item = Log> {
    mined.receipt.logs().iter().zip(mined.first_log_index..).map(move |(log, log_index)| Log {
        inner: log.clone(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(mined.hash()),
        transaction_index: Some(index as u64),
        log_index: Some(log_index),
        removed: false,
    })
}

//! Blocks.

use alloy_consensus::Header as ConsensusHeader;
use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::{Block as RpcBlock, BlockTransactions, Header};
use revm::primitives::B256;
use revm::primitives::alloy_primitives::TxHash;
use serde_json::Value;

use super::params::Params;
use super::{Outcome, quantity, to_json, transaction};
use crate::block::{self, Block, MinedTx};
use crate::ledger::Ledger;

pub(super) fn block_number(ledger: &Ledger, _: &Params) -> Outcome {
    quantity(ledger.head().header.number)
}

pub(super) fn by_number(ledger: &Ledger, params: &Params) -> Outcome {
    let number: BlockNumberOrTag = params.required(0, "block")?;
    let full = params.optional(1, "full")?.unwrap_or(false);
    if number == BlockNumberOrTag::Pending {
        return pending(ledger, full);
    }
    ledger.resolve(number).map_or(Ok(Value::Null), |block| render(block, full))
}

pub(super) fn by_hash(ledger: &Ledger, params: &Params) -> Outcome {
    let hash: B256 = params.required(0, "hash")?;
    let full = params.optional(1, "full")?.unwrap_or(false);
    ledger.block_by_hash(hash).map_or(Ok(Value::Null), |block| render(block, full))
}

pub(super) fn receipts(ledger: &Ledger, params: &Params) -> Outcome {
    let Ok(block) = ledger.resolve_id(params.block(0)?) else {
        return Ok(Value::Null);
    };
    let receipts = block.transactions.iter().enumerate();
    to_json(
        receipts
            .map(|(index, mined)| transaction::rpc_receipt(block, index, mined))
            .collect::<Vec<_>>(),
    )
}

pub(super) fn transaction_count_by_number(ledger: &Ledger, params: &Params) -> Outcome {
    count(ledger.resolve(params.required(0, "block")?))
}

pub(super) fn transaction_count_by_hash(ledger: &Ledger, params: &Params) -> Outcome {
    count(ledger.block_by_hash(params.required(0, "hash")?))
}

fn count(block: Option<&Block>) -> Outcome {
    block.map_or(Ok(Value::Null), |block| quantity(block.transactions.len()))
}

fn render(block: &Block, full: bool) -> Outcome {
    let transactions = if full {
        let mined = block.transactions.iter().enumerate();
        BlockTransactions::Full(
            mined.map(|(index, mined)| transaction::rpc_mined(block, index, mined)).collect(),
        )
    } else {
        BlockTransactions::Hashes(block.transactions.iter().map(MinedTx::hash).collect())
    };
    to_json(RpcBlock::new(rpc_header(block.hash, block.header.clone()), transactions))
}

/// The next block as it would be if it were made now, with the transactions that wait for it.
/// It has no hash yet.
fn pending(ledger: &Ledger, full: bool) -> Outcome {
    let header = block::header(&ledger.next_slot(), &[]);
    let transactions = if full {
        BlockTransactions::Full(ledger.pool.iter().map(transaction::rpc_pending).collect())
    } else {
        let hashes: Vec<TxHash> = ledger.pool.iter().map(|tx| *tx.tx_hash()).collect();
        BlockTransactions::Hashes(hashes)
    };
    let mut value = to_json(RpcBlock::new(rpc_header(header.hash_slow(), header), transactions))?;
    value["hash"] = Value::Null;
    value["nonce"] = Value::Null;
    Ok(value)
}

fn rpc_header(hash: B256, inner: ConsensusHeader) -> Header {
    Header { hash, inner, total_difficulty: None, size: None }
}

//! Events.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};

use super::params::{Params, invalid};
use super::transaction::rpc_logs;
use super::{Outcome, to_json};
use crate::block::Block;
use crate::error::RpcError;
use crate::ledger::Ledger;

/// The logs of a range of blocks (default: the newest block), or of one block by its hash.
pub(super) fn logs(ledger: &Ledger, params: &Params) -> Outcome {
    let filter: Filter = params.required(0, "filter")?;
    let blocks = match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            std::slice::from_ref(ledger.resolve_id(BlockId::from(hash))?)
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let from = bound(ledger, from_block);
            let to = bound(ledger, to_block);
            if from > to {
                return Err(invalid("filter", format!("fromBlock {from} is after toBlock {to}")));
            }
            range(&ledger.blocks, from, to)?
        }
    };
    let bloom_match = |block: &&Block| filter.matches_bloom(block.header.logs_bloom);
    to_json(blocks.iter().filter(bloom_match).flat_map(|b| matches(b, &filter)).collect::<Vec<_>>())
}

/// The block number meant by one end of a range; numbers after the head are allowed.
fn bound(ledger: &Ledger, block: Option<BlockNumberOrTag>) -> u64 {
    let block = block.unwrap_or_default();
    block
        .as_number()
        .unwrap_or_else(|| ledger.resolve(block).expect("a tag means a known block").header.number)
}

/// The blocks from `from` to `to`, both included, as far as they exist.
fn range(blocks: &[Block], from: u64, to: u64) -> Result<&[Block], RpcError> {
    let index = |number: u64| {
        usize::try_from(number).map_err(|_| invalid("filter", "block number above the machine's"))
    };
    let end = index(to)?.saturating_add(1).min(blocks.len());
    Ok(blocks.get(index(from)?..end).unwrap_or_default())
}

fn matches(block: &Block, filter: &Filter) -> Vec<Log> {
    block
        .transactions
        .iter()
        .enumerate()
        .filter(|(_, mined)| !mined.receipt.logs().is_empty())
        .flat_map(|(index, mined)| rpc_logs(block, index, mined))
        .filter(|log| filter.matches(&log.inner))
        .collect()
}

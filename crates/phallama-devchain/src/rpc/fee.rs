//! What a transaction should offer to pay.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_rpc_types_eth::FeeHistory;

use super::params::{Params, invalid};
use super::{Outcome, quantity, to_json};
use crate::block::Block;
use crate::error::RpcError;
use crate::ledger::Ledger;

/// The tip that `eth_maxPriorityFeePerGas` suggests, in wei per gas.
const SUGGESTED_TIP_WEI: u64 = 1_000_000_000;

/// As many blocks as `eth_feeHistory` looks at, at most.
const FEE_HISTORY_MAX_BLOCKS: u64 = 1024;

pub(super) fn gas_price(ledger: &Ledger, _: &Params) -> Outcome {
    quantity(ledger.next_base_fee().saturating_add(SUGGESTED_TIP_WEI))
}

pub(super) fn max_priority_fee_per_gas(_: &Ledger, _: &Params) -> Outcome {
    quantity(SUGGESTED_TIP_WEI)
}

pub(super) fn fee_history(ledger: &Ledger, params: &Params) -> Outcome {
    let count = params.u64(0, "blockCount")?.clamp(1, FEE_HISTORY_MAX_BLOCKS);
    let newest: BlockNumberOrTag = params.optional(1, "newestBlock")?.unwrap_or_default();
    let percentiles: Option<Vec<f64>> = params.optional(2, "rewardPercentiles")?;
    check_percentiles(percentiles.as_deref().unwrap_or_default())?;
    let newest = ledger.resolve_id(BlockId::Number(newest))?.header.number;
    let oldest = (newest + 1).saturating_sub(count);
    let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
    let mut reward = Vec::new();
    for number in oldest..=newest {
        let block = ledger.block_by_number(number).expect("the range ends at a known block");
        history.base_fee_per_gas.push(u128::from(block.base_fee()));
        history.gas_used_ratio.push(ratio(block.header.gas_used, block.header.gas_limit));
        reward.push(tips(block, percentiles.as_deref().unwrap_or_default()));
    }
    let after = match ledger.block_by_number(newest + 1) {
        Some(block) => block.base_fee(),
        None => ledger.next_base_fee(),
    };
    history.base_fee_per_gas.push(u128::from(after));
    // No blobs: their base fee stays at the minimum of 1 wei.
    history.base_fee_per_blob_gas = vec![1; history.base_fee_per_gas.len()];
    history.blob_gas_used_ratio = vec![0.0; history.gas_used_ratio.len()];
    history.reward = percentiles.map(|_| reward);
    to_json(history)
}

fn check_percentiles(percentiles: &[f64]) -> Result<(), RpcError> {
    let in_range = percentiles.iter().all(|p| (0.0..=100.0).contains(p));
    if in_range && percentiles.is_sorted() {
        return Ok(());
    }
    Err(invalid("rewardPercentiles", "must rise and lie between 0 and 100"))
}

/// The tips of a block's transactions at the given percentiles of the gas used.
fn tips(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let base_fee = block.base_fee();
    let mut paid: Vec<(u128, u64)> =
        block.transactions.iter().map(|mined| (mined.tip(base_fee), mined.gas_used)).collect();
    paid.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            let mut gas = 0;
            paid.iter()
                .find(|(_, used)| {
                    gas += used;
                    ratio(gas, block.header.gas_used) * 100.0 >= *percentile
                })
                .map_or(0, |(tip, _)| *tip)
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "gas per block is far below 2^52")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

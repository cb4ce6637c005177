//! What only development chains can do: make blocks, move the clock, go back, hand out ether.

use revm::primitives::alloy_primitives::TxHash;
use serde_json::{Value, json};

use super::params::{Params, invalid};
use super::{Outcome, quantity};
use crate::error::RpcError;
use crate::ledger::Ledger;
use crate::options::Mining;
use crate::rewind::Orphans;

/// The highest timestamp that can be asked for: the end of the year 9999.
const UNIX_S_MAX: u64 = 253_402_300_799;

/// As many blocks as one request may make.
const BLOCKS_MAX: u64 = 100_000;

/// One block, with the timestamp of parameter 0 if there is one.
pub(super) fn mine_one(ledger: &mut Ledger, params: &Params) -> Outcome {
    if let Some(timestamp) = params.optional_u64(0, "timestamp")? {
        set_next(ledger, timestamp)?;
    }
    ledger.mine();
    Ok(json!("0x0"))
}

/// Parameter 0: how many blocks (default 1); parameter 1: seconds between them.
pub(super) fn mine_many(ledger: &mut Ledger, params: &Params) -> Outcome {
    let count = params.optional_u64(0, "blocks")?.unwrap_or(1);
    if count > BLOCKS_MAX {
        return Err(invalid("blocks", format!("{count} is above {BLOCKS_MAX}")));
    }
    let interval_s = params.optional_u64(1, "interval")?;
    for block in 0..count {
        if let Some(interval_s) = interval_s
            && block > 0
        {
            set_next(ledger, ledger.head().header.timestamp.saturating_add(interval_s))?;
        }
        ledger.mine();
    }
    Ok(Value::Null)
}

/// `true`: a block per transaction from now on, and one for those that wait. `false`: blocks on
/// request only.
pub(super) fn set_automine(ledger: &mut Ledger, params: &Params) -> Outcome {
    let instant: bool = params.required(0, "enabled")?;
    ledger.options.mining = if instant { Mining::Instant } else { Mining::OnRequest };
    if instant && ledger.pool.iter().next().is_some() {
        ledger.mine();
    }
    Ok(Value::Null)
}

/// Returns by how many seconds the chain's clock is ahead of the wall clock.
pub(super) fn increase_time(ledger: &mut Ledger, params: &Params) -> Outcome {
    let seconds = params.u64(0, "seconds")?;
    check_time(ledger.clock.now_unix_s().saturating_add(seconds))?;
    // A number for every clock that anybody sets; a clock in the past counts as not ahead.
    Ok(json!(u64::try_from(ledger.clock.advance(seconds)).unwrap_or(0)))
}

pub(super) fn set_next_block_timestamp(ledger: &mut Ledger, params: &Params) -> Outcome {
    set_next(ledger, params.u64(0, "timestamp")?)?;
    Ok(Value::Null)
}

fn set_next(ledger: &mut Ledger, got: u64) -> Result<(), RpcError> {
    let previous = ledger.head().header.timestamp;
    if got <= previous {
        return Err(RpcError::TimestampTooLow { got, previous });
    }
    check_time(got)?;
    ledger.clock.set_next(got);
    Ok(())
}

/// Keeps the arithmetic of the clock far from the end of its numbers.
fn check_time(unix_s: u64) -> Result<(), RpcError> {
    if unix_s > UNIX_S_MAX {
        return Err(invalid("time", format!("{unix_s} is after {UNIX_S_MAX}, the year 9999")));
    }
    Ok(())
}

/// Sets the clock without making a block; returns by how many seconds it is ahead of the wall
/// clock.
pub(super) fn set_time(ledger: &mut Ledger, params: &Params) -> Outcome {
    let unix_s = params.u64(0, "timestamp")?;
    check_time(unix_s)?;
    Ok(json!(u64::try_from(ledger.clock.set(unix_s)).unwrap_or(0)))
}

/// Parameter 0: the base fee of the next block, in wei per gas. Later ones follow from it.
pub(super) fn set_next_base_fee(ledger: &mut Ledger, params: &Params) -> Outcome {
    ledger.base_fee_set = Some(params.u64(0, "baseFee")?);
    Ok(Value::Null)
}

/// Parameter 0: how many blocks `safe` is behind the head; parameter 1: the same for `finalized`.
pub(super) fn set_tag_depths(ledger: &mut Ledger, params: &Params) -> Outcome {
    let (safe, finalized) = (params.u64(0, "safe")?, params.u64(1, "finalized")?);
    ledger.options.safe_depth_blocks = safe;
    ledger.options.finalized_depth_blocks = finalized;
    Ok(Value::Null)
}

/// Returns the hash of the waiting transaction that was dropped, or `null`.
pub(super) fn drop_transaction(ledger: &mut Ledger, params: &Params) -> Outcome {
    let hash: TxHash = params.required(0, "hash")?;
    Ok(if ledger.pool.drop_one(hash) { json!(hash) } else { Value::Null })
}

/// Returns how many waited.
pub(super) fn drop_all_transactions(ledger: &mut Ledger, _: &Params) -> Outcome {
    quantity(ledger.pool.take().len())
}

/// Parameter 0: how many blocks to take out; their transactions are gone.
pub(super) fn roll_back(ledger: &mut Ledger, params: &Params) -> Outcome {
    let depth = params.optional_u64(0, "depth")?.unwrap_or(1);
    ledger.roll_back(check_depth(ledger, depth)?, Orphans::Forgotten);
    Ok(Value::Null)
}

/// Parameter 0: how many blocks to replace by empty ones; parameter 1: must be absent or empty
/// (`anvil` takes transactions for the new blocks there); parameter 2: whether the transactions of
/// the old blocks wait again (`true`) or are gone (the default, and what `anvil` does).
pub(super) fn reorganise(ledger: &mut Ledger, params: &Params) -> Outcome {
    let depth = check_depth(ledger, params.u64(0, "depth")?)?;
    let pairs: Vec<Value> = params.optional(1, "txBlockPairs")?.unwrap_or_default();
    if !pairs.is_empty() {
        return Err(invalid("txBlockPairs", "are not supported by this chain"));
    }
    let again = params.optional(2, "again")?.unwrap_or(false);
    ledger.reorganise(depth, if again { Orphans::Waiting } else { Orphans::Forgotten });
    Ok(Value::Null)
}

/// Block 0 stays.
fn check_depth(ledger: &Ledger, depth: u64) -> Result<usize, RpcError> {
    let head = ledger.head().header.number;
    match usize::try_from(depth) {
        Ok(blocks) if depth <= head => Ok(blocks),
        _ => Err(invalid("depth", format!("{depth} is above the head's number {head}"))),
    }
}

/// Returns the snapshot's id.
pub(super) fn snapshot(ledger: &mut Ledger, _: &Params) -> Outcome {
    quantity(ledger.snapshot())
}

/// Returns whether the snapshot existed.
pub(super) fn revert(ledger: &mut Ledger, params: &Params) -> Outcome {
    let id = params.u64(0, "snapshot")?;
    Ok(json!(ledger.revert_to(id)))
}

pub(super) fn set_balance(ledger: &mut Ledger, params: &Params) -> Outcome {
    let balance = params.number(1, "balance")?;
    ledger.set_balance(params.required(0, "address")?, balance);
    Ok(Value::Null)
}

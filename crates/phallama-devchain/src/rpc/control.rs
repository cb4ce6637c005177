//! What only development chains can do: make blocks, move the clock, go back, hand out ether.

use serde_json::{Value, json};

use super::params::{Params, invalid};
use super::{Outcome, quantity};
use crate::error::RpcError;
use crate::ledger::Ledger;
use crate::options::Mining;

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

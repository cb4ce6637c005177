//! Keys and rows of the records' tables.

use std::ops::RangeInclusive;

use redb::Table;

use super::{LedgerError, storage};
use crate::spend::ChannelRecord;

/// chain id 8 ‖ escrow 20 ‖ user 20.
pub(super) const ACCOUNT_BYTES: usize = 48;
/// account ‖ pod id 32.
pub(super) const CHANNEL_BYTES: usize = 80;
/// channel ‖ request id 16.
pub(super) const FLIGHT_BYTES: usize = 96;
/// account ‖ request id 16.
pub(super) const LOST_BYTES: usize = 64;
/// noticed_at_unix_ms 8 ‖ pod id 32.
pub(super) const DISPUTE_BYTES: usize = 40;
/// account ‖ day 8.
pub(super) const DAY_BYTES: usize = 56;
/// account ‖ purse 32 ‖ day 8.
pub(super) const PURSE_BYTES: usize = 88;
/// SHA-256 of a trust root 32 ‖ kind of TEE 1.
pub(super) const TCB_KEY_BYTES: usize = 33;
/// finished_at_unix_ms 8 ‖ request id 16: newest last.
pub(super) const RECEIPT_BYTES: usize = 24;

/// epoch, charged, highest cap, allocated, allocated until, locked, unreceipted, proven, at risk,
/// risk day, losses, base.
pub(super) type ChannelRow = (u32, u128, u128, u128, u64, u128, u128, u128, u128, u64, u64, u128);
/// epoch, reserve, over at (unix seconds), lost, the day that the reserve counts on.
pub(super) type FlightRow = (u32, u128, u64, bool, u64);
/// pod, epoch, reserve, the day that the reserve counts on, lost at (unix seconds).
pub(super) type LostRow = ([u8; 32], u32, u128, u64, u64);

pub(super) fn load(
    channels: &impl redb::ReadableTable<[u8; CHANNEL_BYTES], ChannelRow>,
    key: &[u8; CHANNEL_BYTES],
) -> Result<Option<ChannelRecord>, LedgerError> {
    Ok(channels.get(key).map_err(storage)?.map(|value| from_row(value.value())))
}

pub(super) fn save(
    channels: &mut Table<[u8; CHANNEL_BYTES], ChannelRow>,
    key: &[u8; CHANNEL_BYTES],
    record: &ChannelRecord,
) -> Result<(), LedgerError> {
    let row = (
        record.epoch,
        record.charged,
        record.highest_cap,
        record.allocated,
        record.allocated_until_unix_s,
        record.locked,
        record.unreceipted,
        record.proven,
        record.at_risk,
        record.risk_day,
        record.losses,
        record.base,
    );
    channels.insert(key, row).map_err(storage)?;
    Ok(())
}

pub(super) fn from_row(row: ChannelRow) -> ChannelRecord {
    let (epoch, charged, highest_cap, allocated, allocated_until_unix_s, locked, ..) = row;
    let (.., unreceipted, proven, at_risk, risk_day, losses, base) = row;
    ChannelRecord {
        epoch,
        charged,
        highest_cap,
        allocated,
        allocated_until_unix_s,
        locked,
        unreceipted,
        proven,
        at_risk,
        risk_day,
        losses,
        base,
    }
}

/// `parts` one after the other; they must add up to `N` bytes.
pub(super) fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    parts.concat().try_into().expect("the parts of a key add up to its length")
}

/// Every key of `N` bytes that starts with `prefix`.
pub(super) fn within<const N: usize>(prefix: &[u8]) -> RangeInclusive<[u8; N]> {
    let (mut low, mut high) = ([0; N], [0xff; N]);
    low[..prefix.len()].copy_from_slice(prefix);
    high[..prefix.len()].copy_from_slice(prefix);
    low..=high
}

//! Which claims to settle, and how. Pure.

use std::collections::{HashMap, HashSet};

use phallama_chain::{Channel, ReceiptRow, SettleRow};
use phallama_protocol::ids::{Address, Amount};
use phallama_protocol::link::BatchRow;

use crate::journal::{Change, ChannelKey, ChannelRecord};
use crate::money::minus;

/// Rows per transaction, most: about 1.1 million gas.
pub const ROWS_MAX: usize = 100;

/// Unsettled claims, sorted by what can be done about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Claims of the running enclave.
    pub batch: Vec<ChannelRecord>,
    /// Claims of enclaves that are gone; they carry their own settlements.
    pub receipts: Vec<ChannelRecord>,
    /// Channels that have moved on: unless the chain takes that back, their claims are lost.
    pub ended: Vec<ChannelKey>,
    /// Channels of which the contract has paid more than the journal knows.
    pub paid: Vec<(ChannelKey, Amount)>,
}

impl Plan {
    /// Sorts claims by the channels on chain, given in the same order, and the running enclave's
    /// identity. Claims of which the contract would pay nothing, for want of locked money, are
    /// left.
    pub fn new(
        unsettled: &[ChannelRecord],
        channels: &[Channel],
        identity: Option<Address>,
    ) -> Self {
        let mut plan = Self::default();
        for (record, channel) in unsettled.iter().zip(channels) {
            if channel.epoch > record.key.epoch {
                plan.ended.push(record.key);
                continue;
            }
            if channel.claimed > record.settled {
                plan.paid.push((record.key, channel.claimed));
            }
            if payable(record, channel) == Amount::ZERO || channel.epoch != record.key.epoch {
                continue;
            }
            if Some(record.identity) == identity {
                plan.batch.push(record.clone());
            } else {
                plan.receipts.push(record.clone());
            }
        }
        plan
    }

    /// What the journal should learn from the chain.
    pub fn news(&self, at_unix_s: u64) -> Vec<Change> {
        let paid = self.paid.iter().copied();
        paid.map(|(key, claimed)| Change::Settled { key, claimed, at_unix_s }).collect()
    }
}

/// What the contract would pay now for the best that the pod has of a channel.
pub(super) fn payable(record: &ChannelRecord, channel: &Channel) -> Amount {
    minus(record.cumulative.min(record.cap).min(channel.locked), channel.claimed)
}

/// The channel on chain of each record, given in the same order.
pub(super) fn by_key(
    records: &[ChannelRecord],
    channels: &[Channel],
) -> HashMap<ChannelKey, Channel> {
    records.iter().map(|record| record.key).zip(channels.iter().copied()).collect()
}

/// The rows as the enclave is asked to sign them.
pub(super) fn batch_rows(records: &[ChannelRecord]) -> Vec<BatchRow> {
    let row = |record: &ChannelRecord| BatchRow {
        user: record.key.user,
        epoch: record.key.epoch,
        cap: record.cap,
        voucher_sig: record.voucher_sig,
        claimed: record.cumulative,
    };
    records.iter().map(row).collect()
}

/// The same rows as the contract reads them.
pub(super) fn settle_rows(records: &[ChannelRecord]) -> Vec<SettleRow> {
    let row = |record: &ChannelRecord| SettleRow {
        cap: record.cap,
        claimed: record.cumulative,
        epoch: record.key.epoch,
        voucher_sig: record.voucher_sig,
    };
    records.iter().map(row).collect()
}

/// Rows that carry their own settlement.
pub(super) fn receipt_rows(records: &[ChannelRecord]) -> Vec<ReceiptRow> {
    let row = |record: &ChannelRecord| ReceiptRow {
        identity: record.identity,
        cap: record.cap,
        epoch: record.key.epoch,
        voucher_sig: record.voucher_sig,
        seq: record.seq,
        cumulative: record.cumulative,
        receipt_hash: record.receipt_hash,
        settlement_sig: record.settlement_sig,
    };
    records.iter().map(row).collect()
}

/// The rows whose index is in `accepted`, and the others.
pub(super) fn split_accepted(
    rows: &[ChannelRecord],
    accepted: &[u32],
) -> (Vec<ChannelRecord>, Vec<ChannelRecord>) {
    let accepted: HashSet<_> = accepted.iter().filter_map(|&i| usize::try_from(i).ok()).collect();
    let (yes, no): (Vec<_>, Vec<_>) =
        rows.iter().cloned().enumerate().partition(|(index, _)| accepted.contains(index));
    let rows = |part: Vec<(usize, ChannelRecord)>| part.into_iter().map(|(_, row)| row).collect();
    (rows(yes), rows(no))
}

#[cfg(test)]
mod tests {
    use phallama_chain::settle_rows_bytes;
    use phallama_protocol::ids::Digest32;
    use phallama_protocol::keys::Signature;

    use super::*;

    const NOW: Address = Address([1; 20]);
    const EARLIER: Address = Address([2; 20]);

    /// 80 charged under a cap of 100, 20 of it paid.
    fn record(user: u8, identity: Address) -> ChannelRecord {
        ChannelRecord {
            key: ChannelKey { user: Address([user; 20]), epoch: 2 },
            cap: 100.into(),
            voucher_sig: Signature([user; 64]),
            identity,
            seq: 7,
            cumulative: 80.into(),
            receipt_hash: Digest32([5; 32]),
            settlement_sig: Signature([6; 64]),
            settled: 20.into(),
            settled_safe: 20.into(),
            unsettled_since_unix_s: 1_000,
            prompt_tokens: 1,
            completion_tokens: 1,
            closed: false,
        }
    }

    fn channel() -> Channel {
        Channel { locked: 500.into(), claimed: 20.into(), exit_at_unix_s: 0, epoch: 2 }
    }

    #[test]
    fn claims_go_to_whoever_signed_them() {
        let records = [record(1, NOW), record(2, EARLIER)];
        let plan = Plan::new(&records, &[channel(), channel()], Some(NOW));
        assert_eq!((plan.batch, plan.receipts), (vec![record(1, NOW)], vec![record(2, EARLIER)]));
        let plan = Plan::new(&records, &[channel(), channel()], None);
        assert_eq!((plan.batch.len(), plan.receipts.len()), (0, 2));
    }

    #[test]
    fn channel_that_moved_on_has_ended() {
        let later = Channel { epoch: 3, ..channel() };
        let plan = Plan::new(&[record(1, NOW)], &[later], Some(NOW));
        assert_eq!(plan, Plan { ended: vec![record(1, NOW).key], ..Plan::default() });
        assert_eq!(plan.news(9), []);
    }

    #[test]
    fn claim_paid_behind_our_back_is_noted_and_not_sent_again() {
        let paid = Channel { claimed: 80.into(), ..channel() };
        let plan = Plan::new(&[record(1, NOW)], &[paid], Some(NOW));
        let key = record(1, NOW).key;
        assert_eq!(plan, Plan { paid: vec![(key, 80.into())], ..Plan::default() });
        let expected = Change::Settled { key, claimed: 80.into(), at_unix_s: 9 };
        assert_eq!(plan.news(9), [expected]);
    }

    #[test]
    fn claim_without_locked_money_is_left_for_later() {
        let unlocked = Channel { locked: 20.into(), ..channel() };
        assert_eq!(Plan::new(&[record(1, NOW)], &[unlocked], Some(NOW)), Plan::default());
        let partly = Channel { locked: 21.into(), ..channel() };
        assert_eq!(Plan::new(&[record(1, NOW)], &[partly], Some(NOW)).batch.len(), 1);
    }

    #[test]
    fn channel_behind_the_claim_is_left_for_later() {
        let earlier = Channel { epoch: 1, ..channel() };
        assert_eq!(Plan::new(&[record(1, NOW)], &[earlier], Some(NOW)), Plan::default());
    }

    #[test]
    fn enclave_and_contract_get_the_same_rows() {
        let records = [record(1, NOW), record(2, NOW)];
        let signed: Vec<u8> = batch_rows(&records).iter().flat_map(BatchRow::pack).collect();
        assert_eq!(settle_rows_bytes(&settle_rows(&records)), signed);
        assert_eq!(signed.len(), 2 * 91);
    }

    #[test]
    fn receipt_row_carries_the_settlement_as_signed() {
        let rows = receipt_rows(&[record(1, EARLIER)]);
        let expected = ReceiptRow {
            identity: EARLIER,
            cap: 100.into(),
            epoch: 2,
            voucher_sig: Signature([1; 64]),
            seq: 7,
            cumulative: 80.into(),
            receipt_hash: Digest32([5; 32]),
            settlement_sig: Signature([6; 64]),
        };
        assert_eq!(rows, [expected]);
    }

    #[test]
    fn rows_that_the_enclave_does_not_stand_for_are_split_off() {
        let records = [record(1, NOW), record(2, NOW), record(3, NOW)];
        let (yes, no) = split_accepted(&records, &[0, 2, 9]);
        assert_eq!((yes, no), (vec![record(1, NOW), record(3, NOW)], vec![record(2, NOW)]));
    }
}

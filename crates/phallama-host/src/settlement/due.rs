//! When to settle.

use std::time::{Duration, Instant};

use phallama_chain::Channel;
use phallama_protocol::ids::{Address, Amount};

use super::{RowsSignedBy, Settler, locked, plan};
use crate::clock;
use crate::journal::{ChannelRecord, Condition};
use crate::money::plus;

/// Gas of a settlement transaction beside its rows, and of one row (docs/figures.json).
const GAS_PER_TRANSACTION: u128 = 30_000;
const GAS_PER_ROW: u128 = 11_000;
/// A key that can settle for less than this is settled with, in seconds.
const KEY_MARGIN_S: u64 = 86_400;
/// A clock that is corrected by less than this was not set back.
const CLOCK_SKEW_MAX_S: u64 = 60;
/// How long a key's end is remembered.
const KEY_FRESH: Duration = Duration::from_hours(1);
/// Token prices are for this many smallest units.
const UNITS_PER_PRICE: u128 = 1_000_000;

/// When to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// As soon as this much is unsettled in total, where what it costs is not known.
    pub min_value: Amount,
    /// As soon as a claim has waited this long, in seconds.
    pub max_age_s: u64,
    /// As soon as what is unsettled is worth this many times what the transaction costs.
    pub value_per_cost: u64,
    /// What 1,000,000 smallest units of the token are worth, in wei, where that is known.
    pub token_price_wei: Option<u128>,
}

impl Due {
    /// Whether claims for which the contract would pay `value` in all should be settled now,
    /// oldest first, at this price per gas. A user who is `leaving` can take everything unclaimed
    /// away when the exit ends.
    pub fn is_due(
        &self,
        payable: &[ChannelRecord],
        value: Amount,
        now_unix_s: u64,
        gas_price_wei: Option<u128>,
        leaving: impl Fn(Address) -> bool,
    ) -> bool {
        let (Some(oldest), Some(newest)) = (payable.first(), payable.last()) else {
            return false;
        };
        let age_s = now_unix_s.saturating_sub(oldest.unsettled_since_unix_s);
        // After the clock was set back an age says nothing any more.
        let set_back = newest.unsettled_since_unix_s > now_unix_s.saturating_add(CLOCK_SKEW_MAX_S);
        set_back
            || age_s >= self.max_age_s
            || value >= self.worth_it(payable.len(), gas_price_wei)
            || payable.iter().any(|record| leaving(record.key.user))
    }

    /// The value from which settling this many rows is worth its gas.
    fn worth_it(&self, rows: usize, gas_price_wei: Option<u128>) -> Amount {
        let Some((token, gas_price)) = self.token_price_wei.zip(gas_price_wei) else {
            return self.min_value;
        };
        let rows = u128::try_from(rows).unwrap_or(u128::MAX);
        let transactions = rows.div_ceil(super::ROWS_MAX as u128);
        let gas = rows
            .saturating_mul(GAS_PER_ROW)
            .saturating_add(transactions.saturating_mul(GAS_PER_TRANSACTION));
        let wei = gas.saturating_mul(gas_price).saturating_mul(self.value_per_cost.into());
        let units = wei.saturating_mul(UNITS_PER_PRICE).div_ceil(token.max(1));
        Amount::new(units).unwrap_or(Amount::MAX)
    }
}

/// For how long something has been unsettled by the clock that nobody can set.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    since: Option<Instant>,
    keys: std::collections::HashMap<Address, (Instant, u64)>,
}

impl Waiting {
    /// What was there is settled; what is left counts from now on.
    pub(super) fn settled(&mut self) {
        self.since = None;
    }

    /// For how long, at most, as seen from now.
    fn age(&mut self, anything: bool, now: Instant) -> Duration {
        if !anything {
            self.since = None;
            return Duration::ZERO;
        }
        now.duration_since(*self.since.get_or_insert(now))
    }

    fn key_end(&self, identity: Address, now: Instant) -> Option<u64> {
        let (at, end) = self.keys.get(&identity)?;
        (now.duration_since(*at) < KEY_FRESH).then_some(*end)
    }
}

impl Settler {
    /// Whether enough has gathered, something has waited long enough, or a user is leaving.
    pub(super) fn is_due(&self) -> bool {
        let (payable, value) = self.payable();
        if self.journal.condition() == Condition::Stopped {
            // What is known is in memory only.
            return !payable.is_empty();
        }
        let leaving = |user| self.view.last_channel(user).is_some_and(|c| c.exit_at_unix_s != 0);
        // The time of day can be set back; then this says how long it has been.
        let waited = locked(&self.memory.waiting).age(!payable.is_empty(), Instant::now());
        let (now_unix_s, gas_price) = (clock::now_unix_s(), self.view.gas_price_wei());
        waited >= Duration::from_secs(self.due.max_age_s)
            || self.due.is_due(&payable, value, now_unix_s, gas_price, leaving)
    }

    /// Claims that a settlement would be paid for, oldest first, and how much, as far as is known.
    /// What is owed beyond what is locked makes nothing due, however old it is: whoever does not
    /// pay would have every claim of everybody else settled by itself.
    fn payable(&self) -> (Vec<ChannelRecord>, Amount) {
        let identity = self.identity();
        let mut value = Amount::ZERO;
        let mut payable = self.journal.unsettled();
        payable.retain(|record| {
            let amount = match self.view.last_channel(record.key.user) {
                Some(channel) if self.is_passed_over(record, &channel, identity) => Amount::ZERO,
                Some(channel) => plan::payable(record, &channel),
                // Settling reads it.
                None => record.unsettled(),
            };
            value = plus(value, amount);
            amount > Amount::ZERO
        });
        (payable, value)
    }

    /// Whether a row would not be sent, or be passed over in every way to send it.
    fn is_passed_over(
        &self,
        record: &ChannelRecord,
        channel: &Channel,
        identity: Option<Address>,
    ) -> bool {
        let (skipped, now) = (locked(&self.memory.skipped), Instant::now());
        let holds = |way| skipped.holds(way, record, channel, now);
        let by_enclave = Some(record.identity) == identity && !holds(RowsSignedBy::Enclave);
        channel.epoch != record.key.epoch || !by_enclave && holds(RowsSignedBy::Receipts)
    }

    /// Whether a key that signed something payable will soon not be accepted any more.
    pub(super) async fn key_ends_soon(&self) -> bool {
        let mut identities: Vec<_> =
            self.payable().0.iter().map(|record| record.identity).collect();
        identities.sort_unstable();
        identities.dedup();
        for identity in identities {
            let end_unix_s = self.key_end(identity).await;
            let soon = self.view.now_unix_s().saturating_add(KEY_MARGIN_S);
            // What has ended already cannot be hurried.
            if end_unix_s > self.view.now_unix_s() && end_unix_s <= soon {
                return true;
            }
        }
        false
    }

    /// Until when the escrow accepts what a key has signed; 0 when that is not known.
    async fn key_end(&self, identity: Address) -> u64 {
        let now = Instant::now();
        if let Some(end) = locked(&self.memory.waiting).key_end(identity, now) {
            return end;
        }
        match self.view.chain().key_good_until(self.pod, identity).await {
            Ok(end) => {
                locked(&self.memory.waiting).keys.insert(identity, (now, end));
                end
            }
            Err(error) => {
                tracing::debug!(%error, "settlement: a key's end is not known");
                0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use phallama_protocol::ids::Digest32;
    use phallama_protocol::keys::Signature;

    use super::*;
    use crate::journal::ChannelKey;

    /// 60 of 80 unsettled since second 1,000.
    fn record(user: u8) -> ChannelRecord {
        ChannelRecord {
            key: ChannelKey { user: Address([user; 20]), epoch: 2 },
            cap: 100.into(),
            voucher_sig: Signature([user; 64]),
            identity: Address([9; 20]),
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

    fn due() -> Due {
        Due { min_value: 120.into(), max_age_s: 50, value_per_cost: 100, token_price_wei: None }
    }

    #[test]
    fn settlement_is_due_by_value_by_age_and_by_exit() {
        let (due, one, two) = (due(), [record(1)], [record(1), record(2)]);
        let nobody = |_| false;
        assert!(!due.is_due(&[], Amount::ZERO, u64::MAX, None, nobody));
        assert!(!due.is_due(&one, 60.into(), 1_049, None, nobody));
        assert!(due.is_due(&one, 60.into(), 1_050, None, nobody));
        assert!(!due.is_due(&two, 119.into(), 1_000, None, nobody));
        assert!(due.is_due(&two, 120.into(), 1_000, None, nobody));
        assert!(due.is_due(&one, 60.into(), 1_000, None, |user| user == Address([1; 20])));
    }

    #[test]
    fn value_is_held_against_the_cost_where_both_prices_are_known() {
        // Two rows: 52,000 gas at 3 wei, a hundred times. A million units are worth 2 × 10^11 wei,
        // so one is worth 200,000 wei, and 78 are enough.
        let priced = Due { token_price_wei: Some(200_000_000_000), ..due() };
        assert_eq!(priced.worth_it(2, Some(3)), 78.into());
        assert_eq!(priced.worth_it(2, None), 120.into());
        assert_eq!(due().worth_it(2, Some(3)), 120.into());
        // A hundred and one rows take two transactions.
        let gas = 101 * 11_000 + 2 * 30_000_u64;
        assert_eq!(priced.worth_it(101, Some(1)), (gas * 100).div_ceil(200_000).into());
        let worthless = Due { token_price_wei: Some(0), ..due() };
        assert_eq!(worthless.worth_it(1, Some(u128::MAX)), Amount::MAX);
    }

    #[test]
    fn age_by_the_monotonic_clock_begins_anew_after_a_settlement() {
        let (mut waiting, begin) = (Waiting::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(waiting.age(true, begin), Duration::ZERO);
        assert_eq!(waiting.age(true, after(60)), Duration::from_mins(1));
        waiting.settled();
        assert_eq!(waiting.age(true, after(61)), Duration::ZERO);
        assert_eq!(waiting.age(false, after(99)), Duration::ZERO);
        assert_eq!(waiting.age(true, after(100)), Duration::ZERO);
    }
}

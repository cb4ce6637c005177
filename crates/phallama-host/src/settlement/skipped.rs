//! Rows that the contract passed over: not sent again in the same way until something about them
//! has changed. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use phallama_chain::Channel;
use phallama_protocol::ids::{Address, Amount};

use super::RowsSignedBy;
use crate::journal::{ChannelKey, ChannelRecord};

/// A row that was passed over is tried once more after this long: what the contract knows of keys
/// can change too.
const AGAIN_AFTER: Duration = Duration::from_hours(24);

/// Why the contract passes a row over, as far as the channel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The channel has moved to another generation.
    OtherEpoch,
    /// Nothing is locked that was not paid already.
    NothingLocked,
    /// It was paid meanwhile.
    PaidAlready,
    /// The channel would pay: a signature or the key that made it is not accepted.
    NotAccepted,
}

impl SkipReason {
    fn of(record: &ChannelRecord, channel: &Channel) -> Self {
        if channel.epoch != record.key.epoch {
            Self::OtherEpoch
        } else if channel.claimed >= record.cumulative.min(record.cap) {
            Self::PaidAlready
        } else if channel.claimed >= channel.locked {
            Self::NothingLocked
        } else {
            Self::NotAccepted
        }
    }
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OtherEpoch => "the channel has moved to another generation",
            Self::NothingLocked => "nothing is locked that was not paid already",
            Self::PaidAlready => "it was paid already",
            Self::NotAccepted => "a signature, or the key that made it, is not accepted",
        })
    }
}

/// What a row's fate depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    cumulative: Amount,
    cap: Amount,
    identity: Address,
    locked: Amount,
    epoch: u32,
}

impl Row {
    fn of(record: &ChannelRecord, channel: &Channel) -> Self {
        Self {
            cumulative: record.cumulative,
            cap: record.cap,
            identity: record.identity,
            locked: channel.locked,
            epoch: channel.epoch,
        }
    }
}

/// Rows passed over, by channel and by who signed them.
#[derive(Debug, Default)]
pub(super) struct Skipped(HashMap<(ChannelKey, RowsSignedBy), (Row, Instant)>);

impl Skipped {
    /// Notes that a row was passed over.
    pub(super) fn note(
        &mut self,
        way: RowsSignedBy,
        record: &ChannelRecord,
        channel: &Channel,
        now: Instant,
    ) -> SkipReason {
        self.0.insert((record.key, way), (Row::of(record, channel), now));
        SkipReason::of(record, channel)
    }

    /// Whether a row would only be passed over again.
    pub(super) fn holds(
        &self,
        way: RowsSignedBy,
        record: &ChannelRecord,
        channel: &Channel,
        now: Instant,
    ) -> bool {
        self.0.get(&(record.key, way)).is_some_and(|(row, at)| {
            *row == Row::of(record, channel) && now.duration_since(*at) < AGAIN_AFTER
        })
    }

    /// Forgets channels of which nothing is unsettled any more.
    pub(super) fn keep(&mut self, unsettled: &[ChannelRecord]) {
        if self.0.is_empty() {
            return;
        }
        let open: std::collections::HashSet<_> = unsettled.iter().map(|it| it.key).collect();
        self.0.retain(|(key, _), _| open.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use phallama_protocol::ids::Digest32;
    use phallama_protocol::keys::Signature;

    use super::*;

    fn record() -> ChannelRecord {
        ChannelRecord {
            key: ChannelKey { user: Address([1; 20]), epoch: 2 },
            cap: 100.into(),
            voucher_sig: Signature([1; 64]),
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

    fn channel() -> Channel {
        Channel { locked: 500.into(), claimed: 20.into(), exit_at_unix_s: 0, epoch: 2 }
    }

    #[test]
    fn row_is_held_back_until_something_about_it_changes_or_a_day_has_passed() {
        let (way, now) = (RowsSignedBy::Receipts, Instant::now());
        let mut skipped = Skipped::default();
        assert!(!skipped.holds(way, &record(), &channel(), now));
        skipped.note(way, &record(), &channel(), now);
        assert!(skipped.holds(way, &record(), &channel(), now + AGAIN_AFTER / 2));
        assert!(!skipped.holds(way, &record(), &channel(), now + AGAIN_AFTER));
        assert!(!skipped.holds(RowsSignedBy::Enclave, &record(), &channel(), now));
        let higher = ChannelRecord { cumulative: 81.into(), ..record() };
        assert!(!skipped.holds(way, &higher, &channel(), now));
        let more = Channel { locked: 501.into(), ..channel() };
        assert!(!skipped.holds(way, &record(), &more, now));
        skipped.keep(&[]);
        assert!(!skipped.holds(way, &record(), &channel(), now));
    }

    #[test]
    fn reason_follows_from_the_channel() {
        for (channel, reason) in [
            (Channel { epoch: 3, ..channel() }, SkipReason::OtherEpoch),
            (Channel { claimed: 80.into(), ..channel() }, SkipReason::PaidAlready),
            (Channel { locked: 20.into(), ..channel() }, SkipReason::NothingLocked),
            (channel(), SkipReason::NotAccepted),
        ] {
            assert_eq!(SkipReason::of(&record(), &channel), reason);
        }
    }
}

//! One channel generation in the journal, and how it is written.

use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::keys::Signature;

use crate::money::minus;

/// First byte of every stored record.
const VERSION: u8 = 2;
/// Records from before it was noted what had been paid at the `safe` head.
const VERSION_WITHOUT_SAFE: u8 = 1;
/// Bytes of a key: user 20, epoch 4.
pub(super) const KEY_LEN: usize = 24;
/// Bytes of a record.
pub(super) const RECORD_LEN: usize = 1 + 16 + 64 + 20 + 8 + 16 + 32 + 64 + 16 + 16 + 8 + 8 + 8 + 1;

/// A user key's address and the generation of its channel with this pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey {
    /// Address of the user key.
    pub user: Address,
    /// Generation of the channel.
    pub epoch: u32,
}

/// What an enclave charged for one answer, with what is needed to be paid for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose channel, and which generation of it.
    pub key: ChannelKey,
    /// The voucher's cap.
    pub cap: Amount,
    /// The user key's signature on the voucher.
    pub voucher_sig: Signature,
    /// The identity key that signed the settlement.
    pub identity: Address,
    /// The settlement's sequence number under that identity.
    pub seq: u64,
    /// Cumulative amount charged.
    pub cumulative: Amount,
    /// Hash of the answer's receipt.
    pub receipt_hash: Digest32,
    /// The identity key's signature on the settlement.
    pub settlement_sig: Signature,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    pub completion_tokens: u32,
    /// What the contract had paid for this channel when it was last read, cumulative over all of
    /// its generations like `cumulative`.
    pub settled: Amount,
    /// When the host got it, seconds since 1970.
    pub at_unix_s: u64,
}

/// The best that the pod has of one channel generation: the highest settlement, and the highest
/// voucher for the identity that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelRecord {
    /// Whose channel, and which generation of it.
    pub key: ChannelKey,
    /// Highest cap of the vouchers for `identity`.
    pub cap: Amount,
    /// The user key's signature on that voucher.
    pub voucher_sig: Signature,
    /// The identity key that the voucher names and that signed the settlement.
    pub identity: Address,
    /// Sequence number of the settlement.
    pub seq: u64,
    /// Highest cumulative amount charged.
    pub cumulative: Amount,
    /// The settlement's receipt.
    pub receipt_hash: Digest32,
    /// The identity key's signature on the settlement.
    pub settlement_sig: Signature,
    /// What the contract had paid when it was last read, cumulative like `cumulative`.
    pub settled: Amount,
    /// What of it no reorganisation of the chain takes back.
    pub settled_safe: Amount,
    /// When the oldest unsettled claim came, seconds since 1970; 0 when nothing is unsettled.
    pub unsettled_since_unix_s: u64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens of all answers.
    pub completion_tokens: u64,
    /// The channel has moved to its next generation: nothing of this one can be settled any more.
    pub closed: bool,
}

impl ChannelRecord {
    /// What the contract has not paid yet.
    pub fn unsettled(&self) -> Amount {
        if self.closed { Amount::ZERO } else { minus(self.cumulative, self.settled) }
    }

    pub(super) fn first(claim: &Claim) -> Self {
        Self {
            key: claim.key,
            cap: claim.cap,
            voucher_sig: claim.voucher_sig,
            identity: claim.identity,
            seq: claim.seq,
            cumulative: claim.cumulative,
            receipt_hash: claim.receipt_hash,
            settlement_sig: claim.settlement_sig,
            settled: claim.settled,
            settled_safe: Amount::ZERO,
            unsettled_since_unix_s: claim.at_unix_s,
            prompt_tokens: claim.prompt_tokens.into(),
            completion_tokens: claim.completion_tokens.into(),
            closed: false,
        }
    }

    /// Takes what is higher. A claim that is not higher than what is known, a replayed one for
    /// example, changes nothing.
    ///
    /// A higher claim of another identity takes the record over with its voucher, even one with a
    /// lower cap: vouchers of one identity are worth nothing beside the settlement of another, and
    /// what an enclave claims stays within the caps of vouchers for itself.
    pub(super) fn raise(&mut self, claim: &Claim) {
        let higher = claim.cumulative > self.cumulative;
        let same_identity = claim.identity == self.identity;
        if if same_identity { claim.cap > self.cap } else { higher } {
            self.cap = claim.cap;
            self.voucher_sig = claim.voucher_sig;
        }
        self.settle(claim.settled, claim.at_unix_s);
        if !higher {
            return;
        }
        if self.unsettled() == Amount::ZERO {
            self.unsettled_since_unix_s = claim.at_unix_s;
        }
        self.identity = claim.identity;
        self.seq = claim.seq;
        self.cumulative = claim.cumulative;
        self.receipt_hash = claim.receipt_hash;
        self.settlement_sig = claim.settlement_sig;
        self.prompt_tokens = self.prompt_tokens.saturating_add(claim.prompt_tokens.into());
        self.completion_tokens =
            self.completion_tokens.saturating_add(claim.completion_tokens.into());
    }

    /// Notes what the contract has paid; it never pays back, so a lower amount is an older reading.
    pub(super) fn settle(&mut self, claimed: Amount, at_unix_s: u64) {
        if claimed <= self.settled {
            return;
        }
        self.settled = claimed;
        let open = self.unsettled() > Amount::ZERO;
        self.unsettled_since_unix_s = if open { at_unix_s } else { 0 };
    }

    /// Whether what is noted as paid can still be taken back.
    pub fn is_provisional(&self) -> bool {
        !self.closed && self.settled > self.settled_safe
    }

    /// Whether [`Change::Read`](super::Change::Read) with these amounts changes anything.
    pub fn would_change(&self, claimed: Amount, safe_claimed: Amount) -> bool {
        let mut read = self.clone();
        read.read(claimed, safe_claimed, 1);
        (read.settled, read.settled_safe) != (self.settled, self.settled_safe)
    }

    /// Notes what the contract says at the newest block and at the `safe` head. The former can be
    /// lower than what was noted: then blocks were replaced, and the rest is unsettled again.
    pub(super) fn read(&mut self, claimed: Amount, safe_claimed: Amount, at_unix_s: u64) {
        self.settled_safe = self.settled_safe.max(safe_claimed);
        self.settled = claimed.max(self.settled_safe);
        if self.unsettled() == Amount::ZERO {
            self.unsettled_since_unix_s = 0;
        } else if self.unsettled_since_unix_s == 0 {
            self.unsettled_since_unix_s = at_unix_s;
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.unsettled_since_unix_s = 0;
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RECORD_LEN);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.cap.to_be_bytes());
        bytes.extend_from_slice(&self.voucher_sig.0);
        bytes.extend_from_slice(&self.identity.0);
        bytes.extend_from_slice(&self.seq.to_be_bytes());
        bytes.extend_from_slice(&self.cumulative.to_be_bytes());
        bytes.extend_from_slice(&self.receipt_hash.0);
        bytes.extend_from_slice(&self.settlement_sig.0);
        bytes.extend_from_slice(&self.settled.to_be_bytes());
        bytes.extend_from_slice(&self.settled_safe.to_be_bytes());
        bytes.extend_from_slice(&self.unsettled_since_unix_s.to_be_bytes());
        bytes.extend_from_slice(&self.prompt_tokens.to_be_bytes());
        bytes.extend_from_slice(&self.completion_tokens.to_be_bytes());
        bytes.push(self.closed.into());
        bytes
    }

    /// `None` when the bytes are not a record of this version.
    pub(super) fn decode(key: ChannelKey, bytes: &[u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        if !matches!(version, VERSION | VERSION_WITHOUT_SAFE) {
            return None;
        }
        let record = Self {
            key,
            cap: amount(&mut rest)?,
            voucher_sig: Signature(take(&mut rest)?),
            identity: Address(take(&mut rest)?),
            seq: u64::from_be_bytes(take(&mut rest)?),
            cumulative: amount(&mut rest)?,
            receipt_hash: Digest32(take(&mut rest)?),
            settlement_sig: Signature(take(&mut rest)?),
            settled: amount(&mut rest)?,
            settled_safe: match version {
                VERSION_WITHOUT_SAFE => Amount::ZERO,
                _ => amount(&mut rest)?,
            },
            unsettled_since_unix_s: u64::from_be_bytes(take(&mut rest)?),
            prompt_tokens: u64::from_be_bytes(take(&mut rest)?),
            completion_tokens: u64::from_be_bytes(take(&mut rest)?),
            closed: take::<1>(&mut rest)? == [1],
        };
        rest.is_empty().then_some(record)
    }
}

impl ChannelKey {
    pub(super) fn encode(self) -> [u8; KEY_LEN] {
        let mut bytes = [0; KEY_LEN];
        bytes[..20].copy_from_slice(&self.user.0);
        bytes[20..].copy_from_slice(&self.epoch.to_be_bytes());
        bytes
    }

    pub(super) fn decode(bytes: [u8; KEY_LEN]) -> Self {
        let [user @ .., a, b, c, d] = bytes;
        Self { user: Address(user), epoch: u32::from_be_bytes([a, b, c, d]) }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn amount(rest: &mut &[u8]) -> Option<Amount> {
    Amount::new(u128::from_be_bytes(take(rest)?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(cap: u64, cumulative: u64) -> Claim {
        Claim {
            key: ChannelKey { user: Address([7; 20]), epoch: 3 },
            cap: cap.into(),
            voucher_sig: Signature([u8::try_from(cap).unwrap(); 64]),
            identity: Address([9; 20]),
            seq: cumulative,
            cumulative: cumulative.into(),
            receipt_hash: Digest32([4; 32]),
            settlement_sig: Signature([6; 64]),
            prompt_tokens: 10,
            completion_tokens: 20,
            settled: Amount::ZERO,
            at_unix_s: 1_000 + cumulative,
        }
    }

    #[test]
    fn record_survives_encoding() {
        let mut record = ChannelRecord::first(&claim(100, 40));
        record.settle(30.into(), 5);
        let bytes = record.encode();
        assert_eq!(bytes.len(), RECORD_LEN);
        assert_eq!(ChannelRecord::decode(record.key, &bytes), Some(record));
    }

    #[test]
    fn record_of_another_length_or_version_is_refused() {
        let record = ChannelRecord::first(&claim(100, 40));
        let bytes = record.encode();
        assert_eq!(ChannelRecord::decode(record.key, &bytes[..RECORD_LEN - 1]), None);
        assert_eq!(ChannelRecord::decode(record.key, &[&bytes[..], &[0]].concat()), None);
        let mut other = bytes;
        other[0] = 3;
        assert_eq!(ChannelRecord::decode(record.key, &other), None);
    }

    #[test]
    fn record_of_the_version_before_is_read_as_not_known_to_be_safe() {
        let mut record = ChannelRecord::first(&claim(100, 40));
        record.read(30.into(), 20.into(), 5);
        let mut bytes = record.encode();
        let at = 1 + 16 + 64 + 20 + 8 + 16 + 32 + 64 + 16;
        bytes.drain(at..at + 16);
        bytes[0] = VERSION_WITHOUT_SAFE;
        let expected = ChannelRecord { settled_safe: Amount::ZERO, ..record.clone() };
        assert_eq!(ChannelRecord::decode(record.key, &bytes), Some(expected));
    }

    #[test]
    fn payment_is_provisional_until_it_is_safe_and_can_fall_back_until_then() {
        let mut record = ChannelRecord::first(&claim(100, 40));
        record.settle(40.into(), 5);
        assert!(record.is_provisional());
        assert!(record.would_change(10.into(), 10.into()));
        record.read(10.into(), 10.into(), 6);
        assert_eq!((record.unsettled(), record.unsettled_since_unix_s), (30.into(), 6));
        assert!(!record.is_provisional());
        record.settle(40.into(), 7);
        record.read(40.into(), 40.into(), 8);
        assert_eq!((record.unsettled(), record.unsettled_since_unix_s), (Amount::ZERO, 0));
        assert!(!record.is_provisional() && !record.would_change(40.into(), 30.into()));
        // Below the safe head nothing falls back: a lower reading is an old one.
        record.read(10.into(), 10.into(), 9);
        assert_eq!(record.settled, 40.into());
    }

    #[test]
    fn cap_and_cumulative_each_keep_their_highest() {
        let mut record = ChannelRecord::first(&claim(100, 40));
        record.raise(&claim(80, 50));
        assert_eq!((record.cap, record.cumulative), (100.into(), 50.into()));
        assert_eq!(record.voucher_sig, Signature([100; 64]));
        record.raise(&claim(120, 45));
        assert_eq!((record.cap, record.cumulative, record.seq), (120.into(), 50.into(), 50));
        assert_eq!(record.voucher_sig, Signature([120; 64]));
    }

    #[test]
    fn higher_claim_of_the_next_identity_brings_its_own_voucher() {
        let next = Address([10; 20]);
        let mut record = ChannelRecord::first(&claim(100, 40));
        record.raise(&Claim { identity: next, ..claim(60, 45) });
        let expected = ChannelRecord::first(&Claim { identity: next, ..claim(60, 45) });
        assert_eq!((record.cap, record.voucher_sig), (expected.cap, expected.voucher_sig));
        assert_eq!((record.identity, record.cumulative), (next, 45.into()));
        assert_eq!(record.settlement_sig, expected.settlement_sig);
    }

    #[test]
    fn voucher_beside_a_lower_claim_of_another_identity_is_not_taken() {
        let mut record = ChannelRecord::first(&claim(100, 40));
        let before = record.clone();
        for cumulative in [39, 40] {
            record.raise(&Claim { identity: Address([10; 20]), ..claim(120, cumulative) });
            assert_eq!(record, before);
        }
    }

    #[test]
    fn repeated_claim_changes_nothing() {
        let mut record = ChannelRecord::first(&claim(100, 40));
        let before = record.clone();
        record.raise(&claim(100, 40));
        record.raise(&claim(90, 10));
        assert_eq!(record, before);
    }

    #[test]
    fn later_generation_owes_only_what_it_added() {
        let record = ChannelRecord::first(&Claim { settled: 30.into(), ..claim(100, 40) });
        assert_eq!(record.unsettled(), 10.into());
    }

    #[test]
    fn age_counts_from_the_oldest_unsettled_claim() {
        let mut record = ChannelRecord::first(&claim(100, 40));
        record.raise(&claim(100, 60));
        assert_eq!(record.unsettled_since_unix_s, 1_040);
        record.settle(60.into(), 2_000);
        assert_eq!((record.unsettled(), record.unsettled_since_unix_s), (Amount::ZERO, 0));
        record.raise(&claim(100, 70));
        assert_eq!((record.unsettled(), record.unsettled_since_unix_s), (10.into(), 1_070));
        record.settle(50.into(), 3_000);
        assert_eq!(record.unsettled(), 10.into());
    }
}

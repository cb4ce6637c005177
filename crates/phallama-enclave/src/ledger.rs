//! What each channel has been charged, and what its open requests may still cost
//! (spec/billing.md, steps 4 and 5).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use phallama_protocol::ids::{Address, Amount};
use tokio::sync::OwnedMutexGuard;

/// Most channels of one boot. A channel exists only after the host admitted a payment in it and its
/// cap covered that.
const CHANNELS_MAX: usize = 262_144;

/// One generation of a user's channel with this pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    /// The paying account.
    pub user: Address,
    /// Generation of the channel.
    pub epoch: u32,
}

/// All channels of this boot.
#[derive(Default)]
pub struct Ledger {
    channels: Mutex<HashMap<ChannelKey, Channel>>,
}

#[derive(Default)]
struct Channel {
    /// Cumulative amount: own charges on top of the highest claim that the host knew when the first
    /// request was reserved.
    charged: Amount,
    /// Highest cumulative amount of a claim that the host stored: what a batch may contain.
    claimed: Amount,
    /// Sum of the reserves of open requests.
    reserved: Amount,
    open_requests: u32,
    settlements: u64,
    closed: bool,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Why a request cannot be paid from its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// `charged + reserved + reserve` is above the cap.
    #[error(
        "the cap of {cap} is below {charged} charged + {reserved} in flight + {reserve} for this \
         request; sign a higher cap"
    )]
    CapTooLow {
        /// Cap of the voucher.
        cap: Amount,
        /// Charged so far.
        charged: Amount,
        /// Reserves of open requests.
        reserved: Amount,
        /// Reserve of this request.
        reserve: Amount,
    },
    /// A final amount was signed for this generation.
    #[error("this channel epoch was closed at {charged}; use the next epoch")]
    Closed {
        /// The final amount.
        charged: Amount,
    },
    /// [`CHANNELS_MAX`] is reached.
    #[error("this enclave keeps no more channels")]
    Full,
}

/// Why no final amount is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Requests are still open.
    #[error("{0} requests of this channel are still open")]
    Open(u32),
    /// No request was reserved in this channel since this enclave started: what it owes from before
    /// is not known.
    #[error("this enclave has served nothing in this channel")]
    Unknown,
}

/// The place of one open request in its channel. Dropping it releases what it reserved.
pub struct Reservation {
    ledger: Arc<Ledger>,
    key: ChannelKey,
    reserve: Amount,
    held: bool,
}

/// A charge that the host has not stored yet. Dropping it takes the charge back, unless its claim
/// has been handed to the host.
///
/// It holds the channel's turn: cumulative amounts are claimed one after the other, so that a
/// charge that is taken back is contained in no later claim.
pub struct Charge {
    request: Reservation,
    cost: Amount,
    /// Number of the settlement.
    pub seq: u64,
    /// The channel's amount, this charge included.
    pub cumulative: Amount,
    /// The host may have the claim.
    claimed: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelKey, Channel>> {
        self.channels.lock().expect("nothing panics while it holds the ledger")
    }

    /// The channel's cumulative amount; zero for an unknown channel.
    pub fn charged(&self, key: ChannelKey) -> Amount {
        self.lock().get(&key).map_or(Amount::ZERO, |channel| channel.charged)
    }

    /// The highest cumulative amount that this enclave claimed and the host stored.
    pub fn claimed(&self, key: ChannelKey) -> Amount {
        self.lock().get(&key).map_or(Amount::ZERO, |channel| channel.claimed)
    }

    /// Makes room for a request that may cost `reserve` under `cap`. `known_by_host` is the highest
    /// claim that the host knows: claims of earlier boots are learned from it. It counts until the
    /// first success in this boot, and never again: the host could raise it at will.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(
        self: &Arc<Self>,
        key: ChannelKey,
        known_by_host: Amount,
        cap: Amount,
        reserve: Amount,
    ) -> Result<Reservation, ReserveError> {
        let mut channels = self.lock();
        let known = channels.get(&key);
        if known.is_none() && channels.len() >= CHANNELS_MAX {
            return Err(ReserveError::Full);
        }
        let (charged, reserved) = known
            .map_or((known_by_host, Amount::ZERO), |channel| (channel.charged, channel.reserved));
        if known.is_some_and(|channel| channel.closed) {
            return Err(ReserveError::Closed { charged });
        }
        let now_reserved = reserved.checked_add(reserve);
        let needed = now_reserved.and_then(|sum| sum.checked_add(charged));
        let Some(now_reserved) = now_reserved.filter(|_| needed.is_some_and(|sum| sum <= cap))
        else {
            return Err(ReserveError::CapTooLow { cap, charged, reserved, reserve });
        };
        // Only now: a refusal leaves no channel behind, which could be closed or would fill the
        // table, and what is charged and reserved stays within a cap that the user has signed.
        let first = || Channel { charged, ..Channel::default() };
        let channel = channels.entry(key).or_insert_with(first);
        channel.reserved = now_reserved;
        channel.open_requests += 1;
        Ok(Reservation { ledger: Arc::clone(self), key, reserve, held: true })
    }

    /// The final amount of a channel without open requests; new requests in this epoch are refused
    /// from now on.
    ///
    /// # Errors
    /// [`CloseError`].
    pub fn close(&self, key: ChannelKey) -> Result<Amount, CloseError> {
        let mut channels = self.lock();
        let channel = channels.get_mut(&key).ok_or(CloseError::Unknown)?;
        if channel.open_requests > 0 {
            return Err(CloseError::Open(channel.open_requests));
        }
        channel.closed = true;
        Ok(channel.charged)
    }

    /// Applies `change` to a channel that has a reservation or a charge.
    fn with<T>(&self, key: ChannelKey, change: impl FnOnce(&mut Channel) -> T) -> T {
        let mut channels = self.lock();
        change(channels.get_mut(&key).expect("channels are never removed"))
    }
}

impl Reservation {
    /// The most that this request may cost.
    pub fn reserve(&self) -> Amount {
        self.reserve
    }

    /// Number and cumulative amount of an interim receipt for an answer that has cost `cost` so
    /// far. Charges nothing.
    pub fn interim(&self, cost: Amount) -> (u64, Amount) {
        self.ledger.with(self.key, |channel| {
            channel.settlements += 1;
            let cumulative = channel.charged.checked_add(cost.min(self.reserve));
            (channel.settlements, cumulative.unwrap_or(Amount::MAX))
        })
    }

    /// Charges `cost`, at most the reserve, once it is this request's turn.
    pub async fn charge(mut self, cost: Amount) -> Charge {
        let turn = self.ledger.with(self.key, |channel| Arc::clone(&channel.turn));
        let turn = turn.lock_owned().await;
        let cost = cost.min(self.reserve);
        self.held = false;
        let (seq, cumulative) = self.ledger.with(self.key, |channel| {
            channel.reserved = released(channel.reserved, self.reserve);
            channel.settlements += 1;
            let charged = channel.charged.checked_add(cost);
            channel.charged = charged.expect("charged and reserved are within a signed cap");
            (channel.settlements, channel.charged)
        });
        Charge { request: self, cost, seq, cumulative, claimed: false, _turn: turn }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.with(self.key, |channel| {
            if self.held {
                channel.reserved = released(channel.reserved, self.reserve);
            }
            channel.open_requests -= 1;
        });
    }
}

impl Charge {
    /// The claim was handed to the host, which may have stored it whatever it answers: the charge
    /// stands, or the host would be ahead of this ledger for good.
    pub fn hand_over(&mut self) {
        self.claimed = true;
    }

    /// The host says that it has not stored the claim: nothing is charged.
    pub fn take_back(mut self) {
        self.claimed = false;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.request.ledger.with(self.request.key, |channel| {
            if self.claimed {
                channel.claimed = channel.claimed.max(self.cumulative);
            } else {
                channel.charged = released(channel.charged, self.cost);
            }
        });
    }
}

fn released(total: Amount, part: Amount) -> Amount {
    total.checked_sub(part).expect("no more is released than was taken")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ChannelKey = ChannelKey { user: Address([1; 20]), epoch: 1 };

    fn amount(value: u64) -> Amount {
        Amount::from(value)
    }

    fn reserve(ledger: &Arc<Ledger>, cap: u64, reserve: u64) -> Result<Reservation, ReserveError> {
        ledger.reserve(KEY, Amount::ZERO, amount(cap), amount(reserve))
    }

    #[test]
    fn a_cap_covers_what_is_in_flight() {
        let ledger = Arc::new(Ledger::default());
        let first = reserve(&ledger, 100, 60).unwrap();
        let error = reserve(&ledger, 119, 60).err();
        let expected = ReserveError::CapTooLow {
            cap: amount(119),
            charged: Amount::ZERO,
            reserved: amount(60),
            reserve: amount(60),
        };
        assert_eq!(error, Some(expected));
        drop(first);
        reserve(&ledger, 60, 60).unwrap();
    }

    #[tokio::test]
    async fn a_claimed_charge_replaces_its_reserve() {
        let ledger = Arc::new(Ledger::default());
        let request = reserve(&ledger, 100, 60).unwrap();
        let mut charge = request.charge(amount(25)).await;
        assert_eq!((charge.seq, charge.cumulative), (1, amount(25)));
        charge.hand_over();
        assert_eq!(ledger.claimed(KEY), Amount::ZERO, "the host may still refuse it");
        drop(charge);
        assert_eq!((ledger.charged(KEY), ledger.claimed(KEY)), (amount(25), amount(25)));
        reserve(&ledger, 85, 60).unwrap();
    }

    #[tokio::test]
    async fn a_charge_that_is_not_stored_is_taken_back() {
        let ledger = Arc::new(Ledger::default());
        let request = reserve(&ledger, 100, 60).unwrap();
        drop(request.charge(amount(25)).await);
        assert_eq!((ledger.charged(KEY), ledger.claimed(KEY)), (Amount::ZERO, Amount::ZERO));
        let next = reserve(&ledger, 100, 100).unwrap();
        let mut refused = next.charge(amount(5)).await;
        assert_eq!(refused.seq, 2);
        refused.hand_over();
        refused.take_back();
        assert_eq!((ledger.charged(KEY), ledger.claimed(KEY)), (Amount::ZERO, Amount::ZERO));
    }

    #[tokio::test]
    async fn claims_of_one_channel_wait_for_each_other() {
        let ledger = Arc::new(Ledger::default());
        let first = reserve(&ledger, 100, 40).unwrap();
        let second = reserve(&ledger, 100, 40).unwrap();
        let charge = first.charge(amount(10)).await;
        let waiting = tokio::spawn(async move { second.charge(amount(7)).await.cumulative });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(charge);
        assert_eq!(waiting.await.unwrap(), amount(7));
    }

    #[tokio::test]
    async fn a_charge_is_never_above_its_reserve() {
        let ledger = Arc::new(Ledger::default());
        let request = reserve(&ledger, 100, 60).unwrap();
        assert_eq!(request.charge(amount(61)).await.cumulative, amount(60));
    }

    #[test]
    fn a_claim_of_an_earlier_boot_counts_against_the_cap() {
        let ledger = Arc::new(Ledger::default());
        let error = ledger.reserve(KEY, amount(50), amount(100), amount(51)).err();
        assert!(
            matches!(error, Some(ReserveError::CapTooLow { charged, .. }) if charged == amount(50))
        );
        ledger.reserve(KEY, amount(50), amount(100), amount(50)).unwrap();
        assert_eq!(ledger.charged(KEY), amount(50));
        assert_eq!(ledger.claimed(KEY), Amount::ZERO, "it is not this enclave's claim");
    }

    #[tokio::test]
    async fn the_host_names_an_amount_only_before_the_first_reservation() {
        let ledger = Arc::new(Ledger::default());
        let refused = ledger.reserve(KEY, amount(90), amount(100), amount(20)).err();
        assert!(matches!(refused, Some(ReserveError::CapTooLow { .. })));
        assert_eq!(ledger.charged(KEY), Amount::ZERO, "a refusal fixes nothing");
        let request = ledger.reserve(KEY, amount(50), amount(100), amount(20)).unwrap();
        let mut charge = request.charge(amount(10)).await;
        charge.hand_over();
        drop(charge);
        drop(ledger.reserve(KEY, amount(1_000), amount(100), amount(20)).unwrap());
        assert_eq!(ledger.charged(KEY), amount(60));
    }

    #[test]
    fn the_host_cannot_raise_a_channel_that_began_at_nothing() {
        let ledger = Arc::new(Ledger::default());
        drop(reserve(&ledger, 100, 20).unwrap());
        drop(ledger.reserve(KEY, amount(70), amount(100), amount(20)).unwrap());
        assert_eq!(ledger.charged(KEY), Amount::ZERO);
    }

    #[test]
    fn a_refused_request_leaves_no_channel_that_could_be_closed() {
        let ledger = Arc::new(Ledger::default());
        let refused = ledger.reserve(KEY, amount(1_000), amount(1), amount(10)).err();
        let expected = ReserveError::CapTooLow {
            cap: amount(1),
            charged: amount(1_000),
            reserved: Amount::ZERO,
            reserve: amount(10),
        };
        assert_eq!(refused, Some(expected));
        assert_eq!(ledger.close(KEY), Err(CloseError::Unknown), "1,000 is owed from before");
        drop(ledger.reserve(KEY, amount(1_000), amount(1_010), amount(10)).unwrap());
        assert_eq!(ledger.close(KEY), Ok(amount(1_000)));
    }

    #[test]
    fn strangers_without_money_take_no_room() {
        let ledger = Arc::new(Ledger::default());
        for number in 0..2 * u32::try_from(CHANNELS_MAX).unwrap() {
            let key = ChannelKey { epoch: number, ..KEY };
            let refused = ledger.reserve(key, Amount::ZERO, Amount::ZERO, amount(1)).err();
            assert!(matches!(refused, Some(ReserveError::CapTooLow { .. })), "{refused:?}");
        }
        reserve(&ledger, 100, 60).unwrap();
        assert_eq!(ledger.lock().len(), 1);
    }

    #[test]
    fn a_closed_epoch_takes_no_requests_and_closes_only_without_them() {
        let ledger = Arc::new(Ledger::default());
        assert_eq!(ledger.close(KEY), Err(CloseError::Unknown));
        let request = reserve(&ledger, 100, 60).unwrap();
        assert_eq!(ledger.close(KEY), Err(CloseError::Open(1)));
        drop(request);
        assert_eq!(ledger.close(KEY), Ok(Amount::ZERO));
        let error = reserve(&ledger, 100, 60).err();
        assert_eq!(error, Some(ReserveError::Closed { charged: Amount::ZERO }));
    }
}

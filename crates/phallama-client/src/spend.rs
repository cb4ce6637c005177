//! The arithmetic of a channel: what was charged, what may be drawn, what must be locked.
//!
//! Pure. Amounts are `u128` in the token's smallest unit; every one of them stays below 2^96.
//! Steps 2 to 4 of `spec/billing.md`.

/// What is remembered of one (user, pod) channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChannelRecord {
    /// The channel's generation.
    pub(crate) epoch: u32,
    /// The pod's cumulative amount, as far as it was proven or accepted.
    pub(crate) charged: u128,
    /// Highest cap signed in this epoch.
    pub(crate) highest_cap: u128,
    /// Highest total of an allocation that may still be submitted, or was.
    pub(crate) allocated: u128,
    /// Until when that allocation may be submitted, in unix seconds.
    pub(crate) allocated_until_unix_s: u64,
    /// What the chain was last seen to have locked.
    pub(crate) locked: u128,
    /// Part of `charged` that was accepted without a receipt, for answers that were lost.
    pub(crate) unreceipted: u128,
}

/// The chain's side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelView {
    pub(crate) epoch: u32,
    pub(crate) locked: u128,
    pub(crate) claimed: u128,
}

/// What the user still has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Funds {
    /// `free` of the account.
    pub(crate) free: u128,
    /// Part of it that allocations to other pods may still take.
    pub(crate) promised_elsewhere: u128,
}

/// One request's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The request's cost at most.
    pub(crate) reserve: u128,
    /// Reserves of this channel's unfinished requests in this epoch.
    pub(crate) in_flight: u128,
    pub(crate) lock_chunk: u128,
    pub(crate) allocation_life_s: u64,
    pub(crate) now_unix_s: u64,
}

/// What to sign for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) epoch: u32,
    pub(crate) cap: u128,
    pub(crate) allocation: Option<PlannedAllocation>,
}

/// An allocation to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedAllocation {
    pub(crate) total: u128,
    pub(crate) deadline_unix_s: u64,
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlan {
    /// More must be locked, and what is free is not known.
    FundsUnknown,
    /// More must be locked than there is.
    TooLow { needs: u128, available: u128 },
    /// The cap would not fit 96 bits.
    Overflow,
}

/// The chain reports an older epoch than was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainBehind {
    pub(crate) got: u32,
    pub(crate) seen: u32,
}

/// The pod names an amount above every cap it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AboveCaps {
    pub(crate) claimed: u128,
    pub(crate) allowed: u128,
}

/// Amounts are u96 in every digest.
pub(crate) const AMOUNT_MAX: u128 = (1 << 96) - 1;

impl ChannelRecord {
    /// Takes over what the chain says. A new epoch starts from what the chain has paid out.
    pub(crate) fn observe(&mut self, view: &ChannelView) -> Result<(), ChainBehind> {
        if view.epoch < self.epoch {
            return Err(ChainBehind { got: view.epoch, seen: self.epoch });
        }
        if view.epoch > self.epoch {
            let unreceipted = self.unreceipted;
            *self = Self { epoch: view.epoch, unreceipted, ..Self::default() };
        }
        self.charged = self.charged.max(view.claimed);
        // What the contract paid was under a cap that this key signed, even if it is forgotten
        // here.
        self.highest_cap = self.highest_cap.max(view.claimed);
        self.locked = view.locked;
        Ok(())
    }

    /// What is locked, or may still be locked with an allocation already signed.
    pub(crate) fn granted(&self, now_unix_s: u64) -> u128 {
        if now_unix_s < self.allocated_until_unix_s {
            self.locked.max(self.allocated)
        } else {
            self.locked
        }
    }

    /// What a signed allocation may still take from the free balance.
    pub(crate) fn promised(&self, now_unix_s: u64) -> u128 {
        self.granted(now_unix_s).saturating_sub(self.locked)
    }

    /// Decides cap and allocation for a request, and remembers both.
    pub(crate) fn plan(&mut self, wish: &Wish, funds: Option<&Funds>) -> Result<Plan, NoPlan> {
        let cap = self
            .charged
            .checked_add(wish.in_flight)
            .and_then(|sum| sum.checked_add(wish.reserve))
            .filter(|cap| *cap <= AMOUNT_MAX)
            .ok_or(NoPlan::Overflow)?;
        let granted = self.granted(wish.now_unix_s);
        let total = if cap > granted {
            granted + self.missing(cap - granted, wish, funds)?
        } else {
            granted
        };
        self.highest_cap = self.highest_cap.max(cap);
        let allocation = (total > self.locked).then(|| self.allocate(total, wish));
        Ok(Plan { epoch: self.epoch, cap, allocation })
    }

    /// How much to allocate when `needs` is missing: a chunk, at most half of what is left.
    fn missing(&self, needs: u128, wish: &Wish, funds: Option<&Funds>) -> Result<u128, NoPlan> {
        let funds = funds.ok_or(NoPlan::FundsUnknown)?;
        let promised = funds.promised_elsewhere.saturating_add(self.promised(wish.now_unix_s));
        let available = funds.free.saturating_sub(promised);
        if needs > available {
            return Err(NoPlan::TooLow { needs, available });
        }
        Ok(needs.max(wish.lock_chunk.min(available / 2)))
    }

    fn allocate(&mut self, total: u128, wish: &Wish) -> PlannedAllocation {
        let deadline_unix_s = wish.now_unix_s.saturating_add(wish.allocation_life_s);
        self.allocated = total;
        self.allocated_until_unix_s = self.allocated_until_unix_s.max(deadline_unix_s);
        PlannedAllocation { total, deadline_unix_s }
    }

    /// Takes over the cumulative amount of an accepted receipt.
    pub(crate) fn settle(&mut self, epoch: u32, cumulative: u128) {
        if epoch == self.epoch {
            self.charged = self.charged.max(cumulative);
        }
    }

    /// Accepts the pod's word about its amount, up to the highest cap ever signed to it.
    pub(crate) fn adopt(&mut self, claimed: u128) -> Result<(), AboveCaps> {
        if claimed > self.highest_cap {
            return Err(AboveCaps { claimed, allowed: self.highest_cap });
        }
        self.unreceipted += claimed.saturating_sub(self.charged);
        self.charged = self.charged.max(claimed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn wish(reserve: u128) -> Wish {
        Wish { reserve, in_flight: 0, lock_chunk: 0, allocation_life_s: 600, now_unix_s: NOW }
    }

    fn funds(free: u128) -> Funds {
        Funds { free, promised_elsewhere: 0 }
    }

    fn locked(locked: u128, claimed: u128, epoch: u32) -> ChannelView {
        ChannelView { epoch, locked, claimed }
    }

    #[test]
    fn the_first_request_allocates_what_it_needs() {
        let mut record = ChannelRecord::default();
        let plan = record.plan(&wish(70), Some(&funds(100))).unwrap();
        let allocation = PlannedAllocation { total: 70, deadline_unix_s: NOW + 600 };
        assert_eq!(plan, Plan { epoch: 0, cap: 70, allocation: Some(allocation) });
    }

    #[test]
    fn a_chunk_is_allocated_when_there_is_twice_as_much() {
        for (free, total) in [(1_000, 200), (300, 150), (90, 70)] {
            let mut record = ChannelRecord::default();
            let chunked = Wish { lock_chunk: 200, ..wish(70) };
            let plan = record.plan(&chunked, Some(&funds(free))).unwrap();
            assert_eq!(plan.allocation.unwrap().total, total, "free {free}");
        }
    }

    #[test]
    fn a_locked_channel_needs_no_allocation_and_no_chain() {
        let mut record = ChannelRecord::default();
        record.observe(&locked(500, 100, 3)).unwrap();
        let plan = record.plan(&wish(400), None).unwrap();
        assert_eq!(plan, Plan { epoch: 3, cap: 500, allocation: None });
        assert_eq!(record.plan(&wish(401), None), Err(NoPlan::FundsUnknown));
    }

    #[test]
    fn a_pending_allocation_is_attached_again_until_the_chain_shows_it() {
        let mut record = ChannelRecord::default();
        record.plan(&wish(70), Some(&funds(100))).unwrap();
        record.settle(0, 10);
        let again = record.plan(&wish(50), None).unwrap();
        assert_eq!(again.cap, 60);
        assert_eq!(again.allocation.map(|allocation| allocation.total), Some(70));
        record.observe(&locked(70, 0, 0)).unwrap();
        assert_eq!(record.plan(&wish(50), None).unwrap().allocation, None);
    }

    #[test]
    fn an_expired_allocation_frees_its_money() {
        let mut record = ChannelRecord::default();
        record.plan(&wish(70), Some(&funds(100))).unwrap();
        assert_eq!(record.promised(NOW + 599), 70);
        assert_eq!(record.promised(NOW + 600), 0);
    }

    #[test]
    fn refuses_what_the_balance_does_not_cover() {
        let mut record = ChannelRecord::default();
        let promised = Funds { free: 100, promised_elsewhere: 40 };
        let refused = record.plan(&wish(61), Some(&promised));
        assert_eq!(refused, Err(NoPlan::TooLow { needs: 61, available: 60 }));
        assert_eq!(record, ChannelRecord::default(), "a refusal must not be remembered");
    }

    #[test]
    fn refuses_a_cap_that_does_not_fit() {
        let mut record = ChannelRecord { charged: AMOUNT_MAX, ..ChannelRecord::default() };
        assert_eq!(record.plan(&wish(1), Some(&funds(u128::MAX))), Err(NoPlan::Overflow));
    }

    #[test]
    fn a_new_epoch_starts_from_what_was_paid() {
        let mut record =
            ChannelRecord { epoch: 1, charged: 90, highest_cap: 95, ..Default::default() };
        record.observe(&locked(80, 80, 2)).unwrap();
        assert_eq!((record.epoch, record.charged, record.highest_cap), (2, 80, 80));
        let behind = record.observe(&locked(0, 0, 1));
        assert_eq!(behind, Err(ChainBehind { got: 1, seen: 2 }));
    }

    #[test]
    fn adopts_up_to_the_highest_cap_and_no_further() {
        let mut record = ChannelRecord { charged: 10, highest_cap: 50, ..Default::default() };
        assert_eq!(record.adopt(51), Err(AboveCaps { claimed: 51, allowed: 50 }));
        assert_eq!(record.charged, 10);
        record.adopt(50).unwrap();
        assert_eq!((record.charged, record.unreceipted), (50, 40));
        record.adopt(20).unwrap();
        assert_eq!((record.charged, record.unreceipted), (50, 40));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask { reserve: u128, in_flight: u128, chunk: u128 },
        Receipt { part: u8 },
        Locked,
        Wait { seconds: u64 },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1_u128..2_000, 0_u128..500, 0_u128..3_000)
                .prop_map(|(reserve, in_flight, chunk)| Step::Ask { reserve, in_flight, chunk }),
            any::<u8>().prop_map(|part| Step::Receipt { part }),
            Just(Step::Locked),
            (0_u64..400).prop_map(|seconds| Step::Wait { seconds }),
        ]
    }

    proptest! {
        /// Whatever happens, in whatever order: a cap covers what was charged, in flight and
        /// reserved; it never exceeds what is locked or allocated; live allocations of a channel
        /// never shrink; and the user never promises more than the deposit.
        #[test]
        fn caps_are_covered_and_deposits_never_overdrawn(
            deposit in 0_u128..20_000,
            steps in proptest::collection::vec(step(), 1..40),
        ) {
            let mut record = ChannelRecord::default();
            let (mut now, mut chain_locked) = (NOW, 0_u128);
            for step in steps {
                match step {
                    Step::Ask { reserve, in_flight, chunk } => {
                        let funds = Funds { free: deposit - chain_locked, promised_elsewhere: 0 };
                        let wish = Wish {
                            reserve, in_flight, lock_chunk: chunk,
                            allocation_life_s: 600, now_unix_s: now,
                        };
                        let (charged, granted) = (record.charged, record.granted(now));
                        if let Ok(plan) = record.plan(&wish, Some(&funds)) {
                            prop_assert_eq!(plan.cap, charged + in_flight + reserve);
                            prop_assert!(plan.cap <= record.granted(now));
                            prop_assert!(record.granted(now) >= granted);
                            prop_assert!(plan.allocation.is_none_or(|a| a.total >= granted));
                        }
                        prop_assert!(record.granted(now) <= deposit);
                    }
                    Step::Receipt { part } => {
                        let room = record.highest_cap - record.charged;
                        let cumulative = record.charged + room * u128::from(part) / 255;
                        record.settle(0, cumulative);
                    }
                    Step::Locked => {
                        chain_locked = record.granted(now);
                        record.observe(&locked(chain_locked, 0, 0)).unwrap();
                    }
                    Step::Wait { seconds } => now += seconds,
                }
                prop_assert!(record.charged <= record.highest_cap);
            }
        }
    }
}

//! The arithmetic of a channel: what was charged, what may be drawn, what must be locked.
//!
//! Pure. Amounts are `u128` in the token's smallest unit; every one of them stays below 2^96.
//! Steps 2 to 4 of `spec/billing.md`.

use crate::config::lock_size;

/// What is remembered of one (user, pod) channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChannelRecord {
    /// The channel's generation.
    pub(crate) epoch: u32,
    /// The pod's cumulative amount: the highest of an accepted receipt, or adopted.
    pub(crate) charged: u128,
    /// Highest cap signed in this epoch.
    pub(crate) highest_cap: u128,
    /// Highest total of an allocation that may still be submitted, or was.
    pub(crate) allocated: u128,
    /// Until when that allocation may be submitted, in unix seconds.
    pub(crate) allocated_until_unix_s: u64,
    /// What the chain was last seen to have locked.
    pub(crate) locked: u128,
    /// Part of `proven` that was accepted without a receipt, for answers that were lost.
    pub(crate) unreceipted: u128,
    /// What was claimed on chain when the epoch was first seen, and every cost since: of accepted
    /// receipts, and of lost answers as far as they were adopted.
    pub(crate) proven: u128,
    /// Reserves of this epoch's requests whose end is unknown: each may have been charged.
    pub(crate) at_risk: u128,
    /// UTC day of the first request in `at_risk`.
    pub(crate) risk_day: u64,
    /// How many requests of this epoch were lost.
    pub(crate) losses: u64,
    /// What was claimed on chain when the epoch was first seen.
    pub(crate) base: u128,
}

/// The chain's side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChannelView {
    pub(crate) epoch: u32,
    pub(crate) locked: u128,
    pub(crate) claimed: u128,
}

/// The other requests of a channel's epoch, beside the one in question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Others {
    /// Reserves of those that are not over.
    pub(crate) open: u128,
    /// Reserves of those that were lost a short while ago: the pod may still be busy with them.
    pub(crate) just_lost: u128,
}

impl Others {
    /// What a cap has to cover beside the request's own reserve.
    pub(crate) fn in_flight(self) -> u128 {
        self.open.saturating_add(self.just_lost)
    }
}

/// A receipt that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settling {
    pub(crate) epoch: u32,
    pub(crate) cumulative: u128,
    pub(crate) cost: u128,
    /// [`ChannelRecord::losses`] when the request began.
    pub(crate) losses_before: u64,
}

/// What a receipt says about requests that were lost before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LostCost {
    /// They were charged this much.
    pub(crate) adopted: u128,
    /// They were not charged this part of their reserves.
    pub(crate) cleared: u128,
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
    /// Most that an allocation may add to what is locked: the day's limit.
    pub(crate) lock_max: Option<u128>,
    /// Most that the pod may draw in one epoch.
    pub(crate) pod_max: Option<u128>,
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
    /// The allocation would add more to what is locked than may be spent on a day.
    LockTooLarge { adds: u128, allowed: u128 },
    /// The pod could draw more in this epoch than one pod may.
    PodLimit { allowed: u128, used: u128 },
    /// The cap would not fit 96 bits.
    Overflow,
}

/// Why the chain's word about a channel is not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotObserved {
    /// The chain reports an older epoch than was seen before.
    Behind { got: u32, seen: u32 },
    /// More was claimed than this wallet's requests can have cost.
    Overclaimed(AboveBound),
    /// There are no records of the channel, and more was claimed than is believed without them.
    Unrecorded(AboveBound),
}

/// An amount that cannot be right: more than every request can have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AboveBound {
    pub(crate) claimed: u128,
    pub(crate) allowed: u128,
}

/// Amounts are u96 in every digest.
pub(crate) const AMOUNT_MAX: u128 = (1 << 96) - 1;

impl ChannelRecord {
    /// The first sight of an epoch: it starts from what the chain has paid out.
    fn first_seen(view: &ChannelView, unreceipted: u128) -> Self {
        let ChannelView { epoch, locked, claimed } = *view;
        Self {
            epoch,
            locked,
            charged: claimed,
            proven: claimed,
            base: claimed,
            // What the contract paid was under a cap that this key signed and has forgotten here.
            highest_cap: claimed,
            unreceipted,
            ..Self::default()
        }
    }

    /// A channel that nothing was remembered of. Caps begin at what was claimed, so that an
    /// invented amount could be drawn: no more than `believed` is taken over.
    pub(crate) fn unrecorded(view: &ChannelView, believed: u128) -> Result<Self, NotObserved> {
        let (claimed, allowed) = (view.claimed, believed);
        if claimed > allowed {
            return Err(NotObserved::Unrecorded(AboveBound { claimed, allowed }));
        }
        Ok(Self::first_seen(view, 0))
    }

    /// Takes over what the chain says: a new epoch and what is locked, never an amount that the
    /// wallet's own requests cannot have cost; a new epoch goes on from what the one before it was
    /// paid. `open` are the reserves of open requests.
    pub(crate) fn observe(&mut self, view: &ChannelView, open: u128) -> Result<(), NotObserved> {
        if view.epoch < self.epoch {
            return Err(NotObserved::Behind { got: view.epoch, seen: self.epoch });
        }
        self.bounded(view.claimed, open).map_err(NotObserved::Overclaimed)?;
        if view.epoch > self.epoch {
            *self = Self::first_seen(view, self.unreceipted);
            return Ok(());
        }
        self.locked = view.locked;
        Ok(())
    }

    /// Most that the pod's cumulative amount can be, with `open` reserved by open requests.
    pub(crate) fn bound(&self, open: u128) -> u128 {
        self.proven.saturating_add(open).saturating_add(self.at_risk)
    }

    /// Whether `claimed` is no more than requests can have cost.
    pub(crate) fn bounded(&self, claimed: u128, open: u128) -> Result<(), AboveBound> {
        let allowed = self.bound(open);
        if claimed > allowed { Err(AboveBound { claimed, allowed }) } else { Ok(()) }
    }

    /// Whether the accepted receipts fit each other: a receipt that came while others were open may
    /// have taken a part of their reserves that their own receipts did not confirm.
    pub(crate) fn consistent(&self, open: u128) -> Result<(), AboveBound> {
        self.bounded(self.charged, open)
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

    /// What counts against the limit per pod: the costs of this epoch, and `in_flight`.
    pub(crate) fn used(&self, in_flight: u128) -> u128 {
        self.proven.saturating_add(in_flight).max(self.charged).saturating_sub(self.base)
    }

    /// Decides cap and allocation for a request, and remembers both.
    pub(crate) fn plan(&mut self, wish: &Wish, funds: Option<&Funds>) -> Result<Plan, NoPlan> {
        // Every request that is not over is covered, and what the pod is known to stand at.
        let cap = self
            .proven
            .checked_add(wish.in_flight)
            .and_then(|sum| sum.max(self.charged).checked_add(wish.reserve))
            .filter(|cap| *cap <= AMOUNT_MAX)
            .ok_or(NoPlan::Overflow)?;
        let used = self.used(wish.in_flight);
        if let Some(allowed) = wish.pod_max.filter(|most| cap.saturating_sub(self.base) > *most) {
            return Err(NoPlan::PodLimit { allowed, used });
        }
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
        let adds = self.promised(wish.now_unix_s);
        let room = wish.lock_max.map_or(u128::MAX, |max| max.saturating_sub(adds));
        if needs > room {
            let adds = adds.saturating_add(needs);
            return Err(NoPlan::LockTooLarge { adds, allowed: wish.lock_max.unwrap_or(u128::MAX) });
        }
        // The cap is within the pod's limit, so `needs` is.
        let granted = self.granted(wish.now_unix_s).saturating_sub(self.base);
        let of_pod = wish.pod_max.map_or(u128::MAX, |max| max.saturating_sub(granted));
        Ok(lock_size(wish.lock_chunk, needs, available, room.min(of_pod)))
    }

    fn allocate(&mut self, total: u128, wish: &Wish) -> PlannedAllocation {
        let deadline_unix_s = wish.now_unix_s.saturating_add(wish.allocation_life_s);
        self.allocated = total;
        self.allocated_until_unix_s = self.allocated_until_unix_s.max(deadline_unix_s);
        PlannedAllocation { total, deadline_unix_s }
    }

    /// Takes over an accepted receipt, and what it says about requests that were lost.
    pub(crate) fn settle(&mut self, settling: &Settling, others: Others) -> LostCost {
        if settling.epoch != self.epoch {
            return LostCost::default();
        }
        self.charged = self.charged.max(settling.cumulative);
        self.proven = self.proven.saturating_add(settling.cost);
        if others.open > 0 {
            // What is above the proven costs may be theirs; their receipts will show it.
            return LostCost::default();
        }
        let adopted = self.take_risk(self.charged.saturating_sub(self.proven));
        // A request that was over before this one began is in this cumulative amount, or in none.
        let all_over = others.just_lost == 0 && settling.losses_before == self.losses;
        let cleared = if all_over { std::mem::take(&mut self.at_risk) } else { 0 };
        LostCost { adopted, cleared }
    }

    /// Remembers that nobody knows how a request of `epoch` ended.
    pub(crate) fn lose(&mut self, epoch: u32, reserve: u128, day: u64) {
        if epoch != self.epoch {
            return;
        }
        if self.at_risk == 0 {
            self.risk_day = day;
        }
        self.at_risk = self.at_risk.saturating_add(reserve);
        self.losses += 1;
    }

    /// Takes a lost request's reserve out of what is at risk, as far as it is still there: it is
    /// promised again.
    pub(crate) fn take_back(&mut self, reserve: u128) -> u128 {
        let taken = reserve.min(self.at_risk);
        self.at_risk -= taken;
        taken
    }

    /// Accepts the pod's word about its amount as far as lost requests explain it, and returns how
    /// much was accepted without a receipt.
    pub(crate) fn adopt(&mut self, claimed: u128, open: u128) -> Result<u128, AboveBound> {
        self.bounded(claimed, open)?;
        let adopted = self.take_risk(claimed.saturating_sub(self.proven));
        self.charged = self.charged.max(claimed.min(self.proven));
        Ok(adopted)
    }

    fn take_risk(&mut self, wanted: u128) -> u128 {
        let adopted = wanted.min(self.at_risk);
        self.at_risk -= adopted;
        self.proven = self.proven.saturating_add(adopted);
        self.unreceipted = self.unreceipted.saturating_add(adopted);
        adopted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn wish(reserve: u128) -> Wish {
        Wish {
            reserve,
            in_flight: 0,
            lock_chunk: 0,
            lock_max: None,
            pod_max: None,
            allocation_life_s: 600,
            now_unix_s: NOW,
        }
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
        let mut record = ChannelRecord::unrecorded(&locked(500, 100, 3), 100).unwrap();
        let plan = record.plan(&wish(400), None).unwrap();
        assert_eq!(plan, Plan { epoch: 3, cap: 500, allocation: None });
        assert_eq!(record.plan(&wish(401), None), Err(NoPlan::FundsUnknown));
    }

    #[test]
    fn a_pending_allocation_is_attached_again_until_the_chain_shows_it() {
        let mut record = ChannelRecord::default();
        record.plan(&wish(70), Some(&funds(100))).unwrap();
        settle(&mut record, 10, 10, Others::default());
        let again = record.plan(&wish(50), None).unwrap();
        assert_eq!(again.cap, 60);
        assert_eq!(again.allocation.map(|allocation| allocation.total), Some(70));
        record.observe(&locked(70, 0, 0), 0).unwrap();
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
    fn no_cap_and_no_allocation_goes_beyond_the_limit_per_pod() {
        let mut record = ChannelRecord::unrecorded(&locked(100, 100, 3), 100).unwrap();
        let limited = |reserve| Wish { pod_max: Some(80), lock_chunk: 500, ..wish(reserve) };
        let plan = record.plan(&limited(30), Some(&funds(1_000))).unwrap();
        assert_eq!((plan.cap, plan.allocation.unwrap().total), (130, 180));
        settle(&mut record, 120, 20, Others::default());
        let refused = record.plan(&limited(61), Some(&funds(1_000)));
        assert_eq!(refused, Err(NoPlan::PodLimit { allowed: 80, used: 20 }));
        assert_eq!(record.plan(&limited(60), Some(&funds(1_000))).unwrap().cap, 180);
        let in_flight = Wish { in_flight: 60, ..limited(1) };
        let refused = record.plan(&in_flight, Some(&funds(1_000)));
        assert_eq!(refused, Err(NoPlan::PodLimit { allowed: 80, used: 80 }));
        record.observe(&locked(120, 120, 4), 0).unwrap();
        assert_eq!(record.plan(&limited(80), Some(&funds(1_000))).unwrap().cap, 200);
    }

    #[test]
    fn refuses_a_cap_that_does_not_fit() {
        let mut record = ChannelRecord { proven: AMOUNT_MAX, ..ChannelRecord::default() };
        assert_eq!(record.plan(&wish(1), Some(&funds(u128::MAX))), Err(NoPlan::Overflow));
    }

    #[test]
    fn a_new_epoch_starts_from_what_was_paid() {
        let mut record =
            ChannelRecord { epoch: 1, charged: 90, proven: 90, at_risk: 5, ..Default::default() };
        record.observe(&locked(80, 80, 2), 0).unwrap();
        assert_eq!((record.epoch, record.charged, record.highest_cap), (2, 80, 80));
        assert_eq!((record.proven, record.at_risk), (80, 0));
        let behind = record.observe(&locked(0, 0, 1), 0);
        assert_eq!(behind, Err(NotObserved::Behind { got: 1, seen: 2 }));
    }

    fn settle(
        record: &mut ChannelRecord,
        cumulative: u128,
        cost: u128,
        others: Others,
    ) -> LostCost {
        let (epoch, losses_before) = (record.epoch, record.losses);
        record.settle(&Settling { epoch, cumulative, cost, losses_before }, others)
    }

    #[test]
    fn the_chain_does_not_raise_what_a_known_channel_owes() {
        let known = ChannelRecord { charged: 10, proven: 10, at_risk: 30, ..Default::default() };
        let mut record = known;
        let above = AboveBound { claimed: 61, allowed: 60 };
        let refused = record.observe(&locked(100, 61, 0), 20);
        assert_eq!(refused, Err(NotObserved::Overclaimed(above)));
        assert_eq!(record, known, "nothing is taken over");
        record.observe(&locked(100, 60, 0), 20).unwrap();
        assert_eq!(record, ChannelRecord { locked: 100, ..known });
    }

    #[test]
    fn an_endpoint_cannot_invent_a_claim_for_a_channel_without_records() {
        // Nothing is locked or claimed in truth. A cap and an allocation above 5,000 would let the
        // contract move all of that out of the free balance and pay it to the pod.
        let lie = locked(5_000, 5_000, 0);
        let above = |allowed| NotObserved::Unrecorded(AboveBound { claimed: 5_000, allowed });
        assert_eq!(ChannelRecord::unrecorded(&lie, 0), Err(above(0)));
        assert_eq!(ChannelRecord::unrecorded(&lie, 4_999), Err(above(4_999)));
        // What it says of `locked` alone moves nothing: the cap is the request's reserve.
        let mut record = ChannelRecord::unrecorded(&locked(5_000, 0, 7), 0).unwrap();
        let plan = record.plan(&wish(70), Some(&funds(1_000_000))).unwrap();
        assert_eq!(plan, Plan { epoch: 7, cap: 70, allocation: None });
    }

    #[test]
    fn a_new_epoch_begins_with_no_more_than_the_one_before_can_have_cost() {
        let known = ChannelRecord { charged: 10, proven: 10, at_risk: 30, ..Default::default() };
        let mut record = known;
        let above = AboveBound { claimed: 61, allowed: 60 };
        let refused = record.observe(&locked(5_000, 61, 1), 20);
        assert_eq!(refused, Err(NotObserved::Overclaimed(above)));
        assert_eq!(record, known, "nothing is taken over");
        record.observe(&locked(5_000, 60, 1), 20).unwrap();
        assert_eq!((record.epoch, record.proven, record.bound(0)), (1, 60, 60));
    }

    #[test]
    fn an_allocation_adds_no_more_than_the_days_limit() {
        let limited = |reserve| Wish { lock_max: Some(100), lock_chunk: 500, ..wish(reserve) };
        let mut record = ChannelRecord::unrecorded(&locked(0, 50, 0), 50).unwrap();
        let refused = record.plan(&limited(70), Some(&funds(1_000_000)));
        assert_eq!(refused, Err(NoPlan::LockTooLarge { adds: 120, allowed: 100 }));
        let mut record = ChannelRecord::unrecorded(&locked(50, 50, 0), 50).unwrap();
        let plan = record.plan(&limited(70), Some(&funds(1_000_000))).unwrap();
        assert_eq!(plan.allocation.unwrap().total, 150, "the chunk is cut to the limit");
    }

    #[test]
    fn adopts_what_lost_requests_explain_and_no_more() {
        let mut record = ChannelRecord {
            charged: 10,
            proven: 10,
            highest_cap: 2_000,
            ..ChannelRecord::default()
        };
        assert_eq!(record.adopt(11, 0), Err(AboveBound { claimed: 11, allowed: 10 }));
        record.lose(0, 40, 1);
        assert_eq!(record.adopt(51, 0), Err(AboveBound { claimed: 51, allowed: 50 }));
        assert_eq!((record.charged, record.proven), (10, 10), "nothing is adopted");
        assert_eq!(record.adopt(30, 0), Ok(20));
        assert_eq!((record.charged, record.proven, record.at_risk), (30, 30, 20));
        assert_eq!(record.unreceipted, 20);
        assert_eq!(record.adopt(20, 0), Ok(0));
        // What only open requests can explain waits for their receipts.
        assert_eq!(record.adopt(60, 10), Ok(20));
        assert_eq!((record.charged, record.proven, record.at_risk), (50, 50, 0));
    }

    #[test]
    fn a_receipt_says_what_lost_requests_have_cost() {
        let mut record = ChannelRecord::default();
        record.lose(0, 100, 1);
        let busy = Others { open: 0, just_lost: 100 };
        assert_eq!(settle(&mut record, 10, 10, busy), LostCost::default(), "it may still run");
        assert_eq!(record.at_risk, 100);
        let shown = settle(&mut record, 50, 10, Others::default());
        assert_eq!(shown, LostCost { adopted: 30, cleared: 70 });
        assert_eq!((record.charged, record.proven, record.at_risk), (50, 50, 0));
    }

    #[test]
    fn a_receipt_of_a_request_older_than_the_loss_clears_nothing() {
        let mut record = ChannelRecord::default();
        let early = Settling { epoch: 0, cumulative: 10, cost: 10, losses_before: 0 };
        record.lose(0, 100, 1);
        assert_eq!(record.settle(&early, Others::default()), LostCost::default());
        assert_eq!(record.at_risk, 100);
    }

    #[test]
    fn receipts_that_do_not_fit_each_other_are_noticed() {
        let mut record = ChannelRecord::default();
        // Two requests of 1,000 in parallel, each costs 10; the first receipt takes all of the
        // second one's reserve.
        settle(&mut record, 1_010, 10, Others { open: 1_000, just_lost: 0 });
        assert_eq!(record.consistent(1_000), Ok(()));
        assert_eq!(record.bound(0) + 10, 20, "most that the second receipt may say");
        settle(&mut record, 20, 10, Others::default());
        let above = AboveBound { claimed: 1_010, allowed: 20 };
        assert_eq!(record.consistent(0), Err(above));
    }

    #[test]
    fn parallel_receipts_in_any_order_fit() {
        for order in [[10_u128, 24, 40], [40, 24, 10], [24, 40, 10], [40, 10, 24]] {
            let mut record = ChannelRecord::default();
            let mut open = 300;
            for cumulative in order {
                let cost = match cumulative {
                    10 => 10,
                    24 => 14,
                    _ => 16,
                };
                open -= 100;
                assert!(cumulative <= record.bound(open) + cost, "{order:?}");
                settle(&mut record, cumulative, cost, Others { open, just_lost: 0 });
                assert_eq!(record.consistent(open), Ok(()), "{order:?}");
            }
            assert_eq!((record.charged, record.proven), (40, 40));
        }
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
        /// Whatever happens, in whatever order: a cap covers what was proven, in flight and
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
                            lock_max: None, pod_max: None,
                            allocation_life_s: 600, now_unix_s: now,
                        };
                        let (proven, granted) = (record.proven, record.granted(now));
                        if let Ok(plan) = record.plan(&wish, Some(&funds)) {
                            prop_assert_eq!(plan.cap, proven + in_flight + reserve);
                            prop_assert!(plan.cap <= record.granted(now));
                            prop_assert!(record.granted(now) >= granted);
                            prop_assert!(plan.allocation.is_none_or(|a| a.total >= granted));
                        }
                        prop_assert!(record.granted(now) <= deposit);
                    }
                    Step::Receipt { part } => {
                        let room = record.highest_cap - record.proven;
                        let cost = room * u128::from(part) / 255;
                        let cumulative = record.proven + cost;
                        settle(&mut record, cumulative, cost, Others::default());
                    }
                    Step::Locked => {
                        chain_locked = record.granted(now);
                        record.observe(&locked(chain_locked, 0, 0), 0).unwrap();
                    }
                    Step::Wait { seconds } => now += seconds,
                }
                prop_assert!(record.proven <= record.highest_cap);
                prop_assert_eq!(record.consistent(0), Ok(()));
            }
        }
    }
}

//! A user: the client's arithmetic, with its records in memory.

use std::collections::BTreeMap;

use phallama_protocol::ids::{Address, Amount};
use phallama_protocol::keys::Signature;

use crate::escrow::EscrowModel;

use super::POD;
use super::signed::{Allocation, Content, Voucher};

/// The client's own source: pure, and private to its crate.
#[allow(dead_code)] // Nothing here shows a balance.
#[path = "../../../phallama-client/src/spend.rs"]
mod spend;

use spend::{ChannelRecord, ChannelView, Funds, NoPlan, NotObserved, Others, Settling, Wish};

/// As `promise.rs` of the client has it, in seconds.
const LOST_COVERED_S: u64 = 30;
/// Response and answer time-outs, in seconds.
const LONGEST_S: u64 = 600;
const SECONDS_PER_DAY: u64 = 86_400;
const LOCK_CHUNK: u128 = 1_500;
const ALLOCATION_LIFE_S: u64 = 600;

/// What was promised with a request.
#[derive(Clone)]
pub(super) struct Promise {
    id: u64,
    pub(super) epoch: u32,
    pub(super) cap: Amount,
    pub(super) voucher: Signature,
    pub(super) reserve: Amount,
    pub(super) allocation: Option<(Allocation, Signature)>,
    /// From then on no answer is waited for.
    pub(super) over_at_unix_s: u64,
    charged_before: u128,
    losses_before: u64,
}

struct Flight {
    id: u64,
    epoch: u32,
    reserve: u128,
    over_at_unix_s: u64,
    lost: bool,
}

pub(super) struct User {
    pub(super) address: Address,
    record: Option<ChannelRecord>,
    flights: Vec<Flight>,
    made: u64,
    /// Sum of the reserves signed in each epoch.
    signed: BTreeMap<u32, u128>,
    /// The pod claimed what cannot be: nothing more is signed for it in this epoch.
    pub(super) distrusts: Option<String>,
}

impl User {
    pub(super) fn new(address: Address) -> Self {
        let (flights, signed) = Default::default();
        Self { address, record: None, flights, made: 0, signed, distrusts: None }
    }

    /// All that was ever promised in an epoch.
    pub(super) fn signed(&self, epoch: u32) -> u128 {
        self.signed.get(&epoch).copied().unwrap_or_default()
    }

    /// Takes over what the chain says; whether requests may follow.
    pub(super) fn observe(&mut self, escrow: &EscrowModel) -> bool {
        let channel = escrow.channel(self.address, POD);
        let view =
            ChannelView { epoch: channel.epoch, locked: channel.locked, claimed: channel.claimed };
        let open = self.others(None).open;
        let observed = match &mut self.record {
            Some(record) => record.observe(&view, open),
            None => ChannelRecord::unrecorded(&view, 0).map(|record| self.record = Some(record)),
        };
        match observed {
            Ok(()) => channel.exit_at_unix_s == 0,
            Err(NotObserved::Behind { .. }) => false,
            Err(NotObserved::Overclaimed(above) | NotObserved::Unrecorded(above)) => {
                self.distrust(format!("the chain shows {above:?}"));
                false
            }
        }
    }

    /// Promises `reserve` for the enclave with this key, unless something forbids it.
    pub(super) fn promise(
        &mut self,
        escrow: &EscrowModel,
        identity: Address,
        reserve: Amount,
        now_unix_s: u64,
    ) -> Option<Promise> {
        if self.record.is_none() && !self.observe(escrow) {
            return None;
        }
        let plan = match self.plan(None, reserve, now_unix_s) {
            Err(NoPlan::FundsUnknown) if self.observe(escrow) => {
                let free = escrow.account(self.address).map_or(0, |account| account.free);
                let funds = Funds { free, promised_elsewhere: 0 };
                self.plan(Some(&funds), reserve, now_unix_s)
            }
            planned => planned,
        };
        let plan = plan.ok().filter(|_| self.distrusts.is_none())?;
        let record = self.record.as_ref().expect("observed");
        let (charged_before, losses_before) = (record.charged, record.losses);
        let over_at_unix_s = now_unix_s + LONGEST_S;
        self.made += 1;
        self.flights.push(Flight {
            id: self.made,
            epoch: plan.epoch,
            reserve: reserve.value(),
            over_at_unix_s: over_at_unix_s + LOST_COVERED_S,
            lost: false,
        });
        *self.signed.entry(plan.epoch).or_default() += reserve.value();
        let cap = Amount::new(plan.cap).expect("a planned cap fits");
        let allocation = plan.allocation.map(|planned| Allocation {
            epoch: plan.epoch,
            total: Amount::new(planned.total).expect("a planned total fits"),
            deadline_unix_s: planned.deadline_unix_s,
        });
        Some(Promise {
            id: self.made,
            epoch: plan.epoch,
            cap,
            voucher: Voucher { identity, epoch: plan.epoch, cap }.sign(self.address),
            reserve,
            allocation: allocation.map(|allocation| (allocation, allocation.sign(self.address))),
            over_at_unix_s,
            charged_before,
            losses_before,
        })
    }

    /// Decides what to sign, from the records as they are.
    fn plan(
        &mut self,
        funds: Option<&Funds>,
        reserve: Amount,
        now_unix_s: u64,
    ) -> Result<spend::Plan, NoPlan> {
        self.end_flights(now_unix_s);
        let others = self.others(None);
        let record = self.record.as_mut().expect("observed");
        if let Err(above) = record.consistent(others.open) {
            self.distrust(format!("receipts that do not fit each other: {above:?}"));
            return Err(NoPlan::Overflow);
        }
        let wish = Wish {
            reserve: reserve.value(),
            in_flight: others.in_flight(),
            lock_chunk: LOCK_CHUNK,
            lock_max: None,
            pod_max: None,
            allocation_life_s: ALLOCATION_LIFE_S,
            now_unix_s,
        };
        record.plan(&wish, funds)
    }

    /// Nothing was charged.
    pub(super) fn not_charged(&mut self, promise: &Promise, now_unix_s: u64) {
        self.flights.retain(|flight| flight.id != promise.id);
        self.end_flights(now_unix_s);
    }

    /// Nobody knows how it ended.
    pub(super) fn lose(&mut self, promise: &Promise, now_unix_s: u64) {
        let record = self.record.as_mut().expect("a promise was made");
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == promise.id) {
            record.lose(flight.epoch, flight.reserve, now_unix_s / SECONDS_PER_DAY);
            flight.over_at_unix_s = flight.over_at_unix_s.min(now_unix_s + LOST_COVERED_S);
            flight.lost = true;
        }
        self.end_flights(now_unix_s);
    }

    /// A receipt came: held to what was promised, then taken over.
    pub(super) fn receive(
        &mut self,
        promise: &Promise,
        cumulative: Amount,
        cost: Amount,
        now_unix_s: u64,
    ) {
        let (cumulative, cost) = (cumulative.value(), cost.value());
        if self.record.as_ref().is_none_or(|record| record.epoch != promise.epoch) {
            // The channel has gone on; nothing of its former epoch can be drawn any more.
            return self.lose(promise, now_unix_s);
        }
        if let Err(why) = self.check(promise, cumulative, cost) {
            self.distrust(format!("a receipt of {cumulative} for {cost}: {why}"));
            return self.lose(promise, now_unix_s);
        }
        self.flights.retain(|flight| flight.id != promise.id);
        self.end_flights(now_unix_s);
        let others = self.others(None);
        let losses_before = promise.losses_before;
        let settling = Settling { epoch: promise.epoch, cumulative, cost, losses_before };
        self.record.as_mut().expect("a promise was made").settle(&settling, others);
    }

    fn check(&self, promise: &Promise, cumulative: u128, cost: u128) -> Result<(), &'static str> {
        let record = self.record.as_ref().expect("a promise was made");
        let cap_highest = record.highest_cap.max(promise.cap.value());
        let before_cost = record.bound(self.others(Some(promise.id)).open);
        let rules = [
            (cost <= promise.reserve.value(), "above the reserve"),
            (cumulative <= cap_highest, "above the cap"),
            (cumulative >= promise.charged_before + cost, "below the record"),
            (cumulative <= before_cost + cost, "above what requests can have cost"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(*why))
    }

    /// The pod says that the cap is too low for what the channel was charged.
    pub(super) fn catch_up(&mut self, escrow: &EscrowModel, epoch: u32, claimed: Amount) {
        if !self.observe(escrow) {
            return;
        }
        let open = self.others(None).open;
        let record = self.record.as_mut().expect("observed");
        if record.epoch == epoch
            && let Err(above) = record.adopt(claimed.value(), open)
        {
            self.distrust(format!("the pod says {above:?}"));
        }
    }

    fn distrust(&mut self, why: String) {
        self.distrusts.get_or_insert(why);
    }

    fn end_flights(&mut self, now_unix_s: u64) {
        let Some(record) = &mut self.record else { return };
        self.flights.retain(|flight| {
            let over = flight.over_at_unix_s <= now_unix_s;
            if over && !flight.lost {
                let day = flight.over_at_unix_s / SECONDS_PER_DAY;
                record.lose(flight.epoch, flight.reserve, day);
            }
            !over
        });
    }

    fn others(&self, but: Option<u64>) -> Others {
        let epoch = self.record.as_ref().map(|record| record.epoch);
        let mut others = Others::default();
        for flight in &self.flights {
            if Some(flight.epoch) != epoch || Some(flight.id) == but {
                continue;
            }
            let sum = if flight.lost { &mut others.just_lost } else { &mut others.open };
            *sum += flight.reserve;
        }
        others
    }
}

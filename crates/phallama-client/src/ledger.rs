//! The wallet's own records on disk: what was signed, spent and received.
//!
//! Everything a request promises is written durably before the request leaves, in one transaction
//! that also decides it, so that neither a crash nor a second process can make the key sign a
//! conflicting amount. Several processes may use the file at the same time.

use std::path::{Path, PathBuf};

use phallama_protocol::ids::{Address, Amount, PodId, RequestId};
use redb::{Database, ReadableDatabase as _, Table, TableDefinition, WriteTransaction};

use crate::config::{Purse, SpendLimits};
use crate::error::SpendLimit;
use crate::receipt::StoredReceipt;
use crate::spend::{
    AboveBound, ChannelRecord, ChannelView, Funds, LostCost, NoPlan, NotObserved, Others, Plan,
    Settling, Wish,
};

mod again;
mod commits;
mod file;
mod kept;
mod purses;
mod rows;

pub use again::Repeated;
use again::{CHARGED, LOST};
use commits::Commits;
use rows::{
    ACCOUNT_BYTES, CHANNEL_BYTES, ChannelRow, DAY_BYTES, FLIGHT_BYTES, FlightRow, from_row, joined,
    load, save, within,
};

const FILE_NAME: &str = "ledger.redb";
const SECONDS_PER_DAY: u64 = 86_400;

const CHANNELS: TableDefinition<[u8; CHANNEL_BYTES], ChannelRow> =
    TableDefinition::new("channels_3");
const FLIGHTS: TableDefinition<[u8; FLIGHT_BYTES], FlightRow> = TableDefinition::new("in_flight_3");
const DAYS: TableDefinition<[u8; DAY_BYTES], u128> = TableDefinition::new("days");
/// Channels that had been claimed in before there were records of them, and how much.
const UNRECORDED: TableDefinition<[u8; CHANNEL_BYTES], u128> = TableDefinition::new("unrecorded");

/// Why the records cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The folder cannot be made.
    #[error("the folder cannot be made: {0}")]
    Folder(#[from] std::io::Error),
    /// The storage failed.
    #[error("{0}")]
    Storage(Box<redb::Error>),
    /// A stored receipt cannot be read.
    #[error("a stored receipt cannot be read: {0}")]
    Receipt(#[from] serde_json::Error),
}

/// Anything redb says, as one error.
fn storage(error: impl Into<redb::Error>) -> LedgerError {
    LedgerError::Storage(Box::new(error.into()))
}

/// One user's account in one escrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccountKey {
    pub(crate) chain_id: u64,
    pub(crate) escrow: Address,
    pub(crate) user: Address,
}

impl AccountKey {
    fn bytes(&self) -> [u8; ACCOUNT_BYTES] {
        joined(&[&self.chain_id.to_be_bytes(), &self.escrow.0, &self.user.0])
    }

    fn channel(&self, pod: PodId) -> [u8; CHANNEL_BYTES] {
        joined(&[&self.bytes(), &pod.0])
    }

    fn day(&self, day: u64) -> [u8; DAY_BYTES] {
        joined(&[&self.bytes(), &day.to_be_bytes()])
    }
}

/// What a request wants to promise.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) account: AccountKey,
    pub(crate) pod: PodId,
    pub(crate) request_id: RequestId,
    pub(crate) limits: SpendLimits,
    pub(crate) purse: Option<Purse>,
    pub(crate) funds: Option<Funds>,
    /// `in_flight` is filled in by the ledger.
    pub(crate) wish: Wish,
    /// When the request is over at the latest, even if nobody says so.
    pub(crate) over_at_unix_s: u64,
}

/// A promise that was written down.
#[derive(Clone, Debug)]
pub(crate) struct Reservation {
    pub(crate) account: AccountKey,
    pub(crate) pod: PodId,
    pub(crate) request_id: RequestId,
    pub(crate) plan: Plan,
    pub(crate) reserve: u128,
    /// Whether an earlier attempt with the same id may have been charged.
    pub(crate) repeats: bool,
    /// The channel's amount when the promise was made.
    pub(crate) charged_before: u128,
    losses_before: u64,
    day: u64,
}

/// What a receipt's cumulative amount is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Highest cap signed in this epoch so far, by this request or another.
    pub(crate) cap_highest: u128,
    /// Most that the pod's amount can be without the cost of the request itself.
    pub(crate) before_cost: u128,
}

/// Why nothing was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReserved {
    Plan(NoPlan),
    Limit {
        limit: SpendLimit,
        allowed: u128,
        spent: u128,
    },
    /// The pod's receipts do not fit each other.
    Inconsistent(AboveBound),
    /// The request id is not free.
    Repeated(Repeated),
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// With an accepted receipt.
    Settled { cumulative: u128, cost: u128, receipt: Box<StoredReceipt> },
    /// The pod said so: without charge.
    NotCharged,
    /// Nobody knows: lost, cancelled, refused receipt, a refusal that anybody could have made. The
    /// reserve is at risk and stays on the day's account until a receipt shows what became of it,
    /// and for a while later caps cover it, because the pod may still be busy with it.
    Unknown { covered_until_unix_s: u64 },
}

/// The records of every account under one folder.
#[derive(Debug)]
pub(crate) struct Ledger {
    db: Database,
    commits: Commits,
    path: PathBuf,
}

impl Ledger {
    pub(crate) fn open(dir: &Path) -> Result<Self, LedgerError> {
        file::make_folder(dir)?;
        let path = dir.join(FILE_NAME);
        Self::on(file::open(&path)?, path)
    }

    /// The records in this database, which stays where it is.
    fn on(db: Database, path: PathBuf) -> Result<Self, LedgerError> {
        let ledger = Self { db, commits: Commits::default(), path };
        ledger.write(|txn| {
            txn.open_table(CHANNELS).map_err(storage)?;
            txn.open_table(FLIGHTS).map_err(storage)?;
            txn.open_table(DAYS).map_err(storage)?;
            txn.open_table(LOST).map_err(storage)?;
            txn.open_table(CHARGED).map_err(storage)?;
            txn.open_table(UNRECORDED).map_err(storage)?;
            purses::create(txn)?;
            kept::create(txn)
        })?;
        Ok(ledger)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Decides what to sign for a request and writes it down, or leaves everything as it was. A
    /// request that was lost and is sent again is promised the same money again, and no more.
    pub(crate) fn reserve(
        &self,
        request: &Wanted,
    ) -> Result<Result<Reservation, NotReserved>, LedgerError> {
        let (account, id, now) = (request.account, request.request_id, request.wish.now_unix_s);
        let day = now / SECONDS_PER_DAY;
        self.write(|txn| {
            let mut channels = txn.open_table(CHANNELS).map_err(storage)?;
            let mut flights = txn.open_table(FLIGHTS).map_err(storage)?;
            let key = account.channel(request.pod);
            let mut record = load(&channels, &key)?.unwrap_or_default();
            end_flights(txn, &mut flights, &key, &mut record, now)?;
            save(&mut channels, &key, &record)?;
            let of = (&account, request.pod, id);
            let lost = match again::earlier(txn, &flights, of, (request.wish.reserve, now))? {
                Ok(lost) => lost.filter(|(_, epoch, ..)| *epoch == record.epoch),
                Err(repeated) => return Ok(Err(NotReserved::Repeated(repeated))),
            };
            let others = others(&flights, &key, record.epoch, Some(id))?;
            if let Err(above) = record.consistent(others.open) {
                return Ok(Err(NotReserved::Inconsistent(above)));
            }
            let reserve = lost.map_or(request.wish.reserve, |(_, _, reserve, ..)| reserve);
            // What the first attempt left at risk is what this one promises.
            let taken_back = lost.map_or(0, |(_, _, reserve, ..)| record.take_back(reserve));
            let counted =
                lost.filter(|(_, _, _, of_day, _)| *of_day == day).map_or(0, |_| taken_back);
            let mut days = txn.open_table(DAYS).map_err(storage)?;
            let spent = day_spent(&days, &account, day)?.saturating_sub(counted);
            if let Err(refused) = within_limits(&request.limits, reserve, spent) {
                return Ok(Err(refused));
            }
            let drawing = (&account, id, reserve, day);
            if let Err(refused) = purses::allow(txn, request.purse.as_ref(), drawing)? {
                return Ok(Err(refused));
            }
            let (charged_before, losses_before) = (record.charged, record.losses);
            let wish = Wish { reserve, in_flight: others.in_flight(), ..request.wish };
            let plan = match record.plan(&wish, request.funds.as_ref()) {
                Ok(plan) => plan,
                Err(refused) => return Ok(Err(NotReserved::Plan(refused))),
            };
            save(&mut channels, &key, &record)?;
            let flight: [u8; FLIGHT_BYTES] = joined(&[&key, &id.0]);
            let row = (record.epoch, reserve, request.over_at_unix_s, false, day);
            flights.insert(flight, row).map_err(storage)?;
            if let Some((_, _, _, of_day, _)) = lost {
                give_back(&mut days, &account, of_day, taken_back)?;
            }
            again::found(txn, &account, id)?;
            days.insert(account.day(day), spent.saturating_add(reserve)).map_err(storage)?;
            purses::draw(txn, request.purse.as_ref(), drawing)?;
            let (pod, repeats) = (request.pod, lost.is_some());
            let made = Reservation {
                account,
                pod,
                request_id: id,
                plan,
                reserve,
                repeats,
                charged_before,
                losses_before,
                day,
            };
            Ok(Ok(made))
        })
    }

    /// Closes a reservation.
    pub(crate) fn finish(
        &self,
        made: &Reservation,
        how: &Outcome,
        now_unix_s: u64,
    ) -> Result<(), LedgerError> {
        let key = made.account.channel(made.pod);
        self.write(|txn| {
            let flight: [u8; FLIGHT_BYTES] = joined(&[&key, &made.request_id.0]);
            let mut flights = txn.open_table(FLIGHTS).map_err(storage)?;
            let mut channels = txn.open_table(CHANNELS).map_err(storage)?;
            let mut record = load(&channels, &key)?.unwrap_or_default();
            let known = flights.remove(flight).map_err(storage)?.map(|row| row.value());
            end_flights(txn, &mut flights, &key, &mut record, now_unix_s)?;
            let (mut refund, mut lost) = (0, LostCost::default());
            match how {
                Outcome::NotCharged => refund = made.reserve,
                // Without a row it was over before, and is at risk already.
                Outcome::Unknown { covered_until_unix_s } => {
                    if let Some((epoch, reserve, over, _, day)) = known {
                        record.lose(epoch, reserve, day);
                        let row = (epoch, reserve, over.min(*covered_until_unix_s), true, day);
                        flights.insert(flight, row).map_err(storage)?;
                        let mut lost = txn.open_table(LOST).map_err(storage)?;
                        again::lose(&mut lost, &flight, (epoch, reserve, day), now_unix_s)?;
                    }
                }
                Outcome::Settled { cumulative, cost, receipt } => {
                    refund = made.reserve.saturating_sub(*cost);
                    let (epoch, losses_before) = (made.plan.epoch, made.losses_before);
                    let others = others(&flights, &key, record.epoch, Some(made.request_id))?;
                    let (cumulative, cost) = (*cumulative, *cost);
                    let settling = Settling { epoch, cumulative, cost, losses_before };
                    lost = record.settle(&settling, others);
                    if lost.adopted > 0 {
                        again::charged(txn, (&key, epoch), now_unix_s)?;
                    }
                    again::found(txn, &made.account, made.request_id)?;
                    kept::keep_receipt(txn, receipt)?;
                }
            }
            save(&mut channels, &key, &record)?;
            let mut days = txn.open_table(DAYS).map_err(storage)?;
            give_back(&mut days, &made.account, made.day, refund)?;
            purses::finish(txn, made, how, refund)?;
            account_for(&mut days, &made.account, &record, now_unix_s / SECONDS_PER_DAY, lost)
        })
    }

    /// What the receipt of an open request is held to, as it is now.
    pub(crate) fn bounds(&self, made: &Reservation) -> Result<Bounds, LedgerError> {
        let key = made.account.channel(made.pod);
        let txn = self.db.begin_read().map_err(storage)?;
        let flights = txn.open_table(FLIGHTS).map_err(storage)?;
        let record = load(&txn.open_table(CHANNELS).map_err(storage)?, &key)?;
        let Some(record) = record.filter(|record| record.epoch == made.plan.epoch) else {
            // The channel has gone on to another epoch; nothing of this one can be drawn.
            let before_cost = made.charged_before;
            return Ok(Bounds { cap_highest: made.plan.cap, before_cost });
        };
        let others = others(&flights, &key, record.epoch, Some(made.request_id))?;
        Ok(Bounds {
            cap_highest: record.highest_cap.max(made.plan.cap),
            before_cost: record.bound(others.open),
        })
    }

    /// Takes over what the chain says about a channel; `believed` is the most that it may say was
    /// claimed in one without records.
    pub(crate) fn observe(
        &self,
        account: &AccountKey,
        pod: PodId,
        view: &ChannelView,
        (believed, now_unix_s): (u128, u64),
    ) -> Result<Result<(), NotObserved>, LedgerError> {
        let key = account.channel(pod);
        self.write(|txn| {
            let flights = txn.open_table(FLIGHTS).map_err(storage)?;
            let mut channels = txn.open_table(CHANNELS).map_err(storage)?;
            let Some(mut record) = load(&channels, &key)? else {
                let record = match ChannelRecord::unrecorded(view, believed) {
                    Ok(record) => record,
                    Err(refused) => return Ok(Err(refused)),
                };
                if view.claimed > 0 {
                    let mut unrecorded = txn.open_table(UNRECORDED).map_err(storage)?;
                    unrecorded.insert(key, view.claimed).map_err(storage)?;
                }
                save(&mut channels, &key, &record)?;
                return Ok(Ok(()));
            };
            let others = others(&flights, &key, record.epoch, None)?;
            let before = record;
            if let Err(refused) = record.observe(view, others.open) {
                return Ok(Err(refused));
            }
            // What the former epoch was paid beyond receipts was for requests that were lost.
            if record.epoch != before.epoch && view.claimed > before.proven {
                again::charged(txn, (&key, before.epoch), now_unix_s)?;
            }
            save(&mut channels, &key, &record)?;
            Ok(Ok(()))
        })
    }

    /// Whether the channel had been used before there were records of it.
    pub(crate) fn is_unrecorded(
        &self,
        account: &AccountKey,
        pod: PodId,
    ) -> Result<bool, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let unrecorded = txn.open_table(UNRECORDED).map_err(storage)?;
        Ok(unrecorded.get(account.channel(pod)).map_err(storage)?.is_some())
    }

    /// Whether something of the channel's amount is confirmed, by a receipt or otherwise.
    pub(crate) fn has_proof(&self, account: &AccountKey, pod: PodId) -> Result<bool, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let record = load(&txn.open_table(CHANNELS).map_err(storage)?, &account.channel(pod))?;
        Ok(record.is_some_and(|record| record.proven > 0))
    }

    /// Accepts the pod's word about its amount in `epoch`, as far as lost requests explain it. What
    /// is accepted counts as spent. Of another epoch nothing is taken over.
    pub(crate) fn adopt(
        &self,
        account: &AccountKey,
        pod: PodId,
        epoch: u32,
        claimed: u128,
        now_unix_s: u64,
    ) -> Result<Result<(), AboveBound>, LedgerError> {
        let key = account.channel(pod);
        self.write(|txn| {
            let mut flights = txn.open_table(FLIGHTS).map_err(storage)?;
            let mut channels = txn.open_table(CHANNELS).map_err(storage)?;
            let mut record = load(&channels, &key)?.unwrap_or_default();
            if record.epoch != epoch {
                return Ok(Ok(()));
            }
            end_flights(txn, &mut flights, &key, &mut record, now_unix_s)?;
            let others = others(&flights, &key, epoch, None)?;
            let adopted = record.adopt(claimed, others.open);
            save(&mut channels, &key, &record)?;
            let lost = match adopted {
                Ok(adopted) => LostCost { adopted, cleared: 0 },
                Err(above) => return Ok(Err(above)),
            };
            if lost.adopted > 0 {
                again::charged(txn, (&key, epoch), now_unix_s)?;
            }
            let mut days = txn.open_table(DAYS).map_err(storage)?;
            account_for(&mut days, account, &record, now_unix_s / SECONDS_PER_DAY, lost)?;
            Ok(Ok(()))
        })
    }

    /// Holds an amount of a channel's epoch against the records, without taking it over.
    pub(crate) fn hold(
        &self,
        account: &AccountKey,
        pod: PodId,
        epoch: u32,
        claimed: u128,
    ) -> Result<Result<(), AboveBound>, LedgerError> {
        let key = account.channel(pod);
        let txn = self.db.begin_read().map_err(storage)?;
        let flights = txn.open_table(FLIGHTS).map_err(storage)?;
        let record = load(&txn.open_table(CHANNELS).map_err(storage)?, &key)?;
        let record = record.filter(|record| record.epoch == epoch).unwrap_or_default();
        let others = others(&flights, &key, epoch, None)?;
        Ok(record.bounded(claimed, others.open))
    }

    /// What is remembered of a channel.
    #[cfg(test)]
    pub(crate) fn channel(
        &self,
        account: &AccountKey,
        pod: PodId,
    ) -> Result<Option<ChannelRecord>, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        load(&txn.open_table(CHANNELS).map_err(storage)?, &account.channel(pod))
    }

    /// Every remembered channel of the account.
    pub(crate) fn channels(
        &self,
        account: &AccountKey,
    ) -> Result<Vec<(PodId, ChannelRecord)>, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let table = txn.open_table(CHANNELS).map_err(storage)?;
        let rows = table.range(within::<CHANNEL_BYTES>(&account.bytes())).map_err(storage)?;
        rows.map(|row| {
            let (key, value) = row.map_err(storage)?;
            let (_, pod) = key
                .value()
                .split_last_chunk::<32>()
                .map(|(a, b)| (a.len(), *b))
                .expect("a channel key is longer than a pod id");
            Ok((PodId(pod), from_row(value.value())))
        })
        .collect()
    }

    /// What counts against the limit per pod, for each remembered pod.
    pub(crate) fn used(&self, account: &AccountKey) -> Result<Vec<(PodId, u128)>, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let flights = txn.open_table(FLIGHTS).map_err(storage)?;
        let of_pod = |(pod, record): (PodId, ChannelRecord)| {
            let others = others(&flights, &account.channel(pod), record.epoch, None)?;
            Ok((pod, record.used(others.in_flight())))
        };
        self.channels(account)?.into_iter().map(of_pod).collect()
    }

    /// Spent and reserved on the UTC day of `now_unix_s`.
    pub(crate) fn spent_on_day(
        &self,
        account: &AccountKey,
        now_unix_s: u64,
    ) -> Result<u128, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let days = txn.open_table(DAYS).map_err(storage)?;
        day_spent(&days, account, now_unix_s / SECONDS_PER_DAY)
    }

    fn write<T>(
        &self,
        change: impl Fn(&WriteTransaction) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        self.commits.write(&self.db, change)
    }
}

fn within_limits(limits: &SpendLimits, reserve: u128, spent: u128) -> Result<(), NotReserved> {
    let over = |limit, allowed, spent| Err(NotReserved::Limit { limit, allowed, spent });
    if let Some(allowed) = limits.per_request.map(Amount::value)
        && reserve > allowed
    {
        return over(SpendLimit::PerRequest, allowed, 0);
    }
    if let Some(allowed) = limits.per_day.map(Amount::value)
        && spent.saturating_add(reserve) > allowed
    {
        return over(SpendLimit::PerDay, allowed, spent);
    }
    Ok(())
}

fn day_spent(
    days: &impl redb::ReadableTable<[u8; DAY_BYTES], u128>,
    account: &AccountKey,
    day: u64,
) -> Result<u128, LedgerError> {
    Ok(days.get(account.day(day)).map_err(storage)?.map_or(0, |value| value.value()))
}

/// Takes an amount off a day's account.
fn give_back(
    days: &mut Table<[u8; DAY_BYTES], u128>,
    account: &AccountKey,
    day: u64,
    refund: u128,
) -> Result<(), LedgerError> {
    let spent = day_spent(days, account, day)?.saturating_sub(refund);
    days.insert(account.day(day), spent).map_err(storage)?;
    Ok(())
}

/// Enters what became of lost requests. While all of them were lost today, their reserves are on
/// today's account already; else what was adopted is spent today.
fn account_for(
    days: &mut Table<[u8; DAY_BYTES], u128>,
    account: &AccountKey,
    record: &ChannelRecord,
    today: u64,
    lost: LostCost,
) -> Result<(), LedgerError> {
    if record.risk_day == today {
        return give_back(days, account, today, lost.cleared);
    }
    let spent = day_spent(days, account, today)?.saturating_add(lost.adopted);
    days.insert(account.day(today), spent).map_err(storage)?;
    Ok(())
}

/// Removes a channel's requests that are over; one that nobody finished is at risk from then on.
fn end_flights(
    txn: &WriteTransaction,
    flights: &mut Table<[u8; FLIGHT_BYTES], FlightRow>,
    channel: &[u8; CHANNEL_BYTES],
    record: &mut ChannelRecord,
    now_unix_s: u64,
) -> Result<(), LedgerError> {
    let range = within::<FLIGHT_BYTES>(channel);
    let ended = flights.extract_from_if(range, |_, (_, _, over_at, ..)| over_at <= now_unix_s);
    let mut lost_requests = txn.open_table(LOST).map_err(storage)?;
    for row in ended.map_err(storage)? {
        let (key, value) = row.map_err(storage)?;
        let (epoch, reserve, _, lost, day) = value.value();
        if !lost {
            record.lose(epoch, reserve, day);
            again::lose(&mut lost_requests, &key.value(), (epoch, reserve, day), now_unix_s)?;
        }
    }
    Ok(())
}

/// The reserves of a channel's requests in `epoch`, without those of `but`.
fn others(
    flights: &impl redb::ReadableTable<[u8; FLIGHT_BYTES], FlightRow>,
    channel: &[u8; CHANNEL_BYTES],
    epoch: u32,
    but: Option<RequestId>,
) -> Result<Others, LedgerError> {
    let mut others = Others::default();
    for row in flights.range(within::<FLIGHT_BYTES>(channel)).map_err(storage)? {
        let (key, value) = row.map_err(storage)?;
        let (of_epoch, reserve, _, lost, _) = value.value();
        if of_epoch != epoch || but.is_some_and(|id| key.value().ends_with(&id.0)) {
            continue;
        }
        let sum = if lost { &mut others.just_lost } else { &mut others.open };
        *sum = sum.saturating_add(reserve);
    }
    Ok(others)
}

#[cfg(test)]
mod clocks;
#[cfg(test)]
mod interleaving;
#[cfg(test)]
mod power_cuts;

#[cfg(test)]
mod tests {
    use phallama_chain::TeeKind;

    use super::*;
    use crate::receipt::tests::stored;
    use crate::spend::PlannedAllocation;

    pub(super) const NOW: u64 = 1_800_000_000;
    pub(super) const POD: PodId = PodId([1; 32]);

    pub(super) fn account() -> AccountKey {
        AccountKey { chain_id: 31_337, escrow: Address([0xbb; 20]), user: Address([0xcc; 20]) }
    }

    pub(super) fn request(id: u8, reserve: u128) -> Wanted {
        Wanted {
            account: account(),
            pod: POD,
            request_id: RequestId([id; 16]),
            limits: SpendLimits::default(),
            purse: None,
            funds: Some(Funds { free: 1_000, promised_elsewhere: 0 }),
            wish: Wish {
                reserve,
                in_flight: 0,
                lock_chunk: 0,
                lock_max: None,
                pod_max: None,
                allocation_life_s: 600,
                now_unix_s: NOW,
            },
            over_at_unix_s: NOW + 600,
        }
    }

    fn reserved(ledger: &Ledger, request: &Wanted) -> Reservation {
        ledger.reserve(request).unwrap().unwrap()
    }

    fn settled(cumulative: u128, cost: u128) -> Outcome {
        Outcome::Settled { cumulative, cost, receipt: Box::new(stored(1, 5)) }
    }

    #[test]
    fn what_was_promised_survives_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let first = reserved(&ledger, &request(1, 100));
        assert_eq!(first.plan.cap, 100);
        // A crash: the request was sent, nothing is finished, the process is gone.
        drop(ledger);
        let ledger = Ledger::open(dir.path()).unwrap();
        let record = ledger.channel(&account(), POD).unwrap().unwrap();
        assert_eq!((record.highest_cap, record.allocated), (100, 100));
        let second = reserved(&ledger, &request(2, 50));
        assert_eq!(second.plan.cap, 150, "the lost request is still covered");
        let allocation = PlannedAllocation { total: 150, deadline_unix_s: NOW + 600 };
        assert_eq!(second.plan.allocation, Some(allocation));
        // Both are open; when they are over and nobody knows how, they are at risk.
        let above = AboveBound { claimed: 151, allowed: 150 };
        assert_eq!(ledger.adopt(&account(), POD, 0, 151, NOW).unwrap(), Err(above));
        assert_eq!(ledger.adopt(&account(), POD, 0, 151, NOW + 600).unwrap(), Err(above));
        assert_eq!(ledger.channel(&account(), POD).unwrap().unwrap().at_risk, 150);
        assert_eq!(ledger.adopt(&account(), POD, 0, 150, NOW + 600).unwrap(), Ok(()));
        let record = ledger.channel(&account(), POD).unwrap().unwrap();
        assert_eq!((record.charged, record.at_risk), (150, 0));
    }

    #[test]
    fn two_processes_do_not_promise_the_same_money() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Ledger::open(dir.path()).unwrap(), Ledger::open(dir.path()).unwrap());
        assert_eq!(reserved(&one, &request(1, 100)).plan.cap, 100);
        assert_eq!(reserved(&two, &request(2, 100)).plan.cap, 200);
        let refused = one.reserve(&request(3, 801)).unwrap();
        let too_low = NoPlan::TooLow { needs: 801, available: 800 };
        assert_eq!(refused.map(|_| ()), Err(NotReserved::Plan(too_low)));
    }

    #[test]
    fn a_settled_request_frees_its_reserve_and_keeps_its_receipt() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let made = reserved(&ledger, &request(1, 100));
        ledger.finish(&made, &settled(24, 24), NOW).unwrap();
        assert_eq!(ledger.channel(&account(), POD).unwrap().unwrap().charged, 24);
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 24);
        assert_eq!(reserved(&ledger, &request(2, 10)).plan.cap, 34);
        assert_eq!(ledger.receipt(RequestId([1; 16])).unwrap(), Some(stored(1, 5)));
        assert_eq!(ledger.receipt(RequestId([9; 16])).unwrap(), None);
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let made = reserved(&ledger, &request(1, 100));
        ledger.finish(&made, &Outcome::NotCharged, NOW).unwrap();
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 0);
        assert_eq!(reserved(&ledger, &request(2, 10)).plan.cap, 10);
    }

    #[test]
    fn a_lost_request_stays_covered_for_a_while_and_on_the_days_account() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let made = reserved(&ledger, &request(1, 100));
        lose(&ledger, &made);
        assert_eq!(reserved(&ledger, &request(2, 10)).plan.cap, 110);
        let mut later = request(3, 10);
        later.wish.now_unix_s = NOW + 30;
        assert_eq!(reserved(&ledger, &later).plan.cap, 20);
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 120);
    }

    fn lose(ledger: &Ledger, made: &Reservation) {
        let how = Outcome::Unknown { covered_until_unix_s: NOW + 30 };
        ledger.finish(made, &how, NOW).unwrap();
    }

    fn later(id: u8, reserve: u128, seconds: u64) -> Wanted {
        let mut later = request(id, reserve);
        later.wish.now_unix_s += seconds;
        later.over_at_unix_s += seconds;
        later
    }

    #[test]
    fn a_receipt_that_leaves_no_room_for_the_lost_request_frees_its_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        lose(&ledger, &reserved(&ledger, &request(1, 100)));
        let next = reserved(&ledger, &later(2, 50, 30));
        assert_eq!(ledger.bounds(&next).unwrap().before_cost, 100);
        ledger.finish(&next, &settled(10, 10), NOW + 31).unwrap();
        let record = ledger.channel(&account(), POD).unwrap().unwrap();
        assert_eq!((record.charged, record.at_risk, record.unreceipted), (10, 0, 0));
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 10);
    }

    #[test]
    fn what_is_adopted_on_another_day_counts_on_that_day() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        lose(&ledger, &reserved(&ledger, &request(1, 100)));
        ledger.adopt(&account(), POD, 0, 20, NOW).unwrap().unwrap();
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 100, "its reserve, once");
        let tomorrow = NOW + SECONDS_PER_DAY;
        ledger.adopt(&account(), POD, 0, 50, tomorrow).unwrap().unwrap();
        assert_eq!(ledger.spent_on_day(&account(), tomorrow).unwrap(), 30);
        assert_eq!(ledger.channel(&account(), POD).unwrap().unwrap().at_risk, 50);
    }

    #[test]
    fn an_amount_of_another_epoch_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let view = |epoch| ChannelView { epoch, locked: 40, claimed: 40 };
        ledger.observe(&account(), POD, &view(0), (40, NOW)).unwrap().unwrap();
        lose(&ledger, &reserved(&ledger, &request(1, 100)));
        ledger.observe(&account(), POD, &view(1), (0, NOW)).unwrap().unwrap();
        assert_eq!(ledger.adopt(&account(), POD, 0, 90, NOW).unwrap(), Ok(()));
        let record = ledger.channel(&account(), POD).unwrap().unwrap();
        assert_eq!((record.charged, record.proven, record.at_risk), (40, 40, 0));
    }

    #[test]
    fn one_of_two_parallel_receipts_cannot_take_the_other_ones_reserve_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let (one, two) = (reserved(&ledger, &request(1, 300)), reserved(&ledger, &request(2, 300)));
        ledger.finish(&one, &settled(310, 10), NOW).unwrap();
        // The stored amount is 310; the second receipt is held to what was proven.
        assert_eq!(ledger.bounds(&two).unwrap().before_cost, 10);
        ledger.finish(&two, &Outcome::NotCharged, NOW).unwrap();
        let refused = ledger.reserve(&request(3, 10)).unwrap().map(|_| ());
        let above = AboveBound { claimed: 310, allowed: 10 };
        assert_eq!(refused, Err(NotReserved::Inconsistent(above)));
    }

    #[test]
    fn limits_count_what_is_reserved_and_what_was_spent() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let limits = SpendLimits {
            per_request: Some(Amount::from(100)),
            per_day: Some(Amount::from(150)),
            per_pod: None,
        };
        let limited = |id, reserve| Wanted { limits, ..request(id, reserve) };
        let over = |limit, allowed, spent| Err(NotReserved::Limit { limit, allowed, spent });
        let refused = |request: &Wanted| ledger.reserve(request).unwrap().map(|_| ());
        assert_eq!(refused(&limited(1, 101)), over(SpendLimit::PerRequest, 100, 0));
        let first = reserved(&ledger, &limited(1, 100));
        assert_eq!(refused(&limited(2, 51)), over(SpendLimit::PerDay, 150, 100));
        ledger.finish(&first, &settled(60, 60), NOW).unwrap();
        reserved(&ledger, &limited(2, 90));
        assert_eq!(refused(&limited(3, 1)), over(SpendLimit::PerDay, 150, 150));
        let mut tomorrow = limited(3, 100);
        tomorrow.wish.now_unix_s = NOW + SECONDS_PER_DAY;
        reserved(&ledger, &tomorrow);
    }

    #[test]
    fn no_id_leaves_a_request_out_of_the_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        reserved(&ledger, &request(0, 100));
        assert_eq!(ledger.hold(&account(), POD, 0, 100).unwrap(), Ok(()));
        assert_eq!(ledger.used(&account()).unwrap(), [(POD, 100)]);
        assert_eq!(ledger.adopt(&account(), POD, 0, 100, NOW).unwrap(), Ok(()));
    }

    #[test]
    fn nothing_is_kept_of_a_channel_whose_claim_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let view = ChannelView { epoch: 0, locked: 998, claimed: 998 };
        let refused = ledger.observe(&account(), POD, &view, (997, NOW)).unwrap();
        let above = AboveBound { claimed: 998, allowed: 997 };
        assert_eq!(refused, Err(NotObserved::Unrecorded(above)));
        assert_eq!(ledger.channel(&account(), POD).unwrap(), None);
        assert!(!ledger.is_unrecorded(&account(), POD).unwrap());
        ledger.observe(&account(), POD, &view, (998, NOW)).unwrap().unwrap();
        assert!(ledger.is_unrecorded(&account(), POD).unwrap());
    }

    #[test]
    fn an_id_whose_charge_was_adopted_is_not_promised_again() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let charged = Err(NotReserved::Repeated(Repeated::Charged));
        let again = |id| ledger.reserve(&later(id, 100, 60)).unwrap().map(|_| ());
        // The enclave was started again and says where the channel stands: the id is in there.
        lose(&ledger, &reserved(&ledger, &request(1, 100)));
        ledger.adopt(&account(), POD, 0, 40, NOW + 60).unwrap().unwrap();
        assert_eq!(again(1), charged);
        // A receipt shows it as well.
        lose(&ledger, &reserved(&ledger, &later(2, 100, 60)));
        let next = reserved(&ledger, &later(3, 100, 100));
        ledger.finish(&next, &settled(75, 10), NOW + 101).unwrap();
        assert_eq!(again(2), charged);
        // So does the end of the channel's epoch.
        lose(&ledger, &reserved(&ledger, &later(4, 100, 101)));
        let view = ChannelView { epoch: 1, locked: 80, claimed: 80 };
        ledger.observe(&account(), POD, &view, (0, NOW + 102)).unwrap().unwrap();
        assert_eq!(again(4), charged);
        assert_eq!(again(5), Ok(()), "another id is as good as ever");
    }

    #[test]
    #[cfg(unix)]
    fn records_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("wallet/state");
        let ledger = Ledger::open(&folder).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(ledger.path())), (0o700, 0o600));
        // Records of before are taken from others' sight.
        std::fs::set_permissions(ledger.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        drop(ledger);
        assert_eq!(mode(Ledger::open(&folder).unwrap().path()), 0o600);
    }

    #[test]
    fn receipts_are_listed_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        for (id, at) in [(1_u8, 30), (2, 10), (3, 20)] {
            let made = reserved(&ledger, &request(id, 1));
            let receipt = Box::new(stored(id, at));
            let how = Outcome::Settled { cumulative: id.into(), cost: 1, receipt };
            ledger.finish(&made, &how, NOW).unwrap();
        }
        let ids = |most| {
            let receipts = ledger.receipts(most).unwrap();
            receipts.iter().map(|receipt| receipt.request_id.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(ids(10), [1, 3, 2]);
        assert_eq!(ids(2), [1, 3]);
    }

    #[test]
    fn accounts_do_not_see_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        reserved(&ledger, &request(1, 100));
        let other = AccountKey { user: Address([0xcd; 20]), ..account() };
        assert_eq!(ledger.channels(&other).unwrap(), []);
        assert_eq!(ledger.spent_on_day(&other, NOW).unwrap(), 0);
        let pods: Vec<_> =
            ledger.channels(&account()).unwrap().into_iter().map(|(pod, _)| pod).collect();
        assert_eq!(pods, [POD]);
    }

    #[test]
    fn evaluation_numbers_only_grow_per_root_and_kind_of_tee() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let (intel, development) = ([1; 32], [2; 32]);
        ledger.raise_tcb_evaluation_number(&intel, TeeKind::Sgx, 17).unwrap();
        ledger.raise_tcb_evaluation_number(&intel, TeeKind::Sgx, 16).unwrap();
        ledger.raise_tcb_evaluation_number(&intel, TeeKind::Tdx, 5).unwrap();
        drop(ledger);
        let ledger = Ledger::open(dir.path()).unwrap();
        let seen = |root, tee| ledger.tcb_evaluation_number(root, tee).unwrap();
        assert_eq!((seen(&intel, TeeKind::Sgx), seen(&intel, TeeKind::Tdx)), (17, 5));
        assert_eq!(seen(&development, TeeKind::Sgx), 0);
    }

    #[test]
    fn a_lost_request_is_promised_again_for_the_same_money_at_the_same_pod() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let first = reserved(&ledger, &request(1, 100));
        let open = ledger.reserve(&request(1, 100)).unwrap().map(|_| ());
        assert_eq!(open, Err(NotReserved::Repeated(Repeated::Open)));
        lose(&ledger, &first);
        assert_eq!(ledger.lost_at(&account(), RequestId([1; 16])).unwrap(), Some(POD));
        let elsewhere = Wanted { pod: PodId([2; 32]), ..request(1, 100) };
        let refused = ledger.reserve(&elsewhere).unwrap().map(|_| ());
        assert_eq!(refused, Err(NotReserved::Repeated(Repeated::Elsewhere(POD))));
        let refused = ledger.reserve(&request(1, 101)).unwrap().map(|_| ());
        assert_eq!(refused, Err(NotReserved::Repeated(Repeated::Larger)));

        let again = reserved(&ledger, &later(1, 60, 40));
        assert_eq!((again.reserve, again.plan.cap, again.repeats), (100, 100, true));
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 100, "counted once");
        assert_eq!(ledger.channel(&account(), POD).unwrap().unwrap().at_risk, 0);
        ledger.finish(&again, &settled(30, 30), NOW + 41).unwrap();
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 30);
        assert_eq!(ledger.lost_at(&account(), RequestId([1; 16])).unwrap(), None);
        let refused = ledger.reserve(&later(1, 60, 50)).unwrap().map(|_| ());
        assert_eq!(refused, Err(NotReserved::Repeated(Repeated::Answered)));
    }

    #[test]
    fn a_retry_within_the_days_limit_needs_no_more_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let per_day = Some(Amount::from(100));
        let limited = |wanted: Wanted| Wanted {
            limits: SpendLimits { per_day, ..SpendLimits::default() },
            ..wanted
        };
        lose(&ledger, &reserved(&ledger, &limited(request(1, 100))));
        assert!(ledger.reserve(&limited(request(2, 1))).unwrap().is_err());
        lose(&ledger, &reserved(&ledger, &limited(request(1, 100))));
        // Counted on the day that it was promised on last.
        let tomorrow = SECONDS_PER_DAY;
        reserved(&ledger, &limited(later(1, 100, tomorrow - 100)));
        assert_eq!(ledger.spent_on_day(&account(), NOW).unwrap(), 0);
        assert_eq!(ledger.spent_on_day(&account(), NOW + tomorrow - 100).unwrap(), 100);
    }

    #[test]
    fn a_request_that_nobody_finished_stays_with_its_pod() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        reserved(&ledger, &request(1, 100));
        let mut elsewhere = later(1, 100, 700);
        elsewhere.pod = PodId([2; 32]);
        let refused = ledger.reserve(&elsewhere).unwrap().map(|_| ());
        assert_eq!(refused, Err(NotReserved::Repeated(Repeated::Elsewhere(POD))));
        assert!(reserved(&ledger, &later(1, 100, 700)).repeats);
    }
}

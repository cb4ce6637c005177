//! The same request again: one id is promised once at a time, at one pod, and never for more.
//!
//! A request whose end is unknown may have been charged. Its id stays with the pod that it was sent
//! to and with what was reserved for it; sent again, the reserve is the same money.

use phallama_protocol::ids::{PodId, RequestId};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::kept::RECEIPT_IDS;
use super::rows::{
    ACCOUNT_BYTES, CHANNEL_BYTES, FLIGHT_BYTES, FlightRow, LOST_BYTES, LostRow, joined, within,
};
use super::{AccountKey, FLIGHTS, Ledger, LedgerError, SECONDS_PER_DAY, storage};

/// Requests whose end is unknown.
pub(super) const LOST: TableDefinition<[u8; LOST_BYTES], LostRow> =
    TableDefinition::new("lost_requests");
/// Requests without a receipt that were charged, as far as anybody can tell, and since when that is
/// known (unix seconds).
pub(super) const CHARGED: TableDefinition<[u8; LOST_BYTES], u64> =
    TableDefinition::new("charged_requests");
/// How long an id stays with its pod after it was lost.
const REMEMBERED_S: u64 = SECONDS_PER_DAY;

/// Why a request id is not promised again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeated {
    /// It is being answered.
    Open,
    /// It was answered, and its receipt accepted.
    Answered,
    /// It was sent to another pod, which may have charged it.
    Elsewhere(PodId),
    /// It was sent with a smaller reserve: it is another request.
    Larger,
    /// Its end was lost, and the pod's amount has shown since that lost requests were charged.
    Charged,
}

fn lost_key(account: &AccountKey, id: RequestId) -> [u8; LOST_BYTES] {
    joined(&[&account.bytes(), &id.0])
}

fn pod_of(flight: &[u8; FLIGHT_BYTES]) -> PodId {
    let pod = flight[ACCOUNT_BYTES..CHANNEL_BYTES].try_into();
    PodId(pod.expect("a channel key ends with a pod id"))
}

/// What was lost under this id at this pod, if its reserve covers the request; or why the id is not
/// free.
pub(super) fn earlier(
    txn: &WriteTransaction,
    flights: &impl ReadableTable<[u8; FLIGHT_BYTES], FlightRow>,
    (account, pod, id): (&AccountKey, PodId, RequestId),
    (reserve, now_unix_s): (u128, u64),
) -> Result<Result<Option<LostRow>, Repeated>, LedgerError> {
    let answered = txn.open_table(RECEIPT_IDS).map_err(storage)?;
    if answered.get(id.0).map_err(storage)?.is_some() {
        return Ok(Err(Repeated::Answered));
    }
    let charged = txn.open_table(CHARGED).map_err(storage)?;
    if charged.get(lost_key(account, id)).map_err(storage)?.is_some() {
        return Ok(Err(Repeated::Charged));
    }
    for row in flights.range(within::<FLIGHT_BYTES>(&account.bytes())).map_err(storage)? {
        let (key, value) = row.map_err(storage)?;
        let (_, _, over_at, lost, _) = value.value();
        if key.value().ends_with(&id.0) && !lost {
            let over = over_at <= now_unix_s;
            return Ok(Err(if over {
                Repeated::Elsewhere(pod_of(&key.value()))
            } else {
                Repeated::Open
            }));
        }
    }
    let lost = txn.open_table(LOST).map_err(storage)?;
    let row = lost.get(lost_key(account, id)).map_err(storage)?.map(|row| row.value());
    let Some(row) = row else { return Ok(Ok(None)) };
    let (at, _, reserved, _, _) = row;
    Ok(if at != pod.0 {
        Err(Repeated::Elsewhere(PodId(at)))
    } else if reserve > reserved {
        Err(Repeated::Larger)
    } else {
        Ok(Some(row))
    })
}

/// Remembers that nobody knows how a request ended.
pub(super) fn lose(
    lost: &mut Table<[u8; LOST_BYTES], LostRow>,
    flight: &[u8; FLIGHT_BYTES],
    (epoch, reserve, day): (u32, u128, u64),
    now_unix_s: u64,
) -> Result<(), LedgerError> {
    let (account, id) = (&flight[..ACCOUNT_BYTES], &flight[CHANNEL_BYTES..]);
    lost.retain(|_, (.., at)| at.saturating_add(REMEMBERED_S) >= now_unix_s).map_err(storage)?;
    let row = (pod_of(flight).0, epoch, reserve, day, now_unix_s);
    lost.insert(joined::<LOST_BYTES>(&[account, id]), row).map_err(storage)?;
    Ok(())
}

/// Some of a channel's lost requests were charged. Which of them only the pod knows: none is sent
/// again, or one might be charged twice.
pub(super) fn charged(
    txn: &WriteTransaction,
    (channel, epoch): (&[u8; CHANNEL_BYTES], u32),
    now_unix_s: u64,
) -> Result<(), LedgerError> {
    let (account, pod) = channel.split_at(ACCOUNT_BYTES);
    let mut lost = txn.open_table(LOST).map_err(storage)?;
    let mut charged = txn.open_table(CHARGED).map_err(storage)?;
    let current = |at: u64| at.saturating_add(REMEMBERED_S) >= now_unix_s;
    charged.retain(|_, at| current(at)).map_err(storage)?;
    let of_channel = |(at, of_epoch, ..): &LostRow| at == pod && *of_epoch == epoch;
    let range = within::<LOST_BYTES>(account);
    let ended = lost.extract_from_if(range, |_, row| of_channel(&row)).map_err(storage)?;
    for row in ended {
        let (key, _) = row.map_err(storage)?;
        charged.insert(key.value(), now_unix_s).map_err(storage)?;
    }
    Ok(())
}

/// The id is promised again, or its end is known.
pub(super) fn found(
    txn: &WriteTransaction,
    account: &AccountKey,
    id: RequestId,
) -> Result<(), LedgerError> {
    let mut lost = txn.open_table(LOST).map_err(storage)?;
    lost.remove(lost_key(account, id)).map_err(storage)?;
    Ok(())
}

impl Ledger {
    /// Where a request was sent whose end is unknown: it may be sent again there and nowhere else.
    pub(crate) fn lost_at(
        &self,
        account: &AccountKey,
        id: RequestId,
    ) -> Result<Option<PodId>, LedgerError> {
        use redb::ReadableDatabase as _;
        let txn = self.db.begin_read().map_err(storage)?;
        let lost = txn.open_table(LOST).map_err(storage)?;
        if let Some(row) = lost.get(lost_key(account, id)).map_err(storage)? {
            return Ok(Some(PodId(row.value().0)));
        }
        // One that nobody finished is with its pod as well.
        let flights = txn.open_table(FLIGHTS).map_err(storage)?;
        for row in flights.range(within::<FLIGHT_BYTES>(&account.bytes())).map_err(storage)? {
            let (key, _) = row.map_err(storage)?;
            if key.value().ends_with(&id.0) {
                return Ok(Some(pod_of(&key.value())));
            }
        }
        Ok(None)
    }
}

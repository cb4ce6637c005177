//! Shares of the day's limit: what was spent from each purse.
//!
//! A purse is charged as the day's account is: a request's reserve at once, its cost when that is
//! known. Of a request whose end is unknown the reserve stays, until the same request is sent again
//! and settled.

use phallama_protocol::ids::RequestId;
use redb::{ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};

use super::rows::{LOST_BYTES, PURSE_BYTES, joined};
use super::{
    AccountKey, Ledger, LedgerError, NotReserved, Outcome, Reservation, SECONDS_PER_DAY, storage,
};
use crate::config::Purse;
use crate::error::SpendLimit;

const SPENT: TableDefinition<[u8; PURSE_BYTES], u128> = TableDefinition::new("purse_days");
/// Requests without a known end → purse, reserve, the day that the reserve counts on.
const DRAWN: TableDefinition<[u8; LOST_BYTES], ([u8; 32], u128, u64)> =
    TableDefinition::new("purse_requests");

/// Whose request, which, for how much, on which day.
pub(super) type Drawing<'a> = (&'a AccountKey, RequestId, u128, u64);

fn spent_key(account: &AccountKey, purse: &[u8; 32], day: u64) -> [u8; PURSE_BYTES] {
    joined(&[&account.bytes(), purse, &day.to_be_bytes()])
}

fn request_key(account: &AccountKey, id: RequestId) -> [u8; LOST_BYTES] {
    joined(&[&account.bytes(), &id.0])
}

pub(super) fn create(txn: &WriteTransaction) -> Result<(), LedgerError> {
    txn.open_table(SPENT).map_err(storage)?;
    txn.open_table(DRAWN).map_err(storage)?;
    Ok(())
}

fn spent(
    table: &impl ReadableTable<[u8; PURSE_BYTES], u128>,
    key: [u8; PURSE_BYTES],
) -> Result<u128, LedgerError> {
    Ok(table.get(key).map_err(storage)?.map_or(0, |value| value.value()))
}

/// Whether the purse, if there is one, has room for the request. What an earlier attempt at the
/// same request left in it today is the same money.
pub(super) fn allow(
    txn: &WriteTransaction,
    purse: Option<&Purse>,
    (account, id, reserve, day): Drawing<'_>,
) -> Result<Result<(), NotReserved>, LedgerError> {
    let Some(purse) = purse else { return Ok(Ok(())) };
    let drawn = txn.open_table(DRAWN).map_err(storage)?;
    let earlier = drawn.get(request_key(account, id)).map_err(storage)?.map(|row| row.value());
    let same = earlier.filter(|(of, _, on)| *of == purse.id && *on == day);
    let table = txn.open_table(SPENT).map_err(storage)?;
    let spent = spent(&table, spent_key(account, &purse.id, day))?;
    let spent = spent.saturating_sub(same.map_or(0, |(_, reserve, _)| reserve));
    let allowed = purse.per_day.value();
    if spent.saturating_add(reserve) > allowed {
        return Ok(Err(NotReserved::Limit { limit: SpendLimit::PerApp, allowed, spent }));
    }
    Ok(Ok(()))
}

/// Takes the request's reserve out of the purse, if there is one.
pub(super) fn draw(
    txn: &WriteTransaction,
    purse: Option<&Purse>,
    (account, id, reserve, day): Drawing<'_>,
) -> Result<(), LedgerError> {
    let Some(purse) = purse else { return Ok(()) };
    settle(txn, account, id, u128::MAX)?;
    let mut drawn = txn.open_table(DRAWN).map_err(storage)?;
    // Yesterday's are settled by nobody any more, or change nothing that is asked for.
    drawn.retain(|_, (_, _, on)| on.saturating_add(1) >= day).map_err(storage)?;
    drawn.insert(request_key(account, id), (purse.id, reserve, day)).map_err(storage)?;
    let mut table = txn.open_table(SPENT).map_err(storage)?;
    let key = spent_key(account, &purse.id, day);
    let after = spent(&table, key)?.saturating_add(reserve);
    table.insert(key, after).map_err(storage)?;
    Ok(())
}

/// A request has ended. Where nobody knows how, its reserve stays.
pub(super) fn finish(
    txn: &WriteTransaction,
    made: &Reservation,
    how: &Outcome,
    refund: u128,
) -> Result<(), LedgerError> {
    match how {
        Outcome::Unknown { .. } => Ok(()),
        _ => settle(txn, &made.account, made.request_id, refund),
    }
}

/// Puts back what the request did not cost, at most what it drew.
fn settle(
    txn: &WriteTransaction,
    account: &AccountKey,
    id: RequestId,
    refund: u128,
) -> Result<(), LedgerError> {
    let mut drawn = txn.open_table(DRAWN).map_err(storage)?;
    let row = drawn.remove(request_key(account, id)).map_err(storage)?.map(|row| row.value());
    let Some((purse, reserve, day)) = row else { return Ok(()) };
    let mut table = txn.open_table(SPENT).map_err(storage)?;
    let key = spent_key(account, &purse, day);
    let after = spent(&table, key)?.saturating_sub(refund.min(reserve));
    table.insert(key, after).map_err(storage)?;
    Ok(())
}

impl Ledger {
    /// Spent and reserved from a purse on the UTC day of `now_unix_s`.
    pub(crate) fn spent_from(
        &self,
        account: &AccountKey,
        purse: &[u8; 32],
        now_unix_s: u64,
    ) -> Result<u128, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let table = txn.open_table(SPENT).map_err(storage)?;
        spent(&table, spent_key(account, purse, now_unix_s / SECONDS_PER_DAY))
    }
}

#[cfg(test)]
mod tests {
    use phallama_protocol::ids::Amount;

    use super::super::tests::{NOW, account, request};
    use super::*;
    use crate::ledger::Wanted;
    use crate::receipt::tests::stored;

    const ID: [u8; 32] = [9; 32];

    fn drawing(id: u8, reserve: u128) -> Wanted {
        let purse = Purse { id: ID, per_day: Amount::from(100) };
        Wanted { purse: Some(purse), ..request(id, reserve) }
    }

    fn made(ledger: &Ledger, wanted: &Wanted) -> Reservation {
        ledger.reserve(wanted).unwrap().unwrap()
    }

    fn answered(ledger: &Ledger, made: &Reservation, cost: u128) {
        let cumulative = made.charged_before + cost;
        let how = Outcome::Settled { cumulative, cost, receipt: Box::new(stored(1, 5)) };
        ledger.finish(made, &how, NOW).unwrap();
    }

    fn left(ledger: &Ledger) -> u128 {
        100 - ledger.spent_from(&account(), &ID, NOW).unwrap()
    }

    #[test]
    fn a_purse_holds_its_requests_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let first = made(&ledger, &drawing(1, 80));
        let refused = ledger.reserve(&drawing(2, 21)).unwrap().unwrap_err();
        let over = NotReserved::Limit { limit: SpendLimit::PerApp, allowed: 100, spent: 80 };
        assert_eq!(refused, over);
        answered(&ledger, &first, 30);
        assert_eq!(left(&ledger), 70);
        made(&ledger, &request(3, 21));
        assert_eq!(left(&ledger), 70, "nobody else's request counts");
        let second = made(&ledger, &drawing(2, 70));
        assert_eq!(left(&ledger), 0);
        ledger.finish(&second, &Outcome::NotCharged, NOW).unwrap();
        drop(ledger);
        let ledger = Ledger::open(dir.path()).unwrap();
        assert_eq!(
            left(&ledger),
            70,
            "what was not charged is back, and a restart changes nothing"
        );
    }

    #[test]
    fn a_lost_request_stays_in_it_and_counts_once_when_it_is_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let lost = made(&ledger, &drawing(1, 60));
        ledger.finish(&lost, &Outcome::Unknown { covered_until_unix_s: NOW }, NOW).unwrap();
        assert_eq!(left(&ledger), 40);
        assert!(ledger.reserve(&drawing(2, 41)).unwrap().is_err());
        let again = made(&ledger, &drawing(1, 60));
        assert_eq!(left(&ledger), 40);
        answered(&ledger, &again, 25);
        assert_eq!(left(&ledger), 75);
    }

    #[test]
    fn a_new_day_fills_it() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        made(&ledger, &drawing(1, 100));
        assert!(ledger.reserve(&drawing(2, 1)).unwrap().is_err());
        let mut tomorrow = drawing(2, 100);
        tomorrow.wish.now_unix_s += SECONDS_PER_DAY;
        made(&ledger, &tomorrow);
    }
}

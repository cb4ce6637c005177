//! Clocks that are set back and forward (F9): limits hold on the day that the clock shows, and no
//! jump makes a cap too low, an allocation larger than the deposit, or a request disappear.

use super::tests::{account, request};
use super::*;
use crate::receipt::tests::stored;

const NOW: u64 = 1_800_000_000;
const POD: PodId = PodId([1; 32]);
const HOUR: i64 = 3_600;
const MONTH: i64 = 30 * 24 * HOUR;

fn at(now_unix_s: u64, id: u8, reserve: u128) -> Wanted {
    let mut wanted = request(id, reserve);
    wanted.wish.now_unix_s = now_unix_s;
    wanted.over_at_unix_s = now_unix_s + 600;
    wanted
}

fn ledger() -> (tempfile::TempDir, Ledger) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path()).unwrap();
    (dir, ledger)
}

#[test]
fn day_limit_holds_on_every_day_that_the_clock_shows() {
    let (_dir, ledger) = ledger();
    let limits = SpendLimits { per_day: Some(Amount::from(150)), ..SpendLimits::default() };
    let limited = |now, id, reserve| Wanted { limits, ..at(now, id, reserve) };
    let reserve = |now, id, reserve| ledger.reserve(&limited(now, id, reserve)).unwrap().is_ok();
    let tomorrow = NOW + SECONDS_PER_DAY;
    assert!(reserve(NOW, 1, 100) && !reserve(NOW, 2, 51));
    assert!(reserve(tomorrow, 3, 150) && !reserve(tomorrow, 4, 1));
    // Set back: what was spent on that day still counts, and again tomorrow.
    assert!(!reserve(NOW, 5, 51) && reserve(NOW, 6, 50) && !reserve(NOW, 7, 1));
    assert!(!reserve(tomorrow, 8, 1));
}

#[test]
fn request_that_the_clock_jumps_over_is_at_risk_until_its_receipt_comes() {
    for jump in [-MONTH, -HOUR, -60, 60, HOUR, MONTH] {
        let (_dir, ledger) = ledger();
        let made = ledger.reserve(&at(NOW, 1, 100)).unwrap().unwrap();
        let then = NOW.checked_add_signed(jump).unwrap();
        // Whether it counts as open or as lost, the pod may still charge it and no more.
        let next = ledger.reserve(&at(then, 2, 50)).unwrap().unwrap();
        let bound = ledger.bounds(&next).unwrap().before_cost;
        assert_eq!(bound, 100, "{jump}");
        let receipt = Box::new(stored(1, 5));
        let how = Outcome::Settled { cumulative: 40, cost: 40, receipt };
        ledger.finish(&made, &how, then).unwrap();
        let record = ledger.channel(&account(), POD).unwrap().unwrap();
        assert_eq!((record.charged, record.proven), (40, 40), "{jump}");
        let receipt = Box::new(stored(2, 6));
        let how = Outcome::Settled { cumulative: 60, cost: 20, receipt };
        ledger.finish(&next, &how, then).unwrap();
        let record = ledger.channel(&account(), POD).unwrap().unwrap();
        assert_eq!((record.charged, record.proven, record.consistent(0)), (60, 60, Ok(())));
        assert!(ledger.receipt(RequestId([1; 16])).unwrap().is_some(), "{jump}");
    }
}

#[test]
fn caps_cover_what_was_charged_whatever_the_clock_says() {
    let (_dir, ledger) = ledger();
    let (mut now, mut cumulative) = (NOW, 0);
    for (id, jump) in (1..).zip([0, HOUR, -MONTH, 60, -60, MONTH, -HOUR, MONTH, -MONTH]) {
        now = now.checked_add_signed(jump).unwrap();
        let made = ledger.reserve(&at(now, id, 30)).unwrap().unwrap();
        assert!(made.plan.cap >= cumulative + 30, "{jump}: {:?}", made.plan);
        let allocated = made.plan.allocation.map_or(0, |allocation| allocation.total);
        assert!(allocated <= 1_000, "{jump}: more than the deposit: {allocated}");
        cumulative += 20;
        let receipt = Box::new(stored(id, id.into()));
        ledger.finish(&made, &Outcome::Settled { cumulative, cost: 20, receipt }, now).unwrap();
    }
    let record = ledger.channel(&account(), POD).unwrap().unwrap();
    assert_eq!((record.charged, record.proven, record.at_risk), (180, 180, 0));
}

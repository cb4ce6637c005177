//! Power cuts at every sync and at thousands of other moments (F5): each leaves records that open,
//! as they were after the last answer of the ledger, or as the one that was under way would have
//! left them. Nothing in between, so no cap is signed over a half-written promise.

use super::tests::{account, request};
use super::*;
use crate::receipt::tests::stored;

#[path = "../../../../tests/disk/random.rs"]
mod random;
#[allow(dead_code, reason = "the journal's tests use the rest")]
#[path = "../../../../tests/disk/recorder.rs"]
pub(super) mod recorder;

use random::Random;
use recorder::{Recorder, Unsynced};

const NOW: u64 = 1_800_000_000;
const POD: PodId = PodId([1; 32]);
/// Random cuts, beside those at every sync.
const RANDOM_CUTS: u64 = 10_000;
const REQUESTS: u8 = 120;

pub(super) fn open_on(disk: &Recorder) -> Ledger {
    let db = file::builder().create_with_backend(disk.clone()).expect("a database");
    Ledger::on(db, PathBuf::from("recorded")).expect("tables")
}

/// Everything that decides what will be signed next, and what was paid.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    channel: Option<ChannelRecord>,
    open: u128,
    just_lost: u128,
    spent: u128,
    receipts: usize,
}

fn seen(ledger: &Ledger) -> Seen {
    let channel = ledger.channel(&account(), POD).unwrap();
    let txn = ledger.db.begin_read().unwrap();
    let flights = txn.open_table(FLIGHTS).unwrap();
    let others = others(&flights, &account().channel(POD), 0, None).unwrap();
    Seen {
        channel,
        open: others.open,
        just_lost: others.just_lost,
        spent: ledger.spent_on_day(&account(), NOW).unwrap(),
        receipts: ledger.receipts(1_000).unwrap().len(),
    }
}

/// One answer of the ledger: the steps of the disk when it was given, and what it left.
struct Answered {
    at: usize,
    left: Seen,
}

/// Requests that are promised, and settled, refused or lost, several at a time.
fn live(disk: &Recorder, random: &mut Random) -> Vec<Answered> {
    let mut ledger = open_on(disk);
    // New records appear whole (`file::open`); the cuts begin after that.
    let mut life = vec![Answered { at: disk.position(), left: seen(&ledger) }];
    let (mut open, mut cumulative) = (Vec::new(), 0);
    let mut answered = |ledger: &Ledger| {
        life.push(Answered { at: disk.position(), left: seen(ledger) });
    };
    for id in 1..=REQUESTS {
        let mut wanted = request(id, u128::from(random.below(90)) + 10);
        wanted.funds = Some(Funds { free: 1_000_000, promised_elsewhere: 0 });
        open.push(ledger.reserve(&wanted).unwrap().unwrap());
        answered(&ledger);
        if open.len() < 3 {
            continue;
        }
        let made = open.swap_remove(usize::try_from(random.below(3)).unwrap());
        let how = match random.below(4) {
            0 => Outcome::NotCharged,
            1 => Outcome::Unknown { covered_until_unix_s: NOW + 30 },
            _ => {
                let cost = made.reserve / 2;
                cumulative += cost;
                Outcome::Settled { cumulative, cost, receipt: Box::new(stored(id, id.into())) }
            }
        };
        ledger.finish(&made, &how, NOW).unwrap();
        answered(&ledger);
        if id % 30 == 0 {
            drop(ledger);
            ledger = open_on(disk);
            answered(&ledger);
        }
    }
    life
}

fn check(life: &[Answered], position: usize, image: Vec<u8>, how: &str) {
    let found = seen(&open_on(&Recorder::with(image)));
    let last = life.iter().rposition(|answered| answered.at <= position).expect("it has begun");
    let allowed = &life[last..life.len().min(last + 2)];
    assert!(allowed.iter().any(|answered| answered.left == found), "{how} {position}: {found:?}");
}

#[test]
fn every_power_cut_leaves_a_whole_promise_or_none() {
    let (disk, mut random) = (Recorder::default(), Random::new(3));
    let life = live(&disk, &mut random);
    let mut cuts = disk.cuts();
    let begins = life[0].at;
    let mut boundaries = cuts.sync_boundaries();
    boundaries.retain(|&position| position >= begins);
    assert!(boundaries.len() > 2 * usize::from(REQUESTS), "{}", boundaries.len());
    for &position in &boundaries {
        cuts.advance(position);
        check(&life, position, cuts.image(Unsynced::Lost), "nothing unsynced kept at");
        check(&life, position, cuts.image(Unsynced::Kept), "everything unsynced kept at");
    }
    let mut cuts = disk.cuts();
    let (begins, length) = (begins as u64, (cuts.len() - begins) as u64);
    let mut moments: Vec<u64> =
        (0..RANDOM_CUTS).map(|_| begins + random.below(length + 1)).collect();
    moments.sort_unstable();
    for position in moments {
        let position = usize::try_from(position).unwrap();
        cuts.advance(position);
        check(&life, position, cuts.image(Unsynced::Torn(&mut random)), "torn at");
    }
}

/// A disk that fails must not let a voucher out: the promise is refused, and the records work
/// again when they are opened again.
#[test]
fn promise_that_cannot_be_written_down_is_not_made() {
    let disk = Recorder::default();
    let ledger = open_on(&disk);
    ledger.reserve(&request(1, 100)).unwrap().unwrap();
    disk.fail_a_sync();
    let failed = ledger.reserve(&request(2, 100));
    assert!(matches!(failed, Err(LedgerError::Storage(_))), "{failed:?}");
    drop(ledger);
    let plan = open_on(&disk).reserve(&request(3, 50)).unwrap().unwrap().plan;
    assert!(plan.cap == 150 || plan.cap == 250, "{plan:?}: what is in doubt may only raise caps");
}

//! Power cuts at every sync and at thousands of other moments (F5): each leaves a journal that
//! opens, with everything that was acknowledged and with nothing that was not asked for.

use std::collections::BTreeMap;

use super::*;
use crate::journal::storage::Storage;
use crate::testing::{Cuts, Random, RecordedMedium, Recorder, Unsynced};

/// Random cuts, beside those at every sync.
const RANDOM_CUTS: u64 = 10_000;
const GROUPS: u64 = 150;
const USERS: u64 = 12;

/// Changes that were handed in together.
struct Group {
    /// Steps of the disk when they were handed in.
    from: usize,
    /// Steps when it was certain what became of them: on success when they were acknowledged, after
    /// a failure when the next success was.
    until: usize,
    /// What the records are if they succeed.
    after: Records,
}

/// A journal's life: what it knew, and when.
#[derive(Default)]
struct Life {
    /// Steps that made the empty database.
    begins: usize,
    /// Records that were certain from this step on.
    certain: Vec<(usize, Records)>,
    groups: Vec<Group>,
}

impl Life {
    /// What a record may be when the power is cut after `position` steps.
    fn may_be(&self, position: usize, key: ChannelKey) -> Vec<Option<&ChannelRecord>> {
        let certain = self.certain.iter().rev().find(|(from, _)| *from <= position);
        let mut states = vec![certain.and_then(|(_, records)| records.get(&key))];
        let open = self.groups.iter().filter(|g| g.from <= position && position < g.until);
        states.extend(open.map(|group| group.after.get(&key)));
        states
    }

    fn check(&self, position: usize, image: Vec<u8>, how: &str) {
        let disk = Recorder::with(image);
        let opened = Storage::open("after a cut", Box::new(RecordedMedium::on(&disk)), 0);
        let (_, opened) = opened.unwrap_or_else(|error| panic!("{how} {position}: {error}"));
        let first = self.certain.first().map_or(usize::MAX, |(from, _)| *from);
        if position < first {
            assert_eq!(opened.records, Records::new(), "{how} {position}");
        }
        let keys = (0..USERS).map(|user| key(u8::try_from(user).unwrap()));
        for key in keys.chain(opened.records.keys().copied()) {
            let (found, allowed) = (opened.records.get(&key), self.may_be(position, key));
            assert!(
                allowed.contains(&found),
                "{how} {position}: {key:?} is {found:?}, not one of {allowed:?}"
            );
        }
    }
}

/// A change of `user`, and the record as it will be.
fn change(random: &mut Random, user: u8, records: &mut Records) -> Change {
    let known = records.get(&key(user)).cloned();
    let charged = known.as_ref().map_or(0, |record| record.cumulative.value());
    let more = random.below(50);
    let change = match (random.below(10), known.is_some()) {
        (0, true) => {
            let claimed = Amount::new(charged.saturating_sub(more.into())).unwrap();
            Change::Settled { key: key(user), claimed, at_unix_s: 9 }
        }
        (1, true) if random.below(4) == 0 => Change::Closed(key(user)),
        (2, true) => {
            let claimed = Amount::new(charged.saturating_sub(more.into())).unwrap();
            let safe_claimed = Amount::new(claimed.value() / 2).unwrap();
            Change::Read { key: key(user), claimed, safe_claimed, at_unix_s: 9 }
        }
        _ => claim(user, u64::try_from(charged).unwrap() + more),
    };
    match (&change, records.get_mut(&key(user))) {
        (Change::Claim(claim), Some(record)) => record.raise(claim),
        (Change::Claim(claim), None) => {
            records.insert(key(user), ChannelRecord::first(claim));
        }
        (Change::Settled { claimed, at_unix_s, .. }, Some(record)) => {
            record.settle(*claimed, *at_unix_s);
        }
        (Change::Read { claimed, safe_claimed, at_unix_s, .. }, Some(record)) => {
            record.read(*claimed, *safe_claimed, *at_unix_s);
        }
        (Change::Closed(_), Some(record)) => record.close(),
        (_, None) => unreachable!("only a known channel is settled or closed"),
    }
    change
}

/// Runs a journal through groups of changes; every `faults`th group meets a failing sync.
async fn live(disk: &Recorder, random: &mut Random, faults: Option<u64>) -> Life {
    // A new journal appears whole (`Journal::open`); the cuts begin after that.
    drop(RecordedMedium::on(disk).open().unwrap());
    let mut life = Life { begins: disk.position(), ..Life::default() };
    let mut journal = Journal::open_on("recorded", Box::new(RecordedMedium::on(disk))).unwrap();
    let mut certain = Records::new();
    life.certain.push((disk.position(), certain.clone()));
    for group in 0..GROUPS {
        if group % 40 == 39 {
            // A clean end, and the next start.
            drop(journal);
            journal = Journal::open_on("recorded", Box::new(RecordedMedium::on(disk))).unwrap();
        }
        if faults.is_some_and(|every| group % every == every - 1) {
            disk.fail_a_sync();
        }
        let mut after = certain.clone();
        let mut users = BTreeMap::new();
        for _ in 0..=random.below(5) {
            let user = u8::try_from(random.below(USERS)).unwrap();
            users.entry(user).or_insert_with(|| change(random, user, &mut after));
        }
        let from = disk.position();
        let stores = users.into_values().map(|change| journal.store(change));
        let outcomes = futures::future::join_all(stores).await;
        let stored = outcomes.iter().all(Result::is_ok);
        assert!(stored || faults.is_some(), "{outcomes:?}");
        assert!(!outcomes.contains(&Err(NotStored::Stop)), "a failed sync passes");
        life.groups.push(Group { from, until: usize::MAX, after });
        if !stored {
            // Parts of the group may have been committed before the fault.
            until(&journal, Condition::Storing).await;
        }
        certain = journal.channels().into_iter().map(|record| (record.key, record)).collect();
        assert!(!stored || certain == life.groups.last().unwrap().after);
        let now = disk.position();
        life.certain.push((now, certain.clone()));
        for group in &mut life.groups {
            group.until = group.until.min(now);
        }
    }
    life
}

/// Cuts at every sync, with everything lost and with everything kept, and at random moments with
/// torn writes.
fn cut(disk: &Recorder, life: &Life, random: &mut Random) -> (usize, u64) {
    let mut cuts: Cuts = disk.cuts();
    let mut boundaries = cuts.sync_boundaries();
    boundaries.retain(|&position| position >= life.begins);
    for &position in &boundaries {
        cuts.advance(position);
        life.check(position, cuts.image(Unsynced::Lost), "nothing unsynced kept at");
        life.check(position, cuts.image(Unsynced::Kept), "everything unsynced kept at");
    }
    let mut cuts = disk.cuts();
    let (begins, length) = (life.begins as u64, (cuts.len() - life.begins) as u64);
    let mut moments: Vec<u64> =
        (0..RANDOM_CUTS).map(|_| begins + random.below(length + 1)).collect();
    moments.sort_unstable();
    for position in moments {
        let position = usize::try_from(position).unwrap();
        cuts.advance(position);
        life.check(position, cuts.image(Unsynced::Torn(random)), "torn at");
    }
    (boundaries.len(), RANDOM_CUTS)
}

#[tokio::test]
async fn every_power_cut_leaves_what_was_acknowledged_and_nothing_else() {
    let (disk, mut random) = (Recorder::default(), Random::new(1));
    let life = live(&disk, &mut random, None).await;
    let (boundaries, torn) = cut(&disk, &life, &mut random);
    assert!(boundaries > 2 * usize::try_from(GROUPS).unwrap() && torn >= 10_000, "{boundaries}");
}

/// Syncs that fail lose their writes for good while the system shows them: what was stored before
/// and after is there all the same.
#[tokio::test]
async fn failed_sync_costs_nothing_that_was_acknowledged() {
    let (disk, mut random) = (Recorder::default(), Random::new(2));
    let life = live(&disk, &mut random, Some(5)).await;
    cut(&disk, &life, &mut random);
}

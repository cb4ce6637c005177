//! Copies, clones and files of other versions (F6, F17, F18).

use redb::{Database, ReadableDatabase as _, TableDefinition};

use super::*;
use crate::testing::SharedDisk;

const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");

#[tokio::test]
async fn older_copy_that_is_put_back_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let copy = folder.path().join("copy");
    let journal = Journal::open(&path).unwrap();
    journal.store(claim(1, 40)).await.unwrap();
    drop(journal);
    std::fs::copy(&path, &copy).unwrap();
    let journal = Journal::open(&path).unwrap();
    assert!(!journal.is_behind());
    journal.store(claim(1, 90)).await.unwrap();
    drop(journal);

    std::fs::copy(&copy, &path).unwrap();
    let journal = Journal::open(&path).unwrap();
    assert!(journal.is_behind());
    assert_eq!(journal.cumulative(key(1)), 40.into());
    drop(journal);
    assert!(!Journal::open(&path).unwrap().is_behind(), "it is said once, at the next start");
}

#[tokio::test]
async fn contract_that_paid_more_than_was_charged_shows_that_claims_are_missing() {
    let journal = SharedDisk::default().journal();
    journal.store(claim(1, 40)).await.unwrap();
    let mut later = claim(1, 70);
    if let Change::Claim(claim) = &mut later {
        claim.key.epoch = 2;
    }
    journal.store(later).await.unwrap();
    // Amounts run through all generations of a channel.
    journal.compare(Address([1; 20]), 70.into());
    journal.compare(Address([9; 20]), Amount::ZERO);
    assert!(!journal.is_behind());
    journal.compare(Address([1; 20]), 71.into());
    assert!(journal.is_behind());

    let journal = SharedDisk::default().journal();
    journal.compare(Address([9; 20]), 1.into());
    assert!(journal.is_behind(), "a lost journal is one that is behind");
}

#[tokio::test]
async fn file_of_a_later_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    drop(Journal::open(&path).unwrap());
    let database = Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(ABOUT).unwrap().insert("format", 3).unwrap();
    txn.commit().unwrap();
    drop(database);
    let Err(error) = Journal::open(&path) else { panic!("it was opened") };
    assert!(matches!(error, JournalError::Newer { found: 3, supported: 2, .. }), "{error}");
    let database = Database::create(&path).unwrap();
    let about = database.begin_read().unwrap().open_table(ABOUT).unwrap();
    assert_eq!(about.get("format").unwrap().unwrap().value(), 3);
    assert_eq!(about.get("opened").unwrap().unwrap().value(), 1, "nothing was written");
}

#[tokio::test]
async fn file_from_before_formats_were_numbered_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let journal = Journal::open(&path).unwrap();
    journal.store(claim(1, 40)).await.unwrap();
    drop(journal);
    let database = Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.delete_table(ABOUT).unwrap();
    txn.commit().unwrap();
    drop(database);
    std::fs::remove_file(path.with_extension("opened")).unwrap();
    let journal = Journal::open(&path).unwrap();
    assert_eq!((journal.cumulative(key(1)), journal.is_behind()), (40.into(), false));
}

/// Two pods with one operator key, each with a journal of its own: whichever amount is higher
/// counts, in whatever order the claims come together.
#[tokio::test]
async fn claims_of_two_enclaves_in_one_journal_count_by_amount() {
    let identity = |mut change: Change, identity: u8| {
        if let Change::Claim(claim) = &mut change {
            claim.identity = Address([identity; 20]);
        }
        change
    };
    let (one, two) = (identity(claim(1, 60), 7), identity(claim(1, 45), 8));
    let mut ends = Vec::new();
    for order in [[&one, &two], [&two, &one]] {
        let journal = SharedDisk::default().journal();
        for change in order {
            journal.store(change.clone()).await.unwrap();
        }
        let record = journal.record(key(1)).unwrap();
        ends.push((record.cumulative, record.identity, record.cap));
    }
    assert_eq!(ends, vec![(60.into(), Address([7; 20]), 1_000_000.into()); 2]);
}

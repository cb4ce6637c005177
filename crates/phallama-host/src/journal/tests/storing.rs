use super::*;
use crate::testing::SharedDisk;

#[tokio::test]
async fn claims_are_there_after_reopening_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let journal = Journal::open(&path).unwrap();
    journal.store(claim(1, 40)).await.unwrap();
    journal.store(claim(2, 9)).await.unwrap();
    let settled = Change::Settled { key: key(2), claimed: 9.into(), at_unix_s: 8 };
    journal.store(settled).await.unwrap();
    let before = journal.channels();
    drop(journal);

    let journal = Journal::open(&path).unwrap();
    assert_eq!(journal.channels(), before);
    assert_eq!(journal.users_with_unsettled(), [Address([1; 20])]);
    assert_eq!(journal.unsettled_total(), 40.into());
}

#[tokio::test]
async fn lower_claim_changes_nothing_and_is_not_written() {
    let disk = SharedDisk::default();
    let journal = disk.journal();
    journal.store(claim(1, 40)).await.unwrap();
    let (before, syncs) = (journal.channels(), disk.syncs());
    journal.store(claim(1, 40)).await.unwrap();
    journal.store(claim(1, 39)).await.unwrap();
    assert_eq!(journal.channels(), before);
    assert_eq!(disk.syncs(), syncs);
}

#[tokio::test]
async fn closed_generation_owes_nothing() {
    let journal = SharedDisk::default().journal();
    journal.store(claim(1, 40)).await.unwrap();
    journal.store(Change::Closed(key(1))).await.unwrap();
    assert_eq!(journal.unsettled(), []);
    assert_eq!(journal.cumulative(key(1)), 40.into());
}

#[tokio::test]
async fn claims_that_wait_together_are_committed_together() {
    let disk = SharedDisk::default();
    let journal = Arc::new(disk.journal());
    let before = disk.syncs();
    // The writer needs this lock to build a batch: all changes gather behind the first one.
    let held = journal.shared.records();
    let waiting = (0..100_u8).map(|user| {
        let (answer, stored) = oneshot::channel();
        let change = claim(user, 10);
        journal.waiting.as_ref().unwrap().try_send(Waiting { change, answer }).unwrap();
        stored
    });
    let waiting: Vec<_> = waiting.collect();
    drop(held);
    for stored in waiting {
        stored.await.unwrap().unwrap();
    }
    assert_eq!(journal.channels().len(), 100);
    let one_commit = {
        let before = disk.syncs();
        journal.store(claim(200, 10)).await.unwrap();
        disk.syncs() - before
    };
    let hundred = disk.syncs() - one_commit - before;
    // At most two commits, each of which may have to sync twice because the file grows.
    assert!(hundred <= 4 * one_commit, "100 claims took {hundred} syncs, one takes {one_commit}");
}

#[tokio::test]
async fn journal_that_a_crash_left_half_made_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    std::fs::write(path.with_extension("new"), [0; 8_192]).unwrap();
    let journal = Journal::open(&path).unwrap();
    journal.store(claim(1, 40)).await.unwrap();
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().cumulative(key(1)), 40.into());
    assert!(!path.with_extension("new").exists());
}

#[tokio::test]
async fn second_opener_is_refused_and_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let first = Journal::open(&path).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::InUse { .. })));
    first.store(claim(1, 40)).await.unwrap();
    assert_eq!(first.condition(), Condition::Storing);
}

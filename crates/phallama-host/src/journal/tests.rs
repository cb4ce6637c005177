use phallama_protocol::ids::Digest32;
use phallama_protocol::keys::Signature;

use super::*;
use crate::testing::SharedDisk;

fn key(user: u8) -> ChannelKey {
    ChannelKey { user: Address([user; 20]), epoch: 1 }
}

fn claim(user: u8, cumulative: u64) -> Change {
    Change::Claim(Box::new(Claim {
        key: key(user),
        cap: 1_000.into(),
        voucher_sig: Signature([1; 64]),
        identity: Address([2; 20]),
        seq: cumulative,
        cumulative: cumulative.into(),
        receipt_hash: Digest32([3; 32]),
        settlement_sig: Signature([4; 64]),
        prompt_tokens: 5,
        completion_tokens: 6,
        settled: Amount::ZERO,
        at_unix_s: 7,
    }))
}

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
async fn failing_disk_pauses_and_a_working_one_resumes() {
    let disk = SharedDisk::default();
    let journal = disk.journal();
    journal.store(claim(1, 40)).await.unwrap();

    disk.set_broken(true);
    assert_eq!(journal.store(claim(1, 50)).await, Err(NotStored));
    assert!(journal.is_paused());
    assert_eq!(journal.cumulative(key(1)), 40.into(), "an amount not on disk must not be known");
    assert_eq!(journal.store(claim(2, 10)).await, Err(NotStored));

    disk.set_broken(false);
    journal.store(claim(1, 60)).await.unwrap();
    assert!(!journal.is_paused());
    let before = journal.channels();
    drop(journal);
    assert_eq!(disk.journal().channels(), before);
    assert_eq!(before[0].cumulative, 60.into());
}

#[tokio::test]
async fn pause_ends_by_itself_when_the_disk_works_again() {
    let disk = SharedDisk::default();
    let journal = disk.journal();
    disk.set_broken(true);
    assert_eq!(journal.store(claim(1, 50)).await, Err(NotStored));
    disk.set_broken(false);
    let resumed = async {
        while journal.is_paused() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), resumed).await.unwrap();
}

#[test]
fn second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let _first = Journal::open(&path).unwrap();
    assert!(matches!(Journal::open(&path), Err(JournalError::Open { .. })));
}

//! Disks that refuse (F4): never stored without being on disk, paused while it may pass, stopped
//! when it cannot, and back without anybody's help.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::*;
use crate::testing::SharedDisk;

/// How soon a disk that works again is used again.
const BACK_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn disk_that_refuses_pauses_and_one_that_works_again_resumes() {
    for kind in [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem, ErrorKind::Other] {
        let disk = SharedDisk::default();
        let journal = disk.journal();
        journal.store(claim(1, 40)).await.unwrap();

        disk.fail_with(Some(kind));
        assert_eq!(journal.store(claim(1, 50)).await, Err(NotStored::NotYet), "{kind}");
        assert_eq!(journal.condition(), Condition::Paused);
        let known = journal.cumulative(key(1));
        assert_eq!(known, 40.into(), "an amount not on disk must not be known");
        assert_eq!(journal.store(claim(2, 10)).await, Err(NotStored::NotYet));

        disk.fail_with(None);
        let took = until(&journal, Condition::Storing).await;
        assert!(took <= BACK_WITHIN, "{kind}: {took:?}");
        journal.store(claim(1, 60)).await.unwrap();
        let before = journal.channels();
        drop(journal);
        assert_eq!(disk.journal().channels(), before);
        assert_eq!(before[0].cumulative, 60.into());
    }
}

#[tokio::test]
async fn failed_claim_does_not_turn_up_later() {
    let disk = SharedDisk::default();
    let journal = disk.journal();
    journal.store(claim(1, 40)).await.unwrap();
    // Everything is written, and only the last sync says that it is not sure.
    disk.fail_syncs(true);
    assert_eq!(journal.store(claim(1, 90)).await, Err(NotStored::NotYet));
    assert_eq!(journal.store(claim(2, 90)).await, Err(NotStored::NotYet));
    disk.fail_syncs(false);
    until(&journal, Condition::Storing).await;
    drop(journal);
    let journal = disk.journal();
    assert_eq!(journal.cumulative(key(1)), 40.into());
    assert_eq!(journal.record(key(2)), None);
}

#[tokio::test]
async fn disk_that_returns_damaged_data_stops_paid_work_for_good() {
    let disk = SharedDisk::default();
    let journal = disk.journal();
    journal.store(claim(1, 40)).await.unwrap();
    disk.fail_with(Some(ErrorKind::InvalidData));
    assert_eq!(journal.store(claim(1, 50)).await, Err(NotStored::Stop));
    assert_eq!(journal.condition(), Condition::Stopped);
    disk.fail_with(None);
    assert_eq!(journal.store(claim(1, 50)).await, Err(NotStored::Stop), "it does not come back");
    assert_eq!(journal.unsettled_total(), 40.into(), "what is known can still be settled");
}

/// A small file system of its own; gone when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let mut block = vec![0xaa; 1 << 16];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

#[tokio::test]
async fn full_disk_is_noticed_before_work_begins_and_room_that_returns_is_used() {
    let Some(disk) = SmallDisk::mount(16) else {
        eprintln!("NOT TESTED: a full file system: mounting a tmpfs is not allowed here");
        return;
    };
    let (path, filler) = (disk.path().join("journal.redb"), disk.path().join("filler"));
    let journal = Journal::open(&path).unwrap();
    journal.store(claim(1, 40)).await.unwrap();
    assert_eq!(journal.condition(), Condition::Storing);

    fill(&filler);
    assert_eq!(journal.condition(), Condition::Paused, "nobody had to lose an answer for it");
    // Claims of open answers go on; each is stored or refused, and what was stored is on disk.
    let mut stored = 40;
    let mut refused = 0;
    for user in 1..=200 {
        for cumulative in [50, 60, 70] {
            match journal.store(claim(user, cumulative)).await {
                Ok(()) if user == 1 => stored = cumulative,
                Ok(()) => {}
                Err(NotStored::NotYet) => refused += 1,
                Err(NotStored::Stop) => panic!("a full disk passes"),
            }
        }
    }
    assert!(refused > 0, "600 claims fit on a full disk");
    assert_eq!(journal.cumulative(key(1)), stored.into());
    let known = journal.channels();

    std::fs::remove_file(&filler).unwrap();
    let took = until(&journal, Condition::Storing).await;
    assert!(took <= BACK_WITHIN, "{took:?}");
    journal.store(claim(250, 5)).await.unwrap();
    let mut expected = known;
    expected.push(journal.record(key(250)).unwrap());
    drop(journal);
    assert_eq!(Journal::open(&path).unwrap().channels(), expected);
}

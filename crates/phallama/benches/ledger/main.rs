//! The path of a voucher through a pod: how many are verified, how many claims become durable, and
//! what the disk itself could do, in the same run on the same file system.
//!
//! `tools/bench.sh ledger` prints a table, with `--json` one JSON
//! object. The journal lies in a new folder inside `PHALLAMA_HOME`, or else inside the target
//! folder.

#[path = "../report/mod.rs"]
mod report;

mod disk;
mod journal;
mod vouchers;

use std::path::{Path, PathBuf};
use std::time::Duration;

use report::{Figure, figure};

use crate::disk::Disk;
use crate::journal::{Load, Measured};

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Journal and bare disk take turns this often.
const ROUNDS: usize = 3;
/// How long one measurement takes.
pub(crate) const FOR: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir_in(place())?;
    note(&format!("ledger: {} on {}", folder.path().display(), file_system(folder.path())?));
    let mut figures = vec![figure("ledger.verified_per_s", vouchers::verified_per_s(), "1/s")];
    figures.extend(durable(folder.path()).await?);
    report::print(&figures);
    Ok(())
}

/// The journal under 64 clients, then the disk with the same bytes in the same portions.
async fn durable(folder: &Path) -> Result<Vec<Figure>, Failure> {
    let load = Load::open(&folder.join("journal.redb")).await?;
    let disk = Disk::create(&folder.join("bare"))?;
    let mut rounds = Vec::new();
    for round in 1..=ROUNDS {
        let journal = load.run(FOR).await?;
        let alone = load.alone(FOR).await?;
        let bare = disk.portions(journal.portion(), FOR)?;
        let serial = disk.serial(FOR)?;
        note(&format!("ledger: {round}/{ROUNDS}: {journal}; the disk {bare:.0} portions/s"));
        rounds.push(Round { journal, alone, bare, serial });
    }
    Ok(figures(&rounds))
}

struct Round {
    journal: Measured,
    /// Claims per second of one client that waits for each.
    alone: f64,
    /// Portions per second of the bare disk, each with the journal's bytes and syncs per commit.
    bare: disk::Rate,
    /// The same for one claim at a time.
    serial: disk::Rate,
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let bare = |r: &Round| r.bare.per_s * r.journal.claims_per_commit;
    vec![
        figure("ledger.durable_per_s", median(&|r| r.journal.per_s), "1/s"),
        figure("ledger.ack_p50_ms", median(&|r| r.journal.ack.p50_ms), "ms"),
        figure("ledger.ack_p99_ms", median(&|r| r.journal.ack.p99_ms), "ms"),
        figure("ledger.claims_per_commit", median(&|r| r.journal.claims_per_commit), "claims"),
        figure("ledger.bytes_per_claim", median(&|r| r.journal.bytes_per_claim), "B"),
        figure("ledger.serial_per_s", median(&|r| r.alone), "1/s"),
        figure("ledger.disk_durable_per_s", median(&bare), "1/s"),
        figure("ledger.disk_commit_p50_ms", median(&|r| r.bare.took.p50_ms), "ms"),
        figure("ledger.disk_commit_p99_ms", median(&|r| r.bare.took.p99_ms), "ms"),
        figure("ledger.disk_serial_per_s", median(&|r| r.serial.per_s), "1/s"),
    ]
}

/// Quantiles of many durations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Quantiles {
    pub(crate) fn of(mut took: Vec<Duration>) -> Result<Self, Failure> {
        if took.is_empty() {
            return Err("nothing was measured".into());
        }
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() - 1) * percent / 100].as_secs_f64() * 1_000.0;
        Ok(Self { p50_ms: at(50), p99_ms: at(99) })
    }
}

fn place() -> PathBuf {
    std::env::var_os("PHALLAMA_HOME")
        .map_or_else(|| env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from)
}

/// Type of the file system that holds `folder`: one in memory would measure nothing.
fn file_system(folder: &Path) -> Result<String, Failure> {
    let folder = folder.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let holds = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(point).then_some((point.len(), kind))
    });
    let kind = holds.max_by_key(|(len, _)| *len).map_or("?", |(_, kind)| kind);
    if matches!(kind, "tmpfs" | "ramfs") {
        let shown = folder.display();
        return Err(format!("{shown} is on {kind}, where nothing is durable").into());
    }
    Ok(kind.to_owned())
}

/// Progress goes to stderr, so that stdout stays JSON.
#[expect(clippy::print_stderr, reason = "progress of a bench")]
fn note(text: &str) {
    eprintln!("{text}");
}

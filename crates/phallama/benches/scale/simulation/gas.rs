//! What transactions take, as measured: `contracts/snapshots/gas.json` and `docs/figures.json`.

use std::path::{Path, PathBuf};

use serde_json::Value;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Whole transactions, cold slots, distinct users.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gas {
    lock_first: u64,
    lock_row: u64,
    /// A row that finds nothing to lock, in a transaction of 100 like it.
    pub(crate) skipped_lock_row: u64,
    settle_first: u64,
    settle_row: u64,
    pub(crate) open_and_deposit: u64,
    pub(crate) start_exit: u64,
    pub(crate) finish_exit: u64,
    pub(crate) withdraw: u64,
    pub(crate) collect: u64,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

impl Gas {
    pub(crate) fn measured() -> Result<Self, Failure> {
        let snapshots = read("contracts/snapshots/gas.json")?;
        let figures = read("docs/figures.json")?;
        let snapshot = |name: &str| {
            let gas = snapshots[name].as_str().and_then(|text| text.parse().ok());
            gas.ok_or_else(|| Failure::from(format!("no snapshot `{name}`")))
        };
        let figure = |name: &str| {
            let gas = figures[name]["value"].as_f64().map(super::rng::whole).map(u64::from);
            gas.ok_or_else(|| Failure::from(format!("no figure `{name}`")))
        };
        Ok(Self {
            lock_first: snapshot("lock_1")?,
            lock_row: snapshot("lock_slope")?,
            skipped_lock_row: snapshot("lock_skipped_100")? / 100,
            settle_first: snapshot("settle_1")?,
            settle_row: snapshot("settle_slope")?,
            open_and_deposit: figure("gas.deposit_open_tx")?,
            start_exit: figure("gas.start_exit_tx")?,
            finish_exit: figure("gas.finish_exit_tx")?,
            withdraw: figure("gas.withdraw_tx")?,
            collect: figure("gas.collect_tx")?,
        })
    }

    /// One transaction; linear in its rows, as the gas tests hold.
    pub(crate) fn lock(&self, rows: usize) -> u64 {
        self.lock_first + self.lock_row * (rows as u64 - 1)
    }

    /// One transaction.
    pub(crate) fn settle(&self, rows: usize) -> u64 {
        self.settle_first + self.settle_row * (rows as u64 - 1)
    }
}

pub(crate) fn read(path: &str) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(root().join(path)).map_err(|e| format!("{path}: {e}"))?;
    Ok(serde_json::from_str(&text)?)
}

//! What the pod's transactions paid and cost, a line each.
//!
//! Nothing is decided by it: what is owed is in the journal, what was paid is on chain. A line that
//! could not be written is missing from the sums and nowhere else.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use phallama_chain::Tx;
use phallama_protocol::ids::{Amount, Digest32};
use serde::{Deserialize, Serialize};

use crate::money::plus;
use crate::{clock, private};

const DAY_S: u64 = 86_400;

/// What a transaction was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Claims became credit.
    Settle,
    /// Credit was paid out.
    Collect,
    /// Users' allocations were locked.
    Lock,
    /// The pod's record, its collateral or its key.
    Register,
}

/// One mined transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// When it was noted, seconds since 1970.
    pub at_unix_s: u64,
    /// What it was for.
    pub purpose: Purpose,
    /// What it moved: into the credit, or out of it.
    pub moved: Amount,
    /// Transaction hash.
    pub tx_hash: Digest32,
    /// Gas used.
    pub gas_used: u64,
    /// Price paid per gas, in wei.
    pub gas_price_wei: u64,
}

/// What happened in one day (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Day {
    /// Midnight at its beginning, seconds since 1970.
    pub begins_unix_s: u64,
    /// What the contract paid into the credit.
    pub settled: Amount,
    /// What was paid out of the credit.
    pub collected: Amount,
    /// Transactions mined.
    pub transactions: u64,
    /// Gas used.
    pub gas_used: u64,
    /// Paid for it, in wei.
    #[serde(with = "crate::wei")]
    pub gas_wei: u128,
}

impl Day {
    fn add(&mut self, entry: &Entry) {
        match entry.purpose {
            Purpose::Settle => self.settled = plus(self.settled, entry.moved),
            Purpose::Collect => self.collected = plus(self.collected, entry.moved),
            Purpose::Lock | Purpose::Register => {}
        }
        let wei = u128::from(entry.gas_used).saturating_mul(entry.gas_price_wei.into());
        self.transactions = self.transactions.saturating_add(1);
        self.gas_used = self.gas_used.saturating_add(entry.gas_used);
        self.gas_wei = self.gas_wei.saturating_add(wei);
    }
}

#[derive(Debug, Default)]
struct Sums {
    days: BTreeMap<u64, Day>,
    /// A transaction that is heard of twice, before and after a restart, counts once.
    known: HashSet<Digest32>,
}

impl Sums {
    /// False when the transaction is known.
    fn add(&mut self, entry: &Entry) -> bool {
        if !self.known.insert(entry.tx_hash) {
            return false;
        }
        let begins_unix_s = entry.at_unix_s - entry.at_unix_s % DAY_S;
        self.days
            .entry(begins_unix_s)
            .or_insert(Day { begins_unix_s, ..Day::default() })
            .add(entry);
        true
    }
}

/// The books of one pod. Clones share them.
#[derive(Clone, Debug)]
pub struct Books {
    path: PathBuf,
    sums: Arc<Mutex<Sums>>,
}

impl Books {
    /// Reads the file; there need be none. Lines that are none, such as one that a power cut left
    /// half written, are passed over.
    ///
    /// # Errors
    /// What the system says of a file that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut sums = Sums::default();
        for entry in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
            sums.add(&entry);
        }
        Ok(Self { path: path.to_owned(), sums: Arc::new(Mutex::new(sums)) })
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a mined transaction.
    pub fn note(&self, purpose: Purpose, moved: Amount, tx: &Tx) {
        self.add(&Entry {
            at_unix_s: clock::now_unix_s(),
            purpose,
            moved,
            tx_hash: Digest32(tx.hash),
            gas_used: tx.gas_used,
            gas_price_wei: u64::try_from(tx.effective_gas_price_wei).unwrap_or(u64::MAX),
        });
    }

    fn add(&self, entry: &Entry) {
        let mut sums = self.sums();
        if !sums.add(entry) {
            return;
        }
        if let Err(error) = self.append(entry) {
            tracing::warn!(%error, path = %self.path.display(), "books: a line is missing");
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file: File = private::appended_file(&self.path)?;
        file.write_all(&line)?;
        file.sync_data()
    }

    /// Every day with a transaction, in order.
    pub fn days(&self) -> Vec<Day> {
        self.sums().days.values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(purpose: Purpose, at_unix_s: u64, hash: u8) -> Entry {
        let (moved, tx_hash) = (Amount::from(70), Digest32([hash; 32]));
        Entry { at_unix_s, purpose, moved, tx_hash, gas_used: 100, gas_price_wei: 3 }
    }

    #[test]
    fn days_are_summed_and_survive_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.jsonl");
        let books = Books::open(&path).unwrap();
        books.add(&entry(Purpose::Settle, DAY_S + 5, 1));
        books.add(&entry(Purpose::Lock, 2 * DAY_S - 1, 2));
        books.add(&entry(Purpose::Collect, 2 * DAY_S, 3));
        let first = Day {
            begins_unix_s: DAY_S,
            settled: 70.into(),
            collected: Amount::ZERO,
            transactions: 2,
            gas_used: 200,
            gas_wei: 600,
        };
        let second = Day {
            begins_unix_s: 2 * DAY_S,
            settled: Amount::ZERO,
            collected: 70.into(),
            transactions: 1,
            gas_used: 100,
            gas_wei: 300,
        };
        assert_eq!(books.days(), [first, second]);
        assert_eq!(Books::open(&path).unwrap().days(), [first, second]);
    }

    #[test]
    fn transaction_counts_once_and_a_torn_line_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("books.jsonl");
        let books = Books::open(&path).unwrap();
        books.add(&entry(Purpose::Settle, 5, 1));
        books.add(&entry(Purpose::Settle, 9, 1));
        let mut text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1);
        text.push_str(&text.clone()[..40]);
        std::fs::write(&path, &text).unwrap();
        let books = Books::open(&path).unwrap();
        assert_eq!(books.days()[0].transactions, 1);
        // What is written next must not grow together with the torn line.
        books.add(&entry(Purpose::Settle, 5, 2));
        assert_eq!(Books::open(&path).unwrap().days()[0].transactions, 2);
    }
}

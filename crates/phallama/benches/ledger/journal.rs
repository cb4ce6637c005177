//! The pod's own journal under many clients, each of which waits for its claim to be durable.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use phallama_host::journal::{Change, ChannelKey, Claim, Journal, Medium};
use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::keys::Signature;
use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use crate::disk::Portion;
use crate::{Failure, Quantiles};

/// Clients that wait at the same time.
const CLIENTS: u64 = 64;
/// Channels of each: a pod's journal is a tree of thousands, not of a few.
const CHANNELS: u64 = 150;
/// What one answer adds to its channel.
const COST: u64 = 170;

/// What the journal asked of its file.
#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    syncs: AtomicU64,
}

/// The file as the journal opens it, counting.
#[derive(Debug)]
struct Counted {
    file: FileBackend,
    counts: Arc<Counts>,
}

impl StorageBackend for Counted {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.counts.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }
}

struct CountedFile {
    path: PathBuf,
    counts: Arc<Counts>,
}

impl CountedFile {
    fn built_aside(&self) -> PathBuf {
        self.path.with_extension("new")
    }

    fn database(&self, path: &Path) -> Result<Database, DatabaseError> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = FileBackend::new(file.map_err(StorageError::from)?)?;
        Builder::new().create_with_backend(Counted { file, counts: Arc::clone(&self.counts) })
    }
}

impl Medium for CountedFile {
    fn open(&self) -> Result<Database, DatabaseError> {
        self.database(&self.path)
    }

    fn aside(&self) -> Result<Database, DatabaseError> {
        self.database(&self.built_aside())
    }

    fn adopt(&self) -> io::Result<()> {
        std::fs::rename(self.built_aside(), &self.path)
    }
}

/// A journal with all its channels in it.
pub(crate) struct Load {
    journal: Arc<Journal>,
    counts: Arc<Counts>,
    /// Answers of each client so far.
    round: AtomicU64,
    /// Syncs of a commit.
    syncs_per_commit: f64,
}

/// One run.
pub(crate) struct Measured {
    pub(crate) per_s: f64,
    pub(crate) ack: Quantiles,
    pub(crate) claims_per_commit: f64,
    pub(crate) bytes_per_claim: f64,
    syncs_per_commit: f64,
}

impl Measured {
    /// What one commit wrote, and how often it waited for the disk.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
    pub(crate) fn portion(&self) -> Portion {
        let syncs = self.syncs_per_commit.round().max(1.0);
        let bytes = self.bytes_per_claim * self.claims_per_commit / syncs;
        Portion { bytes: bytes.round() as usize, syncs: syncs as usize }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_s, ack, claims_per_commit, .. } = self;
        let Quantiles { p50_ms, p99_ms } = ack;
        write!(f, "{per_s:.0} durable/s, {claims_per_commit:.0} per commit, ")?;
        write!(f, "p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms")
    }
}

impl Load {
    /// Opens the journal as a pod does, and puts every channel into it.
    pub(crate) async fn open(path: &Path) -> Result<Self, Failure> {
        let counts = Arc::new(Counts::default());
        let medium = CountedFile { path: path.to_owned(), counts: Arc::clone(&counts) };
        let journal = Arc::new(Journal::open_on(&path.display().to_string(), Box::new(medium))?);
        let mut load = Self { journal, counts, round: AtomicU64::new(0), syncs_per_commit: 1.0 };
        for _ in 0..CHANNELS {
            let round = load.next_round();
            futures::future::try_join_all((0..CLIENTS).map(|client| load.store(client, round)))
                .await?;
        }
        load.syncs_per_commit = load.count_syncs().await?;
        Ok(load)
    }

    /// How often one commit waits for the disk: one client's claims are committed one by one.
    async fn count_syncs(&self) -> Result<f64, Failure> {
        const CLAIMS: u32 = 100;
        let before = self.counts.syncs.load(Ordering::Relaxed);
        for _ in 0..CLAIMS {
            self.store(0, self.next_round()).await?;
        }
        let syncs = self.counts.syncs.load(Ordering::Relaxed) - before;
        Ok(f64::from(u32::try_from(syncs)?) / f64::from(CLAIMS))
    }

    fn next_round(&self) -> u64 {
        self.round.fetch_add(1, Ordering::Relaxed)
    }

    async fn store(&self, client: u64, round: u64) -> Result<(), Failure> {
        Ok(self.journal.store(Change::Claim(Box::new(claim(client, round)))).await?)
    }

    /// All clients at once.
    pub(crate) async fn run(&self, time: Duration) -> Result<Measured, Failure> {
        let (bytes, syncs) = self.counted();
        let began = Instant::now();
        let clients = (0..CLIENTS).map(|client| {
            let journal = Arc::clone(&self.journal);
            let first = self.round.load(Ordering::Relaxed);
            tokio::spawn(until(journal, client, first, began + time))
        });
        let mut took = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            took.extend(client.await??);
        }
        let seconds = began.elapsed().as_secs_f64();
        // Further rounds are above all of these.
        self.round.fetch_add(took.len() as u64, Ordering::Relaxed);
        let (bytes, syncs) = (self.counted().0 - bytes, self.counted().1 - syncs);
        let claims = f64::from(u32::try_from(took.len())?);
        Ok(Measured {
            per_s: claims / seconds,
            ack: Quantiles::of(took)?,
            claims_per_commit: claims * self.syncs_per_commit / f64::from(u32::try_from(syncs)?),
            bytes_per_claim: f64::from(u32::try_from(bytes)?) / claims,
            syncs_per_commit: self.syncs_per_commit,
        })
    }

    /// One client: claims per second.
    pub(crate) async fn alone(&self, time: Duration) -> Result<f64, Failure> {
        let (began, first) = (Instant::now(), self.round.load(Ordering::Relaxed));
        let took = until(Arc::clone(&self.journal), 0, first, began + time).await?;
        self.round.fetch_add(took.len() as u64, Ordering::Relaxed);
        Ok(f64::from(u32::try_from(took.len())?) / began.elapsed().as_secs_f64())
    }

    fn counted(&self) -> (u64, u64) {
        let Counts { bytes, syncs } = &*self.counts;
        (bytes.load(Ordering::Relaxed), syncs.load(Ordering::Relaxed))
    }
}

/// One client's claims, one after the other, and how long each took.
async fn until(
    journal: Arc<Journal>,
    client: u64,
    first: u64,
    end: Instant,
) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::new();
    for round in first.. {
        let began = Instant::now();
        if began >= end {
            break;
        }
        journal.store(Change::Claim(Box::new(claim(client, round)))).await?;
        took.push(began.elapsed());
    }
    Ok(took)
}

/// A client's channels take turns; every claim is the highest of its channel, so every one is
/// written.
fn claim(client: u64, round: u64) -> Claim {
    let mut user = [9; 20];
    user[..8]
        .copy_from_slice(&(round % CHANNELS).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    user[12..].copy_from_slice(&client.to_be_bytes());
    let cumulative = (round + 1) * COST;
    Claim {
        key: ChannelKey { user: Address(user), epoch: 0 },
        cap: Amount::from(cumulative + 1_000),
        voucher_sig: Signature([1; 64]),
        identity: Address([2; 20]),
        seq: round + 1,
        cumulative: Amount::from(cumulative),
        receipt_hash: Digest32([3; 32]),
        settlement_sig: Signature([4; 64]),
        prompt_tokens: 300,
        completion_tokens: 400,
        settled: Amount::ZERO,
        at_unix_s: 1_800_000_000,
    }
}

//! What a client is told: which chain, whom to trust, how much to spend, how long to wait.

use std::path::PathBuf;
use std::time::Duration;

use phallama_attest::{AcceptedTcb, TrustRoot};
use phallama_chain::ChainConfig;
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::Amount;

use crate::observe::Observer;
use crate::suitability::PodPolicy;

/// Everything a [`Client`](crate::Client) needs beside the user's key.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The chain and its contracts.
    pub chain: ChainConfig,
    /// What to accept from pods.
    pub trust: TrustPolicy,
    /// Which pods to ask.
    pub pods: PodPolicy,
    /// Folder of the wallet's own records (`ledger.redb`). Several processes may share it.
    pub state_dir: PathBuf,
    /// Most to spend.
    pub limits: SpendLimits,
    /// How money is promised to pods.
    pub payment: PaymentPolicy,
    /// How answers are framed and paced.
    pub class: FrameClass,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Who is told about requests that have ended.
    pub observer: Option<Observer>,
}

impl ClientConfig {
    /// The defaults: no spend limits, `std` pacing.
    pub fn new(chain: ChainConfig, trust: TrustPolicy, state_dir: PathBuf) -> Self {
        Self {
            chain,
            trust,
            pods: PodPolicy::default(),
            state_dir,
            limits: SpendLimits::default(),
            payment: PaymentPolicy::default(),
            class: FrameClass::Std,
            timeouts: Timeouts::default(),
            observer: None,
        }
    }
}

/// What to accept from pods. Nothing is accepted until a measurement is approved.
#[derive(Clone, Debug)]
pub struct TrustPolicy {
    /// The one certificate authority that evidence must chain to.
    pub root: TrustRoot,
    /// TCB statuses accepted beside `UpToDate`, each with the advisories that may come with it.
    pub accepted_tcb: Vec<AcceptedTcb>,
    /// Approved enclave programs.
    pub measurements: Vec<ApprovedMeasurement>,
}

impl TrustPolicy {
    /// Real machines only, strict status, these programs.
    pub fn intel(measurements: Vec<ApprovedMeasurement>) -> Self {
        Self { root: TrustRoot::Intel, accepted_tcb: Vec::new(), measurements }
    }

    /// Simulated machines under the development root `root_der` only: their evidence proves
    /// nothing about hardware, and anybody can make it.
    pub fn danger_simulated(root_der: Vec<u8>, measurements: Vec<ApprovedMeasurement>) -> Self {
        Self { root: TrustRoot::Development(root_der), accepted_tcb: Vec::new(), measurements }
    }

    /// The label under which a measurement was approved.
    pub fn label(&self, measurement: &[u8; 32]) -> Option<&str> {
        let approved = self.measurements.iter().find(|entry| entry.measurement == *measurement);
        approved.map(|entry| entry.label.as_str())
    }
}

/// One approved enclave program or trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedMeasurement {
    /// MRENCLAVE, or the digest of a trust domain (spec/attestation.md), 32 bytes.
    pub measurement: [u8; 32],
    /// What the user calls it, e.g. `release 0.4.2`.
    pub label: String,
    /// Digest of the worker program's hash, its arguments and the limits that the program must run
    /// under, 32 bytes. `None`: any; the verdict then shows the digest and does not judge it.
    pub policy: Option<[u8; 32]>,
}

impl ApprovedMeasurement {
    /// Reads 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// The text, when it is not 32 bytes of hex.
    pub fn from_hex(label: &str, text: &str) -> Result<Self, String> {
        let measurement = digest_from_hex(text)
            .ok_or_else(|| format!("`{text}` is not a measurement; use 64 hex digits"))?;
        Ok(Self { measurement, label: label.to_owned(), policy: None })
    }

    /// The same program under this policy only; 64 hex digits, with or without `0x`.
    ///
    /// # Errors
    /// The text, when it is not 32 bytes of hex.
    pub fn with_policy_hex(self, text: &str) -> Result<Self, String> {
        let policy = digest_from_hex(text)
            .ok_or_else(|| format!("`{text}` is not a policy digest; use 64 hex digits"))?;
        Ok(Self { policy: Some(policy), ..self })
    }
}

fn digest_from_hex(text: &str) -> Option<[u8; 32]> {
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).ok()?.try_into().ok()
}

/// The user's own limits, in the smallest unit of the token. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpendLimits {
    /// Most one request may cost (its reserve).
    pub per_request: Option<Amount>,
    /// Most one UTC day may cost: costs, and the reserves of requests without a receipt.
    pub per_day: Option<Amount>,
    /// Most one pod can draw in one epoch of its channel: its caps never go further. A close or a
    /// finished exit begins a new epoch.
    pub per_pod: Option<Amount>,
}

/// A share of the day's limit: what one app, say, may spend of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    /// Whose it is, the same every day.
    pub id: [u8; 32],
    /// Most that requests from it may cost in one UTC day, counted as [`SpendLimits::per_day`].
    pub per_day: Amount,
}

/// How money is promised to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaymentPolicy {
    /// Least amount to allocate to a pod at a time, so that most requests need no new lock. It is
    /// cut to half of what is free, and never below what the request needs.
    pub lock_chunk: Amount,
    /// How long a signed allocation may be submitted, in seconds. Until then its amount counts as
    /// given away.
    pub allocation_life_s: u64,
    /// Most that the chain may say was claimed in a channel that this wallet has no records of. An
    /// endpoint that lies about it takes this much, with the help of the pod's host. Above zero for
    /// a wallet that was restored without its records.
    pub unrecorded_max: Amount,
    /// How often the chain is asked whether an allocation was locked, while requests still carry
    /// it. Between two blocks there is nothing new.
    pub lock_check: Duration,
}

/// How much to allocate when `needs` is missing and `available` is free: a chunk, at most half of
/// what is free and at most `room`, but never less than `needs`. All in the smallest token unit.
pub fn lock_size(chunk: u128, needs: u128, available: u128, room: u128) -> u128 {
    needs.max(chunk.min(available / 2).min(room))
}

impl Default for PaymentPolicy {
    fn default() -> Self {
        let lock_chunk = Amount::new(1_000_000).expect("a million fits 96 bits");
        Self {
            lock_chunk,
            allocation_life_s: 600,
            unrecorded_max: Amount::ZERO,
            lock_check: Duration::from_secs(2),
        }
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP connection to a pod.
    pub connect: Duration,
    /// Key bundle or evidence, whole.
    pub fetch: Duration,
    /// From the end of the upload to the response's first byte.
    pub response: Duration,
    /// Longest silence inside an answer of a paced class, which sends frames all the time.
    pub silence: Duration,
    /// Longest answer with its padding, and longest silence of a class without pace.
    pub answer: Duration,
    /// Age at which the list of pods is read again from the chain.
    pub directory: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            fetch: Duration::from_secs(10),
            response: Duration::from_secs(30),
            silence: Duration::from_secs(15),
            answer: Duration::from_mins(30),
            directory: Duration::from_secs(30),
        }
    }
}

//! What a pod reports while it starts and runs.

use crate::attestation::{Appraisal, Refusal};
use phallama_protocol::ids::{Address, Digest32, PodId};

/// A step of a pod's life, for a person who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodProgress {
    /// The chain answers and the contracts are there.
    ChainConnected {
        /// The newest block.
        block: u64,
        /// This pod.
        pod_id: PodId,
    },
    /// The enclave program was started; it hashes and loads its models.
    EnclaveStarting,
    /// The enclave program logged a line.
    EnclaveLog(String),
    /// The enclave can answer.
    EnclaveReady {
        /// Its identity key.
        identity: Address,
        /// Its measurement.
        measurement: Digest32,
        /// Time since its start, in milliseconds.
        took_ms: u64,
    },
    /// The enclave program ended and is started again.
    EnclaveRestarting {
        /// Why it ended.
        reason: String,
        /// Pause before the next start, in milliseconds.
        in_ms: u64,
    },
    /// The host has judged the enclave's evidence as the registry will.
    Appraised {
        /// What it found.
        appraisal: Appraisal,
    },
    /// A transaction of the pod's registration was mined.
    Registered {
        /// What it did, e.g. `register`, `TCB information` or `attest`.
        what: &'static str,
        /// Transaction hash.
        tx_hash: [u8; 32],
        /// Gas of the whole transaction.
        gas_used: u64,
    },
    /// The registry vouches for the enclave's key.
    Attested {
        /// First second at which it no longer does (unix).
        until_unix_s: u64,
    },
    /// Something that the operator should know and that stopped nothing.
    Remark(String),
    /// The key could not be renewed; it is tried again.
    Refused(Box<Refusal>),
    /// Clients are served.
    Listening {
        /// The URL as registered.
        url: String,
    },
}

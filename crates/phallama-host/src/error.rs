//! What can go wrong with a pod, and whose fault it is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use phallama_attest::EvidenceError;
use phallama_chain::ChainError;
use phallama_protocol::bundle::BundleError;
use phallama_protocol::ids::Address;
use phallama_protocol::link::{Kind, LinkError};
use phallama_protocol::refusal::Code;

use crate::attestation::Refusal;
use crate::journal::JournalError;

/// A pod cannot start, or an operation on a running one failed.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// The configuration asks for something impossible; the operator's to fix.
    #[error("`{field}` {problem}")]
    Config {
        /// The field.
        field: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A file or directory of the pod; the machine's.
    #[error("cannot {what} {path}: {source}")]
    File {
        /// e.g. `create`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No pod has run here yet.
    #[error("{} holds no journal: no pod has run here", dir.display())]
    NoJournal {
        /// The state directory.
        dir: PathBuf,
    },
    /// Pods of several deployments or operators have.
    #[error("{} holds several journals, and it is not clear which is meant", dir.display())]
    SeveralJournals {
        /// The state directory.
        dir: PathBuf,
    },
    /// The chain's or its endpoint's, or the operator's account cannot pay.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The journal's.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The enclave program's.
    #[error(transparent)]
    Enclave(#[from] EnclaveError),
    /// Claims could not be settled.
    #[error(transparent)]
    Settle(#[from] SettleError),
    /// The platform, its quote or its collateral is not accepted; the machine's or its operator's.
    #[error(transparent)]
    Refused(Box<Refusal>),
}

impl From<Refusal> for PodError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

/// The enclave program does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum EnclaveError {
    /// The program cannot be started.
    #[error("cannot start the enclave program {program}: {source}")]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("the enclave program ended ({status}); its log is {log}\n{last_lines}")]
    Exited {
        /// Its exit status.
        status: String,
        /// The file with its log.
        log: PathBuf,
        /// The end of that file.
        last_lines: String,
    },
    /// It runs and is not ready.
    #[error("the enclave program is not ready after {waited_s} s; its log is {log}")]
    NotReady {
        /// How long it had, in seconds.
        waited_s: u64,
        /// The file with its log.
        log: PathBuf,
    },
    /// Its socket cannot be reached.
    #[error("the enclave does not answer: {0}")]
    Unreachable(io::Error),
    /// It closed the connection before it answered.
    #[error("the enclave closed the connection before it answered {0:?}")]
    Closed(Kind),
    /// It took too long.
    #[error("the enclave did not answer {kind:?} within {waited_ms} ms")]
    Timeout {
        /// What was asked.
        kind: Kind,
        /// How long it had, in milliseconds.
        waited_ms: u128,
    },
    /// It refused.
    #[error("the enclave refused: {}", .0.name())]
    Refused(Code),
    /// It broke the rules of the link.
    #[error("the enclave broke the link's rules: {0}")]
    Link(#[from] LinkError),
    /// Its bundle is not one.
    #[error("the enclave's key bundle is not valid: {0}")]
    Bundle(#[from] BundleError),
    /// Its evidence is no evidence document.
    #[error("the enclave's evidence is not valid: {0}")]
    Evidence(#[from] EvidenceError),
    /// It signed a claim that the contract would not take.
    #[error("the enclave's claim is signed by {got}, its identity is {expected}")]
    ClaimSigner {
        /// Who signed; zero when nobody did.
        got: Address,
        /// The enclave's identity.
        expected: Address,
    },
    /// It is not there at the moment.
    #[error("the enclave is starting")]
    NotRunning,
}

/// Claims could not be settled; they stay in the journal and are tried again.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The chain's or its endpoint's, or the operator's account cannot pay.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// One that was sent before is in no block.
    #[error(
        "a settlement that was sent before is not in a block yet; it is looked after, and the next \
         one is sent when it is"
    )]
    Waiting,
}

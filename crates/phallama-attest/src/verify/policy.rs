use crate::binding::{Binding, report_data};
use crate::tcb_status::TcbStatus;

use sha2::{Digest, Sha256};

/// Default limit on a quote's size, in bytes. SGX v3 quotes have about 4.6 KB, TDX ones 5 KB.
pub const QUOTE_MAX_BYTES: usize = 16 * 1024;

/// Length of a machine identity (PPID) in bytes.
pub const MACHINE_IDENTITY_BYTES: usize = 16;

/// SHA-256 of the DER certificate "Intel SGX Root CA", serial
/// 22650cd65a9d3489f383b49552bf501b392706ac.
const INTEL_ROOT_SHA256: [u8; 32] = [
    0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35,
    0x0e, 0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
];

/// The one certificate authority that evidence must chain to. A policy has exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustRoot {
    /// Intel's SGX root: real machines.
    Intel,
    /// A development root in DER: simulated machines, which prove nothing about hardware.
    Development(Vec<u8>),
}

impl TrustRoot {
    /// Which of the two it is, without the certificate.
    pub fn kind(&self) -> RootKind {
        match self {
            Self::Intel => RootKind::Intel,
            Self::Development(_) => RootKind::Development,
        }
    }

    /// SHA-256 of the root certificate in DER.
    pub fn sha256(&self) -> [u8; 32] {
        match self {
            Self::Intel => INTEL_ROOT_SHA256,
            Self::Development(der) => Sha256::digest(der).into(),
        }
    }
}

/// Which root vouches for a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RootKind {
    /// Intel's SGX root: real machines.
    Intel,
    /// A development root: simulated machines.
    Development,
}

impl std::fmt::Display for RootKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Intel => "Intel's SGX root",
            Self::Development => "a development root (simulated TEE)",
        })
    }
}

/// One TCB status, beside `UpToDate`, that a policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedTcb {
    /// The status. `Revoked` is never accepted, listed or not.
    pub status: TcbStatus,
    /// The advisories (`INTEL-SA-…`) that may come with it; any other is refused.
    pub advisory_ids: Vec<String>,
}

/// What a relying party accepts, whichever pod it talks to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The root of trust.
    pub root: TrustRoot,
    /// Accepted MRENCLAVE values, exact. An empty list accepts nothing.
    pub measurements: Vec<[u8; 32]>,
    /// TCB statuses accepted beside `UpToDate`. Empty is strict.
    pub accepted_tcb: Vec<AcceptedTcb>,
    /// Lowest accepted TCB evaluation number: the highest one seen so far, or 0.
    pub tcb_evaluation_number_min: u32,
    /// Largest quote that is looked at, in bytes.
    pub quote_max_bytes: usize,
}

impl Policy {
    /// The strict policy: `UpToDate` only, these measurements, no remembered evaluation number.
    pub fn strict(root: TrustRoot, measurements: Vec<[u8; 32]>) -> Self {
        Self {
            root,
            measurements,
            accepted_tcb: Vec::new(),
            tcb_evaluation_number_min: 0,
            quote_max_bytes: QUOTE_MAX_BYTES,
        }
    }
}

/// What the evidence of one particular pod must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The exact 64 bytes of report data.
    pub report_data: [u8; 64],
    /// The registered machine's PPID. `None` skips the check, and the verdict says so.
    pub machine_identity: Option<[u8; MACHINE_IDENTITY_BYTES]>,
}

impl Expected {
    /// A quote bound to `binding` and fresh for `nonce`, from any machine.
    pub fn new(binding: &Binding, nonce: [u8; 32]) -> Self {
        Self { report_data: report_data(binding, nonce), machine_identity: None }
    }

    /// The same, from this machine only.
    #[must_use]
    pub fn on_machine(self, machine_identity: [u8; MACHINE_IDENTITY_BYTES]) -> Self {
        Self { machine_identity: Some(machine_identity), ..self }
    }
}

use std::fmt;

use crate::tcb_status::TcbStatus;

use super::check::CheckName;
use super::policy::RootKind;

/// A part of the collateral, by the name people know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollateralItem {
    /// TCB information (JSON).
    TcbInfo,
    /// Quoting-enclave identity (JSON).
    QeIdentity,
    /// Revocation list of the root CA.
    RootCrl,
    /// Revocation list of the PCK certificates' CA.
    PckCrl,
    /// The certificate with the tightest dates, in the quote or the collateral.
    Certificate,
}

impl fmt::Display for CollateralItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TcbInfo => "TCB information",
            Self::QeIdentity => "quoting-enclave identity",
            Self::RootCrl => "root revocation list",
            Self::PckCrl => "PCK revocation list",
            Self::Certificate => "certificate chain",
        })
    }
}

/// What a TCB status is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcbComponent {
    /// Processor firmware and provisioning enclave (and the TDX module, under TDX).
    Platform,
    /// The quoting enclave.
    QuotingEnclave,
    /// Both together.
    Overall,
}

impl fmt::Display for TcbComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Platform => "platform",
            Self::QuotingEnclave => "quoting enclave",
            Self::Overall => "platform and quoting enclave together",
        })
    }
}

/// The half of the report data that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportDataPart {
    /// Bytes 0 to 31: which pod, keys, models and policy.
    Binding,
    /// Bytes 32 to 63: which request.
    Nonce,
}

impl fmt::Display for ReportDataPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binding => "binding (bytes 0-31)",
            Self::Nonce => "nonce (bytes 32-63)",
        })
    }
}

/// Why evidence is refused: one variant per reason, with what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The quote is over the policy's size limit.
    #[error("the quote has {got} bytes, more than the limit of {max}")]
    QuoteTooLarge {
        /// Size of the quote in bytes.
        got: usize,
        /// [`Policy::quote_max_bytes`](super::Policy::quote_max_bytes).
        max: usize,
    },
    /// Bytes are missing or left over.
    #[error("the quote has {got} bytes, but its own lengths add up to {declared}")]
    QuoteLength {
        /// Size of the quote in bytes.
        got: usize,
        /// What its length fields declare.
        declared: usize,
    },
    /// The quote's inner structure is wrong.
    #[error("the quote is malformed: {detail}")]
    QuoteMalformed {
        /// What is wrong.
        detail: String,
    },
    /// Neither SGX v3 nor TDX v4 or v5.
    #[error(
        "quote version {version} for TEE type {tee_type:#x} is not supported; use SGX v3 or TDX"
    )]
    QuoteTypeUnsupported {
        /// Version in the header.
        version: u16,
        /// TEE type in the header: 0 is SGX, 0x81 is TDX.
        tee_type: u32,
    },
    /// The quote does not carry its PCK certificates.
    #[error(
        "the quote carries certification data of type {certification_type}, not a PCK chain (5)"
    )]
    NoCertificateChain {
        /// Certification data type in the quote.
        certification_type: u16,
    },
    /// The collateral brings a PCK chain that is not the quote's.
    #[error("the collateral brings a PCK certificate chain that differs from the quote's own")]
    ForeignCertificateChain,
    /// A collateral item cannot be read.
    #[error("the {item} cannot be read: {detail}")]
    CollateralMalformed {
        /// Which item.
        item: CollateralItem,
        /// What is wrong.
        detail: String,
    },
    /// A collateral item is from the future.
    #[error("the {item} is valid from unix time {issued_at_unix_s}, later than now ({now_unix_s})")]
    CollateralNotYetValid {
        /// Which item.
        item: CollateralItem,
        /// Its issue date.
        issued_at_unix_s: u64,
        /// The time of the verification.
        now_unix_s: u64,
    },
    /// A collateral item is too old.
    #[error("the {item} expired at unix time {next_update_unix_s}, and now is {now_unix_s}")]
    CollateralExpired {
        /// Which item.
        item: CollateralItem,
        /// First second at which it is no longer valid.
        next_update_unix_s: u64,
        /// The time of the verification.
        now_unix_s: u64,
    },
    /// The evidence chains to another root.
    #[error("the evidence is not signed under {trusted} (SHA-256 {})", hex::encode(trusted_sha256))]
    UntrustedRoot {
        /// The kind of root that the policy pins.
        trusted: RootKind,
        /// SHA-256 of the pinned root certificate.
        trusted_sha256: [u8; 32],
        /// SHA-256 of the last certificate of the quote's chain, if it has one.
        got_sha256: Option<[u8; 32]>,
    },
    /// Certificates do not chain, or one is malformed.
    #[error("a certificate chain is invalid: {detail}")]
    CertificateChainInvalid {
        /// What the path validator found.
        detail: String,
    },
    /// A certificate is on a revocation list.
    #[error("certificate `{subject}` with serial {} is revoked", hex::encode(serial))]
    CertificateRevoked {
        /// Its subject name.
        subject: String,
        /// Its serial number, big-endian.
        serial: Vec<u8>,
    },
    /// No revocation list covers a certificate.
    #[error("no revocation list in the collateral covers every certificate")]
    RevocationUnknown,
    /// A collateral item's signature is wrong.
    #[error("the signature of the {item} is invalid")]
    CollateralSignature {
        /// Which item.
        item: CollateralItem,
    },
    /// The quoting enclave is not the one that the collateral names, or is not rated.
    #[error("the quoting enclave does not match its identity: {detail}")]
    QeIdentity {
        /// Which field, with both values.
        detail: String,
    },
    /// The platform's certificate did not sign the quoting enclave's report.
    #[error("the PCK certificate did not sign the quoting enclave's report")]
    QeReportSignature,
    /// The quoting enclave did not vouch for the attestation key.
    #[error("the quoting enclave's report does not name the quote's attestation key")]
    AttestationKeyNotBound,
    /// The attestation key did not sign the quote.
    #[error("the attestation key did not sign this quote")]
    QuoteSignature,
    /// The enclave or trust domain can be debugged.
    #[error("the program runs in debug mode (attributes {attributes}), so nothing in it is secret")]
    DebugEnabled {
        /// The attributes in hex.
        attributes: String,
    },
    /// The enclave may use keys that only Intel's own enclaves need.
    #[error("the enclave may use the provisioning or launch-token key (attributes {attributes})")]
    PrivilegedKeys {
        /// The attributes in hex.
        attributes: String,
    },
    /// A TDX attribute (migration, profiling, service TDs…) is refused.
    #[error("the trust domain's attributes are refused: {detail}")]
    TdAttributes {
        /// Which one.
        detail: String,
    },
    /// The TCB information is for another kind of platform.
    #[error("the TCB information is for another platform: {detail}")]
    CollateralForOtherPlatform {
        /// In what it differs.
        detail: String,
    },
    /// No TCB level covers the platform's firmware.
    #[error("the TCB information has no level for the platform's firmware versions")]
    NoTcbLevel,
    /// The TDX module is of an unknown version or below every level of its version.
    #[error("the TCB information has no level for the TDX module: {detail}")]
    NoTdxModuleLevel {
        /// Which version.
        detail: String,
    },
    /// The TDX module is signed by somebody else or has other attributes.
    #[error("the TDX module is not the one that the TCB information names: {detail}")]
    WrongTdxModule {
        /// Which field, with both values.
        detail: String,
    },
    /// The platform's keys are revoked.
    #[error("the platform's TCB is revoked")]
    TcbRevoked,
    /// The firmware's status is not accepted.
    #[error(
        "the TCB status of the {component} is {got} ({}), and the policy accepts {}",
        list(advisory_ids, "no advisories"),
        list(accepted, "nothing")
    )]
    TcbStatusNotAccepted {
        /// What the status is about.
        component: TcbComponent,
        /// The status.
        got: TcbStatus,
        /// Every advisory that applies.
        advisory_ids: Vec<String>,
        /// The statuses that the policy accepts.
        accepted: Vec<TcbStatus>,
    },
    /// The status is accepted, but not with this advisory.
    #[error(
        "advisory {got} applies, and the policy accepts {status} with {} only",
        list(accepted, "none")
    )]
    AdvisoryNotAccepted {
        /// The accepted status.
        status: TcbStatus,
        /// The first advisory that is not listed.
        got: String,
        /// The advisories that the policy accepts with the status.
        accepted: Vec<String>,
    },
    /// The collateral is older than one that was seen before.
    #[error("the TCB evaluation number is {got}, below {min}, which was seen before")]
    TcbEvaluationNumber {
        /// The lower number of TCB information and QE identity.
        got: u32,
        /// [`Policy::tcb_evaluation_number_min`](super::Policy::tcb_evaluation_number_min).
        min: u32,
    },
    /// The enclave's code is not on the list.
    #[error("the program's measurement is {}, which is none of the {} approved", hex::encode(got), accepted.len())]
    MeasurementNotAccepted {
        /// MRENCLAVE, or the digest of a trust domain's registers.
        got: [u8; 32],
        /// The policy's list.
        accepted: Vec<[u8; 32]>,
    },
    /// The quote is for something else.
    #[error("the report data's {part} is {}, expected {}", hex::encode(got), hex::encode(expected))]
    ReportData {
        /// The first half that differs.
        part: ReportDataPart,
        /// What the quote has there.
        got: [u8; 32],
        /// What it must have.
        expected: [u8; 32],
    },
    /// The quote is from another machine.
    #[error("the machine is {}, registered is {}", hex::encode(got), hex::encode(expected))]
    MachineIdentity {
        /// PPID of the quote's PCK certificate.
        got: Vec<u8>,
        /// PPID that the pod registered.
        expected: Vec<u8>,
    },
    /// The platform's certificate has a machine identity of the wrong length.
    #[error("the machine identity has {got} bytes, not {expected}")]
    MachineIdentityLength {
        /// Length of the PPID in bytes.
        got: usize,
        /// [`MACHINE_IDENTITY_BYTES`](super::MACHINE_IDENTITY_BYTES).
        expected: usize,
    },
    /// The verifier refused for a reason that has no variant of its own.
    #[error("the verifier refused the evidence: {detail}")]
    Other {
        /// The verifier's words.
        detail: String,
    },
}

impl Rejection {
    /// The check that failed.
    pub fn check(&self) -> CheckName {
        match self {
            Self::QuoteTooLarge { .. } | Self::QuoteLength { .. } | Self::QuoteMalformed { .. } => {
                CheckName::ExactLength
            }
            Self::QuoteTypeUnsupported { .. } => CheckName::QuoteType,
            Self::NoCertificateChain { .. } | Self::ForeignCertificateChain => {
                CheckName::OwnCertificates
            }
            Self::CollateralMalformed { .. }
            | Self::CollateralNotYetValid { .. }
            | Self::CollateralExpired { .. } => CheckName::CollateralFresh,
            Self::UntrustedRoot { .. } | Self::CertificateChainInvalid { .. } => {
                CheckName::CertificateChain
            }
            Self::CertificateRevoked { .. } | Self::RevocationUnknown => CheckName::Revocation,
            Self::CollateralSignature { .. } => CheckName::CollateralSignature,
            Self::QeIdentity { .. } => CheckName::QeIdentity,
            Self::QeReportSignature
            | Self::AttestationKeyNotBound
            | Self::QuoteSignature
            | Self::Other { .. } => CheckName::QuoteSignature,
            Self::DebugEnabled { .. } | Self::PrivilegedKeys { .. } | Self::TdAttributes { .. } => {
                CheckName::DebugOff
            }
            Self::CollateralForOtherPlatform { .. }
            | Self::NoTcbLevel
            | Self::NoTdxModuleLevel { .. }
            | Self::WrongTdxModule { .. }
            | Self::TcbRevoked
            | Self::TcbStatusNotAccepted { .. }
            | Self::AdvisoryNotAccepted { .. } => CheckName::TcbStatus,
            Self::TcbEvaluationNumber { .. } => CheckName::TcbEvaluationNumber,
            Self::MeasurementNotAccepted { .. } => CheckName::Measurement,
            Self::ReportData { .. } => CheckName::ReportData,
            Self::MachineIdentity { .. } | Self::MachineIdentityLength { .. } => {
                CheckName::MachineIdentity
            }
        }
    }
}

fn list(items: &[impl ToString], none: &str) -> String {
    if items.is_empty() {
        return none.to_owned();
    }
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

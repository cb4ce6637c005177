//! Why a platform cannot back a pod, in words for its operator: what it is, the facts, what to do.
//!
//! A reason is the same whoever found it: this host, which judges its own evidence before it sends
//! anything, or the contract.

use std::fmt;

use phallama_attest::{CollateralItem, Evidence, Rejection, RootKind, TcbComponent, TcbStatus};
use phallama_chain::{ChainError, MachineHolder};
use phallama_protocol::ids::{Digest32, PodId};

use crate::collateral::{CollateralError, CollateralSet, Fault, Item, Wanted};

/// A platform, its quote or its collateral was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of reason it is.
    pub kind: RefusalKind,
    /// What was found, with labels.
    pub facts: Vec<(&'static str, String)>,
    /// Who refused.
    pub by: RefusedBy,
}

/// Who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// This host, before it sent anything.
    Host,
    /// This host, after the pod was listed, which the pod must be before it can agree to anything.
    HostAfterListing,
    /// A contract, asked to do this.
    Contract {
        /// The call.
        call: &'static str,
    },
}

/// Kinds of reasons, each with words and a remedy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// Debug mode.
    Debug,
    /// Attributes that only Intel's own enclaves need.
    PrivilegedKeys,
    /// Attributes of a trust domain.
    TdAttributes,
    /// Firmware is out of date.
    FirmwareOutOfDate,
    /// The quoting enclave is out of date.
    QuotingEnclaveOutOfDate,
    /// A trust domain was launched before its platform was updated.
    RelaunchNeeded,
    /// Firmware below every level.
    FirmwareUnknown,
    /// The TDX module is out of date or unknown.
    TdxModule,
    /// Intel no longer vouches for the firmware.
    FirmwareRevoked,
    /// Intel has revoked a certificate.
    CertificateRevoked,
    /// Intel publishes nothing about this processor family.
    UnknownProcessor,
    /// The quote has no PCK certificates.
    NoCertificates,
    /// Collateral is too old.
    CollateralExpired,
    /// Collateral is not to be had.
    CollateralUnavailable,
    /// A simulated platform, and a registry for real ones.
    SimulatedOnIntel,
    /// A real platform, and a registry for simulated ones.
    IntelOnSimulated,
    /// Another root altogether.
    OtherRoot,
    /// The quote is not for this pod.
    NotBound,
    /// The machine backs another pod.
    MachineTaken,
    /// Not Intel's quoting enclave, or its signatures do not hold.
    NotGenuine,
    /// The quote or a certificate has an unexpected form.
    Malformed,
    /// None of the above.
    Other,
}

/// Intel's name of a status is longer than this column.
const LABEL_WIDTH: usize = 12;

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.kind.headline())?;
        for (label, value) in &self.facts {
            writeln!(f, "  {label:<LABEL_WIDTH$}{value}")?;
        }
        match self.by {
            RefusedBy::Host => f.write_str("  Nothing was sent; the pod's key was not registered."),
            RefusedBy::HostAfterListing => {
                f.write_str("  The pod is listed without a key, so clients skip it.")
            }
            RefusedBy::Contract { call } => {
                write!(f, "  The contract refused `{call}`; the pod's key was not registered.")
            }
        }
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    pub(crate) fn by_host(kind: RefusalKind, facts: Vec<(&'static str, String)>) -> Self {
        Self { kind, facts, by: RefusedBy::Host }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        if self.kind == RefusalKind::MachineTaken
            && let (Some(machine), Some(pod)) = (self.fact("machine"), self.fact("this pod"))
        {
            return format!(
                "If both pods are yours, run `phallama pod share-machine {machine} --pod {pod}`, \
                 and the same with the other pod's id"
            );
        }
        self.kind.hint().to_owned()
    }

    fn fact(&self, label: &str) -> Option<&str> {
        self.facts.iter().find(|(name, _)| *name == label).map(|(_, value)| value.as_str())
    }
}

impl RefusalKind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Debug,
        Self::PrivilegedKeys,
        Self::TdAttributes,
        Self::FirmwareOutOfDate,
        Self::QuotingEnclaveOutOfDate,
        Self::RelaunchNeeded,
        Self::FirmwareUnknown,
        Self::TdxModule,
        Self::FirmwareRevoked,
        Self::CertificateRevoked,
        Self::UnknownProcessor,
        Self::NoCertificates,
        Self::CollateralExpired,
        Self::CollateralUnavailable,
        Self::SimulatedOnIntel,
        Self::IntelOnSimulated,
        Self::OtherRoot,
        Self::NotBound,
        Self::MachineTaken,
        Self::NotGenuine,
        Self::Malformed,
        Self::Other,
    ];

    fn headline(self) -> &'static str {
        match self {
            Self::Debug => "the enclave runs in debug mode, so nothing in it is secret",
            Self::PrivilegedKeys => "the enclave may use keys that only Intel's own enclaves need",
            Self::TdAttributes => "the trust domain was started with attributes that are refused",
            Self::FirmwareOutOfDate => "the machine's firmware is out of date",
            Self::QuotingEnclaveOutOfDate => "the machine's quoting enclave is out of date",
            Self::RelaunchNeeded => {
                "the trust domain was started before its machine was brought up to date"
            }
            Self::FirmwareUnknown => "the machine's firmware is older than any that Intel rates",
            Self::TdxModule => "the machine's TDX module is out of date or not Intel's",
            Self::FirmwareRevoked => "Intel no longer vouches for the machine's firmware",
            Self::CertificateRevoked => "Intel has revoked a certificate of the machine",
            Self::UnknownProcessor => "Intel publishes nothing about this processor family",
            Self::NoCertificates => "the quote does not carry the machine's PCK certificates",
            Self::CollateralExpired => "the collateral has expired",
            Self::CollateralUnavailable => "there is no collateral for this machine",
            Self::SimulatedOnIntel => {
                "the TEE is simulated, and the registry takes quotes of real machines only"
            }
            Self::IntelOnSimulated => {
                "the registry is a development deployment, which takes simulated quotes only"
            }
            Self::OtherRoot => "the quote chains to another root than the registry trusts",
            Self::NotBound => "the quote is for another pod, key, model set or policy",
            Self::MachineTaken => "this machine backs another pod",
            Self::NotGenuine => "the quote's signatures or its quoting enclave are not genuine",
            Self::Malformed => "the quote or its collateral has an unexpected form",
            Self::Other => "the quote was refused",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Debug => {
                "Build the enclave without debug (Gramine: `sgx.debug = false`), or start the \
                 trust domain without it"
            }
            Self::PrivilegedKeys => {
                "Sign the enclave without the provisioning-key and launch-token attributes"
            }
            Self::TdAttributes => {
                "Start the trust domain with SEPT_VE_DISABLE, and without debug, profiling, \
                 migration and service trust domains"
            }
            Self::FirmwareOutOfDate | Self::FirmwareUnknown | Self::FirmwareRevoked => {
                "Update the BIOS, which brings microcode and firmware, restart the machine, have it \
                 registered with Intel again (`mpa_manage`), and start the pod again"
            }
            Self::QuotingEnclaveOutOfDate => {
                "Update Intel's DCAP packages (`libsgx-ae-qe3` or `libsgx-ae-tdqe`), restart their \
                 service, and start the pod again"
            }
            Self::RelaunchNeeded => "Stop the trust domain and start it again",
            Self::TdxModule => {
                "Update the machine's TDX module, usually with its BIOS, and restart"
            }
            Self::CertificateRevoked => {
                "This machine cannot back a pod, unless Intel issues it a new certificate"
            }
            Self::UnknownProcessor => {
                "Check that the processor is a production part that supports this TEE, and that the \
                 collateral service is Intel's or caches it"
            }
            Self::NoCertificates => {
                "Set up a PCCS for the quoting library (`pccs_url` in /etc/sgx_default_qcnl.conf), \
                 so that it finds them, and start the pod again"
            }
            Self::CollateralExpired | Self::CollateralUnavailable => {
                "Name a collateral service that works, e.g. \
                 `phallama pod up --pccs https://api.trustedservices.intel.com`"
            }
            Self::SimulatedOnIntel => {
                "Run the pod on a machine with SGX or TDX, or use a development chain \
                 (`phallama chain up`)"
            }
            Self::IntelOnSimulated | Self::OtherRoot => {
                "Name another deployment in `[chain]` of config.toml: one whose verifier pins the \
                 root of this machine's certificates"
            }
            Self::NotBound => {
                "Start the pod again; if that does not help, the enclave program is not the one \
                 that belongs to this version"
            }
            Self::MachineTaken => "Wait until that pod's key has expired, or use another machine",
            Self::NotGenuine | Self::Malformed | Self::Other => {
                "Run `phallama pod check` on the pod's evidence for every check in detail"
            }
        }
    }
}

/// One labelled fact.
fn fact(label: &'static str, value: impl ToString) -> (&'static str, String) {
    (label, value.to_string())
}

fn list(ids: &[String]) -> String {
    if ids.is_empty() { "none named".to_owned() } else { ids.join(", ") }
}

/// An hour that people can read, of seconds since 1970 (UTC).
fn date(unix_s: u64) -> String {
    match x509_cert::der::DateTime::from_unix_duration(std::time::Duration::from_secs(unix_s)) {
        Ok(date) => date.to_string(),
        Err(_) => format!("unix time {unix_s}"),
    }
}

impl From<&Rejection> for Refusal {
    fn from(rejection: &Rejection) -> Self {
        let (kind, facts) = of_rejection(rejection);
        Self::by_host(kind, facts)
    }
}

fn of_rejection(rejection: &Rejection) -> (RefusalKind, Vec<(&'static str, String)>) {
    use RefusalKind as Kind;
    match rejection {
        Rejection::DebugEnabled { attributes } => {
            (Kind::Debug, vec![fact("attributes", attributes)])
        }
        Rejection::PrivilegedKeys { attributes } => {
            (Kind::PrivilegedKeys, vec![fact("attributes", attributes)])
        }
        Rejection::TdAttributes { detail } => (Kind::TdAttributes, vec![fact("found", detail)]),
        Rejection::TcbStatusNotAccepted { component, got, advisory_ids, .. } => {
            outdated(*component, *got, advisory_ids)
        }
        Rejection::NoTcbLevel => (Kind::FirmwareUnknown, Vec::new()),
        Rejection::NoTdxModuleLevel { detail } | Rejection::WrongTdxModule { detail } => {
            (Kind::TdxModule, vec![fact("found", detail)])
        }
        Rejection::QeIdentity { detail } if detail.contains("TCB level") => {
            (Kind::QuotingEnclaveOutOfDate, vec![fact("found", detail)])
        }
        Rejection::TcbRevoked => (Kind::FirmwareRevoked, Vec::new()),
        Rejection::CertificateRevoked { subject, serial } => {
            let facts = vec![fact("certificate", subject), fact("serial", hex::encode(serial))];
            (Kind::CertificateRevoked, facts)
        }
        Rejection::NoCertificateChain { certification_type } => {
            let carries = format!("certification data of type {certification_type}, not 5");
            (Kind::NoCertificates, vec![fact("carries", carries)])
        }
        Rejection::CollateralExpired { item, next_update_unix_s, now_unix_s } => {
            (Kind::CollateralExpired, expired(*item, *next_update_unix_s, *now_unix_s))
        }
        Rejection::UntrustedRoot { trusted, trusted_sha256, got_sha256 } => {
            other_root(*trusted, trusted_sha256, got_sha256.as_ref())
        }
        Rejection::ReportData { part, got, expected } => (
            Kind::NotBound,
            vec![
                fact("part", part),
                fact("quote", hex::encode(got)),
                fact("this pod", hex::encode(expected)),
            ],
        ),
        Rejection::QeIdentity { .. }
        | Rejection::QeReportSignature
        | Rejection::AttestationKeyNotBound
        | Rejection::QuoteSignature
        | Rejection::CollateralSignature { .. }
        | Rejection::CertificateChainInvalid { .. } => {
            (Kind::NotGenuine, vec![fact("found", rejection)])
        }
        Rejection::QuoteTooLarge { .. }
        | Rejection::QuoteLength { .. }
        | Rejection::QuoteMalformed { .. }
        | Rejection::QuoteTypeUnsupported { .. }
        | Rejection::CollateralMalformed { .. }
        | Rejection::ForeignCertificateChain => (Kind::Malformed, vec![fact("found", rejection)]),
        _ => (Kind::Other, vec![fact("found", rejection)]),
    }
}

fn outdated(
    component: TcbComponent,
    status: TcbStatus,
    advisory_ids: &[String],
) -> (RefusalKind, Vec<(&'static str, String)>) {
    use RefusalKind as Kind;
    let kind = match (status, component) {
        (TcbStatus::Revoked, _) => Kind::FirmwareRevoked,
        (TcbStatus::TDRelaunchAdvised | TcbStatus::TDRelaunchAdvisedConfigurationNeeded, _) => {
            Kind::RelaunchNeeded
        }
        (_, TcbComponent::QuotingEnclave) => Kind::QuotingEnclaveOutOfDate,
        _ => Kind::FirmwareOutOfDate,
    };
    (kind, vec![fact("status", status), fact("advisories", list(advisory_ids))])
}

fn expired(item: CollateralItem, end_unix_s: u64, now_unix_s: u64) -> Vec<(&'static str, String)> {
    vec![fact("item", item), fact("expired", date(end_unix_s)), fact("now", date(now_unix_s))]
}

fn other_root(
    trusted: RootKind,
    trusted_sha256: &[u8; 32],
    got_sha256: Option<&[u8; 32]>,
) -> (RefusalKind, Vec<(&'static str, String)>) {
    let intel = phallama_attest::TrustRoot::Intel.sha256();
    let kind = match trusted {
        RootKind::Development if got_sha256 == Some(&intel) => RefusalKind::IntelOnSimulated,
        RootKind::Intel if got_sha256 == Some(&DEVELOPMENT_ROOT_SHA256) => {
            RefusalKind::SimulatedOnIntel
        }
        _ => RefusalKind::OtherRoot,
    };
    let got = got_sha256.map_or_else(|| "no certificate".to_owned(), hex::encode);
    (kind, vec![fact("registry", hex::encode(trusted_sha256)), fact("quote", got)])
}

/// SHA-256 of the root certificate that development networks share (spec/attestation.md).
const DEVELOPMENT_ROOT_SHA256: [u8; 32] = [
    0x7c, 0xb1, 0x55, 0xb8, 0xf8, 0xe8, 0xe1, 0x32, 0x14, 0x0d, 0x85, 0xed, 0x7a, 0x73, 0xba, 0x1c,
    0xdc, 0xf2, 0x01, 0x8f, 0xad, 0x19, 0x9c, 0x02, 0x4d, 0xff, 0xd7, 0x40, 0x98, 0x6e, 0x2f, 0x2a,
];

impl From<&CollateralError> for Refusal {
    fn from(error: &CollateralError) -> Self {
        let (item, tried, end) = match error {
            CollateralError::Expired { item, next_update_unix_s, tried } => {
                (*item, tried, Some(*next_update_unix_s))
            }
            CollateralError::Unavailable { item, tried } => (*item, tried, None),
        };
        let unknown = item == Item::TcbInfo
            && !tried.0.is_empty()
            && tried.0.iter().all(|(_, fault)| *fault == Fault::Status { status: 404 });
        let kind = match end {
            Some(_) => RefusalKind::CollateralExpired,
            None if unknown => RefusalKind::UnknownProcessor,
            None => RefusalKind::CollateralUnavailable,
        };
        let mut facts = vec![fact("item", item)];
        facts.extend(end.map(|end_unix_s| fact("expired", date(end_unix_s))));
        facts.extend(tried.0.iter().map(|(url, fault)| fact("asked", format!("{url} {fault}"))));
        if tried.0.is_empty() {
            facts.push(fact("asked", "no service is configured"));
        }
        Self::by_host(kind, facts)
    }
}

impl CollateralSet {
    /// The set that comes with `evidence`.
    ///
    /// # Errors
    /// [`Refusal`] with the first item that is not good.
    pub(super) fn of_evidence(
        evidence: &Evidence,
        wanted: &Wanted,
        now_unix_s: u64,
    ) -> Result<Self, Refusal> {
        Self::from_evidence(&evidence.collateral, wanted, now_unix_s)
            .map_err(|(item, fault)| of_document(item, &fault))
    }
}

fn of_document(item: Item, fault: &Fault) -> Refusal {
    let kind = match fault {
        Fault::Expired { .. } => RefusalKind::CollateralExpired,
        Fault::BadSignature { .. } => RefusalKind::NotGenuine,
        Fault::OtherRoot { .. } => RefusalKind::OtherRoot,
        _ => RefusalKind::CollateralUnavailable,
    };
    let found = format!("the evidence document {fault}");
    Refusal::by_host(kind, vec![fact("item", item), fact("found", found)])
}

/// The machine backs another pod, and not both agreed to share it.
pub(crate) fn machine_taken(
    machine: Digest32,
    pod: PodId,
    holder: &MachineHolder,
    other: Option<PodId>,
) -> Refusal {
    let prefix = || format!("0x{}…", hex::encode(holder.pod_prefix));
    let facts = vec![
        fact("machine", machine),
        fact("this pod", pod),
        fact("other pod", other.map_or_else(prefix, |other| other.to_string())),
        fact("until", date(holder.until_unix_s)),
    ];
    Refusal { kind: RefusalKind::MachineTaken, facts, by: RefusedBy::HostAfterListing }
}

/// What a contract's error means for the operator, if it is about the platform.
pub(crate) fn of_contract(error: &ChainError) -> Option<Refusal> {
    use RefusalKind as Kind;
    let ChainError::Reverted { what: call, reason } = error else { return None };
    let kind = match error.refusal()? {
        "StatusNotAccepted" => Kind::FirmwareOutOfDate,
        "NoTcbLevel" => Kind::FirmwareUnknown,
        "NoQeLevel" => Kind::QuotingEnclaveOutOfDate,
        "NoTdxModuleLevel" | "WrongTdxModule" => Kind::TdxModule,
        "TcbRevoked" => Kind::FirmwareRevoked,
        "Revoked" => Kind::CertificateRevoked,
        "Missing" => Kind::CollateralUnavailable,
        "NotValidNow" => Kind::CollateralExpired,
        "UnknownCa" | "UnknownSigner" => Kind::OtherRoot,
        "WrongReportData" | "ZeroIdentity" => Kind::NotBound,
        "MachineTaken" => Kind::MachineTaken,
        "ForbiddenAttributes" | "BoundToServiceTd" => Kind::TdAttributes,
        "BadSignature" | "AttestationKeyNotBound" | "WrongQuotingEnclave" => Kind::NotGenuine,
        "BadDer" | "BadCertificate" | "BadJson" | "BadLength" | "UnsupportedQuote"
        | "WrongIssuer" => Kind::Malformed,
        _ => return None,
    };
    let facts = vec![fact("reason", reason)];
    Some(Refusal { kind, facts, by: RefusedBy::Contract { call } })
}

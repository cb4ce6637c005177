//! The verdict about a pod: named checks, each with its state and with whose word it rests on.

use std::fmt;

use phallama_attest::{CheckName, CheckState, Rejection};
use phallama_chain::TeeKind;
use phallama_protocol::ids::PodId;
use serde::Serialize;

/// Whose word a pass rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VouchedBy {
    /// The maker of the hardware, through signatures under the pinned root.
    Hardware,
    /// This program's own arithmetic on the bytes it was given.
    Verifier,
    /// The contracts, as the configured chain endpoint reports them.
    Chain,
    /// The file that is audited: what it says the contracts said.
    File,
    /// The pod's operator.
    Operator,
}

/// One line of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable id, e.g. `quote-signature`.
    pub name: &'static str,
    /// Pass, fail or skip; a skip is never a pass.
    pub state: CheckState,
    /// Whose word it rests on.
    pub vouched_by: VouchedBy,
    /// Values seen, or why it was skipped.
    pub detail: String,
}

/// The client's own checks, beside those of the quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    ChainRoot,
    ChainRecord,
    BundleSignature,
    BundleMatchesChain,
    BundleWindow,
    ModelSet,
    EvidenceFormat,
    EvidencePinned,
    Policy,
    QuotedMeasurement,
    OnChainQuote,
    ChainTcbStatus,
    MachineIdentity,
}

impl Name {
    /// Before the quote's own checks.
    const BEFORE: [Self; 8] = [
        Self::ChainRoot,
        Self::ChainRecord,
        Self::BundleSignature,
        Self::BundleMatchesChain,
        Self::BundleWindow,
        Self::ModelSet,
        Self::EvidenceFormat,
        Self::EvidencePinned,
    ];
    /// After them. The machine stands here and not among the quote's: the chain says whose it is.
    const AFTER: [Self; 4] =
        [Self::QuotedMeasurement, Self::OnChainQuote, Self::ChainTcbStatus, Self::MachineIdentity];
    /// Two readings of a pod that renews its key in between differ here, and only here.
    const OF_TWO_MOMENTS: [Self; 5] = [
        Self::BundleMatchesChain,
        Self::EvidencePinned,
        Self::QuotedMeasurement,
        Self::OnChainQuote,
        Self::MachineIdentity,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ChainRoot => "chain-root",
            Self::ChainRecord => "chain-record",
            Self::BundleSignature => "bundle-signature",
            Self::BundleMatchesChain => "bundle-matches-chain",
            Self::BundleWindow => "bundle-window",
            Self::ModelSet => "model-set",
            Self::EvidenceFormat => "evidence-format",
            Self::EvidencePinned => "evidence-pinned",
            Self::Policy => "policy",
            Self::QuotedMeasurement => "quoted-measurement",
            Self::OnChainQuote => "on-chain-quote-verification",
            Self::ChainTcbStatus => "chain-tcb-status",
            Self::MachineIdentity => CheckName::MachineIdentity.as_str(),
        }
    }

    fn vouched_by(self, record: VouchedBy) -> VouchedBy {
        match self {
            Self::ChainRoot
            | Self::ChainRecord
            | Self::BundleMatchesChain
            | Self::OnChainQuote
            | Self::ChainTcbStatus
            | Self::MachineIdentity => record,
            Self::BundleSignature
            | Self::BundleWindow
            | Self::ModelSet
            | Self::EvidenceFormat
            | Self::EvidencePinned => VouchedBy::Verifier,
            Self::Policy | Self::QuotedMeasurement => VouchedBy::Hardware,
        }
    }
}

/// The checks made so far; what was not reached becomes a skip.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    /// Whose word the chain record is: the chain's, or a file's.
    record: VouchedBy,
    own: Vec<(Name, CheckState, String)>,
    quote: Vec<phallama_attest::Check>,
}

impl Transcript {
    pub(crate) fn new(record: VouchedBy) -> Self {
        Self { record, own: Vec::new(), quote: Vec::new() }
    }

    pub(crate) fn pass(&mut self, name: Name, detail: impl Into<String>) {
        self.own.push((name, CheckState::Pass, detail.into()));
    }

    pub(crate) fn fail(&mut self, name: Name, detail: impl Into<String>) {
        self.own.push((name, CheckState::Fail, detail.into()));
    }

    pub(crate) fn skip(&mut self, name: Name, detail: impl Into<String>) {
        self.own.push((name, CheckState::Skip, detail.into()));
    }

    pub(crate) fn quote(&mut self, checks: &[phallama_attest::Check]) {
        self.quote = checks.to_vec();
    }

    /// Every check in the order of the table.
    pub(crate) fn complete(&self) -> Vec<Check> {
        let mut lines: Vec<Check> = Name::BEFORE.map(|name| self.own_line(name)).into();
        lines.extend(self.quote_lines());
        // The report data is what binds the policy into the quote.
        lines.push(self.own_line(Name::Policy));
        lines.extend(Name::AFTER.map(|name| self.own_line(name)));
        lines
    }

    fn own_line(&self, name: Name) -> Check {
        let made = self.own.iter().find(|(made, _, _)| *made == name);
        let (state, detail) = made.map_or_else(
            || (CheckState::Skip, "not reached".to_owned()),
            |(_, state, detail)| (*state, detail.clone()),
        );
        let vouched_by = name.vouched_by(self.record);
        Check { name: name.as_str(), state, vouched_by, detail }
    }

    fn quote_lines(&self) -> impl Iterator<Item = Check> {
        let line = |name: CheckName| {
            let made = self.quote.iter().find(|check| check.name == name);
            Check {
                name: name.as_str(),
                state: made.map_or(CheckState::Skip, |check| check.state),
                vouched_by: from_attest(name.vouched_by()),
                detail: made.map_or_else(|| "not reached".to_owned(), |check| check.detail.clone()),
            }
        };
        let machine = CheckName::MachineIdentity;
        CheckName::ALL.into_iter().filter(move |name| *name != machine).map(line)
    }
}

fn from_attest(vouched_by: phallama_attest::VouchedBy) -> VouchedBy {
    match vouched_by {
        phallama_attest::VouchedBy::Hardware => VouchedBy::Hardware,
        phallama_attest::VouchedBy::Verifier => VouchedBy::Verifier,
        phallama_attest::VouchedBy::Operator => VouchedBy::Operator,
    }
}

/// A pod that did not prove what it has to prove. No prompt was sent to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The pod.
    pub pod: PodId,
    /// Its base URL, as registered.
    pub url: String,
    /// What the chain record says that the pod runs in; `None` without a key.
    pub tee: Option<TeeKind>,
    /// Every check in table order: exactly one failed, those after it are skips.
    pub checks: Vec<Check>,
    /// The quote's fault in typed form, when a check of the quote failed.
    pub rejection: Option<Rejection>,
}

impl Refusal {
    /// The check that failed.
    pub fn failed(&self) -> &Check {
        self.checks
            .iter()
            .find(|check| check.state == CheckState::Fail)
            .expect("a refusal is only made after a check failed")
    }

    /// Name and facts of the check that failed.
    pub fn reason(&self) -> String {
        let failed = self.failed();
        format!("{}: {}", failed.name, failed.detail)
    }

    /// Whether a file was judged, and not the chain's word.
    pub(crate) fn is_of_a_file(&self) -> bool {
        self.checks.iter().any(|check| check.vouched_by == VouchedBy::File)
    }

    /// Whether an honest pod that is just renewing its key can look like this for a moment.
    pub(crate) fn may_be_of_two_moments(&self) -> bool {
        let failed = self.failed().name;
        Name::OF_TWO_MOMENTS.into_iter().any(|name| name.as_str() == failed)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (no prompt was sent)", self.reason())
    }
}

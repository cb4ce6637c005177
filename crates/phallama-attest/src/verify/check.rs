use std::fmt;

use serde::{Serialize, Serializer};

/// One question the verifier asks. The text form is stable: tables and JSON use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckName {
    /// `exact-length`: the quote is within the size limit, with no byte missing and none left over.
    ExactLength,
    /// `quote-type`: SGX v3, TDX v4 or TDX v5.
    QuoteType,
    /// `own-certificates`: the PCK certificate chain is the one inside the quote.
    OwnCertificates,
    /// `collateral-fresh`: now is inside the validity of every collateral item.
    CollateralFresh,
    /// `certificate-chain`: PCK and collateral signers chain to the pinned root.
    CertificateChain,
    /// `revocation`: no certificate is on a revocation list.
    Revocation,
    /// `collateral-signature`: TCB information, QE identity and revocation lists are signed.
    CollateralSignature,
    /// `qe-identity`: the quoting enclave is the one that the collateral names.
    QeIdentity,
    /// `quote-signature`: the platform certified the attestation key, which signed the quote.
    QuoteSignature,
    /// `debug-off`: no debug, provisioning, launch-token or migration attribute.
    DebugOff,
    /// `tcb-status`: the firmware's status and advisories are accepted.
    TcbStatus,
    /// `tcb-evaluation-number`: the collateral is not older than what was seen before.
    TcbEvaluationNumber,
    /// `measurement`: the enclave's code is on the list.
    Measurement,
    /// `report-data`: the quote is for this pod and this nonce.
    ReportData,
    /// `machine-identity`: the machine is the registered one.
    MachineIdentity,
}

impl CheckName {
    /// Every check, in the order in which tables show them.
    pub const ALL: [Self; 15] = [
        Self::ExactLength,
        Self::QuoteType,
        Self::OwnCertificates,
        Self::CollateralFresh,
        Self::CertificateChain,
        Self::Revocation,
        Self::CollateralSignature,
        Self::QeIdentity,
        Self::QuoteSignature,
        Self::DebugOff,
        Self::TcbStatus,
        Self::TcbEvaluationNumber,
        Self::Measurement,
        Self::ReportData,
        Self::MachineIdentity,
    ];

    /// The stable id, for example `quote-signature`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ExactLength => "exact-length",
            Self::QuoteType => "quote-type",
            Self::OwnCertificates => "own-certificates",
            Self::CollateralFresh => "collateral-fresh",
            Self::CertificateChain => "certificate-chain",
            Self::Revocation => "revocation",
            Self::CollateralSignature => "collateral-signature",
            Self::QeIdentity => "qe-identity",
            Self::QuoteSignature => "quote-signature",
            Self::DebugOff => "debug-off",
            Self::TcbStatus => "tcb-status",
            Self::TcbEvaluationNumber => "tcb-evaluation-number",
            Self::Measurement => "measurement",
            Self::ReportData => "report-data",
            Self::MachineIdentity => "machine-identity",
        }
    }

    /// Whose word a pass rests on.
    pub fn vouched_by(self) -> VouchedBy {
        match self {
            Self::ExactLength
            | Self::QuoteType
            | Self::OwnCertificates
            | Self::CollateralFresh
            | Self::TcbEvaluationNumber => VouchedBy::Verifier,
            Self::CertificateChain
            | Self::Revocation
            | Self::CollateralSignature
            | Self::QeIdentity
            | Self::QuoteSignature
            | Self::DebugOff
            | Self::TcbStatus
            | Self::Measurement
            | Self::ReportData
            | Self::MachineIdentity => VouchedBy::Hardware,
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for CheckName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The answer to one check. A skip is never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// Made, and satisfied.
    Pass,
    /// Made, and not satisfied: the evidence is refused.
    Fail,
    /// Not made: not asked for, not reached, or not known to be complete after a failure.
    Skip,
}

/// Whose word a check rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VouchedBy {
    /// The maker of the hardware, through signatures under the pinned root.
    Hardware,
    /// This program's own arithmetic on the bytes it was given.
    Verifier,
    /// The pod's operator. No check of a quote is; clients add theirs (a region, a name).
    Operator,
}

/// One line of the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was asked.
    pub name: CheckName,
    /// The answer.
    pub state: CheckState,
    /// Whose word it rests on.
    pub vouched_by: VouchedBy,
    /// Facts for a person: values seen, or why it was skipped.
    pub detail: String,
}

/// The checks made so far.
#[derive(Default)]
pub(super) struct Checks(Vec<(CheckName, CheckState, String)>);

impl Checks {
    pub(super) fn pass(&mut self, name: CheckName, detail: impl Into<String>) {
        self.0.push((name, CheckState::Pass, detail.into()));
    }

    pub(super) fn fail(&mut self, name: CheckName, detail: impl Into<String>) {
        self.0.push((name, CheckState::Fail, detail.into()));
    }

    pub(super) fn skip(&mut self, name: CheckName, detail: impl Into<String>) {
        self.0.push((name, CheckState::Skip, detail.into()));
    }

    /// Every check in [`CheckName::ALL`] order; those not made are skips.
    pub(super) fn complete(self) -> Vec<Check> {
        let line = |name: CheckName| {
            // The last word on a check counts: a later step may fail what an earlier one passed.
            let made = self.0.iter().rev().find(|(made, _, _)| *made == name);
            let (state, detail) = made.map_or_else(
                || (CheckState::Skip, "not reached".to_owned()),
                |(_, state, detail)| (*state, detail.clone()),
            );
            Check { name, state, vouched_by: name.vouched_by(), detail }
        };
        CheckName::ALL.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_were_not_made_are_skips() {
        let mut checks = Checks::default();
        checks.pass(CheckName::QuoteType, "SGX v3");
        let complete = checks.complete();
        assert_eq!(complete.len(), CheckName::ALL.len());
        for check in complete {
            let made = check.name == CheckName::QuoteType;
            assert_eq!(check.state, if made { CheckState::Pass } else { CheckState::Skip });
        }
    }

    #[test]
    fn the_last_word_on_a_check_counts() {
        let mut checks = Checks::default();
        checks.pass(CheckName::CollateralFresh, "JSON dates");
        checks.fail(CheckName::CollateralFresh, "a certificate has expired");
        let fresh = checks.complete().into_iter().find(|c| c.name == CheckName::CollateralFresh);
        assert_eq!(fresh.map(|check| check.state), Some(CheckState::Fail));
    }

    #[test]
    fn a_check_serialises_with_stable_ids() {
        let mut checks = Checks::default();
        checks.pass(CheckName::ExactLength, "4600 bytes");
        let json = serde_json::to_string(&checks.complete()[0]).unwrap();
        let expected = r#"{"name":"exact-length","state":"pass","vouched_by":"verifier","#;
        assert_eq!(json, format!(r#"{expected}"detail":"4600 bytes"}}"#));
    }
}

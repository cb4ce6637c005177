//! The verifier. Steps are numbered as in `spec/attestation.md`.

mod check;
pub(crate) mod dcap;
mod freshness;
mod judge;
pub(crate) mod layout;
mod policy;
mod rejection;

use dcap_qvl::QuoteClaims;

use crate::evidence::Evidence;
use crate::tcb_status::TcbStatus;
use crate::tee::Tee;

pub use check::{Check, CheckName, CheckState, VouchedBy};
pub use policy::{
    AcceptedTcb, Expected, MACHINE_IDENTITY_BYTES, Policy, QUOTE_MAX_BYTES, RootKind, TrustRoot,
};
pub use rejection::{CollateralItem, Rejection, ReportDataPart, TcbComponent};

use check::Checks;
use dcap::Step;
use judge::Quoted;

/// Evidence that passed every check. Only [`verify()`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEvidence {
    root: RootKind,
    tee: Tee,
    measurement: [u8; 32],
    mr_signer: Option<[u8; 32]>,
    report_data: [u8; 64],
    tcb_status: TcbStatus,
    advisory_ids: Vec<String>,
    fmspc: [u8; 6],
    machine_identity: [u8; MACHINE_IDENTITY_BYTES],
    tcb_evaluation_number: u32,
    expires_at_unix_s: u64,
    evidence_hash: [u8; 32],
    checks: Vec<Check>,
}

impl VerifiedEvidence {
    /// Which root vouches for the platform; `Development` means a simulated TEE.
    pub fn root(&self) -> RootKind {
        self.root
    }

    /// What made the quote.
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// MRENCLAVE, or [`td_measurement`](crate::td_measurement) of a trust domain.
    pub fn measurement(&self) -> [u8; 32] {
        self.measurement
    }

    /// MRSIGNER of an enclave, 32 bytes. For display: it is never enough to accept an enclave.
    pub fn mr_signer(&self) -> Option<[u8; 32]> {
        self.mr_signer
    }

    /// The report data, 64 bytes, equal to what was expected.
    pub fn report_data(&self) -> [u8; 64] {
        self.report_data
    }

    /// TCB status of platform and quoting enclave together.
    pub fn tcb_status(&self) -> TcbStatus {
        self.tcb_status
    }

    /// Advisories that apply (`INTEL-SA-…`).
    pub fn advisory_ids(&self) -> &[String] {
        &self.advisory_ids
    }

    /// Processor family, 6 bytes.
    pub fn fmspc(&self) -> [u8; 6] {
        self.fmspc
    }

    /// The machine's identity (PPID), 16 bytes.
    pub fn machine_identity(&self) -> [u8; MACHINE_IDENTITY_BYTES] {
        self.machine_identity
    }

    /// TCB evaluation number of the collateral. It is at least the policy's minimum, so it is also
    /// the new minimum to remember: remembered numbers only grow.
    pub fn tcb_evaluation_number(&self) -> u32 {
        self.tcb_evaluation_number
    }

    /// First second (since 1970) at which some collateral or certificate is no longer valid.
    pub fn expires_at_unix_s(&self) -> u64 {
        self.expires_at_unix_s
    }

    /// SHA-256 of the raw quote; see [`Evidence::hash`].
    pub fn evidence_hash(&self) -> [u8; 32] {
        self.evidence_hash
    }

    /// Every check, in [`CheckName::ALL`] order.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }
}

/// Evidence was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rejection}")]
pub struct VerifyError {
    /// The first reason found.
    pub rejection: Rejection,
    /// Every check in [`CheckName::ALL`] order: exactly one failed, those not reached are skips.
    pub checks: Vec<Check>,
}

/// Judges `evidence` at `now_unix_s` (seconds since 1970, UTC).
///
/// Pure: the same arguments give the same verdict. The steps are those of `spec/attestation.md`,
/// and signatures, chains and revocation are left to `dcap-qvl`.
///
/// # Errors
/// [`VerifyError`] with the first [`Rejection`] and the table of checks.
pub fn verify(
    evidence: &Evidence,
    policy: &Policy,
    expected: &Expected,
    now_unix_s: u64,
) -> Result<VerifiedEvidence, VerifyError> {
    let mut checks = Checks::default();
    match run(evidence, policy, expected, now_unix_s, &mut checks) {
        Ok(verified) => Ok(VerifiedEvidence { checks: checks.complete(), ..verified }),
        Err(rejection) => {
            checks.fail(rejection.check(), rejection.to_string());
            Err(VerifyError { rejection, checks: checks.complete() })
        }
    }
}

fn run(
    evidence: &Evidence,
    policy: &Policy,
    expected: &Expected,
    now_unix_s: u64,
    checks: &mut Checks,
) -> Result<VerifiedEvidence, Rejection> {
    before_cryptography(evidence, policy, now_unix_s, checks)?;
    let claims = dcap::claims(evidence, &policy.root, now_unix_s).map_err(|refusal| {
        pass_until(Some(refusal.step), policy, checks);
        refusal.rejection
    })?;
    pass_until(None, policy, checks);
    judge::bound_key(&claims)?;
    // A chain's notAfter counts too, and its end is exclusive like that of every other date.
    let expires_at_unix_s = claims.earliest_expiration_date;
    if now_unix_s >= expires_at_unix_s {
        return Err(Rejection::CollateralExpired {
            item: CollateralItem::Certificate,
            next_update_unix_s: expires_at_unix_s,
            now_unix_s,
        });
    }
    let quoted = Quoted::new(&claims.report).ok_or_else(|| Rejection::QuoteMalformed {
        detail: "its body is neither an enclave's nor a trust domain's".to_owned(),
    })?;
    let tcb_status = by_policy(&claims, &quoted, policy, checks)?;
    let machine_identity = by_pod(&claims, &quoted, expected, checks)?;
    Ok(VerifiedEvidence {
        root: policy.root.kind(),
        tee: quoted.tee,
        measurement: quoted.measurement,
        mr_signer: quoted.mr_signer,
        report_data: quoted.report_data,
        tcb_status,
        advisory_ids: judge::advisory_ids(&claims),
        fmspc: claims.platform.pck.fmspc,
        machine_identity,
        tcb_evaluation_number: claims.tcb.eval_data_number,
        expires_at_unix_s,
        evidence_hash: evidence.hash(),
        checks: Vec::new(),
    })
}

/// Steps 1 to 3: size, type, exact length, own certificates, dates.
fn before_cryptography(
    evidence: &Evidence,
    policy: &Policy,
    now_unix_s: u64,
    checks: &mut Checks,
) -> Result<(), Rejection> {
    let (got, max) = (evidence.quote.len(), policy.quote_max_bytes);
    if got > max {
        return Err(Rejection::QuoteTooLarge { got, max });
    }
    let kind = layout::kind(&evidence.quote)?;
    checks.pass(CheckName::QuoteType, kind.as_str());
    layout::parts(&evidence.quote, kind)?;
    checks.pass(CheckName::ExactLength, format!("{got} bytes"));
    own_certificates(evidence)?;
    checks.pass(CheckName::OwnCertificates, "the PCK chain is inside the quote");
    let next_update = freshness::check(&evidence.collateral, now_unix_s)?;
    checks.pass(CheckName::CollateralFresh, format!("next update at unix time {next_update}"));
    Ok(())
}

/// Step 2: a PCK chain beside the quote may only repeat the quote's own.
fn own_certificates(evidence: &Evidence) -> Result<(), Rejection> {
    let Some(beside) = &evidence.collateral.pck_certificate_chain else { return Ok(()) };
    let own = dcap::quote_certificates(&evidence.quote)?;
    if dcap::pem_certificates(beside).is_none_or(|beside| beside != own) {
        return Err(Rejection::ForeignCertificateChain);
    }
    Ok(())
}

/// Records the checks that `dcap-qvl` completed before `step`, or all of them.
fn pass_until(step: Option<Step>, policy: &Policy, checks: &mut Checks) {
    let root = policy.root.kind();
    for (completed_by, name, detail) in [
        (Step::Chains, CheckName::CertificateChain, format!("ends in {root}")),
        (Step::Chains, CheckName::Revocation, "no certificate is listed".to_owned()),
        (Step::Chains, CheckName::CollateralSignature, "signed by the TCB signer".to_owned()),
        (Step::QeIdentity, CheckName::QeIdentity, "the named quoting enclave".to_owned()),
        (Step::QuoteSignature, CheckName::QuoteSignature, "PCK, QE report, quote".to_owned()),
    ] {
        if step.is_none_or(|step| step > completed_by) {
            checks.pass(name, detail);
        }
    }
}

/// Steps 7 to 10: what the policy accepts from any pod.
fn by_policy(
    claims: &QuoteClaims,
    quoted: &Quoted,
    policy: &Policy,
    checks: &mut Checks,
) -> Result<TcbStatus, Rejection> {
    if let Some(report) = claims.report.as_sgx() {
        judge::attributes(report)?;
    }
    checks.pass(CheckName::DebugOff, "no debug, provisioning, launch or migration attribute");
    let status = judge::tcb_status(claims, policy)?;
    let advisories = judge::advisory_ids(claims).join(", ");
    checks.pass(CheckName::TcbStatus, format!("{status} {advisories}").trim_end());
    let number = judge::evaluation_number(claims, policy)?;
    let min = policy.tcb_evaluation_number_min;
    checks.pass(CheckName::TcbEvaluationNumber, format!("{number}, at least {min}"));
    judge::measurement(quoted, policy)?;
    checks.pass(CheckName::Measurement, hex::encode(quoted.measurement));
    Ok(status)
}

/// Steps 11 and 12: what this pod must prove.
fn by_pod(
    claims: &QuoteClaims,
    quoted: &Quoted,
    expected: &Expected,
    checks: &mut Checks,
) -> Result<[u8; MACHINE_IDENTITY_BYTES], Rejection> {
    judge::report_data(quoted, expected)?;
    checks.pass(CheckName::ReportData, "bound to this pod and nonce");
    let got = &claims.platform.pck.ppid;
    let Ok(machine_identity) = <[u8; MACHINE_IDENTITY_BYTES]>::try_from(got.as_slice()) else {
        let expected = MACHINE_IDENTITY_BYTES;
        return Err(Rejection::MachineIdentityLength { got: got.len(), expected });
    };
    match expected.machine_identity {
        None => checks.skip(CheckName::MachineIdentity, "no machine is registered"),
        Some(registered) if registered == machine_identity => {
            checks.pass(CheckName::MachineIdentity, hex::encode(registered));
        }
        Some(registered) => {
            let expected = registered.to_vec();
            return Err(Rejection::MachineIdentity { got: got.clone(), expected });
        }
    }
    Ok(machine_identity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::{
        CollateralSpec, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
    };

    #[test]
    fn rejects_a_machine_identity_of_another_length() {
        let (root, now) = (DevelopmentRoot::from_seed(b"root"), 1_794_998_400);
        let machine = SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"machine"));
        let enclave = EnclaveSpec::new([1; 32], [2; 64]);
        let evidence = machine.evidence(&enclave, &CollateralSpec::fresh(now));
        let trust = TrustRoot::Development(root.root_der().to_vec());
        let mut claims = dcap::claims(&evidence, &trust, now).map_err(|r| r.rejection).unwrap();
        claims.platform.pck.ppid.push(0);
        let quoted = Quoted::new(&claims.report).unwrap();
        let expected = Expected { report_data: [2; 64], machine_identity: None };
        let result = by_pod(&claims, &quoted, &expected, &mut Checks::default());
        assert_eq!(result, Err(Rejection::MachineIdentityLength { got: 17, expected: 16 }));
    }
}

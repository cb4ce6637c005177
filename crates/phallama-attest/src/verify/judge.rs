//! The policy's part of the verdict: what `dcap-qvl` reports, against what is accepted.

use dcap_qvl::QuoteClaims;
use dcap_qvl::quote::{EnclaveReport, Report, TDReport10};

use crate::digests::td_measurement;
use crate::tcb_status::TcbStatus;
use crate::tee::Tee;

use super::policy::{Expected, Policy};
use super::rejection::{Rejection, ReportDataPart, TcbComponent};

/// Bits of ATTRIBUTES.FLAGS, byte 0 (Intel SDM, volume 3D, 34.7.1).
const DEBUG: u8 = 0x02;
const PROVISION_KEY: u8 = 0x10;
const EINITTOKEN_KEY: u8 = 0x20;

/// What a report says about the code it is from, whichever TEE made it.
#[derive(Clone, Copy)]
pub(super) struct Quoted {
    pub(super) tee: Tee,
    /// MRENCLAVE, or the digest of a trust domain's registers.
    pub(super) measurement: [u8; 32],
    /// Enclaves only.
    pub(super) mr_signer: Option<[u8; 32]>,
    pub(super) report_data: [u8; 64],
}

impl Quoted {
    /// `None` only for a kind of report that no quote type here has.
    pub(super) fn new(report: &Report) -> Option<Self> {
        if let Some(enclave) = report.as_sgx() {
            return Some(Self {
                tee: Tee::Sgx,
                measurement: enclave.mr_enclave,
                mr_signer: Some(enclave.mr_signer),
                report_data: enclave.report_data,
            });
        }
        let domain = report.as_td10()?;
        Some(Self {
            tee: Tee::Tdx,
            measurement: measurement_of(domain),
            mr_signer: None,
            report_data: domain.report_data,
        })
    }
}

fn measurement_of(domain: &TDReport10) -> [u8; 32] {
    td_measurement(&[
        domain.mr_td,
        domain.mr_config_id,
        domain.mr_owner,
        domain.mr_owner_config,
        domain.rt_mr0,
        domain.rt_mr1,
        domain.rt_mr2,
        domain.rt_mr3,
    ])
}

/// The quoting enclave's report data is the hash of the attestation key and nothing else.
/// `dcap-qvl` does not look at the second half.
pub(super) fn bound_key(claims: &QuoteClaims) -> Result<(), Rejection> {
    let (_, rest) = claims.qe.report.report_data.split_at(32);
    if rest.iter().any(|byte| *byte != 0) {
        return Err(Rejection::AttestationKeyNotBound);
    }
    Ok(())
}

/// Denies debugging and Intel-only keys. `dcap-qvl` denies the first and all TDX attributes
/// already.
pub(super) fn attributes(report: &EnclaveReport) -> Result<(), Rejection> {
    let [flags, ..] = report.attributes;
    let attributes = || hex::encode(report.attributes);
    if flags & DEBUG != 0 {
        return Err(Rejection::DebugEnabled { attributes: attributes() });
    }
    if flags & (PROVISION_KEY | EINITTOKEN_KEY) != 0 {
        return Err(Rejection::PrivilegedKeys { attributes: attributes() });
    }
    Ok(())
}

/// Judges platform, quoting enclave and their merger one by one: a merger can hide a status.
///
/// The one exception: `TDRelaunchAdvised…` replaces the status at launch. It says that the launch
/// was out of date, and whoever lists it accepts that much, but no platform that still is.
pub(super) fn tcb_status(claims: &QuoteClaims, policy: &Policy) -> Result<TcbStatus, Rejection> {
    let (platform, overall) = (&claims.platform, status_of(claims.tcb.status));
    let launch = if is_relaunch_advised(overall) {
        overall
    } else {
        status_of(platform.tcb_level.tcb_status)
    };
    let current = platform.current_tcb_level.as_ref();
    let current = current.map_or(launch, |level| status_of(level.tcb_status));
    let advisory_ids = advisory_ids(claims);
    for (component, status) in [
        (TcbComponent::Platform, launch),
        (TcbComponent::Platform, current),
        (TcbComponent::QuotingEnclave, status_of(claims.qe.tcb_level.tcb_status)),
        (TcbComponent::Overall, overall),
    ] {
        accepted(component, status, &advisory_ids, policy)?;
    }
    Ok(overall)
}

fn is_relaunch_advised(status: TcbStatus) -> bool {
    use TcbStatus::{TDRelaunchAdvised, TDRelaunchAdvisedConfigurationNeeded};
    matches!(status, TDRelaunchAdvised | TDRelaunchAdvisedConfigurationNeeded)
}

/// Every advisory that applies: those of `dcap-qvl`, and those of a trust domain's current TCB.
pub(super) fn advisory_ids(claims: &QuoteClaims) -> Vec<String> {
    let mut all = claims.tcb.advisory_ids.clone();
    let current = claims.platform.current_tcb_level.iter();
    for id in current.flat_map(|level| &level.advisory_ids) {
        if !all.contains(id) {
            all.push(id.clone());
        }
    }
    all
}

fn accepted(
    component: TcbComponent,
    got: TcbStatus,
    advisory_ids: &[String],
    policy: &Policy,
) -> Result<(), Rejection> {
    if got == TcbStatus::UpToDate {
        return Ok(());
    }
    let listed = policy.accepted_tcb.iter().find(|accepted| accepted.status == got);
    let Some(listed) = listed.filter(|_| got != TcbStatus::Revoked) else {
        let listed = policy.accepted_tcb.iter().map(|accepted| accepted.status);
        return Err(Rejection::TcbStatusNotAccepted {
            component,
            got,
            advisory_ids: advisory_ids.to_vec(),
            accepted: std::iter::once(TcbStatus::UpToDate).chain(listed).collect(),
        });
    };
    match advisory_ids.iter().find(|id| !listed.advisory_ids.contains(id)) {
        Some(unlisted) => Err(Rejection::AdvisoryNotAccepted {
            status: got,
            got: unlisted.clone(),
            accepted: listed.advisory_ids.clone(),
        }),
        None => Ok(()),
    }
}

/// Refuses collateral older than what was seen before; returns its number.
pub(super) fn evaluation_number(claims: &QuoteClaims, policy: &Policy) -> Result<u32, Rejection> {
    let (got, min) = (claims.tcb.eval_data_number, policy.tcb_evaluation_number_min);
    if got < min {
        return Err(Rejection::TcbEvaluationNumber { got, min });
    }
    Ok(got)
}

/// Exact match of the measurement with the list.
pub(super) fn measurement(quoted: &Quoted, policy: &Policy) -> Result<(), Rejection> {
    if policy.measurements.contains(&quoted.measurement) {
        return Ok(());
    }
    let accepted = policy.measurements.clone();
    Err(Rejection::MeasurementNotAccepted { got: quoted.measurement, accepted })
}

/// Exact match of both halves of the report data.
pub(super) fn report_data(quoted: &Quoted, expected: &Expected) -> Result<(), Rejection> {
    let ((got_binding, got_nonce), (binding, nonce)) =
        (halves(quoted.report_data), halves(expected.report_data));
    for (part, got, expected) in
        [(ReportDataPart::Binding, got_binding, binding), (ReportDataPart::Nonce, got_nonce, nonce)]
    {
        if got != expected {
            return Err(Rejection::ReportData { part, got, expected });
        }
    }
    Ok(())
}

fn halves(data: [u8; 64]) -> ([u8; 32], [u8; 32]) {
    let mut halves = ([0; 32], [0; 32]);
    let (head, tail) = data.split_at(32);
    halves.0.copy_from_slice(head);
    halves.1.copy_from_slice(tail);
    halves
}

fn status_of(status: dcap_qvl::TcbStatus) -> TcbStatus {
    use dcap_qvl::TcbStatus as Theirs;
    match status {
        Theirs::UpToDate => TcbStatus::UpToDate,
        Theirs::SWHardeningNeeded => TcbStatus::SWHardeningNeeded,
        Theirs::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        Theirs::ConfigurationAndSWHardeningNeeded => TcbStatus::ConfigurationAndSWHardeningNeeded,
        Theirs::OutOfDate => TcbStatus::OutOfDate,
        Theirs::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        Theirs::Revoked => TcbStatus::Revoked,
        Theirs::TDRelaunchAdvised => TcbStatus::TDRelaunchAdvised,
        Theirs::TDRelaunchAdvisedConfigurationNeeded => {
            TcbStatus::TDRelaunchAdvisedConfigurationNeeded
        }
    }
}

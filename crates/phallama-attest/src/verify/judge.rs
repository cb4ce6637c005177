//! The policy's part of the verdict: what `dcap-qvl` reports, against what is accepted.

use dcap_qvl::QuoteClaims;
use dcap_qvl::quote::{EnclaveReport, Report};

use crate::tcb_status::TcbStatus;

use super::policy::{Expected, Policy};
use super::rejection::{Rejection, ReportDataPart, TcbComponent};

/// Bits of ATTRIBUTES.FLAGS, byte 0 (Intel SDM, volume 3D, 34.7.1).
const DEBUG: u8 = 0x02;
const PROVISION_KEY: u8 = 0x10;
const EINITTOKEN_KEY: u8 = 0x20;

/// The enclave's report; trust domains are refused by measurement, because none is listed.
pub(super) fn enclave(report: &Report) -> Result<&EnclaveReport, Rejection> {
    match report {
        Report::SgxEnclave(report) => Ok(report),
        trust_domain => Err(Rejection::TdxNotAccepted {
            mr_td: trust_domain.as_td10().map(|td| hex::encode(td.mr_td)).unwrap_or_default(),
        }),
    }
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
pub(super) fn tcb_status(claims: &QuoteClaims, policy: &Policy) -> Result<TcbStatus, Rejection> {
    let platform = &claims.platform;
    let current = platform.current_tcb_level.as_ref().unwrap_or(&platform.tcb_level);
    let statuses = [
        (TcbComponent::Platform, platform.tcb_level.tcb_status),
        (TcbComponent::Platform, current.tcb_status),
        (TcbComponent::QuotingEnclave, claims.qe.tcb_level.tcb_status),
        (TcbComponent::Overall, claims.tcb.status),
    ];
    for (component, status) in statuses {
        accepted(component, status_of(status), &claims.tcb.advisory_ids, policy)?;
    }
    Ok(status_of(claims.tcb.status))
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

/// Exact match of MRENCLAVE with the list.
pub(super) fn measurement(report: &EnclaveReport, policy: &Policy) -> Result<(), Rejection> {
    if policy.measurements.contains(&report.mr_enclave) {
        return Ok(());
    }
    let accepted = policy.measurements.clone();
    Err(Rejection::MeasurementNotAccepted { got: report.mr_enclave, accepted })
}

/// Exact match of both halves of the report data.
pub(super) fn report_data(report: &EnclaveReport, expected: &Expected) -> Result<(), Rejection> {
    let ((got_binding, got_nonce), (binding, nonce)) =
        (halves(report.report_data), halves(expected.report_data));
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

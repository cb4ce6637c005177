//! The field's verifier: `dcap-qvl`, unmodified, with its own root and time.

use dcap_qvl::configs::RingConfig;
use dcap_qvl::quote::{Quote, Report};
use dcap_qvl::verify::{QuoteVerifier, VerifiedReport};
use dcap_qvl::{QeIdentity, QuoteClaims, QuoteCollateralV3, QuotePolicy, TcbInfo};
use phallama_attest::{Collateral, machine_digest, td_measurement};

use crate::case::{Case, Verdict};

/// What it says about a case; a refusal is its text.
pub(crate) fn judge(case: &Case) -> Result<Verdict, String> {
    let verifier = QuoteVerifier::<RingConfig>::new_with_config(case.root.to_vec());
    let collateral = collateral(&case.collateral);
    let accepted = verifier.verify(&case.quote, &collateral, case.judged_at);
    let accepted = accepted.map_err(|error| format!("{error:#}"))?;
    // Claims come from parsers that read more than a verification needs.
    let everything = QuotePolicy::claims_only(case.judged_at);
    let claims = verifier.verify_with_policy(&case.quote, &collateral, case.judged_at, &everything);
    Ok(verdict(accepted, case, claims.ok().as_ref()))
}

fn verdict(accepted: VerifiedReport, case: &Case, claims: Option<&QuoteClaims>) -> Verdict {
    let (measurement, report_data) = measured(&accepted.report);
    let ppid = accepted.ppid.as_slice().try_into().unwrap_or([0xff; 16]);
    let info = serde_json::from_str::<TcbInfo>(&case.collateral.tcb_info);
    let identity = serde_json::from_str::<QeIdentity>(&case.collateral.qe_identity);
    let number = info.expect("accepted").tcb_evaluation_data_number;
    Verdict {
        status: accepted.status,
        measurement,
        report_data,
        machine: machine_digest(&ppid),
        evaluation_number: number.min(identity.expect("accepted").tcb_evaluation_data_number),
        expiry_unix_s: claims.map(|claims| claims.earliest_expiration_date),
    }
}

fn measured(report: &Report) -> ([u8; 32], [u8; 64]) {
    if let Report::SgxEnclave(report) = report {
        return (report.mr_enclave, report.report_data);
    }
    let td = report.as_td10().expect("every other report is a trust domain's");
    let registers = [
        td.mr_td,
        td.mr_config_id,
        td.mr_owner,
        td.mr_owner_config,
        td.rt_mr0,
        td.rt_mr1,
        td.rt_mr2,
        td.rt_mr3,
    ];
    (td_measurement(&registers), td.report_data)
}

fn collateral(from: &Collateral) -> QuoteCollateralV3 {
    QuoteCollateralV3 {
        pck_crl_issuer_chain: from.pck_crl_issuer_chain.clone(),
        root_ca_crl: from.root_ca_crl.clone(),
        pck_crl: from.pck_crl.clone(),
        tcb_info_issuer_chain: from.tcb_info_issuer_chain.clone(),
        tcb_info: from.tcb_info.clone(),
        tcb_info_signature: from.tcb_info_signature.clone(),
        qe_identity_issuer_chain: from.qe_identity_issuer_chain.clone(),
        qe_identity: from.qe_identity.clone(),
        qe_identity_signature: from.qe_identity_signature.clone(),
        pck_certificate_chain: None,
    }
}

/// The parts of a quote that the contract is given, as `dcap-qvl` finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) signed: Vec<u8>,
    pub(crate) auth: Vec<u8>,
    pub(crate) leaf: Vec<u8>,
}

/// Cuts a quote as loosely as `dcap-qvl` does; `None` if it cannot, and refuses.
pub(crate) fn cut(raw: &[u8]) -> Option<Cut> {
    let quote = Quote::parse(raw).ok()?;
    let leaf = dcap_qvl::intel::extract_cert_chain(&quote).ok()?.into_iter().next()?;
    let signed = raw.get(..quote.signed_length())?.to_vec();
    let auth = quote.auth_data.into_v3();
    let auth = [
        &auth.ecdsa_signature[..],
        &auth.ecdsa_attestation_key,
        &auth.qe_report,
        &auth.qe_report_signature,
        &auth.qe_auth_data.data,
    ]
    .concat();
    Some(Cut { signed, auth, leaf })
}

//! What the contract stored, against what other parsers read in the same bytes: `serde_json` with
//! the structs of `dcap-qvl`, and `x509-cert`.

use std::time::Duration;

use alloy::primitives::Log;
use alloy::sol_types::SolEvent;
use dcap_qvl::{QeIdentity, TcbInfo};
use x509_cert::Certificate;
use x509_cert::certificate::Rfc5280;
use x509_cert::crl::CertificateList;
use x509_cert::der::asn1::UintRef;
use x509_cert::der::{DateTime, Decode};
use x509_cert::time::Time;

use crate::case::Case;
use crate::contract::{Step, V};

/// What the other parser says against an accepted step.
pub(crate) fn complaint(step: Step, case: &Case, logs: &[Log]) -> Option<String> {
    let log = logs.last()?;
    let said = match step {
        Step::RootCrl => crl(&case.collateral.root_ca_crl, log),
        Step::PckCrl => crl(&case.collateral.pck_crl, log),
        Step::Ca => {
            let event = V::CaAdmitted::decode_log(log).ok()?;
            certificate(&case.certificates.ca, event.serial.to_be_bytes(), event.notAfter.to())
        }
        Step::TcbSigner => signer(&case.certificates.tcb_signer, log),
        Step::QeSigner => signer(&case.certificates.qe_signer, log),
        Step::TcbInfo => tcb_info(&case.collateral.tcb_info, log),
        Step::QeIdentity => qe_identity(&case.collateral.qe_identity, log),
        Step::Deploy | Step::Cut | Step::Verify => Ok(()),
    };
    said.err().map(|error| format!("{step:?} accepted, but {error}"))
}

fn tcb_info(json: &str, log: &Log) -> Result<(), String> {
    let event = V::TcbInfoUpserted::decode_log(log).map_err(|error| error.to_string())?;
    let info: TcbInfo = serde_json::from_str(json).map_err(|error| error.to_string())?;
    same("TEE", &["SGX", "TDX"][event.tee as usize], &info.id.as_str())?;
    same("FMSPC", &format!("{:X}", event.fmspc), &info.fmspc.to_uppercase())?;
    same("number", &event.evaluationNumber, &info.tcb_evaluation_data_number)?;
    same("issue date", &iso8601(event.issuedAt.to()), &info.issue_date)?;
    same("next update", &iso8601(event.nextUpdate.to()), &info.next_update)?;
    same("text", &event.json.as_str(), &json)
}

fn qe_identity(json: &str, log: &Log) -> Result<(), String> {
    let event = V::QeIdentityUpserted::decode_log(log).map_err(|error| error.to_string())?;
    let identity: QeIdentity = serde_json::from_str(json).map_err(|error| error.to_string())?;
    same("id", &["QE", "TD_QE"][event.tee as usize], &identity.id.as_str())?;
    same("number", &event.evaluationNumber, &identity.tcb_evaluation_data_number)?;
    same("issue date", &iso8601(event.issuedAt.to()), &identity.issue_date)?;
    same("next update", &iso8601(event.nextUpdate.to()), &identity.next_update)?;
    same("text", &event.json.as_str(), &json)
}

fn signer(der: &[u8], log: &Log) -> Result<(), String> {
    let event = V::SignerAdmitted::decode_log(log).map_err(|error| error.to_string())?;
    certificate(der, event.serial.to_be_bytes(), event.notAfter.to())
}

fn certificate(der: &[u8], serial: [u8; 32], not_after: u64) -> Result<(), String> {
    // It reads more than the contract does; `profile` says what has to be readable.
    let Ok(certificate) = Certificate::from_der(der) else { return Ok(()) };
    let tbs = certificate.tbs_certificate();
    same("serial", &trimmed(&serial), &trimmed(tbs.serial_number().as_bytes()))?;
    same("last second", &not_after, &unix_s(tbs.validity().not_after))
}

fn crl(der: &[u8], log: &Log) -> Result<(), String> {
    let event = V::CrlUpserted::decode_log(log).map_err(|error| error.to_string())?;
    let Ok(list) = CertificateList::<Rfc5280>::from_der(der) else { return Ok(()) };
    let tbs = list.tbs_cert_list;
    let count = tbs.revoked_certificates.as_ref().map_or(0, Vec::len);
    same("count", &event.count.to::<usize>(), &count)?;
    same("this update", &event.thisUpdate.to::<u64>(), &unix_s(tbs.this_update))?;
    same("next update", &Some(event.nextUpdate.to()), &tbs.next_update.map(unix_s))?;
    let numbered = |oid: &str| oid == "2.5.29.20";
    let extensions = tbs.crl_extensions.unwrap_or_default();
    let number = extensions.iter().find(|extension| numbered(&extension.extn_id.to_string()));
    let number = number.map(|extension| UintRef::from_der(extension.extn_value.as_bytes()));
    let number = number.transpose().map_err(|error| error.to_string())?;
    let number = trimmed(number.as_ref().map_or(&[][..], UintRef::as_bytes));
    same("number", &trimmed(&event.number.to_be_bytes::<32>()), &number)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    (got == expected).then_some(()).ok_or(format!("{what} is {expected:?}, not {got:?}"))
}

/// Without leading zeros.
fn trimmed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().skip_while(|byte| *byte == 0).collect()
}

fn unix_s(time: Time) -> u64 {
    time.to_unix_duration().as_secs()
}

/// As Intel's JSON has dates.
fn iso8601(unix_s: u64) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(unix_s));
    date.map_or_else(|error| error.to_string(), |date| date.to_string())
}

use crate::evidence::Collateral;
use crate::tcb_status::TcbStatus;

use super::dates::{iso8601, utc_time};
use super::platform::SimulatedPlatform;
use super::root::DevelopmentRoot;

const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;
/// Intel's collateral is valid for 30 days.
const VALIDITY_S: u64 = 30 * DAY_S;
/// Date of every TCB level.
const TCB_DATE: &str = "2024-03-13T00:00:00Z";

/// A certificate that a revocation list names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevokedCertificate {
    /// The root CA itself.
    Root,
    /// The signer of TCB information and QE identity.
    TcbSigner,
    /// The CA of the PCK certificates.
    PlatformCa,
    /// This machine's PCK certificate.
    Pck,
    /// Another PCK certificate, by serial number (big-endian).
    PckSerial(Vec<u8>),
}

/// What the authorities say about a machine, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollateralSpec {
    /// Issue date of every item, seconds since 1970 (UTC). Years 2000 to 2049.
    pub issued_at_unix_s: u64,
    /// Next update of every item, seconds since 1970 (UTC). Years 2000 to 2049.
    pub next_update_unix_s: u64,
    /// `tcbEvaluationDataNumber` of TCB information and QE identity.
    pub tcb_evaluation_number: u32,
    /// Status of the machine's TCB level.
    pub tcb_status: TcbStatus,
    /// Advisories of that level.
    pub advisory_ids: Vec<String>,
    /// Status of the quoting enclave's level.
    pub qe_status: TcbStatus,
    /// Lowest security version of the quoting enclave that has a level.
    pub qe_isv_svn_min: u16,
    /// Overrides the processor family of the TCB information.
    pub fmspc: Option<[u8; 6]>,
    /// Overrides the firmware versions that the only TCB level asks for.
    pub cpu_svn_min: Option<[u8; 16]>,
    /// What the revocation lists name.
    pub revoked: Vec<RevokedCertificate>,
}

impl CollateralSpec {
    /// Everything up to date, issued an hour before `now_unix_s`, valid for 30 days.
    pub fn fresh(now_unix_s: u64) -> Self {
        let issued_at_unix_s = now_unix_s.saturating_sub(HOUR_S);
        Self {
            issued_at_unix_s,
            next_update_unix_s: issued_at_unix_s.saturating_add(VALIDITY_S),
            tcb_evaluation_number: 17,
            tcb_status: TcbStatus::UpToDate,
            advisory_ids: Vec::new(),
            qe_status: TcbStatus::UpToDate,
            qe_isv_svn_min: 8,
            fmspc: None,
            cpu_svn_min: None,
            revoked: Vec::new(),
        }
    }
}

/// Everything that `root` publishes for `platform`, as `spec` says.
pub(super) fn collateral(
    root: &DevelopmentRoot,
    platform: &SimulatedPlatform,
    spec: &CollateralSpec,
) -> Collateral {
    let dates = [utc_time(spec.issued_at_unix_s), utc_time(spec.next_update_unix_s)];
    let dates = [dates[0].as_str(), dates[1].as_str()];
    let (by_root, by_platform_ca) = revoked_serials(root, platform, spec);
    let tcb_info = tcb_info(platform, spec);
    let qe_identity = qe_identity(platform, spec);
    Collateral {
        pck_crl_issuer_chain: root.platform_ca_chain_pem(),
        root_ca_crl: root.root_crl(dates, &by_root),
        pck_crl: root.pck_crl(dates, &by_platform_ca),
        tcb_info_issuer_chain: root.tcb_signer_chain_pem(),
        tcb_info_signature: root.sign_collateral(&tcb_info),
        tcb_info,
        qe_identity_issuer_chain: root.tcb_signer_chain_pem(),
        qe_identity_signature: root.sign_collateral(&qe_identity),
        qe_identity,
        pck_certificate_chain: None,
    }
}

/// Serials for the root's list and for the Platform CA's.
fn revoked_serials(
    root: &DevelopmentRoot,
    platform: &SimulatedPlatform,
    spec: &CollateralSpec,
) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut by_root, mut by_platform_ca) = (Vec::new(), Vec::new());
    for revoked in &spec.revoked {
        match revoked {
            RevokedCertificate::Root => by_root.push(root.root_serial().to_vec()),
            RevokedCertificate::TcbSigner => by_root.push(root.tcb_signer_serial().to_vec()),
            RevokedCertificate::PlatformCa => by_root.push(root.platform_ca_serial().to_vec()),
            RevokedCertificate::Pck => by_platform_ca.push(platform.pck_serial()),
            RevokedCertificate::PckSerial(serial) => by_platform_ca.push(serial.clone()),
        }
    }
    (by_root, by_platform_ca)
}

/// TCB information, version 3, with one level: exactly the bytes that get signed.
fn tcb_info(platform: &SimulatedPlatform, spec: &CollateralSpec) -> String {
    let machine = platform.spec();
    let components: Vec<String> = spec
        .cpu_svn_min
        .unwrap_or(machine.cpu_svn)
        .iter()
        .map(|svn| format!(r#"{{"svn":{svn}}}"#))
        .collect();
    format!(
        concat!(
            r#"{{"id":"SGX","version":3,{dates},"fmspc":"{fmspc}","pceId":"0000","tcbType":0,"#,
            r#""tcbEvaluationDataNumber":{number},"tcbLevels":[{{"tcb":{{"sgxtcbcomponents":[{svns}],"#,
            r#""pcesvn":{pce_svn}}},{rating}}}]}}"#
        ),
        dates = dates(spec),
        fmspc = hex::encode_upper(spec.fmspc.unwrap_or(machine.fmspc)),
        number = spec.tcb_evaluation_number,
        svns = components.join(","),
        pce_svn = machine.pce_svn,
        rating = rating(spec.tcb_status, &spec.advisory_ids),
    )
}

/// Quoting-enclave identity, version 2, with one level: exactly the bytes that get signed.
fn qe_identity(platform: &SimulatedPlatform, spec: &CollateralSpec) -> String {
    let quoting_enclave = &platform.spec().quoting_enclave;
    format!(
        concat!(
            r#"{{"id":"QE","version":2,{dates},"tcbEvaluationDataNumber":{number},"#,
            r#""miscselect":"00000000","miscselectMask":"FFFFFFFF","#,
            r#""attributes":"15000000000000000000000000000000","#,
            r#""attributesMask":"FBFFFFFFFFFFFFFF0000000000000000","#,
            r#""mrsigner":"{mr_signer}","isvprodid":{isv_prod_id},"#,
            r#""tcbLevels":[{{"tcb":{{"isvsvn":{isv_svn}}},{rating}}}]}}"#
        ),
        dates = dates(spec),
        number = spec.tcb_evaluation_number,
        mr_signer = hex::encode_upper(quoting_enclave.mr_signer),
        isv_prod_id = quoting_enclave.isv_prod_id,
        isv_svn = spec.qe_isv_svn_min,
        rating = rating(spec.qe_status, &[]),
    )
}

fn dates(spec: &CollateralSpec) -> String {
    let issued = iso8601(spec.issued_at_unix_s);
    let next = iso8601(spec.next_update_unix_s);
    format!(r#""issueDate":"{issued}","nextUpdate":"{next}""#)
}

fn rating(status: TcbStatus, advisory_ids: &[String]) -> String {
    let quoted: Vec<String> = advisory_ids.iter().map(|id| format!(r#""{id}""#)).collect();
    let advisories = quoted.join(",");
    format!(r#""tcbDate":"{TCB_DATE}","tcbStatus":"{status}","advisoryIDs":[{advisories}]"#)
}

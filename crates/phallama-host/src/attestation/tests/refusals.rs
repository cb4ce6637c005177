//! What an operator reads for every kind of reason, most of them from evidence that really has it.
//!
//! A changed text fails the test and leaves a `.snap.new` beside the accepted one; with
//! `INSTA_UPDATE=always` the new text is accepted.

use std::collections::HashSet;
use std::path::Path;

use phallama_attest::simulated::{
    CollateralSpec, DEBUG_BIT, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PROVISION_KEY_BIT,
    PlatformSpec, RevokedCertificate, SEPT_VE_DISABLE_BIT, SimulatedPlatform, TdReport,
    TrustDomainSpec,
};
use phallama_attest::{Evidence, Rejection, TcbComponent, TcbStatus, TrustRoot};
use phallama_chain::MachineHolder;
use phallama_protocol::ids::{Digest32, PodId};
use sha2::{Digest as _, Sha256};

use crate::attestation::{
    Appraisal, PlatformQuote, Refusal, RefusalKind, Root, appraise, machine_taken,
};
use crate::collateral::tests::{DAY, NOW};
use crate::collateral::{CollateralError, Fault, Item, Tried};

const REPORT_DATA: [u8; 64] = [2; 64];

fn machine() -> SimulatedPlatform {
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"machine"))
}

fn development() -> Root {
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    Root(Sha256::digest(root.root_der()).into())
}

fn enclave() -> EnclaveSpec {
    EnclaveSpec::new([1; 32], REPORT_DATA)
}

fn judged(evidence: &Evidence, root: Root) -> Result<Appraisal, Refusal> {
    let quote = PlatformQuote::cut(&evidence.quote)?;
    appraise(evidence, &quote, root, Some(REPORT_DATA), NOW)
}

fn refused(evidence: &Evidence) -> Refusal {
    judged(evidence, development()).unwrap_err()
}

/// The refusal of a production enclave under this collateral.
fn under(change: impl FnOnce(&mut CollateralSpec)) -> Refusal {
    let mut spec = CollateralSpec::fresh(NOW);
    change(&mut spec);
    refused(&machine().evidence(&enclave(), &spec))
}

/// The refusal of an enclave with this attribute.
fn with_attribute(bit: u8) -> Refusal {
    let mut enclave = enclave();
    enclave.attributes[0] |= bit;
    refused(&machine().evidence(&enclave, &CollateralSpec::fresh(NOW)))
}

fn trust_domain(change: impl FnOnce(&mut TrustDomainSpec)) -> Refusal {
    let mut domain = TrustDomainSpec::new(TdReport::V4, [1; 48], REPORT_DATA);
    change(&mut domain);
    refused(&machine().td_evidence(&domain, &CollateralSpec::fresh(NOW)))
}

/// The refusal of a good quote after this change of its bytes.
fn quote(change: impl FnOnce(&mut Vec<u8>)) -> Refusal {
    let mut evidence = machine().evidence(&enclave(), &CollateralSpec::fresh(NOW));
    change(&mut evidence.quote);
    refused(&evidence)
}

/// Header 48, report 384, length 4, signature 64, key 64, QE report 384, its signature 64, length
/// of authentication data 2, that data 32.
const CERTIFICATION_TYPE_AT: usize = 48 + 384 + 4 + 64 + 64 + 384 + 64 + 2 + 32;

pub(super) fn intels(name: &str) -> Evidence {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/attestation/intel");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let digits: String = read(&format!("{name}.hex")).split_whitespace().collect();
    let quote = hex::decode(digits).unwrap();
    let collateral = serde_json::from_str(&read(&format!("{name}_collateral.json"))).unwrap();
    Evidence { quote, collateral }
}

fn other_root() -> Refusal {
    let root = DevelopmentRoot::from_seed(b"another root");
    let machine = SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"machine"));
    refused(&machine.evidence(&enclave(), &CollateralSpec::fresh(NOW)))
}

fn simulated_on_intel() -> Refusal {
    let evidence = machine().evidence(&enclave(), &CollateralSpec::fresh(NOW));
    judged(&evidence, Root(TrustRoot::Intel.sha256())).unwrap_err()
}

fn not_bound() -> Refusal {
    let other = EnclaveSpec::new([1; 32], [3; 64]);
    refused(&machine().evidence(&other, &CollateralSpec::fresh(NOW)))
}

fn relaunch_advised() -> Refusal {
    Refusal::from(&Rejection::TcbStatusNotAccepted {
        component: TcbComponent::Overall,
        got: TcbStatus::TDRelaunchAdvised,
        advisory_ids: vec!["INTEL-SA-01192".to_owned()],
        accepted: vec![TcbStatus::UpToDate],
    })
}

fn asked(fault: Fault) -> Tried {
    Tried(vec![("https://pccs.example".to_owned(), fault)])
}

fn unknown_processor() -> Refusal {
    let tried = asked(Fault::Status { status: 404 });
    Refusal::from(&CollateralError::Unavailable { item: Item::TcbInfo, tried })
}

fn unavailable() -> Refusal {
    let tried = asked(Fault::TimedOut { within_ms: 15_000 });
    Refusal::from(&CollateralError::Unavailable { item: Item::PckCrl, tried })
}

fn expired_everywhere() -> Refusal {
    let (item, next_update_unix_s) = (Item::TcbInfo, NOW - DAY);
    let tried = asked(Fault::Status { status: 503 });
    Refusal::from(&CollateralError::Expired { item, next_update_unix_s, tried })
}

fn taken() -> Refusal {
    let other = PodId([0xbb; 32]);
    let holder = MachineHolder { pod_prefix: [0xbb; 26], until_unix_s: NOW + DAY };
    machine_taken(Digest32([0xcc; 32]), PodId([0xaa; 32]), &holder, Some(other))
}

/// Every kind with evidence that has it.
fn cases() -> Vec<(RefusalKind, Refusal)> {
    use RefusalKind as Kind;
    let advisories = vec!["INTEL-SA-00837".to_owned(), "INTEL-SA-00960".to_owned()];
    vec![
        (Kind::Debug, with_attribute(DEBUG_BIT)),
        (Kind::PrivilegedKeys, with_attribute(PROVISION_KEY_BIT)),
        (Kind::TdAttributes, trust_domain(|td| td.td_attributes &= !SEPT_VE_DISABLE_BIT)),
        (
            Kind::FirmwareOutOfDate,
            under(|spec| {
                spec.tcb_status = TcbStatus::OutOfDate;
                spec.advisory_ids = advisories;
            }),
        ),
        (Kind::QuotingEnclaveOutOfDate, under(|spec| spec.qe_status = TcbStatus::OutOfDate)),
        (Kind::RelaunchNeeded, relaunch_advised()),
        (Kind::FirmwareUnknown, under(|spec| spec.cpu_svn_min = Some([255; 16]))),
        (Kind::TdxModule, trust_domain(|td| td.mr_signer_seam = [7; 48])),
        (Kind::FirmwareRevoked, under(|spec| spec.tcb_status = TcbStatus::Revoked)),
        (Kind::CertificateRevoked, under(|spec| spec.revoked = vec![RevokedCertificate::Pck])),
        (Kind::UnknownProcessor, unknown_processor()),
        (Kind::NoCertificates, quote(|bytes| bytes[CERTIFICATION_TYPE_AT] = 2)),
        (Kind::CollateralExpired, under(|spec| spec.next_update_unix_s = NOW)),
        (Kind::CollateralUnavailable, unavailable()),
        (Kind::SimulatedOnIntel, simulated_on_intel()),
        (Kind::IntelOnSimulated, refused(&intels("sgx_quote"))),
        (Kind::OtherRoot, other_root()),
        (Kind::NotBound, not_bound()),
        (Kind::MachineTaken, taken()),
        (Kind::NotGenuine, quote(|bytes| bytes[48 + 64] ^= 1)),
        (Kind::Malformed, quote(|bytes| bytes.truncate(1_000))),
        (Kind::Other, Refusal::from(&Rejection::Other { detail: "something new".to_owned() })),
    ]
}

#[test]
fn every_kind_has_its_evidence() {
    let kinds: HashSet<_> = cases().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, RefusalKind::ALL.into_iter().collect());
    for (kind, refusal) in cases() {
        assert_eq!(refusal.kind, kind, "{refusal}");
    }
}

#[test]
fn every_refusal_says_what_it_is_the_facts_and_what_to_do() {
    for (kind, refusal) in cases() {
        let text = format!("error: {refusal}\n\nhint: {}", refusal.hint());
        insta::assert_snapshot!(format!("refusal_{kind:?}"), text);
    }
}

#[test]
fn collateral_that_nobody_renews_names_who_was_asked() {
    let refusal = expired_everywhere();
    assert_eq!(refusal.kind, RefusalKind::CollateralExpired);
    insta::assert_snapshot!(format!("error: {refusal}\n\nhint: {}", refusal.hint()));
}

/// The registry accepts these, and clients do not unless told to.
#[test]
fn accepted_statuses_have_a_remark() {
    for (status, advisories) in [
        (TcbStatus::ConfigurationNeeded, vec!["INTEL-SA-00161".to_owned()]),
        (TcbStatus::SWHardeningNeeded, vec!["INTEL-SA-00615".to_owned()]),
        (TcbStatus::ConfigurationAndSWHardeningNeeded, Vec::new()),
    ] {
        let mut spec = CollateralSpec::fresh(NOW);
        (spec.tcb_status, spec.advisory_ids) = (status, advisories.clone());
        let evidence = machine().evidence(&enclave(), &spec);
        let appraisal = judged(&evidence, development()).unwrap();
        assert_eq!((appraisal.tcb_status, &appraisal.advisory_ids), (status, &advisories));
        insta::assert_snapshot!(format!("remark_{status}"), appraisal.remark().unwrap());
    }
    let spec = CollateralSpec::fresh(NOW);
    let good = judged(&machine().evidence(&enclave(), &spec), development()).unwrap();
    assert_eq!(good.remark(), None);
}

#[test]
fn trust_domains_are_appraised_like_enclaves() {
    for report in TdReport::ALL {
        let domain = TrustDomainSpec::new(report, [1; 48], REPORT_DATA);
        let evidence = machine().td_evidence(&domain, &CollateralSpec::fresh(NOW));
        let appraisal = judged(&evidence, development()).unwrap();
        assert_eq!(appraisal.tcb_status, TcbStatus::UpToDate, "{report:?}");
    }
}

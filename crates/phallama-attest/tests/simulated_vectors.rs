//! The vectors in `vectors/attestation/simulated`, which the contracts' tests read: collateral,
//! machines and quotes under the development root, at a fixed time.
//!
//! `UPDATE_VECTORS=1 cargo test -p phallama-attest --test simulated_vectors` writes them anew.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use dcap_qvl::configs::RingConfig;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy};
use phallama_attest::onchain::OnChainQuote;
use phallama_attest::simulated::{
    Authority, CollateralItems, CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec,
    IsvLevelSpec, PckCa, PlatformSpec, QuoteParts, Rating, RevokedCertificate, SimulatedPlatform,
    TcbInfoSpec, TcbLevelSpec, TdReport, TdxModuleIdentitySpec, TdxModuleSpec, TrustDomainSpec,
    signed_part,
};
use phallama_attest::{TcbStatus, Tee, evidence_digest, machine_digest};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sha3::Keccak256;

/// Unix seconds of the contracts' tests; the collateral is a day old then.
const START: u64 = 1_800_000_000;
const DAY_S: u64 = 86_400;
const MR_ENCLAVE: [u8; 32] = [0x4e; 32];
const MR_TD: [u8; 48] = [0x7d; 48];

/// Firmware one step behind the current one.
const OLD_CPU_SVN: [u8; 16] = [10, 10, 3, 3, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn root() -> DevelopmentRoot {
    DevelopmentRoot::from_seed(DEVELOPMENT_SEED)
}

fn machine(change: impl FnOnce(&mut PlatformSpec), seed: &str) -> SimulatedPlatform {
    let mut spec = PlatformSpec::from_seed(seed.as_bytes());
    change(&mut spec);
    SimulatedPlatform::new(&root(), spec)
}

fn current() -> SimulatedPlatform {
    machine(|_| (), "machine 1")
}

fn revoked() -> SimulatedPlatform {
    machine(|_| (), "machine revoked")
}

fn hex(bytes: impl AsRef<[u8]>) -> Value {
    json!(format!("0x{}", hex::encode(bytes)))
}

// Collateral.

/// Two levels: the machine's own, and one a step behind.
fn two_levels(info: &mut TcbInfoSpec) {
    let mut old = info.levels[0].clone();
    old.sgx = OLD_CPU_SVN;
    if let Some(tdx) = &mut old.tdx {
        tdx[2] -= 1;
    }
    old.rating = out_of_date();
    info.levels.push(old);
    if let Some(module) = info.tdx_module_identities.first_mut() {
        module.levels.push(IsvLevelSpec { isv_svn: 3, rating: out_of_date() });
        info.tdx_module_identities.insert(0, module_3());
    }
}

/// The level of the current machine is no longer the best.
fn raised(info: &mut TcbInfoSpec) {
    let current = &mut info.levels[0];
    let mut above = TcbLevelSpec { rating: Rating::new(TcbStatus::UpToDate), ..current.clone() };
    above.sgx[0] += 1;
    current.rating = out_of_date();
    info.levels.insert(0, above);
}

fn out_of_date() -> Rating {
    let advisory_ids = ["INTEL-SA-00828", "INTEL-SA-00615"].map(str::to_owned).to_vec();
    Rating { advisory_ids, date_unix_s: 1_676_419_200, status: TcbStatus::OutOfDate }
}

fn module_3() -> TdxModuleIdentitySpec {
    let levels = vec![IsvLevelSpec::new(3, TcbStatus::UpToDate)];
    TdxModuleIdentitySpec { version: 3, module: TdxModuleSpec::default(), levels }
}

/// Collateral for `tee`; `later` is newer and condemns what the first one accepts.
fn items(tee: Tee, later: bool) -> CollateralItems {
    let issued = if later { START } else { START - DAY_S };
    let mut spec = CollateralSpec::issued(issued);
    spec.tcb_evaluation_number += u32::from(later);
    let others = [vec![0x41; 20], vec![0xff; 20], vec![0x80], vec![5]];
    spec.revoked.extend(others.map(RevokedCertificate::PckSerial));
    spec.revoked.push(RevokedCertificate::PckSerial(revoked().pck_serial()));
    if later {
        spec.revoked.push(RevokedCertificate::ProcessorCa);
        spec.revoked.push(RevokedCertificate::Pck);
    }
    let mut items = CollateralItems::new(&current(), tee, &spec);
    items.root_crl.number += u64::from(later);
    items.pck_crl.number += u64::from(later);
    two_levels(&mut items.tcb_info);
    if later {
        raised(&mut items.tcb_info);
    }
    items.qe_identity.levels.push(IsvLevelSpec { isv_svn: 6, rating: out_of_date() });
    items
}

fn collateral(later: bool) -> Value {
    let (root, sgx, tdx) = (root(), items(Tee::Sgx, later), items(Tee::Tdx, later));
    let mut processor_crl = sgx.pck_crl.clone();
    processor_crl.revoked.clear();
    let mut out = Map::new();
    out.insert("about".to_owned(), json!(ABOUT_COLLATERAL));
    out.insert("start_unix_s".to_owned(), json!(START));
    out.insert("issued_at_unix_s".to_owned(), json!(sgx.tcb_info.issued_at_unix_s));
    out.insert("next_update_unix_s".to_owned(), json!(sgx.tcb_info.next_update_unix_s));
    out.insert("evaluation_number".to_owned(), json!(sgx.tcb_info.evaluation_number));
    for (name, authority) in [
        ("root", Authority::Root),
        ("platform_ca", Authority::PlatformCa),
        ("processor_ca", Authority::ProcessorCa),
        ("tcb_signer", Authority::TcbSigner),
    ] {
        out.insert(name.to_owned(), hex(root.certificate(authority)));
        out.insert(format!("{name}_id"), id(&root, authority));
    }
    out.insert("root_crl".to_owned(), hex(root.crl(Authority::Root, &sgx.root_crl)));
    out.insert("platform_crl".to_owned(), hex(root.crl(Authority::PlatformCa, &sgx.pck_crl)));
    out.insert("processor_crl".to_owned(), hex(root.crl(Authority::ProcessorCa, &processor_crl)));
    for (name, text) in [
        ("sgx_tcb_info", sgx.tcb_info.to_json()),
        ("tdx_tcb_info", tdx.tcb_info.to_json()),
        ("sgx_qe_identity", sgx.qe_identity.to_json()),
        ("tdx_qe_identity", tdx.qe_identity.to_json()),
    ] {
        out.insert(name.to_owned(), hex(&text));
        out.insert(format!("{name}_signature"), hex(root.sign_collateral(&text)));
    }
    Value::Object(out)
}

const ABOUT_COLLATERAL: &str = "Under the development root. Certificates and lists in DER; \
    NAME_id is keccak256(x || y) of a certificate's key; TCB information and QE identities are the \
    signed UTF-8 text; signatures are r || s. Everything in hex with 0x.";

/// How the contracts name an authority.
fn id(root: &DevelopmentRoot, authority: Authority) -> Value {
    hex(Keccak256::digest(root.public_key(authority)))
}

// Machines.

const ABOUT_MACHINE: &str = "A machine of the development network. attestation_scalar signs its \
    quotes: it is derived from the public seed as spec/attestation.md says, so it protects nothing. \
    A quote's auth is signature 64 || attestation_key 64 || TEE_qe_report 384 || \
    TEE_qe_report_signature 64 || qe_authentication_data 32; the QE reports do not depend on the \
    quote. pck_* are the fields of the contracts' Pck.";

fn described(machine: &SimulatedPlatform) -> Value {
    let spec = machine.spec();
    let key = machine.pck_public_key();
    let sgx = machine.quote_parts(&EnclaveSpec::new(MR_ENCLAVE, [0; 64]));
    let tdx = machine.td_quote_parts(&TrustDomainSpec::new(TdReport::V4, MR_TD, [0; 64]));
    json!({
        "about": ABOUT_MACHINE,
        "seed": std::str::from_utf8(&spec.seed).unwrap(),
        "leaf": hex(machine.pck_der()),
        "ppid": hex(&spec.ppid),
        "pck_tbs_hash": hex(tbs_hash(machine)),
        "pck_x": hex(&key[..32]),
        "pck_y": hex(&key[32..]),
        "pck_issuer": id(machine.root(), spec.ca.authority()),
        "pck_serial": hex(left_padded(&machine.pck_serial())),
        "pck_machine": hex(machine_digest(&machine.machine_identity())),
        "pck_instance": hex(spec.instance().unwrap_or_default()),
        "pck_cpu_svn": hex(spec.cpu_svn),
        "pck_fmspc": hex(spec.fmspc),
        "pck_pce_id": hex(spec.pce_id),
        "pck_pce_svn": spec.pce_svn,
        "pck_not_before": spec.pck_validity.not_before_unix_s,
        "pck_not_after": spec.pck_validity.not_after_unix_s,
        "attestation_scalar": hex(machine.attestation_scalar()),
        "attestation_key": hex(sgx.attestation_key),
        "qe_authentication_data": hex(&sgx.qe_authentication_data),
        "sgx_qe_report": hex(&sgx.qe_report),
        "sgx_qe_report_signature": hex(sgx.qe_report_signature),
        "tdx_qe_report": hex(&tdx.qe_report),
        "tdx_qe_report_signature": hex(tdx.qe_report_signature),
    })
}

fn tbs_hash(machine: &SimulatedPlatform) -> [u8; 32] {
    Sha256::digest(signed_part(machine.pck_der())).into()
}

fn left_padded(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out[32 - bytes.len()..].copy_from_slice(bytes);
    out
}

// Quotes.

const ABOUT_QUOTES: &str = "Quotes of the machine in machine.json under collateral.json, whole (raw) \
    and cut for the contracts (signed, auth), with the verdict. status and tee count the members of \
    the contracts' enums.";

/// Binding and nonce.
fn report_data() -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&Sha256::digest(b"binding"));
    data
}

fn quotes() -> Value {
    let machine = current();
    let mut out = Map::new();
    out.insert("about".to_owned(), json!(ABOUT_QUOTES));
    let enclave = EnclaveSpec::new(MR_ENCLAVE, report_data());
    let verdict = [hex(MR_ENCLAVE), json!(0), json!(status(TcbStatus::UpToDate))];
    add_quote(&mut out, "sgx_v3", &machine.quote_parts(&enclave), verdict);
    for (name, report, tee_tcb_svn, expected) in [
        ("tdx_v4", TdReport::V4, [5, 1, 2], TcbStatus::UpToDate),
        ("tdx_v5_td10", TdReport::V5Td10, [3, 3, 2], TcbStatus::UpToDate),
        ("tdx_v5_td15", TdReport::V5Td15, [3, 1, 2], TcbStatus::TDRelaunchAdvised),
        ("tdx_v5_td15ex", TdReport::V5Td15Ex, [5, 1, 1], TcbStatus::OutOfDate),
    ] {
        let mut domain = TrustDomainSpec::new(report, MR_TD, report_data());
        domain.tee_tcb_svn[..3].copy_from_slice(&tee_tcb_svn);
        if report == TdReport::V5Td15Ex {
            domain.tee_tcb_svn2 = domain.tee_tcb_svn;
        }
        let verdict = [hex(domain.measurement()), json!(1), json!(status(expected))];
        add_quote(&mut out, name, &machine.td_quote_parts(&domain), verdict);
    }
    Value::Object(out)
}

/// Place of `status` in the contracts' enum.
fn status(status: TcbStatus) -> usize {
    TcbStatus::ALL.iter().position(|other| *other == status).unwrap()
}

fn add_quote(out: &mut Map<String, Value>, name: &str, parts: &QuoteParts, verdict: [Value; 3]) {
    let [measurement, tee, status] = verdict;
    let auth = [
        &parts.signature[..],
        &parts.attestation_key,
        &parts.qe_report,
        &parts.qe_report_signature,
        &parts.qe_authentication_data,
    ]
    .concat();
    let machine = current();
    let evidence = evidence_digest(&parts.signed, &parts.qe_report, &tbs_hash(&machine));
    let cut = OnChainQuote::cut(&parts.to_bytes()).unwrap();
    assert_eq!((&cut.signed, &cut.auth, cut.evidence()), (&parts.signed, &auth, evidence));
    let expiry = items(Tee::Sgx, false).tcb_info.next_update_unix_s;
    for (field, value) in [
        ("raw", hex(parts.to_bytes())),
        ("signed", hex(&parts.signed)),
        ("auth", hex(auth)),
        ("tee", tee),
        ("status", status),
        ("evaluation_number", json!(17)),
        ("expiry", json!(expiry)),
        ("measurement", measurement),
        ("machine", hex(machine_digest(&machine.machine_identity()))),
        ("evidence", hex(evidence)),
        ("report_data", hex(&report_data()[..32])),
        ("nonce", hex(&report_data()[32..])),
    ] {
        out.insert(format!("{name}_{field}"), value);
    }
}

// The word of unmodified dcap-qvl.

/// Status of `raw` at START, or why there is none.
fn judged(raw: Vec<u8>, tee: Tee, later: bool) -> String {
    let ca = PckCa::Platform;
    let collateral = items(tee, later).sign(&root(), ca);
    let collateral: QuoteCollateralV3 =
        serde_json::from_value(serde_json::to_value(&collateral).unwrap()).unwrap();
    let verifier = QuoteVerifier::<RingConfig>::new_with_config(root().root_der().to_vec());
    let policy = QuotePolicy::claims_only(START);
    match verifier.verify_with_policy(&raw, collateral, START, &policy) {
        Ok(claims) => format!("{}", claims.tcb.status),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn unmodified_dcap_qvl_gives_the_same_statuses() {
    let quotes = quotes();
    for (name, tee, expected) in [
        ("sgx_v3", Tee::Sgx, "UpToDate"),
        ("tdx_v4", Tee::Tdx, "UpToDate"),
        ("tdx_v5_td10", Tee::Tdx, "UpToDate"),
        ("tdx_v5_td15", Tee::Tdx, "TDRelaunchAdvised"),
        ("tdx_v5_td15ex", Tee::Tdx, "OutOfDate"),
    ] {
        let raw = quotes[format!("{name}_raw")].as_str().unwrap().trim_start_matches("0x");
        let raw = hex::decode(raw).unwrap();
        assert_eq!(judged(raw.clone(), tee, false), expected, "{name}");
        let condemned = judged(raw, tee, true);
        assert!(condemned.contains("CertRevoked"), "{condemned}");
    }
}

// Files.

fn check_committed(name: &str, computed: &Value) {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../vectors/attestation/simulated", name].iter().collect();
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, serde_json::to_string_pretty(computed).unwrap() + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    // Not assert_eq: pages of difference help nobody.
    assert!(
        serde_json::from_str::<Value>(&text).unwrap() == *computed,
        "vectors/attestation/simulated/{name} differs from what the code computes; if that is \
         meant, run UPDATE_VECTORS=1 cargo test -p phallama-attest --test simulated_vectors"
    );
}

#[test]
fn collateral_matches_the_vectors() {
    check_committed("collateral.json", &collateral(false));
    check_committed("collateral_later.json", &collateral(true));
}

#[test]
fn machines_match_the_vectors() {
    let processor = machine(|spec| spec.ca = PckCa::Processor, "machine of the Processor CA");
    let outdated = machine(|spec| spec.cpu_svn = OLD_CPU_SVN, "machine outdated");
    check_committed("machine.json", &described(&current()));
    check_committed("machine_processor.json", &described(&processor));
    check_committed("machine_outdated.json", &described(&outdated));
    check_committed("machine_revoked.json", &described(&revoked()));
}

#[test]
fn quotes_match_the_vectors() {
    check_committed("quotes.json", &quotes());
}

//! What the authorities of the simulated platform can be made to say and sign.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Case, NOW, case};
use phallama_attest::simulated::{
    Authority, CollateralItems, CollateralSpec, CrlSpec, DEVELOPMENT_SEED, DevelopmentRoot,
    ExtensionSpec, IsvLevelSpec, PckCa, QeIdentitySpec, Rating, RevokedCertificate, RootSpec,
    SimulatedPlatform, TcbInfoSpec, TcbLevelSpec, TdxModuleIdentitySpec, TdxModuleSpec, Validity,
    signed_part,
};
use phallama_attest::{CollateralItem, Evidence, Rejection, Tee};
use serde_json::Value;
use x509_cert::der::DateTime;

// JSON in Intel's canonical form: its own documents, read into specs, come out byte for byte.

fn unix_s(value: &Value) -> u64 {
    value.as_str().unwrap().parse::<DateTime>().unwrap().unix_duration().as_secs()
}

fn bytes<const N: usize>(value: &Value) -> [u8; N] {
    hex::decode(value.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn number<T: TryFrom<u64, Error: std::fmt::Debug>>(value: &Value) -> T {
    value.as_u64().unwrap().try_into().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn rating(level: &Value) -> Rating {
    Rating {
        status: level["tcbStatus"].as_str().unwrap().parse().unwrap(),
        date_unix_s: unix_s(&level["tcbDate"]),
        advisory_ids: list(&level["advisoryIDs"])
            .iter()
            .map(|id| id.as_str().unwrap().to_owned())
            .collect(),
    }
}

fn isv_levels(value: &Value) -> Vec<IsvLevelSpec> {
    let level = |level: &Value| IsvLevelSpec {
        isv_svn: number(&level["tcb"]["isvsvn"]),
        rating: rating(level),
    };
    list(value).iter().map(level).collect()
}

fn module(value: &Value) -> TdxModuleSpec {
    TdxModuleSpec {
        mr_signer: bytes(&value["mrsigner"]),
        attributes: bytes(&value["attributes"]),
        attributes_mask: bytes(&value["attributesMask"]),
    }
}

fn module_identity(value: &Value) -> TdxModuleIdentitySpec {
    let id = value["id"].as_str().unwrap().strip_prefix("TDX_").unwrap();
    let version = u8::from_str_radix(id, 16).unwrap();
    let levels = isv_levels(&value["tcbLevels"]);
    TdxModuleIdentitySpec { version, module: module(value), levels }
}

fn components(value: &Value) -> Option<[u8; 16]> {
    let svns: Vec<u8> = list(value).iter().map(|component| number(&component["svn"])).collect();
    svns.try_into().ok()
}

fn level(value: &Value) -> TcbLevelSpec {
    let tcb = &value["tcb"];
    TcbLevelSpec {
        sgx: components(&tcb["sgxtcbcomponents"]).unwrap(),
        pce_svn: number(&tcb["pcesvn"]),
        tdx: components(&tcb["tdxtcbcomponents"]),
        rating: rating(value),
    }
}

fn tcb_info(json: &Value) -> TcbInfoSpec {
    let tdx_module = &json["tdxModule"];
    TcbInfoSpec {
        tee: if json["id"] == "SGX" { Tee::Sgx } else { Tee::Tdx },
        issued_at_unix_s: unix_s(&json["issueDate"]),
        next_update_unix_s: unix_s(&json["nextUpdate"]),
        fmspc: bytes(&json["fmspc"]),
        pce_id: bytes(&json["pceId"]),
        evaluation_number: number(&json["tcbEvaluationDataNumber"]),
        tdx_module: (!tdx_module.is_null()).then(|| module(tdx_module)),
        tdx_module_identities: list(&json["tdxModuleIdentities"])
            .iter()
            .map(module_identity)
            .collect(),
        levels: list(&json["tcbLevels"]).iter().map(level).collect(),
        describes_components: json.to_string().contains("category"),
    }
}

fn qe_identity(json: &Value) -> QeIdentitySpec {
    QeIdentitySpec {
        tee: if json["id"] == "QE" { Tee::Sgx } else { Tee::Tdx },
        version: number(&json["version"]),
        issued_at_unix_s: unix_s(&json["issueDate"]),
        next_update_unix_s: unix_s(&json["nextUpdate"]),
        evaluation_number: number(&json["tcbEvaluationDataNumber"]),
        misc_select: bytes(&json["miscselect"]),
        misc_select_mask: bytes(&json["miscselectMask"]),
        attributes: bytes(&json["attributes"]),
        attributes_mask: bytes(&json["attributesMask"]),
        mr_signer: bytes(&json["mrsigner"]),
        isv_prod_id: number(&json["isvprodid"]),
        levels: isv_levels(&json["tcbLevels"]),
    }
}

macro_rules! intel {
    ($name:literal) => {
        include_str!(concat!("../../../vectors/attestation/intel/", $name, "_collateral.json"))
    };
}

#[test]
fn the_documents_have_intels_exact_form() {
    for collateral in [
        intel!("sgx_quote"),
        intel!("tdx_quote"),
        intel!("tdx_quote_outdated"),
        intel!("tdx_quote_td15ex"),
    ] {
        let collateral: Value = serde_json::from_str(collateral).unwrap();
        let text = collateral["tcb_info"].as_str().unwrap();
        assert_eq!(tcb_info(&serde_json::from_str(text).unwrap()).to_json(), text);
        let text = collateral["qe_identity"].as_str().unwrap();
        assert_eq!(qe_identity(&serde_json::from_str(text).unwrap()).to_json(), text);
    }
}

// Dates of certificates.

fn of_root(change: impl FnOnce(&mut RootSpec)) -> Case {
    let mut spec = RootSpec::from_seed(DEVELOPMENT_SEED);
    change(&mut spec);
    case(|case| {
        case.root = DevelopmentRoot::new(&spec);
        case.policy.root = phallama_attest::TrustRoot::Development(case.root.root_der().to_vec());
    })
}

#[test]
fn each_certificate_can_expire() {
    let validity = Validity { not_after_unix_s: NOW - 1, ..Validity::default() };
    let expected = Rejection::CollateralExpired {
        item: CollateralItem::Certificate,
        next_update_unix_s: NOW - 1,
        now_unix_s: NOW,
    };
    let leaf = case(|case| case.platform.pck_validity = validity);
    assert_eq!(leaf.rejection(), expected);
    assert_eq!(of_root(|spec| spec.platform_ca = validity).rejection(), expected);
    assert_eq!(of_root(|spec| spec.tcb_signer = validity).rejection(), expected);
    assert_eq!(of_root(|spec| spec.root = validity).rejection(), expected);
    of_root(|spec| spec.processor_ca = validity).accepted();
}

#[test]
fn certificates_may_be_valid_beyond_2049() {
    // 2060-01-01T00:00:00Z.
    let validity = Validity { not_after_unix_s: 2_840_140_800, ..Validity::default() };
    of_root(|spec| (spec.root, spec.platform_ca) = (validity, validity)).accepted();
    case(|case| case.platform.pck_validity = validity).accepted();
}

// The two CAs of PCK certificates.

fn one_processor(case: &mut Case) {
    case.platform.ca = PckCa::Processor;
}

#[test]
fn a_machine_of_the_processor_ca_is_accepted_and_can_be_revoked() {
    case(one_processor).accepted();
    for revoked in [RevokedCertificate::Pck, RevokedCertificate::ProcessorCa] {
        let refused = case(|case| {
            one_processor(case);
            case.collateral.revoked.push(revoked);
        });
        let rejection = refused.rejection();
        assert!(matches!(rejection, Rejection::CertificateRevoked { .. }), "{rejection:?}");
    }
}

#[test]
fn the_other_cas_revocation_is_no_concern() {
    case(|case| case.collateral.revoked.push(RevokedCertificate::ProcessorCa)).accepted();
    case(|case| {
        one_processor(case);
        case.collateral.revoked.push(RevokedCertificate::PlatformCa);
    })
    .accepted();
}

#[test]
fn the_list_of_the_other_ca_covers_nothing() {
    let case = case(one_processor);
    let crl = CrlSpec {
        this_update_unix_s: NOW - 1,
        next_update_unix_s: NOW + 1,
        number: 1,
        revoked: vec![],
        extensions: vec![],
    };
    let rejection = case.rejection_after(|evidence| {
        evidence.collateral.pck_crl = case.root.crl(Authority::PlatformCa, &crl);
    });
    assert_eq!(rejection, Rejection::RevocationUnknown);
}

// Anything can be signed.

#[test]
fn signing_the_same_part_again_gives_the_same_certificate_and_list() {
    let case = Case::valid();
    let machine = case.machine();
    let leaf = machine.pck_der();
    assert_eq!(case.root.signed_der(Authority::PlatformCa, signed_part(leaf)), leaf);
    let list = case.evidence().collateral.pck_crl;
    assert_eq!(case.root.signed_der(Authority::PlatformCa, signed_part(&list)), list);
}

#[test]
fn a_changed_certificate_can_be_signed_and_used() {
    let case = Case::valid();
    let machine = case.machine();
    let mut tbs = signed_part(machine.pck_der()).to_vec();
    let ppid = machine.machine_identity();
    let at = tbs.windows(16).position(|window| window == ppid).unwrap();
    tbs[at] ^= 1;
    let machine = machine.with_pck_der(case.root.signed_der(Authority::PlatformCa, &tbs));
    let mut got = ppid.to_vec();
    got[0] ^= 1;
    let evidence = machine.evidence(&case.enclave, &case.collateral);
    let expected = Rejection::MachineIdentity { got, expected: ppid.to_vec() };
    assert_eq!(case.rejection_of(&evidence), expected);
}

fn unknown_extension() -> ExtensionSpec {
    ExtensionSpec { oid: vec![1, 2, 3, 4], critical: true, value: vec![5, 0] }
}

#[test]
fn an_unknown_critical_extension_of_a_certificate_is_refused() {
    let refused = case(|case| case.platform.pck_extensions.push(unknown_extension()));
    let rejection = refused.rejection();
    assert!(matches!(rejection, Rejection::CertificateChainInvalid { .. }), "{rejection:?}");
    let harmless = ExtensionSpec { critical: false, ..unknown_extension() };
    case(|case| case.platform.pck_extensions.push(harmless)).accepted();
}

fn with_items(change: impl FnOnce(&mut CollateralItems)) -> (Case, Evidence) {
    let case = Case::valid();
    let machine: SimulatedPlatform = case.machine();
    let mut items = CollateralItems::new(&machine, Tee::Sgx, &CollateralSpec::fresh(NOW));
    change(&mut items);
    let evidence =
        Evidence { quote: machine.quote(&case.enclave), collateral: machine.collateral(&items) };
    (case, evidence)
}

#[test]
fn an_unknown_critical_extension_of_a_list_is_refused() {
    let (case, evidence) = with_items(|items| items.pck_crl.extensions.push(unknown_extension()));
    let rejection = case.rejection_of(&evidence);
    assert!(matches!(rejection, Rejection::CertificateChainInvalid { .. }), "{rejection:?}");
}

#[test]
fn a_list_may_have_thousands_of_serials() {
    let (case, evidence) = with_items(|items| {
        let serial = |n: u32| [&[0x80; 16][..], &n.to_be_bytes()].concat();
        items.pck_crl.revoked = (0..2000).map(serial).collect();
    });
    assert!(evidence.collateral.pck_crl.len() > 100_000);
    case.verify(&evidence).unwrap();
}

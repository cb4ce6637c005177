//! From valid evidence, one change each, and the exact reason. Sections follow the checklist of
//! `spec/attestation.md`.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Case, MEASUREMENT, NOW, binding, case};
use phallama_attest::simulated::{
    ATTRIBUTES, CollateralSpec, DEBUG_BIT, DevelopmentRoot, EINITTOKEN_KEY_BIT, PROVISION_KEY_BIT,
    PlatformSpec, RevokedCertificate, SimulatedPlatform,
};
use phallama_attest::{
    AcceptedTcb, CheckName, CheckState, Collateral, CollateralItem, Expected, Rejection,
    ReportDataPart, RootKind, TcbComponent, TcbStatus, TrustRoot, report_data,
};

/// Offsets in an SGX v3 quote.
const MR_ENCLAVE: usize = 48 + 64;
const AUTHENTICATION: usize = 48 + 384 + 4;
const QE_REPORT_SIGNATURE: usize = AUTHENTICATION + 64 + 64 + 384;
const QE_AUTHENTICATION_DATA: usize = QE_REPORT_SIGNATURE + 64 + 2;
const CERTIFICATION_TYPE: usize = QE_AUTHENTICATION_DATA + 32;

fn flip_last(bytes: &mut [u8]) {
    *bytes.last_mut().expect("not empty") ^= 1;
}

// 1. Size, type, exact length.

#[test]
fn rejects_a_quote_over_the_size_limit() {
    let got = Case::valid().evidence().quote.len();
    let refused = case(|case| case.policy.quote_max_bytes = got - 1);
    assert_eq!(refused.rejection(), Rejection::QuoteTooLarge { got, max: got - 1 });
}

#[test]
fn rejects_sgx_quotes_that_are_not_version_3() {
    let rejection = Case::valid().rejection_after(|evidence| evidence.quote[0] = 4);
    assert_eq!(rejection, Rejection::QuoteTypeUnsupported { version: 4, tee_type: 0 });
}

#[test]
fn rejects_an_unknown_tee_type() {
    let rejection = Case::valid().rejection_after(|evidence| evidence.quote[4] = 0x82);
    assert_eq!(rejection, Rejection::QuoteTypeUnsupported { version: 3, tee_type: 0x82 });
}

#[test]
fn rejects_a_byte_after_the_quote() {
    let declared = Case::valid().evidence().quote.len();
    let rejection = Case::valid().rejection_after(|evidence| evidence.quote.push(0));
    assert_eq!(rejection, Rejection::QuoteLength { got: declared + 1, declared });
}

#[test]
fn rejects_a_quote_without_its_last_byte() {
    let declared = Case::valid().evidence().quote.len();
    let rejection = Case::valid().rejection_after(|evidence| {
        evidence.quote.pop();
    });
    assert_eq!(rejection, Rejection::QuoteLength { got: declared - 1, declared });
}

#[test]
fn rejects_an_empty_quote() {
    let rejection = Case::valid().rejection_after(|evidence| evidence.quote.clear());
    assert_eq!(rejection, Rejection::QuoteLength { got: 0, declared: 48 });
}

#[test]
fn rejects_authentication_data_with_bytes_left_over() {
    // One byte less of certificates leaves one byte that belongs to nothing.
    let rejection =
        Case::valid().rejection_after(|evidence| evidence.quote[CERTIFICATION_TYPE + 2] -= 1);
    assert!(matches!(rejection, Rejection::QuoteMalformed { .. }), "{rejection:?}");
}

// 2. The certificates are the quote's own.

#[test]
fn rejects_a_quote_without_a_certificate_chain() {
    let rejection =
        Case::valid().rejection_after(|evidence| evidence.quote[CERTIFICATION_TYPE] = 3);
    assert_eq!(rejection, Rejection::NoCertificateChain { certification_type: 3 });
}

#[test]
fn rejects_another_machines_chain_in_the_collateral() {
    let case = Case::valid();
    let other = SimulatedPlatform::new(&case.root, PlatformSpec::from_seed(b"machine 2"));
    let rejection = case.rejection_after(|evidence| {
        evidence.collateral.pck_certificate_chain = Some(other.pck_chain_pem().to_owned());
    });
    assert_eq!(rejection, Rejection::ForeignCertificateChain);
}

#[test]
fn rejects_a_chain_in_the_collateral_that_is_not_pem() {
    let rejection = Case::valid().rejection_after(|evidence| {
        evidence.collateral.pck_certificate_chain = Some(String::new());
    });
    assert_eq!(rejection, Rejection::ForeignCertificateChain);
}

// 3. Dates. One item at a time is taken from older or newer collateral.

fn with_item_from(spec: &CollateralSpec, take: fn(&mut Collateral, Collateral)) -> Rejection {
    let case = Case::valid();
    let other = case.machine().evidence(&case.enclave, spec).collateral;
    case.rejection_after(|evidence| take(&mut evidence.collateral, other))
}

type Take = fn(&mut Collateral, Collateral);
type Edit = fn(&mut Collateral);

const ITEMS: [(CollateralItem, Take); 4] = [
    (CollateralItem::TcbInfo, |to, from| {
        (to.tcb_info, to.tcb_info_signature) = (from.tcb_info, from.tcb_info_signature);
    }),
    (CollateralItem::QeIdentity, |to, from| {
        (to.qe_identity, to.qe_identity_signature) = (from.qe_identity, from.qe_identity_signature);
    }),
    (CollateralItem::RootCrl, |to, from| to.root_ca_crl = from.root_ca_crl),
    (CollateralItem::PckCrl, |to, from| to.pck_crl = from.pck_crl),
];

#[test]
fn rejects_each_item_that_has_expired() {
    for (item, take) in ITEMS {
        let spec = CollateralSpec { next_update_unix_s: NOW, ..CollateralSpec::fresh(NOW) };
        let expected =
            Rejection::CollateralExpired { item, next_update_unix_s: NOW, now_unix_s: NOW };
        assert_eq!(with_item_from(&spec, take), expected);
    }
}

#[test]
fn rejects_each_item_from_the_future() {
    for (item, take) in ITEMS {
        let spec = CollateralSpec { issued_at_unix_s: NOW + 1, ..CollateralSpec::fresh(NOW) };
        let expected =
            Rejection::CollateralNotYetValid { item, issued_at_unix_s: NOW + 1, now_unix_s: NOW };
        assert_eq!(with_item_from(&spec, take), expected);
    }
}

#[test]
fn rejects_collateral_that_cannot_be_read() {
    let edits: [(CollateralItem, Edit); 4] = [
        (CollateralItem::TcbInfo, |collateral| collateral.tcb_info.push('}')),
        (CollateralItem::QeIdentity, |collateral| {
            collateral.qe_identity = collateral.qe_identity.replacen("Z\"", "+00:00\"", 1);
        }),
        (CollateralItem::RootCrl, |collateral| collateral.root_ca_crl.push(0)),
        (CollateralItem::PckCrl, |collateral| collateral.pck_crl.clear()),
    ];
    for (item, edit) in edits {
        match Case::valid().rejection_after(|evidence| edit(&mut evidence.collateral)) {
            Rejection::CollateralMalformed { item: got, .. } => assert_eq!(got, item),
            other => panic!("{item}: {other:?}"),
        }
    }
}

/// 2020-01-01T00:00:00Z and 2045-12-31T23:59:59Z: the certificates' dates.
const CERTIFICATES: (u64, u64) = (1_577_836_800, 2_398_377_599);

fn at(now: u64) -> Case {
    case(|case| (case.now, case.collateral) = (now, CollateralSpec::fresh(now)))
}

#[test]
fn rejects_certificates_that_have_expired() {
    let item = CollateralItem::Certificate;
    // The path validator still accepts the last second; validity here ends before it.
    for now_unix_s in [CERTIFICATES.1, CERTIFICATES.1 + 1] {
        let next_update_unix_s = CERTIFICATES.1;
        let expected = Rejection::CollateralExpired { item, next_update_unix_s, now_unix_s };
        assert_eq!(at(now_unix_s).rejection(), expected);
    }
    at(CERTIFICATES.1 - 1).accepted();
}

#[test]
fn rejects_certificates_from_the_future() {
    let expected = Rejection::CollateralNotYetValid {
        item: CollateralItem::Certificate,
        issued_at_unix_s: CERTIFICATES.0,
        now_unix_s: CERTIFICATES.0 - 1,
    };
    assert_eq!(at(CERTIFICATES.0 - 1).rejection(), expected);
    at(CERTIFICATES.0).accepted();
}

// 4. Chains, revocation and signatures of the collateral.

#[test]
fn rejects_a_collateral_signer_of_another_root() {
    let case = Case::valid();
    let other = DevelopmentRoot::from_seed(b"another root");
    let machine = SimulatedPlatform::new(&other, case.platform.clone());
    let foreign = machine.evidence(&case.enclave, &case.collateral).collateral;
    let rejection = case.rejection_after(|evidence| {
        evidence.collateral.tcb_info_issuer_chain = foreign.tcb_info_issuer_chain;
    });
    assert!(matches!(rejection, Rejection::CertificateChainInvalid { .. }), "{rejection:?}");
}

#[test]
fn rejects_a_collateral_signer_without_a_certificate() {
    let rejection =
        Case::valid().rejection_after(|evidence| evidence.collateral.tcb_info_issuer_chain.clear());
    assert!(matches!(rejection, Rejection::CertificateChainInvalid { .. }), "{rejection:?}");
}

#[test]
fn rejects_a_pck_certificate_as_collateral_signer() {
    let case = Case::valid();
    let rejection = case.rejection_after(|evidence| {
        evidence.collateral.tcb_info_issuer_chain = case.machine().pck_chain_pem().to_owned();
    });
    assert!(matches!(rejection, Rejection::CertificateChainInvalid { .. }), "{rejection:?}");
}

#[test]
fn rejects_each_revoked_certificate_by_name() {
    for (revoked, name) in [
        (RevokedCertificate::Root, "Root CA"),
        (RevokedCertificate::TcbSigner, "TCB Signing"),
        (RevokedCertificate::PlatformCa, "PCK Platform CA"),
        (RevokedCertificate::Pck, "PCK Certificate"),
    ] {
        match case(|case| case.collateral.revoked.push(revoked)).rejection() {
            Rejection::CertificateRevoked { subject, serial } => {
                assert!(subject.contains(name), "{subject}");
                assert_eq!(serial.len(), 20);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn rejects_a_revoked_certificate_among_many() {
    let refused = case(|case| {
        let others = (0..500_u16).map(|n| [&[0x41][..], &n.to_be_bytes()].concat());
        case.collateral.revoked.extend(others.map(RevokedCertificate::PckSerial));
        case.collateral.revoked.push(RevokedCertificate::Pck);
    });
    let serial = refused.machine().pck_serial();
    match refused.rejection() {
        Rejection::CertificateRevoked { serial: got, .. } => assert_eq!(got, serial),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rejects_a_revocation_list_of_another_ca() {
    let rejection = Case::valid().rejection_after(|evidence| {
        evidence.collateral.pck_crl.clone_from(&evidence.collateral.root_ca_crl);
    });
    assert_eq!(rejection, Rejection::RevocationUnknown);
}

#[test]
fn rejects_each_item_with_a_wrong_signature() {
    let edits: [(CollateralItem, Edit); 4] = [
        (CollateralItem::TcbInfo, |collateral| flip_last(&mut collateral.tcb_info_signature)),
        (CollateralItem::QeIdentity, |collateral| {
            flip_last(&mut collateral.qe_identity_signature);
        }),
        (CollateralItem::RootCrl, |collateral| flip_last(&mut collateral.root_ca_crl)),
        (CollateralItem::PckCrl, |collateral| flip_last(&mut collateral.pck_crl)),
    ];
    for (item, edit) in edits {
        let rejection = Case::valid().rejection_after(|evidence| edit(&mut evidence.collateral));
        assert_eq!(rejection, Rejection::CollateralSignature { item });
    }
}

#[test]
fn rejects_a_signed_document_with_one_character_changed() {
    let rejection = Case::valid().rejection_after(|evidence| {
        let document = &mut evidence.collateral.tcb_info;
        *document = document.replace(r#"Number":17"#, r#"Number":18"#);
    });
    assert_eq!(rejection, Rejection::CollateralSignature { item: CollateralItem::TcbInfo });
}

// 5. The quoting enclave.

/// Signs the QE identity again after an edit.
fn with_qe_identity(from: &str, to: &str) -> Rejection {
    let case = Case::valid();
    case.rejection_after(|evidence| {
        let collateral = &mut evidence.collateral;
        collateral.qe_identity = collateral.qe_identity.replace(from, to);
        collateral.qe_identity_signature = case.root.sign_collateral(&collateral.qe_identity);
    })
}

#[test]
fn rejects_another_quoting_enclave() {
    let signer = hex::encode_upper(Case::valid().platform.quoting_enclave.mr_signer);
    for (from, to) in [
        (signer.as_str(), "00".repeat(32).as_str()),
        (r#""isvprodid":1"#, r#""isvprodid":2"#),
        (r#""miscselect":"00000000""#, r#""miscselect":"00000001""#),
        (r#""attributes":"11"#, r#""attributes":"01"#),
        (r#""id":"QE""#, r#""id":"TD_QE""#),
        (r#""isvsvn":8"#, r#""isvsvn":9"#),
    ] {
        let rejection = with_qe_identity(from, to);
        assert!(matches!(rejection, Rejection::QeIdentity { .. }), "{from}: {rejection:?}");
    }
}

#[test]
fn rejects_a_quoting_enclave_below_every_rated_version() {
    match case(|case| case.platform.quoting_enclave.isv_svn = 7).rejection() {
        Rejection::QeIdentity { detail } => assert!(detail.contains("ISVSVN 7"), "{detail}"),
        other => panic!("{other:?}"),
    }
}

// 6. The quote's signatures.

#[test]
fn rejects_a_quoting_enclave_report_that_the_pck_did_not_sign() {
    let rejection =
        Case::valid().rejection_after(|evidence| evidence.quote[QE_REPORT_SIGNATURE + 63] ^= 1);
    assert_eq!(rejection, Rejection::QeReportSignature);
}

#[test]
fn rejects_another_machines_certificates_in_the_quote() {
    let case = Case::valid();
    let other = SimulatedPlatform::new(&case.root, PlatformSpec::from_seed(b"machine 2"));
    let other = other.evidence(&case.enclave, &case.collateral).quote;
    let rejection = case.rejection_after(|evidence| {
        evidence.quote.truncate(CERTIFICATION_TYPE);
        evidence.quote.extend(&other[CERTIFICATION_TYPE..]);
        let length = u32::try_from(evidence.quote.len() - AUTHENTICATION).unwrap();
        evidence.quote[AUTHENTICATION - 4..AUTHENTICATION].copy_from_slice(&length.to_le_bytes());
    });
    assert_eq!(rejection, Rejection::QeReportSignature);
}

#[test]
fn rejects_an_attestation_key_that_the_quoting_enclave_does_not_name() {
    let rejection =
        Case::valid().rejection_after(|evidence| evidence.quote[QE_AUTHENTICATION_DATA] ^= 1);
    assert_eq!(rejection, Rejection::AttestationKeyNotBound);
}

#[test]
fn rejects_a_quoting_enclave_that_reports_more_than_the_attestation_key() {
    let case = Case::valid();
    let mut parts = case.machine().quote_parts(&case.enclave);
    flip_last(&mut parts.qe_report);
    parts.qe_report_signature = case.machine().sign_with_pck(&parts.qe_report);
    let rejection = case.rejection_after(|evidence| evidence.quote = parts.to_bytes());
    assert_eq!(rejection, Rejection::AttestationKeyNotBound);
}

#[test]
fn rejects_a_measurement_that_was_changed_after_signing() {
    let rejection = Case::valid().rejection_after(|evidence| evidence.quote[MR_ENCLAVE] ^= 1);
    assert_eq!(rejection, Rejection::QuoteSignature);
}

// 7. Attributes.

fn with_flags(flags: u8) -> Rejection {
    case(|case| case.enclave.attributes[0] |= flags).rejection()
}

fn attributes(flags: u8) -> String {
    let mut attributes = ATTRIBUTES;
    attributes[0] |= flags;
    hex::encode(attributes)
}

#[test]
fn rejects_an_enclave_in_debug_mode() {
    let attributes = attributes(DEBUG_BIT);
    assert_eq!(with_flags(DEBUG_BIT), Rejection::DebugEnabled { attributes });
}

#[test]
fn rejects_an_enclave_with_intel_only_keys() {
    for flag in [PROVISION_KEY_BIT, EINITTOKEN_KEY_BIT] {
        let attributes = attributes(flag);
        assert_eq!(with_flags(flag), Rejection::PrivilegedKeys { attributes });
    }
}

// 8. TCB status.

#[test]
fn the_strict_policy_rejects_every_other_status() {
    for status in [
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
    ] {
        let rejection = case(|case| case.collateral.tcb_status = status).rejection();
        let expected = Rejection::TcbStatusNotAccepted {
            component: TcbComponent::Platform,
            got: status,
            advisory_ids: vec![],
            accepted: vec![TcbStatus::UpToDate],
        };
        assert_eq!(rejection, expected);
    }
}

#[test]
fn rejects_a_revoked_platform_even_if_a_policy_lists_it() {
    let refused = case(|case| {
        case.collateral.tcb_status = TcbStatus::Revoked;
        let listed = AcceptedTcb { status: TcbStatus::Revoked, advisory_ids: vec![] };
        case.policy.accepted_tcb.push(listed);
    });
    assert_eq!(refused.rejection(), Rejection::TcbRevoked);
}

#[test]
fn rejects_a_revoked_quoting_enclave() {
    let refused = case(|case| case.collateral.qe_status = TcbStatus::Revoked);
    assert_eq!(refused.rejection(), Rejection::TcbRevoked);
}

#[test]
fn rejects_a_quoting_enclave_status_that_the_merged_status_hides() {
    let rejection =
        case(|case| case.collateral.qe_status = TcbStatus::ConfigurationNeeded).rejection();
    let expected = Rejection::TcbStatusNotAccepted {
        component: TcbComponent::QuotingEnclave,
        got: TcbStatus::ConfigurationNeeded,
        advisory_ids: vec![],
        accepted: vec![TcbStatus::UpToDate],
    };
    assert_eq!(rejection, expected);
}

#[test]
fn rejects_an_advisory_that_is_not_listed_with_its_status() {
    let listed = vec!["INTEL-SA-00334".to_owned()];
    let refused = case(|case| {
        case.collateral.tcb_status = TcbStatus::SWHardeningNeeded;
        case.collateral.advisory_ids = vec![listed[0].clone(), "INTEL-SA-00615".to_owned()];
        case.policy.accepted_tcb.push(AcceptedTcb {
            status: TcbStatus::SWHardeningNeeded,
            advisory_ids: listed.clone(),
        });
    });
    let expected = Rejection::AdvisoryNotAccepted {
        status: TcbStatus::SWHardeningNeeded,
        got: "INTEL-SA-00615".to_owned(),
        accepted: listed,
    };
    assert_eq!(refused.rejection(), expected);
}

#[test]
fn rejects_firmware_below_every_level() {
    let refused = case(|case| {
        let mut above = case.platform.cpu_svn;
        above[0] += 1;
        case.collateral.cpu_svn_min = Some(above);
    });
    assert_eq!(refused.rejection(), Rejection::NoTcbLevel);
}

#[test]
fn rejects_tcb_information_for_another_processor_family() {
    let rejection = case(|case| case.collateral.fmspc = Some([9; 6])).rejection();
    let detail = "Fmspc mismatch".to_owned();
    assert_eq!(rejection, Rejection::CollateralForOtherPlatform { detail });
}

// 9. TCB evaluation number.

#[test]
fn rejects_collateral_older_than_what_was_seen() {
    let refused = case(|case| case.policy.tcb_evaluation_number_min = 18);
    assert_eq!(refused.rejection(), Rejection::TcbEvaluationNumber { got: 17, min: 18 });
}

// 10. Measurement.

#[test]
fn rejects_a_measurement_that_is_not_listed() {
    let accepted = vec![[9; 32]];
    let refused = case(|case| case.policy.measurements.clone_from(&accepted));
    let expected = Rejection::MeasurementNotAccepted { got: MEASUREMENT, accepted };
    assert_eq!(refused.rejection(), expected);
}

#[test]
fn an_empty_list_of_measurements_accepts_nothing() {
    let refused = case(|case| case.policy.measurements.clear());
    let expected = Rejection::MeasurementNotAccepted { got: MEASUREMENT, accepted: vec![] };
    assert_eq!(refused.rejection(), expected);
}

#[test]
fn rejects_another_build_of_the_same_signer() {
    let refused = case(|case| case.enclave.mr_enclave = [9; 32]);
    let expected = Rejection::MeasurementNotAccepted { got: [9; 32], accepted: vec![MEASUREMENT] };
    assert_eq!(refused.rejection(), expected);
}

// 11. Report data.

#[test]
fn rejects_evidence_of_another_pod() {
    let mut other = binding();
    other.pod_id = [9; 32];
    let refused = case(|case| case.enclave.report_data = report_data(&other, fixture::NONCE));
    let expected = Rejection::ReportData {
        part: ReportDataPart::Binding,
        got: other.digest(),
        expected: binding().digest(),
    };
    assert_eq!(refused.rejection(), expected);
}

#[test]
fn rejects_evidence_for_another_nonce() {
    let refused = case(|case| case.enclave.report_data = report_data(&binding(), [9; 32]));
    let expected = Rejection::ReportData {
        part: ReportDataPart::Nonce,
        got: [9; 32],
        expected: fixture::NONCE,
    };
    assert_eq!(refused.rejection(), expected);
}

#[test]
fn rejects_empty_report_data() {
    let refused = case(|case| case.enclave.report_data = [0; 64]);
    let expected = Rejection::ReportData {
        part: ReportDataPart::Binding,
        got: [0; 32],
        expected: binding().digest(),
    };
    assert_eq!(refused.rejection(), expected);
}

// 12. Machine identity.

#[test]
fn rejects_another_genuine_machine() {
    let case = Case::valid();
    let other = SimulatedPlatform::new(&case.root, PlatformSpec::from_seed(b"machine 2"));
    let evidence = other.evidence(&case.enclave, &case.collateral);
    let expected = Rejection::MachineIdentity {
        got: other.machine_identity().to_vec(),
        expected: case.machine().machine_identity().to_vec(),
    };
    assert_eq!(case.rejection_of(&evidence), expected);
}

// The table of a refusal.

#[test]
fn the_table_of_a_refusal_says_what_was_passed_and_what_was_not_reached() {
    let refused = case(|case| case.enclave.attributes[0] |= DEBUG_BIT);
    let error = refused.verify(&refused.evidence()).unwrap_err();
    let (before, after) = error.checks.split_at(9);
    assert_eq!(after[0].name, CheckName::DebugOff);
    assert_eq!(after[0].state, CheckState::Fail);
    for check in before {
        assert_eq!(check.state, CheckState::Pass, "{check:?}");
    }
    for check in &after[1..] {
        assert_eq!((check.state, check.detail.as_str()), (CheckState::Skip, "not reached"));
    }
}

#[test]
fn a_chain_failure_leaves_no_pass_on_what_it_interrupted() {
    let refused = case(|case| case.policy.root = TrustRoot::Intel);
    let error = refused.verify(&refused.evidence()).unwrap_err();
    assert!(
        matches!(error.rejection, Rejection::UntrustedRoot { trusted: RootKind::Intel, .. }),
        "{error}"
    );
    for check in error.checks.iter().skip(5) {
        assert_eq!(check.state, CheckState::Skip, "{check:?}");
    }
}

#[test]
fn nothing_but_the_report_data_binds_evidence_to_a_pod() {
    let expected = Expected::new(&binding(), fixture::NONCE);
    assert_eq!(expected.report_data, report_data(&binding(), fixture::NONCE));
    assert_eq!(expected.machine_identity, None);
}

//! The simulated platform: accepted under its root by the same verifier that judges hardware.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Case, MEASUREMENT, NOW, case};
use phallama_attest::simulated::{
    CollateralSpec, DevelopmentRoot, PlatformSpec, RevokedCertificate, SimulatedPlatform,
};
use phallama_attest::{
    AcceptedTcb, CheckName, CheckState, Evidence, Rejection, RootKind, TcbStatus, Tee, TrustRoot,
};

#[test]
fn a_simulated_quote_is_accepted_under_its_root() {
    let case = Case::valid();
    let verified = case.accepted();
    assert_eq!(verified.root(), RootKind::Development);
    assert_eq!(verified.measurement(), MEASUREMENT);
    assert_eq!(verified.tee(), Tee::Sgx);
    assert_eq!(verified.mr_signer(), Some(case.enclave.mr_signer));
    assert_eq!(verified.report_data(), case.expected.report_data);
    assert_eq!(verified.tcb_status(), TcbStatus::UpToDate);
    assert_eq!(verified.advisory_ids(), [""; 0]);
    assert_eq!(verified.fmspc(), case.platform.fmspc);
    assert_eq!(verified.machine_identity(), case.machine().machine_identity());
    assert_eq!(verified.tcb_evaluation_number(), 17);
    assert_eq!(verified.expires_at_unix_s(), case.collateral.next_update_unix_s);
    assert_eq!(verified.evidence_hash(), case.evidence().hash());
}

#[test]
fn every_check_of_accepted_evidence_is_a_pass() {
    let verified = Case::valid().accepted();
    let names: Vec<_> = verified.checks().iter().map(|check| check.name).collect();
    assert_eq!(names, CheckName::ALL);
    for check in verified.checks() {
        assert_eq!(check.state, CheckState::Pass, "{check:?}");
    }
}

#[test]
fn a_machine_that_nobody_registered_is_a_skip_and_not_a_pass() {
    let verified = case(|case| case.expected.machine_identity = None).accepted();
    for check in verified.checks() {
        let skipped = check.name == CheckName::MachineIdentity;
        let state = if skipped { CheckState::Skip } else { CheckState::Pass };
        assert_eq!(check.state, state, "{check:?}");
    }
}

#[test]
fn a_simulated_quote_is_refused_under_intels_root() {
    let refused = case(|case| case.policy.root = TrustRoot::Intel);
    let own_root = TrustRoot::Development(refused.root.root_der().to_vec()).sha256();
    let rejection = refused.rejection();
    assert_eq!(
        rejection,
        Rejection::UntrustedRoot {
            trusted: RootKind::Intel,
            trusted_sha256: TrustRoot::Intel.sha256(),
            got_sha256: Some(own_root),
        }
    );
    assert_eq!(
        rejection.to_string(),
        "the evidence is not signed under Intel's SGX root (SHA-256 \
         44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3)"
    );
}

#[test]
fn another_development_root_is_refused() {
    let other = DevelopmentRoot::from_seed(b"another root").root_der().to_vec();
    let refused = case(|case| case.policy.root = TrustRoot::Development(other.clone()));
    let trusted_sha256 = TrustRoot::Development(other).sha256();
    match refused.rejection() {
        Rejection::UntrustedRoot {
            trusted: RootKind::Development, trusted_sha256: pinned, ..
        } => {
            assert_eq!(pinned, trusted_sha256);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_same_seeds_give_the_same_bytes() {
    let (first, second) = (Case::valid(), Case::valid());
    assert_eq!(first.root.root_der(), second.root.root_der());
    assert_eq!(first.evidence(), second.evidence());
}

#[test]
fn machines_of_one_root_have_their_own_identity_and_keys() {
    let root = DevelopmentRoot::from_seed(b"root");
    let machine = |seed| SimulatedPlatform::new(&root, PlatformSpec::from_seed(seed));
    let (first, second) = (machine(b"1"), machine(b"2"));
    assert_ne!(first.machine_identity(), second.machine_identity());
    assert_ne!(first.pck_serial(), second.pck_serial());
}

#[test]
fn evidence_survives_its_json_form() {
    let case = Case::valid();
    let json = case.evidence().to_json().unwrap();
    let decoded = Evidence::from_json(&json).unwrap();
    assert_eq!(decoded, case.evidence());
    assert_eq!(case.verify(&decoded), Ok(case.accepted()));
}

#[test]
fn a_copy_of_the_own_pck_chain_in_the_collateral_is_harmless() {
    let case = Case::valid();
    let mut evidence = case.evidence();
    evidence.collateral.pck_certificate_chain = Some(case.machine().pck_chain_pem().to_owned());
    assert_eq!(case.verify(&evidence), Ok(case.accepted()));
}

#[test]
fn validity_starts_at_the_issue_date_and_ends_before_the_next_update() {
    let dates = CollateralSpec::fresh(NOW);
    for now in [dates.issued_at_unix_s, dates.next_update_unix_s - 1] {
        case(|case| case.now = now).accepted();
    }
}

#[test]
fn a_listed_status_with_listed_advisories_is_accepted() {
    let advisory_ids = vec!["INTEL-SA-00334".to_owned(), "INTEL-SA-00615".to_owned()];
    let listed =
        AcceptedTcb { status: TcbStatus::SWHardeningNeeded, advisory_ids: advisory_ids.clone() };
    let verified = case(|case| {
        case.collateral.tcb_status = TcbStatus::SWHardeningNeeded;
        case.collateral.advisory_ids.clone_from(&advisory_ids);
        case.policy.accepted_tcb.push(listed);
    })
    .accepted();
    assert_eq!(verified.tcb_status(), TcbStatus::SWHardeningNeeded);
    assert_eq!(verified.advisory_ids(), advisory_ids);
}

#[test]
fn the_evaluation_number_to_remember_never_falls() {
    let verified = case(|case| case.policy.tcb_evaluation_number_min = 17).accepted();
    assert_eq!(verified.tcb_evaluation_number(), 17);
    let newer = case(|case| {
        case.policy.tcb_evaluation_number_min = verified.tcb_evaluation_number();
        case.collateral.tcb_evaluation_number = 18;
    });
    assert_eq!(newer.accepted().tcb_evaluation_number(), 18);
}

#[test]
fn another_machines_revocation_is_no_concern() {
    case(|case| {
        let serials = [[0x41; 20], [0x42; 20]].map(|serial| serial.to_vec());
        case.collateral.revoked.extend(serials.map(RevokedCertificate::PckSerial));
    })
    .accepted();
}

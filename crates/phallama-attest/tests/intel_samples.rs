//! Quotes of real Intel machines, at times inside and outside the validity of their collateral.
//! Where they come from: `vectors/attestation/intel/PROVENANCE.md`.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_attest::{
    AcceptedTcb, CheckName, CheckState, Collateral, CollateralItem, Evidence, Expected, Policy,
    Rejection, RootKind, TcbComponent, TcbStatus, Tee, TrustRoot, VerifiedEvidence, VerifyError,
    td_measurement, verify,
};

/// 2025-06-25, 2026-03-01 and 2026-10-20, 00:00:00Z: inside the windows of the samples.
const JUNE_2025: u64 = 1_750_809_600;
const MARCH_2026: u64 = 1_772_323_200;
const OCTOBER_2026: u64 = 1_792_454_400;

macro_rules! sample {
    ($name:literal) => {
        sample(
            include_str!(concat!("../../../vectors/attestation/intel/", $name, ".hex")),
            include_str!(concat!("../../../vectors/attestation/intel/", $name, "_collateral.json")),
        )
    };
}

fn sample(quote: &str, collateral: &str) -> Evidence {
    let quote = hex::decode(quote.split_whitespace().collect::<String>()).unwrap();
    let collateral: Collateral = serde_json::from_str(collateral).unwrap();
    Evidence { quote, collateral }
}

fn sgx() -> Evidence {
    sample!("sgx_quote")
}

/// The TDX v4 sample without the 70 zero bytes that follow the quote in its file.
fn tdx_v4() -> Evidence {
    let mut evidence = sample!("tdx_quote");
    evidence.quote.truncate(4936);
    evidence
}

/// Where the report begins: TDX v5 has a type and a size before it.
fn report(quote: &[u8]) -> &[u8] {
    &quote[if quote[0] == 5 { 54 } else { 48 }..]
}

fn measurement(quote: &[u8]) -> [u8; 32] {
    if quote[0] == 3 {
        return report(quote)[64..96].try_into().unwrap();
    }
    let registers = report(quote)[136..520].as_chunks().0;
    td_measurement(registers.try_into().unwrap())
}

fn report_data(quote: &[u8]) -> [u8; 64] {
    let at = if quote[0] == 3 { 320 } else { 520 };
    report(quote)[at..at + 64].try_into().unwrap()
}

/// Strict, with the sample's own measurement and report data: what is under test is the rest.
fn policy(evidence: &Evidence) -> (Policy, Expected) {
    let report_data = report_data(&evidence.quote);
    let policy = Policy::strict(TrustRoot::Intel, vec![measurement(&evidence.quote)]);
    (policy, Expected { report_data, machine_identity: None })
}

fn strict(evidence: &Evidence, now: u64) -> Result<VerifiedEvidence, VerifyError> {
    let (policy, expected) = policy(evidence);
    verify(evidence, &policy, &expected, now)
}

fn rejection(evidence: &Evidence, now: u64) -> Rejection {
    strict(evidence, now).expect_err("must be refused").rejection
}

fn advisories() -> Vec<String> {
    ["INTEL-SA-00289", "INTEL-SA-00615"].map(str::to_owned).to_vec()
}

#[test]
fn the_strict_policy_refuses_the_sgx_sample_and_names_its_status() {
    let expected = Rejection::TcbStatusNotAccepted {
        component: TcbComponent::Platform,
        got: TcbStatus::ConfigurationAndSWHardeningNeeded,
        advisory_ids: advisories(),
        accepted: vec![TcbStatus::UpToDate],
    };
    assert_eq!(rejection(&sgx(), JUNE_2025), expected);
    assert_eq!(
        expected.to_string(),
        "the TCB status of the platform is ConfigurationAndSWHardeningNeeded \
         (INTEL-SA-00289, INTEL-SA-00615), and the policy accepts UpToDate"
    );
}

#[test]
fn a_policy_that_lists_its_status_accepts_the_sgx_sample() {
    let evidence = sgx();
    let (mut policy, expected) = policy(&evidence);
    policy.accepted_tcb.push(AcceptedTcb {
        status: TcbStatus::ConfigurationAndSWHardeningNeeded,
        advisory_ids: advisories(),
    });
    let verified = verify(&evidence, &policy, &expected, JUNE_2025).unwrap();
    assert_eq!(verified.root(), RootKind::Intel);
    assert_eq!(verified.measurement(), measurement(&evidence.quote));
    assert_eq!(verified.tcb_status(), TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(hex::encode(verified.fmspc()), "00a067110000");
    assert_eq!(hex::encode(verified.machine_identity()), "d04ec06d4e6d92dc90d0ad3cf5ee2ddf");
    assert_eq!(verified.tcb_evaluation_number(), 17);
    // 2025-07-19T10:01:18Z, the next update of the QE identity.
    assert_eq!(verified.expires_at_unix_s(), 1_752_919_278);
}

#[test]
fn the_sgx_sample_is_refused_on_either_side_of_its_window() {
    // TCB information is the last item issued, QE identity the first to expire.
    let issued_at_unix_s = 1_750_330_571;
    let now_unix_s = issued_at_unix_s - 1;
    let item = CollateralItem::TcbInfo;
    let early = Rejection::CollateralNotYetValid { item, issued_at_unix_s, now_unix_s };
    assert_eq!(rejection(&sgx(), now_unix_s), early);

    let next_update_unix_s = 1_752_919_278;
    let now_unix_s = next_update_unix_s;
    let item = CollateralItem::QeIdentity;
    let late = Rejection::CollateralExpired { item, next_update_unix_s, now_unix_s };
    assert_eq!(rejection(&sgx(), now_unix_s), late);
    let last = rejection(&sgx(), now_unix_s - 1);
    assert!(matches!(last, Rejection::TcbStatusNotAccepted { .. }), "{last:?}");
}

#[test]
fn a_real_quote_is_refused_under_the_development_root() {
    let evidence = sgx();
    let (mut policy, expected) = policy(&evidence);
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED).root_der().to_vec();
    policy.root = TrustRoot::Development(root);
    let rejection = verify(&evidence, &policy, &expected, JUNE_2025).unwrap_err().rejection;
    let expected = Rejection::UntrustedRoot {
        trusted: RootKind::Development,
        trusted_sha256: policy.root.sha256(),
        got_sha256: Some(TrustRoot::Intel.sha256()),
    };
    assert_eq!(rejection, expected);
}

#[test]
fn the_zero_bytes_after_the_tdx_sample_are_refused() {
    let expected = Rejection::QuoteLength { got: 5006, declared: 4936 };
    assert_eq!(rejection(&sample!("tdx_quote"), JUNE_2025), expected);
}

#[test]
fn up_to_date_trust_domains_are_accepted() {
    for (evidence, now, fmspc, number, expires_at_unix_s) in [
        // 2025-07-19T10:00:35Z and 2026-11-06T23:45:11Z, the next updates of the PCK revocation
        // list and of the QE identity.
        (tdx_v4(), JUNE_2025, "b0c06f000000", 17, 1_752_919_235),
        (sample!("tdx_quote_td15ex"), OCTOBER_2026, "b0c06f000000", 20, 1_794_008_711),
    ] {
        let verified = strict(&evidence, now).unwrap();
        assert_eq!(verified.root(), RootKind::Intel);
        assert_eq!(verified.tee(), Tee::Tdx);
        assert_eq!(verified.measurement(), measurement(&evidence.quote));
        assert_eq!(verified.mr_signer(), None);
        assert_eq!(verified.tcb_status(), TcbStatus::UpToDate);
        assert_eq!(hex::encode(verified.fmspc()), fmspc);
        assert_eq!(verified.tcb_evaluation_number(), number);
        assert_eq!(verified.expires_at_unix_s(), expires_at_unix_s);
    }
}

#[test]
fn a_trust_domain_that_is_not_listed_is_refused_for_its_measurement_alone() {
    let evidence = tdx_v4();
    let (mut policy, expected) = policy(&evidence);
    policy.measurements = vec![[9; 32]];
    let error = verify(&evidence, &policy, &expected, JUNE_2025).unwrap_err();
    let got = measurement(&evidence.quote);
    let accepted = vec![[9; 32]];
    assert_eq!(error.rejection, Rejection::MeasurementNotAccepted { got, accepted });
    let before = error.checks.iter().take_while(|check| check.name != CheckName::Measurement);
    assert_eq!(before.clone().count(), 12);
    for check in before {
        assert_eq!(check.state, CheckState::Pass, "{check:?}");
    }
}

#[test]
fn firmware_below_every_level_is_refused() {
    let rejection = rejection(&sample!("tdx_quote_outdated"), MARCH_2026);
    assert_eq!(rejection, Rejection::NoTcbLevel);
}

#[test]
fn the_same_quote_is_out_of_date_under_later_collateral() {
    let mut evidence = tdx_v4();
    evidence.collateral = sample!("tdx_quote_td15ex").collateral;
    evidence.collateral.pck_certificate_chain = None;
    match rejection(&evidence, OCTOBER_2026) {
        Rejection::TcbStatusNotAccepted { component, got, .. } => {
            assert_eq!(component, TcbComponent::Platform);
            assert_eq!(got, TcbStatus::OutOfDate);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_machines_chain_in_the_collateral_is_refused() {
    let mut evidence = tdx_v4();
    evidence.collateral = sample!("tdx_quote_td15ex").collateral;
    assert_eq!(rejection(&evidence, OCTOBER_2026), Rejection::ForeignCertificateChain);
}

#[test]
fn sgx_collateral_does_not_vouch_for_a_trust_domain() {
    let evidence = Evidence { quote: tdx_v4().quote, collateral: sgx().collateral };
    let rejection = rejection(&evidence, JUNE_2025);
    assert!(matches!(rejection, Rejection::QeIdentity { .. }), "{rejection:?}");
}

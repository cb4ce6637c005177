//! One reject test per step: a valid pod, one thing changed, the exact check that fails.

use phallama_attest::simulated::{DEBUG_BIT, DevelopmentRoot, RevokedCertificate};
use phallama_attest::{CheckState, Rejection, TcbStatus, TrustRoot};
use phallama_protocol::bundle::SignedBundle;
use phallama_protocol::ids::{Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;

use super::*;
use crate::config::ApprovedMeasurement;
use crate::fixture::{Fixture, MEASUREMENT};

const NOW: u64 = 1_800_000_000;

fn chain() -> ChainConfig {
    ChainConfig {
        rpc_url: "http://127.0.0.1:1".to_owned(),
        chain_id: 31_337,
        registry: Address([0xaa; 20]),
        escrow: Address([0xbb; 20]),
        token: Address([0xcc; 20]),
        timeout_ms: 1_000,
    }
}

fn pod() -> Fixture {
    Fixture::new(&chain(), PodId([0x7c; 32]), "http://127.0.0.1:2", NOW)
}

fn trust(pod: &Fixture) -> TrustPolicy {
    let label = "release 1".to_owned();
    let measurements = vec![ApprovedMeasurement { measurement: MEASUREMENT, label, policy: None }];
    TrustPolicy::danger_simulated(pod.root.root_der().to_vec(), measurements)
}

fn shown(
    pod: &Fixture,
    bundle: &SignedBundle,
    trust: &TrustPolicy,
    now_unix_s: u64,
) -> Result<VerifiedPod, Box<Refusal>> {
    let evidence = pod.evidence().to_json().unwrap();
    let presented = Presented { record: &pod.record, bundle: bundle.bytes(), evidence: &evidence };
    appraise(&presented, &chain(), trust, 0, now_unix_s)
}

fn appraised(pod: &Fixture) -> Result<VerifiedPod, Box<Refusal>> {
    shown(pod, &pod.bundle(), &trust(pod), NOW)
}

/// Exactly one check failed, and it is this one; nothing after it passed.
#[track_caller]
fn refused(result: Result<VerifiedPod, Box<Refusal>>, check: &str, said: &str) -> Box<Refusal> {
    let refusal = result.expect_err("the pod must be refused");
    let failed: Vec<_> =
        refusal.checks.iter().filter(|line| line.state == CheckState::Fail).collect();
    assert_eq!(failed.len(), 1, "{:#?}", refusal.checks);
    assert_eq!(failed[0].name, check, "{:#?}", refusal.checks);
    assert!(failed[0].detail.contains(said), "{}", failed[0].detail);
    assert_eq!(refusal.checks.last().unwrap().state, CheckState::Skip);
    refusal
}

/// Refuses a bundle with one field changed.
#[track_caller]
fn refused_bundle(change: impl FnOnce(&mut KeyBundle), check: &str, said: &str) {
    let pod = pod();
    let mut bundle = pod.key_bundle();
    change(&mut bundle);
    refused(shown(&pod, &bundle.sign(&pod.identity), &trust(&pod), NOW), check, said);
}

#[test]
fn a_pod_that_proves_everything_is_accepted() {
    let pod = pod();
    let verified = appraised(&pod).unwrap();
    assert_eq!(verified.release_label(), "release 1");
    assert_eq!(verified.evidence().measurement(), MEASUREMENT);
    let by_state = |state| {
        let lines = verified.checks().iter().filter(move |line| line.state == state);
        lines.map(|line| line.name).collect::<Vec<_>>()
    };
    assert_eq!(by_state(CheckState::Fail), [] as [&str; 0]);
    assert_eq!(
        by_state(CheckState::Skip),
        ["policy", "machine-identity", "on-chain-quote-verification"]
    );
    assert_eq!(verified.checks().len(), 25);
    assert_eq!(verified.bundle_good_until_unix_s(), NOW + 900);
    assert_eq!(verified.evidence_good_until_unix_s(), NOW + 86_400);
}

#[test]
fn rejects_a_retired_pod_before_anything_is_fetched() {
    let mut pod = pod();
    pod.record.retired = true;
    let refusal = check_record(&pod.record, NOW).unwrap_err();
    assert_eq!(refusal.failed().name, "chain-record");
    refused(appraised(&pod), "chain-record", "retired");
}

#[test]
fn rejects_a_pod_without_a_key() {
    let mut pod = pod();
    pod.record.identity = Address::ZERO;
    refused(appraised(&pod), "chain-record", "no enclave key");
}

#[test]
fn rejects_an_expired_key() {
    let mut pod = pod();
    pod.record.key_expiry_unix_s = NOW;
    refused(appraised(&pod), "chain-record", "expired at unix time 1800000000");
}

#[test]
fn rejects_offers_that_are_not_what_the_record_hashes() {
    let mut pod = pod();
    let bundle = pod.bundle();
    pod.record.offers[0].output_price_per_mtok = Amount::from(1);
    let result = shown(&pod, &bundle, &trust(&pod), NOW);
    refused(result, "bundle-matches-chain", "offers of the record");
}

#[test]
fn rejects_a_bundle_signed_by_a_stranger() {
    let pod = pod();
    let stranger = Signer::from_bytes(&[0x66; 32]).unwrap();
    let result = shown(&pod, &pod.key_bundle().sign(&stranger), &trust(&pod), NOW);
    refused(result, "bundle-signature", "was signed by");
}

#[test]
fn rejects_a_bundle_of_a_strangers_identity() {
    let pod = pod();
    let stranger = Signer::from_bytes(&[0x66; 32]).unwrap();
    let mut bundle = pod.key_bundle();
    bundle.identity = stranger.address();
    let result = shown(&pod, &bundle.sign(&stranger), &trust(&pod), NOW);
    refused(result, "bundle-matches-chain", "identity key");
}

#[test]
fn rejects_a_bundle_that_differs_from_the_chain() {
    let check = "bundle-matches-chain";
    refused_bundle(|bundle| bundle.chain_id = 1, check, "chain id: the bundle says 1");
    refused_bundle(|bundle| bundle.registry = Address([1; 20]), check, "registry");
    refused_bundle(|bundle| bundle.escrow = Address([1; 20]), check, "escrow");
    refused_bundle(|bundle| bundle.pod_id = PodId([1; 32]), check, "pod id");
    refused_bundle(|bundle| bundle.measurement = Digest32([1; 32]), check, "measurement");
    refused_bundle(|bundle| bundle.offers_hash = Digest32([1; 32]), check, "offers hash");
}

#[test]
fn rejects_a_bundle_outside_its_window() {
    let pod = pod();
    let late = shown(&pod, &pod.bundle(), &trust(&pod), NOW + 900 + 121);
    refused(late, "bundle-window", "valid until");
    refused_bundle(
        |bundle| {
            bundle.not_before_unix_s = NOW + 121;
            bundle.not_after_unix_s = NOW + 121 + 900;
        },
        "bundle-window",
        "valid from",
    );
    refused_bundle(|bundle| bundle.not_after_unix_s = NOW + 901, "bundle-window", "window");
}

#[test]
fn rejects_other_weights_than_offered() {
    refused_bundle(|bundle| bundle.model_set_root = Digest32([1; 32]), "model-set", "vouches for");
}

#[test]
fn rejects_evidence_that_is_no_document() {
    let pod = pod();
    let bundle = pod.bundle();
    let presented = Presented { record: &pod.record, bundle: bundle.bytes(), evidence: b"{}" };
    let result = appraise(&presented, &chain(), &trust(&pod), 0, NOW);
    refused(result, "evidence-format", "missing field");
}

#[test]
fn rejects_another_quote_than_the_chain_or_the_bundle_names() {
    let mut pod = pod();
    pod.record.quote_hash = Digest32([1; 32]);
    refused(appraised(&pod), "evidence-pinned", "the chain names");
    let name_another = |bundle: &mut KeyBundle| bundle.evidence_hash = Digest32([1; 32]);
    refused_bundle(name_another, "evidence-pinned", "the bundle names");
}

#[test]
fn rejects_a_measurement_that_is_not_approved() {
    let mut pod = pod();
    pod.enclave.mr_enclave = [0x9f; 32];
    pod.register_quote();
    let refusal = refused(appraised(&pod), "measurement", "none of the 1 approved");
    let rejection =
        Rejection::MeasurementNotAccepted { got: [0x9f; 32], accepted: vec![MEASUREMENT] };
    assert_eq!(refusal.rejection, Some(rejection));
}

#[test]
fn rejects_an_approved_program_that_is_not_the_registered_one() {
    let mut pod = pod();
    pod.enclave.mr_enclave = [0x9f; 32];
    pod.register_quote();
    let mut trust = trust(&pod);
    let other = ApprovedMeasurement::from_hex("b", &"9f".repeat(32)).unwrap();
    trust.measurements.push(other);
    let result = shown(&pod, &pod.bundle(), &trust, NOW);
    refused(result, "quoted-measurement", "the chain says 4141");
}

#[test]
fn rejects_everything_when_nothing_is_approved() {
    let pod = pod();
    let trust = TrustPolicy { measurements: Vec::new(), ..trust(&pod) };
    refused(shown(&pod, &pod.bundle(), &trust, NOW), "measurement", "none of the 0");
}

#[test]
fn rejects_a_quote_with_the_debug_bit() {
    let mut pod = pod();
    pod.enclave.attributes[0] |= DEBUG_BIT;
    pod.register_quote();
    refused(appraised(&pod), "debug-off", "");
}

#[test]
fn rejects_report_data_of_another_pod() {
    let mut pod = pod();
    pod.enclave.report_data[0] ^= 1;
    pod.register_quote();
    refused(appraised(&pod), "report-data", "binding");
}

#[test]
fn rejects_another_policy_than_the_quote_is_bound_to() {
    refused_bundle(|bundle| bundle.policy_digest = Digest32([1; 32]), "report-data", "binding");
}

#[test]
fn the_policy_is_shown_without_a_reference_value_and_held_to_one() {
    let pod = pod();
    let line = |verified: &VerifiedPod| {
        let names: Vec<_> = verified.checks().iter().map(|line| line.name).collect();
        let at = names.iter().position(|name| *name == "policy").unwrap();
        assert_eq!(names[at - 1], "report-data");
        verified.checks()[at].clone()
    };
    let skipped = line(&appraised(&pod).unwrap());
    let expected = format!(
        "worker program and limits: policy digest 0x{} is bound into the quote, no reference \
         value is set",
        "77".repeat(32)
    );
    assert_eq!((skipped.state, skipped.detail), (CheckState::Skip, expected));
    let with_policy = |hex: &str| {
        let mut trust = trust(&pod);
        trust.measurements[0] = trust.measurements[0].clone().with_policy_hex(hex).unwrap();
        shown(&pod, &pod.bundle(), &trust, NOW)
    };
    assert_eq!(line(&with_policy(&"77".repeat(32)).unwrap()).state, CheckState::Pass);
    refused(with_policy(&format!("0x{}", "78".repeat(32))), "policy", "approved is 0x7878");
    assert!(trust(&pod).measurements[0].clone().with_policy_hex("77").is_err());
}

#[test]
fn rejects_a_simulated_machine_under_intels_root() {
    let pod = pod();
    let trust = TrustPolicy { root: TrustRoot::Intel, ..trust(&pod) };
    refused(shown(&pod, &pod.bundle(), &trust, NOW), "certificate-chain", "Intel's SGX root");
}

#[test]
fn rejects_another_development_root() {
    let pod = pod();
    let other = DevelopmentRoot::from_seed(b"another network");
    let root = TrustRoot::Development(other.root_der().to_vec());
    let trust = TrustPolicy { root, ..trust(&pod) };
    refused(shown(&pod, &pod.bundle(), &trust, NOW), "certificate-chain", "development root");
}

#[test]
fn rejects_outdated_firmware_and_collateral() {
    let mut outdated = pod();
    outdated.collateral.tcb_status = TcbStatus::OutOfDate;
    refused(appraised(&outdated), "tcb-status", "OutOfDate");
    let mut expired = pod();
    expired.collateral.next_update_unix_s = NOW;
    refused(appraised(&expired), "collateral-fresh", "expired");
    let mut revoked = pod();
    revoked.collateral.revoked = vec![RevokedCertificate::Pck];
    refused(appraised(&revoked), "revocation", "");
}

#[test]
fn rejects_collateral_older_than_what_was_seen() {
    let pod = pod();
    let (bundle, evidence) = (pod.bundle(), pod.evidence().to_json().unwrap());
    let presented = Presented { record: &pod.record, bundle: bundle.bytes(), evidence: &evidence };
    let result = appraise(&presented, &chain(), &trust(&pod), 18, NOW);
    refused(result, "tcb-evaluation-number", "17");
}

#[test]
fn a_new_epoch_of_the_same_enclave_needs_no_new_quote() {
    let mut pod = pod();
    let verified = appraised(&pod).unwrap();
    pod.epoch_id = 2;
    pod.from_unix_s = NOW + 800;
    let newer = verified.with_bundle(&chain(), pod.bundle().bytes(), NOW + 900).unwrap();
    assert_eq!(newer.bundle().bundle().epoch_id, 2);
    assert_eq!(newer.verified_at_unix_s(), NOW);
}

#[test]
fn a_new_bundle_of_another_enclave_needs_full_verification() {
    let mut pod = pod();
    let verified = appraised(&pod).unwrap();
    let mut changed = pod.key_bundle();
    changed.policy_digest = Digest32([1; 32]);
    let changed = changed.sign(&pod.identity);
    assert!(verified.with_bundle(&chain(), changed.bytes(), NOW).is_none());
    pod.identity = Signer::from_bytes(&[0x66; 32]).unwrap();
    assert!(verified.with_bundle(&chain(), pod.bundle().bytes(), NOW).is_none());
}

#[test]
fn a_changed_chain_record_is_noticed() {
    let pod = pod();
    let verified = appraised(&pod).unwrap();
    assert!(verified.still_matches(&pod.record));
    let changed = [
        PodRecord { retired: true, ..pod.record.clone() },
        PodRecord { url: "http://127.0.0.1:3".to_owned(), ..pod.record.clone() },
        PodRecord { identity: Address([1; 20]), ..pod.record.clone() },
        PodRecord { quote_hash: Digest32([1; 32]), ..pod.record.clone() },
        PodRecord { offers_hash: Digest32([1; 32]), ..pod.record.clone() },
    ];
    for record in changed {
        assert!(!verified.still_matches(&record), "{record:?}");
    }
}

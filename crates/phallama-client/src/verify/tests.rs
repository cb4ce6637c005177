//! One reject test per step: a valid pod, one thing changed, the exact check that fails.

use phallama_attest::simulated::{DEBUG_BIT, DevelopmentRoot, RevokedCertificate};
use phallama_attest::{AcceptedTcb, CheckState, Rejection, TcbStatus, TrustRoot};
use phallama_chain::{ChainConfig, MachineHolder, TcbStatusCode, TeeKind};
use phallama_protocol::bundle::SignedBundle;
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;

use super::*;
use crate::config::ApprovedMeasurement;
use crate::dossier::MachineFacts;
use crate::fixture::{Fixture, MEASUREMENT};

pub(crate) const NOW: u64 = 1_800_000_000;
const VERIFIER: Address = Address([0xdd; 20]);

fn chain() -> ChainConfig {
    ChainConfig {
        rpc_urls: vec!["http://127.0.0.1:1".to_owned()],
        chain_id: 31_337,
        registry: Address([0xaa; 20]),
        escrow: Address([0xbb; 20]),
        token: Address([0xcc; 20]),
        timeout_ms: 1_000,
        fee_ceiling_gwei: 1,
    }
}

pub(crate) fn pod() -> Fixture {
    Fixture::new(&chain(), PodId([0x7c; 32]), "http://127.0.0.1:2", NOW)
}

pub(crate) fn trust(pod: &Fixture) -> TrustPolicy {
    let label = "release 1".to_owned();
    let measurements = vec![ApprovedMeasurement { measurement: MEASUREMENT, label, policy: None }];
    TrustPolicy::danger_simulated(pod.root.root_der().to_vec(), measurements)
}

/// Everything as an honest chain and an honest pod say it.
pub(crate) fn dossier(pod: &Fixture) -> Dossier {
    let root = TrustRoot::Development(pod.root.root_der().to_vec());
    let chain = chain();
    Dossier {
        gathered_at_unix_s: NOW,
        deployment: DeploymentFacts {
            chain_id: chain.chain_id,
            registry: chain.registry,
            escrow: chain.escrow,
            verifier: VERIFIER,
            root_certificate_sha256: Digest32(root.sha256()),
        },
        record: pod.record.clone(),
        machine: Some(MachineFacts {
            machine: pod.machine(),
            holder: Some(pod.holder()),
            shared: false,
        }),
        tcb_evaluation_number_min: 17,
        bundle: pod.bundle().bytes().to_vec(),
        evidence: pod.evidence().to_json().unwrap(),
    }
}

fn judged(dossier: &Dossier, trust: &TrustPolicy) -> Result<VerifiedPod, Box<Refusal>> {
    appraise(dossier, trust, VouchedBy::Chain, NOW)
}

/// With another bundle, at another time.
fn shown(
    pod: &Fixture,
    bundle: &SignedBundle,
    trust: &TrustPolicy,
    now_unix_s: u64,
) -> Result<VerifiedPod, Box<Refusal>> {
    let dossier = Dossier { bundle: bundle.bytes().to_vec(), ..dossier(pod) };
    appraise(&dossier, trust, VouchedBy::Chain, now_unix_s)
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
    let at = refusal.checks.iter().position(|line| line.state == CheckState::Fail).unwrap();
    // `dcap-qvl` names the step that failed, not every step before it in the table.
    if let Some(after) = refusal.checks.get(at + 1).filter(|_| refusal.rejection.is_none()) {
        assert_eq!((after.state, after.detail.as_str()), (CheckState::Skip, "not reached"));
    }
    refusal
}

/// Refuses what was gathered with one thing changed.
#[track_caller]
fn refused_dossier(change: impl FnOnce(&mut Dossier), check: &str, said: &str) {
    let pod = pod();
    let mut dossier = dossier(&pod);
    change(&mut dossier);
    refused(judged(&dossier, &trust(&pod)), check, said);
}

/// One line of the table.
fn line<'a>(checks: &'a [Check], name: &str) -> (CheckState, &'a str) {
    let line = checks.iter().find(|line| line.name == name).expect("a check of this name");
    (line.state, line.detail.as_str())
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
    assert_eq!(by_state(CheckState::Skip), ["policy"]);
    let names: Vec<_> = verified.checks().iter().map(|line| line.name).collect();
    assert_eq!(names[..2], ["chain-root", "chain-record"]);
    let last = ["on-chain-quote-verification", "chain-tcb-status", "machine-identity"];
    assert_eq!(names[names.len() - 3..], last);
    assert_eq!(names.len(), 27);
    assert_eq!(verified.bundle_good_until_unix_s(), NOW + 900);
    assert_eq!(verified.evidence_good_until_unix_s(), NOW + 86_400);
}

#[test]
fn rejects_a_retired_pod_before_anything_is_fetched() {
    let mut pod = pod();
    pod.record.retired = true;
    let mut unasked = dossier(&pod);
    (unasked.bundle, unasked.evidence) = (Vec::new(), Vec::new());
    let refusal = check_record(&unasked, &trust(&pod), NOW).unwrap_err();
    assert_eq!(refusal.failed().name, "chain-record");
    refused(appraised(&pod), "chain-record", "retired");
}

#[test]
fn rejects_a_pod_without_a_key() {
    let mut pod = pod();
    pod.record.key = None;
    refused(appraised(&pod), "chain-record", "no enclave key is attested");
}

#[test]
fn rejects_an_expired_key() {
    let mut pod = pod();
    pod.key().expiry_unix_s = NOW;
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
    refused_dossier(
        |dossier| dossier.evidence = b"{}".to_vec(),
        "evidence-format",
        "missing field",
    );
}

#[test]
fn rejects_another_quote_than_the_bundle_names() {
    let name_another = |bundle: &mut KeyBundle| bundle.evidence_hash = Digest32([1; 32]);
    refused_bundle(name_another, "evidence-pinned", "the bundle names 0101");
}

#[test]
fn rejects_a_measurement_that_is_not_approved() {
    let mut pod = pod();
    pod.enclave.mr_enclave = [0x9f; 32];
    pod.attest();
    let refusal = refused(appraised(&pod), "measurement", "none of the 1 approved");
    let rejection =
        Rejection::MeasurementNotAccepted { got: [0x9f; 32], accepted: vec![MEASUREMENT] };
    assert_eq!(refusal.rejection, Some(rejection));
}

#[test]
fn rejects_an_approved_program_that_is_not_the_attested_one() {
    let mut pod = pod();
    pod.enclave.mr_enclave = [0x9f; 32];
    pod.attest();
    pod.key().measurement = Digest32(MEASUREMENT);
    let mut trust = trust(&pod);
    let other = ApprovedMeasurement::from_hex("b", &"9f".repeat(32)).unwrap();
    trust.measurements.push(other);
    let bundle = KeyBundle { measurement: Digest32(MEASUREMENT), ..pod.key_bundle() };
    let result = shown(&pod, &bundle.sign(&pod.identity), &trust, NOW);
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
    pod.attest();
    refused(appraised(&pod), "debug-off", "");
}

#[test]
fn rejects_report_data_of_another_pod() {
    let mut pod = pod();
    pod.enclave.report_data[0] ^= 1;
    pod.attest();
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
fn rejects_a_deployment_under_another_root_before_anything_is_fetched() {
    let pod = pod();
    let other = DevelopmentRoot::from_seed(b"another network");
    for root in [TrustRoot::Intel, TrustRoot::Development(other.root_der().to_vec())] {
        let said = format!(
            "the registry's verifier pins root \
             0x7cb155b8f8e8e132140d85ed7a73ba1cdcf2018fad199c024dffd740986e2f2a, you trust {}, {}",
            Digest32(root.sha256()),
            root.kind()
        );
        let trust = TrustPolicy { root, ..trust(&pod) };
        let refusal = check_record(&dossier(&pod), &trust, NOW).unwrap_err();
        assert_eq!(
            (refusal.failed().name, refusal.failed().detail.as_str()),
            ("chain-root", &*said)
        );
        refused(judged(&dossier(&pod), &trust), "chain-root", &said);
    }
}

#[test]
fn rejects_a_machine_of_another_root_than_the_registrys() {
    let pod = pod();
    let other = DevelopmentRoot::from_seed(b"another network");
    let roots = [TrustRoot::Intel, TrustRoot::Development(other.root_der().to_vec())];
    for (root, said) in roots.into_iter().zip(["Intel's SGX root", "development root"]) {
        let mut dossier = dossier(&pod);
        dossier.deployment.root_certificate_sha256 = Digest32(root.sha256());
        let trust = TrustPolicy { root, ..trust(&pod) };
        refused(judged(&dossier, &trust), "certificate-chain", said);
    }
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
    let dossier = Dossier { tcb_evaluation_number_min: 18, ..dossier(&pod) };
    let refusal = refused(judged(&dossier, &trust(&pod)), "tcb-evaluation-number", "17");
    let expected = "\
pod `0x7c7c…7c7c` shows older firmware ratings of Intel than you know
  shown  17  (TCB evaluation number of the pod's collateral)
  known  18  (the highest you were shown for this kind of TEE)
  No prompt was sent.

hint: Its operator has to fetch Intel's newest collateral. To see other pods, run `phallama pods`";
    let error = crate::error::ClientError::AttestationRejected(refusal);
    assert_eq!(error.explain(None).to_string(), expected);
}

#[test]
fn rejects_a_quote_that_the_registry_did_not_verify() {
    let mut pod = pod();
    let got = pod.evidence_digest();
    pod.key().evidence = Digest32([1; 32]);
    let said = format!("this quote is {got}, the registry verified 0x{}", "01".repeat(32));
    let refusal = refused(appraised(&pod), "on-chain-quote-verification", &said);
    let error = crate::error::ClientError::AttestationRejected(refusal);
    let hint = error.explain(None).hint.unwrap();
    assert!(hint.starts_with("The pod may be renewing its key; try again in a minute."), "{hint}");
}

#[test]
fn rejects_a_quote_of_another_kind_of_tee_than_the_registry_says() {
    let mut pod = pod();
    pod.key().tee = TeeKind::Tdx;
    let said = "this quote is from SGX, the registry says TDX";
    refused(appraised(&pod), "on-chain-quote-verification", said);
}

/// The registry's status and number, and those of the evidence, under this policy.
fn with_statuses(
    there: (TcbStatusCode, u32),
    here: (TcbStatus, u32),
    accepted: &[TcbStatus],
) -> Result<VerifiedPod, Box<Refusal>> {
    let mut pod = pod();
    (pod.collateral.tcb_status, pod.collateral.tcb_evaluation_number) = here;
    pod.attest();
    (pod.key().tcb_status, pod.key().evaluation_number) = there;
    let mut trust = trust(&pod);
    trust.accepted_tcb = accepted
        .iter()
        .map(|status| AcceptedTcb { status: *status, advisory_ids: Vec::new() })
        .collect();
    judged(&dossier(&pod), &trust)
}

#[test]
fn the_newer_judgement_of_the_client_counts_over_the_registrys() {
    let (up_to_date, hardening) = (TcbStatusCode::UpToDate, TcbStatusCode::SwHardeningNeeded);
    let accepted = [TcbStatus::SWHardeningNeeded];
    let same = with_statuses((up_to_date, 16), (TcbStatus::UpToDate, 18), &[]).unwrap();
    let expected = (CheckState::Pass, "UpToDate, as this client finds");
    assert_eq!(line(same.checks(), "chain-tcb-status"), expected);
    for (there, here, said) in [
        (
            hardening,
            TcbStatus::UpToDate,
            "says SWHardeningNeeded (TCB evaluation number 17), this \
          client finds UpToDate (18): the newer counts",
        ),
        (
            up_to_date,
            TcbStatus::SWHardeningNeeded,
            "says UpToDate (TCB evaluation number 17), this \
          client finds SWHardeningNeeded (18): the newer counts",
        ),
    ] {
        let verified = with_statuses((there, 17), (here, 18), &accepted).unwrap();
        let (state, detail) = line(verified.checks(), "chain-tcb-status");
        assert_eq!((state, detail), (CheckState::Skip, &*format!("the registry {said}")));
    }
    let refused_here = with_statuses((up_to_date, 17), (TcbStatus::SWHardeningNeeded, 18), &[]);
    refused(refused_here, "tcb-status", "SWHardeningNeeded");
}

#[test]
fn the_registrys_newer_judgement_counts_when_the_pod_shows_older_collateral() {
    let there = (TcbStatusCode::SwHardeningNeeded, 18);
    let here = (TcbStatus::UpToDate, 17);
    let accepted = with_statuses(there, here, &[TcbStatus::SWHardeningNeeded]).unwrap();
    let both = "the registry says SWHardeningNeeded (TCB evaluation number 18), this client finds \
                UpToDate (17)";
    let expected = format!("{both}: you accept both");
    assert_eq!(line(accepted.checks(), "chain-tcb-status"), (CheckState::Pass, &*expected));
    let said = format!(
        "{both}: the registry knows newer collateral, and you do not accept SWHardeningNeeded"
    );
    refused(with_statuses(there, here, &[]), "chain-tcb-status", &said);
    // With the same status there is nothing to weigh.
    with_statuses((TcbStatusCode::UpToDate, 18), here, &[]).unwrap();
}

#[test]
fn rejects_two_statuses_under_one_evaluation_number() {
    let there = (TcbStatusCode::SwHardeningNeeded, 17);
    let accepted = [TcbStatus::SWHardeningNeeded];
    let result = with_statuses(there, (TcbStatus::UpToDate, 17), &accepted);
    refused(result, "chain-tcb-status", "UpToDate (17): one of the two is wrong");
}

#[test]
fn rejects_a_machine_that_backs_another_pod_unless_it_is_shared() {
    let pod = pod();
    let machine = pod.machine();
    let other = MachineHolder { pod_prefix: [9; 26], until_unix_s: NOW + 1 };
    let held = |holder, shared| Some(MachineFacts { machine, holder, shared });
    let check = "machine-identity";
    let by_other = format!(
        "{machine} backs pod 0x{}…, and this pod's operator did not agree to share it",
        "09".repeat(26)
    );
    refused_dossier(|dossier| dossier.machine = held(Some(other), false), check, &by_other);
    let nobody = format!("no pod holds the machine {machine} in the registry");
    refused_dossier(|dossier| dossier.machine = held(None, true), check, &nobody);
    refused_dossier(|dossier| dossier.machine = None, check, &nobody);
    let of_another = |dossier: &mut Dossier| {
        dossier.machine.as_mut().unwrap().machine = Digest32([1; 32]);
    };
    refused_dossier(of_another, check, &nobody);
    let shared = Dossier { machine: held(Some(other), true), ..dossier(&pod) };
    let verified = judged(&shared, &trust(&pod)).unwrap();
    let expected = format!("{machine} is shared with pod 0x{}…", "09".repeat(26));
    assert_eq!(line(verified.checks(), check), (CheckState::Pass, &*expected));
}

#[test]
fn a_trust_domain_is_approved_by_its_measurement_like_an_enclave() {
    let mut pod = pod();
    pod.in_trust_domain();
    let refusal = refused(appraised(&pod), "measurement", "none of the 1 approved");
    let error = crate::error::ClientError::AttestationRejected(refusal);
    let measured = &error.explain(None).facts[0];
    assert_eq!(measured.value, hex::encode(pod.measurement().0));
    assert_eq!(measured.source, "digest of the trust domain, from its quote");
    let mut trust = trust(&pod);
    let approved = ApprovedMeasurement::from_hex("td 1", &pod.measurement().to_string()).unwrap();
    trust.measurements.push(approved);
    let verified = judged(&dossier(&pod), &trust).unwrap();
    assert_eq!(verified.release_label(), "td 1");
    let expected = format!("the registry verified this TDX quote through {VERIFIER}");
    let found = line(verified.checks(), "on-chain-quote-verification");
    assert_eq!(found, (CheckState::Pass, &*expected));
}

#[test]
fn a_new_epoch_of_the_same_enclave_needs_no_new_quote() {
    let mut pod = pod();
    let verified = appraised(&pod).unwrap();
    pod.epoch_id = 2;
    pod.from_unix_s = NOW + 800;
    let newer = verified.with_bundle(pod.bundle().bytes(), NOW + 900).unwrap();
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
    assert!(verified.with_bundle(changed.bytes(), NOW).is_none());
    pod.identity = Signer::from_bytes(&[0x66; 32]).unwrap();
    assert!(verified.with_bundle(pod.bundle().bytes(), NOW).is_none());
}

#[test]
fn a_changed_chain_record_is_noticed() {
    let pod = pod();
    let verified = appraised(&pod).unwrap();
    assert!(verified.still_matches(&pod.record));
    let key = pod.record.key.unwrap();
    let changed = [
        PodRecord { retired: true, ..pod.record.clone() },
        PodRecord { url: "http://127.0.0.1:3".to_owned(), ..pod.record.clone() },
        PodRecord { offers_hash: Digest32([1; 32]), ..pod.record.clone() },
        PodRecord { key: None, ..pod.record.clone() },
    ];
    let keys = [
        AttestedKey { identity: Address([1; 20]), ..key },
        AttestedKey { evidence: Digest32([1; 32]), ..key },
        AttestedKey { expiry_unix_s: key.expiry_unix_s + 1, ..key },
        AttestedKey { tcb_status: TcbStatusCode::SwHardeningNeeded, ..key },
    ];
    let renewed = keys.map(|key| PodRecord { key: Some(key), ..pod.record.clone() });
    let changed = changed.into_iter().chain(renewed);
    for record in changed {
        assert!(!verified.still_matches(&record), "{record:?}");
    }
}

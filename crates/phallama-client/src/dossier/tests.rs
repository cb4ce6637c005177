//! A file alone gives the verdict again, and every field that decides something decides it.

use phallama_attest::CheckState;

use super::*;
use crate::verify::tests::{NOW, dossier, pod, trust};

/// What `audit pod --save` writes about a pod that is accepted.
fn saved() -> Value {
    let pod = pod();
    dossier(&pod).audit(&trust(&pod), NOW).to_json()
}

fn read(file: &Value) -> Result<Dossier, DossierError> {
    Dossier::from_json(file.to_string().as_bytes())
}

fn audited(file: &Value) -> Audit {
    let dossier = read(file).unwrap();
    let at_unix_s = dossier.gathered_at_unix_s;
    dossier.audit(&trust(&pod()), at_unix_s)
}

/// Changes the value at `pointer` under `dossier`, and names the check that then fails.
#[track_caller]
fn tampered(pointer: &str, to: &Value, check: &str, said: &str) {
    let mut file = saved();
    let place = file.pointer_mut(&format!("/dossier{pointer}")).expect("a field of the file");
    assert_ne!(place, to, "{pointer} has to change");
    *place = to.clone();
    let audit = audited(&file);
    let refusal = audit.refusal().unwrap_or_else(|| panic!("{pointer} = {to} decides nothing"));
    let failed = refusal.failed();
    assert_eq!(failed.name, check, "{pointer}: {}", failed.detail);
    assert!(failed.detail.contains(said), "{pointer}: {}", failed.detail);
}

/// The text at `pointer` under `dossier` with one digit in its middle changed.
fn flipped(pointer: &str) -> Value {
    let file = saved();
    let text = file.pointer(&format!("/dossier{pointer}")).and_then(Value::as_str).unwrap();
    let mut digits = text.to_lowercase().into_bytes();
    let middle = digits.len() / 2;
    digits[middle] = if digits[middle] == b'0' { b'1' } else { b'0' };
    String::from_utf8(digits).unwrap().into()
}

#[test]
fn a_saved_file_gives_the_same_verdict_again() {
    let pod = pod();
    let live = dossier(&pod);
    let file = live.clone().audit(&trust(&pod), NOW).to_json();
    let mut again = read(&file).unwrap();
    // The same document, its fields in another order.
    assert_eq!(Evidence::from_json(&again.evidence), Evidence::from_json(&live.evidence));
    again.evidence.clone_from(&live.evidence);
    assert!(again == live, "the file differs from what was gathered");
    let audit = audited(&file);
    assert_eq!(audit.refusal(), None);
    assert!(audit.to_json() == file, "the verdict differs");
    let by_file: Vec<_> = audit
        .checks()
        .iter()
        .filter(|check| check.vouched_by == VouchedBy::File)
        .map(|check| check.name)
        .collect();
    let expected = [
        "chain-root",
        "chain-record",
        "bundle-matches-chain",
        "on-chain-quote-verification",
        "chain-tcb-status",
        "machine-identity",
    ];
    assert_eq!(by_file, expected);
    assert!(audit.checks().iter().all(|check| check.vouched_by != VouchedBy::Chain));
}

#[test]
fn a_refused_pod_is_refused_again_for_the_same_reason() {
    let mut pod = pod();
    pod.enclave.mr_enclave = [0x9f; 32];
    pod.attest();
    let first = dossier(&pod).audit(&trust(&pod), NOW);
    let again = audited(&first.to_json());
    assert_eq!(again.checks(), first.checks());
    assert_eq!(again.refusal().unwrap().failed().name, "measurement");
    assert_eq!(first.to_json()["verdict"]["refused_by"], "measurement");
}

#[test]
fn the_file_names_the_inputs_of_the_report_data() {
    let (pod, file) = (pod(), saved());
    let binding = &file["verdict"]["binding"];
    assert_eq!(binding["report_data"], hex::encode(pod.report_data()));
    assert_eq!(binding["policy_digest"], pod.policy_digest.to_string());
    assert_eq!(binding["identity"], pod.identity.address().to_string());
    let quote = hex::encode(pod.evidence().quote);
    assert_eq!(file["dossier"]["evidence"]["quote"], quote);
}

#[test]
fn every_tampered_field_of_the_deployment_fails_its_check() {
    let check = "bundle-matches-chain";
    tampered("/deployment/chain_id", &1.into(), check, "chain id");
    tampered("/deployment/registry", &flipped("/deployment/registry"), check, "registry");
    tampered("/deployment/escrow", &flipped("/deployment/escrow"), check, "escrow");
    let root = "/deployment/root_certificate_sha256";
    tampered(root, &flipped(root), "chain-root", "a development root (simulated TEE)");
}

#[test]
fn every_tampered_field_of_the_record_fails_its_check() {
    let check = "bundle-matches-chain";
    for (pointer, said) in [
        ("/record/pod_id", "pod id"),
        ("/record/offers_hash", "offers hash"),
        ("/record/key/identity", "identity key"),
        ("/record/key/measurement", "measurement"),
        ("/record/offers/0/weights_sha256", "the offers of the record hash to"),
    ] {
        tampered(pointer, &flipped(pointer), check, said);
    }
    let offers = "the offers of the record hash to";
    tampered("/record/offers/0/model", &"other:1b".into(), check, offers);
    tampered("/record/offers/0/input_price_per_mtok", &"7".into(), check, offers);
    tampered("/record/offers/0/output_price_per_mtok", &"7".into(), check, offers);
    tampered("/record/offers/0/context_tokens", &7.into(), check, offers);
    tampered("/record/offers/0/max_output_tokens", &7.into(), check, offers);
    tampered("/record/retired", &true.into(), "chain-record", "retired");
    tampered("/record/key", &Value::Null, "chain-record", "no enclave key is attested");
    tampered("/record/key/expiry_unix_s", &NOW.into(), "chain-record", "the key expired");
    let check = "on-chain-quote-verification";
    tampered("/record/key/evidence", &flipped("/record/key/evidence"), check, "this quote is 0x");
    tampered("/record/key/tee", &"tdx".into(), check, "the registry says TDX");
    let status = "/record/key/tcb_status";
    tampered(status, &"OutOfDate".into(), "chain-tcb-status", "the registry says OutOfDate");
}

#[test]
fn every_tampered_field_of_the_machine_fails_its_check() {
    let check = "machine-identity";
    let prefix = "/machine/holder/pod_prefix";
    tampered(prefix, &flipped(prefix), check, "did not agree to share it");
    tampered("/machine/machine", &flipped("/machine/machine"), check, "no pod holds the machine");
    tampered("/machine/holder", &Value::Null, check, "no pod holds the machine");
    tampered("/machine", &Value::Null, check, "no pod holds the machine");
}

#[test]
fn every_tampered_byte_of_what_the_pod_showed_fails_its_check() {
    tampered("/bundle", &flipped("/bundle"), "bundle-signature", "was signed by");
    tampered("/bundle", &"".into(), "bundle-signature", "");
    let quote = "/evidence/quote";
    tampered(quote, &flipped(quote), "evidence-pinned", "the bundle names");
    tampered("/evidence", &"7b7d".into(), "evidence-format", "missing field");
    let collateral = |field: &str| format!("/evidence/collateral/{field}");
    for (field, check) in [
        ("tcb_info_signature", "collateral-signature"),
        ("qe_identity_signature", "collateral-signature"),
    ] {
        tampered(&collateral(field), &flipped(&collateral(field)), check, "");
    }
    let newer = saved()["dossier"]["evidence"]["collateral"]["tcb_info"]
        .as_str()
        .unwrap()
        .replace("\"tcbEvaluationDataNumber\":17", "\"tcbEvaluationDataNumber\":18");
    tampered(&collateral("tcb_info"), &newer.into(), "collateral-signature", "");
}

#[test]
fn the_time_and_what_was_seen_before_are_held_to() {
    let later = NOW + 30 * 86_400;
    tampered("/gathered_at_unix_s", &later.into(), "chain-record", "the key expired");
    tampered("/gathered_at_unix_s", &(NOW + 1_021).into(), "bundle-window", "valid until");
    tampered("/tcb_evaluation_number_min", &18.into(), "tcb-evaluation-number", "17");
}

#[test]
fn a_recorded_verdict_is_never_read() {
    let mut file = saved();
    file["verdict"] = json!({"accepted": false, "checks": "all failed"});
    assert_eq!(audited(&file).refusal(), None);
    file["dossier"]["record"]["retired"] = true.into();
    file["verdict"] = json!({"accepted": true});
    assert_eq!(audited(&file).refusal().unwrap().failed().name, "chain-record");
}

#[test]
fn the_readers_own_trust_decides() {
    let strict = TrustPolicy::intel(Vec::new());
    let audit = read(&saved()).unwrap().audit(&strict, NOW);
    let failed = audit.refusal().unwrap().failed();
    assert_eq!((failed.name, failed.vouched_by), ("chain-root", VouchedBy::File));
    assert_eq!(failed.state, CheckState::Fail);
    let explained = ClientError::AttestationRejected(Box::new(audit.refusal().unwrap().clone()));
    let explained = explained.explain(None);
    assert_eq!(explained.effect, Some("By this file, no prompt would be sent."));
    assert!(explained.hint.unwrap().starts_with("The file is of a deployment under another root."));
}

#[test]
fn refuses_what_is_no_audit_file() {
    let detail = |file: &Value| match read(file) {
        Err(DossierError::Malformed { detail }) => detail,
        other => panic!("{other:?}"),
    };
    let mut file = saved();
    file["version"] = 2.into();
    assert_eq!(read(&file), Err(DossierError::UnsupportedVersion { got: 2, supported: 1 }));
    for pointer in ["", "/dossier", "/dossier/record", "/dossier/machine", "/dossier/deployment"] {
        let mut file = saved();
        file.pointer_mut(pointer).unwrap()["extra"] = 1.into();
        let found = detail(&file);
        assert!(found.contains("unknown field `extra`"), "{pointer}: {found}");
    }
    let mut file = saved();
    file["dossier"].as_object_mut().unwrap().remove("deployment");
    assert!(detail(&file).contains("missing field `deployment`"));
    let mut file = saved();
    file["dossier"]["machine"]["holder"]["pod_prefix"] = "0x01".into();
    assert!(detail(&file).contains("52 hexadecimal digits"));
    let got = AUDIT_FILE_MAX_BYTES + 1;
    let too_large = DossierError::TooLarge { got, max: AUDIT_FILE_MAX_BYTES };
    assert_eq!(Dossier::from_json(&vec![b' '; got]), Err(too_large));
}

//! What programs read: every object that `--json` prints keeps to its schema in
//! `docs/reference/schemas/`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use phallama::schema::Schema;
use serde_json::Value;

use crate::stack::{MODEL, Options, Stack};

/// Kinds of objects that take more than this test has: a dispute, another pod on the machine.
const ELSEWHERE: &[Schema] = &[Schema::Dispute, Schema::Forgiven, Schema::SharedMachine];

/// Commands that need nothing made for them.
const AFTER: &[&[&str]] = &[
    &["pod", "models", "remove", "tiny:1"],
    &["pod", "status"],
    &["pod", "earnings"],
    &["pod", "settle", "--dry-run"],
    &["pod", "settle"],
    &["pod", "collect"],
    &["pod", "drain"],
    &["config"],
    &["config", "get", "limits.per_day"],
    &["launch", "--list"],
    &["launch", "open-webui", "--model", MODEL],
    &["launch", "llm", "--dry-run"],
    &["launch", "llm"],
    &["launch", "llm", "--restore"],
    &["init", "--yes", "--per-day", "3"],
    &["run", "nobody-has-this", "hello"],
];

fn file(name: &str) -> std::path::PathBuf {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/schemas");
    docs.join(format!("{name}.json"))
}

/// Holds an object to the schema that it names, and says which that is.
pub(crate) fn check(value: &Value) -> Schema {
    let named = value["schema"].as_str().expect("an object names its schema");
    let of = |schema: &&Schema| format!("phallama.{}.1", schema.name()) == named;
    let schema = *Schema::ALL.iter().find(of).expect("a schema that there is");
    let text = std::fs::read_to_string(file(schema.name())).expect("a schema in docs/reference");
    let json: Value = serde_json::from_str(&text).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&json).expect("a schema is a JSON schema");
    let faults: Vec<String> = validator
        .iter_errors(value)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    let described = json["properties"].as_object().expect("properties");
    let told = value.as_object().expect("an object").keys();
    let untold: Vec<&String> = told.filter(|key| !described.contains_key(*key)).collect();
    assert!(untold.is_empty(), "{named} does not describe {untold:?}");
    assert!(faults.is_empty(), "{named}: {faults:#?}\n{value:#}");
    schema
}

#[test]
fn every_schema_has_a_file_and_every_file_a_schema() {
    let names: BTreeSet<String> = Schema::ALL.iter().map(|it| it.name().to_owned()).collect();
    let folder = std::fs::read_dir(file("x").parent().expect("a folder")).expect("a folder");
    let files = folder.map(|entry| entry.expect("an entry").path());
    let files: BTreeSet<String> = files
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(files, names);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_prints_what_its_schema_says() {
    let mut stack = Stack::start(Options::scripted()).await;
    let pod = stack.pod_id.to_string();
    let owner = stack.key_file("owner", 2);
    let signed = stack.dir.path().join("signed.json").display().to_string();
    let gguf = stack.dir.path().join("tiny.gguf");
    std::fs::write(&gguf, include_bytes!("../../../../vectors/gguf/tiny.gguf")).expect("written");
    let gguf = gguf.display().to_string();
    let evidence = stack.dir.path().join("evidence.json").display().to_string();
    std::fs::write(&evidence, crate::operator::evidence(&stack).await).expect("written");
    let deposit = ["deposit", "1", "--owner-key-file", &owner];
    let close = ["close", &pod, "--dry-run", "--owner-key-file", &owner];
    let commands: &[&[&str]] = &[
        &["run", MODEL, "say hello there", "--max-tokens", "8"],
        &["list"],
        &["list", "--verify"],
        &["show", MODEL],
        &["pull", MODEL],
        &["stop", MODEL],
        &["ps"],
        &["status"],
        &["doctor"],
        &["pods"],
        &["wallet", "show"],
        &["wallet", "list"],
        &["trust", "list"],
        &["token", "list"],
        &["balance"],
        &["limits"],
        &["receipts"],
        &["receipts", "show", "1"],
        &["receipts", "check"],
        &["receipts", "export"],
        &["disputes"],
        &["exit", &pod],
        &[&deposit[..], &["--dry-run"]].concat(),
        &[&deposit[..], &["--yes"]].concat(),
        &[&deposit[..], &["--sign-only", &signed]].concat(),
        &close,
        &["pod", "models", "add", &gguf, "--name", "tiny:1"],
        &["pod", "models", "list"],
        &["pod", "doctor"],
        &["pod", "check", &evidence],
    ];
    let mut seen: BTreeSet<Schema> = ELSEWHERE.iter().copied().collect();
    for command in commands.iter().chain(AFTER) {
        let output = stack.phallama(&[&["--json"], *command].concat()).await;
        seen.extend(printed(command, &output));
    }
    let missing: Vec<&str> =
        Schema::ALL.iter().filter(|it| !seen.contains(it)).map(|it| it.name()).collect();
    assert!(missing.is_empty(), "no command printed {missing:?}");
    stack.stop_pod().await;
}

/// What a command printed: its answer, or the failure that it is to end with.
fn printed(command: &[&str], output: &Output) -> Vec<Schema> {
    let mut kinds = Vec::new();
    if !output.stdout.is_empty() {
        let value: Value = serde_json::from_slice(&output.stdout).expect("one object");
        kinds.push(check(&value));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        assert!(!kinds.is_empty(), "{command:?} says nothing: {stderr}");
        return kinds;
    }
    let last = stderr.lines().last().expect("a failure says something");
    let error: Value = serde_json::from_str(last).expect("a failure is one line of JSON");
    kinds.push(check(&error));
    // A doctor that warns, and a model that nobody has.
    let expected = match command[0] {
        "doctor" | "pod" => (Some("unwell"), Some(8)),
        _ => (Some("model_not_found"), Some(4)),
    };
    assert_eq!((error["code"].as_str(), output.status.code()), expected, "{command:?}: {stderr}");
    kinds
}

//! The local server and its description agree: methods by hand, everything else by schemathesis,
//! which makes requests from the description and holds the answers to it. And the libraries of its
//! newer APIs understand it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use http::Method;
use serde_json::{Value, json};

use crate::stack::{MODEL, Options, Stack, VECTORS};

/// What schemathesis looks for in every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance,\
                      unsupported_method,allow_header_conformance";

async fn description(stack: &Stack) -> Value {
    let sent = reqwest::get(stack.url("/openapi.json")).await.expect("the local server answers");
    sent.json().await.expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_described_method_is_served_and_no_other() {
    let stack = Stack::start(Options::scripted()).await;
    let description = description(&stack).await;
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    for (path, described) in description["paths"].as_object().expect("paths") {
        for method in &methods {
            let named = path.replace("{id}", MODEL).replace("{digest}", "sha256:00");
            let url = stack.url(&named);
            let sent = reqwest::Client::new().request(method.clone(), url).send().await;
            let status = sent.expect("an answer").status();
            let is_described = described.get(method.as_str().to_lowercase()).is_some();
            assert_eq!(status != 405, is_described, "{method} {path}: {status}");
        }
    }
}

/// Python with schemathesis and the libraries; `tools/setup.sh apis` makes it.
fn python() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("PHALLAMA_APIS_PYTHON") {
        return Some(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(script).arg("apis").stderr(Stdio::inherit()).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_from_the_description_is_answered_as_described() {
    let Some(python) = python() else {
        eprintln!("NOT TESTED: the description: no Python with schemathesis (tools/setup.sh apis)");
        return;
    };
    let stack = Stack::start(Options {
        vectors: true,
        deposit: 900_000_000,
        queue_max: 64,
        ..Options::scripted()
    })
    .await;
    let mut description = description(&stack).await;
    // So that most requests are answered by a model.
    description["components"]["schemas"]["Model"]["enum"] = json!([MODEL, VECTORS]);
    let file = stack.dir.path().join("openapi.json");
    std::fs::write(&file, description.to_string()).expect("written");
    let output = tokio::process::Command::new(python)
        .args(["-m", "schemathesis.cli", "run"])
        .arg(&file)
        .args(["--url", &stack.url(""), "--checks", CHECKS, "--exclude-tag", "store"])
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "7"])
        // CPython 3.11 counts the depth of all threads' syntax trees together, and fails at times.
        .args(["--workers", "1", "--continue-on-failure", "--suppress-health-check", "all"])
        .args(["--warnings", "off", "--no-color"])
        .current_dir(stack.dir.path())
        .env("NO_PROXY", "*")
        .output()
        .await
        .expect("Python runs");
    let report = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}\n{errors}");
    assert!(report.contains("No issues found"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_libraries_of_the_newer_apis_understand_every_answer() {
    let Some(python) = python() else {
        eprintln!("NOT TESTED: anthropic, openai's responses: no Python (tools/setup.sh apis)");
        return;
    };
    let stack = Stack::start(Options::scripted()).await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/apis/test_libraries.py");
    let output = tokio::process::Command::new(python)
        .arg(file)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PHALLAMA_TEST_URL", stack.url(""))
        .env("PHALLAMA_TEST_MODEL", MODEL)
        .env("NO_PROXY", "*")
        .output()
        .await
        .expect("Python runs");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !report.contains("Ran 0 tests"), "{report}");
}

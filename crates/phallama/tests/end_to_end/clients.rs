//! The real `openai` and `ollama` packages, run as their users run them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::stack::{MODEL, Options, Stack, VECTORS};

/// Python with the client packages; `tools/setup.sh clients` makes it.
fn python() -> Option<std::path::PathBuf> {
    if let Some(path) = std::env::var_os("PHALLAMA_CLIENTS_PYTHON") {
        return Some(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(script).arg("clients").stderr(Stdio::inherit()).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| path.trim().into())
}

/// False when it could not be run.
async fn run(stack: &Stack, file: &str) -> bool {
    let Some(python) = python() else {
        eprintln!(
            "NOT TESTED: {file}: no Python with the client packages (tools/setup.sh clients)"
        );
        return false;
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients");
    let output = tokio::process::Command::new(python)
        .arg(folder.join(file))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("OPENAI_BASE_URL", stack.url("/v1"))
        .env("OPENAI_API_KEY", "none")
        .env("OLLAMA_HOST", stack.url(""))
        .env("PHALLAMA_TEST_MODEL", MODEL)
        .env("PHALLAMA_TEST_VECTORS", VECTORS)
        .env("NO_PROXY", "*")
        .output()
        .await
        .expect("Python runs");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("Ran 0 tests"), "{report}");
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_get_whole_answers_from_a_real_model() {
    let stack = Stack::start(Options { vectors: true, ..Options::real() }).await;
    run(&stack, "test_answers.py").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_never_take_a_broken_answer_for_a_whole_one() {
    let stack = Stack::start(Options::scripted()).await;
    run(&stack, "test_faults.py").await;
}

/// Timeouts, dropped streams, retries by hand and by the SDK: three named questions, three charges.
#[tokio::test(flavor = "multi_thread")]
async fn retries_of_a_named_request_are_charged_once() {
    let stack = Stack::start(Options::scripted()).await;
    if !run(&stack, "test_retries.py").await {
        return;
    }
    let receipts = stack.client.receipts(100).await.expect("read");
    let costs = receipts.iter().map(|stored| stored.check().expect("a valid receipt").receipt.cost);
    let costs: Vec<u128> = costs.map(phallama_protocol::ids::Amount::value).collect();
    assert_eq!(costs.len(), 3, "one receipt for each name");
    assert_eq!(stack.settle().await, costs.iter().sum::<u128>());
}

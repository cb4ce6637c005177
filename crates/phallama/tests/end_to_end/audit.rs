//! A verdict that is kept, and made again where there is neither chain nor pod nor wallet.

use std::path::Path;
use std::process::Output;

use phallama::home::Home;
use serde_json::Value;

use crate::stack::{Options, Stack};

/// Runs the command line in a home of its own.
async fn phallama(home: &Path, arguments: &[&str]) -> Output {
    tokio::process::Command::new(env!("CARGO_BIN_EXE_phallama"))
        .args(arguments)
        .env_clear()
        .env("PHALLAMA_HOME", home)
        .env("NO_COLOR", "1")
        .output()
        .await
        .expect("the binary runs")
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("one JSON object")
}

/// Name and state of every check.
fn states(file: &Value) -> Vec<(String, String)> {
    let checks = file["verdict"]["checks"].as_array().expect("checks");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    checks.iter().map(|check| (text(&check["name"]), text(&check["state"]))).collect()
}

/// The stack's configuration without its wallet, and without its chain too if not `connected`.
fn home_without_wallet(stack: &Stack, connected: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut config = Home::at(stack.dir.path()).config().expect("valid");
    if !connected {
        config.chain = None;
    }
    Home::at(dir.path()).write_config(&config).expect("written");
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_audited_without_a_wallet_and_again_from_the_file_alone() {
    let mut stack = Stack::start(Options { deposit: 0, ..Options::scripted() }).await;
    let (connected, alone) =
        (home_without_wallet(&stack, true), home_without_wallet(&stack, false));
    let path = alone.path().join("pod.json");
    let path = path.to_str().expect("UTF-8");
    let pod = stack.pod_id.to_string();
    let saved = phallama(connected.path(), &["audit", "pod", &pod, "--save", path]).await;
    assert_eq!(saved.status.code(), Some(0), "{saved:?}");
    let shown = phallama(connected.path(), &["verify", &pod[..10], "--json"]).await;
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    stack.stop_pod().await;

    let file = json(&std::fs::read(path).expect("saved"));
    assert_eq!(json(&shown.stdout)["dossier"]["record"], file["dossier"]["record"]);
    let skipped: Vec<_> = states(&file).into_iter().filter(|(_, state)| state != "pass").collect();
    assert_eq!(skipped, [("policy".to_owned(), "skip".to_owned())]);

    let again = phallama(alone.path(), &["audit", "pod", "--from", path, "--json"]).await;
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    let again = json(&again.stdout);
    assert_eq!(again["verdict"]["accepted"], true);
    assert_eq!(states(&again), states(&file));
    assert!(again["dossier"] == file["dossier"], "the dossier is passed on as it was");
    assert!(!alone.path().join("state").exists(), "an audit keeps no records");
}

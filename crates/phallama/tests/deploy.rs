//! What `deploy/` says to type can be typed, and what its dashboard asks for is exposed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use phallama::cli::Cli;
use serde_json::Value;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).expect("it is there")
}

fn can_be_typed(arguments: &[String]) {
    let parsed = Cli::try_parse_from(arguments);
    assert!(
        parsed.is_ok(),
        "{arguments:?}: {}",
        parsed.err().map(|e| e.to_string()).unwrap_or_default()
    );
}

#[test]
fn units_start_with_options_that_exist() {
    for unit in ["systemd/phallama.service", "systemd/phallama-pod.service"] {
        let text = read(unit);
        let start = text.lines().find_map(|line| line.strip_prefix("ExecStart="));
        let words: Vec<String> =
            start.expect("a command").split_whitespace().map(str::to_owned).collect();
        can_be_typed(&words);
        for credential in words.iter().filter_map(|word| word.strip_prefix("%d/")) {
            let loaded = format!("\nLoadCredential={credential}:");
            assert!(text.contains(&loaded), "{unit}: {credential} is loaded by nothing");
        }
    }
}

#[test]
fn containers_start_with_options_that_exist() {
    for recipe in ["container/Containerfile.local", "container/Containerfile.pod"] {
        let text = read(recipe);
        let words = |key: &str| -> Vec<String> {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            serde_json::from_str(line.expect("a command").trim()).expect("a list")
        };
        can_be_typed(&[words("ENTRYPOINT"), words("CMD")].concat());
        assert!(text.contains("\nUSER phallama\n"), "{recipe} does not run as root");
    }
}

#[test]
fn systemd_takes_the_units() {
    let Ok(version) = std::process::Command::new("systemd-analyze").arg("--version").output()
    else {
        return;
    };
    assert!(version.status.success());
    for unit in ["systemd/phallama-pod.service", "systemd/phallama.service"] {
        // The programs are not installed here, and only that may be said.
        let output = std::process::Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(deploy().join(unit))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let faults: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("phallama") && !line.contains("is not executable"))
            .collect();
        assert!(faults.is_empty(), "{unit}: {faults:?}");
    }
}

/// Metrics of both sides: their own tests hold them to this file.
fn exposed() -> BTreeSet<String> {
    read("grafana/metrics.txt").lines().map(str::to_owned).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_that_are_exposed() {
    let dashboard: Value = serde_json::from_str(&read("grafana/phallama.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let (exposed, mut asked) = (exposed(), BTreeSet::new());
    for query in queries {
        let text = query["expr"].as_str().expect("a query");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in text.split(|c: char| !is_name(c)) {
            let is_metric = word.starts_with("phallama_") || word.starts_with("gen_ai_client_");
            if is_metric {
                assert!(exposed.contains(word), "`{word}` of `{text}` is exposed by nobody");
                asked.insert(word.to_owned());
            }
        }
    }
    assert!(asked.len() >= 20, "{asked:?}");
}

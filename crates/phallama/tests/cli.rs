//! What people read on the terminal: help texts and refusals, as snapshots.
//!
//! A changed text fails the test and leaves a `.snap.new` beside the accepted one; with
//! `INSTA_UPDATE=always` the new text is accepted.

#[path = "../../phallama-client/tests/support/fixture.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "made for the client's tests")]
mod fixture;

use std::path::Path;
use std::process::Command;

use clap::CommandFactory as _;
use phallama::cli::Cli;
use phallama_chain::ChainConfig;
use phallama_client::{DeploymentFacts, Dossier, MachineFacts, TrustPolicy, TrustRoot};
use phallama_protocol::ids::{Address, Digest32, PodId};

use fixture::{Fixture, MEASUREMENT};

/// Runs the command in a home of its own, without anything of the caller's environment.
fn phallama(home: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_phallama"))
        .args(arguments.iter().map(|word| word.replace("[HOME]", home.to_str().expect("UTF-8"))))
        .env_clear()
        .env("PHALLAMA_HOME", home)
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs");
    let text = format!(
        "exit {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().expect("no signal"),
        String::from_utf8(output.stdout).expect("UTF-8"),
        String::from_utf8(output.stderr).expect("UTF-8"),
    );
    text.replace(home.to_str().expect("UTF-8"), "[HOME]")
}

fn home() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A home with a configuration file.
fn configured(text: &str) -> tempfile::TempDir {
    let home = home();
    std::fs::write(home.path().join("config.toml"), text).expect("written");
    home
}

/// A chain that nobody serves: the port was free a moment ago.
fn dead_chain() -> tempfile::TempDir {
    let home = configured(
        "[chain]\nrpc_urls = [\"http://127.0.0.1:1\"]\nchain_id = 31337\n\
         registry = \"0x00000000000000000000000000000000000000aa\"\n\
         escrow = \"0x00000000000000000000000000000000000000bb\"\n\
         token = \"0x00000000000000000000000000000000000000cc\"\n",
    );
    std::fs::write(home.path().join("password"), "correct horse\n").expect("written");
    home
}

fn bad_policy() -> tempfile::TempDir {
    configured("[pod.policy]\nrisk_totall = \"5\"\n")
}

macro_rules! says {
    ($name:ident, $home:expr, [$($argument:expr),*]) => {
        #[test]
        fn $name() {
            let home = $home;
            insta::assert_snapshot!(phallama(home.path(), &[$($argument),*]));
        }
    };
}

says!(refuses_a_file_without_a_receipt, dead_chain(), ["audit", "receipt", "[HOME]/password"]);
says!(refuses_disputes_without_a_wallet, dead_chain(), ["disputes"]);
says!(refuses_a_wallet_name_that_is_a_path, home(), ["--wallet", "../x", "wallet", "show"]);
says!(refuses_the_status_of_a_pod_that_does_not_run, home(), ["pod", "status"]);
says!(refuses_to_settle_when_no_pod_runs, home(), ["pod", "settle", "--dry-run"]);
says!(refuses_the_earnings_of_a_pod_that_never_ran, home(), ["pod", "earnings"]);
says!(refuses_an_unknown_key_of_a_pods_policy, bad_policy(), ["pod", "status"]);

/// Every command's help, found by walking the tree: a new command cannot be forgotten, and its
/// first snapshot fails until somebody has read it.
#[test]
fn every_help_text_was_read() {
    let mut root = Cli::command();
    root.build();
    let home = home();
    insta::assert_snapshot!("help", phallama(home.path(), &["--help"]));
    for command in root.get_subcommands().filter(|command| command.get_name() != "help") {
        let mut text = String::new();
        walk(home.path(), command, &mut Vec::new(), &mut text);
        insta::assert_snapshot!(format!("help_{}", command.get_name()), text);
    }
}

fn walk<'a>(home: &Path, command: &'a clap::Command, words: &mut Vec<&'a str>, text: &mut String) {
    words.push(command.get_name());
    let said = phallama(home, &[&words[..], &["--help"]].concat());
    // Options of every command are in the help of the root.
    let own = said.split("\nOptions of every command:").next().unwrap_or_default();
    let own = own.trim_start_matches("exit 0\n--- stdout\n");
    text.extend(["$ phallama ", &words.join(" "), " --help\n", own, "\n"]);
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        walk(home, child, words, text);
    }
    words.pop();
}

says!(
    refuses_a_value_of_the_configuration_that_means_nothing,
    home(),
    ["config", "set", "limits.per_day", "abc"]
);
says!(refuses_a_limit_that_is_no_amount, home(), ["token", "new", "app", "--max-per-day", "much"]);
says!(
    refuses_to_approve_what_is_no_measurement,
    dead_chain(),
    ["init", "--yes", "--password-file", "[HOME]/password", "--approve", "0x12"]
);
says!(refuses_an_unknown_command, home(), ["prods"]);
says!(refuses_an_empty_prompt, dead_chain(), ["run", "m"]);
says!(refuses_a_format_that_is_none, dead_chain(), ["run", "m", "hi", "--format", "yaml"]);
says!(says_who_stops_a_model, home(), ["stop", "m"]);
says!(tells_a_program_what_failed, home(), ["--json", "pods"]);
says!(refuses_to_list_pods_without_a_chain, home(), ["pods"]);
says!(refuses_to_run_without_a_wallet, dead_chain(), ["run", "m", "hello"]);
says!(
    refuses_a_key_that_the_configuration_does_not_know,
    configured("[serve]\nlisen = \"x\"\n"),
    ["pods"]
);
says!(refuses_a_chain_that_does_not_answer, dead_chain(), ["pods"]);
says!(refuses_to_serve_beyond_loopback, dead_chain(), ["serve", "--listen", "0.0.0.0:11434"]);
says!(refuses_a_measurement_that_is_none, home(), ["trust", "approve", "abc"]);
says!(refuses_a_deposit_without_a_key, dead_chain(), ["deposit", "5"]);
says!(
    refuses_to_check_a_file_that_is_not_there,
    dead_chain(),
    ["pod", "check", "/nowhere/evidence.json"]
);
says!(
    refuses_a_collateral_service_that_is_no_url,
    dead_chain(),
    ["pod", "check", "/dev/null", "--pccs", "ftp://pccs.example"]
);
says!(
    refuses_to_share_what_is_no_machine,
    dead_chain(),
    ["pod", "share-machine", "0x12", "--pod", "0x34"]
);
says!(refuses_to_relay_what_nobody_signed, dead_chain(), ["relay", "[HOME]/config.toml"]);
says!(refuses_to_relay_a_file_that_is_not_there, dead_chain(), ["relay", "/nowhere/signed.json"]);
says!(refuses_to_start_and_finish_an_exit, dead_chain(), ["exit", "0x12", "--start", "--finish"]);
says!(refuses_to_set_no_limit, dead_chain(), ["limits", "set"]);
says!(refuses_to_withdraw_nothing, dead_chain(), ["withdraw"]);
says!(refuses_limits_without_a_wallet, dead_chain(), ["limits"]);
says!(
    refuses_a_file_and_an_account_for_gas,
    dead_chain(),
    ["close", "0x12", "--sign-only", "f", "--gas-key-file", "g"]
);
says!(lists_an_empty_store, home(), ["pod", "models", "list"]);
says!(refuses_a_model_without_a_registry, home(), ["pod", "models", "add", "smollm2:135m"]);
says!(
    refuses_to_fetch_from_a_private_address,
    home(),
    ["pod", "models", "add", "http://169.254.169.254/latest/meta-data/m.gguf"]
);
says!(refuses_to_remove_a_model_that_is_not_there, home(), ["pod", "models", "remove", "m:1"]);
says!(shows_the_configuration_in_force, home(), ["config"]);

#[test]
fn a_wallet_is_made_once_and_never_overwritten() {
    let home = home();
    let password = home.path().join("password");
    std::fs::write(&password, "correct horse\n").expect("written");
    let password = password.to_str().expect("UTF-8");
    let first = phallama(home.path(), &["--password-file", password, "wallet", "new"]);
    assert!(first.starts_with("exit 0\n"), "{first}");
    let shown = phallama(home.path(), &["wallet", "show", "--json"]);
    assert!(shown.contains("\"user\": \"0x"), "{shown}");
    let before = std::fs::read(home.path().join("user.json")).expect("there");
    insta::assert_snapshot!(phallama(home.path(), &["--password-file", password, "wallet", "new"]));
    assert_eq!(std::fs::read(home.path().join("user.json")).expect("there"), before);
}

/// A home with a password file, and the words that name it.
fn with_password() -> (tempfile::TempDir, String) {
    let home = home();
    let path = home.path().join("password");
    std::fs::write(&path, "correct horse\n").expect("written");
    let path = path.to_str().expect("UTF-8").to_owned();
    (home, path)
}

fn address(home: &Path, more: &[&str]) -> String {
    let shown = phallama(home, &[&["--json", "wallet", "show"], more].concat());
    let (_, user) = shown.split_once("\"user\": \"").expect("an address");
    user.split('"').next().expect("a quotation mark").to_owned()
}

#[test]
fn a_wallet_moves_with_its_password_and_a_wrong_one_stores_nothing() {
    let (home, password) = with_password();
    phallama(home.path(), &["--password-file", &password, "wallet", "new"]);
    let backup = home.path().join("backup.json");
    let backup = backup.to_str().expect("UTF-8");
    assert!(phallama(home.path(), &["wallet", "export", backup]).starts_with("exit 0\n"));
    insta::assert_snapshot!(phallama(home.path(), &["wallet", "export", backup]));

    let wrong = home.path().join("wrong");
    std::fs::write(&wrong, "incorrect horse\n").expect("written");
    let wrong = wrong.to_str().expect("UTF-8");
    let import = ["wallet", "import", backup, "--wallet", "copy"];
    insta::assert_snapshot!(phallama(
        home.path(),
        &[&["--password-file", wrong], &import[..]].concat()
    ));
    assert!(!home.path().join("wallets").exists(), "nothing is stored");
    let done = phallama(home.path(), &[&["--password-file", &password], &import[..]].concat());
    assert!(done.starts_with("exit 0\n"), "{done}");
    assert_eq!(address(home.path(), &["--wallet", "copy"]), address(home.path(), &[]));

    let change =
        ["wallet", "change-password", "--new-password-file", wrong, "--password-file", &password];
    assert!(phallama(home.path(), &change).starts_with("exit 0\n"));
    let again = phallama(home.path(), &change);
    assert!(again.starts_with("exit 2\n") && again.contains("does not open"), "{again}");
}

#[test]
fn named_wallets_are_keys_of_their_own() {
    let (home, password) = with_password();
    for wallet in [&[][..], &["--wallet", "work"], &["--wallet", "home_2"]] {
        let new = phallama(
            home.path(),
            &[&["--password-file", &password, "wallet", "new"], wallet].concat(),
        );
        assert!(new.starts_with("exit 0\n"), "{new}");
    }
    assert_ne!(address(home.path(), &["--wallet", "work"]), address(home.path(), &[]));
    let listed = phallama(home.path(), &["wallet", "list"]);
    let order: Vec<_> = ["(unnamed)", "home_2", "work"].map(|name| listed.find(name)).into();
    assert!(order.is_sorted() && order[0].is_some(), "{listed}");
    let key = home.path().join("key");
    std::fs::write(&key, "11".repeat(32)).expect("written");
    let import = ["--password-file", &password, "--wallet", "raw", "wallet", "import"];
    let more = [key.to_str().expect("UTF-8"), "--secret-key"];
    let done = phallama(home.path(), &[&import[..], &more].concat());
    assert!(done.contains("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"), "{done}");
}

/// An honest pod's dossier as `audit pod --save` writes it, after `change`.
fn audit_file(home: &Path, change: impl FnOnce(&mut serde_json::Value)) -> String {
    const NOW: u64 = 1_800_000_000;
    let at = |byte| Address([byte; 20]);
    let chain = ChainConfig {
        rpc_urls: vec!["http://127.0.0.1:1".to_owned()],
        chain_id: 31_337,
        registry: at(0xaa),
        escrow: at(0xbb),
        token: at(0xcc),
        timeout_ms: 1_000,
        fee_ceiling_gwei: 1,
    };
    let pod = Fixture::new(&chain, PodId([0x7c; 32]), "http://127.0.0.1:2", NOW);
    let root = TrustRoot::Development(pod.root.root_der().to_vec());
    let (holder, shared) = (Some(pod.holder()), false);
    let dossier = Dossier {
        gathered_at_unix_s: NOW,
        deployment: DeploymentFacts {
            chain_id: chain.chain_id,
            registry: chain.registry,
            escrow: chain.escrow,
            verifier: at(0xdd),
            root_certificate_sha256: Digest32(root.sha256()),
        },
        record: pod.record.clone(),
        machine: Some(MachineFacts { machine: pod.machine(), holder, shared }),
        tcb_evaluation_number_min: 17,
        bundle: pod.bundle().bytes().to_vec(),
        evidence: pod.evidence().to_json().expect("small"),
    };
    let nobody = TrustPolicy::danger_simulated(pod.root.root_der().to_vec(), Vec::new());
    let mut file = dossier.audit(&nobody, NOW).to_json();
    change(&mut file);
    let path = home.join("pod.json");
    std::fs::write(&path, file.to_string()).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

/// A home without chain and wallet that has approved the fixture's program.
fn auditor() -> tempfile::TempDir {
    let home = home();
    let approved = phallama(home.path(), &["trust", "approve", &hex::encode(MEASUREMENT)]);
    assert!(approved.starts_with("exit 0\n"), "{approved}");
    home
}

const SIMULATED: &str = "--danger-accept-simulated-tee";

#[test]
fn audits_a_file_without_chain_wallet_or_network() {
    let home = auditor();
    let file = audit_file(home.path(), |_| {});
    let arguments = ["audit", "pod", "--from", &file, SIMULATED];
    insta::assert_snapshot!(phallama(home.path(), &arguments));
    let json = phallama(home.path(), &[&arguments[..], &["--json"]].concat());
    let json = json.split("--- stdout\n").nth(1).and_then(|rest| rest.split("--- stderr").next());
    let json: serde_json::Value = serde_json::from_str(json.expect("stdout")).expect("JSON");
    assert_eq!(json["verdict"]["accepted"], true);
    let kept = std::fs::read_to_string(&file).expect("there");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    assert!(json["dossier"] == kept["dossier"], "the dossier is passed on as it was");
    assert_eq!(kept["verdict"]["refused_by"], "measurement", "and the verdict is made anew");
}

#[test]
fn refuses_an_audited_pod_whose_record_was_changed() {
    let home = auditor();
    let other = format!("0x{}", "01".repeat(32));
    let file = audit_file(home.path(), |file| {
        file["dossier"]["record"]["key"]["evidence"] = other.into();
    });
    let arguments = ["audit", "pod", "--from", &file, SIMULATED];
    insta::assert_snapshot!(phallama(home.path(), &arguments));
}

#[test]
fn refuses_an_audited_pod_at_a_time_when_its_key_has_expired() {
    let home = auditor();
    let file = audit_file(home.path(), |_| {});
    let arguments = ["audit", "pod", "--from", &file, "--at", "1800086400", SIMULATED];
    let said = phallama(home.path(), &arguments);
    assert!(said.starts_with("exit 3\n"), "{said}");
    let expected = "the key expired at unix time 1800086400, now is 1800086400";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("judged for   2027-01-16T08:00:00Z (1800086400), as asked"), "{said}");
}

#[test]
fn refuses_an_audited_pod_of_a_root_that_was_not_asked_for() {
    let home = auditor();
    let file = audit_file(home.path(), |_| {});
    insta::assert_snapshot!(phallama(home.path(), &["audit", "pod", "--from", &file]));
}

#[test]
fn refuses_a_file_that_is_no_audit_file() {
    let home = home();
    let path = home.path().join("pod.json");
    std::fs::write(&path, "{\"version\":1}").expect("written");
    let path = path.to_str().expect("UTF-8");
    insta::assert_snapshot!(phallama(home.path(), &["audit", "pod", "--from", path]));
}

says!(refuses_to_audit_nothing, home(), ["audit", "pod"]);
says!(refuses_to_audit_a_pod_and_a_file, home(), ["audit", "pod", "0x7c", "--from", "pod.json"]);
says!(refuses_a_time_without_a_file, home(), ["audit", "pod", "0x7c", "--at", "1"]);

#[test]
fn a_model_file_is_added_listed_and_removed() {
    let home = home();
    let file = home.path().join("Tiny-1.Q4_0.gguf");
    std::fs::write(&file, include_bytes!("../../../vectors/gguf/tiny.gguf")).expect("written");
    let file = file.to_str().expect("UTF-8");
    let added = phallama(home.path(), &["pod", "models", "add", file]);
    assert!(added.starts_with("exit 0\n--- stdout\ntiny-1.q4_0  1."), "{added}");
    let other = ["pod", "models", "add", file, "--name", "tiny:2", "--sha256", &"00".repeat(32)];
    let refused = phallama(home.path(), &other);
    assert!(refused.contains("is not a valid sha256 of this file"), "{refused}");

    let listed = phallama(home.path(), &["pod", "models", "list", "--json"]);
    let json = listed.split_once("--- stdout\n").expect("stdout").1;
    let json = json.split_once("--- stderr").expect("stderr").0;
    let listed: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let models = listed["models"].as_array().expect("a list");
    assert_eq!((models.len(), &models[0]["name"]), (1, &"tiny-1.q4_0".into()));
    let blob = format!("pod/models/blobs/sha256-{}", models[0]["sha256"].as_str().expect("hex"));
    assert!(home.path().join(&blob).is_file(), "{blob}");

    let removed = phallama(home.path(), &["pod", "models", "remove", "tiny-1.q4_0"]);
    assert!(removed.contains("removed tiny-1.q4_0, 1."), "{removed}");
    assert!(!home.path().join(&blob).exists());
}

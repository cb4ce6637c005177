//! What people read on the terminal: help texts and refusals, as snapshots.
//!
//! A changed text fails the test and leaves a `.snap.new` beside the accepted one; with
//! `INSTA_UPDATE=always` the new text is accepted.

use std::path::Path;
use std::process::Command;

/// Runs the command in a home of its own, without anything of the caller's environment.
fn phallama(home: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_phallama"))
        .args(arguments)
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
        "[chain]\nrpc_url = \"http://127.0.0.1:1\"\nchain_id = 31337\n\
         registry = \"0x00000000000000000000000000000000000000aa\"\n\
         escrow = \"0x00000000000000000000000000000000000000bb\"\n\
         token = \"0x00000000000000000000000000000000000000cc\"\n",
    );
    std::fs::write(home.path().join("password"), "correct horse\n").expect("written");
    home
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

says!(help, home(), ["--help"]);
says!(help_demo, home(), ["demo", "--help"]);
says!(help_serve, home(), ["serve", "--help"]);
says!(help_run, home(), ["run", "--help"]);
says!(help_verify, home(), ["verify", "--help"]);
says!(help_deposit, home(), ["deposit", "--help"]);
says!(help_receipts, home(), ["receipts", "--help"]);
says!(help_wallet, home(), ["wallet", "--help"]);
says!(help_trust, home(), ["trust", "--help"]);
says!(help_pod, home(), ["pod", "--help"]);
says!(help_pod_up, home(), ["pod", "up", "--help"]);
says!(help_pod_check, home(), ["pod", "check", "--help"]);
says!(help_pod_share_machine, home(), ["pod", "share-machine", "--help"]);
says!(help_chain, home(), ["chain", "--help"]);
says!(help_chain_deploy, home(), ["chain", "deploy", "--help"]);

says!(refuses_an_unknown_command, home(), ["prods"]);
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

//! The on-chain verifier against unmodified `dcap-qvl`: the same quotes, collateral, root and time
//! must give the same verdict. The differences that are meant are in `intended.rs`, each with its
//! reason; any other one fails the test, with how to repeat the case.
//!
//! `PHALLAMA_DCAP_CASES=5` runs five times as many cases, `0.1` a tenth.
//! `PHALLAMA_DCAP_REPEAT` runs one family (its name) or one case (`name/index`).
//! `PHALLAMA_DCAP_ARTIFACT` is the path of another build of the verifier. Totals are written to
//! `target/dcap-differential.json`.

// Clippy takes only the functions marked as tests for tests.
#![allow(clippy::unwrap_used)]

mod canonical;
mod case;
mod contract;
mod encoding;
mod essence;
mod evm;
mod families;
mod field;
mod intended;
mod parsers;
mod profile;
mod real;
mod rng;
mod run;
mod scene;

use std::io::Write as _;

use serde_json::json;

const TOTALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/dcap-differential.json");

#[test]
fn the_contract_gives_the_verdicts_of_dcap_qvl() {
    let scale = std::env::var("PHALLAMA_DCAP_CASES").ok();
    let scale = scale.map_or(1.0, |text| text.parse().expect("PHALLAMA_DCAP_CASES is a number"));
    let repeat = std::env::var("PHALLAMA_DCAP_REPEAT").ok();
    let repeat = repeat.as_deref().map(|text| match text.rsplit_once('/') {
        Some((family, index)) => (family, index.parse().ok()),
        None => (text, None),
    });
    let report = run::run(&families::all(), scale, repeat);
    // Not eprintln!, which the test harness hides when the test passes.
    let _ = writeln!(std::io::stderr(), "{}", report.table());
    for case in &report.unexplained {
        let _ = writeln!(std::io::stderr(), "\nunexplained: {case}");
    }
    let (cases, unexplained) = (report.total(|t| t.cases), report.total(|t| t.unexplained));
    if repeat.is_none() {
        let totals = json!({
            "dcap.differential_cases": cases,
            "dcap.differential_unexplained": unexplained,
        });
        std::fs::write(TOTALS, format!("{totals:#}\n")).unwrap();
    }
    if repeat.is_none() && scale >= 1.0 {
        let dead = intended::ALL.iter().filter(|one| !report.intended.contains_key(one.name));
        let dead: Vec<&str> = dead.map(|one| one.name).collect();
        assert_eq!(dead, Vec::<&str>::new(), "intended differences that never occurred");
    }
    assert_eq!(unexplained, 0, "unexplained cases");
}

//! The contract beside the model: the same random calls to both, and after each one the same answer
//! or the same refusal (selector and arguments), the same events, the same storage, word by word,
//! and the same balances.
//!
//! `PHALLAMA_ESCROW_SEQUENCES=10` runs ten times as many sequences. `PHALLAMA_ESCROW_REPEAT=17`
//! runs the one with that number. A sequence that fails is cut down to the calls that matter and
//! printed.

// Clippy takes only the functions marked as tests for tests. Fields are named as in the ABI.
#![allow(clippy::unwrap_used, non_snake_case)]

mod action;
mod encode;
mod evm;
mod generate;
mod party;
mod rng;
mod run;
mod world;

use std::io::Write as _;

const TOTALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/escrow-differential.json");

/// Sequences of every change: 25,600 calls.
const SEQUENCES: usize = 320;

#[test]
fn the_contract_does_what_the_model_does() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<usize>().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let scale = number("PHALLAMA_ESCROW_SEQUENCES").unwrap_or(1);
    let sequences: Vec<usize> = match number("PHALLAMA_ESCROW_REPEAT") {
        Some(one) => vec![one],
        None => (0..SEQUENCES * scale).collect(),
    };
    let report = run::run(&sequences);
    // Not eprintln!, which the test harness hides when the test passes.
    let _ = writeln!(std::io::stderr(), "{}", report.table());
    if let Some(failure) = &report.failure {
        panic!("{failure}");
    }
    if sequences.len() >= SEQUENCES {
        let totals = serde_json::json!({ "escrow.differential_calls": report.calls });
        std::fs::write(TOTALS, format!("{totals:#}\n")).unwrap();
        assert_eq!(report.never(), Vec::<&str>::new(), "outcomes that never occurred");
    }
}

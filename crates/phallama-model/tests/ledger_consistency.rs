//! The money of a pod and its users under random adversaries, and under those that the fuzzer's
//! seeds are (`fuzz/seeds/ledger_consistency`; `tools/fuzz.sh` looks for more of them).
//!
//! `PHALLAMA_LEDGER_RUNS=100000` plays more. A run that fails is cut down and printed.

// Clippy takes only the functions marked as tests for tests.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;

use phallama_model::ledger::run;

const TOTALS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/ledger-consistency.json");
/// Runs of every change.
const RUNS: u64 = 1_500;
const STEPS: usize = 120;

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random run. Every third is quiet: no copies put back, no exits, no closes.
fn input(number: u64) -> Vec<u8> {
    let mut state = number ^ 0x7068_616c_6c61_6d61;
    let quiet = number.is_multiple_of(3);
    std::iter::repeat_with(|| next(&mut state).to_be_bytes()[0])
        .filter(|byte| !quiet || byte & 31 < 27)
        .take(STEPS)
        .collect()
}

fn check(name: &str, input: &[u8]) -> phallama_model::ledger::Report {
    match run(input) {
        Ok(report) => report,
        Err(fault) => panic!("{name}: {fault}\n\ncut down: {}", shrunk(input)),
    }
}

/// Leaves out what the fault does not need: halves, quarters, single steps.
fn shrunk(input: &[u8]) -> String {
    let mut input = input.to_vec();
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < input.len() {
            let mut fewer = input.clone();
            fewer.drain(at..input.len().min(at + piece));
            if run(&fewer).is_err() { input = fewer } else { at += piece }
        }
        piece /= 2;
    }
    let mut text = run(&input).err().unwrap_or_default();
    text.push_str("\nbytes:");
    for byte in input {
        let _ = write!(text, " {byte:02x}");
    }
    text
}

#[test]
fn money_adds_up_whatever_happens() {
    let runs = std::env::var("PHALLAMA_LEDGER_RUNS").ok();
    let runs = runs.map_or(RUNS, |text| text.parse().expect("PHALLAMA_LEDGER_RUNS is a number"));
    let mut sums = [0_u64; 8];
    for number in 0..runs {
        let one = check(&format!("run {number}"), &input(number));
        let counts = [
            one.admitted,
            one.stored,
            one.not_stored,
            one.receipts,
            one.settlements,
            one.crashes,
            one.restored,
            one.taken_back,
        ];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += u64::from(count));
    }
    let names =
        "admitted, stored, not stored, receipts, settlements, crashes, restored, taken back";
    let _ = std::io::Write::write_fmt(
        &mut std::io::stderr(),
        format_args!("\n{runs} runs: {names}: {sums:?}\n"),
    );
    let totals = serde_json::json!({ "ledger.runs": runs, "ledger.steps": runs * STEPS as u64 });
    std::fs::write(TOTALS, format!("{totals:#}\n")).unwrap();
    assert!(sums.iter().all(|sum| *sum > runs / 20), "runs in which too little happens: {sums:?}");
}

#[test]
fn money_adds_up_in_every_seed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/ledger_consistency");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        check(&path.display().to_string(), &std::fs::read(&path).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 8, "{seeds} seeds in {folder}");
}

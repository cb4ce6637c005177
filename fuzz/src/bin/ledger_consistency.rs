//! The money of one pod and its users: each byte is one thing that happens, and at the end every
//! unit must be somebody's (crates/phallama-model/src/ledger.rs).
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Longer inputs only take longer.
const STEPS_MAX: usize = 400;

fuzz_target!(|data: &[u8]| {
    if let Err(fault) = phallama_model::ledger::run(&data[..data.len().min(STEPS_MAX)]) {
        panic!("{fault}");
    }
});

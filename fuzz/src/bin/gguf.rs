//! Weight files as a stranger makes them, before llama.cpp reads a byte of them.
//!
//! Oracle: the same bytes in pieces of any size get the same answer; what is accepted states
//! numbers within the bounds that protect the worker, and is refused when its end is missing.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use phallama_engine::{GgufError, GgufModel, check_gguf};

/// Gives one byte at a time.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(1);
        self.0.read(&mut buffer[..len])
    }
}

fuzz_target!(|file: &[u8]| {
    let len = file.len() as u64;
    let whole = check_gguf(file, len);
    match (&whole, check_gguf(Trickle(file), len)) {
        (Ok(model), Ok(same)) => assert_eq!(*model, same),
        (Err(error), Err(same)) => assert_eq!(error.to_string(), same.to_string()),
        (whole, pieces) => panic!("{whole:?} as a whole, {pieces:?} in pieces"),
    }
    // The size comes from the file system, and may be another one by now.
    let _ = check_gguf(file, len / 2);
    let _ = check_gguf(file, u64::MAX);
    match whole {
        Ok(model) => bounded(&model, file),
        Err(GgufError::Refused { .. }) => {}
        Err(error @ GgufError::Unreadable { .. }) => panic!("memory can be read: {error}"),
    }
});

fn bounded(model: &GgufModel, file: &[u8]) {
    assert!((1..=512).contains(&model.layers));
    assert!((1..=1 << 24).contains(&model.context_tokens));
    // Each token takes its length and a byte.
    assert!(model.vocabulary_tokens >= 1 && model.vocabulary_tokens * 9 <= file.len() as u64);
    assert!(model.architecture.len() <= 128 && model.architecture.is_ascii());
    // Padding of up to 64 KiB behind the last tensor may be absent; the rest may not.
    let cut = &file[..file.len().saturating_sub(65_537)];
    assert!(check_gguf(cut, cut.len() as u64).is_err());
}

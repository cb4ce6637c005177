//! What the worker sends: the process that parses weights and prompts in C++ is not trusted with
//! more than its answer. Bytes cut anywhere give the same events, counts and error; tokens are told
//! once; an answer ends once. With an odd first byte the rest is an answer that comes in one piece.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phallama_engine::EngineEvent;
use phallama_engine::fuzzing::{decode, read_whole};

fuzz_target!(|data: &[u8]| {
    let Some((selector, rest)) = data.split_first() else { return };
    if selector % 2 == 1 {
        let count = usize::from(selector / 2);
        if let (Some(embeddings), ..) = read_whole(rest, count) {
            assert_eq!(embeddings.vectors.len(), count);
        }
        return;
    }
    let whole = decode([rest], 1);
    let step = usize::from(selector / 2) + 1;
    let cut = decode(rest.chunks(step), 1);
    assert!(whole == cut, "cut every {step} bytes: {cut:?} instead of {whole:?}");
    let (events, usage, _) = whole;
    let ends = events.iter().filter(|event| matches!(event, EngineEvent::Finished { .. }));
    assert!(ends.count() <= 1);
    let told = events.iter().map(tokens).fold(0_u64, |sum, tokens| sum + u64::from(tokens));
    assert!(told <= u64::from(u32::MAX), "{told} tokens told, {usage:?}");
    let prompts = events.iter().filter(|event| matches!(event, EngineEvent::Prompt { .. }));
    assert!(prompts.count() <= 1);
});

fn tokens(event: &EngineEvent) -> u32 {
    match event {
        EngineEvent::Content { tokens, .. }
        | EngineEvent::Reasoning { tokens, .. }
        | EngineEvent::ToolCalls { tokens, .. } => *tokens,
        _ => 0,
    }
}

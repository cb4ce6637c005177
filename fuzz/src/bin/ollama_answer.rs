//! What an Ollama sends, which is trusted with no more than its answer. Lines cut anywhere give the
//! same events, counts and error; an answer ends once; nothing told is taken back. With an odd
//! first byte the rest is the answer to a question of the engine's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phallama_engine::EngineEvent;
use phallama_engine::fuzzing::{decode_ollama, read_ollama_whole};

fuzz_target!(|data: &[u8]| {
    let Some((selector, rest)) = data.split_first() else { return };
    if selector % 2 == 1 {
        let count = usize::from(selector / 2);
        if let Some(embeddings) = read_ollama_whole(rest, count) {
            assert_eq!(embeddings.vectors.len(), count);
        }
        return;
    }
    let whole = decode_ollama([rest]);
    let step = usize::from(selector / 2) + 1;
    let cut = decode_ollama(rest.chunks(step));
    assert!(whole == cut, "cut every {step} bytes: {cut:?} instead of {whole:?}");
    let (events, usage, error) = whole;
    let ends = events.iter().filter(|event| matches!(event, EngineEvent::Finished { .. })).count();
    assert!(ends <= 1 && (ends == 0 || error.is_none()));
    let told = events.iter().map(tokens).fold(0_u64, |sum, tokens| sum + u64::from(tokens));
    assert!(told <= u64::from(usage.completion_tokens), "{told} tokens told, {usage:?}");
    assert!(ends == 0 || usage.cached_tokens <= usage.prompt_tokens);
});

fn tokens(event: &EngineEvent) -> u32 {
    match event {
        EngineEvent::Content { tokens, .. }
        | EngineEvent::Reasoning { tokens, .. }
        | EngineEvent::ToolCalls { tokens, .. } => *tokens,
        _ => 0,
    }
}

//! The JSON body of an opened request: written by anybody, checked by the engine before its worker
//! sees a byte. The first byte chooses the method. Whatever is accepted reaches the worker with our
//! fields as we set them and no field beside the allow-list, and what it can cost is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phallama_engine::fuzzing::{chat_bodies, completion_bodies};
use phallama_engine::{
    ChatRequest, CompletionRequest, DetokeniseRequest, EmbeddingsRequest, TokeniseRequest,
};
use phallama_protocol::demand::Demand;
use phallama_protocol::request::Method;
use serde_json::{Map, Value, json};

/// Fields of llama-server that only the engine sets, or nobody.
const NEVER: &[&str] = &[
    "n",
    "n_cmpl",
    "n_predict",
    "n_keep",
    "n_discard",
    "n_probs",
    "n_cache_reuse",
    "lora",
    "samplers",
    "grammar_lazy",
    "grammar_triggers",
    "preserved_tokens",
    "response_fields",
    "ignore_eos",
    "chat_format",
    "message_delimiters",
    "verbose",
    "model",
    "user",
];

fuzz_target!(|data: &[u8]| {
    let Some((selector, body)) = data.split_first() else { return };
    match selector % 5 {
        0 => {
            if let Ok(request) = ChatRequest::parse(body) {
                check_demand(Method::Chat, body, request.max_tokens(), request.choices());
                check_bodies(request.choices(), &chat_bodies(request));
            }
        }
        1 => {
            if let Ok(request) = CompletionRequest::parse(body) {
                check_demand(Method::Completion, body, request.max_tokens(), request.choices());
                check_bodies(request.choices(), &completion_bodies(request));
            }
        }
        2 => drop(EmbeddingsRequest::parse(body)),
        3 => drop(TokeniseRequest::parse(body)),
        _ => drop(DetokeniseRequest::parse(body)),
    }
});

fn check_bodies(choices: u32, bodies: &[Map<String, Value>]) {
    assert_eq!(bodies.len(), choices as usize);
    for (index, body) in bodies.iter().enumerate() {
        assert_eq!((&body["id_slot"], &body["stream"]), (&json!(3), &json!(true)));
        assert_eq!(body["cache_prompt"], json!(index > 0));
        assert!((1..=4096).contains(&body["max_tokens"].as_u64().unwrap()));
        assert!(!NEVER.iter().any(|field| body.contains_key(*field)));
    }
}

/// A body that states its `max_tokens` says what it can cost at most.
fn check_demand(method: Method, body: &[u8], max_tokens: Option<u32>, choices: u32) {
    let stated: Value = serde_json::from_slice(body).expect("what was accepted is JSON");
    if stated["max_tokens"].is_null() {
        return;
    }
    let demand = Demand::of(method, body).expect("what was accepted has a bound");
    let least = u64::from(max_tokens.unwrap()) * u64::from(choices);
    assert!(demand.completion_tokens >= least && demand.prompt_tokens >= 64);
}

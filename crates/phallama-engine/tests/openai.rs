//! A server with OpenAI's API, scripted, as vLLM would answer.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[allow(dead_code, reason = "shared with the other test programs")]
#[path = "support/server.rs"]
mod server;
#[allow(dead_code, reason = "shared with the other test programs")]
mod support;

use std::time::Duration;

use phallama_engine::{
    Backend, ChatRequest, EmbeddingsRequest, Engine, EngineConfig, EngineError, EngineEvent, Fault,
    FinishReason, Serves, Usage, weights_digest,
};
use serde_json::{Value, json};
use server::{End, Log, Reply, serve};
use support::{ANNE, BOB, ask, collect};

const MODEL: &str = "org/model";

fn event(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

fn delta(delta: &Value, reason: Option<&str>) -> Vec<u8> {
    event(&json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": reason,
                                 "logprobs": null }], "usage": null }))
}

fn answer(path: &str, body: &Value) -> Reply {
    match path {
        "/v1/models" => Reply::json(&json!({ "data": [{ "id": MODEL, "max_model_len": 4096 }] })),
        "/v1/embeddings" => Reply::json(&json!({
            "data": [{ "index": 0, "embedding": [1.0, 2.0] }],
            "usage": { "prompt_tokens": 3, "total_tokens": 3 },
        })),
        "/v1/completions" => stream(vec![event(&json!({
            "choices": [{ "index": 0, "text": "raw", "finish_reason": "length" }],
        }))]),
        _ => script(body["messages"][0]["content"].as_str().unwrap()),
    }
}

/// So many chunks, the counts and the end.
fn stream(mut pieces: Vec<Vec<u8>>) -> Reply {
    pieces.push(event(&json!({ "choices": [], "usage": {
        "prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13,
        "prompt_tokens_details": null,
    } })));
    pieces.push(b"data: [DONE]\n\n".to_vec());
    Reply { status: 200, pieces, end: End::Whole }
}

fn script(message: &str) -> Reply {
    let role = delta(&json!({ "role": "assistant", "content": "" }), None);
    let one = delta(&json!({ "content": "one" }), None);
    let stop = delta(&json!({}), Some("stop"));
    match message {
        "think" => stream(vec![
            role,
            delta(&json!({ "reasoning": "hm", "reasoning_content": "hm" }), None),
            delta(&json!({ "reasoning": "so" }), None),
            one,
            stop,
        ]),
        "call" => {
            let call = json!([{ "index": 0, "id": "c", "type": "function",
                                "function": { "name": "f", "arguments": "{}" } }]);
            stream(vec![
                role,
                delta(&json!({ "tool_calls": call }), None),
                delta(&json!({}), Some("tool_calls")),
            ])
        }
        "uncounted" => Reply {
            status: 200,
            pieces: vec![one, stop, b"data: [DONE]\n\n".to_vec()],
            end: End::Whole,
        },
        "eof" => Reply { status: 200, pieces: vec![role, one], end: End::Whole },
        "error" => Reply {
            pieces: vec![
                one,
                event(&json!({ "error": { "message": "engine dead", "code": 500 } })),
            ],
            ..stream(Vec::new())
        },
        "refuse" => {
            Reply::refusal(400, &json!({ "error": { "message": "too long", "code": 400 } }))
        }
        _ => stream(vec![role, one, delta(&json!({ "content": " two" }), None), stop]),
    }
}

async fn pod(serves: Serves) -> (Engine, Log) {
    let (address, log) = serve(answer).await;
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model.safetensors");
    std::fs::write(&model, b"not a GGUF file").unwrap();
    let digest = weights_digest(&model, |_, _| {}).unwrap();
    let config = EngineConfig {
        backend: Backend::OpenAi { address },
        serves,
        start_timeout: Duration::from_secs(20),
        ..EngineConfig::new("", model, MODEL, digest, dir.path().join("sockets"))
    };
    (Engine::start(config).await.unwrap(), log)
}

async fn answers() -> (Engine, Log) {
    pod(Serves::Answers { projector: None, draft: None }).await
}

#[tokio::test]
async fn an_answer_comes_with_the_counts_of_its_last_chunk() {
    let (engine, log) = answers().await;
    let all = collect(&mut engine.chat(ask("hi"), ANNE).await.unwrap()).await;
    assert_eq!((all.text.as_str(), all.pieces.as_slice()), ("one two", &[1, 1][..]));
    let usage = Usage { prompt_tokens: 8, completion_tokens: 5, cached_tokens: 0 };
    assert_eq!(all.end, Some((FinishReason::Stop, usage)));
    collect(&mut engine.chat(ask("hi"), BOB).await.unwrap()).await;
    let log = log.lock().unwrap();
    let chats: Vec<&Value> = log
        .iter()
        .filter(|(path, _)| path == "/v1/chat/completions")
        .map(|(_, body)| body)
        .collect();
    assert_eq!((&chats[0]["model"], &chats[0]["stream"]), (&json!(MODEL), &json!(true)));
    assert_eq!(chats[0]["stream_options"], json!({ "include_usage": true }));
    let salts = [&chats[0]["cache_salt"], &chats[1]["cache_salt"]];
    assert!(salts[0].is_string() && salts[0] != salts[1], "{salts:?}");
    for ours in ["id_slot", "cache_prompt", "return_progress", "timings_per_token"] {
        assert_eq!(chats[0].get(ours), None, "{ours}");
    }
}

#[tokio::test]
async fn reasoning_and_calls_are_told_once() {
    let (engine, _) = answers().await;
    let all = collect(&mut engine.chat(ask("think"), ANNE).await.unwrap()).await;
    assert_eq!((all.reasoning.as_str(), all.text.as_str()), ("hmso", "one"));
    let all = collect(&mut engine.chat(ask("call"), ANNE).await.unwrap()).await;
    assert_eq!(all.end.unwrap().0, FinishReason::ToolCalls);
    let EngineEvent::ToolCalls { calls, .. } = &all.others[0] else { panic!("{:?}", all.others) };
    assert_eq!(calls[0]["function"]["name"], "f");
}

#[tokio::test]
async fn an_answer_without_end_or_counts_is_no_answer() {
    let (engine, _) = answers().await;
    let error = async |message| {
        collect(&mut engine.chat(ask(message), ANNE).await.unwrap()).await.error.unwrap()
    };
    assert!(matches!(error("eof").await, EngineError::Truncated { completion_tokens: 1 }));
    assert!(matches!(error("error").await, EngineError::WorkerFailed { .. }));
    let refused = engine.chat(ask("refuse"), ANNE).await.err().unwrap();
    assert_eq!(refused.fault(), Fault::Request);
    let uncounted = error("uncounted").await;
    assert!(uncounted.to_string().contains("without finish_reason and usage"), "{uncounted}");
}

#[tokio::test]
async fn what_openai_s_api_does_not_know_is_refused_before_anything_is_sent() {
    let (engine, log) = answers().await;
    let body = br#"{"messages":[{"role":"user","content":"hi"}],"grammar":"root ::= \"a\""}"#;
    let error = engine.chat(ChatRequest::parse(body).unwrap(), ANNE).await.err().unwrap();
    assert!(error.to_string().contains("field `grammar` is not known to"), "{error}");
    assert!(log.lock().unwrap().iter().all(|(path, _)| path == "/v1/models"));
}

#[tokio::test]
async fn vectors_are_asked_for_by_the_model_s_name() {
    let (engine, log) = pod(Serves::Embeddings { pooling: None }).await;
    let request = EmbeddingsRequest::parse(br#"{"input":"abc"}"#).unwrap();
    let made = engine.embed(request, ANNE).await.unwrap();
    assert_eq!((made.vectors, made.prompt_tokens), (vec![vec![1.0, 2.0]], 3));
    let log = log.lock().unwrap();
    let (_, asked) = log.iter().rfind(|(path, _)| path == "/v1/embeddings").unwrap();
    assert_eq!((&asked["model"], &asked["input"]), (&json!(MODEL), &json!(["abc"])));
}

#[tokio::test]
async fn a_model_that_it_does_not_have_is_not_served() {
    let (address, _) = serve(|_, _| Reply::json(&json!({ "data": [{ "id": "other" }] }))).await;
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("model");
    std::fs::write(&model, b"x").unwrap();
    let digest = weights_digest(&model, |_, _| {}).unwrap();
    let config = EngineConfig {
        backend: Backend::OpenAi { address },
        ..EngineConfig::new("", model, MODEL, digest, dir.path().join("sockets"))
    };
    let error = Engine::start(config).await.err().unwrap();
    assert!(error.to_string().contains("cannot serve `org/model`: it has no model"), "{error}");
}

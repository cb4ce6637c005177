//! A server that speaks OpenAI's API, which llama-server does at a port of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use phallama_engine::{
    Backend, CompletionRequest, Engine, EngineConfig, EngineError, Fault, Serves, weights_digest,
};
use serde_json::json;

use crate::support::{ANNE, able_template, calls_and_thinks, collect, given};
use crate::{
    CONTEXT, Running, ask, chat, keeps_to_a_schema_and_tells_logprobs, makes_vectors, said, usage,
};

/// As servers with weights of an organisation call them.
const MODEL: &str = "org/smollm2";

fn running(more: &[&str]) -> Running {
    Running::start(|address| {
        let mut command = Command::new(given("PHALLAMA_LLAMA_SERVER", "llama-server"));
        command
            .args(["--host", "127.0.0.1", "--port", &address.port().to_string()])
            .arg("--model")
            .arg(model())
            .args(["--alias", MODEL, "--ctx-size", &CONTEXT.to_string(), "--parallel", "1"])
            .args(["--jinja", "--no-webui", "--chat-template-file"])
            .arg(able_template())
            .args(more);
        command
    })
}

fn model() -> PathBuf {
    given("PHALLAMA_MODEL", "model")
}

fn config(running: &Running, dir: &Path) -> EngineConfig {
    let digest = weights_digest(&model(), |_, _| {}).unwrap();
    EngineConfig {
        backend: Backend::OpenAi { address: running.address },
        context_tokens: CONTEXT,
        start_timeout: Duration::from_mins(2),
        ..EngineConfig::new("", model(), MODEL, digest, dir.join("own"))
    }
}

#[tokio::test]
async fn a_server_with_openai_s_api_says_the_same_through_the_engine() {
    let (running, dir) = (running(&[]), tempfile::tempdir().unwrap());
    let engine = Engine::start(config(&running, dir.path())).await.unwrap();
    let messages = json!([{ "role": "system", "content": "You are a helpful assistant." },
                          { "role": "user", "content": "What is the capital of France?" }]);
    let direct =
        json!({ "model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 12 });
    let direct = ask(running.address, "/v1/chat/completions", &direct);
    let answer = said(&engine, chat("What is the capital of France?", &json!({})), ANNE).await;
    assert_eq!(answer.text, direct["choices"][0]["message"]["content"].as_str().unwrap());
    let counted = usage(&answer);
    let counts = json!([counted.prompt_tokens, counted.completion_tokens]);
    let direct = &direct["usage"];
    assert_eq!(counts, json!([direct["prompt_tokens"], direct["completion_tokens"]]));

    keeps_to_a_schema_and_tells_logprobs(&engine).await;
    calls_and_thinks(&engine).await;

    let raw = CompletionRequest::parse(br#"{"prompt":"1 2 3 4","temperature":0,"max_tokens":4}"#);
    let answer = collect(&mut engine.complete(raw.unwrap(), ANNE).await.unwrap()).await;
    assert_eq!(usage(&answer).completion_tokens, 4);

    let long = engine.chat(chat(&"word ".repeat(2_000), &json!({})), ANNE).await.err().unwrap();
    assert_eq!(long.fault(), Fault::Request, "{long}");
    let other = EngineConfig { model_name: "other".to_owned(), ..config(&running, dir.path()) };
    let error = Engine::start(other).await.err().unwrap();
    assert!(matches!(error, EngineError::BackendModel { .. }), "{error}");

    let mut cut = engine.chat(chat("Count.", &json!({ "max_tokens": 900 })), ANNE).await.unwrap();
    cut.next().await.unwrap().unwrap();
    drop(running);
    let answer = collect(&mut cut).await;
    assert!(matches!(answer.error, Some(EngineError::Truncated { .. })), "{answer:?}");
}

#[tokio::test]
async fn vectors_come_through_the_engine_as_the_server_makes_them() {
    let running = running(&["--embeddings", "--pooling", "mean"]);
    let dir = tempfile::tempdir().unwrap();
    let config = config(&running, dir.path());
    let engine =
        Engine::start(EngineConfig { serves: Serves::Embeddings { pooling: None }, ..config });
    let engine = engine.await.unwrap();
    let direct = json!({ "model": MODEL, "input": ["a dog", "the sea"] });
    let direct = ask(running.address, "/v1/embeddings", &direct);
    let vector = |index: usize| -> Vec<f32> {
        serde_json::from_value(direct["data"][index]["embedding"].clone()).unwrap()
    };
    let prompt_tokens = makes_vectors(&engine, &[vector(0), vector(1)]).await;
    assert!(u64::from(prompt_tokens) > direct["usage"]["prompt_tokens"].as_u64().unwrap());
}

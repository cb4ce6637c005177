//! The engine against the real llama-server and a real model: the protocol, never the meaning.
//!
//! `PHALLAMA_LLAMA_SERVER` and `PHALLAMA_MODEL` name the two files; otherwise `tools/setup.sh`
//! provides them. One server is shared by all tests, which take turns.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use phallama_engine::{
    ChatRequest, CompletionRequest, Engine, EngineConfig, EngineError, EngineEvent, FinishReason,
    Load, Memory, ModelState, check_gguf, weights_digest,
};
use serde_json::{Value, json};
use support::{ANNE, BOB, Collected, ask, collect};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// The shared server and what keeps it alive. Statics are never dropped: the death of this process
/// ends the server.
struct Shared {
    runtime: Runtime,
    engine: Mutex<Engine>,
    dir: TempDir,
}

static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.slots = 3;
    config.context_tokens = 1024;
    config.worker = with_slots(dir.path(), &config.worker);
    let engine = Mutex::new(runtime.block_on(Engine::start(config)).unwrap());
    Shared { runtime, engine, dir }
});

/// A program that becomes `worker` with its report of slots, for the test that watches a slot
/// become free. The engine refuses that argument from operators.
fn with_slots(dir: &Path, worker: &Path) -> PathBuf {
    let path = dir.join("worker.sh");
    let script = format!("#!/bin/sh\nexec '{}' \"$@\" --slots\n", worker.display());
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn config(dir: &Path) -> EngineConfig {
    let (server, model) = (path("PHALLAMA_LLAMA_SERVER", "llama-server"), model());
    let digest = weights_digest(&model, |_, _| {}).unwrap();
    EngineConfig::new(server, model, "smollm2-135m", digest, dir.join("sockets"))
}

fn model() -> PathBuf {
    path("PHALLAMA_MODEL", "model")
}

fn path(variable: &str, part: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(setup).arg(part).output().unwrap();
    assert!(output.status.success(), "tools/setup.sh {part} failed; set {variable} instead");
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// Runs a test against the shared engine, one at a time.
fn with_engine(test: impl AsyncFnOnce(&Engine)) {
    SHARED.runtime.block_on(async {
        let engine = SHARED.engine.lock().await;
        test(&engine).await;
    });
}

fn parse(body: &Value) -> ChatRequest {
    ChatRequest::parse(body.to_string().as_bytes()).unwrap()
}

fn say(message: &str, more: &Value) -> ChatRequest {
    let mut body = json!({ "messages": [{ "role": "user", "content": message }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    parse(&body)
}

async fn chat(engine: &Engine, request: ChatRequest, account: [u8; 20]) -> Collected {
    collect(&mut engine.chat(request, account).await.unwrap()).await
}

/// Whether the server computes anything, from its own report.
fn is_computing() -> bool {
    let sockets = std::fs::read_dir(SHARED.dir.path().join("sockets")).unwrap();
    let socket = sockets.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /slots HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"is_processing\":"), "{answer}");
    answer.contains("\"is_processing\":true")
}

#[test]
fn streams_an_answer_with_exact_usage() {
    with_engine(async |engine| {
        let request = say("Count to ten.", &json!({ "temperature": 0, "max_tokens": 12 }));
        let all = chat(engine, request, ANNE).await;
        let (reason, usage) = all.end.unwrap();
        assert_eq!((reason, usage.completion_tokens), (FinishReason::Length, 12));
        assert_eq!(all.pieces.iter().sum::<u32>(), 12, "each token is told once: {:?}", all.pieces);
        assert_eq!(all.prompt.unwrap().0, usage.prompt_tokens, "known before the first token");
        assert!(usage.prompt_tokens > 4);
    });
}

#[test]
fn reuses_the_prefix_of_the_same_account_only() {
    with_engine(async |engine| {
        // Accounts that no other test uses: their slots may hold the common start of every chat.
        let account = |round: u8| [0x60 + round; 20];
        let cached = async |account| {
            let request = say("Tell me about llamas, please.", &json!({ "max_tokens": 2 }));
            chat(engine, request, account).await.end.unwrap().1.cached_tokens
        };
        for round in 1..=4 {
            assert_eq!(cached(account(round)).await, 0, "a new account finds nothing");
            assert!(cached(account(round)).await > 10, "and then its own");
        }
    });
}

#[test]
fn answers_more_requests_at_once_than_it_has_slots() {
    with_engine(async |engine| {
        let mut answers = tokio::task::JoinSet::new();
        for account in 0..7 {
            let engine = engine.clone();
            answers.spawn(async move {
                let request = say("Write a story.", &json!({ "max_tokens": 8, "seed": account }));
                chat(&engine, request, [account; 20]).await.end.unwrap()
            });
        }
        let mut done = 0;
        while let Some(answer) = answers.join_next().await {
            let (reason, usage) = answer.unwrap();
            assert!(usage.completion_tokens <= 8 && usage.completion_tokens > 0);
            assert!(reason == FinishReason::Length || reason == FinishReason::Stop);
            done += 1;
        }
        assert_eq!((done, engine.in_flight(), engine.queued()), (7, 0, 0));
    });
}

#[test]
fn a_dropped_stream_stops_the_computation() {
    with_engine(async |engine| {
        // An answer that the model cannot end by itself.
        let format = json!({ "type": "json_schema", "json_schema": { "name": "long", "schema": {
            "type": "array", "items": { "type": "integer" }, "minItems": 400, "maxItems": 400,
        } } });
        let request = say("Numbers.", &json!({ "response_format": format }));
        let mut stream = engine.chat(request, BOB).await.unwrap();
        while stream.usage().completion_tokens < 3 {
            stream.next().await.unwrap().unwrap();
        }
        assert!(is_computing());
        let spent = stream.usage();
        assert!(spent.prompt_tokens > 0 && spent.completion_tokens < 100, "{spent:?}");
        drop(stream);
        let dropped_at = Instant::now();
        while is_computing() {
            assert!(dropped_at.elapsed() < Duration::from_secs(5), "the slot is still busy");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn answers_within_a_json_schema() {
    with_engine(async |engine| {
        let schema = json!({ "type": "object", "required": ["city", "inhabitants"],
            "additionalProperties": false, "properties": {
                "city": { "type": "string", "maxLength": 20 },
                "inhabitants": { "type": "integer", "maximum": 9, "minimum": 0 },
            } });
        let format =
            json!({ "type": "json_schema", "json_schema": { "name": "c", "schema": schema } });
        let request = say("Name a city.", &json!({ "response_format": format, "max_tokens": 200 }));
        let all = chat(engine, request, ANNE).await;
        assert_eq!(all.end.unwrap().0, FinishReason::Stop);
        let answer: Value = serde_json::from_str(&all.text).unwrap();
        assert!(answer["city"].is_string() && answer["inhabitants"].is_u64(), "{answer}");
    });
}

/// The chat template of this model knows no tools, so a call cannot be expected.
#[test]
fn the_server_understands_the_tools_that_we_let_through() {
    with_engine(async |engine| {
        let parameters = json!({ "type": "object", "required": ["day"],
            "properties": { "day": { "type": "string", "enum": ["today", "tomorrow"] } } });
        let function = json!({ "name": "weather", "description": "-", "parameters": parameters });
        let tools = json!([{ "type": "function", "function": function }]);
        let more = json!({ "tools": tools, "tool_choice": "auto", "max_tokens": 6 });
        let all = chat(engine, say("Weather?", &more), ANNE).await;
        assert!((1..=6).contains(&all.end.unwrap().1.completion_tokens));
    });
}

#[test]
fn completes_a_raw_prompt_with_log_probabilities() {
    with_engine(async |engine| {
        let body = br#"{"prompt":"One two three","max_tokens":3,"logprobs":2,"temperature":0}"#;
        let request = CompletionRequest::parse(body).unwrap();
        let all = collect(&mut engine.complete(request, ANNE).await.unwrap()).await;
        let (_, usage) = all.end.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 3));
        assert_eq!(all.others.len(), 3, "{:?}", all.others);
        for event in &all.others {
            let EngineEvent::Logprobs(logprobs) = event else { panic!("{event:?}") };
            assert_eq!(logprobs["content"][0]["top_logprobs"].as_array().unwrap().len(), 2);
        }
    });
}

#[test]
fn a_prompt_longer_than_the_context_is_a_typed_refusal() {
    with_engine(async |engine| {
        let long = "word ".repeat(3000);
        let error = match engine.chat(ask(&long), ANNE).await {
            Ok(mut stream) => collect(&mut stream).await.error.unwrap(),
            Err(error) => error,
        };
        let EngineError::PromptTooLong { prompt_tokens, context_tokens } = error else {
            panic!("{error}")
        };
        assert!(prompt_tokens >= 3000 && context_tokens == 1024, "{prompt_tokens}");
        assert_eq!(engine.in_flight(), 0);
    });
}

#[test]
fn one_wrong_bit_in_the_digest_refuses_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.weights_sha256[31] ^= 1;
    let error = SHARED.runtime.block_on(Engine::start(config)).err().unwrap();
    assert!(matches!(error, EngineError::WeightsMismatch { .. }), "{error}");
    assert!(!dir.path().join("sockets").exists(), "no worker was started");
}

#[test]
fn a_file_that_is_no_model_never_meets_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.model_path = dir.path().join("model.gguf");
    std::fs::write(&config.model_path, b"GGUF but not really").unwrap();
    config.weights_sha256 = weights_digest(&config.model_path, |_, _| {}).unwrap();
    let error = SHARED.runtime.block_on(Engine::start(config)).err().unwrap();
    let EngineError::WeightsRefused { source, .. } = error else { panic!("{error}") };
    let refusal = "at byte 4: GGUF version 1953849888, expected 2 or 3";
    assert_eq!(source.to_string(), refusal);
    assert!(!dir.path().join("sockets").exists(), "no worker was started");
}

#[test]
fn the_model_passes_the_check_and_tells_what_it_needs() {
    let file = std::fs::File::open(model()).unwrap();
    let file_len = file.metadata().unwrap().len();
    let found = check_gguf(std::io::BufReader::new(file), file_len).unwrap();
    assert_eq!((found.architecture.as_str(), found.layers), ("llama", 30));
    assert_eq!((found.context_tokens, found.vocabulary_tokens), (8_192, 49_152));
    // 3 heads of 64 numbers of 2 bytes, keys and values, in 30 layers.
    assert_eq!(found.cache_bytes_per_token, 3 * (64 + 64) * 2 * 30);
}

#[test]
fn two_real_workers_of_one_file_answer_alike_and_die_alone() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(None);
    let start = async |name: &str, load| {
        let socket_dir = dir.path().join(name);
        let base = config(dir.path());
        let memory = memory.clone();
        let more = EngineConfig { context_tokens: 512, slots: 1, threads: Some(1), load, ..base };
        let model_name = name.to_owned();
        Engine::start(EngineConfig { model_name, socket_dir, memory, ..more }).await.unwrap()
    };
    SHARED.runtime.block_on(async {
        let (one, other) =
            (start("one", Load::AtStart).await, start("other", Load::OnRequest).await);
        assert_eq!((one.state(), other.state()), (ModelState::Ready, ModelState::Unloaded));
        let greedy = || say("Name a colour.", &json!({ "temperature": 0, "max_tokens": 8 }));
        let first = chat(&one, greedy(), ANNE).await;
        let second = chat(&other, greedy(), ANNE).await;
        assert_eq!(first.text, second.text, "one file, one answer");
        assert_eq!(memory.used_bytes(), one.needs_bytes() + other.needs_bytes());
        let facts = other.worker_facts().unwrap();
        assert_eq!((facts.slots, facts.context_tokens), (Some(1), Some(512)));
        assert!(facts.chat_template && !facts.images, "{facts:?}");

        let long = say("Count to a hundred.", &json!({ "temperature": 0, "max_tokens": 60 }));
        let mut running = one.chat(long, BOB).await.unwrap();
        assert!(running.next().await.unwrap().is_ok());
        let pid = other.worker_pid().unwrap().to_string();
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        let all = collect(&mut running).await;
        assert!(all.end.is_some(), "{:?}", all.error);
        assert_eq!(one.restarts(), 0);
        let again = Instant::now() + Duration::from_mins(1);
        let third = loop {
            assert!(Instant::now() < again, "it does not come back");
            match other.chat(greedy(), ANNE).await {
                Ok(mut stream) => match collect(&mut stream).await {
                    Collected { end: Some(_), text, .. } => break text,
                    unfinished => assert!(unfinished.error.is_some()),
                },
                Err(error) => assert!(error.retry_after_ms().is_some(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!(third, first.text);
    });
}

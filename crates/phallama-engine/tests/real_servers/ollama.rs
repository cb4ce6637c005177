//! A real Ollama.
//!
//! `PHALLAMA_OLLAMA` names the program that `tools/setup.sh ollama` installs, with a store beside
//! it. Without it, nothing here is tested, and stderr says so.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use phallama_engine::{
    Backend, CompletionRequest, EmbeddingsRequest, Engine, EngineConfig, EngineError, EngineEvent,
    Fault, FinishReason, ModelState, OllamaBackend, OllamaPlace, OllamaServer, Serves,
    weights_digest,
};
use serde_json::json;

use crate::support::{ANNE, BOB, collect};
use crate::{
    CONTEXT, Running, ask, chat, keeps_to_a_schema_and_tells_logprobs, said, schema, usage,
};

/// Name of the model in the store beside the program.
const STORED: &str = "smollm2:135m";

/// The program, or a loud word that there is none.
pub(crate) fn ollama(untested: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PHALLAMA_OLLAMA").filter(|path| !path.is_empty());
    if path.is_none() {
        // Not `eprintln!`, which is kept back when a test passes.
        let text =
            format!("NOT TESTED: {untested} (PHALLAMA_OLLAMA is not set: tools/setup.sh ollama)\n");
        std::io::stderr().write_all(text.as_bytes()).unwrap();
    }
    path.map(PathBuf::from)
}

fn store(program: &Path) -> PathBuf {
    program.canonicalize().unwrap().with_file_name("models")
}

/// The weights in the store.
pub(crate) fn weights(program: &Path) -> PathBuf {
    let digest = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    store(program).join("blobs").join(format!("sha256-{digest}"))
}

fn config(program: &Path, dir: &Path, place: OllamaPlace) -> EngineConfig {
    let weights = weights(program);
    let digest = weights_digest(&weights, |_, _| {}).unwrap();
    EngineConfig {
        backend: Backend::Ollama(OllamaBackend { place, pull: false, danger_share_cache: false }),
        context_tokens: CONTEXT,
        stall_timeout: Duration::from_mins(2),
        ..EngineConfig::new(program, weights, STORED, digest, dir.join("own"))
    }
}

/// An Ollama that runs already, with what is in the store beside the program.
fn running(program: &Path, home: &Path) -> Running {
    running_with(program, home, &store(program), None)
}

/// One with another store, and an authority whose registry it trusts.
pub(crate) fn running_with(
    program: &Path,
    home: &Path,
    store: &Path,
    authority: Option<&Path>,
) -> Running {
    Running::start(|address| {
        let mut command = Command::new(program);
        command
            .arg("serve")
            .env("OLLAMA_HOST", address.to_string())
            .env("OLLAMA_MODELS", store)
            .envs(authority.map(|path| ("SSL_CERT_FILE", path)))
            .env("OLLAMA_NUM_PARALLEL", "1")
            .env("OLLAMA_NOPRUNE", "1")
            .env("OLLAMA_NO_CLOUD", "1")
            .env("LLAMA_ARG_CACHE_RAM", "0")
            .env("HOME", home);
        command
    })
}

/// Processes whose command line has this in it, and is not this test's.
fn processes_with(text: &str) -> usize {
    let commands = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    commands.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(2);
    while !done() {
        assert!(Instant::now() < deadline, "waited 2 min until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_supervised_ollama_answers_and_keeps_accounts_apart() {
    let Some(program) = ollama("a supervised Ollama") else { return };
    let dir = tempfile::tempdir().unwrap();
    let place = OllamaPlace::Supervised { models_dir: None };
    let engine = Engine::start(config(&program, dir.path(), place)).await.unwrap();
    let facts = engine.worker_facts().unwrap();
    assert_eq!((facts.context_tokens, facts.tools), (Some(CONTEXT), Some(false)));

    let answer = said(&engine, chat("Count to ten.", &json!({ "max_tokens": 6 })), ANNE).await;
    let first = usage(&answer);
    assert_eq!((answer.end.unwrap().0, first.completion_tokens), (FinishReason::Length, 6));
    assert!(answer.pieces.iter().sum::<u32>() <= 6 && first.prompt_tokens > 10);
    let again =
        usage(&said(&engine, chat("Count to ten.", &json!({ "max_tokens": 6 })), ANNE).await);
    assert!(again.cached_tokens > 10, "her own prompt is reused: {again:?}");
    let other = said(&engine, chat("Count to ten.", &json!({ "max_tokens": 6 })), BOB).await;
    assert!(usage(&other).cached_tokens <= 2, "and not by another: {:?}", usage(&other));
    assert_eq!(other.text, answer.text);

    keeps_to_a_schema_and_tells_logprobs(&engine).await;
    let tools =
        json!([{ "type": "function", "function": { "name": "f", "parameters": schema() } }]);
    let auto = engine.chat(chat("Call f.", &json!({ "tools": tools })), ANNE).await.err().unwrap();
    assert_eq!(auto.fault(), Fault::Request, "{auto}");
    let more = json!({ "tools": tools, "tool_choice": "required", "max_tokens": 80 });
    let answer = said(&engine, chat("Call f.", &more), ANNE).await;
    assert_eq!(answer.end.unwrap().0, FinishReason::ToolCalls);
    let EngineEvent::ToolCalls { calls, .. } = &answer.others[0] else { panic!("{answer:?}") };
    assert_eq!(calls[0]["function"]["name"], "f");

    let long = chat(&"word ".repeat(2_000), &json!({}));
    let error = engine.chat(long, ANNE).await.err().unwrap();
    let EngineError::PromptTooLong { context_tokens: CONTEXT, .. } = error else {
        panic!("{error}")
    };
    engine.shutdown(Duration::ZERO).await;
    until("nothing of it is left", || processes_with(dir.path().to_str().unwrap()) == 0).await;
}

#[tokio::test]
async fn a_killed_ollama_is_started_again_and_leaves_nothing_behind() {
    let Some(program) = ollama("an Ollama that is killed") else { return };
    let dir = tempfile::tempdir().unwrap();
    let place = OllamaPlace::Supervised { models_dir: Some(store(&program)) };
    let engine = Engine::start(config(&program, dir.path(), place)).await.unwrap();
    let pid = engine.worker_pid().unwrap();
    // The process group is its llama-server's too.
    let group = || {
        let listed = Command::new("pgrep").args(["-g", &pid.to_string()]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().lines().count()
    };
    assert_eq!(group(), 2);
    let mut stream =
        engine.chat(chat("Count.", &json!({ "max_tokens": 900 })), ANNE).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
    let answer = collect(&mut stream).await;
    assert!(matches!(answer.error, Some(EngineError::Truncated { .. })), "{answer:?}");
    until("nothing of it is left", || group() == 0).await;
    until("another one runs", || engine.worker_pid().is_some_and(|other| other != pid)).await;
    assert_eq!(engine.restarts(), 1);
    let answer = said(&engine, chat("Hi", &json!({})), ANNE).await;
    assert!(usage(&answer).completion_tokens > 0);
    let group_of_second = engine.worker_pid().unwrap().to_string();
    drop(engine);
    until("nothing is left at the end", || {
        let listed = Command::new("pgrep").args(["-g", &group_of_second]).output().unwrap();
        listed.stdout.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_running_ollama_says_the_same_through_the_engine() {
    let Some(program) = ollama("an Ollama that runs already") else { return };
    let dir = tempfile::tempdir().unwrap();
    let running = running(&program, dir.path());
    let place = OllamaPlace::Running { address: running.address };
    let config = config(&program, dir.path(), place);
    let threads = config.threads_resolved();
    let engine = Engine::start(config.clone()).await.unwrap();
    assert_eq!(engine.worker_pid(), None);

    let server = OllamaServer::at(running.address).unwrap();
    let listed = server.models().await.unwrap();
    assert!(listed.iter().any(|model| model.name == STORED && model.digest.len() == 64));
    assert_eq!(server.show(STORED).await.unwrap().weights_sha256, config.weights_sha256);
    let loaded = server.loaded().await.unwrap();
    assert_eq!((loaded[0].name.as_str(), loaded[0].context_length), (STORED, CONTEXT));

    let options = json!({ "num_ctx": CONTEXT, "num_batch": 512, "num_thread": threads,
                          "num_predict": 12, "temperature": 0, "repeat_penalty": 1 });
    let messages = json!([{ "role": "system", "content": "You are a helpful assistant." },
                          { "role": "user", "content": "What is the capital of France?" }]);
    let direct = ask(
        running.address,
        "/api/chat",
        &json!({
            "model": STORED, "messages": messages, "stream": false, "options": options,
            "truncate": false, "shift": false, "keep_alive": -1,
        }),
    );
    let answer = said(&engine, chat("What is the capital of France?", &json!({})), ANNE).await;
    assert_eq!(answer.text, direct["message"]["content"].as_str().unwrap());
    let counted = usage(&answer);
    let counts = json!([counted.prompt_tokens, counted.completion_tokens]);
    assert_eq!(counts, json!([direct["prompt_eval_count"], direct["eval_count"]]));
    let raw = CompletionRequest::parse(
        br#"{"prompt":"1 2 3 4","temperature":0,"repeat_penalty":1,"max_tokens":4}"#,
    );
    let answer = collect(&mut engine.complete(raw.unwrap(), ANNE).await.unwrap()).await;
    assert_eq!(usage(&answer).completion_tokens, 4);

    let other = EngineConfig { weights_sha256: tiny(dir.path()), ..config.clone() };
    let other = EngineConfig { model_path: dir.path().join("tiny.gguf"), ..other };
    let error = Engine::start(other).await.err().unwrap();
    assert!(matches!(error, EngineError::BackendWeights { .. }), "{error}");
    let vectors = EngineConfig { serves: Serves::Embeddings { pooling: None }, ..config };
    let error = Engine::start(vectors).await.err().unwrap();
    assert!(error.to_string().contains("makes no embeddings there"), "{error}");
    let vectors = EmbeddingsRequest::parse(br#"{"input":"a"}"#).unwrap();
    assert_eq!(engine.embed(vectors, ANNE).await.unwrap_err().fault(), Fault::Request);

    drop(running);
    until("its end is found out", || engine.state() == ModelState::Restarting).await;
}

fn tiny(dir: &Path) -> [u8; 32] {
    let path = dir.join("tiny.gguf");
    std::fs::write(&path, include_bytes!("../../../../vectors/gguf/tiny.gguf")).unwrap();
    weights_digest(&path, |_, _| {}).unwrap()
}

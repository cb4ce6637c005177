//! An Ollama that is not to be trusted with more than its answer: a scripted one at a port, as one
//! that runs already.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/server.rs"]
mod server;
#[allow(dead_code, reason = "shared with the other test programs")]
mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use phallama_engine::{
    Backend, ChatRequest, CompletionRequest, EmbeddingsRequest, Engine, EngineConfig, EngineError,
    Fault, FinishReason, Load, ModelState, OllamaBackend, OllamaPlace, OllamaServer, Serves,
    StartProgress, TokeniseRequest, Usage, weights_digest,
};
use serde_json::{Value, json};
use server::{End, Log, Reply, serve};
use support::{ANNE, BOB, Collected, ask, collect};

const TINY: &[u8] = include_bytes!("../../../vectors/gguf/tiny.gguf");
const MODEL: &str = "tiny:1b";

/// What the scripted one is like; changed by tests while it runs.
struct Fake {
    has_model: AtomicBool,
    /// Of the manifest: another one is another model.
    version: AtomicU64,
    /// Digest of the weights, and lines behind it.
    file: Mutex<String>,
    capabilities: Value,
    context: u64,
    /// Remembers every prompt, whatever came in between.
    remembers: bool,
    last_prompt: Mutex<String>,
}

impl Fake {
    fn answer(&self, path: &str, body: &Value) -> Reply {
        let names = |context: u64| {
            json!({ "models": [{ "name": "other:1", "digest": "0" },
                { "name": MODEL, "size": 5, "context_length": context,
                  "digest": self.version.load(Ordering::SeqCst).to_string() }] })
        };
        match path {
            "/api/version" => Reply::json(&json!({ "version": "0.34.0" })),
            "/api/tags" if self.has_model.load(Ordering::SeqCst) => Reply::json(&names(0)),
            "/api/tags" => Reply::json(&json!({ "models": [] })),
            "/api/ps" => Reply::json(&names(self.context)),
            "/api/show" => {
                let file = self.file.lock().unwrap();
                let modelfile = format!("# made\n\nFROM /nowhere/blobs/{file}\nTEMPLATE x\n");
                Reply::json(&json!({ "modelfile": modelfile, "capabilities": self.capabilities }))
            }
            "/api/pull" => {
                self.has_model.store(true, Ordering::SeqCst);
                Reply::lines(&[
                    json!({ "status": "pulling manifest" }),
                    json!({ "status": "pulling x", "total": 10, "completed": 4 }),
                    json!({ "status": "success" }),
                ])
            }
            "/api/embed" => embed(body),
            "/api/generate" if body["raw"] == true => self.raw(body),
            "/api/generate" => Reply::json(&json!({ "done": true, "done_reason": "load" })),
            "/api/chat" => script(body["messages"][0]["content"].as_str().unwrap()),
            _ => Reply::refusal(404, &json!({ "error": "no such path" })),
        }
    }

    /// A raw prompt, with what it takes from the cache.
    fn raw(&self, body: &Value) -> Reply {
        let prompt = body["prompt"].as_str().unwrap().to_owned();
        let mut last = self.last_prompt.lock().unwrap();
        let cached = if self.remembers || *last == prompt { 19 } else { 0 };
        prompt.clone_into(&mut last);
        let last = json!({ "response": "", "done": true, "done_reason": "stop", "eval_count": 2,
                           "prompt_eval_count": 20, "prompt_eval_cached_count": cached });
        if body["stream"] == false {
            return Reply::json(&last);
        }
        Reply::lines(&[json!({ "response": "raw", "done": false }), last])
    }
}

fn embed(body: &Value) -> Reply {
    let inputs = body["input"].as_array().unwrap();
    let vectors: Vec<Value> =
        inputs.iter().map(|input| json!([input.as_str().unwrap().len(), 1])).collect();
    Reply::json(&json!({ "embeddings": vectors, "prompt_eval_count": inputs.len() }))
}

fn piece(text: &str) -> Value {
    json!({ "model": MODEL, "message": { "role": "assistant", "content": text }, "done": false })
}

fn end() -> Value {
    json!({ "message": { "content": "" }, "done": true, "done_reason": "stop", "eval_count": 3,
            "prompt_eval_count": 11, "prompt_eval_cached_count": 6, "prompt_eval_duration": 1_000_000 })
}

/// What the message says is done.
fn script(message: &str) -> Reply {
    let mut reply = Reply::lines(&[piece("one "), piece("two"), end()]);
    match message {
        "bytes" => {
            let whole = Reply::lines(&[piece("žluť 🦙"), end()]).pieces.concat();
            reply.pieces = whole.chunks(1).map(<[u8]>::to_vec).collect();
        }
        "eof" => drop(reply.pieces.pop()),
        "cut" => {
            reply.pieces.pop();
            reply.end = End::Cut;
        }
        "unended" => {
            let last = reply.pieces.pop().unwrap();
            reply.pieces.push(last[..last.len() - 1].to_vec());
        }
        "silent" => {
            reply.pieces.pop();
            reply.end = End::Silent;
        }
        "error" => reply = Reply::lines(&[piece("one"), json!({ "error": "the runner has died" })]),
        "garbage" => reply.pieces[1] = b"{\"message\":\n".to_vec(),
        "binary" => reply.pieces[1] = b"{\"message\":\"\xff\"}\n".to_vec(),
        "flood" => reply.pieces = vec![vec![b' '; 1 << 18]; 5],
        "more" => reply.pieces.push(format!("{}\n", piece("after the end")).into_bytes()),
        "negative" => {
            reply.pieces[2] = end().to_string().replace(":3", ":-3").into_bytes();
            reply.pieces[2].push(b'\n');
        }
        "refuse" => reply = Reply::refusal(400, &json!({ "error": "does not support tools" })),
        "busy" => reply = Reply::refusal(503, &json!({ "error": "server busy" })),
        "long" => {
            let inner =
                json!({ "error": { "message": "too long", "n_prompt_tokens": 9, "n_ctx": 8 } });
            reply = Reply::refusal(400, &json!({ "error": inner.to_string() }));
        }
        _ => {}
    }
    reply
}

struct Pod {
    engine: Engine,
    fake: Arc<Fake>,
    log: Log,
}

fn config(dir: &Path, address: SocketAddr) -> EngineConfig {
    let model = dir.join("model.gguf");
    std::fs::write(&model, TINY).unwrap();
    let digest = weights_digest(&model, |_, _| {}).unwrap();
    let place = OllamaPlace::Running { address };
    EngineConfig {
        backend: Backend::Ollama(OllamaBackend { place, pull: false, danger_share_cache: false }),
        start_timeout: Duration::from_secs(20),
        stall_timeout: Duration::from_secs(20),
        ..EngineConfig::new("", model, MODEL, digest, dir.join("sockets"))
    }
}

fn share(config: &mut EngineConfig) {
    let Backend::Ollama(ollama) = &mut config.backend else { panic!("an Ollama") };
    ollama.danger_share_cache = true;
}

fn tiny_blob() -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(TINY);
    digest.iter().fold("sha256-".to_owned(), |hex, byte| hex + &format!("{byte:02x}"))
}

async fn start(
    change_fake: impl FnOnce(&mut Fake),
    change: impl FnOnce(&mut EngineConfig),
) -> Result<Pod, EngineError> {
    let mut fake = Fake {
        has_model: AtomicBool::new(true),
        version: AtomicU64::new(1),
        file: Mutex::new(tiny_blob()),
        capabilities: json!(["completion"]),
        context: 4096,
        remembers: false,
        last_prompt: Mutex::default(),
    };
    change_fake(&mut fake);
    let fake = Arc::new(fake);
    let shared = Arc::clone(&fake);
    let (address, log) = serve(move |path, body| shared.answer(path, body)).await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), address);
    change(&mut config);
    let engine = Engine::start(config).await?;
    // The weights were checked; a restart would look for them again.
    std::mem::forget(dir);
    Ok(Pod { engine, fake, log })
}

async fn pod() -> Pod {
    start(|_| {}, |_| {}).await.unwrap()
}

async fn start_error(
    change_fake: impl FnOnce(&mut Fake),
    change: impl FnOnce(&mut EngineConfig),
) -> EngineError {
    start(change_fake, change).await.err().unwrap()
}

async fn said(pod: &Pod, message: &str) -> Collected {
    collect(&mut pod.engine.chat(ask(message), ANNE).await.unwrap()).await
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_answer_comes_with_the_server_s_counts() {
    let pod = pod().await;
    let all = said(&pod, "hi").await;
    assert_eq!(all.text, "one two");
    let usage = Usage { prompt_tokens: 11, completion_tokens: 3, cached_tokens: 6 };
    assert_eq!(all.end, Some((FinishReason::Stop, usage)));
    assert_eq!((pod.engine.worker_pid(), pod.engine.state()), (None, ModelState::Ready));
    let facts = pod.engine.worker_facts().unwrap();
    assert_eq!(facts.build.as_deref(), Some("ollama 0.34.0"));
    assert_eq!((facts.tools, facts.context_tokens), (Some(false), Some(4096)));
    // Both at once wait for each other: one computes at a time.
    assert_eq!(pod.engine.config().slots, 1);
}

#[tokio::test]
async fn bytes_cut_anywhere_are_the_same_text_and_nothing_follows_the_end() {
    let pod = pod().await;
    assert_eq!(said(&pod, "bytes").await.text, "žluť 🦙");
    assert_eq!(said(&pod, "more").await.text, "one two");
}

#[tokio::test]
async fn an_answer_without_its_end_is_no_answer() {
    let pod = pod().await;
    for message in ["eof", "cut", "unended"] {
        let error = said(&pod, message).await.error.unwrap();
        assert!(
            matches!(error, EngineError::Truncated { completion_tokens: 2 }),
            "{message}: {error}"
        );
    }
    let error = said(&pod, "error").await.error.unwrap();
    let EngineError::WorkerFailed { message } = &error else { panic!("{error}") };
    assert_eq!(message.reveal(), "the runner has died");
    assert!(!error.to_string().contains("runner"), "{error}");
    assert_eq!(said(&pod, "hi").await.text, "one two");
}

#[tokio::test]
async fn nonsense_ends_the_answer_and_the_server_is_looked_at_again() {
    for (message, problem) in [
        ("garbage", "a line that is not one of Ollama's"),
        ("negative", "a line that is not one of Ollama's"),
        ("binary", "not UTF-8"),
        ("flood", "longer than 1048576 bytes"),
    ] {
        let pod = pod().await;
        let error = said(&pod, message).await.error.unwrap();
        assert!(error.to_string().contains(problem), "{message}: {error}");
        assert_eq!(error.fault(), Fault::Worker);
        until("it was looked at again", || pod.engine.restarts() == 1).await;
        until("it serves again", || pod.engine.state() == ModelState::Ready).await;
        assert_eq!(said(&pod, "hi").await.text, "one two");
    }
}

#[tokio::test]
async fn silence_is_found_out() {
    let short = |config: &mut EngineConfig| config.stall_timeout = Duration::from_millis(700);
    let pod = start(|_| {}, short).await.unwrap();
    let error = said(&pod, "silent").await.error.unwrap();
    assert!(matches!(error, EngineError::Stalled { .. }), "{error}");
    until("it was looked at again", || pod.engine.restarts() == 1).await;
}

#[tokio::test]
async fn what_it_refuses_is_told_as_what_it_is() {
    let pod = pod().await;
    let refused = async |message| pod.engine.chat(ask(message), ANNE).await.err().unwrap();
    let error = refused("refuse").await;
    assert_eq!(error.fault(), Fault::Request);
    let EngineError::WorkerRefused { status: 400, message } = error else { panic!("{error}") };
    assert_eq!(message.reveal(), "does not support tools");
    assert_eq!(refused("busy").await.fault(), Fault::Busy);
    let error = refused("long").await;
    let too_long = EngineError::PromptTooLong { prompt_tokens: 9, context_tokens: 8 };
    assert_eq!(error.to_string(), too_long.to_string());
}

#[tokio::test]
async fn an_account_finds_nothing_of_another_one() {
    let pod = pod().await;
    pod.log.lock().unwrap().clear();
    for account in [ANNE, ANNE, BOB, ANNE] {
        collect(&mut pod.engine.chat(ask("hi"), account).await.unwrap()).await;
    }
    let asked: Vec<String> = pod.log.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    let requests: Vec<&str> =
        asked.iter().map(String::as_str).filter(|path| *path != "/api/tags").collect();
    let (wash, chat) = ("/api/generate", "/api/chat");
    let requests: Vec<&str> =
        requests.into_iter().filter(|path| [wash, chat].contains(path)).collect();
    assert_eq!(requests, [wash, chat, chat, wash, chat, wash, chat]);
}

#[tokio::test]
async fn a_server_that_remembers_is_refused_unless_that_is_allowed() {
    let error = start_error(|fake| fake.remembers = true, |_| {}).await;
    let EngineError::CacheShared { cached_tokens: 19, .. } = error else { panic!("{error}") };
    assert_eq!(error.fault(), Fault::Operator);
    let pod = start(|fake| fake.remembers = true, share).await.unwrap();
    let all = said(&pod, "hi").await;
    let usage = Usage { prompt_tokens: 11, completion_tokens: 3, cached_tokens: 0 };
    assert_eq!(all.end, Some((FinishReason::Stop, usage)), "what others have asked is not told");
    assert_eq!(pod.engine.config().slots, 2);
}

#[tokio::test]
async fn other_weights_than_those_offered_are_refused() {
    let other = format!("sha256-{}", "11".repeat(32));
    let error = start_error(|fake| fake.file = Mutex::new(other), |_| {}).await;
    let EngineError::BackendWeights { got, .. } = &error else { panic!("{error}") };
    assert_eq!(*got, [0x11; 32]);
    assert!(error.to_string().contains(&tiny_blob()), "{error}");
    let adapted = format!("{}\nADAPTER /nowhere/blobs/sha256-{}", tiny_blob(), "22".repeat(32));
    let error = start_error(|fake| fake.file = Mutex::new(adapted), |_| {}).await;
    assert!(error.to_string().contains("adds an adapter"), "{error}");
    let seeing = format!("{}\nFROM /nowhere/blobs/sha256-{}", tiny_blob(), "22".repeat(32));
    let error = start_error(|fake| fake.file = Mutex::new(seeing), |_| {}).await;
    assert!(error.to_string().contains("it has a projector"), "{error}");
    let error = start_error(|_| {}, |config| config.weights_sha256 = [7; 32]).await;
    assert!(matches!(error, EngineError::WeightsMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_model_that_becomes_another_one_is_not_served_any_more() {
    let often = |config: &mut EngineConfig| config.probe_every = Duration::from_millis(300);
    let pod = start(|_| {}, often).await.unwrap();
    *pod.fake.file.lock().unwrap() = format!("sha256-{}", "11".repeat(32));
    pod.fake.version.store(2, Ordering::SeqCst);
    until("it is found out", || pod.engine.state() == ModelState::Restarting).await;
    let error = pod.engine.chat(ask("hi"), ANNE).await.err().unwrap();
    assert_eq!(error.fault(), Fault::Busy);
    *pod.fake.file.lock().unwrap() = tiny_blob();
    until("it serves again", || pod.engine.state() == ModelState::Ready).await;
}

#[tokio::test]
async fn a_model_that_it_does_not_have_is_fetched_only_when_that_is_wanted() {
    let without = |fake: &mut Fake| fake.has_model = AtomicBool::new(false);
    let error = start_error(without, |_| {}).await;
    assert!(error.to_string().contains("no model of this name"), "{error}");
    let fake = start(without, |config| {
        let Backend::Ollama(ollama) = &mut config.backend else { panic!("an Ollama") };
        ollama.pull = true;
    });
    let pod = fake.await.unwrap();
    assert_eq!(said(&pod, "hi").await.text, "one two");
}

#[tokio::test]
async fn fetching_reports_how_far_it_is_and_what_went_wrong() {
    let (address, _) = serve(|_, body| match body["model"].as_str().unwrap() {
        "good" => Reply::lines(&[
            json!({ "status": "pulling x", "total": 10, "completed": 4 }),
            json!({ "status": "success" }),
        ]),
        "absent" => Reply::lines(&[json!({ "error": "file does not exist" })]),
        "cut" => Reply::lines(&[json!({ "status": "pulling" })]),
        _ => Reply { end: End::Silent, ..Reply::lines(&[]) },
    })
    .await;
    let server = OllamaServer::at(address).unwrap();
    let mut steps = Vec::new();
    let timeout = Duration::from_secs(20);
    server.pull("good", timeout, |step| steps.push((step.completed, step.total))).await.unwrap();
    assert_eq!(steps, [(4, 10), (0, 0)]);
    let error = server.pull("absent", timeout, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("cannot serve `absent`: file does not exist"), "{error}");
    let error = server.pull("cut", timeout, |_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::Truncated { .. }), "{error}");
    let error = server.pull("silent", Duration::from_millis(300), |_| {}).await.unwrap_err();
    assert!(matches!(error, EngineError::Stalled { .. }), "{error}");
}

#[tokio::test]
async fn less_than_was_promised_is_refused_at_the_start() {
    let error = start_error(|fake| fake.context = 2048, |_| {}).await;
    let expected = "2048 tokens of context, it was told to have 4096";
    assert!(error.to_string().contains(expected), "{error}");
    let error = start_error(|fake| fake.capabilities = json!(["embedding"]), |_| {}).await;
    assert!(error.to_string().contains("it makes no answers there"), "{error}");
    let vectors = |config: &mut EngineConfig| config.serves = Serves::Embeddings { pooling: None };
    let error = start_error(|_| {}, vectors).await;
    assert!(error.to_string().contains("it makes no embeddings there"), "{error}");
    let error = start_error(
        |_| {},
        |config| {
            config.start_timeout = Duration::from_millis(300);
            let place = OllamaPlace::Running { address: "127.0.0.1:9".parse().unwrap() };
            let backend = OllamaBackend { place, pull: false, danger_share_cache: false };
            config.backend = Backend::Ollama(backend);
        },
    )
    .await;
    assert!(matches!(error, EngineError::StartTimeout { .. }), "{error}");
    let error = start_error(
        |_| {},
        |config| {
            config.backend = Backend::OpenAi { address: "10.0.0.1:80".parse().unwrap() };
        },
    )
    .await;
    assert!(matches!(error, EngineError::BackendUrl { .. }), "{error}");
}

#[tokio::test]
async fn what_ollama_does_not_know_is_refused_before_anything_is_sent() {
    let pod = pod().await;
    pod.log.lock().unwrap().clear();
    let chat = |more: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ChatRequest::parse(body.to_string().as_bytes()).unwrap()
    };
    for (more, problem) in [
        (json!({ "grammar": "root ::= \"a\"" }), "field `grammar` is not known to Ollama"),
        (json!({ "logit_bias": { "1": 1 } }), "field `logit_bias` is not known to Ollama"),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }),
            "knows no tools",
        ),
    ] {
        let error = pod.engine.chat(chat(more), ANNE).await.err().unwrap();
        assert_eq!(error.fault(), Fault::Request);
        assert!(error.to_string().contains(problem), "{error}");
    }
    let infill = CompletionRequest::parse(br#"{"prompt":"a","suffix":"b"}"#).unwrap();
    let error = pod.engine.complete(infill, ANNE).await.err().unwrap();
    assert!(error.to_string().contains("no place between"), "{error}");
    let text = TokeniseRequest::parse(br#"{"content":"a"}"#).unwrap();
    let error = pod.engine.tokenise(&text).await.unwrap_err();
    assert!(error.to_string().contains("no way to turn text into tokens"), "{error}");
    let sent = pod
        .log
        .lock()
        .unwrap()
        .iter()
        .any(|(path, _)| path != "/api/version" && path != "/api/tags");
    assert!(!sent, "nothing was sent");
}

#[tokio::test]
async fn raw_prompts_and_vectors_have_paths_of_their_own() {
    let pod = pod().await;
    let raw = CompletionRequest::parse(br#"{"prompt":"a"}"#).unwrap();
    let all = collect(&mut pod.engine.complete(raw, ANNE).await.unwrap()).await;
    assert_eq!((all.text.as_str(), all.end.unwrap().1.completion_tokens), ("raw", 2));
    let vectors = |config: &mut EngineConfig| config.serves = Serves::Embeddings { pooling: None };
    let pod = start(|fake| fake.capabilities = json!(["embedding"]), vectors).await.unwrap();
    let request = EmbeddingsRequest::parse(br#"{"input":["abc","d"]}"#).unwrap();
    let made = pod.engine.embed(request, ANNE).await.unwrap();
    assert_eq!((made.vectors, made.prompt_tokens), (vec![vec![3.0, 1.0], vec![1.0, 1.0]], 2));
    let ids = EmbeddingsRequest::parse(br#"{"input":[[1,2]]}"#).unwrap();
    let error = pod.engine.embed(ids, ANNE).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Request);
}

#[tokio::test]
async fn a_required_call_is_had_by_a_schema() {
    let pod =
        start(|fake| fake.capabilities = json!(["completion", "tools"]), |_| {}).await.unwrap();
    let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
    let message = json!([{ "role": "user", "content": "hi" }]);
    for (choice, has_tools, has_format) in
        [("auto", true, false), ("required", false, true), ("none", false, false)]
    {
        pod.log.lock().unwrap().clear();
        let body = json!({ "messages": message, "tools": tools, "tool_choice": choice });
        let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
        collect(&mut pod.engine.chat(request, ANNE).await.unwrap()).await;
        let log = pod.log.lock().unwrap();
        let (_, sent) = log.iter().find(|(path, _)| path == "/api/chat").unwrap();
        assert_eq!(sent.get("tools").is_some(), has_tools, "{choice}");
        assert_eq!(sent.get("format").is_some(), has_format, "{choice}");
    }
}

#[tokio::test]
async fn a_model_is_loaded_by_a_request_and_unloaded_when_nobody_asks() {
    let lazy = |config: &mut EngineConfig| {
        config.load = Load::OnRequest;
        config.keep_alive = Some(Duration::from_millis(500));
    };
    let pod = start(|_| {}, lazy).await.unwrap();
    assert_eq!((pod.engine.state(), pod.log.lock().unwrap().len()), (ModelState::Unloaded, 0));
    assert_eq!(said(&pod, "hi").await.text, "one two");
    until("it is unloaded", || pod.engine.state() == ModelState::Unloaded).await;
    let log = pod.log.lock().unwrap();
    assert!(log.iter().any(|(path, body)| path == "/api/generate" && body["keep_alive"] == 0));
    drop(log);
    assert_eq!(pod.engine.needs_bytes(), 0, "its memory is not ours");
}

#[tokio::test]
async fn the_start_is_told_step_by_step() {
    let (address, _) = serve(|path, _| match path {
        "/api/version" => Reply::json(&json!({})),
        "/api/tags" => Reply::json(&json!({ "models": [] })),
        _ => Reply::lines(&[
            json!({ "status": "pulling x", "total": 10, "completed": 4 }),
            json!({ "error": "cut off" }),
        ]),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), address);
    let Backend::Ollama(ollama) = &mut config.backend else { panic!("an Ollama") };
    ollama.pull = true;
    let (steps, seen) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(())));
    let shared = Arc::clone(&steps);
    let started = Engine::start_with_progress(config, move |step| {
        let _turn = seen.lock().unwrap();
        shared.lock().unwrap().push(step);
    });
    let error = started.await.err().unwrap();
    assert!(error.to_string().contains("cut off"), "{error}");
    let pulling = StartProgress::Pulling { done_bytes: 4, total_bytes: 10 };
    assert!(steps.lock().unwrap().contains(&pulling));
}

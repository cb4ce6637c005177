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
    Account, ChatRequest, CompanionFile, CompletionRequest, DetokeniseRequest, EmbeddingsRequest,
    Engine, EngineConfig, EngineError, EngineEvent, Fault, FinishReason, Load, Memory, ModelState,
    Pooling, Serves, TokeniseRequest, check_gguf, weights_digest,
};
use serde_json::{Value, json};
use support::{ANNE, BOB, Collected, able_template, ask, calls_and_thinks, collect, given};
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
    let (server, model) = (given("PHALLAMA_LLAMA_SERVER", "llama-server"), model());
    let digest = weights_digest(&model, |_, _| {}).unwrap();
    EngineConfig::new(server, model, "smollm2-135m", digest, dir.join("sockets"))
}

fn model() -> PathBuf {
    given("PHALLAMA_MODEL", "model")
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
fn the_weights_are_in_the_workers_own_memory() {
    with_engine(async |engine| {
        let pid = engine.worker_pid().unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let model = model().canonicalize().unwrap();
        let model = model.to_str().unwrap();
        assert!(maps.contains(".so"), "{maps}");
        assert!(!maps.lines().any(|line| line.ends_with(model)), "the file is mapped");
    });
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

/// The chat template of this model knows no tools: the grammar does.
#[test]
fn a_required_call_is_made_within_its_schema() {
    with_engine(async |engine| {
        let tool = |name: &str| {
            let parameters = json!({ "type": "object", "required": ["day"],
                "additionalProperties": false, "properties": { "day": { "$ref": "#/$defs/day" } },
                "$defs": { "day": { "type": "string", "enum": ["today", "tomorrow"] } } });
            json!({ "type": "function", "function": { "name": name, "parameters": parameters } })
        };
        let ask = |choice: Value| {
            let tools = json!([tool("weather"), tool("tides")]);
            say("Weather?", &json!({ "tools": tools, "tool_choice": choice, "max_tokens": 100 }))
        };
        let named = json!({ "type": "function", "function": { "name": "tides" } });
        for (choice, names) in [(json!("required"), &["weather", "tides"][..]), (named, &["tides"])]
        {
            let all = chat(engine, ask(choice), ANNE).await;
            assert_eq!((all.text.as_str(), all.end.unwrap().0), ("", FinishReason::ToolCalls));
            let [EngineEvent::ToolCalls { calls, .. }] = &all.others[..] else {
                panic!("{:?}", all.others)
            };
            let function = &calls[0]["function"];
            assert!(names.contains(&function["name"].as_str().unwrap()), "{function}");
            let arguments = function["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert!(["today", "tomorrow"].contains(&arguments["day"].as_str().unwrap()));
        }
        let error = engine.chat(ask(json!("auto")), ANNE).await.err().unwrap();
        assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
    });
}

#[test]
fn several_choices_count_their_prompt_once_and_all_their_tokens() {
    with_engine(async |engine| {
        let ask = |n: u32| {
            let more = json!({ "n": n, "max_tokens": 8, "seed": 5, "temperature": 1.5 });
            say("Write one odd word after another.", &more)
        };
        let one = chat(engine, ask(1), [0xC1; 20]).await.end.unwrap().1;
        let all = chat(engine, ask(3), [0xC3; 20]).await;
        let ends = all.others.iter().filter(|e| matches!(e, EngineEvent::NextChoice { .. }));
        assert_eq!(ends.count(), 2);
        let usage = all.end.unwrap().1;
        assert_eq!((usage.prompt_tokens, usage.cached_tokens), (one.prompt_tokens, 0));
        // The end of the last choice may be a token that no event stands for.
        let untold = usage.completion_tokens - all.pieces.iter().sum::<u32>();
        assert!(untold <= 1, "{untold} tokens were not told");
        assert!(usage.completion_tokens > 8 && usage.completion_tokens <= 24, "{usage:?}");
    });
}

#[test]
fn texts_become_tokens_and_texts_again() {
    with_engine(async |engine| {
        let text = "Žluťoučký 🦙 said hello.";
        let body = json!({ "content": text }).to_string();
        let tokens =
            engine.tokenise(&TokeniseRequest::parse(body.as_bytes()).unwrap()).await.unwrap();
        assert!(tokens.len() > 4, "{tokens:?}");
        let body = json!({ "tokens": tokens }).to_string();
        let request = DetokeniseRequest::parse(body.as_bytes()).unwrap();
        assert_eq!(engine.detokenise(&request).await.unwrap(), text);
    });
}

#[test]
fn a_model_that_cannot_fill_in_says_so() {
    with_engine(async |engine| {
        let request = CompletionRequest::parse(br#"{"prompt":"a","suffix":"b","max_tokens":3}"#);
        let error = engine.complete(request.unwrap(), ANNE).await.err().unwrap();
        assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
        assert_eq!(error.fault(), Fault::Request);
    });
}

#[test]
fn a_grammar_is_obeyed() {
    with_engine(async |engine| {
        let more = json!({ "grammar": "root ::= (\"yes\" | \"no\") \"!\"", "max_tokens": 9 });
        let all = chat(engine, say("Is water wet?", &more), ANNE).await;
        assert!(["yes!", "no!"].contains(&all.text.as_str()), "{}", all.text);
    });
}

/// What has crashed this or another worker, or comes close to a limit of ours. Requests that our
/// checks let through may be refused by the worker, or answered; it must be the same process after.
#[test]
fn hostile_requests_leave_the_worker_alive() {
    with_engine(async |engine| {
        let pid = engine.worker_pid();
        let rules: Vec<String> = (0..500).map(|i| format!("r{i} ::= r{}", i + 1)).collect();
        let nested = format!("root ::= {}\"a\"{}", "(".repeat(64), ")".repeat(64));
        for grammar in [
            "r ::= \"a\"",
            "root ::= root | \"a\"",
            "root ::= (\"a\"*)*",
            "root ::= ((\"a\"{0,1000}){0,1000}){0,1000}",
            "root ::= <[49152]>",
            "root ::= undefined",
            "root ::= [\\x00-\\U0010FFFF]{1000}",
            &format!("root ::= r0\n{}\nr500 ::= \"a\"", rules.join("\n")),
            &nested,
        ] {
            try_chat(engine, &json!({ "grammar": grammar })).await;
        }
        let optional: serde_json::Map<_, _> =
            (0..256).map(|i| (format!("p{i}"), json!({ "type": "string" }))).collect();
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "$ref": "#/nowhere" }),
            json!({ "properties": { "x": { "$ref": "#/properties/x" } } }),
            json!({ "allOf": [{ "$ref": "#" }] }),
            json!({ "enum": [] }),
            json!({ "type": "nonsense" }),
            json!({ "type": "string", "pattern": "^(a|b){1000}[c-d]{1000}$" }),
            json!({ "type": "string", "pattern": format!("^{}a{}$", "(".repeat(16), ")".repeat(16)) }),
            json!({ "type": "integer", "minimum": -1e308, "maximum": 1e308 }),
            json!({ "type": "array", "items": { "type": "string", "maxLength": 2000 }, "maxItems": 2000 }),
            json!({ "type": "object", "properties": optional }),
            json!({ "type": "object", "properties": { "x".repeat(256): {} } }),
        ] {
            let format =
                json!({ "type": "json_schema", "json_schema": { "name": "s", "schema": schema } });
            try_chat(engine, &json!({ "response_format": format })).await;
        }
        for more in [
            json!({ "logit_bias": { "4294967295": 100, "49152": -100, "0": 100 } }),
            json!({ "top_k": 100_000, "typical_p": 0, "min_p": 1, "top_p": 0, "temperature": 2 }),
            json!({ "repeat_penalty": 0.1, "repeat_last_n": -1, "mirostat": 2, "mirostat_tau": 0 }),
            json!({ "dry_multiplier": 10, "dry_base": 10, "dry_allowed_length": 0,
                    "dry_penalty_last_n": 65_536, "xtc_probability": 1, "xtc_threshold": 0 }),
            json!({ "stop": ["\u{0}", "a", " "], "logprobs": true, "top_logprobs": 20 }),
            json!({ "n": 8 }),
            json!({ "reasoning_effort": "high", "chat_template_kwargs": { "enable_thinking": true } }),
        ] {
            try_chat(engine, &more).await;
        }
        for prompt in
            [json!([2_147_483_647]), json!([0]), json!("\u{0}"), json!("\u{fffd}\u{202e}")]
        {
            let body = json!({ "prompt": prompt, "max_tokens": 2 }).to_string();
            let request = CompletionRequest::parse(body.as_bytes()).unwrap();
            if let Ok(mut stream) = engine.complete(request, ANNE).await {
                collect(&mut stream).await;
            }
        }
        let request = DetokeniseRequest::parse(br#"{"tokens":[2147483647]}"#).unwrap();
        assert!(engine.detokenise(&request).await.is_err());
        assert_eq!(engine.worker_pid(), pid, "the worker was restarted");
        assert!(chat(engine, say("Hi", &json!({ "max_tokens": 2 })), ANNE).await.end.is_some());
    });
}

async fn try_chat(engine: &Engine, more: &Value) {
    let pid = engine.worker_pid();
    let mut request =
        json!({ "messages": [{ "role": "user", "content": "x\u{0}y" }], "max_tokens": 4 });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    match engine.chat(parse(&request), ANNE).await {
        Ok(mut stream) => drop(collect(&mut stream).await),
        // Anything else would be a worker that is gone.
        Err(error) => assert!(
            matches!(error, EngineError::WorkerRefused { .. } | EngineError::PromptTooLong { .. }),
            "{more}: {error}"
        ),
    }
    assert_eq!(engine.worker_pid(), pid, "{more}");
}

/// Milliseconds that the worker spent on the prompt, and what it took from the cache.
async fn prefill(engine: &Engine, prompt: &str, account: Account) -> (f64, u32) {
    let request = say(prompt, &json!({ "max_tokens": 1, "temperature": 0 }));
    let mut stream = engine.chat(request, account).await.unwrap();
    while let Some(event) = stream.next().await {
        if let EngineEvent::Finished { prompt_ms, usage, .. } = event.unwrap() {
            return (prompt_ms, usage.cached_tokens);
        }
    }
    panic!("the answer has no end")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One slot, so that every account finds what the one before it left. How long a prompt takes must
/// not tell an account whether another has just asked the same: it is held against a slot that
/// holds something else, and against what a reuse looks like.
#[test]
fn an_account_cannot_tell_by_counts_or_time_what_another_has_asked() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig { slots: 1, context_tokens: 1024, ..config(dir.path()) };
    SHARED.runtime.block_on(async {
        let _alone = SHARED.engine.lock().await;
        let engine = Engine::start(config).await.unwrap();
        let (secret, other) = ("llamas graze ".repeat(100), "tides turn ".repeat(100));
        let (mut after_same, mut after_other, mut own) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..5_u8 {
            let account = |index: u8| [16 * round + index; 20];
            prefill(&engine, &other, account(0)).await;
            let (unrelated_ms, cached) = prefill(&engine, &secret, account(1)).await;
            assert_eq!(cached, 0);
            let (same_ms, cached) = prefill(&engine, &secret, account(2)).await;
            assert_eq!(cached, 0, "what the account before has asked was reused");
            let (own_ms, cached) = prefill(&engine, &secret, account(2)).await;
            assert!(cached > 150, "the account's own prompt is reused: {cached}");
            after_other.push(unrelated_ms);
            after_same.push(same_ms);
            own.push(own_ms);
        }
        let [other, same, own] = [after_other, after_same, own].map(median);
        assert!(own < other / 4.0, "a reuse would show: {own} ms instead of {other} ms");
        assert!(same > other / 2.0, "{same} ms after the same prompt, {other} ms after another");
        engine.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn a_long_prompt_lets_other_answers_go_on() {
    with_engine(async |engine| {
        let story =
            say("Count to a thousand.", &json!({ "max_tokens": 500, "logit_bias": { "2": -100 } }));
        let mut answer = engine.chat(story, ANNE).await.unwrap();
        while answer.usage().completion_tokens == 0 {
            answer.next().await.unwrap().unwrap();
        }
        let long = say(&"word ".repeat(700), &json!({ "max_tokens": 1 }));
        let asked = engine.clone();
        let mut prompt = tokio::spawn(async move { chat(&asked, long, BOB).await.end.unwrap().1 });
        let mut meanwhile = 0;
        let usage = loop {
            tokio::select! {
                usage = &mut prompt => break usage.unwrap(),
                event = answer.next() => {
                    event.unwrap().unwrap();
                    meanwhile += 1;
                }
            }
        };
        // One for each batch of 128 tokens, but for those at both ends.
        let batches = usage.prompt_tokens / 128;
        assert!(usage.prompt_tokens > 600 && meanwhile + 2 >= batches, "{meanwhile} of {batches}");
    });
}

#[test]
fn a_template_with_tools_and_thoughts_has_them_told() {
    let dir = tempfile::tempdir().unwrap();
    let extra_args = vec!["--chat-template-file".into(), able_template().into()];
    let config = EngineConfig { slots: 1, context_tokens: 1024, extra_args, ..config(dir.path()) };
    SHARED.runtime.block_on(async {
        let _alone = SHARED.engine.lock().await;
        let engine = Engine::start(config).await.unwrap();
        assert_eq!(engine.worker_facts().unwrap().tools, Some(true));
        calls_and_thinks(&engine).await;
        engine.shutdown(Duration::ZERO).await;
    });
}

#[test]
fn makes_embeddings_of_texts_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let serves = Serves::Embeddings { pooling: Some(Pooling::Mean) };
    let config = EngineConfig { serves, context_tokens: 512, ..config(dir.path()) };
    SHARED.runtime.block_on(async {
        let _alone = SHARED.engine.lock().await;
        let engine = Engine::start(config).await.unwrap();
        let embed = async |body: &Value| {
            engine.embed(EmbeddingsRequest::parse(body.to_string().as_bytes()).unwrap(), ANNE).await
        };
        let body = json!({ "content": "llamas graze" }).to_string();
        let tokens =
            engine.tokenise(&TokeniseRequest::parse(body.as_bytes()).unwrap()).await.unwrap();
        let made = embed(&json!({ "input": ["llamas graze", tokens, "tides"] })).await.unwrap();
        let [first, again, other] = &made.vectors[..] else { panic!("{made:?}") };
        assert!(first.len() == 576 && made.prompt_tokens as usize > 2 * tokens.len());
        let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        assert!((cosine(first, first) - 1.0).abs() < 1e-3, "of length 1");
        assert!(cosine(first, again) > 0.999, "tokens are the text: {}", cosine(first, again));
        assert!(cosine(first, other) < 0.999);
        let alone = embed(&json!({ "input": "llamas graze" })).await.unwrap();
        let same = cosine(first, &alone.vectors[0]);
        assert!(same > 0.9999, "beside other texts it is another vector: {same}");
        let shorter = embed(&json!({ "input": "llamas", "dimensions": 64 })).await.unwrap();
        assert_eq!(shorter.vectors[0].len(), 64);
        let long = embed(&json!({ "input": "word ".repeat(700) })).await.unwrap_err();
        assert!(matches!(long, EngineError::PromptTooLong { .. }), "{long}");
        let wrong = embed(&json!({ "input": [[2_147_483_647]] })).await.unwrap_err();
        assert_eq!(wrong.fault(), Fault::Request, "{wrong}");
        engine.shutdown(Duration::ZERO).await;
    });
}

/// The model is its own draft: every guess is right, and nothing but the speed may change.
#[test]
fn speculative_decoding_gives_the_same_answer_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let plain = config(dir.path());
    let draft = CompanionFile { path: plain.model_path.clone(), sha256: plain.weights_sha256 };
    let serves = Serves::Answers { projector: None, draft: Some(draft) };
    let config = EngineConfig { serves, slots: 1, context_tokens: 512, ..plain };
    let ask = || say("Count from one to ten.", &json!({ "max_tokens": 24, "temperature": 0 }));
    SHARED.runtime.block_on(async {
        let plain = SHARED.engine.lock().await;
        let expected = chat(&plain, ask(), [0xD0; 20]).await;
        let engine = Engine::start(config).await.unwrap();
        let all = chat(&engine, ask(), [0xD0; 20]).await;
        assert_eq!((all.text, all.end), (expected.text, expected.end));
        engine.shutdown(Duration::ZERO).await;
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

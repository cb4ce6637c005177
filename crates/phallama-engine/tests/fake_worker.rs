//! Faults and rules of the engine, against the scripted worker that its own supervisor runs.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[allow(dead_code, reason = "shared with the other test programs")]
mod support;

use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use phallama_engine::{
    Account, ChatRequest, CompanionFile, CompletionRequest, DetokeniseRequest, EmbeddingsRequest,
    Engine, EngineConfig, EngineError, EngineEvent, Fault, FinishReason, Pooling, Serves,
    StartProgress, TokeniseRequest, Usage, WorkerText, weights_digest,
};
use serde_json::{Value, json};
use support::{ANNE, BOB, Collected, ask, collect};
use tempfile::TempDir;

/// A model file that is valid and computes nothing.
const TINY: &[u8] = include_bytes!("../../../vectors/gguf/tiny.gguf");

/// An engine and the directory of its files.
struct Pod {
    engine: Engine,
    dir: TempDir,
}

fn config(dir: &Path) -> EngineConfig {
    let model = dir.join("model.gguf");
    std::fs::write(&model, TINY).unwrap();
    let digest = weights_digest(&model, |_, _| {}).unwrap();
    let worker = env!("CARGO_BIN_EXE_phallama-fake-worker");
    let mut config = EngineConfig::new(worker, model, "fake", digest, dir.join("sockets"));
    config.start_timeout = Duration::from_secs(20);
    config
}

async fn pod_with(change: impl FnOnce(&mut EngineConfig)) -> Pod {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    change(&mut config);
    let engine = Engine::start(config).await.unwrap();
    Pod { engine, dir }
}

async fn pod() -> Pod {
    pod_with(|_| {}).await
}

async fn start_error(change: impl FnOnce(&mut EngineConfig)) -> EngineError {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    change(&mut config);
    match Engine::start(config).await {
        Ok(_) => panic!("the engine started"),
        Err(error) => error,
    }
}

/// The whole answer to one message.
async fn answer(engine: &Engine, message: &str, account: Account) -> Collected {
    collect(&mut engine.chat(ask(message), account).await.unwrap()).await
}

/// Asks again and again until `done` says so; fails after 20 s.
async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(Instant::now() < deadline, "waited 20 s until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until another worker than `old` answers.
async fn replaced(engine: &Engine, old: Option<u32>) {
    until("another worker runs", async || engine.worker_pid().is_some_and(|pid| Some(pid) != old))
        .await;
}

fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

/// The error with which the answer to the message ends, and the text before it.
async fn fault(pod: &Pod, message: &str) -> (String, EngineError) {
    let all = answer(&pod.engine, message, ANNE).await;
    (all.text, all.error.unwrap())
}

#[tokio::test]
async fn streams_words_and_ends_with_exact_usage() {
    let pod = pod().await;
    let all = answer(&pod.engine, "say hello big world", ANNE).await;
    assert_eq!(all.text, "hello big world");
    assert_eq!(all.pieces, [1, 1, 1]);
    assert_eq!(all.prompt, Some((4, 0)));
    let usage = Usage { prompt_tokens: 4, completion_tokens: 3, cached_tokens: 0 };
    assert_eq!(all.end, Some((FinishReason::Stop, usage)));
    assert_eq!((pod.engine.in_flight(), pod.engine.queued()), (0, 0));
}

#[tokio::test]
async fn tells_the_prompt_tokens_before_the_first_token_and_counts_while_it_streams() {
    let pod = pod().await;
    let mut stream = pod.engine.chat(ask("slow 1000 5"), ANNE).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert_eq!(first, EngineEvent::Prompt { prompt_tokens: 3, cached_tokens: 0 });
    for expected in 1..=5 {
        let event = stream.next().await.unwrap().unwrap();
        assert!(matches!(event, EngineEvent::Content { tokens: 1, .. }), "{event:?}");
        assert!(stream.usage().completion_tokens >= expected);
        assert_eq!(stream.usage().prompt_tokens, 3);
    }
}

#[tokio::test]
async fn an_event_of_several_tokens_counts_as_several() {
    let pod = pod().await;
    let all = answer(&pod.engine, "batch 7", ANNE).await;
    assert_eq!((all.pieces, all.end.unwrap().1.completion_tokens), (vec![7], 7));
}

#[tokio::test]
async fn carries_reasoning_tool_calls_and_log_probabilities() {
    let pod = pod().await;
    let all = answer(&pod.engine, "think of it", ANNE).await;
    assert_eq!((all.reasoning.as_str(), all.text.as_str()), ("of it", "done"));
    let all = answer(&pod.engine, "tool search", ANNE).await;
    assert_eq!(all.end.unwrap().0, FinishReason::ToolCalls);
    let [EngineEvent::ToolCalls { calls, tokens: 3 }] = &all.others[..] else {
        panic!("{:?}", all.others)
    };
    assert_eq!(calls[0]["function"]["name"], "search");
    let all = answer(&pod.engine, "logprobs 2", ANNE).await;
    assert_eq!(all.others.len(), 2);
    let EngineEvent::Logprobs(logprobs) = &all.others[0] else { panic!("{:?}", all.others) };
    assert_eq!(logprobs["content"][0]["logprob"], -0.5);
}

#[tokio::test]
async fn joins_characters_that_arrive_byte_by_byte() {
    let pod = pod().await;
    assert_eq!(answer(&pod.engine, "split", ANNE).await.text, "žluťoučký 🦙");
}

#[tokio::test]
async fn ends_for_length_at_max_tokens() {
    let pod = pod().await;
    let request = ask("tokens 500").with_max_tokens_at_most(10);
    let all = collect(&mut pod.engine.chat(request, ANNE).await.unwrap()).await;
    let (reason, usage) = all.end.unwrap();
    assert_eq!((reason, usage.completion_tokens), (FinishReason::Length, 10));
}

#[tokio::test]
async fn completes_a_raw_prompt() {
    let pod = pod().await;
    let request = CompletionRequest::parse(br#"{"prompt":"say raw words"}"#).unwrap();
    let all = collect(&mut pod.engine.complete(request, ANNE).await.unwrap()).await;
    assert_eq!(all.text, "raw words");
    let usage = Usage { prompt_tokens: 3, completion_tokens: 2, cached_tokens: 0 };
    assert_eq!(all.end, Some((FinishReason::Stop, usage)));
}

#[tokio::test]
async fn several_choices_share_their_prompt_and_are_all_counted() {
    let pod = pod_with(|config| config.slots = 1).await;
    let body = json!({
        "messages": [{ "role": "user", "content": "say one two" }], "n": 3, "max_tokens": 5,
    });
    let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
    let mut stream = pod.engine.chat(request, ANNE).await.unwrap();
    let (mut texts, mut tokens) = (vec![String::new()], 0);
    let usage = loop {
        match stream.next().await.unwrap().unwrap() {
            EngineEvent::Content { text, tokens: more } => {
                texts.last_mut().unwrap().push_str(&text);
                tokens += more;
            }
            EngineEvent::NextChoice { reason } => {
                assert_eq!(reason, FinishReason::Stop);
                texts.push(String::new());
            }
            EngineEvent::Finished { usage, prompt_ms, .. } => {
                assert!((prompt_ms - 3.0).abs() < 0.1, "of all choices: {prompt_ms}");
                break usage;
            }
            EngineEvent::Prompt { prompt_tokens, cached_tokens } => {
                assert_eq!((prompt_tokens, cached_tokens, tokens), (3, 0, 0), "told once");
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((texts, tokens), (vec!["one two".to_owned(); 3], 6));
    let expected = Usage { prompt_tokens: 3, completion_tokens: 6, cached_tokens: 0 };
    assert_eq!((usage, stream.usage()), (expected, expected));
    assert!(stream.next().await.is_none());
    assert_eq!(pod.engine.in_flight(), 0);
}

#[tokio::test]
async fn a_model_without_tools_is_made_to_call_or_says_that_it_cannot() {
    let pod = pod_with(|config| config.extra_args.push("--fake-toolless".into())).await;
    let call = r#"{"name":"f","arguments":{"a":1}}"#;
    let ask = async |message: String, choice: &str| {
        let tools = json!([{ "type": "function", "function": { "name": "f" } }]);
        let body = json!({
            "messages": [{ "role": "user", "content": message }], "n": 2,
            "tools": tools, "tool_choice": choice, "max_tokens": 50,
        });
        let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
        pod.engine.chat(request, ANNE).await
    };
    let all = collect(&mut ask(format!("say {call}"), "required").await.unwrap()).await;
    let [
        EngineEvent::ToolCalls { calls: first, tokens: 1 },
        EngineEvent::NextChoice { reason: FinishReason::ToolCalls },
        EngineEvent::ToolCalls { calls: second, tokens: 1 },
    ] = &all.others[..]
    else {
        panic!("{all:?}")
    };
    assert_eq!(first[0]["function"]["arguments"], r#"{"a":1}"#);
    assert_eq!((&first[0]["id"], &second[0]["id"]), (&json!("call_0"), &json!("call_1")));
    assert_eq!((all.text.as_str(), all.end.unwrap().0), ("", FinishReason::ToolCalls));
    let all = collect(&mut ask("say half a call".to_owned(), "required").await.unwrap()).await;
    assert_eq!(
        (all.text.as_str(), all.end.unwrap().0),
        ("half a callhalf a call", FinishReason::Stop)
    );
    let error = ask("say no".to_owned(), "auto").await.err().unwrap();
    assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
    let all = collect(&mut ask("say fine".to_owned(), "none").await.unwrap()).await;
    assert_eq!(all.text, "finefine");
}

#[tokio::test]
async fn a_choice_that_fails_ends_the_answer() {
    for (message, choices_before) in [("die 1", 0), ("eof 2", 0)] {
        let pod = pod().await;
        let body = json!({ "messages": [{ "role": "user", "content": message }], "n": 2 });
        let request = ChatRequest::parse(body.to_string().as_bytes()).unwrap();
        let all = collect(&mut pod.engine.chat(request, ANNE).await.unwrap()).await;
        assert!(matches!(all.error, Some(EngineError::Truncated { .. })), "{all:?}");
        assert_eq!(all.others.len(), choices_before);
    }
}

#[tokio::test]
async fn fills_in_between_a_prompt_and_a_suffix() {
    let pod = pod().await;
    let complete = async |body: &[u8]| {
        let request = CompletionRequest::parse(body).unwrap();
        pod.engine.complete(request, ANNE).await
    };
    let mut stream = complete(br#"{"prompt":"say in between","suffix":"after it"}"#).await.unwrap();
    let all = collect(&mut stream).await;
    assert_eq!((all.text.as_str(), all.prompt), ("in between", Some((5, 0))));
    let usage = Usage { prompt_tokens: 5, completion_tokens: 2, cached_tokens: 0 };
    assert_eq!(all.end, Some((FinishReason::Stop, usage)));
    let mut stream =
        complete(br#"{"prompt":"logprobs 9","suffix":"x","max_tokens":2,"logprobs":1}"#)
            .await
            .unwrap();
    let all = collect(&mut stream).await;
    assert_eq!(all.end.unwrap().0, FinishReason::Length);
    let EngineEvent::Logprobs(logprobs) = &all.others[0] else { panic!("{:?}", all.others) };
    assert_eq!(logprobs["content"][0]["logprob"], -0.5);
    let error = complete(br#"{"prompt":"unable","suffix":"x"}"#).await.err().unwrap();
    assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Request);
}

/// An engine for embeddings.
async fn vectors(pooling: Option<Pooling>) -> Pod {
    pod_with(|config| config.serves = Serves::Embeddings { pooling }).await
}

#[tokio::test]
async fn makes_vectors_in_the_order_of_their_inputs() {
    let pod = vectors(Some(Pooling::Mean)).await;
    let inputs: Vec<Value> =
        (1..=20).map(|words| json!("ab ".repeat(words))).chain([json!([7, 8])]).collect();
    let body = json!({ "model": "m", "input": inputs }).to_string();
    let request = EmbeddingsRequest::parse(body.as_bytes()).unwrap();
    let made = pod.engine.embed(request, ANNE).await.unwrap();
    assert_eq!(made.prompt_tokens, (1..=20).sum::<u32>() + 2);
    let words: Vec<f32> = made.vectors.iter().map(|vector| vector[0]).collect();
    let expected: Vec<f32> = (1..=20_u8).map(f32::from).chain([2.0]).collect();
    assert_eq!(words, expected);
    let body = br#"{"input":"a b","dimensions":2}"#;
    let made = pod.engine.embed(EmbeddingsRequest::parse(body).unwrap(), BOB).await.unwrap();
    let length: f32 = made.vectors[0].iter().map(|number| number * number).sum();
    assert!(made.vectors[0].len() == 2 && (length - 1.0).abs() < 1e-6, "{length}");
    let body = br#"{"input":"a b","dimensions":4}"#;
    let error = pod.engine.embed(EmbeddingsRequest::parse(body).unwrap(), BOB).await.unwrap_err();
    assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
    assert_eq!(pod.engine.in_flight(), 0);
}

#[tokio::test]
async fn a_worker_is_for_answers_or_for_vectors() {
    let answers = pod().await;
    let request = EmbeddingsRequest::parse(br#"{"input":"a"}"#).unwrap();
    let error = answers.engine.embed(request, ANNE).await.unwrap_err().to_string();
    assert!(error.contains("was not started for embeddings"), "{error}");
    let vectors = vectors(None).await;
    let error = vectors.engine.chat(ask("say no"), ANNE).await.err().unwrap().to_string();
    assert_eq!(error, "this model is offered for embeddings, not for answers");
    let error = start_error(|config| {
        config.serves = Serves::Embeddings { pooling: None };
        config.extra_args.push("--fake-unpooled".into());
    })
    .await;
    assert!(matches!(error, EngineError::NoPooling), "{error}");
    assert_eq!(error.fault(), Fault::Operator);
}

#[tokio::test]
async fn tokens_and_texts_need_no_slot() {
    let pod = pod_with(|config| (config.slots, config.queue_max) = (1, 0)).await;
    let _busy = pod.engine.chat(ask("hang 1"), ANNE).await.unwrap();
    let request = TokeniseRequest::parse(br#"{"content":"three little words"}"#).unwrap();
    assert_eq!(pod.engine.tokenise(&request).await.unwrap(), [5, 6, 5]);
    let request = DetokeniseRequest::parse(br#"{"tokens":[5,6]}"#).unwrap();
    assert_eq!(pod.engine.detokenise(&request).await.unwrap(), "5 6");
}

#[tokio::test]
async fn images_need_a_projector_whose_digest_is_checked() {
    let image = "data:image/gif;base64,R0lGODlhAQABAAAAACw=";
    let content = json!([{ "type": "image_url", "image_url": { "url": image } },
                         { "type": "text", "text": "say seen" }]);
    let body = json!({ "messages": [{ "role": "user", "content": content }] }).to_string();
    let request = ChatRequest::parse(body.as_bytes()).unwrap();
    let blind = pod().await;
    let error = blind.engine.chat(request.clone(), ANNE).await.err().unwrap();
    assert_eq!(error.to_string(), "this model takes no images as its pod runs it");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mmproj.gguf");
    std::fs::write(&path, b"projector").unwrap();
    let sha256 = weights_digest(&path, |_, _| {}).unwrap();
    let with = |sha256| {
        let projector = Some(CompanionFile { path: path.clone(), sha256 });
        Serves::Answers { projector, draft: None }
    };
    let seeing = pod_with(|config| config.serves = with(sha256)).await;
    let pid = seeing.engine.worker_pid().unwrap();
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.contains(&format!("--mmproj\0{}\0", path.display())), "{line}");
    let all = collect(&mut seeing.engine.chat(request, ANNE).await.unwrap()).await;
    assert!(all.end.is_some());
    let error = start_error(|config| config.serves = with([1; 32])).await;
    assert!(matches!(error, EngineError::WeightsMismatch { .. }), "{error}");
}

#[tokio::test]
async fn a_prompt_of_too_many_tokens_never_reaches_the_worker() {
    let pod = pod_with(|config| config.context_tokens = 8).await;
    let request = CompletionRequest::parse(br#"{"prompt":[1,2,3,4,5,6,7,8]}"#).unwrap();
    let error = pod.engine.complete(request, ANNE).await.err().unwrap();
    assert!(
        matches!(error, EngineError::PromptTooLong { prompt_tokens: 8, context_tokens: 8 }),
        "{error}"
    );
}

#[tokio::test]
async fn the_worker_sees_slot_and_cache_of_ours_only() {
    let pod = pod_with(|config| config.slots = 1).await;
    for (account, reuse) in [(ANNE, false), (ANNE, true), (BOB, false), (ANNE, false)] {
        let all = answer(&pod.engine, "reflect", account).await;
        let fields: Value = serde_json::from_str(&all.text).unwrap();
        let expected = json!({
            "cache_prompt": reuse, "id_slot": 0, "max_tokens": 4096, "return_progress": true,
            "stream": true, "stream_options": { "include_usage": true }, "timings_per_token": true,
        });
        assert_eq!(fields, expected);
    }
}

#[tokio::test]
async fn a_prefix_is_reused_within_one_account_only() {
    let pod = pod_with(|config| config.slots = 1).await;
    let cached = async |account| {
        let all = answer(&pod.engine, "say the same words", account).await;
        all.end.unwrap().1.cached_tokens
    };
    assert_eq!(cached(ANNE).await, 0);
    assert_eq!(cached(ANNE).await, 4);
    assert_eq!(cached(BOB).await, 0, "bob must not learn what anne asked");
    assert_eq!(cached(BOB).await, 4);
    assert_eq!(cached(ANNE).await, 0);
}

#[tokio::test]
async fn a_connection_that_closes_early_is_an_error_not_an_end() {
    let pod = pod().await;
    let (text, error) = fault(&pod, "eof 3").await;
    assert_eq!(text, "t0 t1 t2 ");
    assert!(matches!(error, EngineError::Truncated { completion_tokens: 3 }), "{error}");
    assert_eq!(error.fault(), Fault::Worker);
    let (_, error) = fault(&pod, "done 2").await;
    assert!(matches!(error, EngineError::Protocol { .. }), "{error}");
}

#[tokio::test]
async fn malformed_streams_are_errors_after_what_came_before() {
    let pod = pod().await;
    let old = pod.engine.worker_pid();
    let (text, error) = fault(&pod, "garbage 2").await;
    assert_eq!(text, "t0 t1 ");
    assert!(matches!(error, EngineError::Protocol { .. }), "{error}");
    replaced(&pod.engine, old).await;
    for message in ["binary", "flood"] {
        let old = pod.engine.worker_pid();
        let (_, error) = fault(&pod, message).await;
        assert!(matches!(error, EngineError::Sse(_)), "{message}: {error}");
        replaced(&pod.engine, old).await;
    }
    assert_eq!(answer(&pod.engine, "say fine", ANNE).await.text, "fine");
    assert_eq!(pod.engine.restarts(), 3, "who talks nonsense is replaced");
}

#[tokio::test]
async fn errors_of_the_worker_are_withheld_from_logs() {
    let pod = pod().await;
    let (text, error) = fault(&pod, "error 1").await;
    assert_eq!(text, "t0 ");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("told"), "{shown}");
    let EngineError::WorkerFailed { message } = error else { panic!("{error}") };
    assert_eq!(WorkerText::reveal(&message), "told to fail");
}

#[tokio::test]
async fn refusals_of_the_worker_are_typed() {
    let pod = pod().await;
    let refused = async |message| pod.engine.chat(ask(message), ANNE).await.err().unwrap();
    let error = refused("refuse 400").await;
    assert!(matches!(error, EngineError::WorkerRefused { status: 400, .. }), "{error}");
    assert_eq!(error.fault(), Fault::Request);
    assert_eq!(refused("refuse 500").await.fault(), Fault::Worker);
    let error = refused("long").await;
    assert_eq!(
        error.to_string(),
        "the prompt is too long: 9000 tokens, and the model's maximum context length is 4096 tokens"
    );
    assert_eq!(pod.engine.in_flight(), 0);
}

#[tokio::test]
async fn a_worker_that_dies_is_restarted_and_says_so_meanwhile() {
    let pod = pod_with(|config| config.backoff_min = Duration::from_millis(400)).await;
    let old = pod.engine.worker_pid().unwrap();
    let (text, error) = fault(&pod, "die 3").await;
    assert_eq!(text, "t0 t1 t2 ");
    assert!(matches!(error, EngineError::Truncated { completion_tokens: 3 }), "{error}");
    let error = pod.engine.chat(ask("say early"), ANNE).await.err().unwrap();
    assert!(matches!(error, EngineError::WorkerRestarting { .. }), "{error}");
    assert!((1..=400).contains(&error.retry_after_ms().unwrap()));
    assert_eq!(error.fault(), Fault::Busy);
    until("the worker is back", async || pod.engine.worker_pid().is_some_and(|pid| pid != old))
        .await;
    assert_eq!(answer(&pod.engine, "say back", ANNE).await.text, "back");
}

#[tokio::test]
async fn a_restart_hashes_the_weights_again() {
    let pod = pod().await;
    std::fs::write(pod.dir.path().join("model.gguf"), b"something else").unwrap();
    fault(&pod, "die 0").await;
    let refused = async || {
        matches!(pod.engine.chat(ask("say no"), ANNE).await, Err(EngineError::LoadFailed { .. }))
    };
    until("a restart has failed", refused).await;
    std::fs::write(pod.dir.path().join("model.gguf"), TINY).unwrap();
    until("the worker is back", async || pod.engine.worker_pid().is_some()).await;
}

#[tokio::test]
async fn a_silent_worker_ends_the_request_and_is_restarted() {
    let pod = pod_with(|config| config.stall_timeout = Duration::from_millis(300)).await;
    let old = pod.engine.worker_pid().unwrap();
    let (text, error) = fault(&pod, "hang 2").await;
    assert_eq!(text, "t0 t1 ");
    assert!(matches!(error, EngineError::Stalled { .. }), "{error}");
    until("another worker runs", async || pod.engine.worker_pid().is_some_and(|pid| pid != old))
        .await;
    assert!(!is_running(old));
    let second = pod.engine.worker_pid().unwrap();
    let error = pod.engine.chat(ask("mute"), ANNE).await.err().unwrap();
    assert!(matches!(error, EngineError::Stalled { .. }), "{error}");
    until("a third runs", async || pod.engine.worker_pid().is_some_and(|pid| pid != second)).await;
    assert_eq!(answer(&pod.engine, "say back", ANNE).await.text, "back");
}

#[tokio::test]
async fn a_dropped_stream_frees_slot_and_worker() {
    let pod = pod_with(|config| config.slots = 2).await;
    let mut stream = pod.engine.chat(ask("slow 100000 5"), ANNE).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(answer(&pod.engine, "running", BOB).await.text, "1");
    drop(stream);
    assert_eq!(pod.engine.in_flight(), 0);
    until("the worker noticed", async || answer(&pod.engine, "running", BOB).await.text == "0")
        .await;
}

#[tokio::test]
async fn the_queue_is_bounded_first_come_first_served_and_can_be_left() {
    let pod = pod_with(|config| (config.slots, config.queue_max) = (1, 2)).await;
    let busy = pod.engine.chat(ask("hang 1"), ANNE).await.unwrap();
    let wait = |message: &'static str, account| {
        let engine = pod.engine.clone();
        tokio::spawn(async move { answer(&engine, message, account).await.text })
    };
    let first = wait("say first", BOB);
    until("one waits", async || pod.engine.queued() == 1).await;
    let error = pod.engine.chat(ask("say more"), BOB).await.err().unwrap();
    assert!(matches!(error, EngineError::ShareFull { queued: 1, .. }), "{error}");
    assert_eq!((error.fault(), error.retry_after_ms().is_some()), (Fault::Busy, true));
    let second = wait("say second", ANNE);
    until("two wait", async || pod.engine.queued() == 2).await;
    let error = pod.engine.chat(ask("say third"), [3; 20]).await.err().unwrap();
    assert!(matches!(error, EngineError::QueueFull { queued: 2, .. }), "{error}");
    assert!(error.retry_after_ms().unwrap() >= 250);
    first.abort();
    until("the first has left", async || pod.engine.queued() == 1).await;
    drop(busy);
    assert_eq!(second.await.unwrap(), "second");
    assert_eq!((pod.engine.in_flight(), pod.engine.queued()), (0, 0));
}

#[tokio::test]
async fn shutdown_lets_running_answers_finish_and_takes_no_new_ones() {
    let pod = pod().await;
    let pid = pod.engine.worker_pid().unwrap();
    let mut stream = pod.engine.chat(ask("slow 20 10"), ANNE).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let engine = pod.engine.clone();
    let shutdown = tokio::spawn(async move { engine.shutdown(Duration::from_secs(20)).await });
    until("new requests are refused", async || {
        matches!(pod.engine.chat(ask("say no"), ANNE).await, Err(EngineError::Draining))
    })
    .await;
    let all = collect(&mut stream).await;
    assert_eq!(all.end.unwrap().1.completion_tokens, 20);
    shutdown.await.unwrap();
    assert!(!is_running(pid));
    assert_eq!(std::fs::read_dir(pod.dir.path().join("sockets")).unwrap().count(), 0);
}

#[tokio::test]
async fn shutdown_cuts_off_what_outlasts_its_patience() {
    let pod = pod().await;
    let mut stream = pod.engine.chat(ask("hang 1"), ANNE).await.unwrap();
    pod.engine.shutdown(Duration::from_millis(50)).await;
    let error = collect(&mut stream).await.error.unwrap();
    assert!(matches!(error, EngineError::Truncated { .. }), "{error}");
}

#[tokio::test]
async fn dropping_the_engine_kills_the_worker() {
    let pod = pod().await;
    let pid = pod.engine.worker_pid().unwrap();
    assert!(is_running(pid));
    drop(pod);
    until("the worker is gone", async || !is_running(pid)).await;
}

/// Runs this very test a second time, as a parent that is then killed without a chance to clean up.
#[tokio::test]
async fn a_killed_parent_takes_its_worker_along() {
    const PID_FILE: &str = "PHALLAMA_TEST_PID_FILE";
    if let Some(pid_file) = std::env::var_os(PID_FILE) {
        let pod = pod().await;
        let partial = Path::new(&pid_file).with_extension("partial");
        std::fs::write(&partial, pod.engine.worker_pid().unwrap().to_string()).unwrap();
        std::fs::rename(partial, pid_file).unwrap();
        return std::future::pending().await;
    }
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_parent_takes_its_worker_along"])
        .env(PID_FILE, &pid_file)
        // What it cannot clean up is cleaned up with our directory.
        .env("TMPDIR", dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("the parent has a worker", async || pid_file.exists()).await;
    let worker = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(is_running(worker));
    parent.kill().unwrap();
    parent.wait().unwrap();
    until("the worker is gone", async || !is_running(worker)).await;
}

#[tokio::test]
async fn other_weights_are_refused_before_a_worker_starts() {
    let error = start_error(|config| {
        config.weights_sha256 = [0xEE; 32];
        // If it were started at all, this would be the error.
        config.worker = "/nonexistent/worker".into();
    })
    .await;
    assert!(matches!(error, EngineError::WeightsMismatch { expected: [0xEE, ..], .. }), "{error}");
    assert_eq!(error.fault(), Fault::Operator);
    let error = start_error(|config| config.model_path = "/nonexistent/model".into()).await;
    assert!(matches!(error, EngineError::WeightsUnreadable { .. }), "{error}");
}

#[tokio::test]
async fn arguments_that_would_open_the_worker_are_refused_before_it_starts() {
    let error = start_error(|config| {
        config.extra_args.extend(["--host".into(), "0.0.0.0".into()]);
        config.model_path = "/nonexistent/model".into();
    })
    .await;
    assert!(
        matches!(&error, EngineError::ExtraArgument { argument } if argument == "--host"),
        "{error}"
    );
}

#[tokio::test]
async fn a_worker_that_cannot_start_says_why() {
    let error = start_error(|config| config.worker = "/nonexistent/worker".into()).await;
    assert!(matches!(error, EngineError::WorkerNotRunnable { .. }), "{error}");
    let error = start_error(|config| config.extra_args.push("--fake-fail-start".into())).await;
    let EngineError::WorkerExited { status, stderr_tail } = error else { panic!("{error}") };
    assert_eq!((status.code(), stderr_tail.as_str()), (Some(1), "fake worker: told to fail"));
    let error = start_error(|config| {
        config.extra_args.extend(["--fake-load-ms".into(), "60000".into()]);
        config.start_timeout = Duration::from_millis(300);
    })
    .await;
    assert!(matches!(error, EngineError::StartTimeout { .. }), "{error}");
    let error = start_error(|config| config.socket_dir.push("x".repeat(110))).await;
    assert!(matches!(error, EngineError::SocketPathTooLong { max_bytes: 107, .. }), "{error}");
}

#[tokio::test]
async fn start_reports_hashing_then_loading_then_ready() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.extra_args.extend(["--fake-load-ms".into(), "200".into()]);
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let engine = Engine::start_with_progress(config, move |step| seen.lock().unwrap().push(step));
    let engine = engine.await.unwrap();
    let steps = steps.lock().unwrap().clone();
    let len = TINY.len() as u64;
    assert_eq!(steps[0], StartProgress::Hashing { done_bytes: len, total_bytes: len });
    assert!(matches!(steps[1], StartProgress::Loading { .. }), "{steps:?}");
    assert_eq!(steps.last(), Some(&StartProgress::Ready));
    engine.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn the_socket_directory_is_private_and_the_environment_bare() {
    let pod = pod().await;
    let sockets = pod.dir.path().join("sockets");
    assert_eq!(std::fs::metadata(&sockets).unwrap().permissions().mode() & 0o777, 0o700);
    let pid = pod.engine.worker_pid().unwrap();
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    for variable in environment.split_terminator('\0') {
        let name = variable.split('=').next().unwrap();
        let passed_on = ["LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR"];
        let ours = ["GGML_NO_BACKTRACE", "GOMP_SPINCOUNT", "GLIBC_TUNABLES"];
        let is_ours = ours.contains(&name) || name.starts_with("LLAMA_ARG_");
        assert!(is_ours || passed_on.contains(&name), "{name}");
    }
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "no core files with prompts in them");
}

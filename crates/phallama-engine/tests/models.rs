//! Several models on one machine: what one does or suffers is not the others' business, except that
//! they share its memory.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[allow(dead_code, reason = "shared with the other test programs")]
mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use phallama_engine::{
    Engine, EngineConfig, EngineError, EngineEvent, Fault, Load, Memory, ModelState, weights_digest,
};
use support::{ANNE, BOB, Collected, ask, collect};
use tempfile::TempDir;

const TINY: &[u8] = include_bytes!("../../../vectors/gguf/tiny.gguf");
/// Somewhat more than one of the models needs, and less than two.
const FOR_ONE_BYTES: u64 = 200 << 20;

fn config(dir: &TempDir, name: &str) -> EngineConfig {
    let model = dir.path().join(format!("{name}.gguf"));
    std::fs::write(&model, TINY).unwrap();
    let digest = weights_digest(&model, |_, _| {}).unwrap();
    let worker = env!("CARGO_BIN_EXE_phallama-fake-worker");
    EngineConfig {
        start_timeout: Duration::from_secs(20),
        ..EngineConfig::new(worker, model, name, digest, dir.path().join(name))
    }
}

fn lazy(dir: &TempDir, name: &str, memory: &Memory) -> EngineConfig {
    EngineConfig { load: Load::OnRequest, memory: memory.clone(), ..config(dir, name) }
}

async fn said(engine: &Engine, message: &str) -> Result<Collected, EngineError> {
    Ok(collect(&mut engine.chat(ask(message), ANNE).await?).await)
}

async fn text(engine: &Engine, message: &str) -> String {
    said(engine, message).await.unwrap().text
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn a_model_is_loaded_by_its_first_request() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(lazy(&dir, "a", &Memory::new(None))).await.unwrap();
    assert_eq!((engine.state(), engine.worker_pid()), (ModelState::Unloaded, None));
    let (one, other) = tokio::join!(text(&engine, "say one"), text(&engine, "say other"));
    assert_eq!((one.as_str(), other.as_str()), ("one", "other"));
    assert_eq!((engine.state(), engine.restarts()), (ModelState::Ready, 0));
    let facts = engine.worker_facts().unwrap();
    assert_eq!(facts.build.as_deref(), Some("b1-fake"));
    assert_eq!((facts.slots, facts.context_tokens), (Some(2), Some(4096)));
    assert!(facts.chat_template && !facts.images);
}

#[tokio::test]
async fn a_model_that_nobody_asks_is_unloaded_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(Some(FOR_ONE_BYTES));
    let keep_alive = Some(Duration::from_millis(1_500));
    let config = EngineConfig { keep_alive, memory: memory.clone(), ..config(&dir, "a") };
    let engine = Engine::start(config).await.unwrap();
    let first = engine.worker_pid().unwrap();
    assert_eq!(memory.used_bytes(), engine.needs_bytes());
    let mut stream = engine.chat(ask("slow 50 60"), ANNE).await.unwrap();
    // Longer than it is kept without a request, and it is kept.
    while let Some(event) = stream.next().await {
        event.unwrap();
        assert_eq!(engine.worker_pid(), Some(first));
    }
    drop(stream);
    until("it is unloaded", || engine.state() == ModelState::Unloaded).await;
    assert_eq!((memory.used_bytes(), engine.restarts()), (0, 0));
    assert_eq!(text(&engine, "say back").await, "back");
    assert_ne!(engine.worker_pid(), Some(first));
}

#[tokio::test]
async fn the_idle_model_makes_room_and_the_busy_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(Some(FOR_ONE_BYTES));
    let a = Engine::start(lazy(&dir, "a", &memory)).await.unwrap();
    let b = Engine::start(lazy(&dir, "b", &memory)).await.unwrap();
    assert_eq!(text(&a, "say a").await, "a");
    assert_eq!(text(&b, "say b").await, "b");
    assert_eq!((a.state(), b.state()), (ModelState::Unloaded, ModelState::Ready));
    let busy = b.chat(ask("hang 1"), BOB).await.unwrap();
    let error = said(&a, "say no").await.unwrap_err();
    let EngineError::NoMemory { needs_bytes, used_bytes, budget_bytes, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((used_bytes, budget_bytes), (b.needs_bytes(), FOR_ONE_BYTES));
    assert_eq!(needs_bytes, a.needs_bytes());
    assert!(error_of_busy(&error).is_some());
    assert!(b.worker_pid().is_some());
    drop(busy);
    until("it may be tried again", || a.state() != ModelState::Restarting).await;
    assert_eq!(text(&a, "say now").await, "now");
    assert_eq!(b.state(), ModelState::Unloaded);
}

/// The wait that a busy engine advises.
fn error_of_busy(error: &EngineError) -> Option<u64> {
    (error.fault() == Fault::Busy).then(|| error.retry_after_ms()).flatten()
}

#[tokio::test]
async fn a_model_that_can_never_fit_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(Some(64 << 20));
    let error = Engine::start(lazy(&dir, "a", &memory)).await.err().unwrap();
    assert!(matches!(error, EngineError::ModelTooLarge { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Operator);
}

#[tokio::test]
async fn weights_that_changed_are_not_loaded_and_the_request_is_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::start(lazy(&dir, "a", &Memory::new(None))).await.unwrap();
    let file = dir.path().join("a.gguf");
    std::fs::write(&file, b"another file").unwrap();
    let error = said(&engine, "say no").await.unwrap_err();
    assert!(matches!(error, EngineError::LoadFailed { .. }), "{error}");
    assert!(error_of_busy(&error).is_some());
    std::fs::write(&file, TINY).unwrap();
    until("it may be tried again", || engine.state() == ModelState::Unloaded).await;
    assert_eq!(text(&engine, "say yes").await, "yes");
}

#[tokio::test]
async fn a_worker_that_does_less_than_it_was_told_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(&dir, "a");
    config.extra_args.extend(["--fake-slots".into(), "1".into()]);
    let error = Engine::start(config).await.err().unwrap();
    let EngineError::WorkerFallsShort { what, expected, got } = error else { panic!("{error}") };
    assert_eq!((what, expected, got), ("slots", 2, 1));
}

/// Whatever happens to the worker of one model, an answer of another that has begun goes on, and
/// the first is back within seconds.
async fn others_go_on(hurt: impl AsyncFnOnce(&Engine)) {
    let dir = tempfile::tempdir().unwrap();
    let stall_timeout = Duration::from_millis(500);
    let hurt_config = EngineConfig { stall_timeout, ..config(&dir, "a") };
    let a = Engine::start(hurt_config).await.unwrap();
    let b = Engine::start(config(&dir, "b")).await.unwrap();
    let (old, other) = (a.worker_pid(), b.worker_pid());
    let mut stream = b.chat(ask("slow 200 10"), BOB).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(EngineEvent::Prompt { .. }))));
    hurt(&a).await;
    until("it has another worker", || a.worker_pid().is_some_and(|pid| Some(pid) != old)).await;
    assert_eq!(text(&a, "say back").await, "back");
    let rest = collect_rest(&mut stream).await;
    assert_eq!(rest, 200, "every token of the other came");
    assert_eq!((b.worker_pid(), b.restarts()), (other, 0));
    assert_eq!(a.restarts(), 1);
}

/// Tokens up to the proper end.
async fn collect_rest(stream: &mut phallama_engine::ChatStream) -> u32 {
    let mut tokens = 0;
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            EngineEvent::Finished { usage, .. } => tokens = usage.completion_tokens,
            _ => assert_eq!(tokens, 0, "nothing follows the end"),
        }
    }
    tokens
}

#[tokio::test]
async fn a_worker_that_aborts_is_replaced_while_others_go_on() {
    others_go_on(async |engine| assert!(said(engine, "die 2").await.unwrap().error.is_some()))
        .await;
}

#[tokio::test]
async fn a_worker_that_the_system_kills_is_replaced_while_others_go_on() {
    others_go_on(async |engine| assert!(said(engine, "kill 2").await.unwrap().error.is_some()))
        .await;
}

#[tokio::test]
async fn a_worker_that_is_stopped_in_an_answer_is_replaced_while_others_go_on() {
    others_go_on(async |engine| {
        let mut stream = engine.chat(ask("slow 1000 10"), ANNE).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        signal("-STOP", engine.worker_pid().unwrap());
        let error = collect_error(&mut stream).await;
        assert!(matches!(error, EngineError::Stalled { .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_talks_nonsense_is_replaced_while_others_go_on() {
    others_go_on(async |engine| {
        let error = said(engine, "garbage 2").await.unwrap().error.unwrap();
        assert!(matches!(error, EngineError::Protocol { .. }), "{error}");
    })
    .await;
}

async fn collect_error(stream: &mut phallama_engine::ChatStream) -> EngineError {
    loop {
        match stream.next().await.expect("an answer ends with an error or an end") {
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[tokio::test]
async fn a_worker_that_hangs_while_nobody_asks_is_found_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let probe_every = Duration::from_millis(400);
    let config = EngineConfig { probe_every, ..config(&dir, "a") };
    let engine = Engine::start(config).await.unwrap();
    let old = engine.worker_pid().unwrap();
    signal("-STOP", old);
    until("it has another worker", || engine.worker_pid().is_some_and(|pid| pid != old)).await;
    assert_eq!(text(&engine, "say back").await, "back");
}

#[tokio::test]
async fn a_shutdown_in_the_middle_of_loading_leaves_no_worker() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = lazy(&dir, "a", &Memory::new(None));
    config.extra_args.extend(["--fake-load-ms".into(), "60000".into()]);
    let engine = Engine::start(config).await.unwrap();
    let asking = tokio::spawn({
        let engine = engine.clone();
        async move { said(&engine, "say no").await.err() }
    });
    until("it loads", || engine.state() == ModelState::Loading).await;
    engine.shutdown(Duration::ZERO).await;
    let error = asking.await.unwrap().unwrap();
    assert!(matches!(error, EngineError::Draining), "{error}");
    assert_eq!(engine.state(), ModelState::Stopped);
    until("its socket is gone", || {
        std::fs::read_dir(dir.path().join("a")).map_or(true, |entries| entries.count() == 0)
    })
    .await;
}

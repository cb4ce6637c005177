//! A pod with two models.

use phallama_enclave::config::{Config, LoadConfig, ModelConfig};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::link::{Kind, Status, WorkerState};
use phallama_protocol::refusal::Code;
use phallama_protocol::request::RequestPlain;
use serde_json::json;

use crate::driver::{MODEL, Pod, Script};

const OTHER: &str = "fake:2";

/// A second model of the same file, loaded by its first request.
fn two(config: &mut Config) {
    let other = ModelConfig {
        model: OTHER.to_owned(),
        load: LoadConfig::Request,
        ..config.models[0].clone()
    };
    config.models.push(other);
}

fn ask(pod: &Pod, model: &str, message: &str) -> RequestPlain {
    let messages = json!([{ "role": "user", "content": message }]);
    let body = json!({ "model": model, "max_tokens": 10_000, "messages": messages });
    pod.request_with_body(FrameClass::Unpaced, &body)
}

async fn status(pod: &Pod) -> Status {
    let mut host = pod.connect().await;
    host.raw(Kind::Status, &[]).await;
    host.frame().await.control().unwrap()
}

async fn states(pod: &Pod) -> Vec<(String, WorkerState)> {
    let models = status(pod).await.models;
    models.into_iter().map(|model| (model.model, model.state)).collect()
}

#[tokio::test]
async fn each_model_has_its_own_worker_and_state() {
    let pod = Pod::start_with(two).await;
    let named = |state, other| vec![(MODEL.to_owned(), state), (OTHER.to_owned(), other)];
    assert_eq!(states(&pod).await, named(WorkerState::Ready, WorkerState::Unloaded));
    assert_eq!(status(&pod).await.worker, WorkerState::Ready);
    let answer = pod.ask(&ask(&pod, OTHER, "say hello")).await;
    assert_eq!((answer.text().as_str(), answer.complete), ("hello", true));
    assert_eq!(states(&pod).await, named(WorkerState::Ready, WorkerState::Ready));
}

#[tokio::test]
async fn a_worker_that_dies_takes_nothing_from_the_other_model() {
    let pod = Pod::start_with(two).await;
    let mut running = pod.send(&ask(&pod, MODEL, "slow 100 20")).await;
    running.until_first_event(&Script::default()).await;
    let died = pod.ask(&ask(&pod, OTHER, "die 2")).await;
    assert_eq!(died.error().code, Code::WorkerFailed);
    assert!(died.claim.is_none(), "nothing is charged for half an answer");
    let answer = running.run(&Script::default()).await;
    assert!(answer.complete);
    assert_eq!(answer.claim.unwrap().completion_tokens, 100);
    let other = loop {
        let other = status(&pod).await.models.remove(1);
        if other.restarts > 0 {
            break other;
        }
    };
    assert_eq!((other.model.as_str(), other.restarts), (OTHER, 1));
    assert_eq!(status(&pod).await.worker, WorkerState::Ready, "the pod serves");
}

#[tokio::test]
async fn a_model_without_room_is_told_so_and_costs_nothing() {
    let pod = Pod::start_with(|config| {
        two(config);
        // For one of them: 128 MiB beside 8 MiB of cache.
        config.worker.memory_budget_bytes = Some(200 << 20);
    })
    .await;
    let mut running = pod.send(&ask(&pod, MODEL, "hang 1")).await;
    running.until_first_event(&Script::default()).await;
    let refused = pod.ask(&ask(&pod, OTHER, "say no")).await;
    let error = refused.error();
    assert_eq!((error.code, refused.claim.is_none()), (Code::QueueFull, true));
    assert!(error.message.starts_with("there is no memory for this model"), "{}", error.message);
    assert!(error.retry_after_ms > 0);
    running.host.client_gone().await;
    running.run(&Script::default()).await;
}

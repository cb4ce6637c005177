//! Clients and hosts that go away.

use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::Amount;
use phallama_protocol::link::{Kind, Status};

use crate::driver::{Pod, Script, cost};

const UNPACED: FrameClass = FrameClass::Unpaced;

/// Asks until the worker is idle.
async fn idle(pod: &Pod) -> Status {
    let mut host = pod.connect().await;
    loop {
        host.raw(Kind::Status, &[]).await;
        let status: Status = host.frame().await.control().unwrap();
        if (status.in_flight, status.queued) == (0, 0) {
            return status;
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_pays_for_what_it_was_given() {
    let pod = Pod::start().await;
    let request = pod.request(UNPACED, "slow 5000 1");
    let mut exchange = pod.send(&request).await;
    exchange.until_first_event(&Script::default()).await;
    exchange.host.client_gone().await;
    let answer = exchange.run(&Script::default()).await;
    assert!(answer.done && !answer.complete);

    let claim = answer.claim.as_ref().unwrap();
    let given = u64::try_from(answer.events().count()).unwrap();
    assert_eq!(u64::from(claim.completion_tokens), given, "one event per token");
    assert!(given < 5_000);
    assert_eq!(claim.cumulative, cost(claim.prompt_tokens.into(), given));
    assert!(claim.prompt_tokens > 0);
    assert_eq!(pod.charged().await, claim.cumulative);
    idle(&pod).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_first_token_pays_nothing() {
    let pod = Pod::start().await;
    let mut exchange = pod.send(&pod.request(UNPACED, "hang 0")).await;
    while exchange.answer.messages.is_empty() {
        exchange.step(&Script::default()).await.unwrap();
    }
    exchange.host.client_gone().await;
    let answer = exchange.run(&Script::default()).await;
    assert!(answer.done && answer.claim.is_none());
    assert_eq!(pod.charged().await, Amount::ZERO);
    idle(&pod).await;
}

#[tokio::test]
async fn a_bulk_answer_that_nobody_waited_for_is_free() {
    let pod = Pod::start().await;
    let mut exchange = pod.send(&pod.request(FrameClass::Bulk, "hang 3")).await;
    while exchange.answer.admit.is_none() {
        exchange.step(&Script::default()).await.unwrap();
    }
    exchange.host.client_gone().await;
    let answer = exchange.run(&Script::default()).await;
    assert!(answer.done && answer.claim.is_none() && answer.frames == 0);
    assert_eq!(pod.charged().await, Amount::ZERO);
}

#[tokio::test]
async fn a_host_that_is_gone_altogether_is_paid_nothing() {
    let pod = Pod::start().await;
    let mut exchange = pod.send(&pod.request(UNPACED, "slow 5000 1")).await;
    exchange.until_first_event(&Script::default()).await;
    drop(exchange);
    idle(&pod).await;
    assert_eq!(pod.charged().await, Amount::ZERO);
}

#[tokio::test]
async fn a_waiting_request_leaves_the_queue_with_its_client() {
    let pod = Pod::start_with(|config| config.worker.slots = 1).await;
    let mut busy = pod.send(&pod.request(UNPACED, "hang 1")).await;
    busy.until_first_event(&Script::default()).await;
    let mut waiting = pod.send(&pod.request(UNPACED, "ok")).await;
    while waiting.answer.messages.is_empty() {
        waiting.step(&Script::default()).await.unwrap();
    }
    waiting.host.client_gone().await;
    assert!(waiting.run(&Script::default()).await.claim.is_none());
    busy.host.client_gone().await;
    assert!(busy.run(&Script::default()).await.claim.is_some());
    idle(&pod).await;
}

#[tokio::test]
async fn a_host_that_breaks_the_protocol_is_cut_off_unpaid() {
    let pod = Pod::start().await;
    let mut exchange = pod.send(&pod.request(UNPACED, "slow 5000 1")).await;
    exchange.until_first_event(&Script::default()).await;
    exchange.host.raw(Kind::Stored, &[]).await;
    let answer = exchange.run(&Script::default()).await;
    assert!(!answer.done && answer.claim.is_none());
    assert_eq!(pod.charged().await, Amount::ZERO);
}

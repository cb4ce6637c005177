//! More requests than a pod takes: who is refused, how soon, and that nobody pays for it.

use std::time::{Duration, Instant};

use phallama_enclave::random::os_rng;
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;
use phallama_protocol::link::{Kind, Status};
use phallama_protocol::receipt::Finish;
use phallama_protocol::refusal::Code;
use phallama_protocol::request::RequestPlain;
use tokio::task::JoinSet;

use crate::driver::{Answer, CAP, Exchange, Pod, Script, cost};

const SLOTS: u32 = 2;
const QUEUE_MAX: usize = 8;

/// A pod whose slots are all taken by answers that do not end by themselves.
async fn crowded() -> (Pod, Vec<Exchange>) {
    let pod = Pod::start_with(|config| {
        config.worker.slots = SLOTS;
        config.worker.queue_max = QUEUE_MAX;
    })
    .await;
    let mut busy = Vec::new();
    for _ in 0..SLOTS {
        let user = Signer::generate(&mut os_rng());
        let mut exchange = pod.send(&request_by(&pod, &user, "hang 1")).await;
        exchange.until_first_event(&Script::default()).await;
        busy.push(exchange);
    }
    (pod, busy)
}

fn request_by(pod: &Pod, user: &Signer, message: &str) -> RequestPlain {
    let request = pod.request(FrameClass::Unpaced, message);
    RequestPlain { payment: pod.payment_by(user, 1, CAP), ..request }
}

/// Returns once so many requests wait for a slot.
async fn until_queued(pod: &Pod, expected: u32) {
    let mut host = pod.connect().await;
    loop {
        host.raw(Kind::Status, &[]).await;
        let status: Status = host.frame().await.control().unwrap();
        if status.queued == expected {
            return;
        }
    }
}

#[tokio::test]
async fn twice_the_queue_is_refused_at_once_uncharged_and_the_rest_finishes() {
    let (pod, busy) = crowded().await;
    let users: Vec<Signer> = (0..QUEUE_MAX).map(|_| Signer::generate(&mut os_rng())).collect();
    let mut asked = JoinSet::new();
    for user in users.iter().chain(&users) {
        let exchange = pod.send(&request_by(&pod, user, "slow 4 2")).await;
        asked.spawn(async move { exchange.run(&Script::default()).await });
    }
    // No slot has become free: whoever is answered now is one of those too many.
    for _ in 0..QUEUE_MAX {
        let refused = asked.join_next().await.unwrap().unwrap();
        assert_refused(&refused, Code::QueueFull);
    }
    until_queued(&pod, u32::try_from(QUEUE_MAX).unwrap()).await;
    let quickest = quickest_refusal(&pod).await;
    assert!(quickest <= Duration::from_millis(100), "{quickest:?} until the refusal was complete");

    for mut exchange in busy {
        exchange.host.client_gone().await;
        assert!(exchange.run(&Script::default()).await.claim.is_some());
    }
    let mut charged = Amount::ZERO;
    while let Some(answer) = asked.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.done && answer.complete, "{:?}", answer.messages);
        let receipt = &answer.receipt().receipt;
        assert_eq!((receipt.finish, receipt.completion_tokens), (Finish::Stop, 4));
        charged = charged.checked_add(receipt.cost).unwrap();
    }
    assert_eq!(charged, cost(3 * QUEUE_MAX as u64, 4 * QUEUE_MAX as u64));
}

/// The best of five: a loaded machine delays some of them.
async fn quickest_refusal(pod: &Pod) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let user = Signer::generate(&mut os_rng());
        let request = request_by(pod, &user, "ok");
        let exchange = pod.send(&request).await;
        let sent_at = Instant::now();
        assert_refused(&exchange.run(&Script::default()).await, Code::QueueFull);
        quickest = quickest.min(sent_at.elapsed());
    }
    quickest
}

/// Refused with advice, completely, and without a claim.
fn assert_refused(answer: &Answer, code: Code) {
    let error = answer.error();
    assert_eq!(error.code, code);
    assert!(error.retry_after_ms > 0 && answer.claim.is_none());
}

#[tokio::test]
async fn one_account_cannot_fill_the_queue() {
    let (pod, _busy) = crowded().await;
    let (greedy, other) = (Signer::generate(&mut os_rng()), Signer::generate(&mut os_rng()));
    let mut waiting = JoinSet::new();
    let share = QUEUE_MAX / 2;
    for _ in 0..share {
        let exchange = pod.send(&request_by(&pod, &greedy, "ok")).await;
        waiting.spawn(async move { exchange.run(&Script::default()).await });
    }
    until_queued(&pod, u32::try_from(share).unwrap()).await;
    let answer = pod.ask(&request_by(&pod, &greedy, "ok")).await;
    assert_refused(&answer, Code::TooManyRequests);
    let exchange = pod.send(&request_by(&pod, &other, "ok")).await;
    waiting.spawn(async move { exchange.run(&Script::default()).await });
    until_queued(&pod, u32::try_from(share + 1).unwrap()).await;
}

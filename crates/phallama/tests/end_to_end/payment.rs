//! Replays move nothing.

use phallama_protocol::frames::FrameClass;
use serde_json::json;

use crate::stack::{DEPOSIT, MODEL, Options, Stack};

fn say(words: &str) -> serde_json::Value {
    json!({"messages": [{"role": "user", "content": format!("say {words}")}], "max_tokens": 16})
}

/// The bytes of one sealed request, as anybody on the path could keep them.
async fn sealed_request(stack: &Stack) -> Vec<u8> {
    let (url, recorded) = crate::stack::recorder(stack.pod_url.as_str()).await;
    let record = stack.chain.pod(stack.pod_id).await.expect("read").expect("registered");
    let operator = stack.chain.sender(&crate::stack::developer(1));
    operator.update_url(record.pod_id, &url).await.expect("updated");
    let client = stack.another_client(FrameClass::Unpaced, "recorded").await;
    let mut answer = client.chat(MODEL, say("hello")).await.expect("admitted");
    answer.text().await.expect("a whole answer");
    let mut requests = recorded.lock().expect("no panic").clone();
    requests.pop().expect("one request was recorded")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_is_refused_and_moves_nothing() {
    let stack = Stack::start(Options::scripted()).await;
    let request = sealed_request(&stack).await;
    let paid = stack.settle().await;
    for _ in 0..2 {
        let response = reqwest::Client::new()
            .post(format!("{}/v1/sealed", stack.pod_url.as_str()))
            .header("content-type", "application/phallama-req")
            .body(request.clone())
            .send()
            .await
            .expect("the pod answers");
        assert_eq!(response.status(), 409);
        let refusal = response.bytes().await.expect("whole");
        assert_eq!(refusal.len(), 64);
        assert_eq!(&refusal[..6], b"PHRF\0\x04", "code 4: replayed");
    }
    assert_eq!(stack.settle().await, 0);
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - paid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voucher_of_an_answered_request_pays_nothing_more() {
    let stack = Stack::start(Options::scripted()).await;
    let mut first = stack.client.chat(MODEL, say("one")).await.expect("admitted");
    let (_, first) = first.text().await.expect("a whole answer");
    let mut second = stack.client.chat(MODEL, say("two")).await.expect("admitted");
    let (_, second) = second.text().await.expect("a whole answer");
    assert!(first.voucher_cap > first.cost, "the first voucher allowed more than was used");
    let total = second.cumulative.value();
    assert_eq!(total, first.cost.value() + second.cost.value());
    assert_eq!(stack.settle().await, total, "caps are cumulative: they do not add up");
    assert_eq!(stack.settle().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_outlive_the_enclave_that_signed_them() {
    let stack = Stack::start(Options::scripted()).await;
    let mut answer = stack.client.chat(MODEL, say("hello")).await.expect("admitted");
    let cost = answer.text().await.expect("a whole answer").1.cost.value();
    stack.crash_enclave().await;
    assert_eq!(stack.settle().await, cost, "through the old key's own settlement");
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - cost);
}

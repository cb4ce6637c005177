//! Replays move nothing.

use phallama_client::Usage;
use phallama_protocol::bundle::SignedBundle;
use phallama_protocol::eip712::Voucher;
use phallama_protocol::frames::{FrameClass, Message};
use phallama_protocol::ids::{Amount, RequestId};
use phallama_protocol::refusal::{Code, PodError};
use phallama_protocol::request::{Method, Payment, RequestPlain, seal_request};
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
        let response = stack.post_sealed(request.clone()).await;
        assert_eq!(response.status(), 409);
        let refusal = response.bytes().await.expect("whole");
        assert_eq!(refusal.len(), 64);
        assert_eq!(&refusal[..6], b"PHRF\0\x04", "code 4: replayed");
    }
    assert_eq!(stack.settle().await, 0);
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - paid);
}

/// A new request, well sealed, with a voucher that was used before.
async fn ask_with_old_voucher(stack: &Stack, cap: Amount) -> PodError {
    let keys = format!("{}/.well-known/phallama/keys", stack.pod_url);
    let bytes = reqwest::get(keys).await.expect("answered").bytes().await.expect("whole");
    let bundle = SignedBundle::decode(&bytes).expect("a bundle");
    let identity = bundle.bundle().identity;
    let voucher = Voucher { pod_id: stack.pod_id, identity, epoch: 0, cap };
    let payment = Payment {
        user: stack.user.address(),
        epoch: 0,
        cap,
        voucher_sig: stack.user.sign(&voucher.digest(&stack.chain.domain())),
        terms_hash: bundle.bundle().offers_hash,
        allocation: None,
    };
    let mut body = say("hello");
    body["model"] = MODEL.into();
    let plain = RequestPlain {
        request_id: RequestId([9; 16]),
        class: FrameClass::Unpaced,
        salt: [1; 32],
        payment,
        method: Method::Chat,
        body: serde_json::to_vec(&body).expect("JSON"),
    };
    let mut rng = phallama_protocol::rand_core::UnwrapErr(getrandom::SysRng);
    let (request, exchange) = seal_request(&bundle, &plain, &mut rng).expect("sealed");
    let response = stack.post_sealed(request).await;
    let mut opener = exchange.opener();
    let messages = opener.push(&response.bytes().await.expect("whole")).expect("opens");
    let error = messages.into_iter().find_map(|message| match message {
        Message::Error(error) => Some(error),
        _ => None,
    });
    error.expect("the enclave refuses")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_voucher_pays_for_nothing_new() {
    let stack = Stack::start(Options::scripted()).await;
    let mut answer = stack.client.chat(MODEL, say("one two three")).await.expect("admitted");
    let (_, first) = answer.text().await.expect("a whole answer");
    let error = ask_with_old_voucher(&stack, first.voucher_cap).await;
    assert_eq!(error.code, Code::CapTooLow, "{error:?}");
    assert_eq!(error.cumulative, first.cumulative, "what the enclave itself has charged");
    assert_eq!(stack.settle().await, first.cumulative.value());
}

#[tokio::test(flavor = "multi_thread")]
async fn vouchers_are_cumulative_and_do_not_add_up() {
    let stack = Stack::start(Options::scripted()).await;
    let mut first = stack.client.chat(MODEL, say("one")).await.expect("admitted");
    let (_, first) = first.text().await.expect("a whole answer");
    let mut second = stack.client.chat(MODEL, say("two")).await.expect("admitted");
    let (_, second) = second.text().await.expect("a whole answer");
    assert!(first.voucher_cap > first.cost, "the first voucher allowed more than was used");
    let total = second.cumulative.value();
    assert_eq!(total, first.cost.value() + second.cost.value());
    assert_eq!(stack.settle().await, total);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_comes_back_with_other_prices_is_paid_those_by_a_client_that_read_them() {
    let mut stack = Stack::start(Options::scripted()).await;
    let mut first = stack.client.chat(MODEL, say("one two three")).await.expect("admitted");
    let (_, first) = first.text().await.expect("a whole answer");
    stack.restart_pod_at_prices(1_000_000, 4_000_000).await;
    let mut second = stack.client.chat(MODEL, say("one two three")).await.expect("admitted");
    let (_, second) = second.text().await.expect("a whole answer");
    let Usage { prompt_tokens, completion_tokens, .. } = second.usage;
    let cost = u128::from(prompt_tokens) + 4 * u128::from(completion_tokens);
    assert_eq!(second.cost.value(), cost, "at the prices of now");
    assert_eq!(second.cumulative.value(), first.cumulative.value() + cost);
    assert_eq!(stack.settle().await, second.cost.value());
}

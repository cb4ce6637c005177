//! One private, attested, paid chat.

use std::io::Write as _;

use phallama_attest::CheckState;
use phallama_client::AnswerEvent;
use phallama_host::config::BackendSettings;
use serde_json::json;

use crate::stack::{Anvil, DEPOSIT, MODEL, Options, Stack};

fn question() -> serde_json::Value {
    json!({
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        "max_tokens": 32, "temperature": 0,
    })
}

/// The whole path, with a real model, whatever the chain.
async fn one_chat(options: Options) {
    let mut stack = Stack::start(options).await;
    let verified = stack.client.verify(stack.pod_id).await.expect("verified");
    let skipped: Vec<&str> = verified
        .checks()
        .iter()
        .filter(|check| check.state != CheckState::Pass)
        .map(|check| check.name)
        .collect();
    assert_eq!(skipped, ["policy"], "no reference value was set; everything else passed");

    let mut answer = stack.client.chat(MODEL, question()).await.expect("admitted");
    let (text, finished) = answer.text().await.expect("a whole answer");
    assert!(!text.is_empty());
    assert!(finished.usage.completion_tokens <= 32);
    let cost = finished.cost.value();
    assert!(cost > 0 && cost <= finished.reserve.value());

    assert_eq!(stack.settle().await, cost, "the contract pays what the receipt says");
    assert_eq!(stack.settle().await, 0, "and nothing twice");
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - cost);
    let credit = stack.chain.credit(stack.pod_id).await.expect("read").value();
    assert_eq!(credit, cost);
    stack.stop_pod().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_answered_verified_and_paid_on_the_embedded_chain() {
    one_chat(Options::real()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_answered_by_a_real_ollama_verified_and_paid() {
    let Some(program) = std::env::var_os("PHALLAMA_OLLAMA").filter(|path| !path.is_empty()) else {
        // Not `eprintln!`, which is kept back when a test passes.
        let untested = "NOT TESTED: the path to a real Ollama (PHALLAMA_OLLAMA is not set: tools/setup.sh ollama)\n";
        std::io::stderr().write_all(untested.as_bytes()).expect("written");
        return;
    };
    let (url, models_dir, pull, danger_share_cache) = (None, None, false, false);
    let ollama = BackendSettings::Ollama { url, models_dir, pull, danger_share_cache };
    one_chat(Options { backend: Some((program.into(), ollama)), ..Options::real() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_answered_verified_and_paid_on_anvil() {
    let Some(anvil) = Anvil::start().await else {
        eprintln!(
            "NOT TESTED: the path on a real anvil, which is not installed (tools/setup.sh contracts)"
        );
        return;
    };
    one_chat(Options { rpc_url: Some(anvil.url.clone()), ..Options::real() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_requests_share_one_channel_and_each_pays_for_itself() {
    let stack = Stack::start(Options::scripted()).await;
    let ask = |n: u32| {
        let client = stack.client.clone();
        async move {
            let body = json!({
                "messages": [{"role": "user", "content": format!("tokens {n}")}], "max_tokens": 64,
            });
            let mut answer = client.chat(MODEL, body).await.expect("admitted");
            answer.text().await.expect("a whole answer").1
        }
    };
    let answers = tokio::join!(ask(5), ask(10), ask(15), ask(20));
    let answers = [answers.0, answers.1, answers.2, answers.3];
    let costs: u128 = answers.iter().map(|answer| answer.cost.value()).sum();
    let highest = answers.iter().map(|answer| answer.cumulative.value()).max();
    assert_eq!(highest, Some(costs), "the channel's amount is the sum of its answers");
    assert_eq!(stack.settle().await, costs);
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - costs);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_pays_only_for_what_it_was_given() {
    let stack = Stack::start(Options::scripted()).await;
    let body = json!({
        "messages": [{"role": "user", "content": "slow 500 10"}], "max_tokens": 1000,
    });
    let mut answer = stack.client.chat(MODEL, body).await.expect("admitted");
    let mut pieces = 0_u128;
    while pieces < 5 {
        if let AnswerEvent::Content(_) = answer.next().await.expect("more").expect("an event") {
            pieces += 1;
        }
    }
    drop(answer);
    let paid = loop {
        if stack.pod().status().await.exchanges == 0 {
            break stack.settle().await;
        }
        tokio::task::yield_now().await;
    };
    let all_tokens = 500 * 400_000 / 1_000_000;
    assert!(paid > 0, "what was given is paid");
    assert!(paid < all_tokens, "what was not given is not: {paid}");
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - paid);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_asks_shows_and_accounts() {
    let stack = Stack::start(Options::scripted()).await;
    let said = |output: std::process::Output| {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(said(stack.phallama(&["pods"]).await).contains(MODEL));
    let verdict = said(stack.phallama(&["verify"]).await);
    assert!(verdict.contains("tcb-status") && !verdict.contains("FAIL"), "{verdict}");
    assert_eq!(said(stack.phallama(&["run", MODEL, "say hello there"]).await), "hello there\n");
    assert!(said(stack.phallama(&["balance"]).await).contains("free"));
    let receipts = said(stack.phallama(&["receipts", "--json"]).await);
    let receipts: serde_json::Value = serde_json::from_str(&receipts).expect("JSON");
    assert_eq!(receipts["receipts"].as_array().map(Vec::len), Some(1), "{receipts}");
}

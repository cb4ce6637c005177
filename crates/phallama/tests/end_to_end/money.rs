//! The user's money from the command line: limits, deposits, withdrawals, exits, closing.

use std::sync::Arc;

use phallama::server;
use phallama::tokens::Tokens;
use phallama_client::SpendLimits;
use phallama_protocol::frames::FrameClass;
use serde_json::{Value, json};

use crate::stack::{DEPOSIT, MODEL, Options, Stack};

const EXIT_WINDOW_S: u64 = 172_800;

async fn say(stack: &Stack) -> u128 {
    let body = json!({"messages": [{"role": "user", "content": "say hello"}], "max_tokens": 16});
    let mut answer = stack.client.chat(MODEL, body).await.expect("admitted");
    answer.text().await.expect("a whole answer").1.cost.value()
}

async fn refused(stack: &Stack, arguments: &[&str], exit: i32) -> String {
    let output = stack.phallama(arguments).await;
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {stderr}");
    stderr
}

fn units(value: &Value) -> u128 {
    value.as_str().expect("an amount").parse().expect("digits")
}

async fn free(stack: &Stack) -> u128 {
    stack.chain.account(stack.user.address()).await.expect("read").free.value()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_set_and_shown_and_hold() {
    let stack = Stack::start(Options::scripted()).await;
    let shown = stack.phallama_json(&["limits", "set", "--per-request", "0.000001"]).await;
    assert_eq!(shown["per_request"]["limit"], "1");
    assert_eq!(shown["per_day"], json!({"limit": "10000000", "used": "0", "left": "10000000"}));
    let stderr = refused(&stack, &["run", MODEL, "say hello", "--max-tokens", "16"], 5).await;
    assert!(stderr.contains("may cost more than your limit per request"), "{stderr}");
    assert!(stderr.contains("phallama limits set --per-request AMOUNT"), "{stderr}");
    assert_eq!(stack.pod().channels().len(), 0, "nothing was sent");

    stack.phallama_json(&["limits", "clear", "--per-request"]).await;
    stack.phallama_json(&["limits", "set", "--per-pod", "0.01", "--per-day", "2"]).await;
    let ran = stack.phallama(&["run", MODEL, "say hello", "--max-tokens", "16"]).await;
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let shown = stack.phallama_json(&["limits"]).await;
    let pod = &shown["per_pod"]["pods"][0];
    assert_eq!(shown["per_request"]["limit"], Value::Null);
    assert!(units(&pod["used"]) > 0);
    assert_eq!(units(&pod["used"]) + units(&pod["left"]), 10_000);
    assert_eq!(pod["used"], shown["per_day"]["used"]);
    assert_eq!(stack.phallama_json(&["limits", "clear"]).await["per_day"]["left"], Value::Null);
    refused(&stack, &["limits", "set", "--per-day", "much"], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_server_says_402_with_numbers_and_sends_nothing() {
    let stack = Stack::start(Options::scripted()).await;
    let limits = SpendLimits { per_request: Some(1.into()), ..SpendLimits::default() };
    let client = stack.limited_client(limits, FrameClass::Unpaced).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let guard = server::Guard::own(address, Tokens::none());
    tokio::spawn(server::serve(listener, Arc::new(client), None, guard));
    let body = json!({
        "model": MODEL, "messages": [{"role": "user", "content": "say hello"}], "max_tokens": 16,
    });
    let url = format!("http://{address}/v1/chat/completions");
    let response = reqwest::Client::new().post(url).json(&body).send().await.expect("answered");
    assert_eq!(response.status(), 402);
    let error: Value = response.json().await.expect("JSON");
    let error = &error["error"];
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("insufficient_quota"), &json!("spend_limit_exceeded"))
    );
    let message = error["message"].as_str().expect("text");
    assert!(message.contains("allowed 0.000001 PTEST (limits.per_request)"), "{message}");
    assert_eq!(stack.pod().channels().len(), 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn deposits_come_by_allowance_by_permit_and_by_authorization() {
    let stack = Stack::start(Options { deposit: 0, ..Options::scripted() }).await;
    let (owner, relayer) = (stack.key_file("owner.key", 2), stack.key_file("relayer.key", 3));
    let run = async |more: &[&str]| {
        let deposit = ["deposit", "1", "--owner-key-file", owner.as_str()];
        stack.phallama_json(&[&deposit[..], more].concat()).await
    };
    let dry = run(&["--dry-run"]).await;
    let calls: Vec<_> = dry["calls"].as_array().expect("calls").iter().collect();
    assert_eq!(calls.len(), 2, "an approval and the deposit: {dry}");
    assert!(calls[0]["gas"].as_u64().expect("estimated") > 20_000);
    assert_eq!((&calls[1]["call"], &calls[1]["gas"]), (&json!("openAndDeposit"), &Value::Null));
    assert_eq!(free(&stack).await, 0, "nothing was sent");
    let stderr = refused(&stack, &["deposit", "1", "--owner-key-file", &owner], 2).await;
    assert!(stderr.contains("not sent: deposit 1.00 PTEST"), "{stderr}");

    let done = run(&["--yes"]).await;
    assert_eq!((units(&done["deposited"]), units(&done["free"])), (1_000_000, 1_000_000));
    assert_eq!(done["transactions"].as_array().expect("hashes").len(), 2);
    let done = run(&["--yes", "--permit"]).await;
    assert_eq!(units(&done["free"]), 2_000_000);
    assert_eq!(done["transactions"].as_array().expect("hashes").len(), 1);
    let done = run(&["--yes", "--authorization"]).await;
    assert_eq!(units(&done["free"]), 3_000_000);

    let file = stack.dir.path().join("deposit.json");
    let file = file.to_str().expect("UTF-8");
    stack.phallama_json(&["deposit", "1", "--owner-key-file", &owner, "--sign-only", file]).await;
    assert_eq!(free(&stack).await, 3_000_000, "nothing was sent");
    let relay = ["relay", file, "--yes", "--gas-key-file", &relayer];
    let done = stack.phallama_json(&relay).await;
    assert_eq!(done["sent"], "deposit");
    assert!(done["gas_used"].as_u64().expect("a number") > 50_000);
    assert_eq!(free(&stack).await, 4_000_000);
    let stderr = refused(&stack, &relay, 5).await;
    assert!(stderr.contains("refused `depositWithAuthorization`"), "{stderr}");
    let again = ["deposit", "1", "--owner-key-file", &owner, "--sign-only", file];
    refused(&stack, &again, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawals_go_to_the_owner_whoever_sends_them() {
    let stack = Stack::start(Options::scripted()).await;
    let (owner, relayer) = (stack.key_file("owner.key", 2), stack.key_file("relayer.key", 3));
    let owner_address = crate::stack::developer(2).address();
    let before = stack.chain.token_balance(owner_address).await.expect("read");
    let done = stack.phallama_json(&["withdraw", "1", "--yes", "--owner-key-file", &owner]).await;
    assert_eq!((units(&done["withdrawn"]), units(&done["free"])), (1_000_000, 4_000_000));
    stack.phallama_json(&["withdraw", "1", "--yes", "--gas-key-file", &relayer]).await;
    let file = stack.dir.path().join("withdrawal.json");
    let file = file.to_str().expect("UTF-8");
    stack.phallama_json(&["withdraw", "--all", "--sign-only", file]).await;
    assert_eq!(free(&stack).await, 3_000_000, "nothing was sent");
    stack.phallama_json(&["relay", file, "--yes", "--gas-key-file", &relayer]).await;
    assert_eq!(free(&stack).await, 0);
    let after = stack.chain.token_balance(owner_address).await.expect("read");
    assert_eq!(after - before, u128::from(DEPOSIT));
    let stderr =
        refused(&stack, &["withdraw", "--all", "--yes", "--owner-key-file", &owner], 5).await;
    assert!(stderr.contains("nothing is free"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_needs_nobody_and_returns_what_was_not_earned() {
    let stack = Stack::start(Options::scripted()).await;
    let relayer = stack.key_file("relayer.key", 3);
    let pod = stack.pod_id.to_string();
    let cost = say(&stack).await;
    assert_eq!(stack.settle().await, cost);
    let state = stack.phallama_json(&["exit", &pod[..10]]).await;
    assert_eq!((&state["exit"], units(&state["claimed"])), (&json!("none"), cost));
    let locked = units(&state["locked"]);
    refused(&stack, &["exit", &pod, "--finish", "--yes", "--gas-key-file", &relayer], 5).await;

    let start = ["exit", &pod, "--start", "--yes", "--gas-key-file", &relayer];
    let state = stack.phallama_json(&start).await;
    assert_eq!(state["exit"], "running");
    let left_s = state["left_s"].as_u64().expect("a number");
    assert!((EXIT_WINDOW_S - 60..=EXIT_WINDOW_S).contains(&left_s), "{left_s}");
    let stderr = refused(&stack, &start, 5).await;
    assert!(stderr.contains("ExitRunning"), "{stderr}");
    let stderr = refused(&stack, &["run", MODEL, "say hello", "--max-tokens", "16"], 5).await;
    assert!(stderr.contains("is exiting"), "{stderr}");
    let finish = ["exit", &pod, "--finish", "--yes", "--gas-key-file", &relayer];
    let stderr = refused(&stack, &finish, 5).await;
    assert!(stderr.contains("runs until"), "{stderr}");

    // Blocks made in a burst are ahead of the clock.
    stack.advance(EXIT_WINDOW_S + 60).await;
    let state = stack.phallama_json(&["exit", &pod]).await;
    assert_eq!(state["exit"], "over");
    let done = stack.phallama_json(&finish).await;
    assert_eq!(units(&done["returned"]), locked - cost);
    assert_eq!(units(&done["free"]), u128::from(DEPOSIT) - cost);
    assert_eq!((&done["exit"], &done["epoch"]), (&json!("none"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_closed_at_once_with_the_enclaves_signature() {
    let stack = Stack::start(Options::scripted()).await;
    let (owner, pod) = (stack.key_file("owner.key", 2), stack.pod_id.to_string());
    let cost = say(&stack).await;
    let dry = stack.phallama_json(&["close", &pod, "--dry-run", "--owner-key-file", &owner]).await;
    assert_eq!(units(&dry["earned"]), cost);
    let cost = cost + say(&stack).await;
    let done = stack.phallama_json(&["close", &pod, "--yes", "--owner-key-file", &owner]).await;
    assert_eq!(units(&done["cumulative"]), cost);
    assert_eq!(units(&done["free"]), u128::from(DEPOSIT) - cost);
    assert_eq!(stack.chain.credit(stack.pod_id).await.expect("read").value(), cost);
    assert_eq!(stack.settle().await, 0, "nothing is paid twice");

    // The next request is in the next epoch, and an enclave that was started again has to have
    // served the channel before it can close it.
    let cost = cost + say(&stack).await;
    stack.crash_enclave().await;
    let stderr = refused(&stack, &["close", &pod, "--yes", "--owner-key-file", &owner], 5).await;
    assert!(stderr.contains("has not served the channel since its last start"), "{stderr}");
    let cost = cost + say(&stack).await;
    let relayer = stack.key_file("relayer.key", 3);
    let done = stack.phallama_json(&["close", &pod, "--yes", "--gas-key-file", &relayer]).await;
    assert_eq!(units(&done["cumulative"]), cost);
    assert_eq!(units(&done["free"]), u128::from(DEPOSIT) - cost);
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - cost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balance_needs_no_password() {
    let stack = Stack::start(Options::scripted()).await;
    let cost = say(&stack).await;
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_phallama"))
        .args(["--json", "balance"])
        .env_clear()
        .env("PHALLAMA_HOME", stack.dir.path())
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .expect("the binary runs");
    let balance: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(units(&balance["spent_today"]), cost);
    assert_eq!(units(&balance["channels"][0]["charged"]), cost);
    let all = stack.phallama_json(&["balance", "--all"]).await;
    // The pod's lock may be mined between the two.
    assert_eq!(all["channels"].as_array().expect("a list").len(), 1);
    assert_eq!(all["channels"][0]["charged"], balance["channels"][0]["charged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_listed_filtered_exported_and_checked_again() {
    let stack = Stack::start(Options::scripted()).await;
    let costs = [say(&stack).await, say(&stack).await];
    let listed = stack.phallama_json(&["receipts"]).await;
    assert_eq!(listed["receipts"].as_array().expect("a list").len(), 2);
    assert_eq!(units(&listed["receipts"][0]["cumulative"]), costs[0] + costs[1], "newest first");
    for (filter, left) in
        [(["--most", "1"], 1), (["--model", "other"], 0), (["--since", "2000-01-01"], 2)]
    {
        let listed = stack.phallama_json(&[&["receipts"][..], &filter].concat()).await;
        assert_eq!(listed["receipts"].as_array().expect("a list").len(), left, "{filter:?}");
    }
    let csv = stack.phallama(&["receipts", "export", "--csv"]).await;
    let csv = String::from_utf8(csv.stdout).expect("UTF-8");
    assert!(csv.starts_with("finished,request,pod,model,"), "{csv}");
    assert_eq!(csv.lines().count(), 3);
    assert!(csv.lines().skip(1).all(|line| line.ends_with(",valid")), "{csv}");
    let checked = stack.phallama_json(&["receipts", "check"]).await;
    assert_eq!(
        (&checked["checked"], &checked["valid"], &checked["failed"]),
        (&json!(2), &json!(2), &json!([]))
    );

    let shown = stack.phallama(&["receipts", "show", "1"]).await.stdout;
    let shown = String::from_utf8(shown).expect("UTF-8");
    let of = |name| shown.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!(of("signature "), Some("valid"), "{shown}");
    assert!(
        of("cost ").is_some_and(|cost| cost.starts_with("0.0") && cost.contains(' ')),
        "{shown}"
    );

    // A receipt alone, and with one price changed.
    let one = stack.phallama_json(&["receipts", "show", "1"]).await;
    let file = stack.dir.path().join("receipt.json");
    let path = file.to_str().expect("UTF-8");
    std::fs::write(&file, one.to_string()).expect("written");
    assert_eq!(stack.phallama_json(&["audit", "receipt", path]).await["signature"], "valid");
    let exported = stack.phallama_json(&["receipts", "export"]).await;
    let mut alone = exported["receipts"][0].clone();
    std::fs::write(&file, alone.to_string()).expect("written");
    assert_eq!(stack.phallama_json(&["audit", "receipt", path]).await["signature"], "valid");
    alone["agreement"]["offer"]["output_price_per_mtok"] = "1".into();
    std::fs::write(&file, alone.to_string()).expect("written");
    let stderr = refused(&stack, &["audit", "receipt", path], 5).await;
    assert!(stderr.contains("output price"), "{stderr}");
    assert_eq!(stack.phallama_json(&["disputes"]).await["disputes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn ps_says_since_when_the_enclave_that_answers_is_verified() {
    let stack = Stack::start(Options::scripted()).await;
    let since = async || {
        let sessions = stack.phallama_json(&["ps"]).await["sessions"].clone();
        let session = &sessions.as_array().expect("a list")[0];
        let at = |field: &str| session[field].as_u64().expect("a time");
        (at("verified_since_unix_s"), at("last_answer_unix_s"))
    };
    say(&stack).await;
    let (first, answered) = since().await;
    assert!(first <= answered && answered - first < 600, "{first} {answered}");
    // Another process verifies anew; the enclave is the one that was verified before.
    let asked = stack.phallama(&["run", crate::stack::MODEL, "say hello there"]).await;
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    assert_eq!(since().await.0, first);
}

//! Each failure is a clear error in both APIs and on the command line, and nobody is charged.

use phallama_client::ClientError;
use phallama_protocol::frames::FrameClass;
use serde_json::{Value, json};

use crate::stack::{DEPOSIT, MODEL, Options, Stack};

/// What the three fronts say about one failure.
struct Said {
    openai: (u16, Value),
    ollama: (u16, Value),
    exit: Option<i32>,
    stderr: String,
}

async fn ask_all(stack: &Stack, model: &str, prompt: &str) -> Said {
    let messages = json!([{"role": "user", "content": prompt}]);
    let openai = json!({"model": model, "messages": messages, "max_tokens": 64});
    let ollama = json!({
        "model": model, "messages": messages, "stream": false, "options": {"num_predict": 64},
    });
    let json = |(status, body): (u16, Result<String, reqwest::Error>)| {
        (status, serde_json::from_str(&body.expect("a whole body")).expect("JSON"))
    };
    let openai = json(stack.post("/v1/chat/completions", &openai).await);
    let ollama = json(stack.post("/api/chat", &ollama).await);
    let output = stack.phallama(&["run", model, prompt, "--max-tokens", "64"]).await;
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    Said { openai, ollama, exit: output.status.code(), stderr }
}

/// Ids, keys, ports and measurements differ from run to run.
pub(crate) fn stable(stack: &Stack, text: &str) -> String {
    let mut text = text.replace(&stack.dir.path().display().to_string(), "[HOME]");
    let pod = stack.pod_id.to_string();
    text = text.replace(&pod, "[POD]").replace(stack.pod_url.as_str(), "[POD URL]");
    let short = format!("{}…{}", &pod[..6], &pod[pod.len() - 4..]);
    text = text.replace(&short, "[POD]");
    // Key bundle and evidence are fetched at the same time: either may fail first.
    text = text
        .replace("asked evidence", "asked key bundle")
        .replace("asked   evidence", "asked   key bundle");
    text = text.replace("/phallama/evidence", "/phallama/keys");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_hexdigit()) {
        let (before, run) = rest.split_at(at);
        let end = run.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(run.len());
        out.push_str(before);
        out.push_str(if end >= 32 { "[HEX]" } else { &run[..end] });
        rest = &run[end..];
    }
    out.push_str(rest);
    // Columns are as wide as what was replaced.
    while out.contains("   ") {
        out = out.replace("   ", "  ");
    }
    out
}

fn shown(stack: &Stack, said: &Said) -> String {
    let text = format!(
        "OpenAI {} {:#}\n\nOllama {} {:#}\n\nphallama run: exit {:?}\n{}",
        said.openai.0, said.openai.1, said.ollama.0, said.ollama.1, said.exit, said.stderr
    );
    stable(stack, &text)
}

/// Settles whatever the pod holds, and checks that the user has lost nothing.
async fn nobody_was_charged(stack: &Stack, had: u64) {
    assert_eq!(stack.settle().await, 0, "nothing to pay");
    assert_eq!(stack.users_money().await, u128::from(had));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_model_name() {
    let stack = Stack::start(Options::scripted()).await;
    let said = ask_all(&stack, "no-such-model", "say hello").await;
    insta::assert_snapshot!(shown(&stack, &said));
    nobody_was_charged(&stack, DEPOSIT).await;
}

/// Apps shorten a conversation and ask again when they are told in words that they know.
#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_too_long_is_told_as_apps_look_for_it() {
    let stack = Stack::start(Options::scripted()).await;
    let messages = json!([{"role": "user", "content": "long"}]);
    for (path, code) in [
        ("/v1/chat/completions", "context_length_exceeded"),
        ("/v1/responses", "context_length_exceeded"),
        ("/v1/messages", "prompt_too_long"),
        ("/api/chat", "prompt_too_long"),
    ] {
        for stream in [false, true] {
            let request = json!({
                "model": MODEL, "messages": messages, "input": "long", "max_tokens": 64,
                "stream": stream,
            });
            let (status, body) = stack.post(path, &request).await;
            let body: Value = serde_json::from_str(&body.expect("whole")).expect("JSON");
            let error = if path == "/api/chat" { &body } else { &body["error"] };
            assert_eq!((status, &error["code"]), (400, &json!(code)), "{path}: {body}");
            let said = body.to_string();
            assert!(said.contains("prompt is too long"), "{path}: {said}");
            assert!(said.contains("maximum context length is 4096 tokens"), "{path}: {said}");
        }
    }
    nobody_was_charged(&stack, DEPOSIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_balance() {
    let stack = Stack::start(Options { deposit: 0, ..Options::scripted() }).await;
    let said = ask_all(&stack, MODEL, "say hello").await;
    insta::assert_snapshot!(shown(&stack, &said));
    nobody_was_charged(&stack, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_nobody_approved() {
    let stack = Stack::start(Options { approved: false, ..Options::scripted() }).await;
    let said = ask_all(&stack, MODEL, "say hello").await;
    insta::assert_snapshot!(shown(&stack, &said));
    nobody_was_charged(&stack, DEPOSIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_pod() {
    let mut stack = Stack::start(Options::scripted()).await;
    let had = stack.users_money().await;
    stack.stop_pod().await;
    let said = ask_all(&stack, MODEL, "say hello").await;
    insta::assert_snapshot!(shown(&stack, &said));
    assert_eq!(stack.users_money().await, had);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_stops_in_the_middle() {
    let stack = Stack::start(Options::scripted()).await;
    let said = ask_all(&stack, MODEL, "eof 3").await;
    insta::assert_snapshot!(shown(&stack, &said));
    nobody_was_charged(&stack, DEPOSIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stops_in_the_middle_ends_with_an_error_and_an_aborted_body() {
    let stack = Stack::start(Options::scripted()).await;
    for (path, marker) in [
        ("/v1/chat/completions", "data: {\"error\""),
        ("/v1/completions", "data: {\"error\""),
        ("/v1/responses", "event: error\ndata: {"),
        ("/v1/messages", "event: error\ndata: {\"type\":\"error\""),
        ("/api/chat", "{\"error\""),
        ("/api/generate", "{\"error\""),
    ] {
        let mut body = json!({
            "model": MODEL, "stream": true, "max_tokens": 64, "input": "eof 3",
            "messages": [{"role": "user", "content": "eof 3"}],
        });
        if path.ends_with("/completions") || path.ends_with("/generate") {
            body["prompt"] = "eof 3".into();
        }
        let sent = reqwest::Client::new().post(stack.url(path)).json(&body).send().await;
        let mut response = sent.expect("a status");
        assert_eq!(response.status(), 200, "the first words were there");
        let mut text = String::new();
        let aborted = loop {
            match response.chunk().await {
                Ok(Some(bytes)) => text.push_str(&String::from_utf8_lossy(&bytes)),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        assert!(aborted, "{path}: a clean end looks like success: {text}");
        assert!(text.contains(marker), "{path}: no error object in {text}");
        assert!(!text.contains("[DONE]") && !text.contains("\"done\":true"), "{path}: {text}");
    }
    nobody_was_charged(&stack, DEPOSIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue() {
    let stack = Stack::start(Options { slots: 1, queue_max: 1, ..Options::scripted() }).await;
    let long = json!({
        "messages": [{"role": "user", "content": "slow 100000 50"}], "max_tokens": 1000,
    });
    let mut running = stack.client.chat(MODEL, long.clone()).await.expect("admitted");
    running.next().await.expect("an event").expect("it runs");
    let client = stack.client.clone();
    let waiting = tokio::spawn(async move { client.chat(MODEL, long).await });
    loop {
        if stack.pod().status().await.health.queued == 1 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let said = ask_all(&stack, MODEL, "say hello").await;
    insta::assert_snapshot!(shown(&stack, &said));
    assert_eq!(stack.settle().await, 0, "whoever was turned away has nothing to pay");
    waiting.abort();
    drop(running);
}

/// Asks the local server; returns what came before the body.
async fn begin(stack: &Stack, script: &str, stream: bool) -> reqwest::Response {
    let body = json!({
        "model": MODEL, "stream": stream, "max_tokens": 16,
        "messages": [{"role": "user", "content": script}],
    });
    let post = reqwest::Client::new().post(stack.url("/v1/chat/completions")).json(&body);
    post.send().await.expect("an answer, not a reset")
}

#[tokio::test(flavor = "multi_thread")]
async fn twice_the_queue_is_told_when_to_come_again_and_the_rest_is_answered() {
    let (slots, queue_max) = (2, 8);
    let stack = Stack::start(Options { slots, queue_max, ..Options::scripted() }).await;
    let mut busy = Vec::new();
    for _ in 0..slots {
        let mut response = begin(&stack, "hang 1", true).await;
        response.chunk().await.expect("a chunk").expect("its first word");
        busy.push(response);
    }
    let stack = std::sync::Arc::new(stack);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..2 * queue_max {
        let stack = std::sync::Arc::clone(&stack);
        asked.spawn(async move { begin(&stack, "slow 4 2", false).await });
    }
    // No slot has become free: whoever is answered now is turned away. One account may have half of
    // the queue.
    for _ in 0..2 * queue_max - queue_max / 2 {
        let refused = asked.join_next().await.expect("one more").expect("no panic");
        assert!([429, 503].contains(&refused.status().as_u16()), "{}", refused.status());
        let wait_s = refused.headers()["retry-after"].to_str().expect("ASCII");
        assert!(wait_s.parse::<u64>().expect("seconds") >= 1);
        let said: Value = refused.json().await.expect("JSON");
        let code = said["error"]["code"].as_str().expect("a code");
        assert!(["too_many_requests", "queue_full"].contains(&code), "{said}");
    }
    drop(busy);
    let mut cost = 0;
    while let Some(answered) = asked.join_next().await {
        let answered = answered.expect("no panic");
        assert_eq!(answered.status(), 200);
        let told = answered.headers()["x-phallama-cost"].to_str().expect("ASCII");
        cost += told.parse::<u128>().expect("units");
        let said: Value = answered.json().await.expect("JSON");
        assert_eq!(said["choices"][0]["message"]["content"], "t0 t1 t2 t3 ");
    }
    while stack.pod().status().await.exchanges > 0 {
        tokio::task::yield_now().await;
    }
    // Those that were busy had a word each, which costs one unit with the prompt.
    let paid = stack.settle().await;
    assert!((cost..=cost + u128::from(slots)).contains(&paid), "paid {paid}, answers cost {cost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_simulated_tee_that_was_not_asked_for() {
    let stack = Stack::start(Options::scripted()).await;
    let config = stack.dir.path().join("config.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    let strict = text.replace("simulated_tee = true", "simulated_tee = false");
    assert_ne!(strict, text);
    std::fs::write(&config, strict).expect("written");
    let output = stack.phallama(&["run", MODEL, "say hello"]).await;
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    insta::assert_snapshot!(stable(&stack, &stderr));
    nobody_was_charged(&stack, DEPOSIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_wire_is_cut_in_the_middle() {
    let stack = Stack::start(Options::scripted()).await;
    let url = crate::stack::cutter(&stack.pod_url, 1120 + 20 * 272).await;
    stack
        .chain
        .sender(&crate::stack::developer(1))
        .update_url(stack.pod_id, &url)
        .await
        .expect("set");
    let client = stack.another_client(FrameClass::Unpaced, "cut").await;
    let body = json!({
        "messages": [{"role": "user", "content": "slow 400 1"}], "max_tokens": 500,
    });
    let mut answer = client.chat(MODEL, body).await.expect("it begins");
    let error = answer.text().await.expect_err("no end came");
    assert!(matches!(error, ClientError::Truncated { .. }), "{error:?}");
    assert_eq!(error.class().code, "answer_truncated");
    // The enclave saw a client that left: what had been handed out is paid, and no more.
    while stack.pod().status().await.exchanges > 0 {
        tokio::task::yield_now().await;
    }
    let paid = stack.settle().await;
    assert!(paid < 400 * 400_000 / 1_000_000, "{paid}");
    assert_eq!(stack.users_money().await, u128::from(DEPOSIT) - paid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_hangs_up_frees_the_worker() {
    let stack = Stack::start(Options::scripted()).await;
    let body = json!({
        "model": MODEL, "stream": true, "max_tokens": 1000,
        "messages": [{"role": "user", "content": "slow 1000 20"}],
    });
    let sent = reqwest::Client::new().post(stack.url("/v1/chat/completions")).json(&body);
    let mut response = sent.send().await.expect("it begins");
    response.chunk().await.expect("a chunk").expect("words");
    assert_eq!(stack.pod().status().await.health.in_flight, 1);
    drop(response);
    while stack.pod().status().await.health.in_flight > 0 {
        tokio::task::yield_now().await;
    }
    let paid = stack.settle().await;
    assert!(paid < 1000 * 400_000 / 1_000_000, "{paid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_of_another_origin() {
    let stack = Stack::start(Options::scripted()).await;
    for (header, value) in [("host", "rebound.example"), ("origin", "https://evil.example")] {
        let sent = reqwest::Client::new().get(stack.url("/v1/models")).header(header, value);
        let response = sent.send().await.expect("answered");
        assert_eq!(response.status(), 403, "{header}: {value}");
        let body: Value = response.json().await.expect("JSON");
        assert_eq!(body["error"]["code"], "foreign_origin");
    }
}

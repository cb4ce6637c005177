//! What an app may spend with its token: the limit, its refusal in every API's shape, the count.

use phallama::home::Home;
use phallama::tokens;
use serde_json::{Value, json};

use crate::stack::{MODEL, Options, Stack};

/// Asks as the app with this token.
async fn ask(stack: &Stack, path: &str, token: &str, max_tokens: u32) -> (u16, Value) {
    let mut body = json!({
        "model": MODEL, "max_tokens": max_tokens, "max_output_tokens": max_tokens,
        "options": {"num_predict": max_tokens}, "stream": false,
    });
    match path {
        "/v1/responses" => body["input"] = json!("say hello"),
        "/v1/completions" | "/api/generate" => body["prompt"] = json!("say hello"),
        _ => body["messages"] = json!([{"role": "user", "content": "say hello there"}]),
    }
    let request = reqwest::Client::new().post(stack.url(path)).json(&body).bearer_auth(token);
    let response = request.send().await.expect("the local server answers");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

async fn listed(stack: &Stack, name: &str) -> Value {
    let json = stack.phallama_json(&["token", "list"]).await;
    let tokens = json["tokens"].as_array().expect("a list");
    tokens.iter().find(|token| token["name"] == name).expect("listed").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_spends_what_its_token_says_and_no_more() {
    let stack = Stack::start(Options::scripted()).await;
    let home = Home::at(stack.dir.path());
    let free = tokens::create(&home, "free", None).expect("made");
    // Less than any request can cost.
    let poor = tokens::create(&home, "poor", Some("0.000001")).expect("made");
    for (path, at, kind) in [
        ("/v1/chat/completions", "/error/type", "insufficient_quota"),
        ("/v1/completions", "/error/type", "insufficient_quota"),
        ("/v1/responses", "/error/type", "insufficient_quota"),
        ("/v1/messages", "/error/type", "billing_error"),
        ("/api/chat", "/code", "spend_limit_exceeded"),
        ("/api/generate", "/code", "spend_limit_exceeded"),
    ] {
        let (status, said) = ask(&stack, path, &poor, 64).await;
        assert_eq!((status, said.pointer(at)), (402, Some(&json!(kind))), "{path}: {said}");
        let said = said.to_string();
        assert!(said.contains("app's limit per day") && said.contains("token limit"), "{said}");
    }
    let (status, said) = ask(&stack, "/v1/chat/completions", &free, 64).await;
    assert_eq!(status, 200, "another app is not concerned: {said}");
    assert_eq!(listed(&stack, "poor").await["spent_today"], "0");
    assert_eq!(listed(&stack, "free").await["spent_today"], Value::Null);

    // Raised while the server runs; what an answer cost is counted, and not what it might have.
    tokens::limit(&home, "poor", Some("1")).expect("there");
    let (status, said) = ask(&stack, "/v1/chat/completions", &poor, 64).await;
    assert_eq!(status, 200, "{said}");
    let cost = stack.client.receipts(1).await.expect("records")[0].check().expect("valid");
    let entry = listed(&stack, "poor").await;
    assert_eq!(entry["spent_today"], json!(cost.receipt.cost), "{entry}");
    assert_eq!(entry["max_per_day"], "1");
    // Lowered below what was spent, nothing more is allowed.
    tokens::limit(&home, "poor", Some("0.000001")).expect("there");
    let (status, said) = ask(&stack, "/v1/chat/completions", &poor, 1).await;
    assert_eq!((status, &said["error"]["code"]), (402, &json!("spend_limit_exceeded")), "{said}");
}

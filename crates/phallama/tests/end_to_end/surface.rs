//! What is around the answers: methods, headers, errors in each API's shape, models in use.

use http::{Method, StatusCode};
use reqwest::Response;
use serde_json::{Value, json};

use crate::stack::{MODEL, Options, Stack};

async fn ask(stack: &Stack, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = reqwest::Client::new().request(method, stack.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("the local server answers")
}

/// Status and JSON of a refused request.
async fn refused(stack: &Stack, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = stack.post(path, body).await;
    (status, serde_json::from_str(&text.expect("a whole body")).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_are_answered_and_other_methods_and_paths_refused() {
    let stack = Stack::start(Options::scripted()).await;
    for path in ["/", "/api/version", "/api/tags", "/v1/models"] {
        let head = ask(&stack, Method::HEAD, path, &[]).await;
        assert_eq!(head.status(), StatusCode::OK, "{path}");
        assert!(head.headers()["x-request-id"].to_str().expect("ASCII").starts_with("req_"));
    }
    let wrong = ask(&stack, Method::GET, "/v1/chat/completions", &[]).await;
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.headers()["allow"], "POST");
    let body: Value = wrong.json().await.expect("JSON");
    assert_eq!(body["error"]["code"], "method_not_allowed");
    for (path, at, code) in [
        ("/v1/threads", "/error/code", "unknown_endpoint"),
        ("/v1/messages/batches", "/error/code", "unknown_endpoint"),
        ("/api/chat/api/show", "/code", "unknown_endpoint"),
    ] {
        let (status, body) = refused(&stack, path, &json!({"name": MODEL})).await;
        assert_eq!((status, body.pointer(at)), (404, Some(&json!(code))), "{path}: {body}");
    }
    for (method, path) in [
        (Method::POST, "/api/create"),
        (Method::POST, "/api/push"),
        (Method::POST, "/api/copy"),
        (Method::DELETE, "/api/delete"),
        (Method::POST, "/api/blobs/sha256:00"),
        (Method::HEAD, "/api/blobs/sha256:00"),
    ] {
        let refused = ask(&stack, method.clone(), path, &[]).await;
        assert_eq!(refused.status(), StatusCode::NOT_IMPLEMENTED, "{path}");
        if method != Method::HEAD {
            let body: Value = refused.json().await.expect("JSON");
            assert!(body["error"].is_string() && body["code"] == "not_implemented", "{body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_on_this_machine_may_send_the_headers_of_the_libraries() {
    let stack = Stack::start(Options::scripted()).await;
    let origin = "http://localhost:3000";
    let wanted = "authorization,content-type,x-stainless-retry-count,x-stainless-lang";
    let preflight = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", wanted),
    ];
    let allowed = ask(&stack, Method::OPTIONS, "/v1/chat/completions", &preflight).await;
    assert_eq!(allowed.status(), StatusCode::NO_CONTENT);
    let headers = allowed.headers();
    assert_eq!(headers["access-control-allow-origin"], origin);
    assert_eq!(headers["access-control-allow-headers"], wanted);
    assert!(headers["access-control-allow-methods"].to_str().expect("ASCII").contains("POST"));
    assert!(!headers.contains_key("access-control-allow-credentials"));
    let read = ask(&stack, Method::GET, "/v1/models", &[("origin", origin)]).await;
    assert_eq!(read.headers()["access-control-allow-origin"], origin);
    let exposed = read.headers()["access-control-expose-headers"].to_str().expect("ASCII");
    assert!(exposed.contains("x-phallama-receipt") && exposed.contains("retry-after"));

    let foreign = [("origin", "https://evil.example"), preflight[1], preflight[2]];
    let refused = ask(&stack, Method::OPTIONS, "/v1/chat/completions", &foreign).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(!refused.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_field_at_fault_is_named_wherever_it_was_found() {
    let stack = Stack::start(Options::scripted()).await;
    let messages = json!([{"role": "user", "content": "say hi"}]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let chat = "/v1/chat/completions";
    for (path, more, param) in [
        (chat, json!({"messages": messages, "temperature": 9}), "temperature"),
        (chat, json!({"messages": messages, "n": 0}), "n"),
        (chat, json!({"messages": messages, "logit_bias": {"1": 1000}}), "logit_bias"),
        (chat, json!({"messages": messages, "top_logprobs": 3}), "logprobs"),
        (chat, json!({"messages": messages, "tools": tools, "logprobs": true}), "logprobs"),
        (chat, json!({"messages": messages, "max_tokens": 0}), "max_tokens"),
        (chat, json!({"messages": [{"role": "wizard", "content": "x"}]}), "messages[0].role"),
        ("/v1/completions", json!({"prompt": "x", "echo": true}), "echo"),
        ("/v1/completions", json!({"prompt": "x", "best_of": 2}), "best_of"),
        ("/v1/responses", json!({"input": "x", "top_p": 2}), "top_p"),
        ("/v1/messages", json!({"messages": messages, "top_k": -1}), "top_k"),
    ] {
        let mut body = json!({"model": MODEL, "max_tokens": 8});
        body.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        let (status, said) = refused(&stack, path, &body).await;
        assert_eq!(status, 400, "{said}");
        assert_eq!(said["error"]["param"], param, "{said}");
        assert_eq!(said["error"]["code"], "invalid_request", "{said}");
        assert_eq!(said["error"]["type"], "invalid_request_error", "{said}");
    }
    assert_eq!(stack.settle().await, 0, "nobody pays for a refusal");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_account_and_a_large_body_are_refused_in_each_shape() {
    let stack = Stack::start(Options { deposit: 0, ..Options::scripted() }).await;
    let messages = json!([{"role": "user", "content": "say hi"}]);
    let body = json!({"model": MODEL, "messages": messages, "input": "hi", "max_tokens": 8});
    for (path, at, kind) in [
        ("/v1/chat/completions", "/error/type", "insufficient_quota"),
        ("/v1/responses", "/error/type", "insufficient_quota"),
        ("/v1/messages", "/error/type", "billing_error"),
        ("/api/chat", "/code", "balance_too_low"),
    ] {
        let (status, said) = refused(&stack, path, &body).await;
        assert_eq!((status, said.pointer(at)), (402, Some(&json!(kind))), "{path}: {said}");
    }
    let large = json!({"model": MODEL, "messages": [], "input": "x".repeat(5 << 20)});
    for (path, at, kind) in [
        ("/v1/chat/completions", "/error/code", "request_too_large"),
        ("/v1/messages", "/error/type", "request_too_large"),
        ("/api/chat", "/code", "request_too_large"),
    ] {
        let (status, said) = refused(&stack, path, &large).await;
        assert_eq!((status, said.pointer(at)), (413, Some(&json!(kind))), "{path}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_says_when_to_come_again() {
    let stack = Stack::start(Options { slots: 1, queue_max: 1, ..Options::scripted() }).await;
    let ask = |script: &str| {
        let body = json!({
            "model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": script}],
        });
        reqwest::Client::new().post(stack.url("/v1/chat/completions")).json(&body).send()
    };
    let (one, two) = (tokio::spawn(ask("mute")), tokio::spawn(ask("mute")));
    let busy = loop {
        let status = stack.pod().status().await;
        if status.exchanges < 2 {
            tokio::task::yield_now().await;
            continue;
        }
        break ask("say hi").await.expect("an answer");
    };
    assert!([429, 503].contains(&busy.status().as_u16()), "{}", busy.status());
    let wait_s: u64 = busy.headers()["retry-after"].to_str().expect("ASCII").parse().expect("s");
    assert!(wait_s >= 1);
    let said: Value = busy.json().await.expect("JSON");
    assert!(said["error"]["code"].is_string(), "{said}");
    one.abort();
    two.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_in_use_until_its_keep_alive_ends() {
    let stack = Stack::start(Options::scripted()).await;
    let running = async || -> Vec<Value> {
        let ps = ask(&stack, Method::GET, "/api/ps", &[]).await;
        let ps: Value = ps.json().await.expect("JSON");
        ps["models"].as_array().expect("a list").clone()
    };
    assert_eq!(running().await, [] as [Value; 0]);
    let generate = |more: Value| {
        let mut body = json!({"model": MODEL, "stream": false, "options": {"num_predict": 8}});
        body.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        body
    };
    let asked = generate(json!({"prompt": "say hi", "keep_alive": "10m"}));
    let (status, told) = refused(&stack, "/api/generate", &asked).await;
    assert_eq!((status, &told["response"]), (200, &json!("hi")));
    let models = running().await;
    assert_eq!(models.len(), 1);
    assert_eq!((&models[0]["model"], &models[0]["context_length"]), (&json!(MODEL), &json!(4096)));
    // The conversation goes on with the context, and ends with the model unloaded.
    let more = generate(json!({"prompt": "echo", "context": told["context"]}));
    assert_eq!(refused(&stack, "/api/generate", &more).await.0, 200);
    let unload = generate(json!({"keep_alive": 0}));
    let (_, told) = refused(&stack, "/api/generate", &unload).await;
    assert_eq!(told["done_reason"], "unload");
    assert_eq!(running().await, [] as [Value; 0]);
}

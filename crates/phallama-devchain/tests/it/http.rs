//! The chain over HTTP.

use std::future::Future;
use std::net::SocketAddr;

use phallama_devchain::{BODY_MAX_BYTES, DevChain, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::*;

/// Runs a test against a served chain.
pub(crate) fn with_server<F: Future>(
    chain: &DevChain,
    test: impl FnOnce(SocketAddr) -> F,
) -> F::Output {
    // HTTP clients cannot be built before a TLS provider is chosen, even for plain HTTP.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(chain.clone(), listener));
        test(address).await
    })
}

pub(crate) async fn post(address: SocketAddr, body: impl Into<reqwest::Body>) -> (u16, String) {
    let response = reqwest::Client::new()
        .post(format!("http://{address}/"))
        .header("content-type", "application/json")
        .body(body)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Posts a body and returns the answer.
fn answer(body: impl ToString) -> Value {
    let body = body.to_string();
    let (status, text) = with_server(&chain(), |address| post(address, body));
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_request_is_answered_with_its_id() {
    let request = json!({ "jsonrpc": "2.0", "id": "a", "method": "eth_chainId" });
    assert_eq!(answer(request), json!({ "jsonrpc": "2.0", "id": "a", "result": "0x7a69" }));
}

#[test]
fn a_batch_is_answered_in_order_and_errors_stay_with_their_request() {
    let request = |id: u64, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let batch = json!([request(1, "eth_blockNumber"), request(2, "eth_coffee"), 7]);
    let answers = answer(batch);
    assert_eq!(answers[0], json!({ "jsonrpc": "2.0", "id": 1, "result": "0x0" }));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&json!(2), &json!(-32601)));
    assert_eq!((&answers[2]["id"], &answers[2]["error"]["code"]), (&Value::Null, &json!(-32600)));
}

#[test]
fn bodies_that_are_no_requests_get_the_error_of_the_standard() {
    for (body, code) in [("{", -32700), ("[]", -32600), ("7", -32600), ("{\"id\":1}", -32600)] {
        assert_eq!(answer(body)["error"]["code"], json!(code), "{body}");
    }
}

#[test]
fn a_notification_is_done_but_not_answered() {
    let chain = chain();
    let request = json!({ "jsonrpc": "2.0", "method": "evm_mine" }).to_string();
    let (status, text) = with_server(&chain, |address| post(address, request));
    assert_eq!((status, text.as_str()), (204, ""));
    assert_eq!(head(&chain), 1);
}

#[test]
fn a_revert_carries_its_data_over_http() {
    let chain = chain();
    let reverter = deploy(&chain, REVERTER);
    let params = json!([{ "to": reverter, "input": "0xabcdef" }, "latest"]);
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": params });
    let (_, text) = with_server(&chain, |address| post(address, request.to_string()));
    let error = serde_json::from_str::<Value>(&text).unwrap()["error"].clone();
    assert_eq!(error, json!({ "code": 3, "message": "execution reverted", "data": "0xabcdef" }));
}

#[test]
fn a_body_above_the_limit_is_refused() {
    let (status, _) =
        with_server(&chain(), |address| post(address, vec![b' '; BODY_MAX_BYTES + 1]));
    assert_eq!(status, 413);
}

#[test]
fn connections_are_served_at_the_same_time_as_the_chain_is_used_in_process() {
    let chain = chain();
    let mine = json!({ "jsonrpc": "2.0", "id": 1, "method": "evm_mine" }).to_string();
    let statuses = with_server(&chain, |address| {
        let posts: Vec<_> = (0..8).map(|_| tokio::spawn(post(address, mine.clone()))).collect();
        let other = chain.clone();
        let in_process = tokio::task::spawn_blocking(move || {
            for _ in 0..8 {
                get(&other, "evm_mine", json!([]));
            }
        });
        async move {
            in_process.await.unwrap();
            let mut statuses = Vec::new();
            for post in posts {
                statuses.push(post.await.unwrap().0);
            }
            statuses
        }
    });
    assert_eq!(statuses, [200; 8]);
    assert_eq!(head(&chain), 16);
}

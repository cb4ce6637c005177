//! Answers of a node that is behind, or that has forgotten old state.

use std::io;

use serde_json::{Value, json};

use super::upstream::Upstream;

/// `0x` and 32 bytes.
const HASH_DIGITS: usize = 66;

/// Which parameter of a method names the block.
fn block_parameter(method: &str) -> Option<usize> {
    Some(match method {
        "eth_getBlockByNumber"
        | "eth_getBlockByHash"
        | "eth_getBlockReceipts"
        | "eth_getBlockTransactionCountByNumber"
        | "eth_getBlockTransactionCountByHash" => 0,
        "eth_call"
        | "eth_estimateGas"
        | "eth_getBalance"
        | "eth_getCode"
        | "eth_feeHistory"
        | "eth_getTransactionCount" => 1,
        "eth_getStorageAt" => 2,
        _ => return None,
    })
}

/// Methods that read the state of a block.
fn reads_state(method: &str) -> bool {
    matches!(
        method,
        "eth_call"
            | "eth_estimateGas"
            | "eth_getBalance"
            | "eth_getCode"
            | "eth_getStorageAt"
            | "eth_getTransactionCount"
    )
}

/// What was right when `newest` was the newest block.
pub(super) async fn as_of(
    upstream: &Upstream,
    method: &str,
    mut params: Value,
    newest: u64,
) -> io::Result<Value> {
    if method == "eth_blockNumber" {
        return Ok(json!({ "result": format!("{newest:#x}") }));
    }
    if let Some(index) = block_parameter(method) {
        let Some(list) = params.as_array_mut() else { return Ok(not_found()) };
        if list.len() <= index {
            list.resize(index + 1, Value::Null);
        }
        if let Some(number) = number_of(upstream, &list[index]).await
            && number > newest
        {
            // A tag means the newest block here; a number or a hash means one that is not there.
            let is_tag = list[index].is_null() || tag(&list[index]).is_some();
            if !is_tag {
                return Ok(if reads_state(method) { not_found() } else { nothing() });
            }
            list[index] = json!(format!("{newest:#x}"));
        }
    }
    let mut answer = upstream.ask(method, params).await?;
    if matches!(method, "eth_getTransactionReceipt" | "eth_getTransactionByHash")
        && quantity(&answer["result"]["blockNumber"]).is_some_and(|number| number > newest)
    {
        answer = nothing();
    }
    Ok(answer)
}

/// The answer of a node that kept the state of its newest `keep_blocks` + 1 blocks only.
pub(super) async fn pruned(
    upstream: &Upstream,
    method: &str,
    params: Value,
    keep_blocks: u64,
) -> io::Result<Value> {
    if let Some(index) = block_parameter(method)
        && reads_state(method)
        && let Some(number) = number_of(upstream, &params[index]).await
        && let Some(head) = quantity(&upstream.result("eth_blockNumber", json!([])).await)
        && number.saturating_add(keep_blocks) < head
    {
        let message = format!("missing trie node: state of block {number} is not available");
        return Ok(json!({ "error": { "code": -32_000, "message": message } }));
    }
    upstream.ask(method, params).await
}

/// The number of the block that a parameter means.
async fn number_of(upstream: &Upstream, block: &Value) -> Option<u64> {
    if let Some(number) = quantity(&block["blockNumber"]) {
        return Some(number);
    }
    // A hash stands for itself or in an object (EIP-1898).
    let is_hash = block.as_str().is_some_and(|text| text.len() == HASH_DIGITS);
    let hash = if is_hash { block } else { &block["blockHash"] };
    if hash.is_string() {
        let found = upstream.result("eth_getBlockByHash", json!([hash, false])).await;
        return quantity(&found["number"]);
    }
    if let Some(number) = quantity(block) {
        return Some(number);
    }
    let tag = tag(block).unwrap_or("latest");
    if tag == "pending" {
        // After every block that there is.
        return Some(u64::MAX);
    }
    let found = upstream.result("eth_getBlockByNumber", json!([tag, false])).await;
    quantity(&found["number"])
}

fn tag(block: &Value) -> Option<&str> {
    block.as_str().filter(|text| !text.starts_with("0x"))
}

/// A number as JSON-RPC writes it.
fn quantity(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn nothing() -> Value {
    json!({ "result": null })
}

fn not_found() -> Value {
    json!({ "error": { "code": -32_001, "message": "header not found" } })
}

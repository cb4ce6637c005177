//! The JSON-RPC 2.0 envelope: one request or a batch of them.

use serde_json::{Value, json};

use crate::chain::DevChain;
use crate::error::RpcError;

/// Answers a request body; `None` where nothing is to be answered (notifications).
pub(crate) fn answer_body(chain: &DevChain, body: &[u8]) -> Option<Value> {
    match serde_json::from_slice(body) {
        Err(error) => Some(failure(Value::Null, &RpcError::Parse(error.to_string()))),
        Ok(Value::Array(batch)) if batch.is_empty() => {
            Some(failure(Value::Null, &RpcError::InvalidRequest("an empty batch")))
        }
        Ok(Value::Array(batch)) => {
            let answers: Vec<Value> =
                batch.into_iter().filter_map(|request| answer_one(chain, request)).collect();
            if answers.is_empty() { None } else { Some(Value::Array(answers)) }
        }
        Ok(request) => answer_one(chain, request),
    }
}

fn answer_one(chain: &DevChain, mut request: Value) -> Option<Value> {
    let Some(object) = request.as_object_mut() else {
        return Some(failure(Value::Null, &RpcError::InvalidRequest("must be an object")));
    };
    let id = object.remove("id");
    let params = object.remove("params").unwrap_or_default();
    let Some(Value::String(method)) = object.get("method") else {
        let error = RpcError::InvalidRequest("`method` must be a string");
        return Some(failure(id.unwrap_or_default(), &error));
    };
    let outcome = chain.request(method, params);
    // Without an id it is a notification: done, but not answered.
    let id = id?;
    Some(match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failure(id, &error),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the id moves into the answer")]
fn failure(id: Value, error: &RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": error.to_json() })
}

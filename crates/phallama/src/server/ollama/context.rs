//! The `context` of `/api/generate`: a conversation that the app carries from answer to answer.
//!
//! Ollama puts tokens there. Apps send them back as they came, so here they stand for the messages
//! themselves, three bytes of JSON in a number.

use serde_json::{Map, Value, json};

use crate::server::api_error::ApiError;

/// Begins every context of ours.
const MARK: u32 = 0x50_484c;

/// What an app carries: the conversation and the answer, without images.
pub(crate) fn write(history: &[Value], answer: &str) -> Vec<u32> {
    let mut messages: Vec<Value> = history.iter().map(without_images).collect();
    messages.push(json!({"role": "assistant", "content": answer}));
    let bytes = Value::Array(messages).to_string().into_bytes();
    let length = u32::try_from(bytes.len()).expect("an answer's size is bounded");
    let number = |chunk: &[u8]| chunk.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    [MARK, length].into_iter().chain(bytes.chunks(3).map(number)).collect()
}

fn without_images(message: &Value) -> Value {
    let mut message = message.clone();
    if let Value::Array(parts) = &mut message["content"] {
        parts.retain(|part| part["type"] == "text");
    }
    message
}

/// The conversation that a request goes on with; empty without one.
pub(crate) fn read(request: &Map<String, Value>) -> Result<Vec<Value>, ApiError> {
    match request.get("context") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(numbers)) if numbers.is_empty() => Ok(Vec::new()),
        Some(context) => decoded(context).ok_or_else(|| {
            let message = "`context` must come from an earlier answer of this server.";
            ApiError::invalid("context", message)
        }),
    }
}

fn decoded(context: &Value) -> Option<Vec<Value>> {
    let numbers = context.as_array()?.iter().map(|number| u32::try_from(number.as_u64()?).ok());
    let numbers: Vec<u32> = numbers.collect::<Option<_>>()?;
    let [MARK, length, numbers @ ..] = numbers.as_slice() else { return None };
    let mut left = usize::try_from(*length).ok()?;
    let mut bytes = Vec::new();
    for number in numbers {
        let [_, three @ ..] = number.to_be_bytes();
        let count = left.min(3);
        bytes.extend_from_slice(&three[3 - count..]);
        left -= count;
    }
    (left == 0).then(|| serde_json::from_slice(&bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_comes_back_as_it_went() {
        for text in ["", "a", "ab", "abc", "žluť 🦙"] {
            let history = [json!({"role": "user", "content": text})];
            let context = write(&history, text);
            assert!(context.iter().all(|number| i32::try_from(*number).is_ok()));
            let request = Map::from_iter([("context".to_owned(), json!(context))]);
            let answer = json!({"role": "assistant", "content": text});
            assert_eq!(read(&request).unwrap(), [history[0].clone(), answer]);
        }
    }

    #[test]
    fn what_another_server_gave_is_refused() {
        let whole = write(&[], "answer");
        for context in [json!([1, 2, 3]), json!("a"), json!([MARK]), json!(whole[..3]), json!([-1])]
        {
            let request = Map::from_iter([("context".to_owned(), context)]);
            assert_eq!(read(&request).unwrap_err().param.as_deref(), Some("context"));
        }
        assert_eq!(read(&Map::new()).unwrap(), [] as [Value; 0]);
    }
}

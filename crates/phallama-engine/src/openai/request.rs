//! A checked request as a server gets it that knows OpenAI's fields, and vLLM's where those are
//! common. What it may not know is refused, never left out.

use serde_json::{Map, Value, json};

use crate::generation::{Choices, Dialect, Endpoint, Generation};
use crate::{EngineConfig, EngineError};

const BACKEND: &str = "a server with OpenAI's API";

/// Fields that go through as they are, for a chat and for a completion.
const KNOWN: &[&str] = &[
    "chat_template_kwargs",
    "frequency_penalty",
    "logit_bias",
    "messages",
    "min_p",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt",
    "reasoning_effort",
    "response_format",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
];

/// The bodies of all choices of `asked`. `cache_salt` keeps the prefixes of accounts apart in
/// servers that know the field.
///
/// # Errors
/// [`EngineError::FieldNotServed`], [`EngineError::NotServed`].
pub(crate) fn generation_body(
    mut asked: Generation,
    config: &EngineConfig,
    cache_salt: &str,
) -> Result<Choices, EngineError> {
    if asked.endpoint == Endpoint::Infill {
        let what = "OpenAI's API has no way to fill in text between a prompt and a suffix; \
                    leave `suffix` out, or ask another pod";
        return Err(EngineError::NotServed { what });
    }
    let mut fields = std::mem::take(&mut asked.fields);
    let mut body = Map::new();
    for name in KNOWN {
        if let Some(value) = fields.remove(*name) {
            body.insert((*name).to_owned(), value);
        }
    }
    if let Some(schema) = fields.remove("json_schema") {
        let wrapper = json!({ "name": "answer", "schema": schema });
        let format = json!({ "type": "json_schema", "json_schema": wrapper });
        body.insert("response_format".to_owned(), format);
    }
    if let Some(penalty) = fields.remove("repeat_penalty") {
        body.insert("repetition_penalty".to_owned(), penalty);
    }
    // Those of a completion come in another shape than a chat's.
    if asked.endpoint == Endpoint::Chat
        && let Some(logprobs) = fields.remove("logprobs")
    {
        body.insert("logprobs".to_owned(), logprobs);
    }
    if let Some(field) = fields.keys().next() {
        return Err(EngineError::FieldNotServed { field: field.clone(), backend: BACKEND });
    }
    for (name, value) in [
        ("model", json!(config.model_name)),
        ("max_tokens", json!(asked.max_tokens_within(config.context_tokens))),
        ("stream", json!(true)),
        ("stream_options", json!({ "include_usage": true })),
        ("cache_salt", json!(cache_salt)),
    ] {
        body.insert(name.to_owned(), value);
    }
    Ok(Choices::new(&asked, Dialect::OpenAi, body))
}

/// The body for vectors of `inputs`.
pub(crate) fn embeddings_body(model: &str, inputs: &[Value]) -> Value {
    json!({ "model": model, "input": inputs, "encoding_format": "float" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChatRequest, CompletionRequest};

    fn config() -> EngineConfig {
        EngineConfig::new("", "", "org/model", [0; 32], "")
    }

    fn body(mut choices: Choices) -> Value {
        serde_json::from_slice(&choices.next_body().unwrap()).unwrap()
    }

    fn chat(more: &Value) -> Result<Value, EngineError> {
        let mut asked =
            json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 7 });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = ChatRequest::parse(asked.to_string().as_bytes()).unwrap();
        generation_body(request.generation().clone(), &config(), "salt").map(body)
    }

    fn complete(more: &Value) -> Result<Value, EngineError> {
        let mut asked = json!({ "prompt": "hi", "max_tokens": 7 });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = CompletionRequest::parse(asked.to_string().as_bytes()).unwrap();
        generation_body(request.generation().clone(), &config(), "salt").map(body)
    }

    #[test]
    fn a_chat_has_openai_s_fields_and_no_others() {
        let body = chat(&json!({ "seed": 3, "top_k": 5, "repeat_penalty": 1.5, "logprobs": true }))
            .unwrap();
        let expected = json!({
            "model": "org/model", "messages": [{ "role": "user", "content": "hi" }],
            "max_tokens": 7, "seed": 3, "top_k": 5, "repetition_penalty": 1.5, "logprobs": true,
            "top_logprobs": 1, "stream": true, "stream_options": { "include_usage": true },
            "cache_salt": "salt",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_the_api_does_not_know_is_named() {
        for (more, field) in [
            (json!({ "grammar": "root ::= \"a\"" }), "grammar"),
            (json!({ "mirostat": 1 }), "mirostat"),
            (json!({ "dry_base": 2 }), "dry_base"),
            (json!({ "typical_p": 0.5 }), "typical_p"),
        ] {
            let error = chat(&more).unwrap_err();
            assert!(error.to_string().contains(&format!("`{field}` is not known to")), "{error}");
            assert_eq!(error.fault(), crate::Fault::Request);
        }
        let error = complete(&json!({ "logprobs": 2 })).unwrap_err();
        assert!(error.to_string().contains("`logprobs` is not known to"), "{error}");
        let error = complete(&json!({ "suffix": "end" })).unwrap_err();
        assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
    }

    #[test]
    fn a_completion_takes_token_ids_and_a_schema() {
        let format =
            json!({ "type": "json_schema", "json_schema": { "schema": { "type": "object" } } });
        let body = complete(&json!({ "prompt": [1, 2], "response_format": format })).unwrap();
        assert_eq!(body["prompt"], json!([1, 2]));
        let schema = &body["response_format"]["json_schema"]["schema"];
        assert_eq!(*schema, json!({ "type": "object" }));
    }
}

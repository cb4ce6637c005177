//! The crate `async-openai` against a running local server, which the environment names.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::{ApiErrorResponse, OpenAIError};
use async_openai::types::chat::{CreateChatCompletionRequest, FinishReason};
use async_openai::types::embeddings::CreateEmbeddingRequest;
use async_openai::types::responses::CreateResponse;
use futures::StreamExt as _;
use serde_json::{Value, json};

type Api = Client<OpenAIConfig>;

/// A model that the environment names.
fn model(which: &str) -> String {
    let name = format!("PHALLAMA_TEST_{which}");
    std::env::var(&name).unwrap_or_else(|_| panic!("{name} is not set; run clients/run.py"))
}

/// A client that reads `OPENAI_BASE_URL` and `OPENAI_API_KEY`, as any of its users has.
fn client() -> Api {
    Client::new()
}

fn chat(which: &str, message: &str, more: &Value) -> CreateChatCompletionRequest {
    let mut body =
        json!({"model": model(which), "messages": [{"role": "user", "content": message}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(body).unwrap()
}

async fn streamed(message: &str) -> Result<String, OpenAIError> {
    let request = chat("SCRIPTED", message, &json!({"stream": true}));
    let mut stream = client().chat().create_stream(request).await?;
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        let delta = chunk?.choices.pop().and_then(|choice| choice.delta.content);
        text.push_str(&delta.unwrap_or_default());
    }
    Ok(text)
}

#[tokio::test]
async fn models_are_listed_and_found() {
    let listed = client().models().list().await.unwrap();
    assert!(listed.data.iter().any(|listed| listed.id == model("MODEL")));
    let found = client().models().retrieve(&model("MODEL")).await.unwrap();
    assert_eq!(found.id, model("MODEL"));
}

#[tokio::test]
async fn an_answer_has_usage() {
    let request = chat("MODEL", "Hello", &json!({"max_completion_tokens": 8, "temperature": 0}));
    let answer = client().chat().create(request).await.unwrap();
    assert!(!answer.choices[0].message.content.as_deref().unwrap_or_default().is_empty());
    let tokens = answer.usage.unwrap().completion_tokens;
    assert!((1..=8).contains(&tokens), "{tokens}");
}

#[tokio::test]
async fn a_stream_is_whole() {
    assert_eq!(streamed("say one two three").await.unwrap(), "one two three");
}

#[tokio::test]
async fn a_stream_that_breaks_is_an_error() {
    let broken = streamed("eof 3").await.unwrap_err();
    assert!(broken.to_string().contains("broke off"), "{broken}");
}

#[tokio::test]
async fn a_function_is_called() {
    let parameters = json!({
        "type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"],
    });
    let tool =
        json!({"type": "function", "function": {"name": "weather", "parameters": parameters}});
    let request = chat("SCRIPTED", "How is it in Boston?", &json!({"tools": [tool]}));
    let answer = client().chat().create(request).await.unwrap();
    assert_eq!(answer.choices[0].finish_reason, Some(FinishReason::ToolCalls));
    let calls = serde_json::to_value(&answer.choices[0].message.tool_calls).unwrap();
    assert_eq!(calls[0]["function"]["arguments"], r#"{"place":"Boston"}"#);
}

#[tokio::test]
async fn a_schema_is_obeyed() {
    let schema =
        json!({"type": "object", "properties": {"wet": {"type": "boolean"}}, "required": ["wet"]});
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let more = json!({"response_format": format, "max_completion_tokens": 48, "temperature": 0});
    let request = chat("MODEL", "Is water wet? Answer in JSON.", &more);
    let answer = client().chat().create(request).await.unwrap();
    let text = answer.choices[0].message.content.as_deref().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["wet"].is_boolean(), "{text}");
}

#[tokio::test]
async fn texts_become_vectors_in_both_encodings() {
    let body = json!({"model": model("VECTORS"), "input": ["llamas", "tides"]});
    let request: CreateEmbeddingRequest = serde_json::from_value(body.clone()).unwrap();
    let plain = client().embeddings().create(request).await.unwrap();
    assert_eq!(plain.data.len(), 2);
    let mut body = body;
    body["encoding_format"] = "base64".into();
    let request: CreateEmbeddingRequest = serde_json::from_value(body).unwrap();
    let packed = client().embeddings().create_base64(request).await.unwrap();
    assert_eq!(packed.data.len(), 2);
}

#[tokio::test]
async fn an_unknown_model_is_told_with_its_code() {
    let mut request = chat("MODEL", "Hello", &json!({}));
    request.model = "no-such-model".to_owned();
    let error = client().chat().create(request).await.unwrap_err();
    let OpenAIError::ApiError(ApiErrorResponse { status_code, api_error, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(status_code, 404);
    assert_eq!(api_error.code.as_deref(), Some("model_not_found"));
}

#[tokio::test]
async fn a_response_is_whole() {
    let body = json!({"model": model("SCRIPTED"), "input": "say one two"});
    let request: CreateResponse = serde_json::from_value(body).unwrap();
    let response = client().responses().create(request).await.unwrap();
    assert_eq!(response.output_text().as_deref(), Some("one two"));
}

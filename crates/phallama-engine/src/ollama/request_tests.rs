use serde_json::json;

use super::*;
use crate::{ChatRequest, CompletionRequest, Fault};

fn target() -> Target {
    Target { model: "served:latest".to_owned(), context_tokens: 512, batch_tokens: 128, threads: 3 }
}

fn facts() -> WorkerFacts {
    WorkerFacts {
        tools: Some(true),
        thinking: Some(true),
        infill: Some(true),
        ..WorkerFacts::default()
    }
}

fn bodies(mut choices: Choices) -> Vec<Value> {
    std::iter::from_fn(|| choices.next_body())
        .map(|body| serde_json::from_slice(&body).unwrap())
        .collect()
}

fn asked(base: Value, more: &Value) -> Vec<u8> {
    let mut asked = base;
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    asked.to_string().into_bytes()
}

fn chat_with(more: &Value, facts: &WorkerFacts) -> Result<Vec<Value>, EngineError> {
    let body = asked(json!({ "messages": [{ "role": "user", "content": "hi" }] }), more);
    let request = ChatRequest::parse(&body).unwrap();
    generation_body(request.into_generation(), &target(), facts).map(bodies)
}

fn chat(more: &Value) -> Result<Value, EngineError> {
    chat_with(more, &facts()).map(|bodies| bodies[0].clone())
}

fn complete(more: &Value, facts: &WorkerFacts) -> Result<Value, EngineError> {
    let request = CompletionRequest::parse(&asked(json!({ "prompt": "hi" }), more)).unwrap();
    generation_body(request.into_generation(), &target(), facts).map(|made| bodies(made)[0].clone())
}

#[test]
fn a_chat_has_the_offered_context_and_is_neither_cut_nor_shifted() {
    let body =
        chat(&json!({ "max_tokens": 9, "temperature": 0, "top_k": 4, "stop": "x", "seed": 7 }));
    let expected = json!({
        "model": "served:latest", "messages": [{ "role": "user", "content": "hi" }],
        "stream": true, "truncate": false, "shift": false, "keep_alive": -1,
        "options": { "num_ctx": 512, "num_batch": 128, "num_thread": 3, "num_predict": 9,
                     "temperature": 0, "top_k": 4, "stop": ["x"], "seed": 7 },
    });
    assert_eq!(body.unwrap(), expected);
    let long = chat(&json!({ "max_tokens": 100_000 })).unwrap();
    assert_eq!(long["options"]["num_predict"], 512);
}

#[test]
fn a_name_without_a_tag_is_the_latest() {
    let place = OllamaPlace::Supervised { models_dir: Some("/m".into()) };
    let ollama = OllamaBackend { place, pull: false, danger_share_cache: false };
    for (offered, expected) in
        [("a", "a:latest"), ("a:1", "a:1"), ("h:5/n/a", "h:5/n/a:latest"), ("n/a:1", "n/a:1")]
    {
        let config = EngineConfig::new("", "", offered, [0; 32], "");
        assert_eq!(Target::of(&config, &ollama).model, expected);
    }
    let own = OllamaBackend { place: OllamaPlace::Supervised { models_dir: None }, ..ollama };
    let config = EngineConfig::new("", "", "any name", [0; 32], "");
    assert_eq!(Target::of(&config, &own).model, OWN_NAME);
}

#[test]
fn each_choice_has_a_seed_of_its_own() {
    let bodies = chat_with(&json!({ "n": 3, "seed": 5 }), &facts()).unwrap();
    let seeds: Vec<_> = bodies.iter().map(|body| body["options"]["seed"].clone()).collect();
    assert_eq!(seeds, [5, 6, 7]);
    assert!(
        bodies.iter().all(|body| body.get("seed").is_none() && body.get("cache_prompt").is_none())
    );
}

#[test]
fn schemas_and_json_mode_become_the_format() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    let wrapper = json!({ "name": "x", "schema": schema });
    let format = json!({ "response_format": { "type": "json_schema", "json_schema": wrapper } });
    assert_eq!(chat(&format).unwrap()["format"], schema);
    assert_eq!(complete(&format, &facts()).unwrap()["format"], schema);
    let json_mode = json!({ "response_format": { "type": "json_object" } });
    assert_eq!(chat(&json_mode).unwrap()["format"], json!({ "type": "object" }));
}

#[test]
fn thinking_is_asked_for_only_of_models_that_think() {
    let low = json!({ "reasoning_effort": "low" });
    assert_eq!(chat(&low).unwrap()["think"], "low");
    assert_eq!(chat(&json!({ "reasoning_effort": "xhigh" })).unwrap()["think"], "high");
    assert_eq!(chat(&json!({ "reasoning_effort": "none" })).unwrap()["think"], false);
    let off = json!({ "chat_template_kwargs": { "enable_thinking": false } });
    assert_eq!(chat(&off).unwrap()["think"], false);
    let cannot = WorkerFacts { thinking: Some(false), ..facts() };
    assert_eq!(chat_with(&low, &cannot).unwrap()[0].get("think"), None);
}

#[test]
fn images_calls_and_their_results_are_where_ollama_has_them() {
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let url = format!("data:image/png;base64,{png}");
    let arguments = r#"{"a":1}"#;
    let body = chat(&json!({ "messages": [
        { "role": "user", "content": [
            { "type": "text", "text": "see " },
            { "type": "image_url", "image_url": { "url": url } },
            { "type": "text", "text": "this" } ] },
        { "role": "assistant", "reasoning_content": "hm", "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "f", "arguments": arguments } } ] },
        { "role": "tool", "tool_call_id": "c1", "content": "42" },
    ] }))
    .unwrap();
    let expected = json!([
        { "role": "user", "content": "see this", "images": [png] },
        { "role": "assistant", "content": "", "thinking": "hm", "tool_calls": [
            { "id": "c1", "function": { "name": "f", "arguments": { "a": 1 } } } ] },
        { "role": "tool", "content": "42", "tool_call_id": "c1", "tool_name": "f" },
    ]);
    assert_eq!(body["messages"], expected);
    let broken = chat(&json!({ "messages": [{ "role": "assistant", "tool_calls": [
        { "type": "function", "function": { "name": "f", "arguments": "[1]" } } ] }] }));
    let text = broken.unwrap_err().to_string();
    assert!(text.contains("`messages[0].tool_calls[0].function.arguments` is `[1]`"), "{text}");
}

#[test]
fn tools_go_through_and_the_choice_is_gone() {
    let tools = json!([{ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } }]);
    let body = chat(&json!({ "tools": tools, "tool_choice": "auto", "parallel_tool_calls": true }))
        .unwrap();
    assert_eq!((&body["tools"], body.get("tool_choice")), (&tools, None));
    let error = chat(&json!({ "tools": tools, "parallel_tool_calls": false })).unwrap_err();
    assert!(error.to_string().contains("`parallel_tool_calls` is not known to Ollama"), "{error}");
}

#[test]
fn what_ollama_has_no_word_for_is_refused_by_name() {
    for (more, field) in [
        (json!({ "grammar": "root ::= \"a\"" }), "grammar"),
        (json!({ "logit_bias": { "1": 2 } }), "logit_bias"),
        (json!({ "mirostat": 2 }), "mirostat"),
        (json!({ "xtc_threshold": 0.5 }), "xtc_threshold"),
        (json!({ "dynatemp_range": 0.5 }), "dynatemp_range"),
    ] {
        let error = chat(&more).unwrap_err();
        let expected = format!("field `{field}` is not known to Ollama");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(error.fault(), Fault::Request);
    }
}

#[test]
fn raw_prompts_are_raw_and_token_ids_are_refused() {
    let body = complete(&json!({ "logprobs": 3 }), &facts()).unwrap();
    assert_eq!((&body["prompt"], &body["raw"]), (&json!("hi"), &json!(true)));
    assert_eq!((&body["logprobs"], &body["top_logprobs"]), (&json!(true), &json!(3)));
    let error = complete(&json!({ "prompt": [1, 2] }), &facts()).unwrap_err();
    assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
}

#[test]
fn text_is_filled_in_only_where_the_template_knows_how() {
    let more = json!({ "suffix": "end" });
    let body = complete(&more, &facts()).unwrap();
    assert_eq!(
        (&body["prompt"], &body["suffix"], body.get("raw")),
        (&json!("hi"), &json!("end"), None)
    );
    let cannot = WorkerFacts { infill: Some(false), ..facts() };
    let error = complete(&more, &cannot).unwrap_err();
    assert!(matches!(error, EngineError::NotServed { .. }), "{error}");
}

#[test]
fn vectors_are_made_of_texts_that_are_not_cut() {
    let body = embeddings_body(&target(), &[json!("a"), json!("b")]).unwrap();
    assert_eq!((&body["input"], &body["truncate"]), (&json!(["a", "b"]), &json!(false)));
    assert!(embeddings_body(&target(), &[json!([1])]).is_err());
}

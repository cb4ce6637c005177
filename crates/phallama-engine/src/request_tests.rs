use proptest::prelude::*;

use super::*;

const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

/// The valid request with one more top-level field.
fn with(field: &str, value: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"{field}":{value}}}"#)
}

fn worker_fields(body: &str) -> Value {
    let request = ChatRequest::parse(body.as_bytes()).unwrap();
    serde_json::from_slice(&request.worker_body(3, false, 4096)).unwrap()
}

fn refusal(body: &str) -> RequestError {
    match ChatRequest::parse(body.as_bytes()) {
        Err(error) => error,
        Ok(_) => panic!("accepted: {body}"),
    }
}

/// Setting one field of a valid request makes it fail with an error that names the field.
fn check_refused(field: &str, value: &str, message: &str) {
    let error = refusal(&with(field, value)).to_string();
    assert_eq!(error, message, "{field}: {value}");
}

#[test]
fn the_worker_gets_the_accepted_fields_and_ours() {
    assert_eq!(
        worker_fields(HI),
        json!({
            "messages": [{ "role": "user", "content": "hi" }],
            "max_tokens": 4096,
            "stream": true,
            "stream_options": { "include_usage": true },
            "timings_per_token": true,
            "return_progress": true,
            "cache_prompt": false,
            "id_slot": 3,
        })
    );
}

#[test]
fn fields_of_the_worker_cannot_be_set_by_a_caller() {
    for field in [
        "id_slot",
        "cache_prompt",
        "timings_per_token",
        "return_progress",
        "grammar",
        "json_schema",
        "chat_template_kwargs",
        "lora",
        "samplers",
        "n_predict",
        "n_probs",
        "ignore_eos",
        "reasoning_format",
        "mirostat",
        "speculative.n_max",
        "functions",
    ] {
        let expected = RequestError::UnknownField { field: field.to_owned() };
        assert_eq!(refusal(&with(field, "1")), expected);
    }
}

#[test]
fn numbers_outside_their_range_are_refused() {
    check_refused("temperature", "2.5", "field `temperature` is 2.5, expected 0 to 2");
    check_refused("temperature", "-0.1", "field `temperature` is -0.1, expected 0 to 2");
    check_refused("temperature", "\"hot\"", "field `temperature` is a string, expected a number");
    check_refused("top_p", "1.5", "field `top_p` is 1.5, expected 0 to 1");
    check_refused("min_p", "-1", "field `min_p` is -1, expected 0 to 1");
    check_refused("top_k", "1.5", "field `top_k` is a number, expected an integer");
    check_refused("top_k", "-1", "field `top_k` is -1, expected 0 to 100000");
    check_refused("presence_penalty", "3", "field `presence_penalty` is 3, expected -2 to 2");
    check_refused("frequency_penalty", "-3", "field `frequency_penalty` is -3, expected -2 to 2");
    check_refused("repeat_penalty", "0", "field `repeat_penalty` is 0, expected 0.1 to 2");
    check_refused("max_tokens", "0", "field `max_tokens` is 0, expected 1 to 1048576");
    check_refused(
        "max_completion_tokens",
        "-1",
        "field `max_completion_tokens` is -1, expected 1 to 1048576",
    );
    check_refused(
        "max_tokens",
        "1e300",
        &format!("field `max_tokens` is {}, expected 1 to 1048576", 1e300_f64),
    );
    check_refused("n", "2", "field `n` is 2, expected 1 to 1");
    check_refused("seed", "0.5", "field `seed` is a number, expected an integer");
}

#[test]
fn numbers_that_json_does_not_have_are_refused() {
    for value in ["NaN", "Infinity", "1e999"] {
        let error = refusal(&with("temperature", value));
        assert!(matches!(error, RequestError::InvalidJson { line: 1, .. }), "{value}: {error}");
    }
}

#[test]
fn stop_strings_are_bounded() {
    let many = format!("[{}]", ["\"a\""; 17].join(","));
    check_refused("stop", &many, "field `stop` has 17 entries, at most 16 are allowed");
    check_refused("stop", "[\"\"]", "field `stop` is empty");
    check_refused("stop", "[1]", "field `stop` is a number, expected a string");
    check_refused(
        "stop",
        &format!("\"{}\"", "x".repeat(257)),
        "field `stop` has 257 bytes, at most 256 are allowed",
    );
    assert_eq!(worker_fields(&with("stop", "[\"a\",\"b\"]"))["stop"], json!(["a", "b"]));
}

#[test]
fn logit_bias_and_logprobs_are_bounded() {
    check_refused(
        "logit_bias",
        "{\"x\":1}",
        "field `logit_bias` is `x`, expected token ids as keys",
    );
    check_refused("logit_bias", "{\"1\":200}", "field `logit_bias` is 200, expected -100 to 100");
    let many: Vec<_> = (0..301).map(|token| format!("\"{token}\":1")).collect();
    check_refused(
        "logit_bias",
        &format!("{{{}}}", many.join(",")),
        "field `logit_bias` has 301 entries, at most 300 are allowed",
    );
    check_refused("top_logprobs", "21", "field `top_logprobs` is 21, expected 0 to 20");
    check_refused(
        "top_logprobs",
        "5",
        "field `logprobs` is `false`, expected true, because top_logprobs is set",
    );
}

#[test]
fn messages_must_be_a_conversation_in_text() {
    for (messages, message) in [
        ("[]", "field `messages` is empty"),
        ("{}", "field `messages` is an object, expected an array"),
        ("[1]", "field `messages[0]` is a number, expected an object"),
        (r#"[{"content":"a"}]"#, "field `messages[0].role` is missing"),
        (r#"[{"role":"user"}]"#, "field `messages[0].content` is missing"),
        (
            r#"[{"role":"root","content":""}]"#,
            "field `messages[0].role` is `root`, expected system, developer, user, assistant or tool",
        ),
        (
            r#"[{"role":"user","content":1}]"#,
            "field `messages[0].content` is a number, expected a string or an array of text parts",
        ),
        (
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]"#,
            "field `messages[0].content[0].type` is `image_url`, expected text",
        ),
        (
            r#"[{"role":"user","content":"a","images":[]}]"#,
            "field `messages[0].images` is not supported",
        ),
        (
            r#"[{"role":"assistant","tool_calls":[{"function":{"name":"f"}}]}]"#,
            "field `messages[0].tool_calls[0].function.arguments` is missing",
        ),
    ] {
        assert_eq!(refusal(&format!(r#"{{"messages":{messages}}}"#)).to_string(), message);
    }
    assert_eq!(refusal("{}"), RequestError::Missing { field: "messages".to_owned() });
    let many = vec!["{\"role\":\"user\",\"content\":\"\"}"; 4097].join(",");
    assert!(matches!(
        refusal(&format!(r#"{{"messages":[{many}]}}"#)),
        RequestError::TooMany { got: 4097, max: 4096, .. }
    ));
}

#[test]
fn developer_messages_become_system_messages() {
    let fields = worker_fields(r#"{"messages":[{"role":"developer","content":"be brief"}]}"#);
    assert_eq!(fields["messages"][0]["role"], "system");
}

#[test]
fn tools_are_functions_with_bounded_schemas() {
    let tool = |schema: &str| {
        format!(r#"[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]"#)
    };
    assert!(worker_fields(&with("tools", &tool("{\"type\":\"object\"}")))["tools"].is_array());
    check_refused(
        "tools",
        r#"[{"type":"web_search"}]"#,
        "field `tools[0].type` is `web_search`, expected function",
    );
    check_refused(
        "tools",
        &tool("[]"),
        "field `tools[0].function.parameters` is an array, expected an object",
    );
    check_refused(
        "tool_choice",
        "\"always\"",
        "field `tool_choice` is `always`, expected none, auto or required",
    );
}

#[test]
fn schemas_cannot_be_costly() {
    let format = |schema: &str| {
        format!(r#"{{"type":"json_schema","json_schema":{{"name":"a","schema":{schema}}}}}"#)
    };
    let place = "response_format.json_schema.schema";
    check_refused(
        "response_format",
        &format(r#"{"properties":{"a":{"maxItems":100000}}}"#),
        &format!("field `{place}…maxItems` is 100000, expected 0 to 4096"),
    );
    check_refused(
        "response_format",
        &format(r#"{"$ref":"https://example.org/x"}"#),
        &format!(
            "field `{place}…$ref` is `https://example.org/x`, \
                  expected a reference that starts with `#`"
        ),
    );
    check_refused(
        "response_format",
        &format(&format!(r#"{{"pattern":"{}"}}"#, "a".repeat(257))),
        &format!("field `{place}…pattern` has 257 bytes, at most 256 are allowed"),
    );
    let large = format(&format!(r#"{{"description":"{}"}}"#, "a".repeat(70_000)));
    assert!(matches!(
        refusal(&with("response_format", &large)),
        RequestError::TooLong { max_bytes: 65_536, .. }
    ));
    check_refused(
        "response_format",
        r#"{"type":"xml"}"#,
        "field `response_format.type` is `xml`, expected text, json_object or json_schema",
    );
}

#[test]
fn response_formats_reach_the_worker_as_schemas() {
    let fields = worker_fields(&with("response_format", r#"{"type":"json_object"}"#));
    let schema = &fields["response_format"]["json_schema"]["schema"];
    assert_eq!(schema, &json!({ "type": "object" }));
    let text = worker_fields(&with("response_format", r#"{"type":"text"}"#));
    assert_eq!(text.get("response_format"), None);
}

#[test]
fn depth_is_limited_before_parsing() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(refusal(&with("stop", &nested(64))), RequestError::TooDeep { max: 64 });
    assert!(!matches!(refusal(&with("stop", &nested(63))), RequestError::TooDeep { .. }));
    assert_eq!(refusal(&"[".repeat(1 << 20)), RequestError::TooDeep { max: 64 });
    let in_text = format!(r#"{{"messages":[{{"role":"user","content":"\"{}"}}]}}"#, "[".repeat(99));
    assert!(ChatRequest::parse(in_text.as_bytes()).is_ok_and(|r| r.max_tokens().is_none()));
}

#[test]
fn null_counts_as_absent_and_harmless_fields_have_no_effect() {
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"stop":null,"n":1,"user":"u",
        "model":"m","stream":false,"stream_options":{"include_usage":false}}"#;
    assert_eq!(worker_fields(body), worker_fields(HI));
}

#[test]
fn max_tokens_is_the_smallest_of_what_was_asked_paid_and_fits() {
    let request = ChatRequest::parse(with("max_tokens", "50").as_bytes()).unwrap();
    assert_eq!(request.max_tokens(), Some(50));
    assert_eq!(request.clone().with_max_tokens_at_most(20).max_tokens(), Some(20));
    assert_eq!(request.clone().with_max_tokens_at_most(90).max_tokens(), Some(50));
    assert_eq!(request.with_max_tokens_at_most(0).max_tokens(), Some(1));
    assert_eq!(worker_fields(&with("max_tokens", "100000"))["max_tokens"], 4096);
    let both = r#"{"messages":[{"role":"user","content":"a"}],
        "max_tokens":9,"max_completion_tokens":7}"#;
    assert_eq!(worker_fields(both)["max_tokens"], 7);
}

#[test]
fn any_seed_is_mapped_into_the_workers_range_below_its_word_for_random() {
    for (seed, mapped) in [("42", 42), ("-1", u32::MAX - 1), ("4294967295", 0)] {
        assert_eq!(worker_fields(&with("seed", seed))["seed"], json!(mapped));
    }
}

#[test]
fn completions_take_one_prompt_and_turn_formats_into_schemas() {
    let parse = |body: &str| CompletionRequest::parse(body.as_bytes());
    let request = parse(
        r#"{"prompt":"a","echo":false,"best_of":1,"logprobs":2,
            "response_format":{"type":"json_object"}}"#,
    );
    let body = request.unwrap().worker_body(0, true, 100);
    let fields: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(fields["json_schema"], json!({ "type": "object" }));
    assert_eq!((&fields["logprobs"], &fields["cache_prompt"]), (&json!(2), &json!(true)));
    for (body, message) in [
        ("{}", "field `prompt` is missing"),
        (r#"{"prompt":""}"#, "field `prompt` is empty"),
        (r#"{"prompt":["a","b"]}"#, "field `prompt` is an array, expected a string"),
        (r#"{"prompt":"a","echo":true}"#, "field `echo` is `true`, expected false"),
        (r#"{"prompt":"a","best_of":2}"#, "field `best_of` is 2, expected 1 to 1"),
        (r#"{"prompt":"a","suffix":"b"}"#, "field `suffix` is not supported"),
    ] {
        assert_eq!(parse(body).unwrap_err().to_string(), message);
    }
}

#[test]
fn requests_print_their_field_names_only() {
    let request = ChatRequest::parse(with("stop", "\"secret\"").as_bytes()).unwrap();
    assert_eq!(format!("{request:?}"), r#"ChatRequest(["messages", "stop"])"#);
}

proptest! {
    #[test]
    fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ChatRequest::parse(&bytes);
        let _ = CompletionRequest::parse(&bytes);
    }

    #[test]
    fn whatever_is_accepted_leaves_our_fields_to_us(
        fields in prop::collection::btree_map("[a-z_]{1,12}|id_slot|stream", "-?[0-9]{1,3}", 0..4),
    ) {
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        for (name, value) in &fields {
            body[name] = serde_json::from_str(value).unwrap_or(Value::Null);
        }
        if let Ok(request) = ChatRequest::parse(body.to_string().as_bytes()) {
            let sent: Value = serde_json::from_slice(&request.worker_body(1, true, 10)).unwrap();
            prop_assert_eq!(&sent["id_slot"], &json!(1));
            prop_assert_eq!(&sent["stream"], &json!(true));
        }
    }
}

use proptest::prelude::*;

use super::*;

const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

/// The valid request with one more top-level field.
fn with(field: &str, value: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"hi"}}],"{field}":{value}}}"#)
}

fn worker_fields(body: &str) -> Value {
    let request = ChatRequest::parse(body.as_bytes()).unwrap();
    serde_json::from_slice(&request.for_worker(3, false, 4096).next_body().unwrap()).unwrap()
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
        "json_schema",
        "grammar_lazy",
        "grammar_triggers",
        "preserved_tokens",
        "lora",
        "samplers",
        "n_predict",
        "n_cmpl",
        "n_discard",
        "n_keep",
        "n_probs",
        "ignore_eos",
        "reasoning_format",
        "continue_final_message",
        "response_fields",
        "t_max_predict_ms",
        "dry_sequence_breakers",
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
    check_refused("n", "9", "field `n` is 9, expected 1 to 8");
    check_refused("n", "0", "field `n` is 0, expected 1 to 8");
    check_refused("n", "1000000000", "field `n` is 1000000000, expected 1 to 8");
    check_refused("temperature", "1e6", "field `temperature` is 1000000, expected 0 to 2");
    check_refused("top_p", "-1", "field `top_p` is -1, expected 0 to 1");
    check_refused("mirostat", "3", "field `mirostat` is 3, expected 0 to 2");
    check_refused("repeat_last_n", "-2", "field `repeat_last_n` is -2, expected -1 to 65536");
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
            "field `messages[0].content` is a number, expected a string or an array of parts",
        ),
        (
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]"#,
            "field `messages[0].content[0].image_url.url` is `http://x`, expected a data: URI of \
             image/png, image/jpeg or image/gif in base64",
        ),
        (
            r#"[{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]"#,
            "field `messages[0].content[0].type` is `input_audio`, expected text or image_url",
        ),
        (r#"[{"role":"assistant"}]"#, "field `messages[0].content` is missing"),
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
        "field `tool_choice` is `always`, expected none, auto, required or one function",
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
        &format!("field `{place}…maxItems` is 100000, expected 0 to 2000"),
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
fn schemas_have_a_shape_that_the_worker_survives() {
    let format = |schema: &str| {
        format!(r#"{{"type":"json_schema","json_schema":{{"name":"a","schema":{schema}}}}}"#)
    };
    let place = "response_format.json_schema.schema";
    let nested = |levels: usize| {
        format!("{}{{}}{}", r#"{"items":"#.repeat(levels - 1), "}".repeat(levels - 1))
    };
    check_refused(
        "response_format",
        &format(&nested(33)),
        &format!("field `{place}` is nested 33 levels deep, at most 32 are allowed"),
    );
    assert!(
        worker_fields(&with("response_format", &format(&nested(32))))["response_format"]
            .is_object()
    );
    check_refused(
        "response_format",
        &format(r#"{"properties":{"a":{"type":"string","pattern":"^(?<=x)*$"}}}"#),
        &format!(
            "field `{place}…pattern` cannot be used, at byte 1: look-around, named groups and \
             flags are not supported"
        ),
    );
    let properties: Vec<String> = (0..257).map(|i| format!(r#""p{i}":{{}}"#)).collect();
    check_refused(
        "response_format",
        &format(&format!(r#"{{"properties":{{{}}}}}"#, properties.join(","))),
        &format!("field `{place}…properties` has 257 entries, at most 256 are allowed"),
    );
    let long = "x".repeat(257);
    let message = refusal(&with(
        "response_format",
        &format(&format!(r#"{{"properties":{{"{long}":{{}}}}}}"#)),
    ));
    assert!(matches!(message, RequestError::TooLong { got_bytes: 257, max_bytes: 256, .. }));
}

#[test]
fn the_choice_of_one_function_leaves_that_function_and_requires_it() {
    let tools = r#"[{"type":"function","function":{"name":"f"}},
                    {"type":"function","function":{"name":"g"}}]"#;
    let body = |choice: &str| {
        with("tool_choice", choice).replacen('{', &format!(r#"{{"tools":{tools},"#), 1)
    };
    let fields = worker_fields(&body(r#"{"type":"function","function":{"name":"g"}}"#));
    assert_eq!(fields["tools"], json!([{ "type": "function", "function": { "name": "g" } }]));
    assert_eq!(fields["tool_choice"], "required");
    for word in ["none", "auto", "required"] {
        let fields = worker_fields(&body(&format!("\"{word}\"")));
        assert_eq!(fields["tool_choice"], word);
        assert_eq!(fields["tools"].as_array().unwrap().len(), 2);
    }
    for (choice, message) in [
        (
            r#"{"type":"function","function":{"name":"h"}}"#,
            "field `tool_choice.function.name` is `h`, expected the name of one of `tools`",
        ),
        (r#"{"type":"tool"}"#, "field `tool_choice.type` is `tool`, expected function"),
        ("1", "field `tool_choice` is a number, expected a string or an object"),
    ] {
        assert_eq!(refusal(&body(choice)).to_string(), message);
    }
    check_refused("tool_choice", "\"required\"", "field `tools` is missing");
    let fields = worker_fields(&with("tool_choice", "\"auto\""));
    assert_eq!(fields.get("tool_choice"), None, "it says nothing without tools");
}

#[test]
fn tools_are_named_in_plain_letters_and_bounded_together() {
    let tool = |name: &str| format!(r#"[{{"type":"function","function":{{"name":"{name}"}}}}]"#);
    for (name, got) in [(r#"a\"b"#, "\""), (r"a\u0000", "\0"), ("a b", " "), ("é", "é")] {
        let expected = format!(
            "field `tools[0].function.name` is `{got}`, expected letters, digits and _ - . : /"
        );
        check_refused("tools", &tool(name), &expected);
    }
    let one = format!(
        r#"{{"type":"function","function":{{"name":"f","description":"{}"}}}}"#,
        "x".repeat(60_000)
    );
    let many = format!("[{}]", [one.as_str(); 5].join(","));
    assert!(matches!(
        refusal(&with("tools", &many)),
        RequestError::TooLong { field, max_bytes: 262_144, .. } if field == "tools"
    ));
    let many = format!("[{}]", [r#"{"type":"function","function":{"name":"f"}}"#; 129].join(","));
    check_refused("tools", &many, "field `tools` has 129 entries, at most 128 are allowed");
}

#[test]
fn constraints_that_exclude_each_other_are_refused() {
    let grammar = r#""root ::= \"a\"""#;
    assert_eq!(worker_fields(&with("grammar", grammar))["grammar"], "root ::= \"a\"");
    let both = |name: &str, value: &str, with_field: &str, with_value: &str| {
        with(name, value).replacen('{', &format!(r#"{{"{with_field}":{with_value},"#), 1)
    };
    let tools = r#"[{"type":"function","function":{"name":"f"}}]"#;
    let schema = r#"{"type":"json_object"}"#;
    for (body, message) in [
        (
            both("grammar", grammar, "response_format", schema),
            "fields `grammar` and `response_format` cannot be set together",
        ),
        (
            both("grammar", grammar, "tools", tools),
            "fields `grammar` and `tools` cannot be set together",
        ),
        (
            both("logprobs", "true", "tools", tools),
            "fields `logprobs` and `tools` cannot be set together",
        ),
    ] {
        assert_eq!(refusal(&body).to_string(), message);
    }
    check_refused("grammar", "1", "field `grammar` is a number, expected a string");
}

#[test]
fn thinking_is_said_in_the_templates_words() {
    assert_eq!(worker_fields(&with("reasoning_effort", "\"none\""))["reasoning_effort"], "none");
    check_refused(
        "reasoning_effort",
        "\"max\"",
        "field `reasoning_effort` is `max`, expected none, minimal, low, medium, high or xhigh",
    );
    let kwargs = worker_fields(&with("chat_template_kwargs", r#"{"enable_thinking":true}"#));
    assert_eq!(kwargs["chat_template_kwargs"], json!({ "enable_thinking": true }));
    check_refused(
        "chat_template_kwargs",
        r#"{"enable_thinking":true,"custom":1}"#,
        "field `chat_template_kwargs.custom` is not supported",
    );
    check_refused(
        "chat_template_kwargs",
        r#"{"enable_thinking":"yes"}"#,
        "field `chat_template_kwargs.enable_thinking` is a string, expected a boolean",
    );
}

#[test]
fn images_are_counted_and_bounded() {
    let part = json!({ "type": "image_url", "image_url": { "url": crate::image::tests::PNG } });
    let body = |count: usize| {
        let parts = vec![part.clone(); count];
        json!({ "messages": [{ "role": "user", "content": parts }] }).to_string()
    };
    let request = ChatRequest::parse(body(16).as_bytes()).unwrap();
    assert_eq!(request.generation().images, 16);
    assert_eq!(
        refusal(&body(17)).to_string(),
        "field `messages (images)` has 17 entries, at most 16 are allowed"
    );
}

#[test]
fn choices_have_seeds_of_their_own_and_find_the_prompt_in_their_slot() {
    let body = with("n", "3").replacen('{', r#"{"seed":4294967294,"#, 1);
    let request = ChatRequest::parse(body.as_bytes()).unwrap();
    assert_eq!(request.choices(), 3);
    let mut choices = request.for_worker(2, false, 100);
    let mut seen = Vec::new();
    while let Some(body) = choices.next_body() {
        let body: Value = serde_json::from_slice(&body).unwrap();
        seen.push((body["seed"].as_u64().unwrap(), body["cache_prompt"] == true));
        assert_eq!((&body["id_slot"], body.get("n")), (&json!(2), None));
    }
    assert_eq!(seen, [(4_294_967_294, false), (0, true), (1, true)]);
}

#[test]
fn the_whole_context_is_a_number_for_the_worker() {
    assert_eq!(worker_fields(&with("repeat_last_n", "-1"))["repeat_last_n"], 4096);
    assert_eq!(worker_fields(&with("repeat_last_n", "0"))["repeat_last_n"], 0);
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
    let fields = |body: &str| -> Value {
        let body = parse(body).unwrap().for_worker(0, true, 100).next_body();
        serde_json::from_slice(&body.unwrap()).unwrap()
    };
    let asked = fields(
        r#"{"prompt":"a","echo":false,"best_of":1,"logprobs":2,
            "response_format":{"type":"json_object"}}"#,
    );
    assert_eq!(asked["json_schema"], json!({ "type": "object" }));
    assert_eq!((&asked["logprobs"], &asked["cache_prompt"]), (&json!(2), &json!(true)));
    assert_eq!(fields(r#"{"prompt":[1,2],"suffix":""}"#)["prompt"], json!([1, 2]));
    for (body, message) in [
        ("{}", "field `prompt` is missing"),
        (r#"{"prompt":""}"#, "field `prompt` is empty"),
        (r#"{"prompt":[]}"#, "field `prompt` is empty"),
        (r#"{"prompt":{}}"#, "field `prompt` is an object, expected a string"),
        (r#"{"prompt":["a","b"]}"#, "field `prompt[0]` is a string, expected an integer"),
        (r#"{"prompt":[-1]}"#, "field `prompt[0]` is -1, expected 0 to 2147483647"),
        (
            r#"{"prompt":[1,2147483648]}"#,
            "field `prompt[1]` is 2147483648, expected 0 to 2147483647",
        ),
        (r#"{"prompt":"a","echo":true}"#, "field `echo` is `true`, expected false"),
        (r#"{"prompt":"a","best_of":2}"#, "field `best_of` is 2, expected 1 to 1"),
        (r#"{"prompt":[1],"suffix":"b"}"#, "field `prompt` is an array, expected a string"),
        (r#"{"prompt":"a","tools":[]}"#, "field `tools` is not supported"),
    ] {
        assert_eq!(parse(body).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_suffix_makes_a_request_to_fill_in() {
    let request = CompletionRequest::parse(br#"{"prompt":"a","suffix":"c","max_tokens":5}"#);
    let mut choices = request.unwrap().for_worker(1, false, 100);
    assert_eq!(choices.path(), "/infill");
    let fields: Value = serde_json::from_slice(&choices.next_body().unwrap()).unwrap();
    assert_eq!((&fields["input_prefix"], &fields["input_suffix"]), (&json!("a"), &json!("c")));
    assert_eq!((fields.get("prompt"), &fields["max_tokens"]), (None, &json!(5)));
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
            let body = request.for_worker(1, true, 10).next_body().unwrap();
            let sent: Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(&sent["id_slot"], &json!(1));
            prop_assert_eq!(&sent["stream"], &json!(true));
        }
    }
}

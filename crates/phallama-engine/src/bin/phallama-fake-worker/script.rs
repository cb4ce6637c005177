//! What a message makes the worker do. The commands are listed at the top of `main.rs`.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Shared;
use crate::answer::{Answer, Shape};
use crate::http::{self, Request};
use crate::obliging::{self, Reply};

/// Longer than any line the engine accepts.
const FLOOD_BYTES: usize = 1 << 20;

pub(crate) fn run(shared: &Shared, stream: &UnixStream, request: &Request) -> io::Result<()> {
    let body: Value = serde_json::from_slice(&request.body)?;
    let message = last_message(&body);
    let mut words = message.split_whitespace();
    let command = words.next().unwrap_or_default();
    let words: Vec<&str> = words.collect();
    match command {
        "mute" => return http::wait_for_close(stream),
        "unable" => {
            let error = r#"{"error":{"message":"told to","type":"not_supported_error"}}"#;
            return http::json_response(stream, 501, error);
        }
        "refuse" => {
            let status = number(&words, 0).try_into().unwrap_or(500);
            let error = r#"{"error":{"message":"told to refuse"}}"#;
            return http::json_response(stream, status, error);
        }
        "long" => {
            let error = r#"{"error":{"message":"too long","n_prompt_tokens":9000,"n_ctx":4096}}"#;
            return http::json_response(stream, 400, error);
        }
        _ => {}
    }
    let prompt = prompt_words(&body);
    let cached = cached_words(shared, &body, &prompt);
    let max_tokens = body["max_tokens"].as_u64().unwrap_or(u64::MAX);
    let shape = match request.path.as_str() {
        "/infill" => Shape::Infill,
        path if path.ends_with("/chat/completions") => Shape::Chat,
        _ => Shape::Completion,
    };
    let answer = Answer::start(stream, shape, prompt.len(), cached, max_tokens)?;
    if is_fault(command) {
        return fault(answer, stream, command, &words);
    }
    answer_well(answer, shared, command, &words, &body)
}

fn answer_well(
    mut answer: Answer<'_>,
    shared: &Shared,
    command: &str,
    words: &[&str],
    body: &Value,
) -> io::Result<()> {
    match command {
        "say" => say(&mut answer, words)?,
        "echo" => answer.text(last_message(body))?,
        "tokens" => counted(&mut answer, number(words, 0), 0)?,
        "slow" => counted(&mut answer, number(words, 0), number(words, 1))?,
        "think" => {
            answer.tokens(1, &json!({ "reasoning_content": words.join(" ") }))?;
            answer.text("done")?;
        }
        "tool" => return call(answer, words.first().copied().unwrap_or_default(), &json!({})),
        "logprobs" => (0..number(words, 0)).try_for_each(|_| answer.text_with_logprobs("x"))?,
        "split" => ["žluť", "oučký ", "🦙"].iter().try_for_each(|t| answer.text_bytewise(t))?,
        "batch" => answer.tokens(number(words, 0), &json!({ "content": "many" }))?,
        "reflect" => answer.text(&reflection(body))?,
        "running" => {
            let others = shared.running.load(Ordering::SeqCst) - 1;
            answer.text(&others.to_string())?;
        }
        _ => return oblige(answer, body),
    }
    answer.finish("stop")
}

fn oblige(mut answer: Answer<'_>, body: &Value) -> io::Result<()> {
    if obliging::thinks(body) {
        answer.tokens(1, &json!({ "reasoning_content": "What is asked for?" }))?;
    }
    match obliging::reply(body, last_message(body)) {
        Reply::Call { name, arguments } => call(answer, &name, &arguments),
        Reply::Text(text) => {
            text.split_inclusive(' ').try_for_each(|token| answer.text(token))?;
            answer.finish("stop")
        }
    }
}

fn call(mut answer: Answer<'_>, name: &str, arguments: &Value) -> io::Result<()> {
    let function = json!({ "name": name, "arguments": arguments.to_string() });
    let call = json!({ "index": 0, "id": "c1", "type": "function", "function": function });
    answer.tokens(3, &json!({ "tool_calls": [call] }))?;
    answer.finish("tool_calls")
}

fn is_fault(command: &str) -> bool {
    let faults = ["die", "kill", "eof", "done", "hang", "garbage", "binary", "flood", "error"];
    faults.contains(&command)
}

fn fault(
    mut answer: Answer<'_>,
    stream: &UnixStream,
    command: &str,
    words: &[&str],
) -> io::Result<()> {
    counted(&mut answer, number(words, 0), 0)?;
    match command {
        "die" => std::process::abort(),
        "kill" => {
            let pid = std::process::id().to_string();
            std::process::Command::new("kill").args(["-9", &pid]).status()?;
            http::wait_for_close(stream)
        }
        "done" => answer.end(),
        "hang" => http::wait_for_close(stream),
        "garbage" => answer.raw(b"data: {\"choices\": nonsense\n\n"),
        "binary" => answer.raw(b"data: \xff\xfe\n\n"),
        "flood" => answer.raw(&vec![b'x'; FLOOD_BYTES]),
        "error" => answer.raw(b"error: {\"code\":500,\"message\":\"told to fail\"}\n\n"),
        // `eof`: the connection closes as this function returns.
        _ => Ok(()),
    }
}

fn say(answer: &mut Answer<'_>, words: &[&str]) -> io::Result<()> {
    words.iter().enumerate().try_for_each(|(index, word)| {
        let space = if index == 0 { "" } else { " " };
        answer.text(&format!("{space}{word}"))
    })
}

fn counted(answer: &mut Answer<'_>, count: u64, every_ms: u64) -> io::Result<()> {
    for index in 0..count {
        if answer.is_full() {
            break;
        }
        std::thread::sleep(Duration::from_millis(every_ms));
        answer.text(&format!("t{index} "))?;
    }
    Ok(())
}

fn number(words: &[&str], index: usize) -> u64 {
    words.get(index).and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn last_message(body: &Value) -> &str {
    let messages = body["messages"].as_array();
    let user = messages.into_iter().flatten().rfind(|message| message["role"] == "user");
    let raw = [&body["prompt"], &body["input_prefix"]].into_iter().find(|raw| raw.is_string());
    let content = user.map(|message| &message["content"]).or(raw).unwrap_or(&Value::Null);
    let mut parts = content.as_array().into_iter().flatten();
    let text = content.as_str().or_else(|| parts.find_map(|part| part["text"].as_str()));
    text.unwrap_or_default()
}

fn prompt_words(body: &Value) -> Vec<String> {
    let mut words = Vec::new();
    let messages = body["messages"].as_array().into_iter().flatten();
    let raw = ["prompt", "input_prefix", "input_suffix"].map(|name| &body[name]);
    for text in messages.map(|message| &message["content"]).chain(raw) {
        words.extend(text.as_str().unwrap_or_default().split_whitespace().map(str::to_owned));
    }
    words
}

/// Leaves the prompt in its slot and returns how many of its words were there already.
fn cached_words(shared: &Shared, body: &Value, prompt: &[String]) -> usize {
    let slot = body["id_slot"].as_i64().unwrap_or(-1);
    let mut slots = shared.slots.lock().expect("holders do not panic");
    let before = slots.insert(slot, prompt.to_vec()).unwrap_or_default();
    if body["cache_prompt"] == true {
        before.iter().zip(prompt).take_while(|(old, new)| old == new).count()
    } else {
        0
    }
}

fn reflection(body: &Value) -> String {
    let mut fields = body.as_object().cloned().unwrap_or_default();
    for prompt in ["messages", "prompt", "input_prefix", "input_suffix"] {
        fields.remove(prompt);
    }
    Value::Object(fields).to_string()
}

//! Plain HTTP requests to the local server, as any app would make them.

use std::net::SocketAddr;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::print;

/// What came back, as the app saw it.
pub(super) struct Asked {
    pub(super) api: &'static str,
    /// Bytes of the local server's response body.
    pub(super) plain_bytes: usize,
    pub(super) prompt_tokens: u64,
    pub(super) completion_tokens: u64,
    /// The local server's `phallama` object.
    pub(super) proof: Value,
}

/// A streamed OpenAI chat completion.
pub(super) async fn openai(at: SocketAddr, model: &str, prompt: &str) -> Result<Asked, CliError> {
    let body = json!({
        "model": model, "stream": true, "stream_options": {"include_usage": true},
        "temperature": 0, "max_tokens": 96, "messages": messages(prompt),
    });
    print::note(format!("\nPOST /v1/chat/completions (stream): {prompt}\n"));
    let mut asked = Asked::nothing("OpenAI");
    lines(at, "/v1/chat/completions", body, &mut asked, |line, asked| {
        let Some(data) = line.strip_prefix("data: ") else { return };
        let chunk: Value = serde_json::from_str(data).unwrap_or_default();
        if let Some(text) = chunk["choices"][0]["delta"]["content"].as_str() {
            print::piece(text);
        }
        if chunk["phallama"].is_object() {
            asked.proof = chunk["phallama"].clone();
        }
        if chunk["usage"].is_object() {
            asked.prompt_tokens = chunk["usage"]["prompt_tokens"].as_u64().unwrap_or_default();
            asked.completion_tokens =
                chunk["usage"]["completion_tokens"].as_u64().unwrap_or_default();
        }
    })
    .await
}

/// A streamed Ollama chat.
pub(super) async fn ollama(at: SocketAddr, model: &str, prompt: &str) -> Result<Asked, CliError> {
    let body = json!({
        "model": model, "messages": messages(prompt),
        "options": {"temperature": 0, "num_predict": 32},
    });
    print::note(format!("\nPOST /api/chat: {prompt}\n"));
    let mut asked = Asked::nothing("Ollama");
    lines(at, "/api/chat", body, &mut asked, |line, asked| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(text) = line["message"]["content"].as_str() {
            print::piece(text);
        }
        if line["done"] == true {
            asked.proof = line["phallama"].clone();
            asked.prompt_tokens = line["prompt_eval_count"].as_u64().unwrap_or_default();
            asked.completion_tokens = line["eval_count"].as_u64().unwrap_or_default();
        }
    })
    .await
}

impl Asked {
    fn nothing(api: &'static str) -> Self {
        Self { api, plain_bytes: 0, prompt_tokens: 0, completion_tokens: 0, proof: Value::Null }
    }
}

fn messages(prompt: &str) -> Value {
    json!([
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": prompt},
    ])
}

/// Posts and hands over each line as it arrives. An answer without proof is a failure.
async fn lines(
    at: SocketAddr,
    path: &str,
    body: Value,
    asked: &mut Asked,
    mut on_line: impl FnMut(&str, &mut Asked),
) -> Result<Asked, CliError> {
    let url = format!("http://{at}{path}");
    let failed = |reason: String| CliError::DemoRequest { url: url.clone(), reason };
    let sent = reqwest::Client::new().post(&url).json(&body).send().await;
    let response = sent.map_err(|error| failed(error.to_string()))?;
    let status = response.status();
    let mut stream = response.bytes_stream();
    let mut pending = Vec::new();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| failed(error.to_string()))?;
        asked.plain_bytes += bytes.len();
        pending.extend_from_slice(&bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            on_line(String::from_utf8_lossy(&line).trim_end(), asked);
        }
    }
    print::line("");
    if !status.is_success() || !asked.proof.is_object() {
        let rest = String::from_utf8_lossy(&pending).into_owned();
        return Err(failed(format!("status {status}, no proof of the answer {rest}")));
    }
    Ok(std::mem::replace(asked, Asked::nothing("")))
}

//! llama-server, asked over plain HTTP as any app would.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::measured::Side;
use crate::prompts::body;
use crate::setting::{CONTEXT_TOKENS, Failure, MODEL_NAME, SLOTS, Setting};

const LOADED_WITHIN: Duration = Duration::from_mins(2);
/// The flags that the enclave gives its worker, except for where it listens.
const FLAGS: &str = "--slot-prompt-similarity 0 --cache-ram 0 --ctx-checkpoints 0 \
                     --batch-size 512 --sse-ping-interval -1 --log-verbosity 1 --no-kv-unified \
                     --no-cache-idle-slots --no-context-shift --jinja --offline --no-mmproj \
                     --no-ui --no-slots";

/// A running llama-server; ends when dropped.
pub(crate) struct Direct {
    process: Child,
    http: reqwest::Client,
    url: String,
}

impl Drop for Direct {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Direct {
    pub(crate) async fn start(setting: &Setting) -> Result<Self, Failure> {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new(&setting.llama_server)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .arg("--model")
            .arg(&setting.model)
            .args(["--alias", MODEL_NAME, "--parallel", &SLOTS.to_string()])
            .args(["--ctx-size", &(CONTEXT_TOKENS * SLOTS).to_string()])
            .args(["--threads", &setting.threads.to_string()])
            .args(FLAGS.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let url = format!("http://127.0.0.1:{port}");
        phallama_chain::use_ring();
        // The server closes idle connections; a request on one that is just closing would fail.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build()?;
        let direct = Self { process, http, url };
        direct.loaded().await?;
        Ok(direct)
    }

    async fn loaded(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        while began.elapsed() < LOADED_WITHIN {
            pause.tick().await;
            let health = self.http.get(format!("{}/health", self.url)).send().await;
            if health.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
        }
        Err("llama-server did not load its model within 120 s".into())
    }

    /// One streamed chat completion, in the slot of this number. The enclave goes back to an
    /// account's slot too, where the chat template's beginning is computed already.
    pub(crate) async fn ask(&self, prompt: &str, slot: usize) -> Result<Side, Failure> {
        let mut body = body(prompt);
        body["model"] = json!(MODEL_NAME);
        body["stream"] = json!(true);
        body["id_slot"] = json!(slot);
        body["stream_options"] = json!({ "include_usage": true });
        let body = serde_json::to_vec(&body)?;
        let mut side = Side { up: body.len() as u64, ..Side::default() };
        let began = Instant::now();
        let request = self.http.post(format!("{}/v1/chat/completions", self.url)).body(body);
        let request = request.header("content-type", "application/json");
        let mut stream = request.send().await?.error_for_status()?.bytes_stream();
        let mut pending = Vec::new();
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            side.down += bytes.len() as u64;
            pending.extend_from_slice(&bytes);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                take_line(&line, &mut side, began)?;
            }
        }
        side.total = began.elapsed();
        if side.tokens == 0 || side.prompt_ms == 0.0 {
            return Err("llama-server's answer carried no usage or no timings".into());
        }
        Ok(side)
    }
}

fn take_line(line: &[u8], side: &mut Side, began: Instant) -> Result<(), Failure> {
    let Some(data) = line.strip_prefix(b"data: ") else { return Ok(()) };
    if data.starts_with(b"[DONE]") {
        return Ok(());
    }
    let chunk: Value = serde_json::from_slice(data)?;
    let text = chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
    if !text.is_empty() {
        side.last_token = began.elapsed();
        if side.first_token.is_zero() {
            side.first_token = side.last_token;
        }
    }
    if let Some(prompt_ms) = chunk["timings"]["prompt_ms"].as_f64() {
        side.prompt_ms = prompt_ms;
    }
    if let Some(tokens) = chunk["usage"]["completion_tokens"].as_u64() {
        side.tokens = u32::try_from(tokens)?;
    }
    Ok(())
}

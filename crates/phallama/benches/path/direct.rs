//! llama-server, asked over plain HTTP as any app would.

use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::measured::Side;
use crate::processes::CommandLine;
use crate::prompts::Question;
use crate::setting::{Failure, LOADED_WITHIN, MODEL_NAME, SLOTS};

/// A running llama-server; ends when dropped.
pub(crate) struct Direct {
    process: Child,
    http: reqwest::Client,
    url: String,
    slots: Mutex<Vec<Slot>>,
    uses: Mutex<u64>,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    is_taken: bool,
    last_use: u64,
}

impl Drop for Direct {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Direct {
    /// Starts the worker's own program with the worker's own options and environment; only where
    /// it listens is another.
    pub(crate) async fn start(worker: &CommandLine) -> Result<Self, Failure> {
        let port = free_port()?;
        let process = Command::new(&worker.program)
            .args(worker.arguments_but("--host"))
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .env_clear()
            .envs(worker.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let slots = Mutex::new(vec![Slot::default(); SLOTS as usize]);
        let url = format!("http://127.0.0.1:{port}");
        let direct = Self { process, http: http()?, url, slots, uses: Mutex::new(0) };
        answers(&direct.http, &format!("{}/health", direct.url)).await?;
        Ok(direct)
    }

    /// One streamed chat completion, in the slot that was unused for longest, which llama-server
    /// takes by itself too, or in this one.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        slot: Option<usize>,
    ) -> Result<Side, Failure> {
        let slot = self.take(slot)?;
        let asked = self.ask_in(question, slot).await;
        self.slots.lock().expect("holders do not panic")[slot].is_taken = false;
        asked
    }

    fn take(&self, wanted: Option<usize>) -> Result<usize, Failure> {
        let mut slots = self.slots.lock().expect("holders do not panic");
        let free = slots.iter().enumerate().filter(|(_, slot)| !slot.is_taken);
        let oldest = free.min_by_key(|(_, slot)| slot.last_use).map(|(index, _)| index);
        let slot = wanted.or(oldest).ok_or("more streams than slots")?;
        let mut uses = self.uses.lock().expect("holders do not panic");
        *uses += 1;
        slots[slot] = Slot { is_taken: true, last_use: *uses };
        Ok(slot)
    }

    async fn ask_in(&self, question: &Question, slot: usize) -> Result<Side, Failure> {
        let mut body = question.body();
        body["model"] = json!(MODEL_NAME);
        body["stream"] = json!(true);
        body["id_slot"] = json!(slot);
        body["stream_options"] = json!({ "include_usage": true });
        let body = serde_json::to_vec(&body)?;
        let mut side = Side { up: body.len() as u64, slot, ..Side::default() };
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

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Servers close idle connections; a request on one that is just closing would fail.
pub(crate) fn http() -> Result<reqwest::Client, Failure> {
    phallama_chain::use_ring();
    Ok(reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build()?)
}

/// Waits until a server that has just been started says that it is well.
pub(crate) async fn answers(http: &reqwest::Client, url: &str) -> Result<(), Failure> {
    let began = Instant::now();
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(50));
    while began.elapsed() < LOADED_WITHIN {
        pause.tick().await;
        let health = http.get(url).send().await;
        if health.is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
    }
    Err(format!("{url} does not answer").into())
}

fn take_line(line: &[u8], side: &mut Side, began: Instant) -> Result<(), Failure> {
    let Some(data) = line.strip_prefix(b"data: ") else { return Ok(()) };
    if data.starts_with(b"[DONE]") {
        return Ok(());
    }
    let chunk: Value = serde_json::from_slice(data)?;
    let text = chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
    side.read(text, began.elapsed());
    if let Some(prompt_ms) = chunk["timings"]["prompt_ms"].as_f64() {
        side.prompt_ms = prompt_ms;
    }
    let usage = &chunk["usage"];
    let count = |value: &Value| value.as_u64().and_then(|count| u32::try_from(count).ok());
    if let Some(tokens) = count(&usage["completion_tokens"]) {
        side.tokens = tokens;
        side.prompt_tokens = count(&usage["prompt_tokens"]).unwrap_or_default();
        let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
        side.cached_tokens = cached.unwrap_or_default();
    }
    Ok(())
}

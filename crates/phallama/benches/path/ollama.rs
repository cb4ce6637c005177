//! A real Ollama over the same llama-server, asked by its own API.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use futures::StreamExt as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::direct::{answers, free_port, http};
use crate::measured::Side;
use crate::prompts::Question;
use crate::setting::{CONTEXT_TOKENS, Failure, MODEL_NAME, SLOTS, Setting};

/// Where a model without a host in its name lies.
const MANIFESTS: &str = "models/manifests/registry.ollama.ai/library";

/// A running Ollama; ends when dropped.
pub(crate) struct Ollama {
    process: Child,
    http: reqwest::Client,
    url: String,
    _folder: TempDir,
}

impl Drop for Ollama {
    fn drop(&mut self) {
        // It ends its llama-server only when it is asked to go.
        let process = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
        let _ = process.map(|process| kill_process(process, Signal::TERM));
        let _ = self.process.wait();
    }
}

impl Ollama {
    pub(crate) async fn start(setting: &Setting, program: &Path) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("phallama-ollama-").tempdir()?;
        let program = install(program, &setting.llama_server, folder.path())?;
        import(setting, folder.path())?;
        let host = format!("127.0.0.1:{}", free_port()?);
        let process = Command::new(program)
            .arg("serve")
            .env_clear()
            .env("HOME", folder.path())
            .env("OLLAMA_HOST", &host)
            .env("OLLAMA_MODELS", folder.path().join("models"))
            .env("OLLAMA_NUM_PARALLEL", SLOTS.to_string())
            .env("OLLAMA_CONTEXT_LENGTH", CONTEXT_TOKENS.to_string())
            .env("OLLAMA_KEEP_ALIVE", "-1")
            // It would look for a newer version of itself.
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let url = format!("http://{host}");
        let ollama = Self { process, http: http()?, url, _folder: folder };
        answers(&ollama.http, &format!("{}/api/version", ollama.url)).await?;
        Ok(ollama)
    }

    /// One streamed chat.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Side, Failure> {
        let options = json!({ "temperature": 0, "num_predict": question.max_tokens });
        let body = json!({
            "model": MODEL_NAME, "messages": question.messages, "stream": true, "options": options,
        });
        let body = serde_json::to_vec(&body)?;
        let mut side = Side { up: body.len() as u64, ..Side::default() };
        let began = Instant::now();
        let request = self.http.post(format!("{}/api/chat", self.url)).body(body);
        let response = request.send().await?;
        if !response.status().is_success() {
            return Err(format!("Ollama says {}", response.text().await?).into());
        }
        let mut stream = response.bytes_stream();
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
        if side.tokens == 0 {
            return Err("Ollama's answer carried no counts".into());
        }
        Ok(side)
    }
}

/// Ollama takes the llama-server that lies beside its own program.
fn install(program: &Path, llama_server: &Path, folder: &Path) -> Result<PathBuf, Failure> {
    let installed = folder.join("bin/ollama");
    fs::create_dir(folder.join("bin"))?;
    fs::copy(program, &installed)?;
    let beside = folder.join("bin/llama-server");
    std::os::unix::fs::symlink(fs::canonicalize(llama_server)?, beside)?;
    Ok(installed)
}

/// Writes the store that Ollama keeps models in: the same file, under the same name.
fn import(setting: &Setting, folder: &Path) -> Result<(), Failure> {
    let (name, tag) = MODEL_NAME.split_once(':').ok_or("the model's name has no tag")?;
    let blobs = folder.join("models/blobs");
    fs::create_dir_all(&blobs)?;
    fs::create_dir_all(folder.join(MANIFESTS).join(name))?;
    let weights = hex::encode(setting.weights_sha256.0);
    std::os::unix::fs::symlink(
        fs::canonicalize(&setting.model)?,
        blobs.join(format!("sha256-{weights}")),
    )?;
    let config = serde_json::to_vec(&json!({
        "model_format": "gguf", "model_family": "llama", "model_families": ["llama"],
        "model_type": "135M", "file_type": "Q4_1", "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{weights}")] },
    }))?;
    let config_digest = hex::encode(Sha256::digest(&config));
    fs::write(blobs.join(format!("sha256-{config_digest}")), &config)?;
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": format!("sha256:{config_digest}"), "size": config.len(),
        },
        "layers": [{
            "mediaType": "application/vnd.ollama.image.model",
            "digest": format!("sha256:{weights}"), "size": fs::metadata(&setting.model)?.len(),
        }],
    }))?;
    fs::write(folder.join(MANIFESTS).join(name).join(tag), manifest)?;
    Ok(())
}

fn take_line(line: &[u8], side: &mut Side, began: Instant) -> Result<(), Failure> {
    let chunk: Value = serde_json::from_slice(line)?;
    if let Some(error) = chunk["error"].as_str() {
        return Err(format!("Ollama says {error}").into());
    }
    let text = chunk["message"]["content"].as_str().unwrap_or_default();
    side.read(text, began.elapsed());
    if chunk["done"] == true {
        let count = |name: &str| {
            chunk[name].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
        };
        side.tokens = count("eval_count");
        side.prompt_tokens = count("prompt_eval_count");
        side.cached_tokens = count("prompt_eval_cached_count");
        let prompt_ns = chunk["prompt_eval_duration"].as_f64().unwrap_or_default();
        side.prompt_ms = prompt_ns / 1_000_000.0;
    }
    Ok(())
}

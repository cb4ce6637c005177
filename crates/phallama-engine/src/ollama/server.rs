//! Ollama's own API, as far as the engine asks it by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::store::digest_of_name;
use crate::address::{Address, check_loopback};
use crate::connection::{Exchange, NoAnswer, get, post};
use crate::ndjson::LineDecoder;
use crate::{EngineError, WorkerText};

/// How long it may take to say something that it knows.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A running Ollama.
#[derive(Debug, Clone)]
pub struct OllamaServer {
    address: SocketAddr,
    at: Address,
}

/// A model that it has, from `/api/tags`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OllamaModel {
    /// Its name.
    pub name: String,
    /// SHA-256 of its manifest, hex: another one when anything about the model has changed.
    pub digest: String,
    /// Bytes of all its files.
    #[serde(default)]
    pub size: u64,
}

/// A model that it has in memory, from `/api/ps`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoadedModel {
    /// Its name.
    pub name: String,
    /// Bytes that it takes.
    #[serde(default)]
    pub size: u64,
    /// Context of one request, tokens.
    #[serde(default)]
    pub context_length: u32,
}

/// What it says of one model, from `/api/show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownModel {
    /// SHA-256 of the weights, by the name of their file.
    pub weights_sha256: [u8; 32],
    /// That file.
    pub weights_path: PathBuf,
    /// SHA-256 of each projector.
    pub projectors_sha256: Vec<[u8; 32]>,
    /// Whether it adds to the weights: an adapter, or a draft model.
    pub has_additions: bool,
    /// Such as `completion`, `tools`, `thinking`, `vision`, `insert`, `embedding`.
    pub capabilities: Vec<String>,
}

/// How far fetching a model is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct PullProgress {
    /// What it is doing.
    #[serde(default)]
    pub status: String,
    /// Bytes of the file that it is fetching; zero when it fetches none.
    #[serde(default)]
    pub total: u64,
    /// Of those, bytes that it has.
    #[serde(default)]
    pub completed: u64,
}

#[derive(Deserialize)]
struct Models<T> {
    models: Vec<T>,
}

impl OllamaServer {
    /// The one at this address of this machine.
    ///
    /// # Errors
    /// [`EngineError::BackendUrl`].
    pub fn at(address: SocketAddr) -> Result<Self, EngineError> {
        check_loopback(address)?;
        Ok(Self { address, at: Address::Tcp(address) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The models that it has.
    ///
    /// # Errors
    /// [`EngineError::Protocol`].
    pub async fn models(&self) -> Result<Vec<OllamaModel>, EngineError> {
        self.list("/api/tags").await
    }

    /// The models that are in its memory.
    ///
    /// # Errors
    /// [`EngineError::Protocol`].
    pub async fn loaded(&self) -> Result<Vec<LoadedModel>, EngineError> {
        self.list("/api/ps").await
    }

    /// Its version; `None` when it does not say.
    pub async fn version(&self) -> Option<String> {
        let body =
            tokio::time::timeout(ANSWER_TIMEOUT, get(&self.at, "/api/version")).await.ok()?;
        let answer: Value = serde_json::from_slice(&body?).ok()?;
        Some(answer["version"].as_str()?.chars().filter(|c| !c.is_control()).take(80).collect())
    }

    /// What it says of a model.
    ///
    /// # Errors
    /// [`EngineError::WorkerRefused`], [`EngineError::Protocol`].
    pub async fn show(&self, model: &str) -> Result<ShownModel, EngineError> {
        let answer = self.ask("/api/show", &json!({ "model": model }), ANSWER_TIMEOUT).await?;
        let unreadable =
            EngineError::Protocol { what: "a description without its weights' digest" };
        shown(&answer).ok_or(unreadable)
    }

    /// Has it fetch a model from the registry that the name says.
    ///
    /// # Errors
    /// [`EngineError::BackendModel`] with what it says; [`EngineError::Stalled`] when it says
    /// nothing for `stall_timeout`; [`EngineError::Truncated`].
    pub async fn pull(
        &self,
        model: &str,
        stall_timeout: Duration,
        mut progress: impl FnMut(PullProgress),
    ) -> Result<(), EngineError> {
        let body = json!({ "model": model, "stream": true }).to_string().into_bytes();
        let mut exchange = self.begin("/api/pull", body, stall_timeout).await?;
        let mut decoder = LineDecoder::default();
        loop {
            let frame = tokio::time::timeout(stall_timeout, exchange.body.frame()).await;
            let bytes = match frame {
                Ok(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                Ok(None | Some(Err(_))) => {
                    return Err(EngineError::Truncated { completion_tokens: 0 });
                }
                Err(_) => return Err(EngineError::Stalled { after: stall_timeout }),
            };
            decoder.feed(&bytes)?;
            while let Some(line) = decoder.next_line() {
                if self.take_pull_line(model, &line, &mut progress)? {
                    return Ok(());
                }
            }
        }
    }

    /// Says whether the model is there with this line.
    fn take_pull_line(
        &self,
        model: &str,
        line: &str,
        progress: &mut impl FnMut(PullProgress),
    ) -> Result<bool, EngineError> {
        let what = "a line that is not one of Ollama's";
        let line: Value = serde_json::from_str(line).map_err(|_| EngineError::Protocol { what })?;
        if let Some(error) = line.get("error") {
            return Err(self.cannot_serve(model, &said(error)));
        }
        let step: PullProgress =
            serde_json::from_value(line).map_err(|_| EngineError::Protocol { what })?;
        let is_there = step.status == "success";
        progress(step);
        Ok(is_there)
    }

    /// Has it unload a model. Whether it does is its business.
    pub(crate) async fn unload(&self, model: &str) {
        let body = json!({ "model": model, "keep_alive": 0, "stream": false });
        if let Err(error) = self.ask("/api/generate", &body, Duration::from_secs(2)).await {
            tracing::info!(%error, "the server was not told to unload the model");
        }
    }

    pub(super) fn cannot_serve(&self, model: &str, problem: &str) -> EngineError {
        EngineError::BackendModel {
            address: self.address,
            model: model.to_owned(),
            problem: problem.to_owned(),
        }
    }

    /// The whole answer to a POST.
    pub(super) async fn ask(
        &self,
        path: &'static str,
        body: &Value,
        timeout: Duration,
    ) -> Result<Value, EngineError> {
        let body = body.to_string().into_bytes();
        let answer = async {
            let exchange = self.begin(path, body, timeout).await?;
            let body = exchange.whole_body().await;
            body.ok_or(EngineError::Truncated { completion_tokens: 0 })
        };
        let answer = tokio::time::timeout(timeout, answer).await;
        let answer = answer.map_err(|_| EngineError::Stalled { after: timeout })??;
        let what = "an answer that is not JSON";
        serde_json::from_slice(&answer).map_err(|_| EngineError::Protocol { what })
    }

    async fn begin(
        &self,
        path: &'static str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Exchange, EngineError> {
        let begun = tokio::time::timeout(timeout, post(&self.at, path, body)).await;
        match begun {
            Err(_) => Err(EngineError::Stalled { after: timeout }),
            Ok(Err(NoAnswer)) => Err(EngineError::Truncated { completion_tokens: 0 }),
            Ok(Ok(exchange)) if exchange.status == 200 => Ok(exchange),
            Ok(Ok(exchange)) => {
                let status = exchange.status;
                let body = tokio::time::timeout(timeout, exchange.error_body()).await;
                let message = WorkerText::new(text_of_error(&body.unwrap_or_default()));
                Err(EngineError::WorkerRefused { status, message })
            }
        }
    }

    async fn list<T: serde::de::DeserializeOwned>(
        &self,
        path: &'static str,
    ) -> Result<Vec<T>, EngineError> {
        let body = tokio::time::timeout(ANSWER_TIMEOUT, get(&self.at, path)).await;
        let unreadable = EngineError::Protocol { what: "a list of models that cannot be read" };
        let Ok(Some(body)) = body else { return Err(unreadable) };
        let list: Models<T> = serde_json::from_slice(&body).map_err(|_| unreadable)?;
        Ok(list.models)
    }
}

/// The message of an error answer.
fn text_of_error(body: &Bytes) -> String {
    let parsed: Option<Value> = serde_json::from_slice(body).ok();
    match parsed.as_ref().and_then(|value| value.get("error")) {
        Some(error) => said(error),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}

fn said(error: &Value) -> String {
    error.as_str().map_or_else(|| error.to_string(), str::to_owned)
}

/// Reads `/api/show`. Only the first lines of the model file are looked at: those behind them hold
/// texts that come with the model and may say anything.
pub(crate) fn shown(answer: &Value) -> Option<ShownModel> {
    let lines = answer["modelfile"].as_str()?.lines();
    let mut files = lines
        .skip_while(|line| line.trim().is_empty() || line.starts_with('#'))
        .map_while(|line| line.split_once(' '))
        .take_while(|(word, _)| ["FROM", "ADAPTER", "DRAFT"].contains(word));
    let (_, first) = files.next().filter(|(word, _)| *word == "FROM")?;
    let digest = |path: &str| digest_of_name(path.trim().rsplit('/').next()?);
    let (mut projectors_sha256, mut has_additions) = (Vec::new(), false);
    for (word, path) in files {
        match word {
            "FROM" => projectors_sha256.push(digest(path)?),
            _ => has_additions = true,
        }
    }
    let words = answer["capabilities"].as_array().map(Vec::as_slice).unwrap_or_default();
    Some(ShownModel {
        weights_sha256: digest(first)?,
        weights_path: first.trim().into(),
        projectors_sha256,
        has_additions,
        capabilities: words.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(modelfile: &str) -> Option<ShownModel> {
        shown(&json!({ "modelfile": modelfile, "capabilities": ["completion", "tools", 1] }))
    }

    #[test]
    fn weights_are_the_first_file_and_texts_of_the_model_are_none() {
        let (weights, other) = ("ab".repeat(32), "cd".repeat(32));
        let model = read(&format!(
            "# Modelfile generated by \"ollama show\"\n# FROM smollm2:135m\n\n\
             FROM /m/blobs/sha256-{weights}\nTEMPLATE \"\"\"\nFROM /m/blobs/sha256-{other}\n\
             ADAPTER /m/blobs/sha256-{other}\n\"\"\"\n"
        ))
        .unwrap();
        assert_eq!(model.weights_sha256, [0xAB; 32]);
        assert_eq!(model.weights_path.to_str(), Some(&*format!("/m/blobs/sha256-{weights}")));
        assert!(model.projectors_sha256.is_empty() && !model.has_additions);
        assert_eq!(model.capabilities, ["completion", "tools"]);
    }

    #[test]
    fn projectors_and_additions_are_seen() {
        let (weights, other) = ("ab".repeat(32), "cd".repeat(32));
        let model = read(&format!(
            "FROM /m/sha256-{weights}\nADAPTER /m/sha256-{other}\nFROM /m/sha256-{other}\n"
        ))
        .unwrap();
        assert_eq!(
            (model.projectors_sha256.as_slice(), model.has_additions),
            (&[[0xCD; 32]][..], true)
        );
        assert!(read(&format!("FROM /m/sha256-{weights}\nDRAFT /x\n")).unwrap().has_additions);
    }

    #[test]
    fn a_model_without_a_file_by_digest_is_not_read() {
        for modelfile in ["", "# FROM x", "FROM smollm2:135m", "TEMPLATE x", "ADAPTER /sha256-00"] {
            assert_eq!(read(modelfile), None, "{modelfile}");
        }
    }
}

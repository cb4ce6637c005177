//! What computes in llama-server's place, as the configuration says it and as evidence binds it.

use std::path::{Path, PathBuf};

use phallama_engine::{Backend, EngineError, OllamaBackend, OllamaPlace, loopback_address};
use serde::{Deserialize, Serialize};

/// What computes; without it, llama-server does.
///
/// Prompts go to it over TCP, so it is allowed only where the TEE's boundary is the whole machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackendConfig {
    /// A real Ollama.
    Ollama(OllamaConfig),
    /// A server with OpenAI's API that runs already.
    #[serde(rename = "openai")]
    OpenAi(OpenAiConfig),
}

/// A real Ollama: run by the enclave program from `worker.path`, or, with a URL, one that runs
/// already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OllamaConfig {
    /// Where one listens that runs already: `http://127.0.0.1:PORT`.
    #[serde(default)]
    pub url: Option<String>,
    /// Store of one that is run here; absent: one with the offered weights alone.
    #[serde(default)]
    pub models_dir: Option<PathBuf>,
    /// Have it fetch a model that it does not have. The digest must be the offered one all the
    /// same.
    #[serde(default)]
    pub pull: bool,
    /// Let what one account has asked speed up what another asks, who can tell.
    #[serde(default)]
    pub danger_share_cache: bool,
}

/// A server with OpenAI's API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub url: String,
}

impl BackendConfig {
    /// What it is called in messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Ollama(_) => "Ollama",
            Self::OpenAi(_) => "a server with OpenAI's API",
        }
    }

    /// Whether `worker.path` is the program of it.
    pub(crate) fn has_program(&self) -> bool {
        matches!(self, Self::Ollama(OllamaConfig { url: None, .. }))
    }

    /// As the engine takes it.
    ///
    /// # Errors
    /// [`EngineError::BackendUrl`].
    pub(crate) fn backend(&self) -> Result<Backend, EngineError> {
        Ok(match self {
            Self::Ollama(config) => {
                let place = match &config.url {
                    Some(url) => OllamaPlace::Running { address: loopback_address(url)? },
                    None => OllamaPlace::Supervised { models_dir: config.models_dir.clone() },
                };
                let (pull, danger_share_cache) = (config.pull, config.danger_share_cache);
                Backend::Ollama(OllamaBackend { place, pull, danger_share_cache })
            }
            Self::OpenAi(config) => Backend::OpenAi { address: loopback_address(&config.url)? },
        })
    }

    /// What to change, if the keys do not go together.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            Self::Ollama(OllamaConfig { url: Some(_), models_dir: Some(_), .. }) => {
                Some("`models_dir` is for an Ollama that is run here; one with a `url` has its own")
            }
            Self::Ollama(OllamaConfig { url: None, models_dir: None, pull: true, .. }) => {
                Some("`pull` needs a `models_dir` or a `url`: the store made here has the weights")
            }
            Self::Ollama(_) | Self::OpenAi(_) => None,
        }
    }

    /// What evidence binds of it, as spec/wire.md writes it.
    pub(crate) fn policy_args(&self) -> Vec<String> {
        match self {
            Self::Ollama(config) => {
                let place = config.url.as_deref().unwrap_or("supervised");
                let shared = if config.danger_share_cache { " shared-cache" } else { "" };
                vec![format!("backend ollama {place}{shared}")]
            }
            Self::OpenAi(config) => vec![format!("backend openai {}", config.url)],
        }
    }

    /// The llama-server that an Ollama run here starts: where that one looks for it.
    pub(crate) fn second_program(&self, ollama: &Path) -> Option<PathBuf> {
        if !self.has_program() {
            return None;
        }
        let ollama = ollama.canonicalize().unwrap_or_else(|_| ollama.to_owned());
        let dir = ollama.parent()?;
        let installed =
            ["../lib/ollama", "lib/ollama"].map(|lib| dir.join(lib).join("llama-server"));
        let found = installed.into_iter().find(|path| path.exists());
        Some(found.unwrap_or_else(|| dir.join("llama-server")))
    }
}

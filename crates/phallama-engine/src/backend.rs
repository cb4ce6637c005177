use std::net::SocketAddr;
use std::path::PathBuf;

use crate::EngineError;
use crate::address::check_loopback;

/// What computes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Backend {
    /// llama-server over a UNIX socket. The program is [`EngineConfig::worker`].
    ///
    /// [`EngineConfig::worker`]: crate::EngineConfig::worker
    #[default]
    LlamaServer,
    /// A real Ollama over TCP.
    Ollama(OllamaBackend),
    /// A server over TCP that speaks OpenAI's API as vLLM does. It runs already, and is asked for
    /// the model by the name under which it is offered.
    OpenAi {
        /// Where it listens; a loopback address.
        address: SocketAddr,
    },
}

/// A real Ollama.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OllamaBackend {
    /// Whose process it is.
    pub place: OllamaPlace,
    /// Have it fetch a model that it does not have from the registry that the name says.
    pub pull: bool,
    /// Let prompts of one account speed up those of another, who can tell. Without it one request
    /// is computed at a time, what one account has left is overwritten before the next one's
    /// turn, and a server that still knows it is refused.
    pub danger_share_cache: bool,
}

/// Whose process an Ollama is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OllamaPlace {
    /// The engine runs [`EngineConfig::worker`](crate::EngineConfig::worker).
    Supervised {
        /// A store with the model under its offered name; `None`: one of the engine's own, with the
        /// weight file alone in it.
        models_dir: Option<PathBuf>,
    },
    /// It runs already, and has the model under its offered name.
    Running {
        /// Where it listens; a loopback address.
        address: SocketAddr,
    },
}

impl Backend {
    /// What it is called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LlamaServer => "llama-server",
            Self::Ollama(_) => "Ollama",
            Self::OpenAi { .. } => "a server with OpenAI's API",
        }
    }

    /// Whether prompts go to it over TCP. Under SGX that is outside of the enclave.
    pub fn is_over_tcp(&self) -> bool {
        !matches!(self, Self::LlamaServer)
    }

    /// Whether the engine runs it.
    pub fn is_supervised(&self) -> bool {
        match self {
            Self::LlamaServer => true,
            Self::Ollama(ollama) => matches!(ollama.place, OllamaPlace::Supervised { .. }),
            Self::OpenAi { .. } => false,
        }
    }

    /// What a server that is well answers with 200.
    pub(crate) fn health_path(&self) -> &'static str {
        match self {
            Self::LlamaServer => "/health",
            Self::Ollama(_) => "/api/version",
            Self::OpenAi { .. } => "/v1/models",
        }
    }

    /// Whether what it says of cached tokens is about the asking account alone.
    pub(crate) fn tells_own_cache(&self) -> bool {
        match self {
            Self::LlamaServer => true,
            Self::Ollama(ollama) => !ollama.danger_share_cache,
            Self::OpenAi { .. } => false,
        }
    }

    /// Checks that it is on this machine.
    ///
    /// # Errors
    /// [`EngineError::BackendUrl`].
    pub(crate) fn check(&self) -> Result<(), EngineError> {
        match self {
            Self::OpenAi { address }
            | Self::Ollama(OllamaBackend { place: OllamaPlace::Running { address }, .. }) => {
                check_loopback(*address)
            }
            Self::LlamaServer | Self::Ollama(_) => Ok(()),
        }
    }
}

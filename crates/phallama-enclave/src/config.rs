//! The configuration file: JSON, every key known, everything the measured program is told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::offers::Offer;
use serde::{Deserialize, Serialize};

use crate::policy::PolicyConfig;

/// Largest configuration file that is read, bytes.
pub const CONFIG_MAX_BYTES: u64 = 64 * 1024;

/// What `phallama-enclave --config FILE` reads.
///
/// ```json
/// {
///   "chain_id": 31337, "registry": "0x…", "escrow": "0x…", "pod_id": "0x…",
///   "link_socket": "/run/phallama/enclave.sock",
///   "models": [{
///     "model": "smollm2:135m", "model_path": "/models/smollm2.gguf", "weights_sha256": "0x…",
///     "input_price_per_mtok": "100000", "output_price_per_mtok": "300000",
///     "context_tokens": 4096, "max_output_tokens": 1024
///   }],
///   "worker": { "path": "/opt/llama-server", "args": [], "socket_dir": "/run/phallama/worker",
///               "slots": 4, "threads": 2, "queue_max": 32 },
///   "tee": { "simulated": { "platform_seed": "machine 1" } },
///   "danger_accept_simulated_tee": true,
///   "policy": { "classes": ["std", "fast", "bulk", "unpaced"], "body_max_bytes": 1048576 }
/// }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// EIP-155 id of the chain with the registry and the escrow.
    pub chain_id: u64,
    /// The `PodRegistry` contract.
    pub registry: Address,
    /// The `Escrow` contract.
    pub escrow: Address,
    /// The pod that this enclave serves as.
    pub pod_id: PodId,
    /// Path of the UNIX socket for the host; a stale socket there is replaced.
    pub link_socket: PathBuf,
    /// The offers, in the order stored on chain, each with its weight file. One to eight.
    pub models: Vec<ModelConfig>,
    /// How the models are computed.
    pub worker: WorkerConfig,
    /// Where evidence comes from.
    pub tee: TeeConfig,
    /// Must be true for `tee.simulated`, and for nothing else.
    #[serde(default)]
    pub danger_accept_simulated_tee: bool,
    /// What the enclave accepts; bound into the evidence.
    #[serde(default)]
    pub policy: PolicyConfig,
}

/// One offer with its weight file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name of the model, as in the offer.
    pub model: String,
    /// The GGUF file. Any other file than the one named by `weights_sha256` is refused.
    pub model_path: PathBuf,
    /// SHA-256 of the GGUF file.
    pub weights_sha256: Digest32,
    /// Smallest token unit per 1,000,000 prompt tokens.
    pub input_price_per_mtok: Amount,
    /// Smallest token unit per 1,000,000 completion tokens.
    pub output_price_per_mtok: Amount,
    /// Longest prompt and completion together, tokens.
    pub context_tokens: u32,
    /// Longest completion, tokens.
    pub max_output_tokens: u32,
}

/// The worker process of each model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// The llama-server program. Its SHA-256 is part of the policy digest.
    pub path: PathBuf,
    /// Further arguments. Part of the policy digest.
    #[serde(default)]
    pub args: Vec<String>,
    /// Private directory for the workers' sockets.
    pub socket_dir: PathBuf,
    /// Requests computed at once, per model.
    #[serde(default = "default_slots")]
    pub slots: u32,
    /// Computing threads per worker; absent: every core.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Requests that may wait for a slot, per model.
    #[serde(default = "default_queue_max")]
    pub queue_max: usize,
}

/// Where evidence comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TeeConfig {
    /// Software quotes under the development root. They prove nothing about this machine.
    Simulated(SimulatedConfig),
    /// SGX through Gramine's attestation files.
    Gramine(GramineConfig),
}

/// The simulated machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedConfig {
    /// The machine's keys and identity follow from this text.
    pub platform_seed: String,
}

/// Gramine's files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GramineConfig {
    /// Directory of `user_report_data` and `quote`.
    #[serde(default = "default_attestation_dir")]
    pub attestation_dir: PathBuf,
    /// JSON of the collateral that goes with quotes of this machine. The host provides and renews
    /// it: whoever verifies the evidence also verifies the collateral.
    #[serde(default = "default_collateral_path")]
    pub collateral_path: PathBuf,
}

fn default_slots() -> u32 {
    2
}

fn default_queue_max() -> usize {
    32
}

fn default_attestation_dir() -> PathBuf {
    PathBuf::from("/dev/attestation")
}

fn default_collateral_path() -> PathBuf {
    PathBuf::from("/etc/phallama/collateral.json")
}

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Larger than [`CONFIG_MAX_BYTES`].
    #[error("configuration {path} has {got} bytes, more than the limit of {max}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        got: u64,
        /// [`CONFIG_MAX_BYTES`].
        max: u64,
    },
    /// Not the document of [`Config`]; names the key, line and column.
    #[error("configuration {path}: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A simulated TEE without the words for it, or the words without it.
    #[error(
        "`danger_accept_simulated_tee` is {accepted}, but the TEE is {}; \
         set both or neither: simulated evidence proves nothing about the machine",
        if *simulated { "simulated" } else { "real" }
    )]
    SimulatedTee {
        /// Whether `tee` names the simulated platform.
        simulated: bool,
        /// The value of `danger_accept_simulated_tee`.
        accepted: bool,
    },
    /// No model, or too many.
    #[error("`models` has {got} entries; list 1 to {max}")]
    ModelCount {
        /// Entries found.
        got: usize,
        /// Entries allowed.
        max: usize,
    },
    /// An offer that nobody could use.
    #[error("model `{model}`: {problem}")]
    Offer {
        /// The model.
        model: String,
        /// What to change.
        problem: String,
    },
    /// A policy that cannot be kept.
    #[error("`policy`: {0}")]
    Policy(String),
}

/// Most models of one enclave.
const MODELS_MAX: usize = 8;

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ConfigError`], with the key that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
        let got = fs::metadata(path).map_err(unreadable)?.len();
        if got > CONFIG_MAX_BYTES {
            return Err(ConfigError::TooLarge {
                path: path.to_owned(),
                got,
                max: CONFIG_MAX_BYTES,
            });
        }
        let json = fs::read(path).map_err(unreadable)?;
        let config: Self = serde_json::from_slice(&json)
            .map_err(|source| ConfigError::Malformed { path: path.to_owned(), source })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// [`ConfigError`], with the key that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let simulated = matches!(self.tee, TeeConfig::Simulated(_));
        if simulated != self.danger_accept_simulated_tee {
            let accepted = self.danger_accept_simulated_tee;
            return Err(ConfigError::SimulatedTee { simulated, accepted });
        }
        if self.models.is_empty() || self.models.len() > MODELS_MAX {
            return Err(ConfigError::ModelCount { got: self.models.len(), max: MODELS_MAX });
        }
        for (index, model) in self.models.iter().enumerate() {
            let listed_before = self.models[..index].iter().any(|other| other.model == model.model);
            model.check(listed_before)?;
        }
        self.policy.check().map_err(ConfigError::Policy)
    }

    /// The offers in the order of the configuration, which must be that on chain.
    pub fn offers(&self) -> Vec<Offer> {
        self.models.iter().map(ModelConfig::offer).collect()
    }
}

impl ModelConfig {
    /// The offer without the file.
    pub fn offer(&self) -> Offer {
        Offer {
            model: self.model.clone(),
            weights_sha256: self.weights_sha256,
            input_price_per_mtok: self.input_price_per_mtok,
            output_price_per_mtok: self.output_price_per_mtok,
            context_tokens: self.context_tokens,
            max_output_tokens: self.max_output_tokens,
        }
    }

    fn check(&self, listed_before: bool) -> Result<(), ConfigError> {
        let problem = |problem: String| ConfigError::Offer { model: self.model.clone(), problem };
        phallama_protocol::offers::check_model_name(&self.model)
            .map_err(|error| problem(error.to_string()))?;
        if listed_before {
            return Err(problem("it is listed twice; list each model once".to_owned()));
        }
        if self.max_output_tokens == 0 || self.max_output_tokens > self.context_tokens {
            return Err(problem(format!(
                "max_output_tokens is {}, expected 1 to context_tokens = {}",
                self.max_output_tokens, self.context_tokens
            )));
        }
        Ok(())
    }
}

//! The configuration file: JSON, every key known, everything the measured program is told.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use phallama_engine::{CompanionFile, Pooling, Serves};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::offers::Offer;
use serde::{Deserialize, Serialize};

use crate::backend::BackendConfig;
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
    /// The multimodal projector, for a model that takes images. Part of the policy digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projector: Option<FileConfig>,
    /// A small model that guesses ahead (speculative decoding). Part of the policy digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<FileConfig>,
    /// Offers the model for embeddings, and for nothing else: a model that is to do both is listed
    /// twice, under two names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<EmbeddingsConfig>,
    /// When it is loaded. Its file is checked at the start in any case.
    #[serde(default)]
    pub load: LoadConfig,
    /// How long it stays loaded without a request, seconds; absent: until another model needs the
    /// memory.
    #[serde(default)]
    pub keep_alive_s: Option<u64>,
}

/// When a model is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadConfig {
    /// Before the enclave is ready.
    #[default]
    Start,
    /// By its first request.
    Request,
}

/// A file that the worker reads beside the weights.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The GGUF file.
    pub path: PathBuf,
    /// Its SHA-256. Any other file is refused.
    pub sha256: Digest32,
}

/// How a model makes embeddings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingsConfig {
    /// How the vectors of all tokens become one; absent: as the model's file says. Part of the
    /// policy digest.
    #[serde(default)]
    pub pooling: Option<PoolingConfig>,
}

/// How the vectors of all tokens become one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolingConfig {
    /// Their mean.
    Mean,
    /// The first one.
    Cls,
    /// The last one.
    Last,
}

impl PoolingConfig {
    fn pooling(self) -> Pooling {
        match self {
            Self::Mean => Pooling::Mean,
            Self::Cls => Pooling::Cls,
            Self::Last => Pooling::Last,
        }
    }
}

/// The worker process of each model.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// The llama-server program, or Ollama where that is the backend. Its SHA-256 is part of the
    /// policy digest. Absent for a backend that runs already.
    #[serde(default)]
    pub path: PathBuf,
    /// What computes instead of llama-server. Part of the policy digest.
    #[serde(default)]
    pub backend: Option<BackendConfig>,
    /// Further arguments. Part of the policy digest.
    #[serde(default)]
    pub args: Vec<String>,
    /// Private directory for the workers' sockets.
    pub socket_dir: PathBuf,
    /// Requests computed at once, per model.
    #[serde(default = "default_slots")]
    pub slots: u32,
    /// Computing threads per worker; absent: one for each core, one less where there are many.
    #[serde(default)]
    pub threads: Option<u32>,
    /// Requests that may wait for a slot, per model.
    #[serde(default = "default_queue_max")]
    pub queue_max: usize,
    /// Memory for the weights and caches of all models, bytes; absent: nine tenths of the
    /// machine's.
    #[serde(default)]
    pub memory_budget_bytes: Option<u64>,
    /// How long a worker may compute without a sign of life, seconds; absent: 30, and 120 for a
    /// `backend`, which says nothing while it computes a prompt. More is needed only where
    /// computing `batch_tokens` of a prompt, or all of it, takes longer.
    #[serde(default)]
    pub stall_timeout_s: Option<u64>,
    /// How long a worker may take to load its model, seconds; absent: 300.
    #[serde(default)]
    pub start_timeout_s: Option<u64>,
    /// Tokens of a prompt that are computed at a time; absent: 128.
    #[serde(default)]
    pub batch_tokens: Option<u32>,
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
    /// A backend that prompts would leave the enclave for.
    #[error(
        "`worker.backend` is {backend}, which is reached over TCP: under SGX that is outside of the \
         enclave, prompts would go there in the clear, and the measurement would not cover what \
         computes. Use llama-server, whose socket Gramine encrypts, or a machine whose TEE is the \
         whole machine (TDX)"
    )]
    BackendOutside {
        /// What it is called.
        backend: &'static str,
    },
    /// A backend that cannot be used as it is described.
    #[error("`worker`: {0}")]
    Backend(String),
    /// A worker argument that is not the operator's to set.
    #[error("`worker.args`: {0}")]
    WorkerArgs(#[source] phallama_engine::EngineError),
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
        phallama_engine::check_extra_args(&self.worker.args).map_err(ConfigError::WorkerArgs)?;
        self.check_backend()?;
        self.policy.check().map_err(ConfigError::Policy)
    }

    fn check_backend(&self) -> Result<(), ConfigError> {
        let wrong = |problem: &str| Err(ConfigError::Backend(problem.to_owned()));
        let has_path = !self.worker.path.as_os_str().is_empty();
        let Some(backend) = &self.worker.backend else {
            return if has_path { Ok(()) } else { wrong("`path` of llama-server is missing") };
        };
        match self.tee {
            TeeConfig::Gramine(_) => {
                return Err(ConfigError::BackendOutside { backend: backend.name() });
            }
            TeeConfig::Simulated(_) => {}
        }
        if backend.has_program() != has_path {
            return wrong("`path` is for a backend that is run here, and `url` for one that runs");
        }
        if !self.worker.args.is_empty() {
            return wrong("`args` are llama-server's; a backend takes none");
        }
        if let Some(problem) = backend.problem() {
            return wrong(problem);
        }
        backend.backend().map(drop).map_err(|error| ConfigError::Backend(error.to_string()))
    }

    /// What makes workers see and do what they do: their arguments, what computes instead of
    /// llama-server, and what each model adds to its own worker's.
    pub(crate) fn policy_args(&self) -> Vec<String> {
        let backend = self.worker.backend.iter().flat_map(BackendConfig::policy_args);
        let models = self.models.iter().flat_map(ModelConfig::policy_args);
        self.worker.args.iter().cloned().chain(backend).chain(models).collect()
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

    /// What the model's worker is for.
    pub(crate) fn serves(&self) -> Serves {
        let file =
            |file: &FileConfig| CompanionFile { path: file.path.clone(), sha256: file.sha256.0 };
        match &self.embeddings {
            Some(embeddings) => {
                let pooling = embeddings.pooling.map(PoolingConfig::pooling);
                Serves::Embeddings { pooling }
            }
            None => Serves::Answers {
                projector: self.projector.as_ref().map(file),
                draft: self.draft.as_ref().map(file),
            },
        }
    }

    /// One entry for each thing beyond the offer, as spec/wire.md writes it.
    fn policy_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut say = |what: String| args.push(format!("{} {what}", self.model));
        if let Some(file) = &self.projector {
            say(format!("projector {}", file.sha256));
        }
        if let Some(file) = &self.draft {
            say(format!("draft {}", file.sha256));
        }
        if let Some(embeddings) = &self.embeddings {
            let pooling = embeddings.pooling.map_or("model", |pooling| pooling.pooling().as_str());
            say(format!("embeddings {pooling}"));
        }
        args
    }

    fn check(&self, listed_before: bool) -> Result<(), ConfigError> {
        let problem = |problem: String| ConfigError::Offer { model: self.model.clone(), problem };
        phallama_protocol::offers::check_model_name(&self.model)
            .map_err(|error| problem(error.to_string()))?;
        if listed_before {
            return Err(problem("it is listed twice; list each model once".to_owned()));
        }
        if self.embeddings.is_some() && (self.projector.is_some() || self.draft.is_some()) {
            let why = "`embeddings` goes with neither `projector` nor `draft`; list it twice";
            return Err(problem(why.to_owned()));
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn valid() -> Value {
        json!({
            "chain_id": 31337,
            "registry": format!("0x{}", "11".repeat(20)),
            "escrow": format!("0x{}", "22".repeat(20)),
            "pod_id": format!("0x{}", "33".repeat(32)),
            "link_socket": "/run/phallama/enclave.sock",
            "models": [{
                "model": "smollm2:135m",
                "model_path": "/models/smollm2.gguf",
                "weights_sha256": format!("0x{}", "44".repeat(32)),
                "input_price_per_mtok": "100000",
                "output_price_per_mtok": "300000",
                "context_tokens": 4096,
                "max_output_tokens": 1024,
            }],
            "worker": { "path": "/opt/llama-server", "socket_dir": "/run/phallama/worker" },
            "tee": { "gramine": {} },
        })
    }

    /// What is said about [`valid`] after `change`.
    fn check(change: impl FnOnce(&mut Value)) -> Result<Config, ConfigError> {
        let mut json = valid();
        change(&mut json);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, serde_json::to_vec(&json).unwrap()).unwrap();
        Config::read(&path)
    }

    fn message(change: impl FnOnce(&mut Value)) -> String {
        check(change).unwrap_err().to_string()
    }

    #[test]
    fn fills_in_what_has_a_default() {
        let config = check(|_| ()).unwrap();
        assert_eq!((config.worker.slots, config.worker.queue_max), (2, 32));
        assert!(!config.danger_accept_simulated_tee);
        let TeeConfig::Gramine(gramine) = config.tee else { panic!("{:?}", config.tee) };
        assert_eq!(gramine.attestation_dir, Path::new("/dev/attestation"));
    }

    #[test]
    fn names_an_unknown_key() {
        let text = message(|json| json["worker"]["slot"] = json!(1));
        assert!(text.contains("unknown field `slot`"), "{text}");
    }

    #[test]
    fn refuses_worker_arguments_that_override_its_own() {
        let text = message(|json| json["worker"]["args"] = json!(["--host", "0.0.0.0"]));
        assert!(text.starts_with("`worker.args`: worker argument `--host` is refused"), "{text}");
        check(|json| json["worker"]["args"] = json!(["--prio", "2"])).unwrap();
    }

    #[test]
    fn refuses_a_simulated_tee_without_the_words_for_it() {
        let simulated = json!({ "simulated": { "platform_seed": "machine 1" } });
        let text = message(|json| json["tee"] = simulated.clone());
        assert!(text.starts_with("`danger_accept_simulated_tee` is false"), "{text}");
        let config = check(|json| {
            json["tee"] = simulated;
            json["danger_accept_simulated_tee"] = json!(true);
        });
        assert!(config.unwrap().danger_accept_simulated_tee);
    }

    #[test]
    fn refuses_the_words_for_a_simulated_tee_beside_a_real_one() {
        let text = message(|json| json["danger_accept_simulated_tee"] = json!(true));
        assert!(text.contains("but the TEE is real"), "{text}");
    }

    #[test]
    fn refuses_no_models_and_doubled_models() {
        assert!(message(|json| json["models"] = json!([])).contains("list 1 to 8"));
        let twice = message(|json| {
            let model = json["models"][0].clone();
            json["models"].as_array_mut().unwrap().push(model);
        });
        assert!(twice.contains("listed twice"), "{twice}");
    }

    #[test]
    fn refuses_more_output_than_context() {
        let text = message(|json| json["models"][0]["max_output_tokens"] = json!(4097));
        assert!(text.contains("max_output_tokens is 4097, expected 1 to"), "{text}");
    }

    #[test]
    fn what_a_model_adds_to_its_worker_is_part_of_the_policy() {
        let file = json!({ "path": "/models/x.gguf", "sha256": format!("0x{}", "55".repeat(32)) });
        let config = check(|json| {
            json["worker"]["args"] = json!(["--prio", "2"]);
            json["models"][0]["projector"] = file.clone();
            json["models"][0]["draft"] = file.clone();
            let mut second = json["models"][0].clone();
            second["model"] = json!("vectors");
            second.as_object_mut().unwrap().retain(|key, _| key != "projector" && key != "draft");
            second["embeddings"] = json!({ "pooling": "mean" });
            json["models"].as_array_mut().unwrap().push(second);
        })
        .unwrap();
        let digest = format!("0x{}", "55".repeat(32));
        let expected = [
            "--prio".to_owned(),
            "2".to_owned(),
            format!("smollm2:135m projector {digest}"),
            format!("smollm2:135m draft {digest}"),
            "vectors embeddings mean".to_owned(),
        ];
        assert_eq!(config.policy_args(), expected);
        let text = message(|json| {
            json["models"][0]["draft"] = file.clone();
            json["models"][0]["embeddings"] = json!({});
        });
        assert!(text.contains("`embeddings` goes with neither"), "{text}");
    }

    fn simulated(json: &mut Value) {
        json["tee"] = json!({ "simulated": { "platform_seed": "machine 1" } });
        json["danger_accept_simulated_tee"] = json!(true);
    }

    #[test]
    fn a_backend_over_tcp_is_refused_under_sgx_with_the_reason() {
        for backend in [
            json!({ "ollama": {} }),
            json!({ "ollama": { "url": "http://127.0.0.1:11434" } }),
            json!({ "openai": { "url": "http://127.0.0.1:8000" } }),
        ] {
            let text = message(|json| json["worker"]["backend"] = backend.clone());
            assert!(text.contains("over TCP: under SGX that is outside"), "{text}");
        }
        check(|json| {
            simulated(json);
            json["worker"]["backend"] = json!({ "ollama": {} });
        })
        .unwrap();
    }

    #[test]
    fn a_backend_s_keys_go_together_or_are_refused() {
        let run = json!({ "socket_dir": "/w" });
        for (worker, problem) in [
            (json!({ "backend": { "ollama": {} } }), "`path` is for a backend that is run here"),
            (json!({}), "`path` of llama-server is missing"),
            (
                json!({ "path": "/o", "backend": { "ollama": { "url": "http://127.0.0.1:1" } } }),
                "`path` is for a backend that is run here",
            ),
            (
                json!({ "backend": { "openai": { "url": "http://10.0.0.1:1" } } }),
                "not an address of this machine",
            ),
            (
                json!({ "path": "/o", "args": ["--prio", "2"], "backend": { "ollama": {} } }),
                "`args` are llama-server's",
            ),
            (
                json!({ "path": "/o", "backend": { "ollama": { "pull": true } } }),
                "`pull` needs a `models_dir`",
            ),
            (
                json!({ "backend": { "ollama": { "url": "http://127.0.0.1:1", "models_dir": "/m" } } }),
                "`models_dir` is for an Ollama that is run here",
            ),
        ] {
            let text = message(|json| {
                simulated(json);
                json["worker"] = run.clone();
                json["worker"].as_object_mut().unwrap().extend(worker.as_object().unwrap().clone());
            });
            assert!(text.contains(problem), "{text}");
        }
    }

    #[test]
    fn what_computes_is_part_of_the_policy() {
        let args = |backend: Value| {
            check(|json| {
                simulated(json);
                json["worker"] = json!({ "socket_dir": "/w", "backend": backend });
            })
            .unwrap()
            .policy_args()
        };
        let url = "http://127.0.0.1:1";
        assert_eq!(args(json!({ "openai": { "url": url } })), [format!("backend openai {url}")]);
        let shared = json!({ "ollama": { "url": url, "danger_share_cache": true } });
        assert_eq!(args(shared), [format!("backend ollama {url} shared-cache")]);
    }

    #[test]
    fn refuses_a_policy_that_cannot_be_kept() {
        let text = message(|json| json["policy"] = json!({ "classes": [] }));
        assert!(text.contains("`classes` is empty"), "{text}");
        let text = message(|json| json["policy"] = json!({ "body_max_bytes": 3_000_000 }));
        assert!(text.contains("expected 1 to 2000000"), "{text}");
    }

    #[test]
    fn refuses_a_file_above_the_limit() {
        let text = message(|json| json["link_socket"] = json!("x".repeat(70_000)));
        assert!(text.contains("more than the limit of 65536"), "{text}");
    }
}

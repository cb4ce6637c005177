//! What an operator decides: where the pod listens, what it sells, what it risks.

use std::net::SocketAddr;
use std::path::PathBuf;

use phallama_chain::ChainConfig;
use phallama_protocol::demand::Demand;
use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::keys::Signer;
use phallama_protocol::offers::Offer;
use serde::{Deserialize, Serialize};

use crate::admission::Limits;
use crate::settlement::Due;

/// Largest request on the wire: header, encapsulated key, the largest bucket and its chunk tags
/// (spec/wire.md, constants).
pub const SEALED_MAX_BYTES: usize = 16 + 1120 + 2_097_152 + 128 * 16;

/// A small request: a few sentences either way.
const SMALL_BODY_BYTES: u64 = 2_048;
const SMALL_MESSAGES: u64 = 4;
const SMALL_ANSWER_TOKENS: u32 = 1_024;

/// Everything that a pod is started from.
#[derive(Clone, Debug)]
pub struct PodConfig {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// URL that clients reach the pod at, as registered on chain. Absent: `http://` and the bound
    /// address.
    pub public_url: Option<String>,
    /// The chain and the deployment on it.
    pub chain: ChainConfig,
    /// The operator's account: owns the pod's record and pays gas.
    pub operator: Signer,
    /// Makes the pod id, together with the operator's address.
    pub salt: [u8; 32],
    /// Where `collect` pays the earnings to.
    pub payout: Address,
    /// Directory of the journal, the enclave's configuration and the sockets. Created when
    /// missing. Its path must be short enough for a UNIX socket (about 90 bytes).
    pub state_dir: PathBuf,
    /// The enclave program and what it is told.
    pub enclave: EnclaveSettings,
    /// Where collateral comes from.
    pub collateral: CollateralSettings,
    /// What the pod risks and when it acts.
    pub policy: Policy,
}

/// Where collateral comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CollateralSettings {
    /// Services that speak Intel's PCS API, version 4, in the order in which they are asked, e.g.
    /// `https://api.trustedservices.intel.com` or a PCCS. Empty: the collateral is what the enclave
    /// puts into its evidence.
    pub pccs: Vec<String>,
    /// How long one answer may take, in milliseconds; absent: 15 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl PodConfig {
    /// What the pod sells, in the order stored on chain.
    pub fn offers(&self) -> Vec<Offer> {
        self.enclave.models.iter().map(ModelSettings::offer).collect()
    }

    /// Most that may be at risk.
    pub fn limits(&self) -> Limits {
        self.policy.limits(&self.offers())
    }
}

impl Policy {
    /// When to settle.
    pub fn due(&self) -> Due {
        Due {
            min_value: self.settle_min_value,
            max_age_s: self.settle_max_age_s,
            value_per_cost: self.settle_value_per_cost,
            token_price_wei: self.token_price_wei.map(u128::from),
        }
    }

    /// Most that a pod with these offers may have at risk.
    pub fn limits(&self, offers: &[Offer]) -> Limits {
        let credit = self.credit_limit.unwrap_or_else(|| small_request(offers));
        Limits {
            credit,
            per_user: self.risk_per_user,
            total: self.risk_total,
            lock_min: self.lock_min,
        }
    }
}

/// What one small request reserves with the dearest of these offers.
fn small_request(offers: &[Offer]) -> Amount {
    let reserve = |offer: &Offer| {
        let max_tokens = SMALL_ANSWER_TOKENS.min(offer.max_output_tokens);
        let demand = Demand::of_chat(SMALL_BODY_BYTES, SMALL_MESSAGES, max_tokens);
        offer.reserve(&demand).unwrap_or(Amount::MAX)
    };
    offers.iter().map(reserve).max().unwrap_or_default()
}

/// The enclave program and the part of its configuration that the operator chooses.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnclaveSettings {
    /// The `phallama-enclave` program, or whatever starts it in its TEE.
    pub program: PathBuf,
    /// Arguments before `--config FILE`, for a launcher.
    #[serde(default)]
    pub program_args: Vec<String>,
    /// What is sold, each with its weight file.
    pub models: Vec<ModelSettings>,
    /// How it is computed.
    pub worker: WorkerSettings,
    /// Where evidence comes from.
    pub tee: TeeSettings,
    /// Must be true for [`TeeSettings::Simulated`].
    #[serde(default)]
    pub danger_accept_simulated_tee: bool,
    /// The enclave's own policy, bound into its evidence; absent: its default.
    #[serde(default)]
    pub policy: Option<serde_json::Value>,
}

/// One offer with its weight file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// Name of the model, as in the offer.
    pub model: String,
    /// The GGUF file.
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
    /// The multimodal projector, for a model that takes images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projector: Option<FileSettings>,
    /// A small model that guesses ahead (speculative decoding).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<FileSettings>,
    /// Offers the model for embeddings, and for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<EmbeddingsSettings>,
    /// When it is loaded; absent: before the pod is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadSettings>,
    /// How long it stays loaded without a request, seconds; absent: until another model needs the
    /// memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<u64>,
}

/// When a model is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadSettings {
    /// Before the pod is ready.
    Start,
    /// By its first request.
    Request,
}

/// A file that a worker reads beside the weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// The GGUF file.
    pub path: PathBuf,
    /// Its SHA-256.
    pub sha256: Digest32,
}

/// How a model makes embeddings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingsSettings {
    /// `mean`, `cls` or `last`; absent: as the model's file says. The enclave checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pooling: Option<String>,
}

impl ModelSettings {
    fn offer(&self) -> Offer {
        Offer {
            model: self.model.clone(),
            weights_sha256: self.weights_sha256,
            input_price_per_mtok: self.input_price_per_mtok,
            output_price_per_mtok: self.output_price_per_mtok,
            context_tokens: self.context_tokens,
            max_output_tokens: self.max_output_tokens,
        }
    }
}

/// The worker processes that the enclave starts. What is absent is the enclave's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerSettings {
    /// The llama-server program, or Ollama where that is the backend; empty for a backend that runs
    /// already.
    #[serde(default)]
    pub path: PathBuf,
    /// What computes instead of llama-server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendSettings>,
    /// Further arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Requests computed at once, per model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Computing threads per worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Requests that may wait for a slot, per model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_max: Option<usize>,
    /// Memory for the weights and caches of all models, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_budget_bytes: Option<u64>,
    /// How long a worker may compute without a sign of life, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_timeout_s: Option<u64>,
    /// How long a worker may take to load its model, seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_s: Option<u64>,
    /// Tokens of a prompt that are computed at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_tokens: Option<u32>,
}

/// What computes instead of llama-server. The enclave checks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackendSettings {
    /// A real Ollama: the program of `path`, or one that runs already.
    Ollama {
        /// Where it listens, if it runs already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// Store of one that the enclave runs; absent: one with the offered weights alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        models_dir: Option<PathBuf>,
        /// Have it fetch a model that it does not have.
        #[serde(default)]
        pull: bool,
        /// Let what one account has asked speed up what another asks, who can tell.
        #[serde(default)]
        danger_share_cache: bool,
    },
    /// A server with OpenAI's API that runs already.
    #[serde(rename = "openai")]
    OpenAi {
        /// Where it listens.
        url: String,
    },
}

/// Where evidence comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TeeSettings {
    /// Software quotes under the development root. They prove nothing about this machine.
    Simulated {
        /// The machine's keys and identity follow from this text.
        platform_seed: String,
    },
    /// SGX through Gramine's attestation files.
    Gramine {
        /// Directory of `user_report_data` and `quote`; absent: Gramine's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attestation_dir: Option<PathBuf>,
        /// JSON of the collateral that goes with quotes of this machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        collateral_path: Option<PathBuf>,
    },
}

/// What the pod risks, and when it acts. Every field has a default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Most that one user may owe beyond what is locked, while a lock is on its way. A block can
    /// take ten seconds; a first request within this limit does not wait for it. Absent: the
    /// reserve of one small request for the dearest model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credit_limit: Option<Amount>,
    /// Most that one user may owe against a lock that is mined, and that the chain may still take
    /// back.
    pub risk_per_user: Amount,
    /// Most that all users together may owe beyond what is locked for good. Whoever makes accounts
    /// to take credit with gets no more than this.
    pub risk_total: Amount,
    /// What an allocation has to add to what is locked, unless the user has little free money: the
    /// gas of a lock is the pod's, so this should be worth at least that much.
    pub lock_min: Amount,
    /// Most that all users together may reserve while the chain does not answer.
    pub risk_cap: Amount,
    /// The chain counts as not answering when its head was not read for this long, in seconds.
    pub chain_stale_s: u64,
    /// It also does when no new block came for this long, in seconds: several times what the chain
    /// needs for one. Absent on a chain that makes blocks only when there are transactions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_stale_s: Option<u64>,
    /// How often the chain's head is read, in milliseconds.
    pub poll_ms: u64,
    /// Settle when this much is unsettled in total, as long as `token_price_wei` is not set.
    pub settle_min_value: Amount,
    /// What 1,000,000 smallest units of the token are worth, in wei. Where it is set, claims are
    /// settled as soon as they are worth `settle_value_per_cost` times the gas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_price_wei: Option<u64>,
    /// See `token_price_wei`.
    pub settle_value_per_cost: u64,
    /// Have the credit paid to the payout address when it has reached this much. Absent: only
    /// when asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collect_min: Option<Amount>,
    /// Serve metrics at this address, which has to be a loopback one. Absent: not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// Settle when a claim has waited this long, in seconds.
    pub settle_max_age_s: u64,
    /// How long locks are gathered for one transaction, in milliseconds.
    pub lock_batch_ms: u64,
    /// How long a request waits for its lock to be mined, in milliseconds. The enclave waits 30 s
    /// for the whole answer.
    pub lock_wait_ms: u64,
    /// Largest request body, bytes; at most [`SEALED_MAX_BYTES`].
    pub body_max_bytes: usize,
    /// How long a client may take to send its request's headers, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a client may take to send its request's body, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long a client may not read its answer before the exchange is cancelled, in
    /// milliseconds.
    pub write_timeout_ms: u64,
    /// Most connections at a time; more wait to be accepted.
    pub connections_max: usize,
    /// How long open exchanges may go on after `drain`, in seconds.
    pub drain_s: u64,
    /// The key is attested again when the registry vouches for it for less than this, in seconds.
    /// It does so for 7 days at most.
    pub key_renew_s: u64,
    /// An attestation brings newer collateral where the contract's ends within this, in seconds.
    pub collateral_renew_s: u64,
    /// How long an enclave may take from its start until it can serve, in seconds: it hashes and
    /// loads its models.
    pub ready_timeout_s: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            credit_limit: None,
            risk_per_user: Amount::from(1_000_000),
            risk_total: Amount::from(20_000_000),
            lock_min: Amount::from(10_000),
            risk_cap: Amount::from(1_000_000),
            chain_stale_s: 60,
            block_stale_s: None,
            poll_ms: 1_000,
            settle_min_value: Amount::from(1_000_000),
            token_price_wei: None,
            settle_value_per_cost: 100,
            collect_min: None,
            metrics_listen: None,
            settle_max_age_s: 6 * 3_600,
            lock_batch_ms: 200,
            lock_wait_ms: 20_000,
            body_max_bytes: SEALED_MAX_BYTES,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            write_timeout_ms: 60_000,
            connections_max: 4_096,
            drain_s: 30,
            key_renew_s: 86_400,
            collateral_renew_s: 7 * 86_400,
            ready_timeout_s: 600,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_takes_defaults_for_what_is_absent_and_refuses_unknown_keys() {
        let policy: Policy = serde_json::from_str(r#"{"credit_limit":"5"}"#).unwrap();
        assert_eq!(policy, Policy { credit_limit: Some(5.into()), ..Policy::default() });
        let error = serde_json::from_str::<Policy>(r#"{"credit":"5"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `credit`"), "{error}");
    }

    #[test]
    fn credit_is_one_small_request_for_the_dearest_model() {
        let offer = |output: u64| Offer {
            model: "tiny".to_owned(),
            weights_sha256: Digest32([1; 32]),
            input_price_per_mtok: 1_000_000.into(),
            output_price_per_mtok: output.into(),
            context_tokens: 4_096,
            max_output_tokens: 512,
        };
        // 2,048 bytes, 4 × 16 for the messages, 64 for the request; 512 tokens of answer.
        let dear = 2_048 + 4 * 16 + 64 + 512 * 3;
        assert_eq!(small_request(&[offer(1), offer(3_000_000), offer(2)]), dear.into());
        assert_eq!(small_request(&[]), Amount::ZERO);
    }

    #[test]
    fn a_backend_is_written_as_the_enclave_reads_it() {
        let url = "http://127.0.0.1:1".to_owned();
        let openai = BackendSettings::OpenAi { url: url.clone() };
        let written = serde_json::to_value(&openai).unwrap();
        assert_eq!(written, serde_json::json!({ "openai": { "url": url } }));
        let (models_dir, pull, danger_share_cache) = (None, false, true);
        let ollama = BackendSettings::Ollama {
            url: Some(url.clone()),
            models_dir,
            pull,
            danger_share_cache,
        };
        let inner = serde_json::json!({ "url": url, "pull": false, "danger_share_cache": true });
        let written = serde_json::to_value(&ollama).unwrap();
        assert_eq!(written, serde_json::json!({ "ollama": inner }));
    }

    #[test]
    fn tee_is_written_as_the_enclave_reads_it() {
        let tee = TeeSettings::Simulated { platform_seed: "machine 1".to_owned() };
        let json = serde_json::to_value(&tee).unwrap();
        assert_eq!(json, serde_json::json!({ "simulated": { "platform_seed": "machine 1" } }));
        let tee = TeeSettings::Gramine { attestation_dir: None, collateral_path: None };
        assert_eq!(serde_json::to_value(&tee).unwrap(), serde_json::json!({ "gramine": {} }));
    }
}

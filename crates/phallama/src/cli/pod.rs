//! What can be typed to run a pod.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

/// `phallama pod …`
#[derive(Subcommand, Debug)]
pub enum Pod {
    /// Start a pod: enclave, worker, attestation on chain, HTTP.
    Up(Box<PodUp>),
    /// Try a quote against the registry: what it says, what would be brought, what it would cost.
    /// Nothing is sent.
    Check(PodCheck),
    /// Look at everything that a pod needs, and say what to do where it does not work.
    Doctor(PodDoctor),
    /// Let a pod share its machine with others whose operators agree too.
    ShareMachine(ShareMachine),
    /// How the running pod is.
    Status,
    /// What the pod has earned: settled, unsettled, at risk, by day and by channel. Read from its
    /// journal when it does not run.
    Earnings,
    /// Have the running pod settle everything that the contract would pay for now.
    Settle {
        /// Only show what would be sent.
        #[arg(long)]
        dry_run: bool,
    },
    /// Have the pod's credit paid to its payout address.
    Collect,
    /// Have the running pod refuse new requests, finish the open ones and settle. It keeps running.
    Drain {
        /// Take requests again.
        #[arg(long)]
        resume: bool,
    },
    /// Model files on this machine.
    #[command(subcommand)]
    Models(PodModels),
}

/// `phallama pod models …`
#[derive(Subcommand, Debug)]
pub enum PodModels {
    /// Fetch a model, or copy a file, into the pod's store. What broke off is gone on with.
    Add(ModelsAdd),
    /// List the models of the store.
    List,
    /// Remove a model from the store.
    Remove {
        /// Its name, as in the list.
        name: String,
    },
}

/// `phallama pod models add`
#[derive(Args, Debug)]
pub struct ModelsAdd {
    /// A model of a registry (`[HOST/][NAMESPACE/]MODEL[:TAG]`), a URL, or a GGUF file.
    #[arg(value_name = "NAME|URL|FILE")]
    pub model: String,
    /// Name in the store; made from tag or file name when absent.
    #[arg(long)]
    pub name: Option<String>,
    /// SHA-256 that the file must have, 64 hex digits.
    #[arg(long, value_name = "DIGEST")]
    pub sha256: Option<String>,
    /// Registry of names without a host; `registry` in the section `[pod]` when absent.
    #[arg(long, value_name = "HOST")]
    pub registry: Option<String>,
    /// Largest file that is fetched, in GiB.
    #[arg(long, default_value_t = 512, value_name = "GIB")]
    pub max_size: u64,
    /// Let servers be on this machine or in a private network, where a redirect could reach what
    /// nobody else can.
    #[arg(long)]
    pub danger_allow_private_address: bool,
}

/// `phallama pod check`
#[derive(Args, Debug)]
pub struct PodCheck {
    /// An evidence document (JSON, as a pod serves it), or a raw quote, in bytes or hex.
    #[arg(value_name = "EVIDENCE_FILE")]
    pub evidence: PathBuf,
    /// Where collateral comes from.
    #[command(flatten)]
    pub collateral: CollateralOptions,
}

/// `phallama pod doctor`
#[derive(Args, Debug)]
pub struct PodDoctor {
    /// llama-server executable.
    #[arg(long, env = "PHALLAMA_LLAMA_SERVER", hide_env_values = true, value_name = "FILE")]
    pub worker: Option<PathBuf>,
    /// Address that the pod is to listen on.
    #[arg(long, default_value = "127.0.0.1:11811", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Do not read the models of the store to hash them.
    #[arg(long)]
    pub no_hash: bool,
    /// Where collateral comes from.
    #[command(flatten)]
    pub collateral: CollateralOptions,
    /// File with the operator's secret key, hex.
    #[arg(long, env = "PHALLAMA_OPERATOR_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub operator_key_file: Option<PathBuf>,
}

/// `phallama pod share-machine`
#[derive(Args, Debug)]
pub struct ShareMachine {
    /// The machine (0x… of 32 bytes), as a refusal or `phallama pod check` names it.
    pub machine: String,
    /// The pod that agrees (0x… of 32 bytes).
    #[arg(long, value_name = "POD")]
    pub pod: String,
    /// Take the agreement back.
    #[arg(long)]
    pub stop: bool,
    /// File with the operator's secret key, hex.
    #[arg(long, env = "PHALLAMA_OPERATOR_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub operator_key_file: Option<PathBuf>,
}

/// Where collateral comes from.
#[derive(Args, Debug, Clone, Default)]
pub struct CollateralOptions {
    /// Collateral service that speaks Intel's PCS API, e.g. a PCCS; repeat it for more, which are
    /// asked in turn. Without any, the collateral is what comes with the quote.
    #[arg(long, env = "PHALLAMA_PCCS", hide_env_values = true, value_name = "URL")]
    #[arg(value_delimiter = ',')]
    pub pccs: Vec<String>,
}

/// `phallama pod up`
#[derive(Args, Debug)]
pub struct PodUp {
    /// GGUF file, or a model of the store, to serve; repeat it for more. `[[pod.models]]` of the
    /// configuration when absent.
    #[arg(
        long = "model",
        env = "PHALLAMA_MODEL",
        hide_env_values = true,
        value_name = "FILE|NAME"
    )]
    pub models: Vec<String>,
    /// Name under which the model is offered; its name in the store when absent. This,
    /// prices and lengths are given once for all models, or once for each in the same order.
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// llama-server executable. Not needed for another backend.
    #[arg(long, env = "PHALLAMA_LLAMA_SERVER", hide_env_values = true, value_name = "FILE")]
    pub worker: Option<PathBuf>,
    /// What computes.
    #[command(flatten)]
    pub backend: BackendOptions,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:11811", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// URL that users reach the pod by, as the registry lists it; the listening address when
    /// absent, if it is one.
    #[arg(long, env = "PHALLAMA_POD_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// What is asked of users of each model.
    #[command(flatten)]
    pub terms: TermsOptions,
    /// What models are for, beside chats and completions.
    #[command(flatten)]
    pub purpose: PurposeOptions,
    /// Requests answered at once, per model. An Ollama that keeps accounts apart answers one.
    #[arg(long, default_value_t = 4)]
    pub slots: u32,
    /// Worker threads; one for each core when absent, and one less where there are more than 4.
    #[arg(long)]
    pub threads: Option<u32>,
    /// Memory for weights and caches of all models, in GiB; nine tenths of the machine's when
    /// absent.
    #[arg(long, value_name = "GIB")]
    pub memory: Option<u64>,
    /// How long a worker may compute without a sign of life, in seconds; when absent 30, and 120
    /// for another backend than llama-server.
    #[arg(long, value_name = "SECONDS")]
    pub stall_timeout: Option<u64>,
    /// Where collateral comes from.
    #[command(flatten)]
    pub collateral: CollateralOptions,
    /// File with the operator's secret key, hex.
    #[arg(long, env = "PHALLAMA_OPERATOR_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub operator_key_file: Option<PathBuf>,
    /// The enclave program; beside this executable when absent.
    #[arg(long, env = "PHALLAMA_ENCLAVE", hide_env_values = true, value_name = "FILE")]
    pub enclave: Option<PathBuf>,
}

/// What computes, instead of llama-server. `[pod.backend]` of the configuration when absent.
#[derive(Args, Debug, Clone, Default)]
pub struct BackendOptions {
    /// What computes the models; llama-server when absent. The others are reached over TCP on this
    /// machine, and refused under SGX.
    #[arg(long, value_enum, value_name = "KIND")]
    pub backend: Option<BackendKind>,
    /// Ollama executable for the pod to run, with a llama-server beside it.
    #[arg(long, value_name = "FILE", requires = "backend")]
    pub ollama: Option<PathBuf>,
    /// URL of an Ollama that runs already and has each model under its offered name, e.g.
    /// `http://127.0.0.1:11434`
    #[arg(long, value_name = "URL", requires = "backend", conflicts_with = "ollama")]
    pub ollama_url: Option<String>,
    /// Store of the Ollama that the pod runs; one with the offered weights alone when absent.
    #[arg(long, value_name = "DIR", requires = "ollama")]
    pub ollama_models: Option<PathBuf>,
    /// Have Ollama fetch a model that it does not have. Other weights than those offered are
    /// refused all the same.
    #[arg(long, requires = "backend")]
    pub ollama_pull: bool,
    /// URL of a server with OpenAI's API that runs already, e.g. `http://127.0.0.1:8000`
    #[arg(long, value_name = "URL", requires = "backend")]
    pub openai_url: Option<String>,
    /// Let Ollama reuse what one account has asked when another asks, who can tell, and answer
    /// several requests at once.
    #[arg(long, requires = "backend")]
    pub danger_share_cache: bool,
}

/// What computes models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// llama.cpp's server, run by the pod over a UNIX socket.
    LlamaServer,
    /// A real Ollama.
    Ollama,
    /// A server with OpenAI's API, such as vLLM.
    #[serde(rename = "openai")]
    OpenAi,
}

// Not derived, as with `Pooling` below.
impl ValueEnum for BackendKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::LlamaServer, Self::Ollama, Self::OpenAi]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::LlamaServer => "llama-server",
            Self::Ollama => "ollama",
            Self::OpenAi => "openai",
        }))
    }
}

/// What models are for, and what they need for it.
#[derive(Args, Debug, Clone, Default)]
pub struct PurposeOptions {
    /// Offer models for embeddings, and for nothing else. Who wants both lists the file twice in
    /// the configuration, under two names.
    #[arg(long, conflicts_with_all = ["projectors", "drafts"])]
    pub embeddings: bool,
    /// How the vectors of all tokens become one; as the model's file says when absent.
    #[arg(long, requires = "embeddings", value_name = "HOW")]
    pub pooling: Option<Pooling>,
    /// GGUF file of the multimodal projector (mmproj), for a model that takes images. Once for each
    /// model, in the same order.
    #[arg(long = "projector", value_name = "FILE")]
    pub projectors: Vec<PathBuf>,
    /// GGUF file of a small model with the same vocabulary that guesses ahead (speculative
    /// decoding). Once for each model, in the same order.
    #[arg(long = "draft-model", value_name = "FILE")]
    pub drafts: Vec<PathBuf>,
}

/// How the vectors of all tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one.
    Cls,
    /// The last one.
    Last,
}

// Not derived: clap would take the comments above for help, and print all options at full length.
impl ValueEnum for Pooling {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Mean, Self::Cls, Self::Last]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}

impl Pooling {
    /// The enclave's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
        }
    }
}

/// What is asked of users of a model, once for all or once for each.
#[derive(Args, Debug, Clone)]
pub struct TermsOptions {
    /// Price per million prompt tokens, in whole tokens of the escrow. To change a price, start the
    /// pod again with another: users agree to it with their next request.
    #[arg(long, default_value = "0.10", value_name = "PRICE")]
    pub input_price: Vec<String>,
    /// Price per million completion tokens, in whole tokens of the escrow.
    #[arg(long, default_value = "0.40", value_name = "PRICE")]
    pub output_price: Vec<String>,
    /// Context length, in tokens.
    #[arg(long, default_value = "4096", value_name = "TOKENS")]
    pub context: Vec<u32>,
    /// Longest answer, in tokens.
    #[arg(long, default_value = "1024", value_name = "TOKENS")]
    pub max_output: Vec<u32>,
    /// Load models when they are first asked, instead of before the pod is ready. Their files are
    /// checked at the start in any case.
    #[arg(long)]
    pub lazy: bool,
    /// Unload models that nobody has asked for so long, in seconds; when absent, only models whose
    /// memory another one needs.
    #[arg(long, value_name = "SECONDS")]
    pub keep_alive: Option<u64>,
}

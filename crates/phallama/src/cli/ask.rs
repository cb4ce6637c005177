//! What can be typed to ask models.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::Waiting;

/// `phallama demo`
#[derive(Args, Debug)]
pub struct Demo {
    /// GGUF file to serve.
    #[arg(long, env = "PHALLAMA_MODEL", hide_env_values = true, value_name = "FILE")]
    pub model: PathBuf,
    /// llama-server executable.
    #[arg(long, env = "PHALLAMA_LLAMA_SERVER", hide_env_values = true, value_name = "FILE")]
    pub worker: PathBuf,
    /// Exit when the table has been shown.
    #[arg(long)]
    pub once: bool,
    /// Address of the local server.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Use this EVM endpoint (may be repeated) instead of the embedded chain.
    #[arg(long, value_name = "URL")]
    pub rpc_url: Vec<String>,
    /// What to ask.
    #[arg(long, default_value = "What is the capital of France?")]
    pub prompt: String,
}

/// Which pods to ask, before and beside `[pods]` in config.toml.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Which pods to ask")]
pub struct PodOptions {
    /// Ask this pod only (0x… of 32 bytes, or a unique beginning); repeat it for more.
    #[arg(long = "pod", value_name = "POD")]
    pub only: Vec<String>,
    /// Ask pods with this kind of TEE only, `sgx` or `tdx`; repeat it for more.
    #[arg(long, value_name = "KIND")]
    pub tee: Vec<String>,
    /// Most per million tokens, prompt or completion, in whole tokens of the escrow.
    #[arg(long, value_name = "PRICE")]
    pub max_price: Option<String>,
}

/// `phallama serve`
#[derive(Args, Debug)]
pub struct Serve {
    /// Address to listen on; loopback, unless others are allowed by name.
    #[arg(long, env = "PHALLAMA_LISTEN", hide_env_values = true, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// File with the owner's secret key, hex: lets the web page deposit, and send what it asks for.
    #[arg(long, env = "PHALLAMA_OWNER_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub owner_key_file: Option<PathBuf>,
    /// Listen on this UNIX socket, which only you can open, and on no address.
    #[arg(long, value_name = "FILE", conflicts_with = "listen")]
    pub socket: Option<PathBuf>,
    /// Let nobody ask without a token (`phallama token create NAME`). As soon as there is one, this
    /// is so in any case. The web page asks for one too.
    #[arg(long)]
    pub require_token: bool,
    /// Listen on an address that other machines reach. Needs a token.
    #[arg(long)]
    pub danger_allow_remote: bool,
    /// Show Prometheus metrics at `/metrics` of this loopback address.
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Which pods to ask.
    #[command(flatten)]
    pub wanted: PodOptions,
}

/// `phallama run`
#[derive(Args, Debug)]
pub struct Run {
    /// Model name, as in `phallama list`.
    pub model: String,
    /// The prompt, after what comes from stdin, if anything does. Without either, a conversation
    /// begins. Paths of images (PNG, JPEG, GIF) in it are sent along.
    pub prompt: Vec<String>,
    /// System prompt.
    #[arg(long)]
    pub system: Option<String>,
    /// Most tokens to answer with.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// Shape of the answer: `json`, a JSON schema, or `@FILE` with one.
    #[arg(long, value_name = "json|SCHEMA")]
    pub format: Option<String>,
    /// Whether, or how much, a model that can think does so.
    #[arg(
        long,
        value_name = "LEVEL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = ["true", "false", "low", "medium", "high"]
    )]
    pub think: Option<String>,
    /// Do not show what the model thinks.
    #[arg(long)]
    pub hidethinking: bool,
    /// Do not break lines between words at the terminal's width.
    #[arg(long)]
    pub nowordwrap: bool,
    /// Show times, pod, cost, receipt and bytes on stderr after each answer.
    #[arg(long, short)]
    pub verbose: bool,
    /// Taken for scripts made for Ollama: how long a model stays loaded is its pod's decision.
    #[arg(long, value_name = "DURATION")]
    pub keepalive: Option<String>,
    /// How long to wait, and what to do without.
    #[command(flatten)]
    pub waiting: Waiting,
    /// Which pods to ask.
    #[command(flatten)]
    pub wanted: PodOptions,
}

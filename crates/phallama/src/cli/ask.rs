//! What can be typed to ask models.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

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

/// `phallama serve`
#[derive(Args, Debug)]
pub struct Serve {
    /// Address to listen on; loopback only.
    #[arg(long, env = "PHALLAMA_LISTEN", hide_env_values = true, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// File with the owner's secret key, hex: lets the web page deposit, and send what it asks for.
    #[arg(long, env = "PHALLAMA_OWNER_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub owner_key_file: Option<PathBuf>,
}

/// `phallama run`
#[derive(Args, Debug)]
pub struct Run {
    /// Model name, as in `phallama pods`.
    pub model: String,
    /// The prompt; read from stdin when absent.
    pub prompt: Option<String>,
    /// System prompt.
    #[arg(long)]
    pub system: Option<String>,
    /// Most tokens to answer with.
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// Show pod, tokens, cost and bytes on stderr after the answer.
    #[arg(long, short)]
    pub verbose: bool,
}

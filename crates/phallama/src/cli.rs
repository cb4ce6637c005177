//! What can be typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod money;

pub use money::{
    Balance, Close, Deposit, Disputes, DisputesAction, Exit, LimitAmounts, LimitNames, Limits,
    LimitsChange, ReceiptFilter, Receipts, ReceiptsAction, Relay, Sending, SignOnly, Withdraw,
};

/// Private, attested, paid chat with open models on other people's hardware.
#[derive(Parser, Debug)]
#[command(name = "phallama", version, max_term_width = 100, subcommand_required = true)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Folder of configuration, keystore and state.
    #[arg(long, global = true, env = "PHALLAMA_HOME", hide_env_values = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Print one JSON object on stdout instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// File with the keystore's password, instead of asking for it.
    #[arg(
        long,
        global = true,
        env = "PHALLAMA_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub password_file: Option<PathBuf>,
    /// Use the wallet of this name instead of the unnamed one. Wallets have keys, accounts and
    /// records of their own.
    #[arg(
        long,
        global = true,
        env = "PHALLAMA_WALLET",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub wallet: Option<String>,
    /// Accept pods whose TEE is simulated, which protects nothing.
    #[arg(
        long,
        global = true,
        env = "PHALLAMA_DANGER_ACCEPT_SIMULATED_TEE",
        hide_env_values = true
    )]
    pub danger_accept_simulated_tee: bool,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Chain, contracts, pod and chat in one go, on this machine.
    Demo(Demo),
    /// Answer OpenAI and Ollama clients on this machine.
    Serve(Serve),
    /// Ask a model once; the prompt comes from the argument or from stdin.
    Run(Run),
    /// List the pods of the network with their models and prices.
    Pods,
    /// Verify a pod and show every check. No prompt is sent.
    Verify(Verify),
    /// Keep what a verdict follows from, and make the verdict again from it.
    #[command(subcommand)]
    Audit(Audit),
    /// Keys that can spend on inference.
    #[command(subcommand)]
    Wallet(Wallet),
    /// Put money into the escrow for the user key.
    Deposit(Deposit),
    /// Take free money out of the escrow, to the owner.
    Withdraw(Withdraw),
    /// Take back what is locked for a pod, in 48 hours and without anybody's consent.
    Exit(Exit),
    /// End the channel with a pod at once, with its enclave's consent.
    Close(Close),
    /// Send what somebody has signed with `--sign-only`. Whoever sends it pays the gas and no more.
    Relay(Relay),
    /// What is free, locked and spent.
    Balance(Balance),
    /// Most that may be spent: per request, per day (UTC), per pod.
    Limits(Limits),
    /// What pods have signed for the answers they gave.
    Receipts(Receipts),
    /// What pods claimed that cannot be, with the evidence. Such a pod is asked only when named.
    Disputes(Disputes),
    /// Approve measurements of enclave programs and trust domains.
    #[command(subcommand)]
    Trust(Trust),
    /// Run a pod.
    #[command(subcommand)]
    Pod(Pod),
    /// A development chain.
    #[command(subcommand)]
    Chain(Chain),
    /// Show the configuration in force.
    Config,
}

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

/// `phallama verify`
#[derive(Args, Debug)]
pub struct Verify {
    /// Pod id (0x… of 32 bytes, or a unique beginning); every pod when absent.
    pub pod: Option<String>,
}

/// `phallama audit …`
#[derive(Subcommand, Debug)]
pub enum Audit {
    /// Verify a pod with everything that the verdict follows from, now or from a file. Needs no
    /// wallet; from a file, neither chain nor network.
    Pod(AuditPod),
    /// Check a receipt from a file: what `phallama --json receipts show` wrote. Needs no wallet and
    /// no network.
    Receipt {
        /// The file.
        file: PathBuf,
    },
}

/// `phallama audit pod`
#[derive(Args, Debug)]
pub struct AuditPod {
    /// Pod id (0x… of 32 bytes, or a unique beginning).
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub pod: Option<String>,
    /// Write quote, collateral, key bundle, chain record and verdict to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub save: Option<PathBuf>,
    /// Judge this file instead: what `--save` or `verify --json` wrote.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Judge for this time; the file's own when absent.
    #[arg(long, value_name = "UNIX_TIME", requires = "from", conflicts_with = "pod")]
    pub at: Option<u64>,
}

/// `phallama wallet …`
#[derive(Subcommand, Debug)]
pub enum Wallet {
    /// Make a new user key and store it encrypted.
    New,
    /// Show the address of the user key.
    Show,
    /// List the wallets in this home.
    List,
    /// Copy the keystore to a file. It stays encrypted with its password.
    Export {
        /// The file; one that is there already is not overwritten.
        file: PathBuf,
    },
    /// Store a key from elsewhere: an encrypted keystore (JSON, version 3), with its password.
    Import {
        /// The file.
        file: PathBuf,
        /// The file holds the secret key itself, 64 hex digits; a password is chosen for it.
        #[arg(long)]
        secret_key: bool,
    },
    /// Encrypt the user key with another password.
    ChangePassword {
        /// File with the new password, instead of asking for it.
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
    },
}

/// `phallama trust …`
#[derive(Subcommand, Debug)]
pub enum Trust {
    /// Approve an enclave program or a trust domain by its measurement.
    Approve {
        /// MRENCLAVE of an SGX enclave, or the digest of a TDX trust domain's measurement registers
        /// (spec/attestation.md): 64 hex digits.
        measurement: String,
        /// Policy digest it must run under (worker program, arguments, limits), 64 hex digits; any
        /// when absent.
        #[arg(long, value_name = "DIGEST")]
        policy: Option<String>,
        /// A name for it, e.g. the release.
        #[arg(long, default_value = "approved by hand")]
        label: String,
    },
    /// List what is approved.
    List,
}

/// `phallama pod …`
#[derive(Subcommand, Debug)]
pub enum Pod {
    /// Start a pod: enclave, worker, attestation on chain, HTTP.
    Up(Box<PodUp>),
    /// Try a quote against the registry: what it says, what would be brought, what it would cost.
    /// Nothing is sent.
    Check(PodCheck),
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
    /// llama-server executable.
    #[arg(long, env = "PHALLAMA_LLAMA_SERVER", hide_env_values = true, value_name = "FILE")]
    pub worker: PathBuf,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:11811", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// URL that users reach the pod by; the listening address when absent.
    #[arg(long)]
    pub url: Option<String>,
    /// What is asked of users of each model.
    #[command(flatten)]
    pub terms: TermsOptions,
    /// Requests answered at once.
    #[arg(long, default_value_t = 4)]
    pub slots: u32,
    /// Worker threads; one less than the number of cores when absent.
    #[arg(long)]
    pub threads: Option<u32>,
    /// Memory for weights and caches of all models, in GiB; nine tenths of the machine's when
    /// absent.
    #[arg(long, value_name = "GIB")]
    pub memory: Option<u64>,
    /// How long a worker may compute without a sign of life, in seconds; 30 when absent.
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

/// `phallama chain …`
#[derive(Subcommand, Debug)]
pub enum Chain {
    /// Run the embedded chain, deploy the contracts, and write the configuration.
    Up {
        /// Address of the JSON-RPC endpoint.
        #[arg(long, default_value = "127.0.0.1:8545", value_name = "ADDR")]
        listen: SocketAddr,
    },
    /// Deploy the contracts with a test token to any endpoint, and write the configuration.
    Deploy {
        /// JSON-RPC endpoint; the first of several is used to deploy.
        #[arg(long, value_name = "URL", required = true)]
        rpc_url: Vec<String>,
        /// File with the deployer's secret key, hex.
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
        /// The one root certificate whose machines may back pods, DER, e.g. Intel's SGX root. The
        /// development root when absent: anybody can make quotes under it.
        #[arg(long, value_name = "FILE")]
        root_certificate: Option<PathBuf>,
    },
}

//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

mod ask;
mod audit;
mod chain;
mod models;
mod money;
mod pod;
mod setup;
mod state;
mod wallet;

pub use ask::{Demo, PodOptions, Run, Serve};
pub use audit::{Audit, AuditPod, Trust, Verify};
pub use chain::Chain;
pub use models::{List, Pull, Show, StopModel};
pub use money::{
    Balance, Close, Deposit, Disputes, DisputesAction, Exit, LimitAmounts, LimitNames, Limits,
    LimitsChange, ReceiptFilter, Receipts, ReceiptsAction, Relay, Sending, SignOnly, Withdraw,
};
pub use pod::{
    BackendKind, BackendOptions, CollateralOptions, ModelsAdd, Pod, PodCheck, PodDoctor, PodModels,
    PodUp, Pooling, PurposeOptions, ShareMachine, TermsOptions,
};
pub use setup::{App, Completion, ConfigAction, ConfigCommand, Init, Launch, Man};
pub use state::{Doctor, Ps, Status};
pub use wallet::{Token, Wallet};

/// Private, attested, paid chat with open models on other people's hardware.
#[derive(Parser, Debug)]
#[command(name = "phallama", version, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do. Without it, a home that is not set up yet is.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Options of every command.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Folder of configuration, keystore and state.
    #[arg(long, global = true, env = "PHALLAMA_HOME", hide_env_values = true, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Print one JSON object on stdout instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// No remarks and no progress on stderr; warnings, errors and questions stay.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// No colours, whatever the terminal can do. `NO_COLOR` does the same.
    #[arg(long, global = true)]
    pub no_color: bool,
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

/// How long a command may take.
#[derive(Args, Debug, Clone, Copy, Default)]
pub struct Waiting {
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Set up a home: user key, network, most to spend.
    Init(Init),
    /// Chain, contracts, pod and chat in one go, on this machine.
    Demo(Demo),
    /// Answer OpenAI and Ollama clients on this machine.
    Serve(Serve),
    /// Talk with a model, or ask it once: with a prompt as argument or on stdin.
    Run(Run),
    /// List the models that can be asked, with prices.
    #[command(visible_alias = "ls", visible_alias = "models")]
    List(List),
    /// Show a model: who serves it, at which price, proven by what.
    Show(Show),
    /// See whether a pod has a model. Nothing is downloaded.
    Pull(Pull),
    /// Show the pods that this wallet has open accounts with.
    Ps(Ps),
    /// Say who unloads a model: its pod does, here there is nothing to stop.
    Stop(StopModel),
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
    /// Tokens with which apps show that they may use the local server.
    #[command(subcommand)]
    Token(Token),
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
    /// Show home, wallet, local server, chain and money at a glance.
    Status(Status),
    /// Look at everything that has to work, and say what to do where it does not.
    Doctor(Doctor),
    /// Make another program use the local server, or put back what it used before.
    Launch(Launch),
    /// Show and change the configuration.
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completion(Completion),
    /// Print a man page, or write all of them.
    Man(Man),
}

//! What the command line says when something fails, and the exit code it leaves with.

use std::net::SocketAddr;
use std::path::PathBuf;

use phallama_chain::{ChainError, TokenMeta};
use phallama_client::{ClientError, DossierError, ReceiptFault, RelayError};
use phallama_host::PodError;
use phallama_host::admin::AdminError;
use phallama_host::models::ModelError;
use phallama_protocol::ids::{PodId, RequestId};
use serde_json::{Value, json};

use crate::signal::Stop;
use crate::units::AmountError;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The client library refused or failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The same, where the token is known that its amounts are in.
    #[error("{error}")]
    Priced {
        /// The failure.
        error: Box<ClientError>,
        /// The escrow's token.
        token: TokenMeta,
    },
    /// A pod did not start or stopped working.
    #[error(transparent)]
    Pod(#[from] PodError),
    /// No pod answers here, or it could not do what was asked.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A request that cannot be asked like that.
    #[error("{reason}")]
    Request {
        /// What is wrong with it, naming the field.
        reason: String,
    },
    /// Nothing to ask, and nobody to talk with.
    #[error("there is nothing to ask: no prompt was given, and stdin or stdout is no terminal")]
    NoPrompt,
    /// A signal came before the answer was whole.
    #[error("stopped before the end; what had been answered is charged")]
    Stopped(Stop),
    /// The time of `--timeout` was over.
    #[error("not done after {seconds} s")]
    TimedOut {
        /// As asked.
        seconds: u64,
    },
    /// A second signal came while a pod was ending.
    #[error("the pod was ended at once; what is not settled is settled after its next start")]
    Interrupted(Stop),
    /// The chain did not do what was asked.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A model was not added, found or removed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An amount that is none.
    #[error(transparent)]
    Amount(#[from] AmountError),
    /// A file that cannot be read or written.
    #[error("cannot use the file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that is no audit file.
    #[error("{} is no audit file: {source}", path.display())]
    AuditFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DossierError,
    },
    /// A file that is no signed action, or one of another deployment.
    #[error("this signed action cannot be sent: {source}")]
    Signed {
        /// Why.
        source: RelayError,
    },
    /// A transaction that nobody agreed to.
    #[error("not sent: {says}")]
    NotConfirmed {
        /// What would have been done.
        says: String,
    },
    /// There is nothing to withdraw.
    #[error("nothing is free in the escrow")]
    NothingFree,
    /// Less can be withdrawn than was asked for.
    #[error(
        "not so much is free in the escrow\n  asked  {asked}\n  free   {free}\n  Nothing was sent."
    )]
    NotFree {
        /// With its unit.
        asked: String,
        /// With its unit.
        free: String,
    },
    /// No exit was started.
    #[error("no exit from pod {pod} is running")]
    NoExit {
        /// The pod.
        pod: PodId,
    },
    /// The exit's time is not over.
    #[error(
        "the exit from pod {pod} runs until {until}, {} more", crate::clock::duration(*left_s)
    )]
    ExitRunning {
        /// The pod.
        pod: PodId,
        /// RFC 3339.
        until: String,
        /// Seconds.
        left_s: u64,
    },
    /// A file that holds no conversation.
    #[error("{} holds no conversation: {reason}", path.display())]
    SavedSession {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file that holds no receipt.
    #[error("{} holds no receipt: {reason}", path.display())]
    ReceiptFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A receipt that does not hold.
    #[error("the receipt of request {request} does not hold: {source}")]
    Receipt {
        /// The request.
        request: RequestId,
        /// The step that fails.
        source: ReceiptFault,
    },
    /// A configuration that cannot be understood.
    #[error("the configuration {} is not valid\n{source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A variable that the configuration does not take.
    #[error("the variable {variable} is not valid: {reason}")]
    Variable {
        /// Its name.
        variable: String,
        /// Why.
        reason: String,
    },
    /// The program that was to change the configuration.
    #[error("the editor `{editor}` could not be used: {reason}")]
    Editor {
        /// The program.
        editor: String,
        /// Why.
        reason: String,
    },
    /// Something does not work as it should; it was told row by row.
    #[error("checks that failed: {failed}, that warn: {warned}")]
    Unwell {
        /// Checks that failed.
        failed: usize,
        /// Checks that warn.
        warned: usize,
        /// That of the first check that failed, 8 when none did.
        exit_code: u8,
    },
    /// An application's configuration that cannot be changed safely.
    #[error("{} was not changed: {reason}", path.display())]
    AppConfig {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A user key is to be made, and nobody can be asked for its password.
    #[error("a new user key needs a password, and nobody can be asked for it")]
    NoPassword,
    /// A command is missing.
    #[error("nothing was asked")]
    NoCommand,
    /// No folder to keep things in.
    #[error("no home folder: neither HOME nor XDG_CONFIG_HOME is set")]
    NoHome,
    /// No chain is configured.
    #[error("no chain is configured in {}", path.display())]
    NoChain {
        /// The configuration file.
        path: PathBuf,
    },
    /// There is no user key yet.
    #[error("there is no user key at {}", path.display())]
    NoWallet {
        /// Where it would be.
        path: PathBuf,
    },
    /// A user key would be overwritten.
    #[error("there is a user key at {} already; it was not changed", path.display())]
    WalletExists {
        /// Where it is.
        path: PathBuf,
    },
    /// A key file that is no key.
    #[error("{} does not hold a secret key: expected 64 hex digits", path.display())]
    BadKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// A secret key is needed.
    #[error("this needs the {who}'s secret key")]
    NoKeyFile {
        /// `owner` or `operator`.
        who: &'static str,
        /// The option that names the file.
        option: &'static str,
    },
    /// A value in the configuration or on the command line is none of the allowed ones.
    #[error("`{got}` is not a valid {what}; expected {expected}")]
    BadValue {
        /// What the value is for.
        what: &'static str,
        /// What was given.
        got: String,
        /// What is allowed.
        expected: String,
    },
    /// The local server would be reachable from other machines.
    #[error(
        "{listen} is not a loopback address: anybody who reaches the local server spends your money"
    )]
    NotLoopback {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The same, and nothing keeps them out.
    #[error("{listen} can be reached by other machines, and there is no token to ask for")]
    NoToken {
        /// The address asked for.
        listen: SocketAddr,
    },
    /// The UNIX socket cannot be made.
    #[error("cannot listen on {}: {source}", path.display())]
    SocketTaken {
        /// The file asked for.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The address is taken.
    #[error("cannot listen on {listen}: {source}")]
    Bind {
        /// The address asked for.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The local server stopped.
    #[error("the local server stopped: {0}")]
    Server(std::io::Error),
    /// The simulated TEE was not accepted by name.
    #[error("a pod with a simulated TEE protects nothing and needs to be asked for by name")]
    SimulatedNotAccepted,
    /// The demo's own HTTP request failed.
    #[error("the demo's request to {url} failed: {reason}")]
    DemoRequest {
        /// The local server's endpoint.
        url: String,
        /// What came back.
        reason: String,
    },
    /// Reading the prompt or password failed.
    #[error("cannot read the {what}: {source}")]
    Input {
        /// `prompt` or `password`.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl CliError {
    /// The documented exit code (docs/reference/cli.md): 0 ok, 1 bug, 2 usage, 3 attestation
    /// rejected, 4 no suitable pod, 5 payment, 6 chain unavailable, 7 pod unreachable, 8 works but
    /// not as it should, 130 and 143 ended by a signal.
    pub fn exit_code(&self) -> u8 {
        self.class().0
    }

    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        self.class().1
    }

    /// The one place that decides what an error means: exit code, and code for programs.
    fn class(&self) -> (u8, &'static str) {
        match self {
            Self::Client(error) => (error.class().exit_code, error.class().code),
            Self::Priced { error, .. } => (error.class().exit_code, error.class().code),
            Self::Chain(error) => chain_class(error),
            Self::Pod(PodError::Refused(_)) => (3, "registration_refused"),
            Self::Pod(_) => (7, "pod_failed"),
            Self::Admin(_) => (7, "pod_not_running"),
            Self::Model(error) if error.is_remote() => (7, "model_source_failed"),
            Self::Model(_) => (2, "model_unusable"),
            Self::Interrupted(stop) | Self::Stopped(stop) => (stop.exit_code(), "interrupted"),
            Self::TimedOut { .. } => (7, "timed_out"),
            Self::Server(_) => (1, "server_failed"),
            Self::DemoRequest { .. } => (1, "demo_failed"),
            Self::NothingFree => (5, "nothing_free"),
            Self::NotFree { .. } => (5, "not_free"),
            Self::NoExit { .. } => (5, "no_exit"),
            Self::ExitRunning { .. } => (5, "exit_running"),
            Self::Receipt { .. } => (5, "receipt_rejected"),
            Self::Amount(_) => (2, "not_an_amount"),
            Self::Request { .. } => (2, "invalid_request"),
            Self::NoPrompt => (2, "no_prompt"),
            Self::Signed { .. } => (2, "not_a_signed_action"),
            Self::ReceiptFile { .. } => (2, "not_a_receipt"),
            Self::SavedSession { .. } => (2, "not_a_conversation"),
            Self::AuditFile { .. } => (2, "not_an_audit_file"),
            Self::NotConfirmed { .. } => (2, "not_confirmed"),
            Self::File { .. } => (2, "file_unusable"),
            Self::Config { .. } => (2, "invalid_config"),
            Self::Variable { .. } => (2, "invalid_variable"),
            Self::Editor { .. } => (2, "editor_failed"),
            Self::Unwell { exit_code, .. } => (*exit_code, "unwell"),
            Self::AppConfig { .. } => (2, "app_config_not_changed"),
            Self::NoPassword => (2, "no_password"),
            Self::NoCommand => (2, "no_command"),
            Self::NoHome => (2, "no_home"),
            Self::NoChain { .. } => (2, "no_chain_configured"),
            Self::NoWallet { .. } => (2, "no_wallet"),
            Self::WalletExists { .. } => (2, "wallet_exists"),
            Self::BadKeyFile { .. } => (2, "not_a_key_file"),
            Self::NoKeyFile { .. } => (2, "no_key_file"),
            Self::BadValue { .. } => (2, "invalid_value"),
            Self::NotLoopback { .. } => (2, "not_loopback"),
            Self::NoToken { .. } => (2, "no_token"),
            Self::Bind { .. } | Self::SocketTaken { .. } => (2, "address_taken"),
            Self::SimulatedNotAccepted => (2, "simulated_tee_not_accepted"),
            Self::Input { .. } => (2, "input_unusable"),
        }
    }

    /// What a program is told.
    pub fn as_json(&self) -> Value {
        let (exit_code, code) = self.class();
        json!({
            "code": code, "exit_code": exit_code, "message": crate::print::told(self),
        })
    }

    /// An exact command that helps, where there is one.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoChain { .. } => {
                "To join a network, run `phallama init --network FILE` with the file that its people \
                 publish; for a chain on this machine, `phallama chain up`"
            }
            Self::Admin(AdminError::NotRunning { .. }) | Self::Pod(PodError::NoJournal { .. }) => {
                "To start it, run `phallama pod up`; what is open is then settled by itself"
            }
            Self::Pod(PodError::SeveralJournals { .. }) => {
                "To say which, name its deployment in the `[chain]` section of the configuration"
            }
            Self::NoWallet { .. } => {
                "To make one, run `phallama init`; for the key alone, `phallama wallet new`"
            }
            Self::NoKeyFile { option, .. } => {
                return Some(format!("Name its file with `{option} FILE`"));
            }
            Self::Signed { .. } => {
                "To make one, add `--sign-only FILE` to `phallama deposit`, `withdraw`, `exit` or \
                 `close`"
            }
            Self::NotConfirmed { .. } => "To send without being asked, add `--yes`",
            Self::NoPassword => "Name a file with it: `--password-file FILE`",
            Self::NoCommand => "For all commands, run `phallama --help`; to begin, `phallama init`",
            Self::Unwell { .. } => "Each row says what to do",
            Self::AppConfig { .. } => "To see what would be written, add `--dry-run`",
            Self::NoPrompt => "For a conversation, run it in a terminal; else add a prompt",
            Self::TimedOut { .. } => "To wait longer, raise `--timeout`",
            Self::NothingFree | Self::NotFree { .. } => {
                "What is locked for pods returns by `phallama close` or `phallama exit`"
            }
            Self::NoExit { pod } => {
                return Some(format!("To start one, run `phallama exit {pod} --start`"));
            }
            Self::ReceiptFile { .. } => {
                "To make one, run `phallama --json receipts show NUMBER > FILE`"
            }
            Self::AuditFile { .. } => "To make one, run `phallama audit pod POD --save FILE`",
            Self::NotLoopback { .. } => {
                "Use `--listen 127.0.0.1:11434`, or a token and `--danger-allow-remote`"
            }
            Self::NoToken { .. } => "To make one, run `phallama token create NAME`",
            Self::Bind { .. } => "Name a free port with `--listen 127.0.0.1:PORT`",
            Self::SimulatedNotAccepted => {
                "For development, add `--danger-accept-simulated-tee` to the command"
            }
            Self::Model(ModelError::PrivateAddress { .. }) => {
                "For a mirror in a network of your own, add `--danger-allow-private-address` to the \
                 command"
            }
            Self::Model(ModelError::Unknown { .. }) => {
                "To fetch one, run `phallama pod models add HOST/MODEL:TAG`"
            }
            Self::Model(ModelError::Cut { .. } | ModelError::Stalled { .. }) => {
                "Run the same command again; it goes on where it broke off"
            }
            Self::Pod(PodError::Refused(refusal)) => return Some(refusal.hint()),
            Self::Chain(error) if lacks_p256(error) => {
                "Quotes are verified with the P-256 precompile at 0x100 (EIP-7951, RIP-7212). Use a \
                 chain that has it; anvil does with `--hardfork osaka`"
            }
            Self::Chain(error) if error.refusal() == Some("UnknownPod") => {
                "To list your pod on chain, run `phallama pod up`"
            }
            Self::Chain(ChainError::Unavailable { .. }) => {
                "Is the endpoint up? For a chain on this machine, run `phallama chain up`"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

fn chain_class(error: &ChainError) -> (u8, &'static str) {
    match error {
        _ if lacks_p256(error) => (6, "chain_lacks_p256"),
        ChainError::BadEndpoint { .. } => (2, "invalid_endpoint"),
        ChainError::Reverted { .. } => (5, "transaction_reverted"),
        ChainError::InsufficientGasFunds { .. } => (5, "no_gas_money"),
        ChainError::Unavailable { .. }
        | ChainError::WrongChain { .. }
        | ChainError::NoContract { .. }
        | ChainError::Mismatch { .. }
        | ChainError::NotMined { .. }
        | ChainError::HeadsApart { .. }
        | ChainError::Disagreement(_)
        | ChainError::BlockGone { .. }
        | ChainError::NonceTaken { .. }
        | ChainError::FeeAboveCeiling { .. }
        | ChainError::Outbox { .. }
        | ChainError::Malformed { .. } => (6, "chain_unavailable"),
    }
}

/// The chain cannot verify quotes: the verifier's constructor tries the precompile.
fn lacks_p256(error: &ChainError) -> bool {
    error.refusal() == Some("NoP256Precompile")
}

#[cfg(test)]
mod tests;

//! What can be typed to set things up: the home, its configuration, other programs.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use clap_complete::Shell;

/// `phallama init`
#[derive(Args, Debug, Default)]
pub struct Init {
    /// File with a `[chain]` section, and perhaps measurements to approve
    /// (`[[trust.measurements]]`), as the network's people publish it.
    #[arg(long, value_name = "FILE", conflicts_with = "no_network")]
    pub network: Option<PathBuf>,
    /// Leave the network as it is.
    #[arg(long)]
    pub no_network: bool,
    /// Most that may be spent on one day (UTC), in whole tokens, or `none`.
    #[arg(long, value_name = "AMOUNT")]
    pub per_day: Option<String>,
    /// Most one request may cost, in whole tokens, or `none`.
    #[arg(long, value_name = "AMOUNT")]
    pub per_request: Option<String>,
    /// Approve this enclave program or trust domain, by its measurement; repeat it for more.
    #[arg(long, value_name = "MEASUREMENT")]
    pub approve: Vec<String>,
    /// Approve every measurement in the network's file: whoever wrote it is trusted for that.
    #[arg(long, requires = "network")]
    pub approve_published: bool,
    /// Put so much into the escrow, in whole tokens, from the owner's wallet.
    #[arg(long, value_name = "AMOUNT")]
    pub deposit: Option<String>,
    /// File with the owner's secret key, hex, for the deposit.
    #[arg(long, env = "PHALLAMA_OWNER_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub owner_key_file: Option<PathBuf>,
    /// Ask nothing: what no option says stays as it is. A new wallet needs `--password-file`.
    #[arg(long, short)]
    pub yes: bool,
}

/// `phallama launch`
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Args, Debug)]
pub struct Launch {
    /// The program.
    #[arg(required_unless_present = "list")]
    pub app: Option<App>,
    /// The model it is to use; the cheapest when absent.
    #[arg(long)]
    pub model: Option<String>,
    /// Show what would be written; write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Put back what was there before, byte for byte.
    #[arg(long, conflicts_with_all = ["dry_run", "model"])]
    pub restore: bool,
    /// Put it back even if the file was changed since.
    #[arg(long, short, requires = "restore")]
    pub yes: bool,
    /// List the programs, where their configuration is, and whether it was written.
    #[arg(long, conflicts_with_all = ["app", "model", "dry_run", "restore"])]
    pub list: bool,
}

/// A program that talks with models.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum App {
    /// aider: `~/.aider.conf.yml`.
    Aider,
    /// Codex: a profile of its own, `~/.codex/phallama.config.toml`.
    Codex,
    /// Continue: `~/.continue/config.yaml`.
    Continue,
    /// llm: `extra-openai-models.yaml`.
    Llm,
    /// Open WebUI: variables, which are shown.
    OpenWebui,
    /// opencode: `opencode.json`.
    Opencode,
}

/// `phallama config`
#[derive(Args, Debug)]
pub struct ConfigCommand {
    /// What to do; without it, the configuration in force is shown.
    #[command(subcommand)]
    pub action: Option<ConfigAction>,
}

/// `phallama config …`
#[derive(Subcommand, Debug)]
pub enum ConfigAction {
    /// Show the configuration in force.
    Show {
        /// Each value with where it comes from: a flag, a variable, config.toml, or the default.
        #[arg(long)]
        origin: bool,
    },
    /// Show one value.
    Get {
        /// Its key, e.g. `limits.per_day`.
        key: String,
    },
    /// Change one value in config.toml. Comments in the file are lost.
    Set {
        /// Its key, e.g. `limits.per_day`.
        key: String,
        /// The value, as text or in TOML's notation.
        value: String,
    },
    /// Show where config.toml is.
    Path,
    /// Change config.toml with `$VISUAL` or `$EDITOR`. What is not valid is not taken.
    Edit,
}

/// `phallama completion`
#[derive(Args, Debug)]
pub struct Completion {
    /// The shell.
    pub shell: Shell,
}

/// `phallama man`
#[derive(Args, Debug)]
pub struct Man {
    /// Folder for one page per command; without it, the first page goes to stdout.
    pub dir: Option<PathBuf>,
}

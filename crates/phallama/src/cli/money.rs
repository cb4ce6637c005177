//! What can be typed about the user's money.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Who sends a transaction, and whether.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Sending")]
pub struct Sending {
    /// Show what would be sent and the gas it takes; send nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before sending.
    #[arg(long, short)]
    pub yes: bool,
    /// File with the owner's secret key, hex.
    #[arg(long, env = "PHALLAMA_OWNER_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub owner_key_file: Option<PathBuf>,
    /// File with the secret key, hex, of an account that sends and pays the gas, and is not the
    /// owner: what it sends is signed.
    #[arg(long, env = "PHALLAMA_GAS_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub gas_key_file: Option<PathBuf>,
}

/// Signing without sending.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Sending")]
pub struct SignOnly {
    /// Sign into this file and send nothing; anybody can send it with `phallama relay FILE`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dry_run", "gas_key_file"])]
    pub sign_only: Option<PathBuf>,
}

/// `phallama deposit`
#[derive(Args, Debug)]
pub struct Deposit {
    /// Amount in whole tokens, e.g. `5` or `0.25`.
    pub amount: String,
    /// With the owner's permit (EIP-2612) instead of an approval: one transaction.
    #[arg(long, conflicts_with_all = ["authorization", "sign_only", "gas_key_file"])]
    pub permit: bool,
    /// With the owner's authorization (EIP-3009), which anybody can send. `--gas-key-file` and
    /// `--sign-only` imply it.
    #[arg(long)]
    pub authorization: bool,
    /// Who sends it.
    #[command(flatten)]
    pub sending: Sending,
    /// Or nobody.
    #[command(flatten)]
    pub sign: SignOnly,
}

/// `phallama withdraw`
#[derive(Args, Debug)]
pub struct Withdraw {
    /// Amount in whole tokens, e.g. `5` or `0.25`.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub amount: Option<String>,
    /// Everything that is free.
    #[arg(long)]
    pub all: bool,
    /// Who sends it.
    #[command(flatten)]
    pub sending: Sending,
    /// Or nobody.
    #[command(flatten)]
    pub sign: SignOnly,
}

/// `phallama exit`
#[derive(Args, Debug)]
pub struct Exit {
    /// Pod id (0x… of 32 bytes, or a unique beginning).
    pub pod: String,
    /// Start the 48 hours. Requests to the pod stop; what it has earned it can still settle.
    #[arg(long, conflicts_with = "finish")]
    pub start: bool,
    /// When they are over: what the pod has not claimed becomes free.
    #[arg(long, conflicts_with = "sign_only")]
    pub finish: bool,
    /// Who sends it.
    #[command(flatten)]
    pub sending: Sending,
    /// Or nobody.
    #[command(flatten)]
    pub sign: SignOnly,
}

/// `phallama close`
#[derive(Args, Debug)]
pub struct Close {
    /// Pod id (0x… of 32 bytes, or a unique beginning).
    pub pod: String,
    /// Who sends it.
    #[command(flatten)]
    pub sending: Sending,
    /// Or nobody.
    #[command(flatten)]
    pub sign: SignOnly,
}

/// `phallama relay`
#[derive(Args, Debug)]
pub struct Relay {
    /// What `--sign-only` wrote.
    pub file: PathBuf,
    /// Who sends it.
    #[command(flatten)]
    pub sending: Sending,
}

/// `phallama balance`
#[derive(Args, Debug)]
pub struct Balance {
    /// Look for a channel with every registered pod, not only with those of this wallet's records.
    #[arg(long)]
    pub all: bool,
}

/// `phallama limits`
#[derive(Args, Debug)]
pub struct Limits {
    /// What to change; without it, limits and what is left of them are shown.
    #[command(subcommand)]
    pub change: Option<LimitsChange>,
}

/// `phallama limits …`
#[derive(Subcommand, Debug)]
pub enum LimitsChange {
    /// Set limits, in whole tokens; those that are not named stay.
    Set(LimitAmounts),
    /// Take limits away: those that are named, or all.
    Clear(LimitNames),
}

/// `phallama limits set`
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct LimitAmounts {
    /// Most one request may cost, as it is reserved before it is sent.
    #[arg(long, value_name = "AMOUNT")]
    pub per_request: Option<String>,
    /// Most that may be spent on one day (UTC).
    #[arg(long, value_name = "AMOUNT")]
    pub per_day: Option<String>,
    /// Most one pod can draw until its channel is closed or its exit is finished.
    #[arg(long, value_name = "AMOUNT")]
    pub per_pod: Option<String>,
}

/// `phallama limits clear`
#[derive(Args, Debug)]
pub struct LimitNames {
    /// The limit per request.
    #[arg(long)]
    pub per_request: bool,
    /// The limit per day.
    #[arg(long)]
    pub per_day: bool,
    /// The limit per pod.
    #[arg(long)]
    pub per_pod: bool,
}

/// `phallama receipts`
#[derive(Args, Debug)]
pub struct Receipts {
    /// What to do; without it, the newest are listed.
    #[command(subcommand)]
    pub action: Option<ReceiptsAction>,
    /// Which.
    #[command(flatten)]
    pub filter: ReceiptFilter,
}

/// Which receipts.
#[derive(Args, Debug, Clone, Default)]
pub struct ReceiptFilter {
    /// At most so many, newest first.
    #[arg(long, global = true, default_value_t = 50, value_name = "N")]
    pub most: usize,
    /// Of this pod: its id or the beginning of it.
    #[arg(long, global = true)]
    pub pod: Option<String>,
    /// For this model.
    #[arg(long, global = true)]
    pub model: Option<String>,
    /// Of this UTC day and later, e.g. `2026-11-28`.
    #[arg(long, global = true, value_name = "DAY")]
    pub since: Option<String>,
}

/// `phallama receipts …`
#[derive(Subcommand, Debug)]
pub enum ReceiptsAction {
    /// Show one in full: its number in the list (1 is the newest), or its request id.
    Show {
        /// Number or request id.
        receipt: String,
    },
    /// Write them to stdout for another program, with everything needed to check them elsewhere.
    Export {
        /// One line each, with a header, instead of JSON. Not for checking.
        #[arg(long)]
        csv: bool,
    },
    /// Make every check again, offline: signatures, prices, sums.
    Check,
}

/// `phallama disputes`
#[derive(Args, Debug)]
pub struct Disputes {
    /// What to do; without it, they are listed.
    #[command(subcommand)]
    pub action: Option<DisputesAction>,
}

/// `phallama disputes …`
#[derive(Subcommand, Debug)]
pub enum DisputesAction {
    /// Show one in full, by its number in the list.
    Show {
        /// 1 is the oldest.
        number: usize,
    },
    /// Write all of them with their evidence to stdout, as JSON.
    Export,
    /// Remove those about a pod, with their evidence: it may be asked again.
    Forgive {
        /// Pod id (0x… of 32 bytes, or a unique beginning).
        pod: String,
    },
}

//! What can be typed about models of the network.

use clap::Args;

use super::Waiting;

/// `phallama list`
#[derive(Args, Debug)]
pub struct List {
    /// Only models whose names begin so.
    pub name: Option<String>,
    /// Verify every pod now. No prompt is sent.
    #[arg(long)]
    pub verify: bool,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `phallama show`
#[derive(Args, Debug)]
pub struct Show {
    /// Model name, as in `phallama list`.
    pub model: String,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `phallama pull`
#[derive(Args, Debug)]
pub struct Pull {
    /// Model name, as in `phallama list`.
    pub model: String,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `phallama stop`
#[derive(Args, Debug)]
pub struct StopModel {
    /// Model name, as in `phallama list`.
    pub model: String,
}

//! What can be typed to see how things are.

use clap::Args;

use super::Waiting;

/// `phallama status`
#[derive(Args, Debug)]
pub struct Status {
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `phallama ps`
#[derive(Args, Debug)]
pub struct Ps {
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `phallama doctor`
#[derive(Args, Debug)]
pub struct Doctor {
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

//! What can be typed about user keys.

use std::path::PathBuf;

use clap::Subcommand;

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

/// `phallama token …`
#[derive(Subcommand, Debug)]
pub enum Token {
    /// Make a token for an app and show it, once.
    #[command(visible_alias = "new")]
    Create {
        /// Whose it is, for the list.
        name: String,
        /// Most that the app may spend in one day (UTC), in whole tokens of the escrow, beside your
        /// own limits. With it, the app can ask models and nothing else.
        #[arg(long, value_name = "AMOUNT")]
        max_per_day: Option<String>,
    },
    /// Change what an app may spend in one day, also for servers that run.
    Limit {
        /// The token's name.
        name: String,
        /// In whole tokens of the escrow, or `none`.
        amount: String,
    },
    /// List the tokens, with what was spent today (UTC) with each that has a limit.
    List,
    /// Make a token void, also for servers that run.
    Revoke {
        /// Its name.
        name: String,
    },
}

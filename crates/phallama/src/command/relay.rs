//! `phallama relay`

use std::path::Path;

use phallama_client::{Action, SIGNED_FILE_MAX_BYTES, SignedAction};
use serde_json::json;

use super::sending::{By, call_of, carry_out, report};
use crate::cli::Relay;
use crate::context::Context;
use crate::error::CliError;

pub(super) async fn run(context: &Context, options: &Relay) -> Result<(), CliError> {
    let signed = read(&options.file)?;
    let by = By::of(context, &options.sending)?;
    let chain = context.chain().await?;
    let call = call_of(&signed, &chain)?;
    let (kind, user) = match signed.action {
        Action::Deposit { user, .. } => ("deposit", Some(user)),
        Action::Withdraw { user, .. } => ("withdraw", Some(user)),
        Action::StartExit { .. } => ("start-exit", None),
        Action::Close { close } => ("close", Some(close.user)),
    };
    let says = match user {
        Some(user) => format!("send the signed {kind} of {user}"),
        None => format!("send the signed {kind}"),
    };
    let calls = [call];
    let sent = carry_out(context, &by.sender(&chain), &says, &calls, &options.sending).await?;
    let Some(mined) = sent else { return Ok(()) };
    let json = json!({"sent": kind, "user": user});
    let facts = [("sent", kind.to_owned())];
    report(context, &facts, json, &mined);
    Ok(())
}

/// At most one byte more than such a file has.
fn read(path: &Path) -> Result<SignedAction, CliError> {
    use std::io::Read as _;
    let mut json = Vec::new();
    let most = SIGNED_FILE_MAX_BYTES as u64 + 1;
    std::fs::File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut json))
        .map_err(|source| CliError::File { path: path.to_owned(), source })?;
    SignedAction::from_json(&json).map_err(|source| CliError::Signed { source })
}

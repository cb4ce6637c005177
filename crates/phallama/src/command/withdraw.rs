//! `phallama withdraw`

use phallama_client::Client;
use phallama_protocol::ids::Amount;
use serde_json::json;

use super::sending::{By, call_of, carry_out, report, sign_into};
use crate::cli::Withdraw;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::units;

pub(super) async fn run(context: &Context, options: &Withdraw) -> Result<(), CliError> {
    if let Some(path) = &options.sign.sign_only {
        let client = context.client().await?;
        let amount = amount(&client, options).await?;
        return sign_into(context, path, &client.signed_withdrawal(amount).await?);
    }
    let by = By::of(context, &options.sending)?;
    let client = by.client(context).await?;
    let (chain, meta) = (client.chain(), client.token().await?);
    let amount = amount(&client, options).await?;
    let user = client.user().expect("a withdrawal is the wallet's");
    let call = match &by {
        By::Owner(_) => chain.withdraw_call(user, amount),
        By::Gas(_) => call_of(&client.signed_withdrawal(amount).await?, chain)?,
    };
    let says = format!("withdraw {} of {user} to its owner", money(amount, meta));
    let sent = carry_out(context, &by.sender(chain), &says, &[call], &options.sending).await?;
    let Some(mined) = sent else { return Ok(()) };
    let account = chain.account(user).await?;
    let facts = [("withdrawn", money(amount, meta)), ("free", money(account.free, meta))];
    let json = json!({"user": user, "owner": account.owner, "withdrawn": amount,
                      "free": account.free});
    report(context, &facts, json, &mined);
    Ok(())
}

/// What was asked for, or everything that is free.
async fn amount(client: &Client, options: &Withdraw) -> Result<Amount, CliError> {
    let user = client.user().expect("a withdrawal is the wallet's");
    let (free, meta) = (client.chain().account(user).await?.free, client.token().await?);
    let asked =
        options.amount.as_ref().map(|text| units::parse(text, meta.decimals)).transpose()?;
    match asked {
        _ if free == Amount::ZERO => Err(CliError::NothingFree),
        Some(asked) if asked > free => {
            Err(CliError::NotFree { asked: money(asked, meta), free: money(free, meta) })
        }
        asked => Ok(asked.unwrap_or(free)),
    }
}

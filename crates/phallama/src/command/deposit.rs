//! `phallama deposit`

use phallama_chain::{Call, Credited};
use phallama_client::Client;
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;
use serde_json::json;

use super::sending::{By, call_of, carry_out, depositing, owner, report, sign_into};
use crate::cli::Deposit;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::{print, units};

pub(super) async fn run(context: &Context, options: &Deposit) -> Result<(), CliError> {
    let payer = owner(context, &options.sending)?;
    let client = depositing(context).await?;
    let (chain, meta) = (client.chain(), client.token().await?);
    let amount = units::parse(&options.amount, meta.decimals)?;
    if let Some(path) = &options.sign.sign_only {
        return sign_into(context, path, &client.signed_deposit(&payer, amount).await?);
    }
    let calls = calls(&client, &payer, amount, options).await?;
    let user = client.user().expect("a deposit is for the wallet's user");
    let sender = By::of(context, &options.sending)?.sender(chain);
    let says = format!("deposit {} for {user} from {}", money(amount, meta), payer.address());
    let sent = carry_out(context, &sender, &says, &calls, &options.sending).await?;
    let Some(mined) = sent else { return Ok(()) };
    let account = chain.account(user).await?;
    if let Some(other) = account.owner.filter(|owner| *owner != payer.address()) {
        print::warning(format!("withdrawals go to the account's owner {other}, not to the payer"));
    }
    let facts = [("deposited", money(amount, meta)), ("free", money(account.free, meta))];
    let json = json!({"user": user, "owner": account.owner, "deposited": amount,
                      "free": account.free});
    report(context, &facts, json, &mined);
    Ok(())
}

async fn calls(
    client: &Client,
    payer: &Signer,
    amount: Amount,
    options: &Deposit,
) -> Result<Vec<Call>, CliError> {
    let chain = client.chain();
    if options.authorization || options.sending.gas_key_file.is_some() {
        return Ok(vec![call_of(&client.signed_deposit(payer, amount).await?, chain)?]);
    }
    if options.permit {
        let to = client.credited(payer.address()).await?;
        let permit = client.permit(payer, amount).await?;
        return Ok(vec![chain.deposit_with_permit_call(&to, &permit)]);
    }
    by_allowance(client, payer, amount).await
}

/// An approval, where the escrow may not yet take so much, and the deposit.
pub(crate) async fn by_allowance(
    client: &Client,
    payer: &Signer,
    amount: Amount,
) -> Result<Vec<Call>, CliError> {
    let chain = client.chain();
    let to: Credited = client.credited(payer.address()).await?;
    let allowed = chain.allowance(payer.address()).await?;
    let approve = (allowed < amount).then(|| chain.approve_call(amount));
    Ok(approve.into_iter().chain([chain.deposit_call(&to, amount)]).collect())
}

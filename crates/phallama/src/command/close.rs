//! `phallama close`

use phallama_client::Client;
use phallama_protocol::ids::{Amount, PodId};
use serde_json::json;

use super::pods;
use super::sending::{By, agree, carry_out, report, sign_into};
use crate::cli::{Close, Sending};
use crate::context::{Context, money};
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

/// Asks first, then the enclave: with its signature it takes no further request in the channel.
pub(super) async fn run(context: &Context, options: &Close) -> Result<(), CliError> {
    let client = context.client().await?;
    let (chain, pod) = (client.chain(), pods::of_wallet(&client, &options.pod).await?);
    if let Some(path) = &options.sign.sign_only {
        return sign_into(context, path, &client.signed_close(pod).await?);
    }
    let by = By::of(context, &options.sending)?;
    let (meta, before) = (client.token().await?, client.channel(pod).await?);
    let earned = earned(&client, pod).await?.max(before.claimed);
    let says = format!(
        "close the channel with pod {pod}: by the records it has earned {} of {} locked",
        money(earned, meta),
        money(before.locked, meta)
    );
    if options.sending.dry_run {
        dry_run(context, &says, pod, earned);
        return Ok(());
    }
    let sender = by.sender(chain);
    agree(&says, &sender, &options.sending)?;
    let close = client.close(pod).await?;
    let call = match &by {
        By::Owner(_) => chain.close_call(close.user, pod, close.cumulative, &close.enclave_sig),
        By::Gas(_) => chain.close_for_call(&close)?,
    };
    let agreed = Sending { yes: true, ..options.sending.clone() };
    let sent = carry_out(context, &sender, &says, &[call], &agreed).await?;
    let Some(mined) = sent else { return Ok(()) };
    let paid = close.cumulative.max(before.claimed).min(before.locked);
    let returned = before.locked.checked_sub(paid).unwrap_or_default();
    let free = chain.account(close.user).await?.free;
    let facts = [
        ("earned", money(close.cumulative, meta)),
        ("returned", money(returned, meta)),
        ("free", money(free, meta)),
    ];
    let json = json!({"pod": pod, "user": close.user, "cumulative": close.cumulative,
                      "returned": returned, "free": free});
    report(context, &facts, json, &mined);
    Ok(())
}

/// What the pod has earned in all, by the wallet's records.
async fn earned(client: &Client, pod: PodId) -> Result<Amount, CliError> {
    let channels = client.balance().await?.channels;
    let known = channels.iter().find(|channel| channel.pod == pod);
    Ok(known.map(|channel| channel.charged).unwrap_or_default())
}

fn dry_run(context: &Context, says: &str, pod: PodId, earned: Amount) {
    if context.global.json {
        let planned = json!({"dry_run": true, "pod": pod, "earned": earned});
        print::json(Schema::PlannedClose, planned);
    } else {
        print::line(format!("would {says}"));
        print::note(
            "Nothing was sent. The enclave was not asked: its signature ends the channel, and \
             without it the gas cannot be estimated.",
        );
    }
}

//! `phallama balance`

use serde_json::json;

use crate::context::{Context, money};
use crate::error::CliError;
use crate::print;

pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let user = context.keystore()?.address();
    let chain = context.chain().await?;
    let meta = chain.token_meta().await?;
    let account = chain.account(user).await?;
    let mut rows = Vec::new();
    for pod in chain.pods().await? {
        let channel = chain.channel(user, pod.pod_id).await?;
        if channel.locked > phallama_protocol::ids::Amount::ZERO {
            rows.push((pod.pod_id, channel));
        }
    }
    if context.global.json {
        let channels: Vec<_> = rows
            .iter()
            .map(|(pod, channel)| {
                json!({"pod": pod, "locked": channel.locked, "claimed": channel.claimed,
                       "epoch": channel.epoch, "exit_at_unix_s": channel.exit_at_unix_s})
            })
            .collect();
        print::json(&json!({"user": user, "owner": account.owner, "free": account.free,
                            "token": meta.symbol, "decimals": meta.decimals, "channels": channels}));
        return Ok(());
    }
    print::line(format!("user   {user}"));
    match account.owner {
        Some(owner) => print::line(format!("owner  {owner}")),
        None => print::line("owner  none: the account is not open"),
    }
    print::line(format!("free   {}", money(account.free, &meta)));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(pod, channel)| {
            let open = channel.locked.checked_sub(channel.claimed).unwrap_or_default();
            vec![pod.to_string(), money(channel.claimed, &meta), money(open, &meta)]
        })
        .collect();
    if !rows.is_empty() {
        print::line(print::table(&["pod", "paid", "still locked"], &rows, &[1, 2]));
    }
    Ok(())
}

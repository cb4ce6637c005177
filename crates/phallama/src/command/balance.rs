//! `phallama balance`

use phallama_chain::TokenMeta;
use phallama_client::{Balance, ChannelBalance};
use phallama_protocol::ids::Amount;
use serde_json::{Value, json};

use crate::context::{Context, money};
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

/// Reads the records, one page of channels and the account; the user key stays locked.
pub(super) async fn run(context: &Context, all: bool) -> Result<(), CliError> {
    let client = context.accountant().await?;
    let pods = if all { client.pods().await? } else { std::sync::Arc::default() };
    let pods: Vec<_> = pods.iter().map(|pod| pod.pod_id).collect();
    let mut balance = client.balance_with(&pods).await?;
    balance.channels.retain(is_used);
    let (meta, disputes) = (client.token().await?, client.disputes().await?.len());
    if context.global.json {
        let mut json = as_json(&balance, meta);
        json["disputes"] = disputes.into();
        print::json(Schema::Balance, json);
        return Ok(());
    }
    show(&balance, meta);
    if disputes > 0 {
        print::warning(format!("{disputes} disputes with pods: see `phallama disputes`"));
    }
    Ok(())
}

pub(crate) fn is_used(channel: &ChannelBalance) -> bool {
    let ChannelBalance { chain, voucher_cap, .. } = channel;
    chain.epoch > 0
        || chain.exit_at_unix_s > 0
        || chain.locked > Amount::ZERO
        || *voucher_cap > Amount::ZERO
}

fn show(balance: &Balance, meta: &TokenMeta) {
    let owner = balance.owner.map_or_else(
        || "none: the account is opened by the first deposit".to_owned(),
        |owner| owner.to_string(),
    );
    print::line(format!("user         {}", balance.user));
    print::line(format!("owner        {owner}"));
    print::line(format!("free         {}", money(balance.free, meta)));
    if balance.promised > Amount::ZERO {
        let promised = money(balance.promised, meta);
        print::line(format!(
            "  of it      {promised} promised to pods that have not locked it yet"
        ));
    }
    print::line(format!("spent today  {}", money(balance.spent_today, meta)));
    let rows: Vec<Vec<String>> = balance
        .channels
        .iter()
        .map(|channel| {
            let (charged, claimed) = (channel.charged, channel.chain.claimed);
            vec![
                channel.pod.to_string(),
                money(charged.max(claimed), meta),
                money(claimed, meta),
                money(channel.left(), meta),
                state(channel),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let header = ["pod", "charged", "paid", "locked beyond", "exit"];
        print::line(print::table(&header, &rows, &[1, 2, 3]));
    }
}

fn state(channel: &ChannelBalance) -> String {
    match channel.chain.exit_at_unix_s {
        0 => String::new(),
        at if at <= clock::now_unix_s() => "can be finished".to_owned(),
        at => format!("until {}", clock::rfc3339(at)),
    }
}

/// For programs.
pub(crate) fn as_json(balance: &Balance, meta: &TokenMeta) -> Value {
    let channels: Vec<_> = balance
        .channels
        .iter()
        .map(|channel| {
            json!({"pod": channel.pod, "locked": channel.chain.locked,
                   "claimed": channel.chain.claimed, "epoch": channel.chain.epoch,
                   "exit_at_unix_s": channel.chain.exit_at_unix_s, "charged": channel.charged,
                   "voucher_cap": channel.voucher_cap, "unreceipted": channel.unreceipted,
                   "left": channel.left()})
        })
        .collect();
    json!({"user": balance.user, "owner": balance.owner, "free": balance.free,
           "promised": balance.promised, "spent_today": balance.spent_today,
           "token": meta.symbol, "decimals": meta.decimals, "channels": channels})
}

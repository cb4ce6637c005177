//! `phallama ps`

use std::collections::BTreeMap;

use phallama_client::{ChannelBalance, StoredReceipt};
use phallama_protocol::ids::{Address, Amount, PodId};
use serde_json::{Value, json};

use super::local;
use super::pods::short;
use super::status::{server_json, server_words};
use crate::context::{Context, money};
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

/// The last answer of a pod.
struct Last {
    model: String,
    at_unix_s: u64,
    release: String,
    /// Of the enclave that gave it.
    identity: Address,
    /// Since when this enclave has been verified for this wallet; older records do not say.
    verified_since_unix_s: Option<u64>,
}

/// The pods that this wallet has an open account with, and whether the local server runs.
pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let server = local::find(context).await?;
    let client = context.accountant().await?;
    let (balance, meta) = (client.balance().await?, client.token().await?);
    let last = last(&client.receipts(usize::MAX).await?);
    let is_open = |channel: &&ChannelBalance| {
        channel.left() > Amount::ZERO || channel.charged > channel.chain.claimed
    };
    let open: Vec<&ChannelBalance> = balance.channels.iter().filter(is_open).collect();
    if context.global.json {
        let sessions: Vec<Value> = open.iter().map(|channel| session(channel, &last)).collect();
        print::json(
            Schema::Ps,
            json!({"server": server_json(&server), "sessions": sessions, "token": meta.symbol,
                   "decimals": meta.decimals}),
        );
        return Ok(());
    }
    let row = |channel: &&ChannelBalance| {
        let last = last.get(&channel.pod);
        let said = |told: fn(&Last) -> String| last.map_or_else(|| "–".to_owned(), told);
        vec![
            short(&channel.pod.to_string()),
            said(|last| last.model.clone()),
            said(|last| last.release.clone()),
            verified_since(last),
            said(|last| clock::rfc3339(last.at_unix_s)),
            money(channel.charged.max(channel.chain.claimed), meta),
            money(channel.left(), meta),
        ]
    };
    let rows: Vec<_> = open.iter().map(row).collect();
    print::line(format!("server  {}\n", server_words(&server)));
    let header =
        ["pod", "model", "build", "verified since", "last answer", "spent", "locked beyond"];
    print::line(print::table(&header, &rows, &[5, 6]));
    if rows.is_empty() {
        print::note("nothing was asked yet");
    }
    Ok(())
}

fn verified_since(last: Option<&Last>) -> String {
    let since = last.and_then(|last| last.verified_since_unix_s);
    since.map_or_else(|| "–".to_owned(), clock::rfc3339)
}

/// Each pod's newest receipt, and the first verification of the enclave that signed it.
fn last(receipts: &[StoredReceipt]) -> BTreeMap<PodId, Last> {
    let mut last = BTreeMap::new();
    // Newest first.
    for receipt in receipts {
        let agreement = &receipt.agreement;
        let of_pod = last.entry(agreement.pod_id).or_insert_with(|| Last {
            model: agreement.offer.model.clone(),
            at_unix_s: receipt.finished_at_unix_ms / 1000,
            release: receipt.release_label.clone(),
            identity: agreement.identity,
            verified_since_unix_s: None,
        });
        if let Some(at) =
            receipt.verified_at_unix_s.filter(|_| of_pod.identity == agreement.identity)
        {
            let since = of_pod.verified_since_unix_s.get_or_insert(at);
            *since = at.min(*since);
        }
    }
    last
}

fn session(channel: &ChannelBalance, last: &BTreeMap<PodId, Last>) -> Value {
    let last = last.get(&channel.pod);
    json!({
        "pod": channel.pod, "model": last.map(|last| &last.model),
        "build": last.map(|last| &last.release), "last_answer_unix_s": last.map(|l| l.at_unix_s),
        "verified_since_unix_s": last.and_then(|last| last.verified_since_unix_s),
        "spent": channel.charged.max(channel.chain.claimed), "left": channel.left(),
        "epoch": channel.chain.epoch,
    })
}

//! What is elsewhere: chain, money, pods.

use phallama_chain::{BlockTag, Chain};
use phallama_client::{Client, ClientError};
use phallama_protocol::ids::Amount;

use super::Row;
use crate::clock;
use crate::context::{Context, money};
use crate::error::CliError;

/// A block's time may be so far ahead of this machine's clock, in seconds.
const AHEAD_MAX_S: u64 = 15;
/// Older than this, and the endpoint has probably lost its chain, in seconds.
const STALE_S: u64 = 300;
/// EIP-155 id of development chains, which make blocks only when there are transactions.
const DEVELOPMENT_CHAIN_ID: u64 = 31_337;
/// What cannot be looked at without a chain.
const NEEDS_CHAIN: [&str; 5] = ["clock", "balance", "limits", "pods", "pod-verified"];

pub(super) async fn rows(context: &Context) -> Vec<Row> {
    let chain = match context.chain().await {
        Ok(chain) => chain,
        Err(error) => {
            let skipped = NEEDS_CHAIN.map(|id| Row::skip(id, "needs the chain"));
            return std::iter::once(Row::fail("chain", &error)).chain(skipped).collect();
        }
    };
    let mut rows = vec![reached(&chain).await];
    rows.extend(complaints(&chain));
    rows.push(clock_row(&chain).await);
    rows.extend(wallet_rows(context).await);
    rows.extend(pod_rows(context).await);
    rows
}

/// Connecting has checked the chain id, the contracts' code, and that they belong together.
pub(super) async fn reached(chain: &Chain) -> Row {
    let config = chain.config();
    match chain.head(BlockTag::Latest).await {
        Ok(head) => {
            let detail =
                format!("chain {}, block {}, contracts there", config.chain_id, head.number);
            Row::ok("chain", detail)
        }
        Err(error) => Row::fail("chain", &error.into()),
    }
}

/// Endpoints that were put aside.
fn complaints(chain: &Chain) -> Vec<Row> {
    let complaints = chain.complaints().into_iter();
    let row = |(url, reason): (String, Option<String>)| {
        let detail = format!("{url}: {}", reason?);
        Some(Row::warn("endpoint", detail, "replace it in `rpc_urls` of config.toml"))
    };
    complaints.filter_map(row).collect()
}

/// This machine's clock and the chain's: quotes and bundles are judged by the former.
pub(super) async fn clock_row(chain: &Chain) -> Row {
    let head = match chain.head(BlockTag::Latest).await {
        Ok(head) => head.timestamp_unix_s,
        Err(error) => return Row::fail("clock", &error.into()),
    };
    judge_clock(head, clock::now_unix_s(), chain.config().chain_id == DEVELOPMENT_CHAIN_ID)
}

fn judge_clock(head_unix_s: u64, now_unix_s: u64, on_demand: bool) -> Row {
    let ahead_s = head_unix_s.saturating_sub(now_unix_s);
    let age_s = now_unix_s.saturating_sub(head_unix_s);
    if ahead_s > AHEAD_MAX_S {
        let detail =
            format!("the newest block is {} ahead of this clock", clock::duration(ahead_s));
        return Row::warn("clock", detail, "set this machine's clock (`timedatectl set-ntp true`)");
    }
    if age_s > STALE_S && !on_demand {
        let detail = format!("the newest block is {} old", clock::duration(age_s));
        let fix = "if this machine's clock is right, the endpoint is behind: try another one";
        return Row::warn("clock", detail, fix);
    }
    Row::ok("clock", format!("the newest block is {} old", clock::duration(age_s)))
}

async fn wallet_rows(context: &Context) -> Vec<Row> {
    let client = match context.keystore() {
        Ok(_) => context.accountant().await,
        Err(_) => {
            return ["balance", "limits"].map(|id| Row::skip(id, "needs a user key")).into();
        }
    };
    match client {
        Ok(client) => vec![balance(&client).await, limits(&client).await],
        Err(error) => vec![Row::fail("balance", &error)],
    }
}

async fn balance(client: &Client) -> Row {
    let read = async || Ok((client.balance().await?, client.token().await?.clone()));
    match read().await {
        Err(error) => Row::fail("balance", &client_error(error)),
        Ok((balance, meta)) => {
            let usable = balance.channels.iter().any(|channel| channel.left() > Amount::ZERO);
            let detail = format!("{} free", money(balance.free, &meta));
            if balance.free == Amount::ZERO && !usable {
                return Row::warn("balance", detail, "run `phallama deposit AMOUNT`");
            }
            Row::ok("balance", detail)
        }
    }
}

async fn limits(client: &Client) -> Row {
    let read = async || Ok((client.spending().await?, client.token().await?.clone()));
    let (spending, meta) = match read().await {
        Ok(read) => read,
        Err(error) => return Row::fail("limits", &client_error(error)),
    };
    let Some(per_day) = spending.limits.per_day else {
        let fix = "run `phallama limits set --per-day AMOUNT`";
        return Row::warn("limits", "no limit per day", fix);
    };
    let detail =
        format!("{} of {} spent today", money(spending.today, &meta), money(per_day, &meta));
    if spending.today >= per_day {
        return Row::warn("limits", detail, "run `phallama limits set --per-day AMOUNT`");
    }
    Row::ok("limits", detail)
}

fn client_error(error: ClientError) -> CliError {
    error.into()
}

/// Whether there is a pod, and one that proves itself.
async fn pod_rows(context: &Context) -> Vec<Row> {
    let client = match context.reader().await {
        Ok(client) => client,
        Err(error) => return vec![Row::fail("pods", &error)],
    };
    let models = match client.models().await {
        Ok(models) => models,
        Err(error) => return vec![Row::fail("pods", &error.into())],
    };
    let mut pods: Vec<_> = models.iter().flat_map(|model| model.pods.clone()).collect();
    pods.sort_unstable();
    pods.dedup();
    if pods.is_empty() {
        let none = ClientError::NoPod { model: "any".to_owned(), refused: Vec::new() };
        let mut row = Row::fail("pods", &none.into());
        "no pod with a good key is registered".clone_into(&mut row.detail);
        return vec![row, Row::skip("pod-verified", "needs a pod")];
    }
    let found = format!("pods: {}, models: {}", pods.len(), models.len());
    let mut first = None;
    for pod in pods {
        match client.verify(pod).await {
            Ok(_) => {
                let detail = format!("pod {pod} proved what it has to");
                return vec![Row::ok("pods", found), Row::ok("pod-verified", detail)];
            }
            Err(error) => first = first.or(Some(error)),
        }
    }
    let error = first.expect("every pod was tried and refused");
    vec![Row::ok("pods", found), Row::fail("pod-verified", &error.into())]
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_clock_is_held_to_the_newest_block() {
        let status = |head, now, on_demand| judge_clock(head, now, on_demand).status;
        assert_eq!(status(1_000, 1_000, false), Status::Ok);
        assert_eq!(status(1_015, 1_000, false), Status::Ok);
        assert_eq!(status(1_016, 1_000, true), Status::Warn);
        assert_eq!(status(1_000, 1_300, false), Status::Ok);
        assert_eq!(status(1_000, 1_301, false), Status::Warn);
        assert_eq!(status(1_000, 9_999, true), Status::Ok);
    }
}

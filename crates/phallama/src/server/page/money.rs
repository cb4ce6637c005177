//! The user's money: what there is, and moving it. Whatever moves takes the password.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use phallama_chain::{BlockTag, Call, TokenMeta, Tx};
use phallama_client::{ClientError, SignedAction, Spending, StoredReceipt};
use phallama_protocol::ids::{Address, Amount, PodId};
use phallama_protocol::keys::Signer;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::fault::Fault;
use super::{Answered, Page, Shared, read};
use crate::command::{balance as wallet, deposit, sending};
use crate::error::CliError;
use crate::home::LimitsConfig;
use crate::{clock, context, units};

/// Days of the spend chart.
const CHART_DAYS: u64 = 30;
const SECONDS_PER_DAY: u64 = 86_400;

/// Account, channels, the chain's own time for exits, and what was spent day by day.
pub(super) async fn balance(State(page): Shared) -> Answered {
    let client = &page.client;
    let mut balance = client.balance().await?;
    balance.channels.retain(wallet::is_used);
    let mut json = wallet::as_json(&balance, client.token().await?);
    let head = client.chain().head(BlockTag::Latest).await?;
    json["now_unix_s"] = head.timestamp_unix_s.into();
    json["spent_by_day"] = by_day(&client.receipts(usize::MAX).await?, clock::now_unix_s());
    json["disputes"] = client.disputes().await?.len().into();
    json["can_send"] = page.owner()?.is_some().into();
    Ok(Json(json))
}

/// Costs by UTC day, oldest first, every day of the chart; today is the last.
fn by_day(receipts: &[StoredReceipt], now_unix_s: u64) -> Value {
    let today = now_unix_s / SECONDS_PER_DAY;
    let first = today.saturating_sub(CHART_DAYS - 1);
    let mut days: BTreeMap<u64, (u128, u64)> = (first..=today).map(|day| (day, (0, 0))).collect();
    for stored in receipts {
        let day = days.get_mut(&(stored.finished_at_unix_ms / 1000 / SECONDS_PER_DAY));
        if let (Some((cost, answers)), Ok(signed)) = (day, stored.signed()) {
            *cost = cost.saturating_add(signed.receipt.cost.value());
            *answers += 1;
        }
    }
    let row = |(day, (cost, answers)): (u64, (u128, u64))| json!({"day_unix_s": day * SECONDS_PER_DAY, "cost": cost.to_string(), "answers": answers});
    days.into_iter().map(row).collect()
}

#[derive(Deserialize)]
struct Deposit {
    amount: String,
    password: String,
}

pub(super) async fn deposit(State(page): Shared, body: Bytes) -> Answered {
    let Deposit { amount, password } = read(&body)?;
    let amount = page.amount(&amount).await?;
    page.confirm(password).await?;
    let Some(owner) = page.owner()? else {
        let message = "The key of the wallet that pays is not on this machine. Run `phallama \
                       deposit AMOUNT --owner-key-file FILE`, or start the server with \
                       `--owner-key-file FILE`.";
        return Err(Fault::new(http::StatusCode::BAD_REQUEST, "no_owner_key", message));
    };
    let calls = deposit::by_allowance(&page.client, &owner, amount).await?;
    page.send(&owner, &calls).await
}

#[derive(Deserialize)]
struct Withdrawal {
    /// Everything that is free when absent.
    amount: Option<String>,
    password: String,
}

/// To the owner, whoever asks.
pub(super) async fn withdraw(State(page): Shared, body: Bytes) -> Answered {
    let Withdrawal { amount, password } = read(&body)?;
    let user = page.user()?;
    let amount = match amount {
        Some(text) => page.amount(&text).await?,
        None => page.client.chain().account(user).await?.free,
    };
    if amount == Amount::ZERO {
        return Err(CliError::NothingFree.into());
    }
    page.confirm(password).await?;
    match page.owner()? {
        Some(owner) => {
            let call = page.client.chain().withdraw_call(user, amount);
            page.send(&owner, &[call]).await
        }
        None => Ok(to_relay(&page.client.signed_withdrawal(amount).await?)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Step {
    Start,
    Finish,
}

#[derive(Deserialize)]
struct Exit {
    pod: PodId,
    step: Step,
    password: String,
}

pub(super) async fn exit(State(page): Shared, body: Bytes) -> Answered {
    let Exit { pod, step, password } = read(&body)?;
    let (user, chain) = (page.user()?, page.client.chain());
    if let Step::Finish = step {
        exit_is_over(&page, pod).await?;
    }
    page.confirm(password).await?;
    match (step, page.owner()?) {
        (Step::Start, Some(owner)) => page.send(&owner, &[chain.start_exit_call(user, pod)]).await,
        (Step::Start, None) => Ok(to_relay(&page.client.signed_exit(pod).await?)),
        (Step::Finish, Some(owner)) => {
            page.send(&owner, &[chain.finish_exit_call(user, pod)]).await
        }
        (Step::Finish, None) => {
            let message = format!(
                "Nobody's consent is needed, but somebody has to pay the gas. Run `phallama exit \
                 {pod} --finish --gas-key-file FILE`."
            );
            Err(Fault::new(http::StatusCode::BAD_REQUEST, "no_owner_key", message))
        }
    }
}

async fn exit_is_over(page: &Page, pod: PodId) -> Result<(), Fault> {
    let at = page.client.channel(pod).await?.exit_at_unix_s;
    let now = page.client.chain().head(BlockTag::Latest).await?.timestamp_unix_s;
    match at {
        0 => Err(CliError::NoExit { pod }.into()),
        at if at > now => {
            let (until, left_s) = (clock::rfc3339(at), at - now);
            Err(CliError::ExitRunning { pod, until, left_s }.into())
        }
        _ => Ok(()),
    }
}

#[derive(Deserialize)]
struct Close {
    pod: PodId,
    password: String,
}

/// The enclave signs first: from then on it takes no further request in this channel.
pub(super) async fn close(State(page): Shared, body: Bytes) -> Answered {
    let Close { pod, password } = read(&body)?;
    page.confirm(password).await?;
    let (client, chain) = (&page.client, page.client.chain());
    match page.owner()? {
        Some(owner) => {
            let close = client.close(pod).await?;
            let (sum, sig) = (close.cumulative, &close.enclave_sig);
            page.send(&owner, &[chain.close_call(close.user, pod, sum, sig)]).await
        }
        None => Ok(to_relay(&client.signed_close(pod).await?)),
    }
}

pub(super) async fn limits(State(page): Shared) -> Answered {
    Ok(Json(limits_json(&page.client.spending().await?)))
}

fn limits_json(spending: &Spending) -> Value {
    let Spending { limits, today, pods } = spending;
    let pods: Vec<Value> =
        pods.iter().map(|(pod, used)| json!({"pod": pod, "used": used})).collect();
    json!({
        "per_request": limits.per_request, "per_day": limits.per_day, "per_pod": limits.per_pod,
        "used_today": today, "used_by_pod": pods,
    })
}

/// In whole tokens, or `none`; what is absent stays.
#[derive(Deserialize)]
struct Limits {
    per_request: Option<String>,
    per_day: Option<String>,
    per_pod: Option<String>,
    password: String,
}

/// Written to the configuration and in force from the next request on.
pub(super) async fn set_limits(State(page): Shared, body: Bytes) -> Answered {
    let wish: Limits = read(&body)?;
    page.confirm(wish.password).await?;
    let decimals = page.client.token().await?.decimals;
    let mut config = page.home.config()?;
    let LimitsConfig { per_request, per_day, per_pod, .. } = &mut config.limits;
    for (limit, new) in
        [(per_request, wish.per_request), (per_day, wish.per_day), (per_pod, wish.per_pod)]
    {
        if let Some(new) = new {
            *limit = new;
        }
    }
    let limits = context::limits(&config.limits, decimals)?;
    page.home.write_config(&config)?;
    page.client.set_limits(limits);
    Ok(Json(limits_json(&page.client.spending().await?)))
}

impl Page {
    /// The owner's key, when it is on this machine.
    pub(super) fn owner(&self) -> Result<Option<Signer>, CliError> {
        match sending::owner_of(&self.home, self.owner_key_file.as_deref()) {
            Ok(owner) => Ok(Some(owner)),
            Err(CliError::NoKeyFile { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn user(&self) -> Result<Address, ClientError> {
        self.client.user().ok_or(ClientError::KeystoreLocked)
    }

    async fn amount(&self, text: &str) -> Result<Amount, Fault> {
        let TokenMeta { decimals, .. } = *self.client.token().await?;
        let read = units::parse(text, decimals);
        let amount = read.map_err(|error| Fault::field("amount", format!("{error}.")))?;
        let zero = || Fault::field("amount", "The amount is zero.");
        (amount > Amount::ZERO).then_some(amount).ok_or_else(zero)
    }

    async fn confirm(&self, password: String) -> Result<(), Fault> {
        self.passwords.check(&self.keystore, Zeroizing::new(password)).await
    }

    /// Sends the calls one after the other, from the owner.
    async fn send(&self, owner: &Signer, calls: &[Call]) -> Answered {
        let sender = self.client.chain().sender(owner);
        let mut mined = Vec::with_capacity(calls.len());
        for call in calls {
            mined.push(sender.send_call(call).await?);
        }
        let gas: u64 = mined.iter().map(|tx| tx.gas_used).sum();
        let fee = |tx: &Tx| u128::from(tx.gas_used) * tx.effective_gas_price_wei;
        let fee_wei: u128 = mined.iter().map(fee).sum();
        let hashes: Vec<String> =
            mined.iter().map(|tx| format!("0x{}", hex::encode(tx.hash))).collect();
        Ok(Json(json!({
            "sent": true, "transactions": hashes, "gas_used": gas, "fee_wei": fee_wei.to_string(),
        })))
    }
}

/// Signed and not sent: a file for `phallama relay`.
fn to_relay(signed: &SignedAction) -> Json<Value> {
    Json(json!({"sent": false, "signed": signed.to_json()}))
}

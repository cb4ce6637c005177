//! `phallama status`

use phallama_chain::{BlockTag, Chain, TokenMeta};
use phallama_client::{Balance, Client};
use serde_json::{Value, json};

use super::local::{self, Found};
use crate::context::{Context, money};
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

/// What there is at a glance. What cannot be read is missing, with the reason; only a
/// configuration that cannot be understood is a failure.
pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let server = local::find(context).await?;
    let user = context.keystore().ok().map(|keystore| keystore.address());
    let network = match context.chain().await {
        Ok(chain) => Network::read(context, chain).await,
        Err(error) => Err(error),
    };
    let simulated = context.config.trust.danger_accept_simulated_tee;
    if context.global.json {
        print::json(
            Schema::Status,
            json!({
                "home": context.home.dir(), "user": user, "server": server_json(&server),
                "approved_measurements": context.config.trust.measurements.len(),
                "accepts_simulated_tee": simulated,
                "network": network.as_ref().ok().map(Network::json),
                "network_error": network.as_ref().err().map(CliError::as_json),
            }),
        );
        return Ok(());
    }
    let none = || "none: `phallama wallet new` makes one".to_owned();
    print::line(format!("home      {}", context.home.dir().display()));
    print::line(format!("user key  {}", user.map_or_else(none, |user| user.to_string())));
    print::line(format!("server    {}", server_words(&server)));
    match &network {
        Ok(network) => network.lines().iter().for_each(print::line),
        Err(error) => print::line(format!("chain     {error}")),
    }
    Ok(())
}

struct Network {
    chain_id: u64,
    block: u64,
    block_age_s: u64,
    models: usize,
    pods: usize,
    token: TokenMeta,
    balance: Option<Balance>,
}

impl Network {
    async fn read(context: &Context, chain: Chain) -> Result<Self, CliError> {
        let head = chain.head(BlockTag::Latest).await?;
        let has_wallet = context.keystore().is_ok();
        let client: Client =
            if has_wallet { context.accountant().await? } else { context.reader().await? };
        let models = client.models().await?;
        let mut pods: Vec<_> = models.iter().flat_map(|model| model.pods.clone()).collect();
        pods.sort_unstable();
        pods.dedup();
        Ok(Self {
            chain_id: chain.config().chain_id,
            block: head.number,
            block_age_s: clock::now_unix_s().saturating_sub(head.timestamp_unix_s),
            models: models.len(),
            pods: pods.len(),
            token: client.token().await?.clone(),
            balance: if has_wallet { Some(client.balance().await?) } else { None },
        })
    }

    fn lines(&self) -> Vec<String> {
        let age = clock::duration(self.block_age_s);
        let mut lines = vec![
            format!("chain     {}, block {}, {age} old", self.chain_id, self.block),
            format!("network   {} models at {} pods", self.models, self.pods),
        ];
        if let Some(balance) = &self.balance {
            let shown = |amount| money(amount, &self.token);
            let limit = balance.limits.per_day.map_or_else(|| "no limit".to_owned(), shown);
            lines.push(format!("free      {}", shown(balance.free)));
            lines.push(format!("today     {} of {limit}", shown(balance.spent_today)));
        }
        lines
    }

    fn json(&self) -> Value {
        let balance = self.balance.as_ref();
        json!({
            "chain_id": self.chain_id, "block": self.block, "block_age_s": self.block_age_s,
            "models": self.models, "pods": self.pods, "token": self.token.symbol,
            "decimals": self.token.decimals, "free": balance.map(|balance| balance.free),
            "spent_today": balance.map(|balance| balance.spent_today),
            "limit_per_day": balance.and_then(|balance| balance.limits.per_day),
        })
    }
}

pub(super) fn server_words(found: &Found) -> String {
    match found {
        Found::Phallama { address, version } => {
            format!("http://{address} (phallama {version})")
        }
        Found::Guarded { address } => {
            format!("http://{address} (phallama; apps need a token: `phallama token create NAME`)")
        }
        Found::Free { address } => format!("does not run; {address} is free"),
        Found::Others { address } => format!("does not run; another program has {address}"),
    }
}

pub(super) fn server_json(found: &Found) -> Value {
    let (address, state, version) = match found {
        Found::Phallama { address, version } => (address, "running", Some(version)),
        Found::Guarded { address } => (address, "running", None),
        Found::Free { address } => (address, "not_running", None),
        Found::Others { address } => (address, "address_taken", None),
    };
    let needs_token = matches!(found, Found::Guarded { .. });
    json!({"address": address.to_string(), "state": state, "version": version,
           "needs_token": needs_token})
}

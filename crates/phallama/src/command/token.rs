//! `phallama token`

use std::collections::BTreeMap;

use phallama_chain::TokenMeta;
use phallama_protocol::ids::Amount;
use serde_json::json;

use crate::cli::Token;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::home::NO_LIMIT;
use crate::schema::Schema;
use crate::tokens::{self, TokenEntry, Tokens};
use crate::{clock, print};

pub(super) async fn run(context: &Context, command: &Token) -> Result<(), CliError> {
    match command {
        Token::Create { name, max_per_day } => {
            let token = tokens::create(&context.home, name, max_per_day.as_deref())?;
            print::line(&*token);
            print::note("It is not shown again. From now on, apps need a token of this home.");
            Ok(())
        }
        Token::Limit { name, amount } => {
            let amount = (amount != NO_LIMIT).then_some(amount.as_str());
            tokens::limit(&context.home, name, amount)
        }
        Token::List => list(context).await,
        Token::Revoke { name } => revoke(context, name),
    }
}

/// Makes a token void; says what it means when it was the last.
pub(super) fn revoke(context: &Context, name: &str) -> Result<(), CliError> {
    if tokens::revoke(&context.home, name)? == 0 {
        print::warning(
            "no token is left: every program on this machine may ask again, unless \
             `phallama serve --require-token` runs",
        );
    }
    Ok(())
}

/// What was spent today with each token that has a limit.
struct Spent {
    unit: TokenMeta,
    by_name: BTreeMap<String, Amount>,
}

async fn spent(context: &Context, entries: &[TokenEntry]) -> Result<Spent, CliError> {
    let client = context.accountant().await?;
    let mut by_name = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.max_per_day.is_some()) {
        by_name.insert(entry.name.clone(), client.spent_from(entry.purse()).await?);
    }
    Ok(Spent { unit: client.token().await?.clone(), by_name })
}

async fn list(context: &Context) -> Result<(), CliError> {
    let entries = Tokens::of(&context.home).entries()?;
    // The names are worth showing without wallet or chain; amounts need the token's decimals.
    let spent = if entries.iter().any(|entry| entry.max_per_day.is_some()) {
        spent(context, &entries).await.map_err(print::warning).ok()
    } else {
        None
    };
    let of = |entry: &TokenEntry| spent.as_ref().and_then(|spent| spent.by_name.get(&entry.name));
    if context.global.json {
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| {
                json!({"name": entry.name, "created_at_unix_s": entry.created_at_unix_s,
                       "max_per_day": entry.max_per_day, "spent_today": of(entry)})
            })
            .collect();
        print::json(Schema::Tokens, json!({"tokens": shown}));
        return Ok(());
    }
    let none = || "–".to_owned();
    let row = |entry: &TokenEntry| {
        let today = of(entry).zip(spent.as_ref());
        vec![
            entry.name.clone(),
            clock::rfc3339(entry.created_at_unix_s),
            entry.max_per_day.clone().unwrap_or_else(none),
            today.map_or_else(none, |(amount, spent)| money(*amount, &spent.unit)),
        ]
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let header = ["name", "created", "most per day", "spent today"];
    print::line(print::table(&header, &rows, &[2, 3]));
    if rows.is_empty() {
        print::note("there is none: every program on this machine may ask");
    }
    Ok(())
}

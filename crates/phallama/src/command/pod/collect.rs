//! `phallama pod collect`

use phallama_host::admin::{Answer, Ask};
use serde_json::json;

use super::admin::{Unit, ask, unexpected};
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

pub(in crate::command) async fn run(context: &Context) -> Result<(), CliError> {
    let answer = ask(context, Ask::Collect).await?;
    let Answer::Collected(collected) = answer else { return Err(unexpected(context, &answer)) };
    if context.global.json {
        print::json(Schema::Collected, json!({"collected": collected}));
        return Ok(());
    }
    match collected {
        None => print::line("there is no credit to collect"),
        Some(it) => print::line(format!(
            "collected {} ({} gas, transaction {})",
            Unit::of(context).await.show(it.amount),
            it.gas_used,
            it.tx_hash
        )),
    }
    Ok(())
}

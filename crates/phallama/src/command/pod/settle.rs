//! `phallama pod settle`

use phallama_host::admin::{Answer, Ask, Planned};
use serde_json::json;

use super::admin::{Unit, ask, show_settled, signers, unexpected};
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

pub(in crate::command) async fn run(context: &Context, dry_run: bool) -> Result<(), CliError> {
    match ask(context, Ask::Settle { dry_run }).await? {
        Answer::Settled(settled) if context.global.json => {
            print::json(Schema::Settled, json!({"settled": settled}));
        }
        Answer::Planned(planned) if context.global.json => {
            print::json(Schema::Settled, json!({"planned": planned}));
        }
        Answer::Settled(settled) => show_settled(&settled, &Unit::of(context).await),
        Answer::Planned(planned) => show_planned(&planned, &Unit::of(context).await),
        answer => return Err(unexpected(context, &answer)),
    }
    Ok(())
}

fn show_planned(planned: &[Planned], unit: &Unit) {
    if planned.is_empty() {
        print::line("nothing to settle");
    }
    for one in planned {
        print::line(format!(
            "would settle {} in {} rows under {}, in {} transactions",
            unit.show(one.payable),
            one.rows,
            signers(one.signed_by),
            one.transactions,
        ));
    }
}

//! `phallama pod drain`

use phallama_host::admin::{Answer, Ask, Drained};
use serde_json::json;

use super::admin::{Unit, ask, show_settled, unexpected};
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

pub(in crate::command) async fn run(context: &Context, resume: bool) -> Result<(), CliError> {
    let answer = ask(context, Ask::Drain { resume }).await?;
    let Answer::Drained(drained) = answer else { return Err(unexpected(context, &answer)) };
    if context.global.json {
        print::json(Schema::Drained, json!(drained));
        return Ok(());
    }
    let Drained { draining, open, settled } = drained;
    if !draining {
        print::line("the pod takes requests again");
        return Ok(());
    }
    print::line(format!("the pod refuses new requests; {open} are still open"));
    show_settled(&settled, &Unit::of(context).await);
    print::note("to take requests again, run `phallama pod drain --resume`");
    Ok(())
}

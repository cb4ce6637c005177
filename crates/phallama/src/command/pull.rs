//! `phallama pull`, `phallama stop`: Ollama's words for what happens at pods here.

use serde_json::json;

use super::show::offered;
use crate::cli::{Pull, StopModel};
use crate::context::Context;
use crate::error::CliError;
use crate::print::{self, Spinner};
use crate::schema::Schema;

/// Finds a pod that has the model and proves itself; the cheapest that does.
pub(super) async fn run(context: &Context, options: &Pull) -> Result<(), CliError> {
    let client = context.reader().await?;
    let listing = offered(&client, &options.model).await?;
    let waiting = Spinner::start("pods are being verified");
    let mut refused = Vec::new();
    let mut ready = None;
    for pod in &listing.pods {
        match client.verify(*pod).await {
            Ok(verified) => {
                ready = Some(verified);
                break;
            }
            Err(error) => refused.push(error),
        }
    }
    drop(waiting);
    let Some(verified) = ready else {
        let mut refused = refused.into_iter();
        let first = refused.next().expect("a model that is offered has a pod");
        refused.for_each(print::warning);
        return Err(first.into());
    };
    let pod = verified.record().pod_id;
    if context.global.json {
        let json = json!({"model": listing.model, "pod": pod, "downloaded": false,
            "release": verified.release_label()});
        print::json(Schema::Pull, json);
        return Ok(());
    }
    print::line(format!("{}  ready at pod {pod}, which was verified now", listing.model));
    print::note("Nothing is downloaded: the model runs there. To ask it, use `phallama run`.");
    Ok(())
}

pub(super) fn stop(context: &Context, options: &StopModel) {
    if context.global.json {
        print::json(Schema::Stop, json!({"model": options.model, "stopped": false}));
        return;
    }
    print::line(format!("{} is not loaded on this machine", options.model));
    print::note(
        "A pod unloads a model by itself when it needs the memory. An answer is stopped by Ctrl-C.",
    );
}

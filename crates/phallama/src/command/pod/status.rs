//! `phallama pod status`

use phallama_host::admin::{Answer, Ask};
use phallama_host::status::{Health, PodStatus};
use serde_json::json;

use super::admin::{Unit, ask, unexpected};
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

pub(in crate::command) async fn run(context: &Context) -> Result<(), CliError> {
    let answer = ask(context, Ask::Status).await?;
    let Answer::Status(status) = answer else { return Err(unexpected(context, &answer)) };
    if context.global.json {
        print::json(Schema::PodStatus, json!(status));
        return Ok(());
    }
    let unit = Unit::of(context).await;
    for (name, value) in lines(&status, &unit) {
        print::line(format!("{name:<12}{value}"));
    }
    Ok(())
}

fn lines(status: &PodStatus, unit: &Unit) -> Vec<(&'static str, String)> {
    let PodStatus { health, .. } = status;
    vec![
        ("pod", health.pod_id.to_string()),
        ("URL", status.url.clone()),
        ("serves", serves(health)),
        ("requests", format!("{} of {}, {} wait", health.in_flight, health.slots, health.queued)),
        ("block", health.block.to_string()),
        ("at risk", unit.show(status.at_risk)),
        ("reserved", unit.show(status.reserved)),
        (
            "unsettled",
            format!("{} (channels: {})", unit.show(status.unsettled), status.unsettled_channels),
        ),
    ]
}

/// Yes, or everything that keeps it from it.
fn serves(health: &Health) -> String {
    let reasons = [
        (health.identity.is_none(), "the enclave starts"),
        (health.draining, "it is draining"),
        (health.payments_paused, "its journal cannot store claims"),
        (health.chain_behind, "the chain does not answer"),
    ];
    let reasons: Vec<_> = reasons.iter().filter(|(holds, _)| *holds).map(|it| it.1).collect();
    match (health.ready, reasons.is_empty()) {
        (true, _) => "yes".to_owned(),
        (false, true) => "no: its worker is not ready".to_owned(),
        (false, false) => format!("no: {}", reasons.join(", ")),
    }
}

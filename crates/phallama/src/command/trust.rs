//! `phallama trust`

use phallama_client::ApprovedMeasurement as Approved;
use serde_json::json;

use crate::context::Context;
use crate::error::CliError;
use crate::home::ApprovedMeasurement;
use crate::print;

pub(super) fn approve(
    context: &mut Context,
    measurement: String,
    label: String,
) -> Result<(), CliError> {
    let mrenclave = match Approved::from_hex(&label, &measurement) {
        Ok(approved) => hex::encode(approved.measurement),
        Err(_) => {
            let expected = "64 hex digits".to_owned();
            return Err(CliError::BadValue { what: "measurement", got: measurement, expected });
        }
    };
    let mut config = context.home.config()?;
    config.trust.measurements.retain(|entry| entry.mrenclave != mrenclave);
    config.trust.measurements.push(ApprovedMeasurement { label, mrenclave });
    context.home.write_config(&config)?;
    context.config = config;
    list(context);
    Ok(())
}

pub(super) fn list(context: &Context) {
    let entries = &context.config.trust.measurements;
    if context.global.json {
        print::json(&json!({"measurements": entries}));
        return;
    }
    for entry in entries {
        print::line(format!("{}  {}", entry.mrenclave, entry.label));
    }
    if entries.is_empty() {
        print::note("nothing is approved: every pod will be refused");
    }
}

//! `phallama trust`

use serde_json::json;

use crate::context::{Context, approved};
use crate::error::CliError;
use crate::home::ApprovedMeasurement;
use crate::print;

pub(super) fn approve(context: &mut Context, entry: ApprovedMeasurement) -> Result<(), CliError> {
    approved(&entry)?;
    let mut config = context.home.config()?;
    config.trust.measurements.retain(|other| other.measurement != entry.measurement);
    config.trust.measurements.push(entry);
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
        let policy = entry.policy.as_deref().unwrap_or("any policy");
        print::line(format!("{}  {policy}  {}", entry.measurement, entry.label));
    }
    if entries.is_empty() {
        print::note("nothing is approved: every pod will be refused");
    }
}

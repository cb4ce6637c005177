//! `phallama trust`

use serde_json::json;

use crate::context::{Context, approved};
use crate::error::CliError;
use crate::home::ApprovedMeasurement;
use crate::print;
use crate::schema::Schema;

pub(super) fn approve(context: &mut Context, entry: ApprovedMeasurement) -> Result<(), CliError> {
    approved(&entry)?;
    context.change(|config| {
        let approved = &mut config.trust.measurements;
        approved.retain(|other| other.measurement != entry.measurement);
        approved.push(entry.clone());
    })?;
    list(context);
    Ok(())
}

pub(super) fn list(context: &Context) {
    let entries = &context.config.trust.measurements;
    if context.global.json {
        print::json(Schema::Trust, json!({"measurements": entries}));
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

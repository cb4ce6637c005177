//! `phallama audit`

use std::path::Path;

use phallama_client::{AUDIT_FILE_MAX_BYTES, Audit, Dossier};

use super::verify::{check_table, select};
use crate::cli::AuditPod;
use crate::context::Context;
use crate::error::CliError;
use crate::{clock, print};

pub(super) async fn pod(context: &Context, options: &AuditPod) -> Result<(), CliError> {
    let audit = match &options.from {
        Some(path) => again(context, path, options.at)?,
        None => now(context, options).await?,
    };
    show(context, &audit);
    Ok(audit.into_result()?)
}

/// Chain and pod as they are.
async fn now(context: &Context, options: &AuditPod) -> Result<Audit, CliError> {
    let client = context.reader().await?;
    let pods = select(&client, options.pod.as_deref()).await?;
    let [pod] = pods.as_slice() else {
        unreachable!("a pod is named, and exactly one is selected by a name")
    };
    let audit = client.audit(*pod).await?;
    if let Some(path) = &options.save {
        let text = format!("{:#}\n", audit.to_json());
        std::fs::write(path, text).map_err(|source| unusable(path, source))?;
    }
    Ok(audit)
}

/// A file and nothing else.
fn again(context: &Context, path: &Path, at_unix_s: Option<u64>) -> Result<Audit, CliError> {
    let json = read(path).map_err(|source| unusable(path, source))?;
    let dossier = Dossier::from_json(&json)
        .map_err(|source| CliError::AuditFile { path: path.to_owned(), source })?;
    let at_unix_s = at_unix_s.unwrap_or(dossier.gathered_at_unix_s);
    Ok(dossier.audit(&context.trust_policy()?, at_unix_s))
}

/// At most one byte more than an audit file has.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut json = Vec::new();
    let most = AUDIT_FILE_MAX_BYTES as u64 + 1;
    std::fs::File::open(path)?.take(most).read_to_end(&mut json)?;
    Ok(json)
}

fn unusable(path: &Path, source: std::io::Error) -> CliError {
    CliError::File { path: path.to_owned(), source }
}

fn show(context: &Context, audit: &Audit) {
    if context.global.json {
        print::document(&audit.to_json());
        return;
    }
    for (name, value) in facts(audit) {
        print::line(format!("{name:11}  {value}"));
    }
    print::line(check_table(audit.checks()));
}

/// What was judged, by name.
fn facts(audit: &Audit) -> Vec<(&'static str, String)> {
    let dossier = audit.dossier();
    let (deployment, record) = (&dossier.deployment, &dossier.record);
    let mut facts = vec![
        ("pod", record.pod_id.to_string()),
        ("registry", format!("{} on chain {}", deployment.registry, deployment.chain_id)),
        ("verifier", deployment.verifier.to_string()),
        ("root", deployment.root_certificate_sha256.to_string()),
    ];
    if let Some(key) = &record.key {
        let platform = format!(
            "{}, {}, TCB evaluation number {}, as the registry found",
            key.tee, key.tcb_status, key.evaluation_number
        );
        facts.push(("platform", platform));
        facts.push(("measurement", key.measurement.to_string()));
        facts.push(("evidence", key.evidence.to_string()));
    }
    let at = audit.at_unix_s();
    let time = if at == dossier.gathered_at_unix_s { "when it was gathered" } else { "as asked" };
    facts.push(("judged for", format!("{} ({at}), {time}", clock::rfc3339(at))));
    facts
}

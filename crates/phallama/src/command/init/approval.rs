//! Which enclave programs are accepted.

use std::path::PathBuf;

use phallama_chain::Chain;
use phallama_protocol::ids::Digest32;
use sha2::{Digest as _, Sha256};

use super::agrees;
use crate::cli::Init;
use crate::command::chain::development_root;
use crate::context::{Context, approved};
use crate::error::CliError;
use crate::home::ApprovedMeasurement;
use crate::print;

/// What the command line names.
pub(super) fn typed(options: &Init) -> Result<Vec<ApprovedMeasurement>, CliError> {
    let typed = |measurement: &String| {
        let label = "approved by hand".to_owned();
        let entry = ApprovedMeasurement { label, measurement: measurement.clone(), policy: None };
        approved(&entry)?;
        Ok(ApprovedMeasurement { measurement: digits(measurement), ..entry })
    };
    options.approve.iter().map(typed).collect()
}

/// Approves what was typed, and what the network's file names if that is to be believed.
pub(super) fn named(
    context: &mut Context,
    options: &Init,
    mut entries: Vec<ApprovedMeasurement>,
    published: &[ApprovedMeasurement],
) -> Result<(), CliError> {
    if options.approve_published {
        entries.extend(published.iter().cloned());
    }
    for entry in entries {
        print::note(format!("approved  {} ({})", entry.measurement, entry.label));
        keep(context, &entry)?;
    }
    Ok(())
}

/// Asks about each program that somebody names or that lies beside this one. Nothing is approved
/// unless it is said.
pub(super) async fn asked(
    context: &mut Context,
    chain: &Chain,
    published: Vec<ApprovedMeasurement>,
) -> Result<(), CliError> {
    let root = Digest32(Sha256::digest(development_root()).into());
    let is_simulated = chain.root_certificate_sha256().await? == root;
    if is_simulated && !accepts_simulated(context)? {
        return Ok(());
    }
    let own = if is_simulated { own_build() } else { None };
    let mut known: Vec<_> =
        context.config.trust.measurements.iter().map(|entry| digits(&entry.measurement)).collect();
    let mut candidates = Vec::new();
    for entry in published.into_iter().chain(own) {
        if !known.contains(&digits(&entry.measurement)) {
            known.push(digits(&entry.measurement));
            candidates.push(entry);
        }
    }
    if candidates.is_empty() {
        return Ok(());
    }
    print::note(
        "\nA pod is asked only when it proves that it runs an enclave program which you have \
         approved.",
    );
    for entry in &candidates {
        print::note(format!("  {}\n  measurement {}", entry.label, entry.measurement));
        if agrees("approve it")? {
            keep(context, entry)?;
        }
    }
    Ok(())
}

/// A measurement however it was written.
fn digits(measurement: &str) -> String {
    measurement.trim_start_matches("0x").to_ascii_lowercase()
}

/// On a chain whose machines are simulated, nothing works unless that is accepted.
fn accepts_simulated(context: &mut Context) -> Result<bool, CliError> {
    if context.config.trust.danger_accept_simulated_tee {
        return Ok(true);
    }
    print::note(
        "\nThis network is for development: its pods' TEEs are SIMULATED and protect nothing. \
         Whoever runs a pod can read every prompt.",
    );
    let accepts = agrees("accept simulated TEEs in this home")?;
    if accepts {
        context.change(|config| config.trust.danger_accept_simulated_tee = true)?;
    }
    Ok(accepts)
}

/// The enclave program beside this one, as a simulated platform measures it.
fn own_build() -> Option<ApprovedMeasurement> {
    let program: PathBuf = std::env::current_exe().ok()?.with_file_name("phallama-enclave");
    let output = std::process::Command::new(&program).arg("--print-measurement").output().ok()?;
    let printed = String::from_utf8(output.stdout).ok()?;
    let measurement = printed.trim();
    (output.status.success() && !measurement.is_empty()).then(|| ApprovedMeasurement {
        label: format!("the enclave program on this machine, {}", program.display()),
        measurement: digits(measurement),
        policy: None,
    })
}

fn keep(context: &mut Context, entry: &ApprovedMeasurement) -> Result<(), CliError> {
    context.change(|config| {
        let approved = &mut config.trust.measurements;
        approved.retain(|other| other.measurement != entry.measurement);
        approved.push(entry.clone());
    })
}

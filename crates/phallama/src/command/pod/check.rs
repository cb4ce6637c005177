//! `phallama pod check`

use std::path::Path;

use phallama_attest::Evidence;
use phallama_host::attestation::{Trial, no_collateral, try_evidence};
use phallama_host::collateral::{Cache, CollateralSource, Endpoint, HttpLimits};
use serde_json::json;

use crate::cli::PodCheck;
use crate::context::Context;
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

pub(in crate::command) async fn run(context: &Context, options: &PodCheck) -> Result<(), CliError> {
    let evidence = read(&options.evidence)?;
    let source = source(context, super::pccs(context, &options.collateral))?;
    let chain = context.chain().await?;
    let now = clock::now_unix_s();
    let trial = try_evidence(&chain, &evidence, source.as_ref(), now).await?;
    for remark in &trial.remarks {
        print::warning(remark);
    }
    if context.global.json {
        print::json(Schema::PodCheck, as_json(&trial));
        return Ok(());
    }
    print::line(print::table(&["", "this quote"], &rows(&trial), &[]));
    if let Some(remark) = trial.appraisal.remark() {
        print::warning(remark);
    }
    print::note("Nothing was sent. Whether the quote is bound to a pod was not checked.");
    Ok(())
}

fn rows(trial: &Trial) -> Vec<Vec<String>> {
    let (quote, appraisal) = (&trial.quote, &trial.appraisal);
    let missing: Vec<&str> = trial.missing.iter().map(|what| what.as_str()).collect();
    let nothing = |text: String| if text.is_empty() { "nothing".to_owned() } else { text };
    let holder = trial.holder.map_or_else(
        || "none".to_owned(),
        |holder| {
            let until = clock::rfc3339(holder.until_unix_s);
            format!("0x{}… until {until}", hex::encode(holder.pod_prefix))
        },
    );
    let contract = trial.verdict.map_or_else(
        || "asked when the collateral is there".to_owned(),
        |verdict| {
            let until = clock::rfc3339(verdict.expiry_unix_s);
            format!("accepts it: {}, until {until}", verdict.tcb_status)
        },
    );
    let known = if trial.pck_known { "remembered" } else { "comes with the quote" };
    [
        ("made by", quote.tee.to_string()),
        ("measurement", quote.measurement.to_string()),
        ("processor family", hex::encode_upper(quote.pck.fmspc)),
        ("machine", quote.pck.machine.to_string()),
        ("backs pod", holder),
        ("TCB status", appraisal.tcb_status.to_string()),
        ("advisories", nothing(appraisal.advisory_ids.join(", "))),
        ("TCB evaluation number", appraisal.evaluation_number.to_string()),
        ("collateral until", clock::rfc3339(appraisal.expires_at_unix_s)),
        ("to bring", nothing(missing.join(", "))),
        ("PCK certificate", known.to_owned()),
        ("registry", contract),
        ("would cost about", format!("{} gas, and the pod's listing", trial.gas_about)),
    ]
    .into_iter()
    .map(|(label, value)| vec![label.to_owned(), value])
    .collect()
}

fn as_json(trial: &Trial) -> serde_json::Value {
    let (quote, appraisal) = (&trial.quote, &trial.appraisal);
    let missing: Vec<&str> = trial.missing.iter().map(|what| what.as_str()).collect();
    json!({
        "tee": quote.tee,
        "measurement": quote.measurement,
        "evidence": quote.evidence,
        "fmspc": hex::encode(quote.pck.fmspc),
        "machine": quote.pck.machine,
        "machine_backs": trial.holder.map(|holder| hex::encode(holder.pod_prefix)),
        "tcb_status": appraisal.tcb_status,
        "advisory_ids": appraisal.advisory_ids,
        "tcb_evaluation_number": appraisal.evaluation_number,
        "collateral_expires_at_unix_s": appraisal.expires_at_unix_s,
        "to_bring": missing,
        "pck_known": trial.pck_known,
        "registry_accepts_until_unix_s": trial.verdict.map(|verdict| verdict.expiry_unix_s),
        "gas_about": trial.gas_about,
    })
}

/// The services, with the cache that the pod of this home uses.
fn source(context: &Context, urls: Vec<String>) -> Result<Option<CollateralSource>, CliError> {
    if urls.is_empty() {
        return Ok(None);
    }
    let path = context.home.path("pod").join("collateral");
    let cache = Cache::open(&path).map_err(|source| CliError::File { path, source })?;
    let limits = HttpLimits::default();
    let endpoint = |url: &String| {
        Endpoint::new(url, limits).map_err(|problem| CliError::BadValue {
            what: "collateral service",
            got: url.clone(),
            expected: format!("a URL ({problem})"),
        })
    };
    let endpoints = urls.iter().map(endpoint).collect::<Result<_, _>>()?;
    Ok(Some(CollateralSource::new(endpoints, limits, cache)))
}

/// An evidence document, or a raw quote without collateral.
fn read(path: &Path) -> Result<Evidence, CliError> {
    let bytes =
        std::fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    if bytes.trim_ascii_start().starts_with(b"{") {
        return Evidence::from_json(&bytes).map_err(|error| CliError::BadValue {
            what: "evidence document",
            got: path.display().to_string(),
            expected: format!("the JSON that a pod serves: {error}"),
        });
    }
    let digits: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let quote = hex::decode(digits).unwrap_or(bytes);
    Ok(Evidence { quote, collateral: no_collateral() })
}

//! `phallama receipts`

use phallama_chain::TokenMeta;
use phallama_client::StoredReceipt;
use serde_json::{Value, json};

use super::pods::short;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::{clock, print};

/// Newest receipts that are listed.
const LISTED: usize = 50;

pub(super) async fn run(context: &Context, number: Option<usize>) -> Result<(), CliError> {
    let client = context.reader().await?;
    let meta = client.token().await?;
    let receipts = client.receipts(LISTED).await?;
    match number {
        Some(number) => one(context, &receipts, number),
        None => {
            list(context, &receipts, meta);
            Ok(())
        }
    }
}

fn list(context: &Context, receipts: &[StoredReceipt], meta: &TokenMeta) {
    if context.global.json {
        let receipts: Vec<Value> = receipts.iter().map(as_json).collect();
        print::json(&json!({"receipts": receipts}));
        return;
    }
    let row = |(index, stored): (usize, &StoredReceipt)| {
        let when = clock::rfc3339(stored.finished_at_unix_ms / 1000);
        let mut row =
            vec![(index + 1).to_string(), when, short(&stored.agreement.pod_id.to_string())];
        match stored.check() {
            Ok(signed) => {
                let receipt = &signed.receipt;
                row.push(stored.agreement.offer.model.clone());
                row.push(format!("{} + {}", receipt.prompt_tokens, receipt.completion_tokens));
                row.push(money(receipt.cost, meta));
                row.push("valid".to_owned());
            }
            Err(fault) => {
                row.extend(["?", "?", "?"].map(str::to_owned));
                row.push(fault.to_string());
            }
        }
        row
    };
    let rows: Vec<Vec<String>> = receipts.iter().enumerate().map(row).collect();
    let header = ["no.", "finished", "pod", "model", "tokens", "cost", "signature"];
    print::line(print::table(&header, &rows, &[0, 4, 5]));
}

fn one(context: &Context, receipts: &[StoredReceipt], number: usize) -> Result<(), CliError> {
    let stored = number.checked_sub(1).and_then(|index| receipts.get(index));
    let stored = stored.ok_or_else(|| CliError::BadValue {
        what: "receipt number",
        got: number.to_string(),
        expected: format!("1 to {}", receipts.len()),
    })?;
    let json = as_json(stored);
    if context.global.json {
        print::json(&json);
        return Ok(());
    }
    for (name, value) in json.as_object().expect("an object was built") {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        print::line(format!("{name:17}  {text}"));
    }
    Ok(())
}

/// Every field of the receipt, and everything needed to check it elsewhere.
fn as_json(stored: &StoredReceipt) -> Value {
    let checked = stored.check();
    let valid = checked.as_ref().map_or_else(ToString::to_string, |_| "valid".to_owned());
    let mut json = json!({
        "request": stored.request_id, "finished": clock::rfc3339(stored.finished_at_unix_ms / 1000),
        "pod": stored.agreement.pod_id, "url": stored.pod_url, "build": stored.release_label,
        "model": stored.agreement.offer.model, "identity": stored.agreement.identity,
        "chain_id": stored.chain_id, "escrow": stored.escrow,
        "voucher_cap": stored.agreement.voucher_cap, "signature": valid,
        "receipt_hex": stored.receipt_hex,
    });
    if let Ok(signed) = checked {
        let receipt = &signed.receipt;
        json["prompt_tokens"] = receipt.prompt_tokens.into();
        json["completion_tokens"] = receipt.completion_tokens.into();
        json["cost"] = receipt.cost.to_string().into();
        json["cumulative"] = receipt.cumulative.to_string().into();
        json["measurement"] = receipt.measurement.to_string().into();
        json["evidence_hash"] = receipt.evidence_hash.to_string().into();
    }
    json
}

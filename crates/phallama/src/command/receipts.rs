//! `phallama receipts`, `phallama audit receipt`

use std::path::Path;

use phallama_chain::TokenMeta;
use phallama_client::StoredReceipt;
use phallama_protocol::ids::Amount;
use serde_json::{Value, json};

use super::pods::short;
use crate::cli::{ReceiptFilter, Receipts, ReceiptsAction};
use crate::context::{Context, money};
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

/// Columns of the CSV.
const CSV_HEADER: &str = "finished,request,pod,model,prompt_tokens,completion_tokens,cost,\
                          cumulative,chain_id,escrow,receipt_hash,signature";

pub(super) async fn run(context: &Context, options: &Receipts) -> Result<(), CliError> {
    let client = context.reader().await?;
    let meta = client.token().await?;
    let all = client.receipts(usize::MAX).await?;
    let receipts = filtered(all, &options.filter)?;
    match &options.action {
        None => list(context, &receipts, meta),
        Some(ReceiptsAction::Show { receipt }) => {
            one(context, find(&receipts, receipt)?, Some(meta));
        }
        Some(ReceiptsAction::Export { csv: true }) => print::piece(&csv(&receipts)),
        Some(ReceiptsAction::Export { csv: false }) => {
            print::json(Schema::ReceiptsExport, json!({"receipts": receipts}));
        }
        Some(ReceiptsAction::Check) => return check(context, &receipts),
    }
    Ok(())
}

/// Newest first.
fn filtered(
    receipts: Vec<StoredReceipt>,
    filter: &ReceiptFilter,
) -> Result<Vec<StoredReceipt>, CliError> {
    let since_unix_s = match &filter.since {
        None => 0,
        Some(day) => clock::day_unix_s(day).ok_or_else(|| CliError::BadValue {
            what: "day",
            got: day.clone(),
            expected: "a date like 2026-11-28".to_owned(),
        })?,
    };
    let wanted = |receipt: &StoredReceipt| {
        let (pod, model) = (&receipt.agreement.pod_id, &receipt.agreement.offer.model);
        receipt.finished_at_unix_ms / 1000 >= since_unix_s
            && filter.pod.as_ref().is_none_or(|asked| pod.to_string().starts_with(asked.as_str()))
            && filter.model.as_ref().is_none_or(|asked| model == asked)
    };
    Ok(receipts.into_iter().filter(wanted).take(filter.most).collect())
}

fn find<'a>(receipts: &'a [StoredReceipt], asked: &str) -> Result<&'a StoredReceipt, CliError> {
    let by_number = asked.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let found = match by_number {
        Some(index) => receipts.get(index),
        None => receipts.iter().find(|receipt| receipt.request_id.to_string() == asked),
    };
    found.ok_or_else(|| CliError::BadValue {
        what: "receipt",
        got: asked.to_owned(),
        expected: format!("1 to {}, or a request id", receipts.len()),
    })
}

fn list(context: &Context, receipts: &[StoredReceipt], meta: &TokenMeta) {
    if context.global.json {
        let receipts: Vec<Value> = receipts.iter().map(as_json).collect();
        print::json(Schema::Receipts, json!({"receipts": receipts}));
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
    let rows: Vec<_> = receipts.iter().enumerate().map(row).collect();
    let header = ["", "finished", "pod", "model", "tokens", "cost", "signature"];
    print::line(print::table(&header, &rows, &[0, 4, 5]));
}

/// All of one receipt. Without the token's name and decimals, amounts are in its smallest units.
fn one(context: &Context, stored: &StoredReceipt, meta: Option<&TokenMeta>) {
    if context.global.json {
        let mut json = as_json(stored);
        json["stored"] = json!(stored);
        print::json(Schema::Receipt, json);
        return;
    }
    let amount = |amount: Amount| match meta {
        Some(meta) => money(amount, meta),
        None => format!("{amount} of the token's smallest units"),
    };
    let agreement = &stored.agreement;
    let mut rows = vec![
        ("request", stored.request_id.to_string()),
        ("finished", clock::rfc3339(stored.finished_at_unix_ms / 1000)),
        ("pod", agreement.pod_id.to_string()),
        ("at", stored.pod_url.clone()),
        ("build", stored.release_label.clone()),
        ("model", agreement.offer.model.clone()),
        ("enclave's key", agreement.identity.to_string()),
        ("most agreed to", amount(agreement.voucher_cap)),
    ];
    match stored.check() {
        Ok(signed) => {
            let receipt = &signed.receipt;
            rows.extend([
                ("tokens", format!("{} + {}", receipt.prompt_tokens, receipt.completion_tokens)),
                ("cost", amount(receipt.cost)),
                ("charged so far", amount(receipt.cumulative)),
                ("measurement", receipt.measurement.to_string()),
                ("evidence", receipt.evidence_hash.to_string()),
                ("receipt's hash", receipt.hash().to_string()),
                ("signature", "valid".to_owned()),
            ]);
        }
        Err(fault) => rows.push(("signature", fault.to_string())),
    }
    rows.push(("chain", stored.chain_id.to_string()));
    rows.push(("escrow", stored.escrow.to_string()));
    rows.push(("signed bytes", stored.receipt_hex.clone()));
    for (name, value) in rows {
        print::line(format!("{name:14}  {value}"));
    }
}

/// One line for each, after a line of names; RFC 4180 but for the ends of lines.
pub(crate) fn csv(receipts: &[StoredReceipt]) -> String {
    let mut text = format!("{CSV_HEADER}\n");
    for stored in receipts {
        let json = as_json(stored);
        let field = |name: &str| match &json[name] {
            Value::Null => String::new(),
            Value::String(text) => field_of_csv(text),
            other => other.to_string(),
        };
        let fields: Vec<_> = CSV_HEADER.split(',').map(|name| field(name.trim())).collect();
        text.push_str(&fields.join(","));
        text.push('\n');
    }
    text
}

/// A field; RFC 4180.
fn field_of_csv(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Every check of every receipt again; the first that fails decides the exit code.
fn check(context: &Context, receipts: &[StoredReceipt]) -> Result<(), CliError> {
    let failed: Vec<_> = receipts
        .iter()
        .filter_map(|receipt| receipt.check().err().map(|fault| (receipt.request_id, fault)))
        .collect();
    let valid = receipts.len() - failed.len();
    if context.global.json {
        let failed: Vec<_> = failed
            .iter()
            .map(|(request, fault)| json!({"request": request, "reason": fault.to_string()}))
            .collect();
        let checked = json!({"checked": receipts.len(), "valid": valid, "failed": failed});
        print::json(Schema::ReceiptsChecked, checked);
    } else {
        print::line(format!("checked  {}\nvalid    {valid}", receipts.len()));
        for (request, fault) in &failed {
            print::line(format!("failed   {request}: {fault}"));
        }
    }
    match failed.into_iter().next() {
        None => Ok(()),
        Some((request, source)) => Err(CliError::Receipt { request, source }),
    }
}

/// A receipt alone: the file has everything that it is held to.
pub(super) fn audit(context: &Context, path: &Path) -> Result<(), CliError> {
    let text =
        std::fs::read(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    let not_one = |reason: String| CliError::ReceiptFile { path: path.to_owned(), reason };
    let json: Value = serde_json::from_slice(&text).map_err(|error| not_one(error.to_string()))?;
    let stored = json.get("stored").cloned().unwrap_or(json);
    let stored: StoredReceipt =
        serde_json::from_value(stored).map_err(|error| not_one(error.to_string()))?;
    one(context, &stored, None);
    let request = stored.request_id;
    stored.check().map(drop).map_err(|source| CliError::Receipt { request, source })
}

/// Every field of the receipt, and everything needed to check it elsewhere.
pub(crate) fn as_json(stored: &StoredReceipt) -> Value {
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
        json["receipt_hash"] = receipt.hash().to_string().into();
    }
    json
}

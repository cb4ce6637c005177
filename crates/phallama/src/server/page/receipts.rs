//! The receipts: list, one, check, export.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use phallama_client::StoredReceipt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::{Answered, Page, Shared, read};
use crate::command::receipts;

/// Most that the list shows unless more are asked for.
const SHOWN: usize = 200;

/// Which receipts; an empty text is no filter.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Filter {
    pod: String,
    model: String,
    since_unix_s: u64,
    most: Option<usize>,
    /// Of the export: `csv`, or JSON.
    format: String,
}

impl Filter {
    fn takes(&self, receipt: &StoredReceipt) -> bool {
        let agreed = &receipt.agreement;
        (self.pod.is_empty() || agreed.pod_id.to_string().starts_with(&self.pod))
            && (self.model.is_empty() || agreed.offer.model == self.model)
            && receipt.finished_at_unix_ms / 1000 >= self.since_unix_s
    }

    /// Newest first.
    async fn receipts(&self, page: &Page) -> Result<Vec<StoredReceipt>, Fault> {
        let all = page.client.receipts(usize::MAX).await?;
        Ok(all.into_iter().filter(|receipt| self.takes(receipt)).collect())
    }
}

/// Each as the command line shows it, the signature checked again.
pub(super) async fn list(State(page): Shared, Query(filter): Query<Filter>) -> Answered {
    let found = filter.receipts(&page).await?;
    let most = filter.most.unwrap_or(SHOWN);
    let shown: Vec<Value> = found.iter().take(most).map(receipts::as_json).collect();
    Ok(Json(json!({"receipts": shown, "found": found.len()})))
}

/// By the request's id or the receipt's hash, with everything that it is held to.
pub(super) async fn one(State(page): Shared, Path(id): Path<String>) -> Answered {
    let all = page.client.receipts(usize::MAX).await?;
    let is_it = |receipt: &&StoredReceipt| {
        receipt.request_id.to_string() == id
            || receipt.signed().is_ok_and(|signed| signed.receipt.hash().to_string() == id)
    };
    let Some(stored) = all.iter().find(is_it) else {
        let message = "This wallet has no such receipt.";
        return Err(Fault::new(StatusCode::NOT_FOUND, "unknown_receipt", message));
    };
    let mut json = receipts::as_json(stored);
    json["stored"] = json!(stored);
    Ok(Json(json))
}

/// Every check of every receipt again, or of one that is brought along as the command line or the
/// export wrote it.
pub(super) async fn check(State(page): Shared, body: Bytes) -> Answered {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Brought {
        stored: Option<StoredReceipt>,
    }
    let receipts = match read::<Brought>(&body)?.stored {
        Some(stored) => vec![stored],
        None => page.client.receipts(usize::MAX).await?,
    };
    // A tenth of a millisecond each, and there may be many.
    let checked = tokio::task::spawn_blocking(move || checked(&receipts)).await;
    Ok(Json(checked.expect("checks do not panic")))
}

fn checked(receipts: &[StoredReceipt]) -> Value {
    let fault = |stored: &StoredReceipt| {
        let fault = stored.check().err()?;
        Some(json!({"request": stored.request_id, "reason": fault.to_string()}))
    };
    let failed: Vec<Value> = receipts.iter().filter_map(fault).collect();
    let valid = receipts.len() - failed.len();
    json!({"checked": receipts.len(), "valid": valid, "failed": failed})
}

pub(super) async fn export(
    State(page): Shared,
    Query(filter): Query<Filter>,
) -> Result<Response, Fault> {
    let found = filter.receipts(&page).await?;
    let (kind, text) = if filter.format == "csv" {
        ("text/csv; charset=utf-8", receipts::csv(&found))
    } else {
        ("application/json", json!({"receipts": found}).to_string())
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response())
}

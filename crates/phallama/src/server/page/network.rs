//! What there is: this server, its models, the pods, and the verdict about one of them.

use std::time::Instant;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use phallama_chain::BlockTag;
use phallama_client::{ApprovedMeasurement, ClientConfig};
use phallama_protocol::ids::PodId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answered, Shared, read};
use crate::clock;
use crate::command::pods;

/// The configuration in force and whether the chain answers. Never fails: a page that cannot reach
/// the chain still says so.
pub(super) async fn status(State(page): Shared) -> Answered {
    let client = &page.client;
    let config = client.config();
    let (head, token) = tokio::join!(client.chain().head(BlockTag::Latest), client.token());
    let answered = head.as_ref().err().map(ToString::to_string);
    let token = token.ok().map(|t| json!({"symbol": t.symbol, "decimals": t.decimals}));
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now_unix_s": clock::now_unix_s(),
        "user": client.user(),
        "token": token,
        "chain": {
            "chain_id": config.chain.chain_id, "registry": config.chain.registry,
            "escrow": config.chain.escrow, "token": config.chain.token,
            "block": head.as_ref().ok().map(|head| head.number), "fault": answered,
        },
        "trust": trust(config),
        "can_send": page.owner()?.is_some(),
    })))
}

fn trust(config: &ClientConfig) -> Value {
    let measurement = |entry: &ApprovedMeasurement| {
        json!({
            "label": entry.label, "measurement": hex::encode(entry.measurement),
            "policy": entry.policy.map(hex::encode),
        })
    };
    let approved: Vec<Value> = config.trust.measurements.iter().map(measurement).collect();
    json!({"root": config.trust.root.kind(), "measurements": approved})
}

pub(super) async fn models(State(page): Shared) -> Answered {
    Ok(Json(json!({"models": page.client.models().await?})))
}

pub(super) async fn pods(State(page): Shared) -> Answered {
    let pods: Vec<Value> = page.client.pods().await?.iter().map(pods::as_json).collect();
    Ok(Json(json!({"pods": pods, "now_unix_s": clock::now_unix_s()})))
}

#[derive(Deserialize)]
struct Verify {
    pod: PodId,
}

/// Asks chain and pod now, whatever was known before: the audit file, and how long it took.
pub(super) async fn verify(State(page): Shared, body: Bytes) -> Answered {
    let Verify { pod } = read(&body)?;
    let began = Instant::now();
    let audit = page.client.audit(pod).await?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Json(json!({"audit": audit.to_json(), "took_ms": took_ms})))
}

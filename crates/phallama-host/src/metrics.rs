//! What a monitoring system reads: counters that the pod keeps, and values looked up when it asks.
//! Nothing about users: no address, no model, no prompt.
//!
//! Amounts are in the token's smallest unit.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use phallama_protocol::ids::Amount;
use phallama_protocol::refusal::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::clock;
use crate::progress::PodProgress;
use crate::status::StatusSource;

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// A commit waits for the disk: from an eighth of a millisecond to four seconds.
const COMMIT_SECONDS: [f64; 16] = [
    0.000_125, 0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25,
    0.5, 1.0, 2.0, 4.0,
];

/// A value that is written as a decimal number: amounts have 96 bits.
type Value = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    measurement: String,
}

/// Who ended an answer before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AbortedBy {
    Client,
    Enclave,
}

/// What is counted. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    accepted: Counter,
    rejected: Family<Reason, Counter>,
    submitted: Counter,
    confirmed: Counter,
    failed: Counter,
    settlement_gas: Counter,
    attested: Counter,
    refused: Family<Reason, Counter>,
    attested_at: Value,
    collateral_until: Value,
    commits: Histogram,
    restarts: Counter,
    aborts: Family<By, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            accepted: Counter::default(),
            rejected: Family::default(),
            submitted: Counter::default(),
            confirmed: Counter::default(),
            failed: Counter::default(),
            settlement_gas: Counter::default(),
            attested: Counter::default(),
            refused: Family::default(),
            attested_at: Value::default(),
            collateral_until: Value::default(),
            commits: Histogram::new(COMMIT_SECONDS),
            restarts: Counter::default(),
            aborts: Family::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn admitted(&self) {
        self.accepted.inc();
    }

    pub(crate) fn denied(&self, code: Code) {
        self.rejected.get_or_create(&Reason { reason: code.name().to_owned() }).inc();
    }

    pub(crate) fn settlement_sent(&self) {
        self.submitted.inc();
    }

    pub(crate) fn settlement_mined(&self, gas_used: u64) {
        self.confirmed.inc();
        self.settlement_gas.inc_by(gas_used);
    }

    pub(crate) fn settlement_failed(&self) {
        self.failed.inc();
    }

    pub(crate) fn committed(&self, took: Duration) {
        self.commits.observe(took.as_secs_f64());
    }

    pub(crate) fn aborted(&self, by: AbortedBy) {
        let by = match by {
            AbortedBy::Client => "client",
            AbortedBy::Enclave => "enclave",
        };
        self.aborts.get_or_create(&By { by }).inc();
    }

    /// Counts what a pod reports of itself.
    pub(crate) fn observe(&self, step: &PodProgress) {
        match step {
            PodProgress::Attested { .. } => {
                self.attested.inc();
                self.attested_at.set(seconds(clock::now_unix_s()));
            }
            PodProgress::Appraised { appraisal } => {
                self.collateral_until.set(seconds(appraisal.expires_at_unix_s));
            }
            PodProgress::Refused(refusal) => {
                let reason = format!("{:?}", refusal.kind);
                self.refused.get_or_create(&Reason { reason }).inc();
            }
            PodProgress::EnclaveRestarting { .. } => {
                self.restarts.inc();
            }
            _ => {}
        }
    }

    fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, counter: &Counter| {
            registry.register(name, help, counter.clone());
        };
        add("vouchers_accepted", "Requests admitted for payment", &self.accepted);
        add("settlement_submitted", "Settlement transactions sent", &self.submitted);
        add("settlement_confirmed", "Settlement transactions mined", &self.confirmed);
        add("settlement_failed", "Settlement transactions that failed", &self.failed);
        add("settlement_gas_used", "Gas of settlement transactions", &self.settlement_gas);
        add("attestation_ok", "Attestations that the registry took", &self.attested);
        add("enclave_restarts", "Restarts of the enclave program", &self.restarts);
        registry.register(
            "vouchers_rejected",
            "Requests not admitted, by code",
            self.rejected.clone(),
        );
        registry.register(
            "attestation_refused",
            "Evidence that the host refused to send, by reason",
            self.refused.clone(),
        );
        registry.register("stream_aborts", "Answers ended before their end", self.aborts.clone());
        registry.register(
            "ledger_commit_seconds",
            "Time of a commit to the journal",
            self.commits.clone(),
        );
    }
}

/// Where the metrics are read.
pub(crate) struct Exposition {
    pub(crate) metrics: Metrics,
    pub(crate) status: Arc<StatusSource>,
}

impl Exposition {
    pub(crate) fn router(self) -> Router {
        Router::new().route("/metrics", get(scrape)).with_state(Arc::new(self))
    }

    async fn text(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::with_prefix("phallama");
        self.metrics.register(&mut registry);
        self.register_values(&mut registry).await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// What is looked up now.
    async fn register_values(&self, registry: &mut Registry) {
        let status = self.status.all().await;
        let now = seconds(clock::now_unix_s());
        let mut add = |name: &str, help: &str, value: f64| {
            let gauge = Value::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        add(
            "value_at_risk_units",
            "What users owe or may come to owe beyond what is locked for good",
            units(status.at_risk),
        );
        add("unsettled_units", "What was charged and not settled", units(status.unsettled));
        add("streams_active", "Exchanges that are open", count(status.exchanges));
        let lag = self.status.view.head_lag().as_secs_f64();
        add("chain_head_lag_seconds", "Age of the newest block read", lag);
        let (attested, until) =
            (self.metrics.attested_at.get(), self.metrics.collateral_until.get());
        if attested > 0.0 {
            add("attestation_age_seconds", "Since the last attestation", now - attested);
        }
        if until > 0.0 {
            add("collateral_expiry_seconds", "Until the collateral ends", until - now);
        }
        let restarts = status.health.models.iter().map(|model| model.restarts).sum::<u64>();
        registry.register(
            "engine_restarts",
            "Times that a model had no worker for a while, since the enclave started",
            ConstCounter::new(restarts),
        );
        let measurement = status.health.measurement.map(|it| it.to_string()).unwrap_or_default();
        let info = Family::<Build, Gauge>::default();
        info.get_or_create(&Build { version: env!("CARGO_PKG_VERSION"), measurement }).set(1);
        registry.register("build_info", "Version and measurement", info);
    }
}

async fn scrape(State(exposition): State<Arc<Exposition>>) -> Response {
    match exposition.text().await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a graph needs no more than 53 bits")]
fn units(amount: Amount) -> f64 {
    amount.value() as f64
}

#[expect(clippy::cast_precision_loss, reason = "seconds and counts stay far below 2^53")]
fn seconds(unix_s: u64) -> f64 {
    unix_s as f64
}

fn count(number: usize) -> f64 {
    seconds(u64::try_from(number).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;

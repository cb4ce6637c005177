//! What a monitoring system reads of the local server. Nothing about users: no address, no key, no
//! prompt; a model's name is one that a pod offers.
//!
//! Names of requests are those of OpenTelemetry's GenAI conventions in Prometheus' spelling;
//! amounts are in the token's smallest unit.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use phallama_client::{Client, Method, Observer, RequestEnd};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The one provider.
const PROVIDER: &str = "phallama";
/// As the conventions advise.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: String,
    /// Empty when nothing failed.
    error_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
#[expect(clippy::struct_field_names, reason = "labels have the conventions' names")]
struct Used {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: String,
    gen_ai_token_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

type Durations = Family<Asked, Histogram, fn() -> Histogram>;

/// What is counted. Clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    usage: Family<Used, Histogram, fn() -> Histogram>,
    duration: Durations,
    first_chunk: Durations,
    spent: Counter<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        let tokens: fn() -> Histogram = || Histogram::new(TOKENS);
        Self {
            usage: Family::new_with_constructor(tokens),
            duration: Family::new_with_constructor(seconds),
            first_chunk: Family::new_with_constructor(seconds),
            spent: Counter::default(),
        }
    }
}

impl Metrics {
    /// What the client library tells about each request.
    pub fn observer(&self) -> Observer {
        let metrics = self.clone();
        Observer::new(move |end| metrics.count(end))
    }

    fn count(&self, end: &RequestEnd<'_>) {
        let (operation, model) = (operation(end.method), end.model.to_owned());
        let asked = Asked {
            gen_ai_operation_name: operation,
            gen_ai_provider_name: PROVIDER,
            gen_ai_request_model: model.clone(),
            error_type: end.result.err().unwrap_or_default(),
        };
        if let Some(first) = end.first_part {
            self.first_chunk.get_or_create(&asked).observe(first.as_secs_f64());
        }
        self.duration.get_or_create(&asked).observe(end.whole.as_secs_f64());
        let Ok((usage, cost)) = end.result else { return };
        for (kind, tokens) in [("input", usage.prompt_tokens), ("output", usage.completion_tokens)]
        {
            let used = Used {
                gen_ai_operation_name: operation,
                gen_ai_provider_name: PROVIDER,
                gen_ai_request_model: model.clone(),
                gen_ai_token_type: kind,
            };
            self.usage.get_or_create(&used).observe(f64::from(tokens));
        }
        self.spent.inc_by(units(cost.value()));
    }

    fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "gen_ai_client_token_usage",
            "Billed tokens of a request",
            Unit::Other("tokens".to_owned()),
            self.usage.clone(),
        );
        registry.register_with_unit(
            "gen_ai_client_operation_duration",
            "A request from its arrival to its end",
            Unit::Seconds,
            self.duration.clone(),
        );
        registry.register_with_unit(
            "gen_ai_client_operation_time_to_first_chunk",
            "A request from its arrival to the first part of its answer",
            Unit::Seconds,
            self.first_chunk.clone(),
        );
        registry.register("phallama_spent_units", "What answers cost", self.spent.clone());
    }
}

/// OpenTelemetry's word for it.
fn operation(method: Method) -> &'static str {
    match method {
        Method::Chat => "chat",
        Method::Completion => "text_completion",
        Method::Embeddings => "embeddings",
        Method::Tokenise => "tokenize",
        Method::Detokenise => "detokenize",
    }
}

/// Where the metrics are read.
struct Exposition {
    metrics: Metrics,
    client: Arc<Client>,
}

/// The one route of a port of its own.
pub(crate) fn router(metrics: Metrics, client: Arc<Client>) -> Router {
    let exposition = Arc::new(Exposition { metrics, client });
    Router::new().route("/metrics", get(scrape)).with_state(exposition)
}

async fn scrape(State(exposition): State<Arc<Exposition>>) -> Response {
    let (open, resting) = exposition.client.open_and_resting();
    match exposition.metrics.text(open, resting) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Metrics {
    fn text(&self, open: usize, resting: usize) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        self.register(&mut registry);
        let mut add = |name: &str, help: &str, value: usize| {
            let gauge = Gauge::<i64>::default();
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
            registry.register(name, help, gauge);
        };
        add("phallama_streams_active", "Requests that are open with pods", open);
        add("phallama_pods_resting", "Pods that failed and are asked last", resting);
        let info = Family::<Build, Gauge>::default();
        info.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("phallama_build_info", "Version", info);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a graph needs no more than 53 bits")]
fn units(amount: u128) -> f64 {
    amount as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use phallama_client::Usage;

    use super::*;

    fn end(result: Result<(Usage, phallama_protocol::ids::Amount), &'static str>) -> String {
        let metrics = Metrics::default();
        metrics.count(&RequestEnd {
            method: Method::Chat,
            model: "tiny:1b",
            first_part: Some(Duration::from_millis(30)),
            whole: Duration::from_millis(300),
            result,
        });
        metrics.text(2, 1).unwrap()
    }

    #[test]
    fn a_request_is_counted_with_its_tokens_and_its_cost() {
        let usage = Usage { prompt_tokens: 10, completion_tokens: 200, cached_tokens: 0 };
        let text = end(Ok((usage, 14.into())));
        let asked = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"phallama\",\
                     gen_ai_request_model=\"tiny:1b\"";
        for line in [
            format!(
                "gen_ai_client_operation_duration_seconds_bucket{{le=\"0.32\",{asked},\
                 error_type=\"\"}} 1"
            ),
            format!(
                "gen_ai_client_operation_time_to_first_chunk_seconds_count{{{asked},\
                 error_type=\"\"}} 1"
            ),
            format!(
                "gen_ai_client_token_usage_tokens_sum{{{asked},gen_ai_token_type=\"input\"}} 10.0"
            ),
            format!(
                "gen_ai_client_token_usage_tokens_sum{{{asked},gen_ai_token_type=\"output\"}} 200.0"
            ),
            "phallama_spent_units_total 14.0".to_owned(),
            "phallama_streams_active 2".to_owned(),
            "phallama_pods_resting 1".to_owned(),
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is missing:\n{text}");
        }
    }

    #[test]
    fn a_failure_is_counted_by_its_code_and_costs_nothing() {
        let text = end(Err("no_suitable_pod"));
        assert!(text.contains("error_type=\"no_suitable_pod\"} 1"), "{text}");
        assert!(text.contains("phallama_spent_units_total 0.0"), "{text}");
        assert!(!text.contains("gen_ai_token_type"), "{text}");
    }

    #[test]
    fn every_name_is_in_the_dashboards_list() {
        let known = include_str!("../../../../deploy/grafana/metrics.txt");
        let usage = Usage { prompt_tokens: 10, completion_tokens: 2, cached_tokens: 0 };
        let text = end(Ok((usage, 14.into())));
        let names = text.lines().filter(|line| !line.starts_with('#'));
        for name in names.filter_map(|line| line.split(['{', ' ']).next()) {
            assert!(known.lines().any(|one| one == name), "{name}");
        }
    }
}

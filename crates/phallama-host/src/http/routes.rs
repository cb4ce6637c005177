//! The five routes. Refusals are 64 bytes that carry a code and nothing else (spec/wire.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::StreamExt as _;
use phallama_attest::{EVIDENCE_PATH, Evidence};
use phallama_chain::ChainError;
use phallama_protocol::closing::{
    CLOSE_MEDIA_TYPE, CLOSE_PATH, CLOSE_REQUEST_LEN, CloseAnswer, CloseRequest,
};
use phallama_protocol::refusal::{Code, REFUSAL_MEDIA_TYPE, Refusal};
use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};

use crate::attestation::CollateralKeeper;
use crate::enclave::{EnclaveClient, EnclaveInfo, EnclaveState};
use crate::error::EnclaveError;
use crate::exchange::{Exchanges, Opening, Piece};
use crate::journal::ChannelKey;
use crate::status::StatusSource;

const REQUEST_MEDIA_TYPE: &str = "application/phallama-req";
const RESPONSE_MEDIA_TYPE: &str = "application/phallama-res";
const KEYS_MEDIA_TYPE: &str = "application/phallama-keys";
const INCREMENTAL: HeaderName = HeaderName::from_static("incremental");

/// A key lives for minutes and is accepted for two more, so a bundle may be a little old.
const BUNDLE_FRESH: Duration = Duration::from_secs(2);
/// Quotes made at a time for verifiers who bring a nonce; a quote is dear.
const QUOTES_AT_A_TIME: usize = 2;
const RETRY_AFTER_MS: u32 = 2_000;

/// What the routes need.
pub(crate) struct Front {
    pub(crate) exchanges: Arc<Exchanges>,
    pub(crate) enclave: EnclaveClient,
    pub(crate) keeper: Arc<CollateralKeeper>,
    pub(crate) state: watch::Receiver<EnclaveState>,
    pub(crate) draining: Arc<AtomicBool>,
    pub(crate) body_max_bytes: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) status: Arc<StatusSource>,
    bundle: Mutex<Option<CachedBundle>>,
    quotes: Semaphore,
}

struct CachedBundle {
    bytes: Bytes,
    of: Arc<EnclaveInfo>,
    at: Instant,
}

/// A request that is refused before its body can be opened.
struct Refuse(Refusal);

impl Refuse {
    fn new(code: Code, retry_after_ms: u32) -> Self {
        Self(Refusal { code, retry_after_ms })
    }

    /// The enclave is not there at the moment.
    fn starting() -> Self {
        Self::new(Code::QueueFull, RETRY_AFTER_MS)
    }
}

impl IntoResponse for Refuse {
    fn into_response(self) -> Response {
        let Refusal { code, retry_after_ms } = self.0;
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers =
            [(header::CONTENT_TYPE, REFUSAL_MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
        let mut response = (status, headers, self.0.encode().to_vec()).into_response();
        if retry_after_ms > 0 {
            let seconds = HeaderValue::from(retry_after_ms.div_ceil(1_000));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl Front {
    pub(crate) fn new(
        exchanges: Arc<Exchanges>,
        keeper: Arc<CollateralKeeper>,
        state: watch::Receiver<EnclaveState>,
        draining: Arc<AtomicBool>,
        status: Arc<StatusSource>,
        (body_max_bytes, body_timeout): (usize, Duration),
    ) -> Self {
        let enclave = EnclaveClient::new(exchanges.links.socket().to_owned());
        let (bundle, quotes) = (Mutex::new(None), Semaphore::new(QUOTES_AT_A_TIME));
        Self {
            exchanges,
            enclave,
            keeper,
            state,
            draining,
            body_max_bytes,
            body_timeout,
            status,
            bundle,
            quotes,
        }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/.well-known/phallama/keys", get(keys))
            .route(EVIDENCE_PATH, get(evidence))
            .route("/v1/sealed", post(sealed))
            .route(CLOSE_PATH, post(close))
            .route("/healthz", get(health))
            .with_state(Arc::new(self))
    }

    fn running(&self) -> Result<Arc<EnclaveInfo>, Refuse> {
        match &*self.state.borrow() {
            EnclaveState::Ready(info) => Ok(Arc::clone(info)),
            EnclaveState::Down => Err(Refuse::starting()),
        }
    }
}

async fn keys(State(front): State<Arc<Front>>) -> Result<Response, Refuse> {
    let info = front.running()?;
    let mut cached = front.bundle.lock().await;
    let fresh = cached
        .as_ref()
        .filter(|cached| cached.at.elapsed() < BUNDLE_FRESH && Arc::ptr_eq(&cached.of, &info));
    let bytes = if let Some(cached) = fresh {
        cached.bytes.clone()
    } else {
        let bytes = front.enclave.bundle().await.map_err(|error| {
            tracing::warn!(%error, "http: no key bundle");
            Refuse::starting()
        })?;
        let bytes = Bytes::from(bytes);
        *cached = Some(CachedBundle { bytes: bytes.clone(), of: info, at: Instant::now() });
        bytes
    };
    let headers = [(header::CONTENT_TYPE, KEYS_MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, bytes).into_response())
}

#[derive(Deserialize)]
struct EvidenceQuery {
    nonce: Option<String>,
}

async fn evidence(
    State(front): State<Arc<Front>>,
    Query(query): Query<EvidenceQuery>,
) -> Result<Response, Refuse> {
    let info = front.running()?;
    let evidence = match query.nonce {
        None => Evidence::clone(&info.evidence),
        Some(text) => {
            let mut nonce = [0; 32];
            hex::decode_to_slice(text.trim_start_matches("0x"), &mut nonce)
                .map_err(|_| Refuse::new(Code::MalformedRequest, 0))?;
            let _place = front.quotes.try_acquire().map_err(|_| Refuse::starting())?;
            let made = front.enclave.evidence(nonce).await.map_err(|error| no_evidence(&error))?;
            Evidence::from_json(&made).map_err(|error| no_evidence(&error))?
        }
    };
    let newest = front.keeper.refresh(info.identity, evidence);
    let json = newest.to_json().map_err(|error| no_evidence(&error))?;
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, json).into_response())
}

fn no_evidence(error: &dyn std::fmt::Display) -> Refuse {
    tracing::warn!(%error, "http: no evidence");
    Refuse::starting()
}

async fn health(State(front): State<Arc<Front>>) -> Response {
    let health = front.status.health().await;
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(health)).into_response()
}

async fn sealed(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refuse> {
    if front.draining.load(Ordering::Acquire) {
        return Err(Refuse::new(Code::Draining, RETRY_AFTER_MS));
    }
    check_headers(&headers, front.body_max_bytes)?;
    let info = front.running()?;
    let body = tokio::time::timeout(front.body_timeout, read(body, front.body_max_bytes))
        .await
        .map_err(|_| Refuse::new(Code::MalformedRequest, 0))??;
    match front.exchanges.start(info.identity, body).await {
        Opening::Refused(refusal) => Err(Refuse(refusal)),
        Opening::Answer(pieces) => {
            let headers = [
                (header::CONTENT_TYPE, RESPONSE_MEDIA_TYPE),
                (header::CACHE_CONTROL, "no-store"),
                (INCREMENTAL, "?1"),
            ];
            Ok((headers, Body::from_stream(stream(pieces))).into_response())
        }
    }
}

/// Passes a user's wish to end its channel on to the enclave. Also while draining: it is no work.
async fn close(State(front): State<Arc<Front>>, body: Body) -> Result<Response, Refuse> {
    front.running()?;
    let body = tokio::time::timeout(front.body_timeout, read(body, CLOSE_REQUEST_LEN))
        .await
        .map_err(|_| Refuse::new(Code::MalformedRequest, 0))??;
    let malformed = || Refuse::new(Code::MalformedRequest, 0);
    let request = CloseRequest::decode(&body).map_err(|_| malformed())?;
    let gate = &front.exchanges.gate;
    let user = request.user(gate.pod, &gate.domain).map_err(|_| malformed())?;
    let key = ChannelKey { user, epoch: request.epoch };
    let or_later = |ready: Result<bool, ChainError>| match ready {
        Ok(true) => Ok(()),
        Ok(false) => Err(Refuse::starting()),
        Err(error) => {
            tracing::info!(%error, "http: a channel was not closed");
            Err(Refuse::new(Code::ChainBehind, RETRY_AFTER_MS))
        }
    };
    or_later(gate.is_covered(key).await)?;
    let signed = front.enclave.sign_close(user, request.epoch).await.map_err(|error| {
        tracing::info!(%error, "http: a channel was not closed");
        match error {
            EnclaveError::Refused(Code::EpochMismatch) => Refuse::new(Code::EpochMismatch, 0),
            _ => Refuse::starting(),
        }
    })?;
    // A request may have been answered in between; the enclave may lack what the journal has.
    or_later(gate.is_paid_by(key, signed.cumulative).await)?;
    let answer = CloseAnswer { cumulative: signed.cumulative, signature: signed.signature };
    let headers = [(header::CONTENT_TYPE, CLOSE_MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, answer.encode()).into_response())
}

/// What can be refused before a byte of the body is read.
fn check_headers(headers: &HeaderMap, body_max_bytes: usize) -> Result<(), Refuse> {
    let media_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if media_type != Some(REQUEST_MEDIA_TYPE.as_bytes()) {
        return Err(Refuse::new(Code::MalformedRequest, 0));
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return Ok(()) };
    let length = length.to_str().ok().and_then(|length| length.parse::<usize>().ok());
    match length {
        Some(length) if length <= body_max_bytes => Ok(()),
        _ => Err(Refuse::new(Code::RequestTooLarge, 0)),
    }
}

async fn read(body: Body, max_bytes: usize) -> Result<Vec<u8>, Refuse> {
    let mut bytes = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Refuse::new(Code::MalformedRequest, 0))?;
        if piece.len() > max_bytes.saturating_sub(bytes.len()) {
            return Err(Refuse::new(Code::RequestTooLarge, 0));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The body: ends cleanly only with a last piece, because clients take a clean end for success.
fn stream(
    pieces: mpsc::Receiver<Piece>,
) -> impl futures::Stream<Item = Result<Vec<u8>, std::io::Error>> {
    futures::stream::try_unfold(Some(pieces), |pieces| async move {
        let Some(mut pieces) = pieces else { return Ok(None) };
        match pieces.recv().await {
            Some(Piece { bytes, is_last }) => Ok(Some((bytes, (!is_last).then_some(pieces)))),
            None => Err(std::io::ErrorKind::ConnectionAborted.into()),
        }
    })
}

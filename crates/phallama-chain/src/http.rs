//! JSON-RPC over HTTP: one request, one answer, and how long a busy node wants to be left alone.

use std::task::{Context, Poll};
use std::time::Duration;

use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use alloy_json_rpc::{RequestPacket, ResponsePacket};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, StatusCode, Url};

/// The longest answer that is read: a listing of pods with many offers is far below.
const ANSWER_MAX_BYTES: usize = 32 << 20;

/// The endpoint is there and wants to be left alone.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("busy (HTTP {status})")]
pub(crate) struct Busy {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
}

/// An alloy transport that keeps the header `Retry-After` and limits answers.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    http: Client,
    url: Url,
}

impl Post {
    /// `timeout` is for a whole exchange, and the caller may stop waiting earlier.
    pub(crate) fn new(url: Url, timeout: Duration) -> Result<Self, reqwest::Error> {
        crate::tls::use_ring();
        let http = Client::builder()
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, url })
    }

    async fn post(self, packet: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let sent = self.http.post(self.url).json(&packet).send().await;
        let mut response = sent.map_err(TransportErrorKind::custom)?;
        let status = response.status();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = seconds.and_then(|text| text.trim().parse().ok());
            let retry_after = retry_after.map(Duration::from_secs);
            return Err(TransportErrorKind::custom(Busy { status, retry_after }));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(TransportErrorKind::custom)? {
            if body.len() + chunk.len() > ANSWER_MAX_BYTES {
                let reason = format!("the answer is longer than {ANSWER_MAX_BYTES} bytes");
                return Err(TransportErrorKind::custom_str(&reason));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).into_owned();
            return Err(TransportErrorKind::http_error(status.as_u16(), text));
        }
        serde_json::from_slice(&body)
            .map_err(|error| TransportError::deser_err(error, String::from_utf8_lossy(&body)))
    }
}

impl tower::Service<RequestPacket> for Post {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        Box::pin(self.clone().post(packet))
    }
}

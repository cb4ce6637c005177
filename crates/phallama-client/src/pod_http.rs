//! HTTP to pods: four requests, each with limits.
//!
//! A pod is reached directly, at the URL of its chain record: no proxy, no redirect, no cookies, no
//! compression. What comes back is foreign bytes until it has been verified or opened.

use std::time::Duration;

use phallama_chain::PodRecord;
use phallama_protocol::bundle::BUNDLE_MAX_LEN;
use phallama_protocol::closing::{
    CLOSE_ANSWER_LEN, CLOSE_MEDIA_TYPE, CLOSE_PATH, CloseAnswer, CloseRequest,
};
use phallama_protocol::ids::PodId;
use phallama_protocol::refusal::{REFUSAL_LEN, REFUSAL_MEDIA_TYPE, Refusal};
use reqwest::{Response, StatusCode, redirect};

use crate::config::Timeouts;
use crate::error::ClientError;

const KEYS_PATH: &str = "/.well-known/phallama/keys";
const SEALED_PATH: &str = "/v1/sealed";
const REQUEST_TYPE: &str = "application/phallama-req";
const RESPONSE_TYPE: &str = "application/phallama-res";

/// Where a pod is.
#[derive(Clone, Debug)]
pub(crate) struct PodAddress {
    pub(crate) pod: PodId,
    pub(crate) url: String,
}

impl From<&PodRecord> for PodAddress {
    fn from(record: &PodRecord) -> Self {
        Self { pod: record.pod_id, url: record.url.trim_end_matches('/').to_owned() }
    }
}

impl PodAddress {
    pub(crate) fn unreachable(&self, what: &'static str, reason: impl ToString) -> ClientError {
        let reason = reason.to_string();
        ClientError::PodUnreachable { pod: self.pod, url: self.url.clone(), what, reason }
    }
}

/// What a pod answers to a sealed request.
pub(crate) enum Posted {
    /// `200` with sealed bytes to come.
    Sealed(Response),
    /// A refusal that anybody on the path could have made.
    Refused(Refusal),
    /// There was no connection: the request never left.
    NotSent(ClientError),
}

/// The HTTP side of a client. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct PodHttp {
    http: reqwest::Client,
    fetch: Duration,
    response: Duration,
}

impl PodHttp {
    pub(crate) fn new(timeouts: &Timeouts) -> Result<Self, ClientError> {
        phallama_chain::use_ring();
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .connect_timeout(timeouts.connect)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| ClientError::InvalidConfig { reason: chain_of(&error) })?;
        Ok(Self { http, fetch: timeouts.fetch, response: timeouts.response })
    }

    /// The key bundle as the pod serves it, unchecked.
    pub(crate) async fn bundle(&self, at: &PodAddress) -> Result<Vec<u8>, ClientError> {
        self.fetch(at, "key bundle", KEYS_PATH, BUNDLE_MAX_LEN).await
    }

    /// The evidence document as the pod serves it, unchecked.
    pub(crate) async fn evidence(&self, at: &PodAddress) -> Result<Vec<u8>, ClientError> {
        let (path, max) = (phallama_attest::EVIDENCE_PATH, phallama_attest::EVIDENCE_MAX_BYTES);
        self.fetch(at, "evidence", path, max).await
    }

    async fn fetch(
        &self,
        at: &PodAddress,
        what: &'static str,
        path: &str,
        max: usize,
    ) -> Result<Vec<u8>, ClientError> {
        let get = self.http.get(format!("{}{path}", at.url)).timeout(self.fetch).send();
        let response = get.await.map_err(|error| at.unreachable(what, chain_of(&error)))?;
        if response.status() != StatusCode::OK {
            return Err(at.unreachable(what, unexpected(&response)));
        }
        whole(response, max).await.map_err(|reason| at.unreachable(what, reason))
    }

    /// Sends a sealed request and waits for the response's head.
    pub(crate) async fn post_sealed(
        &self,
        at: &PodAddress,
        sealed: Vec<u8>,
    ) -> Result<Posted, ClientError> {
        let what = "answer";
        let post = self
            .http
            .post(format!("{}{SEALED_PATH}", at.url))
            .header("content-type", REQUEST_TYPE)
            .header("incremental", "?1")
            .body(sealed)
            .send();
        let response = tokio::time::timeout(self.response, post)
            .await
            .map_err(|_| at.unreachable(what, silent(self.response)))?;
        let response = match response {
            Ok(response) => response,
            Err(error) if error.is_connect() => {
                return Ok(Posted::NotSent(at.unreachable(what, chain_of(&error))));
            }
            Err(error) => return Err(at.unreachable(what, chain_of(&error))),
        };
        let content_type = content_type(&response);
        if response.status() == StatusCode::OK && content_type == RESPONSE_TYPE {
            return Ok(Posted::Sealed(response));
        }
        if content_type != REFUSAL_MEDIA_TYPE || response.status().is_success() {
            return Err(at.unreachable(what, unexpected(&response)));
        }
        let read = tokio::time::timeout(self.fetch, whole(response, REFUSAL_LEN)).await;
        let bytes = read
            .map_err(|_| at.unreachable(what, silent(self.fetch)))?
            .map_err(|reason| at.unreachable(what, reason))?;
        let refusal = Refusal::decode(&bytes).map_err(|error| at.unreachable(what, error))?;
        Ok(Posted::Refused(refusal))
    }
}

impl PodHttp {
    /// Asks for the enclave's signature on the end of a channel.
    pub(crate) async fn close(
        &self,
        at: &PodAddress,
        request: &CloseRequest,
    ) -> Result<CloseAnswer, ClientError> {
        let what = "close";
        let post = self
            .http
            .post(format!("{}{CLOSE_PATH}", at.url))
            .header("content-type", CLOSE_MEDIA_TYPE)
            .timeout(self.fetch)
            .body(request.encode())
            .send();
        let response = post.await.map_err(|error| at.unreachable(what, chain_of(&error)))?;
        let (status, kind) = (response.status(), content_type(&response).to_owned());
        if kind != CLOSE_MEDIA_TYPE && kind != REFUSAL_MEDIA_TYPE {
            return Err(at.unreachable(what, unexpected(&response)));
        }
        let most = CLOSE_ANSWER_LEN.max(REFUSAL_LEN);
        let bytes = whole(response, most).await.map_err(|reason| at.unreachable(what, reason))?;
        if status == StatusCode::OK && kind == CLOSE_MEDIA_TYPE {
            return CloseAnswer::decode(&bytes).map_err(|error| at.unreachable(what, error));
        }
        let Refusal { code, retry_after_ms } =
            Refusal::decode(&bytes).map_err(|error| at.unreachable(what, error))?;
        Err(ClientError::CloseRefused {
            pod: at.pod,
            code,
            retry_after_ms: (retry_after_ms > 0).then_some(retry_after_ms),
        })
    }
}

/// Reads a body of at most `max` bytes; more is an error before more is stored.
async fn whole(mut response: Response, max: usize) -> Result<Vec<u8>, String> {
    let too_large = |got: u64| format!("the body has {got} bytes or more, the limit is {max}");
    if let Some(got) = response.content_length()
        && got > max as u64
    {
        return Err(too_large(got));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| chain_of(&error))? {
        if body.len() + chunk.len() > max {
            return Err(too_large((body.len() + chunk.len()) as u64));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn content_type(response: &Response) -> &str {
    let value = response.headers().get("content-type").and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn unexpected(response: &Response) -> String {
    let status = response.status();
    if status.is_redirection() {
        return format!("HTTP {} redirects elsewhere, which is not followed", status.as_u16());
    }
    format!("HTTP {} with content type `{}`", status.as_u16(), content_type(response))
}

fn silent(limit: Duration) -> String {
    format!("no answer within {} ms", limit.as_millis())
}

/// An error with its causes; reqwest's own text leaves them out.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

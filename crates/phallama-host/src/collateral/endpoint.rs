//! One collateral service, asked over HTTP.

use std::time::Duration;

use futures::StreamExt as _;
use reqwest::header::{HeaderMap, LOCATION};
use reqwest::{Client, Response, redirect};

use super::{Document, Fault, Item, Wanted};

/// Limits on one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// How long a whole answer may take.
    pub within: Duration,
    /// Largest body, in bytes.
    pub max_bytes: usize,
}

impl Default for HttpLimits {
    /// 15 s; 256 KiB, because no reader takes larger evidence.
    fn default() -> Self {
        Self { within: Duration::from_secs(15), max_bytes: phallama_attest::EVIDENCE_MAX_BYTES }
    }
}

/// A service that speaks Intel's PCS API, version 4, for example Intel's own or an operator's PCCS.
///
/// Everything it serves is signed, so plain `http://` is as good as `https://`.
#[derive(Clone, Debug)]
pub struct Endpoint {
    base: String,
    http: Client,
    limits: HttpLimits,
}

impl Endpoint {
    /// For the service at `url`, with or without the API's path at its end.
    ///
    /// # Errors
    /// What is wrong with the URL, or why there is no HTTP client.
    pub fn new(url: &str, limits: HttpLimits) -> Result<Self, String> {
        let base = url.trim_end_matches('/');
        let base = ["/sgx/certification/v4", "/tdx/certification/v4"]
            .iter()
            .find_map(|path| base.strip_suffix(path))
            .unwrap_or(base);
        let parsed = reqwest::Url::parse(base).map_err(|error| error.to_string())?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err("the scheme is neither http nor https".to_owned());
        }
        phallama_chain::use_ring();
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(limits.within)
            .timeout(limits.within)
            .build()
            .map_err(|error| causes(&error))?;
        Ok(Self { base: base.to_owned(), http, limits })
    }

    /// The service's URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Fetches an item, unchecked.
    ///
    /// # Errors
    /// [`Fault`] of the transport or of the answer's form.
    pub async fn fetch(&self, item: Item, wanted: &Wanted) -> Result<Document, Fault> {
        let (headers, body) = self.get(&format!("{}/{}", self.base, item.path(wanted))).await?;
        item.document(&headers, &body)
    }

    /// Fetches the root's revocation list from a place of its own, unchecked.
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub async fn fetch_root_crl(&self) -> Result<Document, Fault> {
        let (headers, body) = self.get(&self.base).await?;
        Item::RootCrl.document(&headers, &body)
    }

    async fn get(&self, url: &str) -> Result<(HeaderMap, Vec<u8>), Fault> {
        let response = self.http.get(url).send().await.map_err(|error| self.fault(&error))?;
        let status = response.status();
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            return Err(Fault::Redirected { to: to.unwrap_or("nowhere").to_owned() });
        }
        if status != reqwest::StatusCode::OK {
            return Err(Fault::Status { status: status.as_u16() });
        }
        let headers = response.headers().clone();
        Ok((headers, self.body(response).await?))
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, Fault> {
        let max_bytes = self.limits.max_bytes;
        let mut body = Vec::new();
        let mut pieces = response.bytes_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| self.fault(&error))?;
            if piece.len() > max_bytes.saturating_sub(body.len()) {
                return Err(Fault::TooLarge { max_bytes });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn fault(&self, error: &reqwest::Error) -> Fault {
        if error.is_timeout() {
            let within_ms = u64::try_from(self.limits.within.as_millis()).unwrap_or(u64::MAX);
            return Fault::TimedOut { within_ms };
        }
        Fault::Unreachable { reason: causes(error) }
    }
}

/// The innermost cause, which is the one that helps.
fn causes(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

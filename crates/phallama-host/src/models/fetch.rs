//! Bytes from the web, gone on with where they were cut.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue,
    IF_RANGE, LAST_MODIFIED, LOCATION, RANGE,
};
use reqwest::{Client, Response, StatusCode, Url, redirect};

use super::ModelError;
use super::address::{Guard, NotPublic};
use super::partial::{Origin, Partial};
use super::source::shown_url;

const REDIRECTS_MAX: usize = 5;
/// What a disk keeps free after a download.
const SPACE_LEFT_BYTES: u64 = 64 << 20;

/// What a download may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPolicy {
    /// Let servers be on loopback and in private networks, for mirrors of one's own; link-local
    /// addresses stay refused.
    pub danger_allow_private_address: bool,
    /// Largest file.
    pub max_bytes: u64,
    /// How long a connection may take, and how long nothing may come on it.
    pub stall_timeout: Duration,
    /// Tries in a row that bring nothing before it is given up.
    pub tries: u32,
    /// Wait after the first of them; doubles with each, to at most a minute.
    pub backoff: Duration,
}

impl Default for FetchPolicy {
    /// Public addresses, 512 GiB, 30 s, 5 tries, 1 s.
    fn default() -> Self {
        Self {
            danger_allow_private_address: false,
            max_bytes: 512 << 30,
            stall_timeout: Duration::from_secs(30),
            tries: 5,
            backoff: Duration::from_secs(1),
        }
    }
}

/// How far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchProgress {
    /// Somebody else fetches or changes the same.
    Waiting,
    /// What is on disk already is hashed.
    Hashing {
        /// Bytes hashed.
        done_bytes: u64,
        /// Bytes there are.
        total_bytes: u64,
    },
    /// Bytes come.
    Fetching {
        /// Bytes on disk.
        done_bytes: u64,
        /// Size of the whole, where it is known.
        total_bytes: Option<u64>,
    },
    /// It broke off and is tried again.
    Retrying {
        /// Why.
        reason: String,
        /// When, milliseconds from now.
        in_ms: u64,
    },
}

/// Told about each step.
pub(super) type Report<'a> = &'a (dyn Fn(FetchProgress) + Send + Sync);

/// A client that asks nobody in a private network.
pub(super) struct Fetcher {
    http: Client,
    policy: FetchPolicy,
    guard: Guard,
}

/// A file that is wanted.
pub(super) struct Wanted {
    pub(super) url: Url,
    /// Its size, where something said it.
    pub(super) size_bytes: Option<u64>,
    /// Whether its digest will be checked: then it may be gone on with whatever the server says.
    pub(super) has_digest: bool,
    /// Where it is written.
    pub(super) dir: PathBuf,
}

impl Fetcher {
    pub(super) fn new(policy: FetchPolicy) -> Self {
        phallama_chain::use_ring();
        let guard = Guard { allow_private: policy.danger_allow_private_address };
        let http = Client::builder()
            .redirect(redirect::Policy::none())
            // A proxy would resolve names itself, and connect to what it finds.
            .no_proxy()
            .dns_resolver(guard)
            .connect_timeout(policy.stall_timeout)
            .read_timeout(policy.stall_timeout)
            .build()
            .expect("the settings are constant and the TLS provider is installed");
        Self { http, policy, guard }
    }

    /// A small document.
    ///
    /// # Errors
    /// Those of the transport; [`ModelError::TooLarge`].
    pub(super) async fn document(
        &self,
        url: &Url,
        accept: &'static str,
        max_bytes: u64,
    ) -> Result<Vec<u8>, ModelError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let mut response = self.send(url, &headers).await?;
        if response.status() != StatusCode::OK {
            return Err(status(url, &response));
        }
        let mut body = Vec::new();
        while let Some(piece) = self.piece(url, &mut response, 0).await? {
            let got_bytes = body.len() as u64 + piece.len() as u64;
            if got_bytes > max_bytes {
                return Err(ModelError::TooLarge { url: shown_url(url), got_bytes, max_bytes });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Completes `partial`, trying again where it was cut.
    ///
    /// # Errors
    /// The last one, when `tries` in a row brought nothing; one that trying does not mend, at once.
    pub(super) async fn complete(
        &self,
        wanted: &Wanted,
        partial: &mut Partial,
        report: Report<'_>,
    ) -> Result<(), ModelError> {
        let mut failures = 0;
        loop {
            let before = partial.have_bytes();
            let error = match self.attempt(wanted, partial, report).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures = if partial.have_bytes() > before { 1 } else { failures + 1 };
            if !error.is_transient() || failures >= self.policy.tries {
                return Err(error);
            }
            let backoff = self.policy.backoff.saturating_mul(1 << (failures - 1).min(6));
            let backoff = backoff.min(Duration::from_mins(1));
            let in_ms = u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX);
            report(FetchProgress::Retrying { reason: error.to_string(), in_ms });
            tokio::time::sleep(backoff).await;
        }
    }

    /// One request, from where `partial` ends.
    async fn attempt(
        &self,
        wanted: &Wanted,
        partial: &mut Partial,
        report: Report<'_>,
    ) -> Result<(), ModelError> {
        let url = &wanted.url;
        let may_go_on = wanted.has_digest || partial.origin.validator.is_some();
        if partial.have_bytes() > 0 && !may_go_on {
            partial.restart(Origin::default())?;
        }
        if is_complete(partial) {
            return Ok(());
        }
        let mut response = self.send(url, &range_headers(partial)).await?;
        match response.status() {
            StatusCode::OK => partial.restart(origin(&response))?,
            StatusCode::PARTIAL_CONTENT => check_range(url, &response, partial)?,
            StatusCode::RANGE_NOT_SATISFIABLE => {
                partial.restart(Origin::default())?;
                return Err(status(url, &response));
            }
            _ => return Err(status(url, &response)),
        }
        self.check_size(wanted, partial)?;
        let max_bytes = partial.origin.total_bytes.unwrap_or(self.policy.max_bytes);
        loop {
            let (done_bytes, total_bytes) = (partial.have_bytes(), partial.origin.total_bytes);
            report(FetchProgress::Fetching { done_bytes, total_bytes });
            let Some(piece) = self.piece(url, &mut response, done_bytes).await? else { break };
            let got_bytes = done_bytes.saturating_add(piece.len() as u64);
            if got_bytes > max_bytes {
                partial.restart(Origin::default())?;
                return Err(ModelError::TooLarge { url: shown_url(url), got_bytes, max_bytes });
            }
            partial.append(&piece)?;
        }
        if partial.origin.total_bytes.is_none() || is_complete(partial) {
            return Ok(());
        }
        let (url, got_bytes) = (shown_url(url), partial.have_bytes());
        Err(ModelError::Cut { url, got_bytes, reason: "it ended early".to_owned() })
    }

    /// Holds the size that the server states against what is expected, allowed and free.
    fn check_size(&self, wanted: &Wanted, partial: &mut Partial) -> Result<(), ModelError> {
        let url = shown_url(&wanted.url);
        let stated = partial.origin.total_bytes;
        if let (Some(got_bytes), Some(expected_bytes)) = (stated, wanted.size_bytes)
            && got_bytes != expected_bytes
        {
            return Err(ModelError::Size { url, got_bytes, expected_bytes });
        }
        let max_bytes = self.policy.max_bytes;
        // What was stated elsewhere bounds a body that states nothing.
        partial.origin.total_bytes = stated.or(wanted.size_bytes);
        let Some(total) = partial.origin.total_bytes else { return Ok(()) };
        if total > max_bytes {
            return Err(ModelError::TooLarge { url, got_bytes: total, max_bytes });
        }
        check_space(wanted, total.saturating_sub(partial.have_bytes()))
    }

    /// Sends a GET and follows redirects, each of them checked.
    async fn send(&self, first: &Url, headers: &HeaderMap) -> Result<Response, ModelError> {
        let mut url = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            self.check_url(&url)?;
            let identity = HeaderValue::from_static("identity");
            let request = self.http.get(url.clone()).headers(headers.clone());
            let sent = request.header(ACCEPT_ENCODING, identity).send().await;
            let response = sent.map_err(|error| unreachable(&url, &error))?;
            if !response.status().is_redirection() {
                return checked_encoding(&url, response);
            }
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            url = next_hop(&url, to)
                .map_err(|problem| ModelError::Answer { url: shown_url(&url), problem })?;
        }
        Err(ModelError::Redirects { url: shown_url(first), max: REDIRECTS_MAX })
    }

    fn check_url(&self, url: &Url) -> Result<(), ModelError> {
        let wrong = |problem| Err(ModelError::Url { url: shown_url(url), problem });
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("only http and https URLs are fetched");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("it has a user name or password in it");
        }
        let Some(host) = url.host_str() else { return wrong("it has no host") };
        self.guard.check_literal(host).map_err(private)
    }

    /// The next bytes of a body, or `None` at its end.
    async fn piece(
        &self,
        url: &Url,
        response: &mut Response,
        got_bytes: u64,
    ) -> Result<Option<axum::body::Bytes>, ModelError> {
        response.chunk().await.map_err(|error| {
            let url = shown_url(url);
            if error.is_timeout() {
                return ModelError::Stalled { url, after_s: self.policy.stall_timeout.as_secs() };
            }
            ModelError::Cut { url, got_bytes, reason: innermost(&error) }
        })
    }
}

fn is_complete(partial: &Partial) -> bool {
    partial.origin.total_bytes == Some(partial.have_bytes())
}

fn next_hop(url: &Url, to: Option<&str>) -> Result<Url, &'static str> {
    let next = to.and_then(|to| url.join(to).ok()).ok_or("it redirects to nowhere")?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err("it redirects from https to something else");
    }
    Ok(next)
}

/// Compressed bytes would be another file.
fn checked_encoding(url: &Url, response: Response) -> Result<Response, ModelError> {
    match response.headers().get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let problem = "it sends compressed what was asked for as it is";
            Err(ModelError::Answer { url: shown_url(url), problem })
        }
        _ => Ok(response),
    }
}

fn range_headers(partial: &Partial) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if partial.have_bytes() == 0 {
        return headers;
    }
    let range = format!("bytes={}-", partial.have_bytes());
    headers.insert(RANGE, HeaderValue::try_from(range).expect("digits are a header value"));
    let validator = partial.origin.validator.as_deref().map(HeaderValue::try_from);
    if let Some(Ok(validator)) = validator {
        headers.insert(IF_RANGE, validator);
    }
    headers
}

/// What a full answer says of its file.
fn origin(response: &Response) -> Origin {
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let etag = text(ETAG).filter(|etag| !etag.starts_with("W/"));
    let validator = etag.or_else(|| text(LAST_MODIFIED)).map(str::to_owned);
    Origin { validator, total_bytes: response.content_length() }
}

/// A partial answer must begin where the file ends, and be of the same whole.
fn check_range(url: &Url, response: &Response, partial: &mut Partial) -> Result<(), ModelError> {
    let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let parsed = range.and_then(parse_range);
    let matches = parsed.is_some_and(|(start, end, total)| {
        let known = partial.origin.total_bytes;
        start == partial.have_bytes()
            && end.checked_add(1) == Some(total)
            && known.is_none_or(|known| known == total)
    });
    if !matches {
        partial.restart(Origin::default())?;
        let problem = "it sends another range than was asked for";
        return Err(ModelError::Answer { url: shown_url(url), problem });
    }
    partial.origin.total_bytes = parsed.map(|(_, _, total)| total);
    Ok(())
}

/// `bytes FIRST-LAST/TOTAL`
fn parse_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, end) = range.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()?, total.parse().ok()?))
}

fn check_space(wanted: &Wanted, bytes: u64) -> Result<(), ModelError> {
    let path = wanted.dir.clone();
    let needed_bytes = bytes.saturating_add(SPACE_LEFT_BYTES);
    let stat = rustix::fs::statvfs(&path)
        .map_err(|errno| ModelError::File { path: path.clone(), source: errno.into() })?;
    let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free_bytes < needed_bytes {
        return Err(ModelError::NoSpace { path, needed_bytes, free_bytes });
    }
    Ok(())
}

fn status(url: &Url, response: &Response) -> ModelError {
    ModelError::Status { url: shown_url(url), status: response.status().as_u16() }
}

fn private(NotPublic { host, address }: NotPublic) -> ModelError {
    ModelError::PrivateAddress { host, address }
}

/// Why there is no answer: a refusal of ours, or what the transport says.
fn unreachable(url: &Url, error: &reqwest::Error) -> ModelError {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(refused) = error.downcast_ref::<NotPublic>() {
            return private(refused.clone());
        }
        cause = error.source();
    }
    ModelError::Unreachable { url: shown_url(url), reason: innermost(error) }
}

/// The innermost cause, which is the one that helps.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(cause) = inner.source() {
        inner = cause;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_never_gives_up_encryption() {
        let url = Url::parse("https://example.com/a/b").unwrap();
        let downgrade = "it redirects from https to something else";
        assert_eq!(next_hop(&url, Some("http://example.com/")), Err(downgrade));
        assert_eq!(next_hop(&url, Some("file:///etc/passwd")), Err(downgrade));
        assert_eq!(next_hop(&url, None), Err("it redirects to nowhere"));
        assert_eq!(next_hop(&url, Some("../c")).unwrap().as_str(), "https://example.com/c");
    }

    #[test]
    fn ranges_are_read_strictly() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, 9, 10)));
        for text in ["bytes 5-9/*", "bytes */10", "5-9/10", "bytes -5-9/10", "bytes 5-/10", ""] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}

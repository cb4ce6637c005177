//! One JSON-RPC endpoint and what we remember of its health.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::providers::{Provider as _, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::transports::{RpcError, TransportErrorKind, TransportResult};
use alloy_json_rpc::ErrorPayload;
use reqwest::Url;

use crate::error::{ChainError, from_rpc};
use crate::http::{Busy, Post};

/// After this many failures in a row the pause before the next try no longer grows.
const FAILURES_MAX: u32 = 7;
/// The pause after the first failure; it doubles up to 64 times this.
const PAUSE: Duration = Duration::from_millis(500);
/// As long as an endpoint may ask to be left alone.
const BUSY_MAX: Duration = Duration::from_mins(5);
/// How long an endpoint of another chain is not asked again.
const WRONG_CHAIN_FOR: Duration = Duration::from_secs(30);

/// Why an endpoint gave no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not answer, or not usefully; another one may.
    Silent(ChainError),
    /// It answers, but does not have the block, or not its state any more; another one may.
    Missing(ChainError),
    /// It refused the call itself; every other one should, too.
    Said(Said),
}

/// An error that an endpoint answered with.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) url: String,
    pub(crate) error: RpcError<TransportErrorKind>,
}

impl Failure {
    pub(crate) fn into_error(self, what: &'static str) -> ChainError {
        match self {
            Self::Silent(error) | Self::Missing(error) => error,
            Self::Said(Said { url, error }) => from_rpc(&url, what, &error),
        }
    }
}

/// How willingly an endpoint is asked, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Nothing is known against it.
    Good,
    /// Its head was away from the others'.
    Apart,
    /// It failed a moment ago.
    Failing,
    /// It asked to be left alone, or serves another chain.
    Aside,
}

/// A node behind a URL.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The URL for people, without its path and query, which may hold a secret.
    pub(crate) name: String,
    pub(crate) provider: RootProvider,
    health: Mutex<Health>,
}

#[derive(Debug, Default)]
struct Health {
    /// In a row.
    failures: u32,
    /// Better not asked before.
    failing_until: Option<Instant>,
    /// Must not be asked before: it said so.
    busy_until: Option<Instant>,
    /// It serves the configured chain; asked again after every failure.
    is_our_chain: bool,
    /// The chain it serves instead, and until when that is believed.
    wrong_chain: Option<(u64, Instant)>,
    apart: bool,
}

impl Endpoint {
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, ChainError> {
        let bad = |reason: String| ChainError::BadEndpoint { url: url.to_owned(), reason };
        let parsed: Url = url.parse().map_err(|error| bad(format!("not a URL: {error}")))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad("neither http nor https".to_owned()));
        }
        let name = shown(&parsed);
        let transport = Post::new(parsed, timeout).map_err(|error| bad(error.to_string()))?;
        let provider = RootProvider::new(RpcClient::new(transport, false));
        Ok(Self { name, provider, health: Mutex::default() })
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rank(&self, now: Instant) -> Rank {
        let health = self.health();
        let is_ahead = |until: Option<Instant>| until.is_some_and(|until| until > now);
        if is_ahead(health.busy_until) || is_ahead(health.wrong_chain.map(|(_, until)| until)) {
            return Rank::Aside;
        }
        if is_ahead(health.failing_until) {
            return Rank::Failing;
        }
        if health.apart { Rank::Apart } else { Rank::Good }
    }

    /// How long it asked to be left alone, from now.
    pub(crate) fn busy_for(&self, now: Instant) -> Option<Duration> {
        let until = self.health().busy_until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Notes whether its head was away from the others'.
    pub(crate) fn set_apart(&self, apart: bool) {
        self.health().apart = apart;
    }

    /// Makes a call, at most `limit` long, after making sure of the chain.
    pub(crate) async fn ask<T>(
        &self,
        what: &'static str,
        chain_id: Option<u64>,
        limit: Duration,
        call: impl Future<Output = TransportResult<T>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        if let Some(left) = self.busy_for(began) {
            // Worth waiting for when time is left for an answer.
            if left <= limit / 2 {
                tokio::time::sleep(left).await;
            }
        }
        if let Some(left) = self.busy_for(Instant::now()) {
            let reason = format!("asked not to be called for another {} s", left.as_secs() + 1);
            return Err(Failure::Silent(self.unavailable(what, reason)));
        }
        if let Some(expected) = chain_id {
            let limit = limit.saturating_sub(began.elapsed());
            self.make_sure_of(expected, limit).await?;
        }
        self.limited(what, limit.saturating_sub(began.elapsed()), call).await
    }

    async fn make_sure_of(&self, expected: u64, limit: Duration) -> Result<(), Failure> {
        let wrong = |got| {
            let url = self.name.clone();
            Err(Failure::Silent(ChainError::WrongChain { url, got, expected }))
        };
        {
            let health = self.health();
            if health.is_our_chain {
                return Ok(());
            }
            if let Some((got, until)) = health.wrong_chain
                && until > Instant::now()
            {
                return wrong(got);
            }
        }
        let got = self.limited("eth_chainId", limit, self.provider.get_chain_id()).await?;
        let mut health = self.health();
        if got == expected {
            (health.is_our_chain, health.wrong_chain) = (true, None);
            return Ok(());
        }
        health.wrong_chain = Some((got, Instant::now() + WRONG_CHAIN_FOR));
        wrong(got)
    }

    async fn limited<T>(
        &self,
        what: &'static str,
        limit: Duration,
        call: impl IntoFuture<Output = TransportResult<T>>,
    ) -> Result<T, Failure> {
        let error = match tokio::time::timeout(limit, call).await {
            Err(_) => {
                self.failed(None);
                let reason = format!("no answer within {} ms", limit.as_millis());
                return Err(Failure::Silent(self.unavailable(what, reason)));
            }
            Ok(Ok(answer)) => {
                self.answered();
                return Ok(answer);
            }
            Ok(Err(error)) => error,
        };
        match &error {
            RpcError::ErrorResp(payload) if is_rate_limit(payload) => self.failed(None),
            RpcError::ErrorResp(payload) if is_missing(payload) => {
                self.answered();
                let reason = payload.message.to_string();
                return Err(Failure::Missing(self.unavailable(what, reason)));
            }
            RpcError::ErrorResp(_) => {
                self.answered();
                return Err(Failure::Said(Said { url: self.name.clone(), error }));
            }
            error => self.failed(busy(error)),
        }
        Err(Failure::Silent(self.unavailable(what, reason(&error))))
    }

    pub(crate) fn unavailable(&self, what: &'static str, reason: String) -> ChainError {
        ChainError::Unavailable { url: self.name.clone(), what, reason }
    }

    fn answered(&self) {
        let mut health = self.health();
        (health.failures, health.failing_until) = (0, None);
    }

    fn failed(&self, busy: Option<Busy>) {
        let mut health = self.health();
        let now = Instant::now();
        health.failing_until = Some(now + PAUSE * 2_u32.pow(health.failures.min(FAILURES_MAX - 1)));
        health.failures = health.failures.saturating_add(1);
        // What comes back may be another node.
        health.is_our_chain = false;
        if let Some(after) = busy.and_then(|busy| busy.retry_after) {
            health.busy_until = Some(now + after.min(BUSY_MAX));
        }
    }

    /// What is held against it now, for people; `None` when nothing is.
    pub(crate) fn complaint(&self, now: Instant) -> Option<String> {
        let health = self.health();
        let left =
            |until: Option<Instant>| until.and_then(|until| until.checked_duration_since(now));
        if let Some((got, until)) = health.wrong_chain
            && until > now
        {
            return Some(format!("serves chain {got}"));
        }
        if let Some(left) = left(health.busy_until) {
            return Some(format!("asked not to be called for another {} s", left.as_secs() + 1));
        }
        if left(health.failing_until).is_some() {
            return Some(format!("failed {} times in a row", health.failures));
        }
        health.apart.then(|| "its head is away from the others'".to_owned())
    }
}

/// Scheme, host and port; a path or a query is only hinted at.
fn shown(url: &Url) -> String {
    let origin = url.origin().ascii_serialization();
    let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
    if bare { origin } else { format!("{origin}/…") }
}

fn busy(error: &RpcError<TransportErrorKind>) -> Option<Busy> {
    match error {
        RpcError::Transport(TransportErrorKind::Custom(custom)) => custom.downcast_ref().copied(),
        _ => None,
    }
}

/// The innermost cause: what lies around it says "error sending request" and the whole URL.
fn reason(error: &RpcError<TransportErrorKind>) -> String {
    let RpcError::Transport(TransportErrorKind::Custom(custom)) = error else {
        return error.to_string();
    };
    let mut cause: &dyn std::error::Error = custom.as_ref();
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn is_rate_limit(payload: &ErrorPayload) -> bool {
    let text = payload.message.to_lowercase();
    matches!(payload.code, -32_005 | -32_016 | 429)
        || ["rate limit", "too many requests", "capacity"].iter().any(|words| text.contains(words))
}

/// The words that nodes use, there being no code for it.
fn is_missing(payload: &ErrorPayload) -> bool {
    const WORDS: [&str; 9] = [
        "header not found",
        "block not found",
        "unknown block",
        "could not find block",
        "missing trie node",
        "state not available",
        "historical state",
        "pruned",
        "canonical",
    ];
    let text = payload.message.to_lowercase();
    payload.code == -32_001 || WORDS.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint::new(url, Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn a_key_in_the_url_is_not_shown() {
        assert_eq!(endpoint("http://127.0.0.1:8545").name, "http://127.0.0.1:8545");
        assert_eq!(endpoint("https://node.example/v3/secret").name, "https://node.example/…");
        assert_eq!(endpoint("https://node.example?key=secret").name, "https://node.example/…");
        assert_eq!(endpoint("https://me:secret@node.example").name, "https://node.example/…");
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for url in ["no url", "ftp://node.example", "wss://node.example"] {
            let error = Endpoint::new(url, Duration::from_secs(1)).unwrap_err();
            assert!(matches!(error, ChainError::BadEndpoint { .. }), "{error}");
        }
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_an_answer_ends_them() {
        let endpoint = endpoint("http://127.0.0.1:1");
        let pause = || {
            endpoint.failed(None);
            let until = endpoint.health().failing_until.unwrap();
            until.saturating_duration_since(Instant::now()).as_millis().div_ceil(250) * 250
        };
        let pauses: Vec<u128> = (0..9).map(|_| pause()).collect();
        let expected = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 32_000, 32_000];
        assert_eq!(pauses, expected);
        assert_eq!(endpoint.rank(Instant::now()), Rank::Failing);
        endpoint.answered();
        assert_eq!(endpoint.rank(Instant::now()), Rank::Good);
    }

    #[test]
    fn a_request_to_be_left_alone_is_honoured_up_to_five_minutes() {
        let endpoint = endpoint("http://127.0.0.1:1");
        let retry_after = Some(Duration::from_hours(24));
        endpoint.failed(Some(Busy { status: reqwest::StatusCode::TOO_MANY_REQUESTS, retry_after }));
        let now = Instant::now();
        assert_eq!(endpoint.rank(now), Rank::Aside);
        assert!(endpoint.busy_for(now).unwrap() <= BUSY_MAX);
        assert_eq!(endpoint.rank(now + BUSY_MAX), Rank::Good);
    }
}

//! Who may talk to the local server: programs on this machine, not web pages.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};

use super::api_error::{Api, ApiError};

/// Refuses a `Host` that is not loopback (DNS rebinding) and an `Origin` that is not loopback
/// either.
pub(crate) async fn guard(request: Request, next: Next) -> Response {
    match refusal(request.headers()) {
        None => next.run(request).await,
        Some(reason) => {
            let api = Api::of(request.uri().path());
            ApiError::foreign(reason).respond(api)
        }
    }
}

fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback(host) {
        return Some("this server answers only as localhost, 127.0.0.1 or [::1]");
    }
    let origin = headers.get(header::ORIGIN)?;
    let host = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|pair| pair.1);
    let allowed = host.is_some_and(is_loopback);
    (!allowed).then_some("web pages of other origins may not use this server")
}

/// `localhost`, `127.0.0.1` or `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    ["localhost", "127.0.0.1", "[::1]"].iter().any(|name| {
        host.strip_prefix(name).is_some_and(|rest| {
            let port = rest.strip_prefix(':').unwrap_or("0");
            (rest.is_empty() || rest.starts_with(':')) && port.parse::<u16>().is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(host: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
        refusal(&headers).is_some()
    }

    #[test]
    fn programs_on_this_machine_may() {
        for host in ["localhost", "127.0.0.1:11434", "[::1]:1", "localhost:11535"] {
            assert!(!refused(host, None), "{host}");
        }
        assert!(!refused("localhost:1", Some("http://127.0.0.1:3000")));
    }

    #[test]
    fn rebound_names_and_foreign_pages_may_not() {
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a@localhost"]
        {
            assert!(refused(host, None), "{host}");
        }
        for origin in ["null", "https://evil.example", "http://localhost.evil.example", "file://"] {
            assert!(refused("localhost", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn a_request_without_host_may_not() {
        assert!(refusal(&HeaderMap::new()).is_some());
    }
}

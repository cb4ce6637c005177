//! Who may talk to the local server: programs on this machine that name it rightly, and web pages
//! that the user has listed.
//!
//! 1. *Host*: exactly one of the server's names, with its port. A page whose name was pointed at
//!    this machine (DNS rebinding) names itself.
//! 2. *Origin*: the server's own page, or one of `serve.origins`; letter by letter, `null` never.
//! 3. *Token*: needed when the home has any, with `--require-token`, and beyond this machine.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, header};

use super::api_error::{Api, ApiError};
use crate::tokens::Tokens;

/// Names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// Anthropic's libraries send their key in it.
const API_KEY: &str = "x-api-key";

/// What is let in.
#[derive(Debug)]
pub struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    tokens: Tokens,
    needs_token: bool,
}

impl Guard {
    /// For a server at `listen`, or at a UNIX socket, which has no port. `hosts` and `origins` come
    /// beside its own; `needs_token` also while the home has none, so that nobody is let in.
    pub fn new(
        listen: Option<SocketAddr>,
        hosts: &[String],
        origins: &[String],
        tokens: Tokens,
        needs_token: bool,
    ) -> Self {
        let mut names: Vec<String> = LOOPBACK.map(str::to_owned).into();
        names.extend(hosts.iter().map(|host| host.to_ascii_lowercase()));
        if let Some(at) = listen.filter(|at| !at.ip().is_unspecified()) {
            names.push(if at.is_ipv6() { format!("[{}]", at.ip()) } else { at.ip().to_string() });
        }
        let port = listen.map(|at| at.port());
        let with_port = |name: &String| port.map(|port| format!("{name}:{port}"));
        let all: Vec<String> = names.iter().filter_map(with_port).chain(names.clone()).collect();
        let own = all.iter().map(|host| format!("http://{host}"));
        // Without its port, a page is that of whatever listens on port 80.
        let own = own.filter(|origin| {
            port.is_some_and(|port| port == 80 || origin.ends_with(&format!(":{port}")))
        });
        let origins = own.chain(origins.iter().cloned()).collect();
        Self { hosts: all, origins, tokens, needs_token }
    }

    /// For a server at `listen` that answers to its own names only.
    pub fn own(listen: SocketAddr, tokens: Tokens) -> Self {
        Self::new(Some(listen), &[], &[], tokens, false)
    }

    fn refusal(&self, method: &Method, headers: &HeaderMap) -> Option<ApiError> {
        let named = one(headers, &header::HOST).map(str::to_ascii_lowercase);
        if !named.is_some_and(|name| self.hosts.contains(&name)) {
            return Some(ApiError::foreign(
                "this server answers only by its own names, e.g. localhost; others go into \
                 `hosts` under [serve] in config.toml",
            ));
        }
        if headers.contains_key(header::ORIGIN) {
            let origin = one(headers, &header::ORIGIN);
            if !origin.is_some_and(|origin| self.origins.iter().any(|one| one == origin)) {
                return Some(ApiError::foreign(
                    "web pages of other origins may not use this server; those that may go into \
                     `origins` under [serve] in config.toml",
                ));
            }
        }
        // Browsers ask before they send anything of the user's.
        let is_preflight = *method == Method::OPTIONS;
        (!is_preflight).then(|| self.without_token(headers)).flatten()
    }

    fn without_token(&self, headers: &HeaderMap) -> Option<ApiError> {
        let Ok(entries) = self.tokens.entries() else {
            return Some(ApiError::token("the file of tokens cannot be read"));
        };
        if entries.is_empty() && !self.needs_token {
            return None;
        }
        match presented(headers) {
            None => Some(ApiError::token(
                "a token is needed, as `Authorization: Bearer …` or `x-api-key`; to make one, run \
                 `phallama token create NAME`",
            )),
            Some(token) if Tokens::knows(&entries, token) => None,
            Some(_) => Some(ApiError::token("the token is none of `phallama token list`")),
        }
    }
}

/// The only value of a header.
fn one<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next()?, values.next());
    first.to_str().ok().filter(|_| second.is_none())
}

/// What an app says its token is. It is hashed and goes nowhere else.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, token) = value.split_at_checked("Bearer ".len())?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
    });
    bearer.or_else(|| headers.get(API_KEY).map(HeaderValue::as_bytes))
}

/// Refuses who may not.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.refusal(request.method(), request.headers()) {
        None => next.run(request).await,
        Some(refusal) => {
            let api = Api::of(request.uri().path());
            let mut response = refusal.respond(api);
            if response.status() == http::StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            }
            response
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;
    use crate::tokens;

    const PORT: u16 = 11434;

    fn guard_with(listen: &str, hosts: &[&str], origins: &[&str], home: &Home) -> Guard {
        let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        let listen = Some(listen.parse().unwrap());
        Guard::new(listen, &owned(hosts), &owned(origins), Tokens::of(home), false)
    }

    fn plain() -> Guard {
        let nowhere = Home::at("/nonexistent/phallama");
        guard_with(&format!("127.0.0.1:{PORT}"), &[], &[], &nowhere)
    }

    /// The code of the refusal for these headers.
    fn refused(guard: &Guard, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        guard.refusal(&Method::POST, &map).map(|refusal| refusal.code)
    }

    #[test]
    fn programs_on_this_machine_may() {
        for host in ["localhost", "LOCALHOST:11434", "127.0.0.1:11434", "[::1]:11434", "[::1]"] {
            assert_eq!(refused(&plain(), &[("host", host)]), None, "{host}");
        }
        let origin = ("origin", "http://127.0.0.1:11434");
        assert_eq!(refused(&plain(), &[("host", "localhost:11434"), origin]), None);
    }

    #[test]
    fn rebound_other_and_several_names_may_not() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a@localhost",
            "localhost:1",
            "localhost:",
            "localhost.",
            "machine.local",
            "machine.internal",
            "x.localhost",
            "0.0.0.0:11434",
            "10.0.0.1:11434",
            "[::ffff:127.0.0.1]:11434",
        ] {
            assert_eq!(refused(&plain(), &[("host", host)]), Some("foreign_origin"), "{host}");
        }
        assert_eq!(refused(&plain(), &[]), Some("foreign_origin"));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(refused(&plain(), &twice), Some("foreign_origin"));
    }

    #[test]
    fn other_pages_may_not_unless_they_are_listed() {
        let host = ("host", "localhost:11434");
        for origin in [
            "null",
            "",
            "file://",
            "https://evil.example",
            "http://localhost.evil.example",
            "http://localhost:3000",
            "http://localhost",
            "https://localhost:11434",
            "http://localhost:11434/",
            "app://localhost:11434",
        ] {
            let code = refused(&plain(), &[host, ("origin", origin)]);
            assert_eq!(code, Some("foreign_origin"), "{origin}");
        }
        let nowhere = Home::at("/nonexistent/phallama");
        let guard =
            guard_with("127.0.0.1:11434", &["box.lan"], &["http://localhost:3000"], &nowhere);
        assert_eq!(refused(&guard, &[host, ("origin", "http://localhost:3000")]), None);
        let page = ("origin", "http://box.lan:11434");
        assert_eq!(refused(&guard, &[("host", "box.lan:11434"), page]), None);
        let code = refused(&guard, &[host, ("origin", "http://localhost:3001")]);
        assert_eq!(code, Some("foreign_origin"));
    }

    #[test]
    fn a_token_is_needed_as_soon_as_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let guard = guard_with("127.0.0.1:11434", &[], &[], &home);
        let host = ("host", "localhost");
        assert_eq!(refused(&guard, &[host]), None);
        let token = tokens::create(&home, "app").unwrap();
        assert_eq!(refused(&guard, &[host]), Some("token_refused"));
        let bearer = format!("Bearer {}", *token);
        let lower = format!("bearer {}", *token);
        for good in [("authorization", &*bearer), ("authorization", &*lower), (API_KEY, &**token)] {
            assert_eq!(refused(&guard, &[host, good]), None, "{}", good.0);
        }
        let long = "x".repeat(64 << 10);
        let basic = format!("Basic {}", *token);
        for bad in ["", "Bearer", "Bearer ", "Bearer x", "Bearer '\" OR 1=1 --", &long, &basic] {
            assert_eq!(refused(&guard, &[host, ("authorization", bad)]), Some("token_refused"));
        }
        let preflight = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
        assert!(guard.refusal(&Method::OPTIONS, &preflight).is_none(), "it carries none");
        home.write("tokens.json", b"broken").unwrap();
        assert_eq!(refused(&guard, &[host]), Some("token_refused"), "closed, not open");
    }
}

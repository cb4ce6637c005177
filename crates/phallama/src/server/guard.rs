//! Who may talk to the local server: programs on this machine that name it rightly, and web pages
//! that the user has listed.
//!
//! 1. *Host*: exactly one of the server's names, with its port. A page whose name was pointed at
//!    this machine (DNS rebinding) names itself.
//! 2. *Origin*: the server's own page, or one of `serve.origins`; letter by letter, `null` never.
//! 3. *Token*: needed when the home has any, with `--require-token`, and beyond this machine. The
//!    files of the page, which are nobody's secret, are shown without: the page asks for a token.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, header};

use super::api_error::{Api, ApiError};
use crate::tokens::{TokenEntry, Tokens};

/// Names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
/// Anthropic's libraries send their key in it.
const API_KEY: &str = "x-api-key";
/// What the page alone may ask: it concerns the wallet.
const PAGE_ROUTES: &str = "/phallama/";

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

    /// Lets the request in, with the token that it shows where one is needed.
    fn admit(
        &self,
        (method, path): (&Method, &str),
        headers: &HeaderMap,
    ) -> Result<Option<Arc<TokenEntry>>, ApiError> {
        if let Some(foreign) = self.foreign(headers) {
            return Err(foreign);
        }
        // Browsers ask before they send anything of the user's.
        if *method == Method::OPTIONS || is_of_the_page(method, path, headers) {
            return Ok(None);
        }
        let token = self.token(headers)?;
        if path.starts_with(PAGE_ROUTES)
            && token.as_ref().is_some_and(|it| it.max_per_day.is_some())
        {
            return Err(ApiError::limited_token());
        }
        Ok(token)
    }

    fn foreign(&self, headers: &HeaderMap) -> Option<ApiError> {
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
        None
    }

    fn token(&self, headers: &HeaderMap) -> Result<Option<Arc<TokenEntry>>, ApiError> {
        let Ok(entries) = self.tokens.entries() else {
            return Err(ApiError::token("the file of tokens cannot be read"));
        };
        if entries.is_empty() && !self.needs_token {
            return Ok(None);
        }
        let Some(token) = presented(headers) else {
            return Err(ApiError::token(
                "a token is needed, as `Authorization: Bearer …` or `x-api-key`; to make one, run \
                 `phallama token create NAME`",
            ));
        };
        let found = Tokens::find(&entries, token).cloned().map(Arc::new);
        let unknown = || ApiError::token("the token is none of `phallama token list`");
        found.map(Some).ok_or_else(unknown)
    }
}

/// Whether a browser fetches the page itself.
fn is_of_the_page(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let wants_page = |value: &HeaderValue| value.as_bytes().windows(9).any(|it| it == b"text/html");
    let is_front = path == "/" && headers.get(header::ACCEPT).is_some_and(wants_page);
    let is_file = path == "/ui" || path.starts_with("/ui/");
    (*method == Method::GET || *method == Method::HEAD) && (is_front || is_file)
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
    mut request: Request,
    next: Next,
) -> Response {
    match guard.admit((request.method(), request.uri().path()), request.headers()) {
        Ok(token) => {
            if let Some(token) = token {
                request.extensions_mut().insert(token);
            }
            next.run(request).await
        }
        Err(refusal) => {
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
        guard.admit((&Method::POST, "/v1/models"), &map).err().map(|refusal| refusal.code)
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
        let token = tokens::create(&home, "app", None).unwrap();
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
        let asked = guard.admit((&Method::OPTIONS, "/v1/models"), &preflight);
        assert!(asked.is_ok(), "it carries none");
        home.write("tokens.json", b"broken").unwrap();
        assert_eq!(refused(&guard, &[host]), Some("token_refused"), "closed, not open");
    }

    #[test]
    fn the_page_is_shown_without_a_token_and_does_nothing_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let guard = guard_with("127.0.0.1:11434", &[], &[], &home);
        let token = tokens::create(&home, "browser", None).unwrap();
        let limited = tokens::create(&home, "app", Some("1")).unwrap();
        let code = |method: Method, path: &str, headers: &[(&str, &str)]| {
            let mut map = HeaderMap::from_iter([(header::HOST, "localhost".parse().unwrap())]);
            for (name, value) in headers {
                let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
                map.insert(name, HeaderValue::from_str(value).unwrap());
            }
            guard.admit((&method, path), &map).err().map(|refusal| refusal.code)
        };
        let html = [("accept", "text/html,application/xhtml+xml")];
        for path in ["/ui", "/ui/", "/ui/assets/index.js"] {
            assert_eq!(code(Method::GET, path, &[]), None, "{path}");
        }
        assert_eq!(code(Method::GET, "/", &html), None);
        for (method, path, headers) in [
            (Method::GET, "/", &[][..]),
            (Method::POST, "/ui/", &[]),
            (Method::GET, "/uix", &[]),
            (Method::GET, "/phallama/v1/status", &html),
            (Method::GET, "/v1/models", &html),
        ] {
            assert_eq!(code(method, path, headers), Some("token_refused"), "{path}");
        }
        let status = "/phallama/v1/status";
        assert_eq!(code(Method::GET, status, &[(API_KEY, &token)]), None);
        assert_eq!(code(Method::GET, status, &[(API_KEY, &limited)]), Some("token_limited"));
        assert_eq!(code(Method::POST, "/v1/models", &[(API_KEY, &limited)]), None);
    }
}

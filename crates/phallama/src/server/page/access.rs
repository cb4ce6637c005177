//! Who may use the page's routes: the page that this server has handed out, and nobody else.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use subtle::ConstantTimeEq as _;

use super::fault::Fault;

/// A page of another origin cannot send it without a preflight, which is not answered.
const OWN_HEADER: &str = "x-phallama-page";
const TOKEN_BYTES: usize = 32;

/// The token of one start of the server.
pub(super) struct Session {
    token: String,
}

impl Session {
    pub(super) fn new() -> Self {
        let mut token = [0; TOKEN_BYTES];
        getrandom::fill(&mut token).expect("the operating system has random bytes");
        Self { token: hex::encode(token) }
    }

    /// The cookie for a browser that opens the page as a document of its own. A page elsewhere
    /// that loads it as anything else gets none.
    pub(super) fn cookie(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let document = text(headers, "sec-fetch-dest").is_none_or(|dest| dest == "document");
        let cookie = format!(
            "{}={}; Path=/phallama/; HttpOnly; SameSite=Strict",
            cookie_name(headers),
            self.token
        );
        document.then(|| HeaderValue::from_str(&cookie).ok()).flatten()
    }

    pub(super) async fn admit(&self, request: Request, next: Next) -> Response {
        match self.refusal(request.headers()) {
            None => next.run(request).await,
            Some(fault) => fault.into_response(),
        }
    }

    fn refusal(&self, headers: &HeaderMap) -> Option<Fault> {
        let forbidden = |code, message| Some(Fault::new(StatusCode::FORBIDDEN, code, message));
        if text(headers, OWN_HEADER) != Some("1") {
            return forbidden("not_the_page", "Only the page of this server may ask this.");
        }
        if text(headers, "sec-fetch-site").is_some_and(|site| site != "same-origin") {
            return forbidden("foreign_origin", "Another page may not ask this.");
        }
        let host = text(headers, "host").unwrap_or_default();
        let own = format!("http://{host}");
        if text(headers, "origin").is_some_and(|origin| origin != own) {
            return forbidden("foreign_origin", "Another page may not ask this.");
        }
        (!self.is_shown_by(headers)).then(|| {
            let message = "This page belongs to an earlier start of the server. Load it again.";
            Fault::new(StatusCode::UNAUTHORIZED, "page_expired", message)
        })
    }

    fn is_shown_by(&self, headers: &HeaderMap) -> bool {
        let name = cookie_name(headers);
        let cookies = headers.get_all(header::COOKIE).into_iter();
        let mut pairs = cookies.filter_map(|line| line.to_str().ok()).flat_map(|l| l.split(';'));
        pairs.any(|pair| {
            pair.trim().split_once('=').is_some_and(|(key, value)| {
                key == name && bool::from(value.as_bytes().ct_eq(self.token.as_bytes()))
            })
        })
    }
}

/// Browsers keep one jar for all ports of a host, so the name says the port.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = text(headers, "host").unwrap_or_default();
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    format!("phallama-page-{}", port.trim_end_matches(']'))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    const HOST: &str = "127.0.0.1:11434";

    /// What the browser sends from the page itself.
    fn from_the_page(session: &Session) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(HOST));
        headers.insert("origin", HeaderValue::from_static("http://127.0.0.1:11434"));
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        headers.insert(OWN_HEADER, HeaderValue::from_static("1"));
        let cookie = session.cookie(&headers).unwrap();
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
        headers.insert(header::COOKIE, pair.parse().unwrap());
        headers
    }

    /// The answer after one change of what the page sends.
    fn check(change: impl FnOnce(&mut HeaderMap), expected: Option<(u16, &str)>) {
        let session = Session::new();
        let mut headers = from_the_page(&session);
        change(&mut headers);
        let refused = session.refusal(&headers).map(IntoResponse::into_response);
        let status = refused.as_ref().map(|response| response.status().as_u16());
        assert_eq!(status, expected.map(|(status, _)| status));
        if let Some((_, code)) = expected {
            let fault = format!("{:?}", session.refusal(&headers).unwrap());
            assert!(fault.contains(code), "{fault}");
        }
    }

    fn set(name: &'static str, value: &'static str) -> impl FnOnce(&mut HeaderMap) {
        move |headers| drop(headers.insert(name, HeaderValue::from_static(value)))
    }

    #[test]
    fn the_page_itself_may() {
        check(|_| {}, None);
        check(|headers| drop(headers.remove("origin")), None);
        check(|headers| drop(headers.remove("sec-fetch-site")), None);
    }

    #[test]
    fn without_its_header_it_may_not() {
        check(|headers| drop(headers.remove(OWN_HEADER)), Some((403, "not_the_page")));
        check(set(OWN_HEADER, "yes"), Some((403, "not_the_page")));
    }

    #[test]
    fn other_origins_may_not_even_on_this_machine() {
        for origin in ["http://127.0.0.1:3000", "http://localhost:11434", "null", ""] {
            check(set("origin", origin), Some((403, "foreign_origin")));
        }
        for site in ["same-site", "cross-site", "none"] {
            check(set("sec-fetch-site", site), Some((403, "foreign_origin")));
        }
    }

    #[test]
    fn without_the_token_of_this_start_it_may_not() {
        check(|headers| drop(headers.remove("cookie")), Some((401, "page_expired")));
        let earlier = Session::new();
        let cookie = from_the_page(&earlier).remove("cookie").unwrap();
        check(move |headers| drop(headers.insert("cookie", cookie)), Some((401, "page_expired")));
        check(set("cookie", "phallama-page-11434="), Some((401, "page_expired")));
    }

    #[test]
    fn the_token_of_another_port_is_another_one() {
        let other = |headers: &mut HeaderMap| {
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:1"));
            headers.insert("origin", HeaderValue::from_static("http://127.0.0.1:1"));
        };
        check(other, Some((401, "page_expired")));
    }

    #[test]
    fn a_page_that_embeds_this_one_gets_no_token() {
        let session = Session::new();
        for dest in ["iframe", "empty", "image", "script"] {
            let mut headers = HeaderMap::new();
            headers.insert("sec-fetch-dest", HeaderValue::from_static(dest));
            assert_eq!(session.cookie(&headers), None, "{dest}");
        }
        let cookie = session.cookie(&HeaderMap::new()).unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.ends_with("; Path=/phallama/; HttpOnly; SameSite=Strict"), "{cookie}");
    }
}

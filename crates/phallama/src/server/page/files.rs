//! The page's files, as `web/` builds them, and the headers that keep them to themselves.

use axum::extract::{Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Shared;

/// Name and bytes; names of scripts and styles contain a digest of the content.
const FILES: &[(&str, &[u8])] = include!("../../../page/files.in");

/// Scripts, styles and answers come from this server alone, nothing inline, and nobody frames it.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'; trusted-types dompurify";

/// Sends a browser that asks for `/` to the page; Ollama's clients get their word there.
pub(crate) async fn front(request: Request, next: Next) -> Response {
    if request.uri().path() != "/" {
        return next.run(request).await;
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let mut response = if accept.is_some_and(|accept| accept.contains("text/html")) {
        Redirect::temporary("/ui/").into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

pub(super) async fn index(State(page): Shared, headers: HeaderMap) -> Response {
    let mut response = served("index.html");
    let cookie = page.session.cookie(&headers);
    response.headers_mut().extend(cookie.map(|cookie| (header::SET_COOKIE, cookie)));
    response
}

pub(super) async fn file(Path(path): Path<String>) -> Response {
    served(&path)
}

fn served(name: &str) -> Response {
    let Some((name, bytes)) = FILES.iter().find(|(known, _)| *known == name) else {
        return (StatusCode::NOT_FOUND, "no such file").into_response();
    };
    let mut response = (*bytes).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type(name)),
        (header::CACHE_CONTROL, lifetime(name)),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// What has its digest in its name never changes.
fn lifetime(name: &str) -> &'static str {
    if name.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_file_that_is_not_embedded_and_nothing_inline() {
        let (_, index) = FILES.iter().find(|(name, _)| *name == "index.html").unwrap();
        let index = std::str::from_utf8(index).unwrap();
        let named: Vec<&str> = index.split('"').filter(|part| part.contains("assets/")).collect();
        assert!(named.len() >= 2, "{index}");
        for path in named {
            let name = path.trim_start_matches("./");
            assert!(FILES.iter().any(|(known, _)| *known == name), "{path}");
        }
        assert!(!index.contains("<style") && !index.contains("<script>"), "{index}");
        assert!(!index.contains("http:") && !index.contains("https:"), "{index}");
    }

    #[test]
    fn only_what_has_its_digest_in_its_name_is_kept() {
        let kept = |name: &str| served(name).headers()[header::CACHE_CONTROL].clone();
        assert_eq!(kept("index.html"), "no-cache");
        for (name, _) in FILES.iter().filter(|(name, _)| name.starts_with("assets/")) {
            assert_eq!(kept(name), "public, max-age=31536000, immutable", "{name}");
        }
        assert_eq!(served("../Cargo.toml").status(), StatusCode::NOT_FOUND);
    }
}

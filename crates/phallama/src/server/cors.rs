//! Web pages on this machine that use the local server: what browsers ask before and after.
//!
//! Whoever comes here has passed the guard: an `Origin` is one that may use the server.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// What a page may read of a response besides its body.
const EXPOSED: &str = "x-request-id, retry-after, x-phallama-pod, x-phallama-receipt, \
                       x-phallama-cost, x-phallama-verified";
const METHODS: &str = "GET, HEAD, POST, DELETE, OPTIONS";
/// For how long a browser need not ask again.
const MAX_AGE_S: &str = "600";

pub(crate) async fn cors(request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if request.method() == Method::OPTIONS && asked.is_some() {
        (StatusCode::NO_CONTENT, allowed(request.headers())).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// The answer to a preflight: any header that the page wants to send, such as the `x-stainless-…`
/// of OpenAI's and Anthropic's libraries. Cookies are never allowed, and nobody reads any.
fn allowed(asked: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers
}

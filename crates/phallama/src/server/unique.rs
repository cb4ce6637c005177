//! Names for requests and answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;

const REQUEST_ID: &str = "x-request-id";

/// Tells answers apart in an app's log; it is no secret.
pub(crate) fn unique_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}{:04x}", since.as_micros(), COUNT.fetch_add(1, Ordering::Relaxed) & 0xffff)
}

/// Gives every response an `x-request-id`.
pub(crate) async fn name_request(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let id = HeaderValue::from_str(&format!("req_{}", unique_id())).expect("letters and digits");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

//! The web page: its files for browsers, and the JSON routes that it alone may use.
//!
//! An app may spend on inference up to the user's limits; this page may do more: show what was
//! spent, move money, change limits. So its routes under `/phallama/v1` are kept from everybody
//! else on this machine that is not the page:
//!
//! - a cookie with a random token, new at every start, set when the page itself is opened;
//! - a header of its own, which a page of another origin could only send after a preflight that
//!   is never answered;
//! - `Origin` and `Sec-Fetch-Site`, where the browser sends them, must say that it is this page;
//! - what moves money or changes limits takes the keystore's password, each time.

mod access;
mod fault;
mod files;
mod money;
mod network;
mod password;
mod receipts;

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};
use http::HeaderValue;
use phallama_client::Client;

use self::access::Session;
use self::fault::Fault;
use self::password::Passwords;
use crate::context::Context;
use crate::error::CliError;
use crate::home::Home;

pub(crate) use self::files::front;

/// Larger than anything the page sends.
const BODY_MAX_BYTES: usize = 16 << 10;

/// What the page's routes work with.
pub struct Page {
    client: Arc<Client>,
    home: Home,
    keystore: PathBuf,
    owner_key_file: Option<PathBuf>,
    session: Session,
    passwords: Passwords,
}

impl Page {
    /// A page for this home's wallet. `owner_key_file` lets it deposit and send what the owner may;
    /// without it, the development owner's key is used where there is one.
    ///
    /// # Errors
    /// [`CliError::NoWallet`], and what makes a keystore unreadable.
    pub fn new(
        context: &Context,
        client: Arc<Client>,
        owner_key_file: Option<PathBuf>,
    ) -> Result<Self, CliError> {
        Ok(Self {
            client,
            home: context.home.clone(),
            keystore: context.keystore()?.path().to_owned(),
            owner_key_file,
            session: Session::new(),
            passwords: Passwords::default(),
        })
    }
}

/// The request's body as JSON.
fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::field("body", format!("{error}.")))
}

/// What page routes answer.
type Answered = Result<axum::Json<serde_json::Value>, Fault>;
type Shared = axum::extract::State<Arc<Page>>;

pub(crate) fn router(page: Arc<Page>) -> Router {
    let session = Arc::clone(&page);
    let own = Router::new()
        .route("/status", get(network::status))
        .route("/models", get(network::models))
        .route("/pods", get(network::pods))
        .route("/verify", post(network::verify))
        .route("/balance", get(money::balance))
        .route("/deposit", post(money::deposit))
        .route("/withdraw", post(money::withdraw))
        .route("/exit", post(money::exit))
        .route("/close", post(money::close))
        .route("/limits", get(money::limits).post(money::set_limits))
        .route("/receipts", get(receipts::list))
        .route("/receipts/export", get(receipts::export))
        .route("/receipts/check", post(receipts::check))
        .route("/receipts/{id}", get(receipts::one))
        .fallback(async || Fault::no_route())
        .layer(middleware::from_fn(move |request: Request, next| {
            let page = Arc::clone(&session);
            async move { page.session.admit(request, next).await }
        }));
    Router::new()
        .nest("/phallama/v1", own)
        .route("/ui", get(async || axum::response::Redirect::permanent("/ui/")))
        .route("/ui/", get(files::index))
        .route("/ui/{*path}", get(files::file))
        .layer(middleware::map_response(unstored))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(page)
}

/// Nothing of the wallet stays in a browser's cache; files say for themselves how long they last.
async fn unstored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(http::header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

//! Who asks: the app, by its token, and what it says about its request.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use phallama_client::{Client, Purse};

use super::api_error::ApiError;
use crate::tokens::TokenEntry;
use crate::units;

/// The header with which an app names a request: all with the same name are one.
const NAME: &str = "idempotency-key";

/// Whoever asked.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) headers: HeaderMap,
    /// Whose token was shown; none where none is needed.
    token: Option<Arc<TokenEntry>>,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let token = parts.extensions.get::<Arc<TokenEntry>>().map(Arc::clone);
        Ok(Self { headers: parts.headers.clone(), token })
    }
}

impl Caller {
    /// The name that the app gave its request.
    pub(crate) fn request_name(&self) -> Result<Option<String>, ApiError> {
        match self.headers.get(NAME).map(HeaderValue::to_str) {
            None => Ok(None),
            Some(Ok(name)) => Ok(Some(name.to_owned())),
            Some(Err(_)) => {
                Err(ApiError::invalid(NAME, "`Idempotency-Key` must be visible ASCII."))
            }
        }
    }

    /// What the app may spend, if its token says.
    pub(crate) async fn purse(&self, client: &Client) -> Result<Option<Purse>, ApiError> {
        let Some(token) = &self.token else { return Ok(None) };
        let Some(limit) = &token.max_per_day else { return Ok(None) };
        let decimals = client.token().await?.decimals;
        let unreadable = |_| ApiError::token("the file of tokens cannot be read");
        let per_day = units::parse(limit, decimals).map_err(unreadable)?;
        Ok(Some(Purse { id: token.purse(), per_day }))
    }
}

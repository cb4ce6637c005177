//! What the page is told when something fails.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use phallama_chain::{ChainError, TokenMeta};
use phallama_client::ClientError;

use super::super::api_error::{Api, ApiError};
use crate::error::CliError;

/// A failure, in the shape of OpenAI's API: `{"error": {message, type, param, code}}`.
#[derive(Debug)]
pub(crate) struct Fault(ApiError);

impl Fault {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let kind = if status.is_server_error() { "api_error" } else { "invalid_request_error" };
        let message = message.into();
        Self(ApiError {
            status,
            kind,
            code,
            message,
            param: None,
            retry_after_s: None,
            pods: Box::default(),
        })
    }

    /// A field of the request is none of the allowed ones.
    pub(super) fn field(param: &str, message: impl Into<String>) -> Self {
        let fault = Self::new(StatusCode::BAD_REQUEST, "invalid_request", message);
        Self(ApiError { param: Some(param.to_owned()), ..fault.0 })
    }

    /// The same question may be asked again after this time.
    pub(super) fn wait(code: &'static str, message: &str, seconds: u64) -> Self {
        let fault = Self::new(StatusCode::TOO_MANY_REQUESTS, code, message);
        Self(ApiError { retry_after_s: Some(seconds), ..fault.0 })
    }

    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_endpoint", "The page has no such route.")
    }

    /// A failure of the client library, with its amounts in whole tokens.
    pub(super) fn told(error: &ClientError, token: Option<&TokenMeta>) -> Self {
        Self(ApiError::told(error, token))
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        self.0.respond(Api::OpenAi)
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        Self::told(&error, None)
    }
}

impl From<ChainError> for Fault {
    fn from(error: ChainError) -> Self {
        CliError::from(error).into()
    }
}

impl From<CliError> for Fault {
    fn from(error: CliError) -> Self {
        let error = match error {
            CliError::Client(error) => return error.into(),
            CliError::Priced { error, token } => return Self::told(&error, Some(&token)),
            other => other,
        };
        let (status, code) = match error.exit_code() {
            2 => (StatusCode::BAD_REQUEST, "invalid_request"),
            5 => (StatusCode::PAYMENT_REQUIRED, "payment"),
            6 => (StatusCode::SERVICE_UNAVAILABLE, "chain_unavailable"),
            7 => (StatusCode::BAD_GATEWAY, "pod_unavailable"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let hint = error.hint().map(|hint| format!(" {hint}.")).unwrap_or_default();
        Self::new(status, code, format!("{error}.{hint}"))
    }
}

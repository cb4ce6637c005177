//! One failure, in the shape of whichever API was asked.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use phallama_chain::TokenMeta;
use phallama_client::{ClientError, Fact, FailureRow};
use phallama_protocol::refusal::Code;
use serde_json::{Value, json};

/// The code of a refusal for want of a token.
pub(crate) const TOKEN_REFUSED: &str = "token_refused";
/// Most rows about pods in one error.
const ROWS_MAX: usize = 100;

/// Which API a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    OpenAi,
    Anthropic,
    Ollama,
}

impl Api {
    /// By the path that was asked.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            _ if path.starts_with("/v1/messages") => Self::Anthropic,
            _ if path.starts_with("/v1") || path.starts_with("/phallama/") => Self::OpenAi,
            _ => Self::Ollama,
        }
    }
}

/// A failure as an API tells it.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// OpenAI's `type`.
    pub(crate) kind: &'static str,
    /// Stable, for programs.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// The request's field at fault.
    pub(crate) param: Option<String>,
    pub(crate) retry_after_s: Option<u64>,
    /// Why each pod did not answer, where several could have.
    pub(crate) pods: Box<[FailureRow]>,
}

impl ApiError {
    /// The request itself is wrong; nothing left this machine.
    pub(crate) fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            kind: "invalid_request_error",
            code: "invalid_request",
            message: format!("{} No prompt was sent.", message.into()),
            param: Some(param.to_owned()),
            retry_after_s: None,
            pods: Box::default(),
        }
    }

    /// Somebody else than a program on this machine.
    pub(crate) fn foreign(reason: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            kind: "invalid_request_error",
            code: "foreign_origin",
            message: format!("{reason}. No prompt was sent."),
            param: None,
            retry_after_s: None,
            pods: Box::default(),
        }
    }

    /// Somebody who does not show that it may.
    pub(crate) fn token(reason: &str) -> Self {
        let message = format!("{reason}. No prompt was sent.");
        Self::of(StatusCode::UNAUTHORIZED, TOKEN_REFUSED, message)
    }

    /// An app that may ask models and nothing else.
    pub(crate) fn limited_token() -> Self {
        let message = "a token with a limit may ask models, and not use what concerns the wallet; \
                       for the page, run `phallama token create NAME` without `--max-per-day`.";
        Self::of(StatusCode::FORBIDDEN, "token_limited", message.to_owned())
    }

    /// No such endpoint.
    pub(crate) fn no_route(method: &http::Method, path: &str) -> Self {
        let message = format!("no endpoint {method} {path}");
        Self::of(StatusCode::NOT_FOUND, "unknown_endpoint", message)
    }

    /// Not with this method.
    pub(crate) fn no_method(method: &http::Method, path: &str) -> Self {
        let message = format!("{path} takes no {method}");
        Self::of(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
    }

    /// An endpoint that is known and of no use here.
    pub(crate) fn not_here(what: &str) -> Self {
        Self::of(StatusCode::NOT_IMPLEMENTED, "not_implemented", what.to_owned())
    }

    /// A body that could not be read.
    pub(crate) fn unread(status: StatusCode, why: &str) -> Self {
        let code = match status {
            StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
            _ => "unreadable_body",
        };
        Self::of(status, code, format!("{why}. No prompt was sent."))
    }

    /// A failure that is none of the client library's.
    fn of(status: StatusCode, code: &'static str, message: String) -> Self {
        let (param, retry_after_s, pods) = (None, None, Box::default());
        Self { status, kind: kind(status), code, message, param, retry_after_s, pods }
    }

    /// The error object, without status.
    pub(crate) fn body(&self, api: Api) -> Value {
        let mut body = match api {
            Api::OpenAi => json!({"error": {
                "message": self.message, "type": self.kind, "param": self.param,
                "code": self.openai_code(),
            }}),
            Api::Anthropic => json!({"type": "error", "error": {
                "type": self.anthropic_kind(), "message": self.message, "param": self.param,
                "code": self.code,
            }}),
            Api::Ollama => json!({"error": self.message, "code": self.code}),
        };
        if !self.pods.is_empty() {
            let object = if api == Api::Ollama { &mut body } else { &mut body["error"] };
            object["pods"] = json!(self.pods);
        }
        body
    }

    /// OpenAI's own code where apps act on it: they shorten the conversation and ask again.
    fn openai_code(&self) -> &'static str {
        if self.code == Code::PromptTooLong.name() { "context_length_exceeded" } else { self.code }
    }

    /// Anthropic's word for the status.
    fn anthropic_kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }

    pub(crate) fn respond(&self, api: Api) -> Response {
        let mut response = (self.status, Json(self.body(api))).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<ClientError> for ApiError {
    fn from(error: ClientError) -> Self {
        Self::told(&error, None)
    }
}

impl ApiError {
    /// A failure of the client library; `token` gives amounts their unit.
    pub(crate) fn told(error: &ClientError, token: Option<&TokenMeta>) -> Self {
        let class = error.class();
        let status =
            StatusCode::from_u16(class.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let param = match error {
            ClientError::ModelUnknown { .. } => Some("model".to_owned()),
            ClientError::InvalidRequest { field, .. } => field.map(str::to_owned),
            // The enclave names the field first.
            ClientError::PodRefused { code: Code::InvalidRequest, message, .. } => {
                message.split('`').nth(1).map(str::to_owned)
            }
            _ => None,
        };
        let retry_after_s = error.retry_after_ms().map(|ms| u64::from(ms).div_ceil(1000).max(1));
        Self {
            status,
            kind: kind(status),
            code: class.code,
            message: message(error, token),
            param,
            retry_after_s,
            pods: pods(error, token),
        }
    }
}

/// OpenAI's `type`.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        402 => "insufficient_quota",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// One row per pod; an error body has to stay readable.
fn pods(error: &ClientError, token: Option<&TokenMeta>) -> Box<[FailureRow]> {
    let money = |amount| match token {
        Some(token) => crate::context::money(amount, token),
        None => format!("{amount} units"),
    };
    let refused = match error {
        ClientError::NoPod { refused, .. } => refused.as_slice(),
        ClientError::Repeated(error) => return pods(error, token),
        _ => &[],
    };
    refused.iter().take(ROWS_MAX).map(|failure| failure.row(money)).collect()
}

/// What the command line says in several lines, in one.
fn message(error: &ClientError, token: Option<&TokenMeta>) -> String {
    let explained = error.explain(token);
    let fact = |fact: &Fact| match fact.source.as_str() {
        "" => format!("; {} {}", fact.name, fact.value),
        source => format!("; {} {} ({source})", fact.name, fact.value),
    };
    let facts: String = explained.facts.iter().map(fact).collect();
    let more = explained.effect.map(str::to_owned).into_iter().chain(explained.hint);
    let more: Vec<String> = more.map(|sentence| format!(" {sentence}")).collect();
    format!("{}{facts}.{}", explained.title, more.concat())
}

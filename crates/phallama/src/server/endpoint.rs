//! What the endpoints of all APIs share, and in a file for each API its own.

pub(super) mod anthropic;
pub(super) mod llama_server;
pub(super) mod ollama;
pub(super) mod openai;

use std::sync::Arc;

use axum::extract::{FromRef, FromRequest, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::{Method, Uri};
use phallama_client::Client;

use super::answer::{Shape, respond};
use super::api_error::{Api, ApiError};
use super::ask::Telling;
use super::call::Call;
use super::caller::Caller;
use super::in_use::InUse;

/// What handlers are given.
#[derive(Clone)]
pub(crate) struct Served {
    pub(crate) client: Arc<Client>,
    pub(crate) in_use: Arc<InUse>,
}

impl FromRef<Served> for Arc<Client> {
    fn from_ref(served: &Served) -> Self {
        Self::clone(&served.client)
    }
}

type Shared = State<Arc<Client>>;

/// A request's body, whole. What is wrong with it is said in the API's own shape.
pub(crate) struct Received(Bytes);

impl<S: Send + Sync> FromRequest<S> for Received {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let api = Api::of(request.uri().path());
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(why) => Err(ApiError::unread(why.status(), &why.body_text()).respond(api)),
        }
    }
}

/// Asks, and writes the answer.
async fn answer<S: Shape>(
    client: &Arc<Client>,
    caller: &Caller,
    calls: impl IntoIterator<Item = Call>,
    shape: S,
    stream: bool,
) -> Response {
    match Telling::begin(client, caller, calls).await {
        Ok(telling) => respond(telling, shape, stream).await,
        Err(error) => error.respond(S::API),
    }
}

/// No such endpoint.
pub(super) async fn unknown(method: Method, uri: Uri) -> Response {
    ApiError::no_route(&method, uri.path()).respond(Api::of(uri.path()))
}

/// An endpoint, and another method.
pub(super) async fn other_method(method: Method, uri: Uri) -> Response {
    ApiError::no_method(&method, uri.path()).respond(Api::of(uri.path()))
}

//! The chain as an alloy transport: requests become function calls.

use std::future::ready;
use std::task::{Context, Poll};
use std::time::Duration;

use alloy_json_rpc::{
    ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest,
};
use alloy_rpc_client::RpcClient;
use alloy_transport::{TransportError, TransportErrorKind, TransportFut};
use serde_json::Value;
use serde_json::value::to_raw_value;
use tower::Service;

use crate::chain::DevChain;
use crate::error::RpcError;

/// How often an alloy provider of an in-process chain looks for new blocks. Blocks are there at
/// once, and looking costs microseconds.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// An alloy transport (`tower::Service`) that answers from a chain in this process.
#[derive(Debug, Clone)]
pub struct InProcess(DevChain);

impl DevChain {
    /// The chain as an alloy transport.
    pub fn transport(&self) -> InProcess {
        InProcess(self.clone())
    }

    /// An alloy client of this chain, for `ProviderBuilder::connect_client`.
    pub fn rpc_client(&self) -> RpcClient {
        RpcClient::new(self.transport(), true).with_poll_interval(POLL_INTERVAL)
    }
}

impl Service<RequestPacket> for InProcess {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let answered = match packet {
            RequestPacket::Single(request) => answer(&self.0, &request).map(ResponsePacket::Single),
            RequestPacket::Batch(requests) => {
                let answers: Result<_, _> =
                    requests.iter().map(|request| answer(&self.0, request)).collect();
                answers.map(ResponsePacket::Batch)
            }
        };
        Box::pin(ready(answered))
    }
}

fn answer(chain: &DevChain, request: &SerializedRequest) -> Result<Response, TransportError> {
    let params = match request.params() {
        Some(raw) => serde_json::from_str(raw.get()).map_err(TransportError::ser_err)?,
        None => Value::Null,
    };
    let payload = match chain.request(request.method(), params) {
        Ok(result) => {
            ResponsePayload::Success(to_raw_value(&result).map_err(TransportError::ser_err)?)
        }
        Err(error) => ResponsePayload::Failure(error_payload(&error)?),
    };
    Ok(Response { id: request.id().clone(), payload })
}

fn error_payload(error: &RpcError) -> Result<ErrorPayload, TransportError> {
    let data = error.data().map(|data| to_raw_value(&data)).transpose();
    Ok(ErrorPayload {
        code: error.code(),
        message: error.to_string().into(),
        data: data.map_err(TransportErrorKind::custom)?,
    })
}

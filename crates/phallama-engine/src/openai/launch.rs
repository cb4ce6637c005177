//! Finds the model at a server that runs already.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::address::{Address, check_loopback};
use crate::config::WorkerFacts;
use crate::connection::get;
use crate::worker::{Progress, Worker, wait_ready};
use crate::{EngineConfig, EngineError, StartProgress};

const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// Waits until the server answers, and looks for the model among those that it has.
pub(crate) async fn launch(
    config: &EngineConfig,
    address: SocketAddr,
    progress: &Progress,
) -> Result<Worker, EngineError> {
    check_loopback(address)?;
    let at = Address::Tcp(address);
    wait_ready(config, None, &at, progress).await?;
    let list = tokio::time::timeout(LIST_TIMEOUT, get(&at, "/v1/models")).await.ok().flatten();
    let list: Option<Value> = list.and_then(|body| serde_json::from_slice(&body).ok());
    let models = list.as_ref().and_then(|list| list["data"].as_array());
    let what = "a list of models that cannot be read";
    let models = models.ok_or(EngineError::Protocol { what })?;
    let Some(model) = models.iter().find(|model| model["id"] == *config.model_name) else {
        return Err(EngineError::BackendModel {
            address,
            model: config.model_name.clone(),
            problem: "it has no model of this name; `/v1/models` shows which it has".to_owned(),
        });
    };
    let context = model["max_model_len"].as_u64();
    let context_tokens = context.and_then(|tokens| u32::try_from(tokens).ok());
    if let Some(got) = context_tokens.filter(|got| *got < config.context_tokens) {
        let (what, expected) = ("tokens of context", config.context_tokens);
        return Err(EngineError::WorkerFallsShort { what, expected, got });
    }
    progress(StartProgress::Ready);
    let facts = WorkerFacts { context_tokens, chat_template: true, ..WorkerFacts::default() };
    Ok(Worker::new(None, at, None, facts, None))
}

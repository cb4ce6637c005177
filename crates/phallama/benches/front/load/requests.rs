//! Small requests, each client's one after the other.

use std::time::{Duration, Instant};

use phallama_client::{AnswerEvent, AskOptions, Client, Method};
use phallama_protocol::frames::FrameClass;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Order;
use crate::scripted::{MODEL, begin};
use crate::stack::{self, Failure};

/// Asked before anything is counted: connections open, and every client sees that its channel is
/// locked, so that its requests carry no allocation any more.
const WARM: Duration = Duration::from_secs(6);

/// What was answered.
#[derive(Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) requests: u32,
    pub(crate) seconds: f64,
}

pub(super) async fn run(order: &Order, clients: u32, seconds: u64) -> Result<Served, Failure> {
    let mut all = Vec::new();
    for index in 0..clients {
        let folder = order.folder.join(index.to_string());
        let user = stack::user(index);
        all.push(stack::client(order.chain.clone(), order.measurement, user, &folder).await?);
    }
    served(&all, WARM).await?;
    begin();
    served(&all, Duration::from_secs(seconds)).await
}

/// What all of them ask in `time`.
async fn served(all: &[Client], time: Duration) -> Result<Served, Failure> {
    let began = Instant::now();
    let asking = all.iter().map(|client| async move {
        let mut asked = 0;
        while began.elapsed() < time {
            ask(client).await?;
            asked += 1;
        }
        Ok::<u32, Failure>(asked)
    });
    let asked = futures::future::try_join_all(asking).await?;
    Ok(Served { requests: asked.iter().sum(), seconds: began.elapsed().as_secs_f64() })
}

/// One request, to its accepted receipt.
async fn ask(client: &Client) -> Result<(), Failure> {
    let body = json!({
        "messages": [{ "role": "user", "content": "say front end" }], "max_tokens": 16,
    });
    let options = AskOptions { class: Some(FrameClass::Unpaced), ..AskOptions::default() };
    let mut answer = client.ask(Method::Chat, MODEL, body, options).await?;
    while let Some(event) = answer.next().await {
        if matches!(event?, AnswerEvent::Finished(_)) {
            return Ok(());
        }
    }
    Err("an answer without an end".into())
}

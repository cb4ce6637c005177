//! The load on a pod, in a process of its own.

mod pacing;
mod requests;
mod streams;

use std::path::PathBuf;

use phallama_chain::ChainConfig;
use phallama_protocol::ids::Digest32;
use serde::{Deserialize, Serialize};

pub(crate) use self::pacing::Paced;
pub(crate) use self::requests::Served;
pub(crate) use self::streams::Streamed;
use crate::scripted::{Load, ScriptedPod};
use crate::stack::Failure;

/// What is to be done.
#[derive(Serialize, Deserialize)]
pub(crate) enum Job {
    Requests { clients: u32, seconds: u64 },
    Pacing { rounds: u32 },
    Streams { count: u32, seconds: u64 },
}

/// A job, and the pod that it is for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    chain: ChainConfig,
    measurement: Digest32,
    url: String,
    folder: PathBuf,
    job: Job,
}

impl Order {
    /// For the pod.
    pub(crate) fn at(pod: &ScriptedPod, job: Job) -> Self {
        Self {
            chain: pod.chain().config().clone(),
            measurement: pod.measurement(),
            url: pod.pod().url().to_owned(),
            folder: pod.folder().join("clients"),
            job,
        }
    }

    /// Starts a process that does it.
    pub(crate) fn start(&self) -> Result<Load, Failure> {
        let folder = self.folder.parent().ok_or("the clients' folder is in the pod's")?;
        Load::start(folder, self)
    }
}

/// Does what was ordered: the result in JSON.
pub(crate) async fn run(order: Order) -> Result<String, Failure> {
    Ok(match order.job {
        Job::Requests { clients, seconds } => {
            serde_json::to_string(&requests::run(&order, clients, seconds).await?)?
        }
        Job::Pacing { rounds } => serde_json::to_string(&pacing::run(&order, rounds).await?)?,
        Job::Streams { count, seconds } => {
            serde_json::to_string(&streams::run(&order, count, seconds).await?)?
        }
    })
}

//! The load on the local server, in a process of its own.

mod added;
mod burst;
mod churn;
mod overload;
mod quantile;
mod side;
mod streams;

use std::net::SocketAddr;
use std::path::PathBuf;

use phallama_chain::ChainConfig;
use phallama_client::Client;
use phallama_protocol::ids::Digest32;
use serde::{Deserialize, Serialize};

pub(crate) use self::added::Added;
pub(crate) use self::burst::Burst;
pub(crate) use self::churn::Churned;
pub(crate) use self::overload::Overloaded;
pub(crate) use self::streams::Streamed;
use crate::scripted::{Load, ScriptedPod};
use crate::stack::{self, Failure};

/// Whose local server it is, and who asks without one.
pub(crate) const LOCAL_USER: u32 = 0;
const LIBRARY_USER: u32 = 1;
/// All of them.
pub(crate) const USERS: u32 = 2;

/// What is to be done.
#[derive(Serialize, Deserialize)]
pub(crate) enum Job {
    Added { rate_per_s: u32, seconds: u32 },
    Burst { connections: u32, requests: u32 },
    Streams { count: u32, words: u32, turns: u32 },
    Churn { connects: u32, half_open: u32 },
    Overload { busy: u32, requests: u32 },
}

/// A job, and the local server that it is for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    chain: ChainConfig,
    measurement: Digest32,
    server: SocketAddr,
    folder: PathBuf,
    job: Job,
}

impl Order {
    pub(crate) fn new(pod: &ScriptedPod, server: SocketAddr, job: Job) -> Self {
        Self {
            chain: pod.chain().config().clone(),
            measurement: pod.measurement(),
            server,
            folder: pod.folder().to_path_buf(),
            job,
        }
    }

    /// Starts a process that does it.
    pub(crate) fn start(&self) -> Result<Load, Failure> {
        Load::start(&self.folder, self)
    }

    /// The library as the local server has it, for another user.
    async fn library(&self) -> Result<Client, Failure> {
        let (user, folder) = (stack::user(LIBRARY_USER), self.folder.join("library"));
        stack::client(self.chain.clone(), self.measurement, user, &folder).await
    }
}

/// Does what was ordered: the result in JSON.
pub(crate) async fn run(order: Order) -> Result<String, Failure> {
    Ok(match order.job {
        Job::Added { rate_per_s, seconds } => {
            serde_json::to_string(&added::run(&order, rate_per_s, seconds).await?)?
        }
        Job::Burst { connections, requests } => {
            serde_json::to_string(&burst::run(&order, connections, requests).await?)?
        }
        Job::Streams { count, words, turns } => {
            serde_json::to_string(&streams::run(&order, count, words, turns).await?)?
        }
        Job::Churn { connects, half_open } => {
            serde_json::to_string(&churn::run(&order, connects, half_open).await?)?
        }
        Job::Overload { busy, requests } => {
            serde_json::to_string(&overload::run(&order, busy, requests).await?)?
        }
    })
}

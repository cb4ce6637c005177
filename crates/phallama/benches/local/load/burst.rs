//! Many connections, each with one request after the other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Order;
use super::side::Side;
use crate::note;
use crate::scripted::begin;
use crate::stack::Failure;

#[derive(Serialize, Deserialize)]
pub(crate) struct Burst {
    pub(crate) local_per_s: f64,
    pub(crate) local_failed: u32,
    pub(crate) library_per_s: f64,
}

pub(super) async fn run(order: &Order, connections: u32, requests: u32) -> Result<Burst, Failure> {
    let [local, library] = Side::both(order).await?;
    begin();
    let (local_per_s, local_failed) = all(&local, connections, requests).await;
    let (library_per_s, _) = all(&library, connections, requests).await;
    Ok(Burst { local_per_s, local_failed, library_per_s })
}

/// Answers per second, and how many requests failed.
async fn all(side: &Side, connections: u32, requests: u32) -> (f64, u32) {
    let (begun, failed) = (AtomicU32::new(0), AtomicU32::new(0));
    let began = Instant::now();
    let asking = (0..connections).map(|_| async {
        while begun.fetch_add(1, Ordering::Relaxed) < requests {
            if let Err(error) = side.ask().await {
                note(&format!("failed: {error}"));
                failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    futures::future::join_all(asking).await;
    let failed = failed.into_inner();
    (f64::from(requests - failed) / began.elapsed().as_secs_f64(), failed)
}

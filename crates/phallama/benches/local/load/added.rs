//! A steady rate, every second request through the local server.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::Order;
use super::quantile::Times;
use super::side::Side;
use crate::note;
use crate::scripted::begin;
use crate::stack::Failure;

#[derive(Serialize, Deserialize)]
pub(crate) struct Added {
    pub(crate) local: Times,
    pub(crate) library: Times,
    /// Of both.
    pub(crate) failed: u32,
}

pub(super) async fn run(order: &Order, rate_per_s: u32, seconds: u32) -> Result<Added, Failure> {
    let sides = Side::both(order).await?;
    begin();
    // Requests begin when they are due, whether others have been answered or not.
    let mut due = interval(Duration::from_secs(1) / rate_per_s);
    let mut asked = JoinSet::new();
    for index in 0..rate_per_s * seconds {
        due.tick().await;
        let which = usize::from(index % 2 == 1);
        let (side, began) = (sides[which].clone(), Instant::now());
        asked.spawn(async move {
            let answered = side.ask().await;
            (which, answered.map(|()| began.elapsed().as_secs_f64() * 1e3))
        });
    }
    let (mut times, mut failed) = ([Vec::new(), Vec::new()], 0);
    while let Some(one) = asked.join_next().await {
        let (which, answered) = one?;
        match answered {
            Ok(ms) => times[which].push(ms),
            Err(error) => {
                note(&format!("failed: {error}"));
                failed += 1;
            }
        }
    }
    let [local, library] = times.map(Times::of);
    Ok(Added { local, library, failed })
}

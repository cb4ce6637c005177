//! More requests at once than a pod takes.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::Order;
use super::side::{App, Told, events};
use crate::note;
use crate::scripted::begin;
use crate::stack::Failure;

/// Five seconds of words, so that nobody who waits gets a turn while requests are refused.
const BUSY: &str = "slow 100 50";
const SMALL: &str = "slow 4 2";
/// After nobody has been answered for so long, all that wait are in the queue, and others come one
/// after the other.
const QUIET: Duration = Duration::from_millis(500);
const SINGLE: u32 = 20;

#[derive(Serialize, Deserialize)]
pub(crate) struct Overloaded {
    /// With a status that says so, and when to come again.
    pub(crate) refused: u32,
    /// The longest of these.
    pub(crate) refusal_max_ms: f64,
    /// The longest of those who come one after the other when the queue is full.
    pub(crate) single_refusal_max_ms: f64,
    /// To the end, with a receipt.
    pub(crate) answered: u32,
    /// Neither of the two.
    pub(crate) failed: u32,
    /// Of everything that was answered, in the token's smallest unit.
    pub(crate) cost: u128,
}

/// Everything that was said.
#[derive(Default)]
struct Tally {
    refusals_ms: Vec<f64>,
    answered: u32,
    failed: u32,
    cost: u128,
}

/// What became of a request.
enum End {
    Answered { cost: u128 },
    Refused { ms: f64 },
}

pub(super) async fn run(order: &Order, busy: u32, requests: u32) -> Result<Overloaded, Failure> {
    let app = App::new(order.server)?;
    let before = Told::of(app.post(SMALL, false).await?).await?.cost;
    let mut held = keep_busy(&app, busy).await?;
    begin();
    let mut asked = JoinSet::new();
    for _ in 0..requests {
        let app = app.clone();
        asked.spawn(async move { one(&app).await });
    }
    let mut all = Tally { cost: before, ..Tally::default() };
    while let Ok(Some(end)) = timeout(QUIET, asked.join_next()).await {
        all.count(end);
    }
    let mut single = Tally::default();
    for _ in 0..SINGLE {
        single.count(Ok(one(&app).await));
    }
    while let Some(end) = asked.join_next().await {
        all.count(end);
    }
    while let Some(one) = held.join_next().await {
        all.cost += one??;
    }
    let longest = |tally: &Tally| tally.refusals_ms.iter().copied().fold(0.0, f64::max);
    Ok(Overloaded {
        refused: u32::try_from(all.refusals_ms.len() + single.refusals_ms.len())?,
        refusal_max_ms: longest(&all),
        single_refusal_max_ms: longest(&single),
        answered: all.answered + single.answered,
        failed: all.failed + single.failed,
        cost: all.cost + single.cost,
    })
}

impl Tally {
    fn count(&mut self, end: Result<Result<End, Failure>, JoinError>) {
        match end {
            Ok(Ok(End::Answered { cost })) => {
                self.answered += 1;
                self.cost += cost;
            }
            Ok(Ok(End::Refused { ms })) => self.refusals_ms.push(ms),
            Ok(Err(error)) => self.fail(&error),
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &impl std::fmt::Display) {
        note(&format!("failed: {error}"));
        self.failed += 1;
    }
}

/// Takes every slot; returns when all of them compute.
async fn keep_busy(app: &App, busy: u32) -> Result<JoinSet<Result<u128, Failure>>, Failure> {
    let (mut held, (begun, mut first)) = (JoinSet::new(), mpsc::unbounded_channel());
    for _ in 0..busy {
        let (app, begun) = (app.clone(), begun.clone());
        held.spawn(async move {
            let mut begun = Some(begun);
            let tell = |_| {
                if let Some(begun) = begun.take() {
                    let _ = begun.send(());
                }
            };
            events(app.post(BUSY, true).await?, tell).await
        });
    }
    drop(begun);
    for _ in 0..busy {
        first.recv().await.ok_or("an answer that was to keep a slot busy failed")?;
    }
    Ok(held)
}

async fn one(app: &App) -> Result<End, Failure> {
    let began = Instant::now();
    let response = app.post(SMALL, false).await?;
    if is_refusal(&response) {
        response.bytes().await?;
        return Ok(End::Refused { ms: began.elapsed().as_secs_f64() * 1e3 });
    }
    Ok(End::Answered { cost: Told::of(response).await?.cost })
}

/// Whether it says that there is too much to do, and when to come again.
fn is_refusal(response: &Response) -> bool {
    let when = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
    let says_when = when.is_some_and(|text| text.parse::<u32>().is_ok_and(|seconds| seconds > 0));
    [429, 503].contains(&response.status().as_u16()) && says_when
}

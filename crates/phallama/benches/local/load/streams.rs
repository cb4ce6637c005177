//! Many streamed answers at once. Every word says its number.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::interval;

use super::Order;
use super::quantile::Times;
use super::side::{Part, Side};
use crate::note;
use crate::scripted::begin;
use crate::stack::Failure;

/// 20 words per second and stream.
const EVERY_MS: u32 = 50;
/// New streams per second while they are opened.
const OPENED_PER_S: u32 = 25;

#[derive(Serialize, Deserialize)]
pub(crate) struct Streamed {
    pub(crate) local: Pace,
    pub(crate) library: Pace,
    /// Of all streams through the local server.
    pub(crate) heard: Heard,
}

/// When words came.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) first_p99_ms: f64,
    pub(crate) gap_p99_ms: f64,
}

/// Which words came, beside each of them once and in order.
#[derive(Serialize, Deserialize, Default)]
pub(crate) struct Heard {
    pub(crate) lost: u32,
    pub(crate) duplicated: u32,
    pub(crate) reordered: u32,
}

/// One turn of a side.
#[derive(Default)]
struct Turn {
    first_ms: Vec<f64>,
    gaps_ms: Vec<f64>,
    heard: Heard,
}

pub(super) async fn run(
    order: &Order,
    count: u32,
    words: u32,
    turns: u32,
) -> Result<Streamed, Failure> {
    let sides = Side::both(order).await?;
    begin();
    let mut all = [Turn::default(), Turn::default()];
    for turn in 0..turns {
        // The one that was second is first in the next turn.
        for which in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            hold(&sides[which], count, words, &mut all[which]).await?;
        }
    }
    let [local, library] = all;
    let heard = local.heard;
    let pace = |first_ms, gaps_ms| Pace {
        first_p99_ms: Times::of(first_ms).p99_ms,
        gap_p99_ms: Times::of(gaps_ms).p99_ms,
    };
    Ok(Streamed {
        local: pace(local.first_ms, local.gaps_ms),
        library: pace(library.first_ms, library.gaps_ms),
        heard,
    })
}

/// Opens all streams and reads them to their ends.
async fn hold(side: &Side, count: u32, words: u32, turn: &mut Turn) -> Result<(), Failure> {
    let mut due = interval(Duration::from_secs(1) / OPENED_PER_S);
    let mut streams = JoinSet::new();
    for _ in 0..count {
        due.tick().await;
        let side = side.clone();
        streams.spawn(async move {
            let (began, mut parts) = (Instant::now(), Vec::new());
            let script = format!("slow {words} {EVERY_MS}");
            let ended = side.stream(&script, |part| parts.push(part)).await;
            (began, parts, ended)
        });
    }
    while let Some(one) = streams.join_next().await {
        let (began, parts, ended) = one?;
        if let Err(error) = ended {
            note(&format!("failed: {error}"));
        }
        turn.add(began, &parts, words);
    }
    Ok(())
}

impl Turn {
    fn add(&mut self, began: Instant, parts: &[Part], words: u32) {
        let ms = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
        self.first_ms.extend(parts.first().map(|(at, _)| ms(began, *at)));
        self.gaps_ms.extend(parts.windows(2).map(|two| ms(two[0].0, two[1].0)));
        let text: String = parts.iter().map(|(_, text)| text.as_str()).collect();
        self.heard.add(&text, words);
    }
}

impl Heard {
    /// Counts in the text of a stream that was to say `t0 t1 …`.
    fn add(&mut self, text: &str, words: u32) {
        let (mut seen, mut highest) = (vec![false; words as usize], None);
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            let number = word.strip_prefix('t').and_then(|digits| digits.parse::<u32>().ok());
            // A word that was not said is one that was spoilt, and is missing where it belongs.
            let Some(number) = number.filter(|number| *number < words) else { continue };
            let known = std::mem::replace(&mut seen[number as usize], true);
            self.duplicated += u32::from(known);
            self.reordered += u32::from(!known && highest.is_some_and(|highest| number < highest));
            highest = highest.max(Some(number));
        }
        let lost = seen.iter().filter(|seen| !**seen).count();
        self.lost += u32::try_from(lost).expect("at most as many as words");
    }
}

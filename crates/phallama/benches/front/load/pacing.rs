//! The same answer in every frame class: when its words arrive.

use std::time::Instant;

use phallama_client::{AnswerEvent, AskOptions, Client, Method};
use phallama_protocol::frames::FrameClass;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Order;
use crate::median;
use crate::scripted::{MODEL, begin};
use crate::stack::{self, Failure};

/// Words of the answer, and milliseconds between two: a small model on a desk machine. The period
/// divides no tick, so that words come at every place between two ticks.
const WORDS: usize = 64;
const EVERY_MS: u64 = 37;

/// What the classes add to the unpaced one.
#[derive(Serialize, Deserialize)]
pub(crate) struct Paced {
    pub(crate) std: Added,
    pub(crate) fast: Added,
    pub(crate) bulk: Added,
    pub(crate) unpaced_bytes: f64,
}

/// Over all words of all rounds, against the same word of the same round unpaced.
#[derive(Serialize, Deserialize)]
pub(crate) struct Added {
    pub(crate) mean_ms: f64,
    pub(crate) p95_ms: f64,
    /// Of the whole answer's body, median.
    pub(crate) bytes: f64,
}

/// One answer.
struct Arrived {
    /// From the call until each word, milliseconds.
    words: Vec<f64>,
    bytes: f64,
}

pub(super) async fn run(order: &Order, rounds: u32) -> Result<Paced, Failure> {
    let folder = order.folder.join("pacing");
    let client =
        stack::client(order.chain.clone(), order.measurement, stack::user(0), &folder).await?;
    ask(&client, FrameClass::Unpaced).await?;
    begin();
    let mut unpaced = Vec::new();
    let mut paced: [Vec<Arrived>; 3] = Default::default();
    for _ in 0..rounds {
        unpaced.push(ask(&client, FrameClass::Unpaced).await?);
        for (class, into) in
            [FrameClass::Std, FrameClass::Fast, FrameClass::Bulk].into_iter().zip(&mut paced)
        {
            into.push(ask(&client, class).await?);
        }
    }
    let [std, fast, bulk] = paced.map(|answers| added(&unpaced, &answers));
    let unpaced_bytes = median(unpaced.iter().map(|answer| answer.bytes).collect());
    Ok(Paced { std, fast, bulk, unpaced_bytes })
}

async fn ask(client: &Client, class: FrameClass) -> Result<Arrived, Failure> {
    let say = format!("slow {WORDS} {EVERY_MS}");
    let body = json!({ "messages": [{ "role": "user", "content": say }], "max_tokens": WORDS });
    let options = AskOptions { class: Some(class), ..AskOptions::default() };
    let (began, mut words) = (Instant::now(), Vec::new());
    let mut answer = client.ask(Method::Chat, MODEL, body, options).await?;
    while let Some(event) = answer.next().await {
        if let AnswerEvent::Content(text) = event? {
            let now = began.elapsed().as_secs_f64() * 1e3;
            words.extend(text.matches(' ').map(|_| now));
        }
    }
    if words.len() != WORDS {
        return Err(format!("{class:?}: {} words arrived, {WORDS} were said", words.len()).into());
    }
    let bytes = u32::try_from(answer.drained().await?)?;
    Ok(Arrived { words, bytes: bytes.into() })
}

fn added(unpaced: &[Arrived], paced: &[Arrived]) -> Added {
    let pairs = unpaced.iter().zip(paced);
    let mut differences: Vec<f64> = pairs
        .flat_map(|(plain, paced)| paced.words.iter().zip(&plain.words).map(|(a, b)| a - b))
        .collect();
    differences.sort_by(f64::total_cmp);
    let count = u32::try_from(differences.len()).expect("some thousand words");
    Added {
        mean_ms: differences.iter().sum::<f64>() / f64::from(count),
        p95_ms: differences[differences.len() * 95 / 100],
        bytes: median(paced.iter().map(|answer| answer.bytes).collect()),
    }
}

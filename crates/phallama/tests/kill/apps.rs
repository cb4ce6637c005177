//! Apps that ask all the time and keep count of what they were told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::random::Random;
use crate::stack::MODEL;

/// A request that takes longer hangs: an answer of these takes a second or two.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// Pause of an app that was refused.
const PAUSE: Duration = Duration::from_millis(25);
pub(crate) const MAX_TOKENS: u32 = 32;

/// What one user's apps were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Whole answers.
    pub(crate) answers: u64,
    /// Their cost.
    pub(crate) cost: u128,
    /// Highest cumulative amount that came with one.
    pub(crate) cumulative: u128,
    /// Everything that was no whole answer, by its code.
    pub(crate) failures: BTreeMap<String, u64>,
    /// What must never happen.
    pub(crate) faults: Vec<String>,
}

/// How one request ended.
enum End {
    Answered {
        cost: u128,
        cumulative: u128,
    },
    /// An error, as a status or as an object in the stream.
    Refused(String),
    /// The local server went away.
    Gone,
    Fault(String),
}

/// One user's apps.
pub(crate) struct Apps {
    told: Arc<Mutex<Told>>,
    outages: Arc<AtomicU64>,
    load: Load,
    tasks: JoinSet<()>,
}

/// Whether apps may ask, and how many do.
#[derive(Clone)]
struct Load {
    open: watch::Sender<bool>,
    busy: watch::Sender<usize>,
}

impl Apps {
    /// So many apps at one local server.
    pub(crate) fn start(server: &str, count: u64, seed: u64) -> Self {
        let load = Load { open: watch::Sender::new(true), busy: watch::Sender::new(0) };
        let (told, outages) = (Arc::<Mutex<Told>>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for app in 0..count {
            let app = App {
                url: format!("{server}/v1/chat/completions"),
                told: Arc::clone(&told),
                outages: Arc::clone(&outages),
                load: load.clone(),
                random: Random::new(seed.wrapping_mul(1_000).wrapping_add(app)),
            };
            tasks.spawn(app.run());
        }
        Self { told, outages, load, tasks }
    }

    /// Lets no further request begin, and waits for those that are open.
    pub(crate) async fn pause(&self) {
        self.load.open.send_replace(false);
        let mut busy = self.load.busy.subscribe();
        busy.wait_for(|busy| *busy == 0).await.expect("the sender lives");
    }

    pub(crate) fn resume(&self) {
        self.load.open.send_replace(true);
    }

    /// The local server is about to be killed, or is back.
    pub(crate) fn outage(&self) {
        self.outages.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn told(&self) -> Told {
        lock(&self.told).clone()
    }

    /// Waits for so many more whole answers.
    pub(crate) async fn answers(&self, more: u64) {
        let wanted = self.told().answers + more;
        let enough = async {
            while self.told().answers < wanted {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let came = tokio::time::timeout(ANSWER_WITHIN, enough).await;
        assert!(came.is_ok(), "no answer comes: {:?}", self.told());
    }

    /// Waits for the first failure, and ends the apps.
    pub(crate) async fn failed(self) -> Told {
        let failure = async {
            while self.told().failures.is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let came = tokio::time::timeout(ANSWER_WITHIN, failure).await;
        assert!(came.is_ok(), "nothing fails: {:?}", self.told());
        self.stop().await
    }

    pub(crate) async fn stop(mut self) -> Told {
        self.pause().await;
        self.tasks.shutdown().await;
        self.told()
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

struct App {
    url: String,
    told: Arc<Mutex<Told>>,
    /// Grows when the local server is killed, and when it is back: odd while it is away.
    outages: Arc<AtomicU64>,
    load: Load,
    random: Random,
}

impl App {
    async fn run(mut self) {
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).no_proxy().build();
        let http = http.expect("a client");
        loop {
            let mut open = self.load.open.subscribe();
            open.wait_for(|open| *open).await.expect("the sender lives");
            self.load.busy.send_modify(|busy| *busy += 1);
            // Paused between the two lines above: then this one does not begin.
            if !*self.load.open.borrow() {
                self.load.busy.send_modify(|busy| *busy -= 1);
                continue;
            }
            let before = self.outages.load(Ordering::SeqCst);
            let question = self.question();
            let asked = tokio::time::timeout(ANSWER_WITHIN, ask(&http, &self.url, question));
            let end = asked.await.unwrap_or_else(|_| End::Fault("a request hangs".to_owned()));
            let away = before % 2 == 1 || self.outages.load(Ordering::SeqCst) != before;
            let answered = matches!(end, End::Answered { .. });
            note(&mut lock(&self.told), end, away);
            self.load.busy.send_modify(|busy| *busy -= 1);
            if !answered {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    fn question(&mut self) -> Value {
        let script = match self.random.below(3) {
            0 => format!("slow {} 8", 1 + self.random.below(24)),
            _ => format!("tokens {}", 1 + self.random.below(24)),
        };
        json!({
            "model": MODEL, "stream": self.random.below(4) > 0, "max_tokens": MAX_TOKENS,
            "messages": [{"role": "user", "content": script}],
        })
    }
}

fn note(told: &mut Told, end: End, away: bool) {
    let mut failed = |code: String| *told.failures.entry(code).or_default() += 1;
    match end {
        End::Answered { cost, cumulative } => {
            told.answers += 1;
            told.cost += cost;
            told.cumulative = told.cumulative.max(cumulative);
        }
        End::Refused(code) => failed(code),
        End::Gone if away => failed("local server away".to_owned()),
        End::Gone => told.faults.push("broken off without an error object".to_owned()),
        End::Fault(fault) => told.faults.push(fault),
    }
}

async fn ask(http: &reqwest::Client, url: &str, question: Value) -> End {
    let streamed = question["stream"] == true;
    let Ok(mut response) = http.post(url).json(&question).send().await else { return End::Gone };
    let status = response.status();
    let cost = response.headers().get("x-phallama-cost").and_then(|cost| cost.to_str().ok());
    let cost = cost.and_then(|cost| cost.parse().ok());
    let mut text = String::new();
    let ended_cleanly = loop {
        match response.chunk().await {
            Ok(Some(bytes)) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    if !status.is_success() {
        return match code_of(&text) {
            Some(code) if ended_cleanly => End::Refused(code),
            _ if !ended_cleanly => End::Gone,
            _ => End::Fault(format!("status {status} without an error object: {text}")),
        };
    }
    match (streamed, ended_cleanly) {
        (true, clean) => stream_end(&text, clean),
        (false, true) => match cost {
            Some(cost) => End::Answered { cost, cumulative: 0 },
            None => End::Fault(format!("an answer without its cost: {text}")),
        },
        (false, false) => End::Gone,
    }
}

/// How a stream ended (E1): whole with `[DONE]`, or with an error object and an aborted body.
fn stream_end(text: &str, ended_cleanly: bool) -> End {
    let events = || text.lines().filter_map(|line| line.strip_prefix("data: "));
    let error = events().find_map(code_of);
    if !ended_cleanly {
        return error.map_or(End::Gone, End::Refused);
    }
    let whole = events().any(|event| event == "[DONE]");
    let proof = events().find_map(proof);
    match (whole, proof) {
        (true, Some((cost, cumulative))) => End::Answered { cost, cumulative },
        _ => End::Fault(format!("a clean end of an answer that is not whole: {text}")),
    }
}

fn code_of(json: &str) -> Option<String> {
    let value: Value = serde_json::from_str(json).ok()?;
    Some(value["error"]["code"].as_str()?.to_owned())
}

fn proof(event: &str) -> Option<(u128, u128)> {
    let value: Value = serde_json::from_str(event).ok()?;
    let amount = |name: &str| value["phallama"][name].as_str()?.parse().ok();
    Some((amount("cost")?, amount("cumulative")?))
}

//! One answer on its way to the terminal.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use phallama_chain::TokenMeta;
use phallama_client::{AnswerEvent, Client, ClientError, FinishedAnswer};
use serde_json::Value;

use super::wrap::Wrap;
use crate::context::money;
use crate::print::{self, Spinner};
use crate::signal::{Interrupts, Stop};

/// How answers are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) verbose: bool,
    pub(super) hide_thinking: bool,
    pub(super) wordwrap: bool,
}

/// How it ended.
pub(super) enum Ended {
    Whole(Reply),
    /// The user had enough; `text` is what had arrived.
    Stopped {
        stop: Stop,
        text: String,
    },
}

/// A whole answer.
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) thinking: String,
    pub(super) finished: Box<FinishedAnswer>,
    total: Duration,
}

/// Asks and reads to the end, or until the user stops it. Without `shown` nothing is shown.
pub(super) async fn read(
    client: &Client,
    model: &str,
    body: Value,
    shown: Option<Shown>,
    interrupts: &mut Interrupts,
) -> Result<Ended, ClientError> {
    let began = Instant::now();
    let waiting = shown.map(|_| Spinner::start("a pod is being asked"));
    let asked = tokio::select! {
        asked = client.chat(model, body) => asked,
        stop = interrupts.next() => return Ok(Ended::Stopped { stop, text: String::new() }),
    };
    let mut answer = asked?;
    let mut out = Out::new(shown, waiting);
    loop {
        let event = tokio::select! {
            event = answer.next() => event,
            // Dropping the answer cancels the request.
            stop = interrupts.next() => return Ok(Ended::Stopped { stop, text: out.end() }),
        };
        let event = match event {
            Some(Ok(event)) => event,
            Some(Err(error)) => {
                out.end();
                return Err(error);
            }
            None => {
                let (pod, reason) = (answer.pod_id(), "it ended without its end".to_owned());
                return Err(ClientError::Truncated { pod, frames: 0, reason });
            }
        };
        match event {
            AnswerEvent::Content(text) => out.content(&text),
            AnswerEvent::Reasoning(text) => out.reasoning(&text),
            AnswerEvent::Finished(finished) => {
                let (thinking, total) = (std::mem::take(&mut out.thinking), began.elapsed());
                return Ok(Ended::Whole(Reply { text: out.end(), thinking, finished, total }));
            }
            _ => {}
        }
    }
}

/// Where the parts go.
struct Out {
    shown: Option<Shown>,
    waiting: Option<Spinner>,
    wrap: Option<Wrap>,
    text: String,
    thinking: String,
    is_thinking: bool,
}

impl Out {
    fn new(shown: Option<Shown>, waiting: Option<Spinner>) -> Self {
        let width = shown.filter(|shown| shown.wordwrap).and_then(|_| print::stdout_columns());
        Self {
            shown,
            waiting,
            wrap: width.map(Wrap::new),
            text: String::new(),
            thinking: String::new(),
            is_thinking: false,
        }
    }

    fn content(&mut self, text: &str) {
        if self.is_thinking {
            self.end_thinking();
        }
        self.text.push_str(text);
        self.show(text);
    }

    /// On a terminal it is shown before the answer; elsewhere it does not mix with it.
    fn reasoning(&mut self, text: &str) {
        self.thinking.push_str(text);
        if self.shown.is_none_or(|shown| shown.hide_thinking) {
            return;
        }
        self.waiting = None;
        if std::io::stdout().is_terminal() {
            if !self.is_thinking {
                print::piece(&format!("{}Thinking...\n", print::dim()));
            }
            self.show(text);
        } else {
            print::side(text);
        }
        self.is_thinking = true;
    }

    fn end_thinking(&mut self) {
        self.is_thinking = false;
        if std::io::stdout().is_terminal() {
            self.flush();
            print::piece(&format!("\n...done thinking.{}\n\n", print::plain()));
        } else {
            print::side("\n");
        }
    }

    fn show(&mut self, text: &str) {
        self.waiting = None;
        if self.shown.is_none() {
            return;
        }
        match &mut self.wrap {
            Some(wrap) => print::piece(&wrap.push(text)),
            None => print::piece(text),
        }
    }

    fn flush(&mut self) {
        if let Some(wrap) = &mut self.wrap {
            print::piece(&wrap.finish());
        }
    }

    /// Ends the line and hands over the text.
    fn end(&mut self) -> String {
        self.waiting = None;
        if self.is_thinking {
            self.end_thinking();
        }
        if self.shown.is_some() {
            self.flush();
            print::line("");
        }
        std::mem::take(&mut self.text)
    }
}

impl Reply {
    pub(super) fn total_ms(&self) -> u64 {
        u64::try_from(self.total.as_millis()).unwrap_or(u64::MAX)
    }

    /// What `--verbose` shows: Ollama's lines, and ours.
    pub(super) fn summary(&self, token: &TokenMeta) -> String {
        let answer = &self.finished;
        let usage = &answer.usage;
        let seconds = |ms: u32| Duration::from_millis(ms.into());
        let mut lines = vec![("total duration", format!("{:.3?}", self.total))];
        lines.extend(spent("prompt eval", usage.prompt_tokens, seconds(answer.prompt_ms)));
        if usage.cached_tokens > 0 {
            lines.push(("prompt cached", format!("{} token(s)", usage.cached_tokens)));
        }
        lines.extend(spent("eval", usage.completion_tokens, seconds(answer.predicted_ms)));
        let (up, down) = (answer.wire_bytes_up, answer.wire_bytes_down);
        lines.extend([
            ("pod", answer.pod_id.to_string()),
            ("cost", money(answer.cost, token)),
            ("receipt", answer.receipt_hash.to_string()),
            ("bytes", format!("{up} sent, {down} received")),
        ]);
        let lines = lines.iter().map(|(name, value)| format!("{:<22}{value}", format!("{name}:")));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Count, duration and rate of one half; a pod that did not say how long it took has no rate.
fn spent(what: &'static str, tokens: u32, took: Duration) -> Vec<(&'static str, String)> {
    let [count, duration, rate] = match what {
        "prompt eval" => ["prompt eval count", "prompt eval duration", "prompt eval rate"],
        _ => ["eval count", "eval duration", "eval rate"],
    };
    let mut lines = vec![(count, format!("{tokens} token(s)"))];
    if !took.is_zero() {
        let per_second = f64::from(tokens) / took.as_secs_f64();
        lines.push((duration, format!("{took:.3?}")));
        lines.push((rate, format!("{per_second:.2} tokens/s")));
    }
    lines
}

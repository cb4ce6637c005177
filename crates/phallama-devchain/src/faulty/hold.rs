//! Stopping a request at a chosen moment, so that a test can do something exactly then.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::{InjectedFault, Script};

/// When a held request is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it is passed on.
    BeforeForwarding,
    /// After it was passed on, before its answer is given.
    BeforeAnswering,
}

/// What becomes of held requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Wait,
    Pass,
    Cut,
}

/// The test's end. Dropping it lets what is held pass.
#[derive(Debug)]
pub struct Hold {
    arrivals: mpsc::UnboundedReceiver<Value>,
    verdict: watch::Sender<Verdict>,
    rule: Option<(Arc<Script>, InjectedFault)>,
}

/// The proxy's end.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) moment: Moment,
    arrived: mpsc::UnboundedSender<Value>,
    verdict: watch::Receiver<Verdict>,
}

pub(super) fn pair(moment: Moment) -> (Hold, Held) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let (verdict, told) = watch::channel(Verdict::Wait);
    let held = Held { moment, arrived, verdict: told };
    (Hold { arrivals, verdict, rule: None }, held)
}

impl Hold {
    pub(super) fn with_rule(self, script: Arc<Script>, rule: InjectedFault) -> Self {
        let mut hold = self;
        hold.rule = Some((script, rule));
        hold
    }

    /// Waits until a request is held; returns its parameters. Works in every runtime.
    pub async fn arrived(&mut self) -> Value {
        self.arrivals.recv().await.expect("the rule lives as long as the hold")
    }

    /// The same for a thread without a runtime.
    pub fn wait_arrived(&mut self) -> Value {
        self.arrivals.blocking_recv().expect("the rule lives as long as the hold")
    }

    /// Lets what is held pass, and everything after it.
    pub fn release(self) {
        self.end(Verdict::Pass);
    }

    /// Closes the connections of what is held without an answer; a request stopped before it was
    /// passed on never is.
    pub fn cut(self) {
        self.end(Verdict::Cut);
    }

    fn end(&self, verdict: Verdict) {
        // First the rule, so that nothing new is held after the verdict.
        if let Some((script, rule)) = &self.rule {
            script.lock().rules.retain(|(id, _)| id != rule);
        }
        self.verdict.send_if_modified(|now| {
            let first = *now == Verdict::Wait;
            if first {
                *now = verdict;
            }
            first
        });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.end(Verdict::Pass);
    }
}

impl Held {
    /// Tells the test and waits for its word; returns whether the request may go on.
    pub(super) async fn stop(&self, params: &Value) -> bool {
        // Nobody listens any more when the hold was just dropped; then the verdict is there.
        let _ = self.arrived.send(params.clone());
        let mut verdict = self.verdict.clone();
        match verdict.wait_for(|verdict| *verdict != Verdict::Wait).await {
            Ok(verdict) => *verdict == Verdict::Pass,
            Err(_) => true,
        }
    }
}

//! What can be told about a request when it has ended: numbers, and nothing of its content.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phallama_protocol::ids::Amount;
use phallama_protocol::request::Method;

use crate::answer::Usage;

/// Code of a model that nobody offers.
const MODEL_UNKNOWN: &str = "model_not_found";

/// A request that has ended, well or not.
#[derive(Clone, Copy, Debug)]
pub struct RequestEnd<'a> {
    /// What was asked for.
    pub method: Method,
    /// The model's name as pods offer it; empty when none does, because it may be anything then.
    pub model: &'a str,
    /// From the asking to the first part of the answer.
    pub first_part: Option<Duration>,
    /// From the asking to the end.
    pub whole: Duration,
    /// Tokens and cost, or the code of [`ErrorClass`](crate::ErrorClass).
    pub result: Result<(Usage, Amount), &'static str>,
}

/// Who is told about every request. Clones are the same.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&RequestEnd<'_>) + Send + Sync>);

impl Observer {
    /// `tell` is called once for each request, when it has ended.
    pub fn new(tell: impl Fn(&RequestEnd<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// The time of one request, until somebody is told about it.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    observer: Option<Observer>,
    method: Method,
    model: String,
    asked_at: Instant,
    first_part: Option<Duration>,
}

impl Watch {
    pub(crate) fn new(observer: Option<Observer>, method: Method, model: &str) -> Self {
        let model = model.to_owned();
        Self { observer, method, model, asked_at: Instant::now(), first_part: None }
    }

    pub(crate) fn began(&mut self) {
        self.first_part = Some(self.asked_at.elapsed());
    }

    pub(crate) fn ended(&self, result: Result<(Usage, Amount), &'static str>) {
        let whole = self.asked_at.elapsed();
        let is_unknown = result == Err(MODEL_UNKNOWN);
        let model = if is_unknown { "" } else { self.model.as_str() };
        match result {
            Ok((usage, _)) => tracing::info!(
                model,
                whole_ms = whole.as_millis(),
                prompt_tokens = usage.prompt_tokens,
                completion_tokens = usage.completion_tokens,
                "answered"
            ),
            Err(code) => tracing::info!(model, whole_ms = whole.as_millis(), code, "not answered"),
        }
        let Some(Observer(tell)) = &self.observer else { return };
        tell(&RequestEnd {
            method: self.method,
            model,
            first_part: self.first_part,
            whole,
            result,
        });
    }
}

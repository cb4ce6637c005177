//! Moves fields from what was sent to what is accepted; what is left over is refused.

use serde_json::{Map, Value};

use crate::RequestError;
use crate::fields::{
    SAMPLING, boolean, cut, integer, logit_bias, object_of, seed, short_text, stop, wrong_type,
};
use crate::generation::{Endpoint, Generation};
use crate::json;

/// Largest `max_tokens` taken; what exceeds the context is cut to it.
const MAX_TOKENS_MAX: i64 = 1 << 20;
/// Most choices of one request.
const CHOICES_MAX: i64 = 8;
const USER_MAX_BYTES: usize = 512;

type Checked<T> = Result<T, RequestError>;

/// A request while it is being checked.
pub(crate) struct Checker {
    sent: Map<String, Value>,
    pub(crate) body: Generation,
}

/// The fields of a body, without those that are `null`.
pub(crate) fn fields_of(bytes: &[u8]) -> Checked<Map<String, Value>> {
    let value = json::parse(bytes)?;
    let Value::Object(mut sent) = value else {
        return Err(wrong_type("(body)", &value, "an object"));
    };
    sent.retain(|_, value| !value.is_null());
    Ok(sent)
}

/// Refuses the first field that nobody has taken.
pub(crate) fn none_left(sent: &Map<String, Value>) -> Checked<()> {
    match sent.keys().next() {
        Some(name) => Err(RequestError::UnknownField { field: cut(name) }),
        None => Ok(()),
    }
}

/// Fields that say nothing to the worker but come with every client.
pub(crate) fn take_labels(sent: &mut Map<String, Value>) -> Checked<()> {
    for name in ["model", "user"] {
        if let Some(value) = sent.remove(name) {
            short_text(name, &value, USER_MAX_BYTES)?;
        }
    }
    Ok(())
}

impl Checker {
    pub(crate) fn new(endpoint: Endpoint, bytes: &[u8]) -> Checked<Self> {
        Ok(Self { sent: fields_of(bytes)?, body: Generation::new(endpoint) })
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.sent.remove(name)
    }

    pub(crate) fn required(&mut self, name: &str) -> Checked<Value> {
        self.take(name).ok_or_else(|| RequestError::Missing { field: name.to_owned() })
    }

    pub(crate) fn copy_if(
        &mut self,
        name: &str,
        check: impl Fn(&Value) -> Checked<()>,
    ) -> Checked<()> {
        if let Some(value) = self.take(name) {
            check(&value)?;
            self.body.put(name, value);
        }
        Ok(())
    }

    /// What chat and completion have in common.
    pub(crate) fn sampling(&mut self) -> Checked<()> {
        for (name, rule) in SAMPLING {
            self.copy_if(name, |value| rule.check(name, value))?;
        }
        self.copy_if("stop", |value| stop("stop", value))?;
        self.copy_if("logit_bias", |value| logit_bias("logit_bias", value))?;
        if let Some(value) = self.take("seed") {
            self.body.seed = Some(seed("seed", &value)?);
        }
        for name in ["max_tokens", "max_completion_tokens"] {
            if let Some(value) = self.take(name) {
                let tokens = integer(name, &value, 1, MAX_TOKENS_MAX)?;
                let tokens = u32::try_from(tokens).expect("the range fits");
                let asked = self.body.max_tokens.unwrap_or(tokens);
                self.body.max_tokens = Some(asked.min(tokens));
            }
        }
        if let Some(n) = self.take("n") {
            let choices = integer("n", &n, 1, CHOICES_MAX)?;
            self.body.choices = u32::try_from(choices).expect("the range fits");
        }
        self.without_effect()
    }

    fn without_effect(&mut self) -> Checked<()> {
        take_labels(&mut self.sent)?;
        if let Some(stream) = self.take("stream") {
            boolean("stream", &stream)?;
        }
        if let Some(options) = self.take("stream_options") {
            object_of("stream_options", &options, &["include_usage", "include_obfuscation"])?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Checked<Generation> {
        none_left(&self.sent).map(|()| self.body)
    }
}

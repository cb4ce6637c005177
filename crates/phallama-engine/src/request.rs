use std::fmt;

use serde_json::{Map, Value, json};

use crate::RequestError;
use crate::fields::{
    Rule, SAMPLING, boolean, cut, integer, logit_bias, object_of, seed, short_text, stop, text,
    unsupported, wrong_type,
};
use crate::messages::{check_messages, check_tool_choice, check_tools};
use crate::schema::check_response_format;

/// Deepest nesting of arrays and objects in a request.
const DEPTH_MAX: usize = 64;

/// Largest `max_tokens` taken; what exceeds the context is cut to it.
const MAX_TOKENS_MAX: i64 = 1 << 20;

const USER_MAX_BYTES: usize = 512;

type Checked<T> = Result<T, RequestError>;

/// A chat request that passed every check, rebuilt from the accepted fields alone.
///
/// Fields: `messages` (text only), `max_tokens` or `max_completion_tokens`, `temperature`,
/// `top_p`, `top_k`, `min_p`, `typical_p`, `presence_penalty`, `frequency_penalty`,
/// `repeat_penalty`, `repeat_last_n`, `seed`, `stop`, `logit_bias`, `response_format`, `tools`,
/// `tool_choice`, `parallel_tool_calls`, `logprobs`, `top_logprobs`. Accepted without effect:
/// `model`, `stream`, `stream_options`, `user`, `n` = 1. A `null` counts as absent. Everything
/// else is refused, so no field of the worker (`id_slot`, `grammar`, `chat_template_kwargs`, …)
/// can be set by a caller.
#[derive(Clone, PartialEq)]
pub struct ChatRequest(Body);

/// A raw prompt that passed every check: no chat template is applied.
///
/// Fields: `prompt` (one string) and the sampling fields of [`ChatRequest`], `response_format`,
/// `logprobs` (here a number, 0 to 20); `echo` = false and `best_of` = 1 have no effect.
#[derive(Clone, PartialEq)]
pub struct CompletionRequest(Body);

#[derive(Clone, PartialEq)]
struct Body {
    fields: Map<String, Value>,
    max_tokens: Option<u32>,
}

impl ChatRequest {
    /// Parses and checks the JSON body of an OpenAI chat completion request, whose size the caller
    /// has already bounded.
    ///
    /// # Errors
    /// [`RequestError`], naming the field, what it is and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut checker = Checker::new(body)?;
        let messages = checker.required("messages")?;
        checker.put("messages", check_messages(messages)?);
        checker.sampling()?;
        if let Some(format) = checker.take("response_format")
            && let Some(schema) = check_response_format(&format)?
        {
            let wrapper = json!({ "name": "answer", "schema": schema });
            let format = json!({ "type": "json_schema", "json_schema": wrapper });
            checker.put("response_format", format);
        }
        checker.copy_if("tools", check_tools)?;
        checker.copy_if("tool_choice", check_tool_choice)?;
        checker.copy_if("parallel_tool_calls", |value| {
            Rule::Bool.check("parallel_tool_calls", value)
        })?;
        checker.chat_logprobs()?;
        checker.finish().map(Self)
    }
}

impl CompletionRequest {
    /// Parses and checks the JSON body of an OpenAI completion request, whose size the caller has
    /// already bounded.
    ///
    /// # Errors
    /// [`RequestError`], naming the field, what it is and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut checker = Checker::new(body)?;
        let prompt = checker.required("prompt")?;
        if text("prompt", &prompt)?.is_empty() {
            return Err(RequestError::Empty { field: "prompt".to_owned() });
        }
        checker.put("prompt", prompt);
        checker.sampling()?;
        if let Some(format) = checker.take("response_format")
            && let Some(schema) = check_response_format(&format)?
        {
            checker.put("json_schema", schema);
        }
        checker.copy_if("logprobs", |value| integer("logprobs", value, 0, 20).map(drop))?;
        if let Some(best_of) = checker.take("best_of") {
            integer("best_of", &best_of, 1, 1)?;
        }
        if let Some(echo) = checker.take("echo")
            && boolean("echo", &echo)?
        {
            return Err(unsupported("echo", "true", "false"));
        }
        checker.finish().map(Self)
    }
}

macro_rules! shared_by_both {
    ($name:ident) => {
        impl $name {
            /// The `max_tokens` asked for, if any.
            pub fn max_tokens(&self) -> Option<u32> {
                self.0.max_tokens
            }

            /// Lets the answer have at most `tokens` tokens (and no fewer than one), for example
            /// because no more are paid for.
            #[must_use]
            pub fn with_max_tokens_at_most(mut self, tokens: u32) -> Self {
                let tokens = tokens.max(1);
                self.0.max_tokens =
                    Some(self.0.max_tokens.map_or(tokens, |asked| asked.min(tokens)));
                self
            }

            /// The body for the worker: the accepted fields and those that are ours to set.
            pub(crate) fn worker_body(self, slot: u32, reuse_cache: bool, context: u32) -> Vec<u8> {
                self.0.for_worker(slot, reuse_cache, context)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let names: Vec<_> = self.0.fields.keys().collect();
                f.debug_tuple(stringify!($name)).field(&names).finish()
            }
        }
    };
}

shared_by_both!(ChatRequest);
shared_by_both!(CompletionRequest);

impl Body {
    fn for_worker(mut self, slot: u32, reuse_cache: bool, context: u32) -> Vec<u8> {
        let max_tokens = self.max_tokens.map_or(context, |asked| asked.min(context));
        for (name, value) in [
            ("max_tokens", json!(max_tokens)),
            ("stream", json!(true)),
            ("stream_options", json!({ "include_usage": true })),
            ("timings_per_token", json!(true)),
            ("return_progress", json!(true)),
            ("cache_prompt", json!(reuse_cache)),
            ("id_slot", json!(slot)),
        ] {
            self.fields.insert(name.to_owned(), value);
        }
        serde_json::to_vec(&self.fields).expect("a JSON object always serialises")
    }
}

/// Moves fields from what was sent to what is accepted; what is left over is refused.
struct Checker {
    sent: Map<String, Value>,
    body: Body,
}

impl Checker {
    fn new(bytes: &[u8]) -> Checked<Self> {
        check_depth(bytes)?;
        let value: Value = serde_json::from_slice(bytes).map_err(|error| {
            RequestError::InvalidJson { line: error.line(), column: error.column() }
        })?;
        let Value::Object(mut sent) = value else {
            return Err(wrong_type("(body)", &value, "an object"));
        };
        sent.retain(|_, value| !value.is_null());
        Ok(Self { sent, body: Body { fields: Map::new(), max_tokens: None } })
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.sent.remove(name)
    }

    fn required(&mut self, name: &str) -> Checked<Value> {
        self.take(name).ok_or_else(|| RequestError::Missing { field: name.to_owned() })
    }

    fn put(&mut self, name: &str, value: Value) {
        self.body.fields.insert(name.to_owned(), value);
    }

    fn copy_if(&mut self, name: &str, check: impl Fn(&Value) -> Checked<()>) -> Checked<()> {
        if let Some(value) = self.take(name) {
            check(&value)?;
            self.put(name, value);
        }
        Ok(())
    }

    /// What chat and completion have in common.
    fn sampling(&mut self) -> Checked<()> {
        for (name, rule) in SAMPLING {
            self.copy_if(name, |value| rule.check(name, value))?;
        }
        self.copy_if("stop", |value| stop("stop", value))?;
        self.copy_if("logit_bias", |value| logit_bias("logit_bias", value))?;
        if let Some(value) = self.take("seed") {
            self.put("seed", json!(seed("seed", &value)?));
        }
        for name in ["max_tokens", "max_completion_tokens"] {
            if let Some(value) = self.take(name) {
                let tokens = integer(name, &value, 1, MAX_TOKENS_MAX)?;
                let tokens = u32::try_from(tokens).expect("the range fits");
                let asked = self.body.max_tokens.unwrap_or(tokens);
                self.body.max_tokens = Some(asked.min(tokens));
            }
        }
        self.without_effect()
    }

    /// Fields that say nothing to the worker but come with every client.
    fn without_effect(&mut self) -> Checked<()> {
        for name in ["model", "user"] {
            if let Some(value) = self.take(name) {
                short_text(name, &value, USER_MAX_BYTES)?;
            }
        }
        if let Some(stream) = self.take("stream") {
            boolean("stream", &stream)?;
        }
        if let Some(options) = self.take("stream_options") {
            object_of("stream_options", &options, &["include_usage", "include_obfuscation"])?;
        }
        if let Some(n) = self.take("n") {
            integer("n", &n, 1, 1)?;
        }
        Ok(())
    }

    fn chat_logprobs(&mut self) -> Checked<()> {
        let wanted = match self.take("logprobs") {
            Some(value) => boolean("logprobs", &value)?,
            None => false,
        };
        let top = match self.take("top_logprobs") {
            Some(value) => integer("top_logprobs", &value, 0, 20)?,
            None => 0,
        };
        if wanted {
            self.put("logprobs", json!(true));
            // With 0 alternatives llama-server sends no log probabilities at all.
            self.put("top_logprobs", json!(top.max(1)));
        } else if top > 0 {
            return Err(unsupported("logprobs", "false", "true, because top_logprobs is set"));
        }
        Ok(())
    }

    fn finish(self) -> Checked<Body> {
        match self.sent.keys().next() {
            Some(name) => Err(RequestError::UnknownField { field: cut(name) }),
            None => Ok(self.body),
        }
    }
}

/// Refuses deep nesting before a recursive parser sees it.
fn check_depth(json: &[u8]) -> Checked<()> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(RequestError::TooDeep { max: DEPTH_MAX });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

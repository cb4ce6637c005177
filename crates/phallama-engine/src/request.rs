use std::fmt;

use serde_json::{Value, json};

use crate::checker::Checker;
use crate::fields::{
    Rule, at_most_bytes, boolean, integer, list, object_of, required, text, tokens, unsupported,
};
use crate::generation::{Endpoint, Generation};
use crate::grammar::check_grammar;
use crate::messages::check_messages;
use crate::schema::check_response_format;
use crate::tools::check_tools;
use crate::{RequestError, TOKENS_MAX};

const EFFORTS: &[&str] = &["none", "minimal", "low", "medium", "high", "xhigh"];
const PROMPT_MAX_BYTES: usize = 2 * 1024 * 1024;

type Checked<T> = Result<T, RequestError>;

/// A chat request that passed every check, rebuilt from the accepted fields alone.
///
/// Fields: `messages` (text, and images as `data:` URIs), `max_tokens` or `max_completion_tokens`,
/// `n` (1 to 8), the sampling fields of OpenAI and llama-server, `seed`, `stop`, `logit_bias`,
/// `response_format` or `grammar` (GBNF), `tools`, `tool_choice`, `parallel_tool_calls`,
/// `logprobs`, `top_logprobs`, `reasoning_effort`, `chat_template_kwargs.enable_thinking`. Accepted
/// without effect: `model`, `stream`, `stream_options`, `user`. A `null` counts as absent.
/// Everything else is refused, so no field of the worker (`id_slot`, `cache_prompt`, `samplers`, …)
/// can be set by a caller.
#[derive(Clone, PartialEq)]
pub struct ChatRequest(Generation);

/// A raw prompt that passed every check: no chat template is applied.
///
/// Fields: `prompt` (a string, or an array of token ids), `suffix` (the text that follows what is
/// to be filled in, for models that know how) and the sampling fields of [`ChatRequest`],
/// `response_format` or `grammar`, `logprobs` (here a number, 0 to 20); `echo` = false and
/// `best_of` = 1 have no effect.
#[derive(Clone, PartialEq)]
pub struct CompletionRequest(Generation);

impl ChatRequest {
    /// Parses and checks the JSON body of an OpenAI chat completion request, whose size the caller
    /// has already bounded.
    ///
    /// # Errors
    /// [`RequestError`], naming the field, what it is and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut checker = Checker::new(Endpoint::Chat, body)?;
        let (messages, images) = check_messages(checker.required("messages")?)?;
        checker.body.put("messages", messages);
        checker.body.images = images;
        checker.sampling()?;
        chat_format(&mut checker)?;
        chat_tools(&mut checker)?;
        chat_logprobs(&mut checker)?;
        thinking(&mut checker)?;
        checker.finish().map(Self)
    }

    pub(crate) fn generation_mut(&mut self) -> &mut Generation {
        &mut self.0
    }
}

impl CompletionRequest {
    /// Parses and checks the JSON body of an OpenAI completion request, whose size the caller has
    /// already bounded.
    ///
    /// # Errors
    /// [`RequestError`], naming the field, what it is and what was expected.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        let mut checker = Checker::new(Endpoint::Completion, body)?;
        let prompt = checker.required("prompt")?;
        let suffix = checker.take("suffix").filter(|suffix| *suffix != "");
        match suffix {
            Some(suffix) => infill(&mut checker, &prompt, &suffix)?,
            None => raw_prompt(&mut checker, prompt)?,
        }
        checker.sampling()?;
        if let Some(schema) = constraint(&mut checker)? {
            checker.body.put("json_schema", schema);
        }
        if let Some(value) = checker.take("logprobs") {
            // With 0 alternatives the worker sends no log probabilities at all.
            checker.body.put("logprobs", integer("logprobs", &value, 0, 20)?.max(1));
        }
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

fn raw_prompt(checker: &mut Checker, prompt: Value) -> Checked<()> {
    if prompt.is_array() {
        let count = list("prompt", &prompt, TOKENS_MAX)?.len();
        tokens("prompt", &prompt)?;
        checker.body.prompt_tokens = Some(count);
    } else {
        let prompt = text("prompt", &prompt)?;
        at_most_bytes("prompt", prompt.len(), PROMPT_MAX_BYTES)?;
    }
    if prompt == "" || prompt == json!([]) {
        return Err(RequestError::Empty { field: "prompt".to_owned() });
    }
    checker.body.put("prompt", prompt);
    Ok(())
}

fn infill(checker: &mut Checker, prompt: &Value, suffix: &Value) -> Checked<()> {
    let (prefix, suffix) = (text("prompt", prompt)?, text("suffix", suffix)?);
    at_most_bytes("prompt", prefix.len(), PROMPT_MAX_BYTES)?;
    at_most_bytes("suffix", suffix.len(), PROMPT_MAX_BYTES)?;
    checker.body.endpoint = Endpoint::Infill;
    checker.body.put("input_prefix", prefix);
    checker.body.put("input_suffix", suffix);
    Ok(())
}

/// `response_format` or `grammar`: leaves a grammar in its field and returns a schema.
fn constraint(checker: &mut Checker) -> Checked<Option<Value>> {
    let schema = match checker.take("response_format") {
        Some(format) => check_response_format(&format)?,
        None => None,
    };
    if let Some(grammar) = checker.take("grammar") {
        if schema.is_some() {
            return Err(RequestError::Conflict { field: "grammar", other: "response_format" });
        }
        check_grammar("grammar", text("grammar", &grammar)?)?;
        checker.body.put("grammar", grammar);
    }
    Ok(schema)
}

fn chat_format(checker: &mut Checker) -> Checked<()> {
    if let Some(schema) = constraint(checker)? {
        let wrapper = json!({ "name": "answer", "schema": schema });
        let format = json!({ "type": "json_schema", "json_schema": wrapper });
        checker.body.put("response_format", format);
    }
    Ok(())
}

fn chat_tools(checker: &mut Checker) -> Checked<()> {
    let (tools, choice) = (checker.take("tools"), checker.take("tool_choice"));
    let checked = check_tools(tools, choice.as_ref())?;
    checker
        .copy_if("parallel_tool_calls", |value| Rule::Bool.check("parallel_tool_calls", value))?;
    let Some(tools) = checked.tools else { return Ok(()) };
    let is_callable = checked.choice != Some("none");
    if is_callable && checker.body.fields.contains_key("grammar") {
        return Err(RequestError::Conflict { field: "grammar", other: "tools" });
    }
    checker.body.put("tools", tools);
    if let Some(choice) = checked.choice {
        checker.body.put("tool_choice", choice);
    }
    Ok(())
}

fn chat_logprobs(checker: &mut Checker) -> Checked<()> {
    let wanted = match checker.take("logprobs") {
        Some(value) => boolean("logprobs", &value)?,
        None => false,
    };
    let top = match checker.take("top_logprobs") {
        Some(value) => integer("top_logprobs", &value, 0, 20)?,
        None => 0,
    };
    if wanted {
        if checker.body.fields.contains_key("tools") {
            // A call is told when it is complete, its tokens are not.
            return Err(RequestError::Conflict { field: "logprobs", other: "tools" });
        }
        checker.body.put("logprobs", true);
        // With 0 alternatives llama-server sends no log probabilities at all.
        checker.body.put("top_logprobs", top.max(1));
    } else if top > 0 {
        return Err(unsupported("logprobs", "false", "true, because top_logprobs is set"));
    }
    Ok(())
}

/// How much a model that can think should think, for templates that know.
fn thinking(checker: &mut Checker) -> Checked<()> {
    checker.copy_if("reasoning_effort", |value| {
        let effort = text("reasoning_effort", value)?;
        if EFFORTS.contains(&effort) {
            Ok(())
        } else {
            let expected = "none, minimal, low, medium, high or xhigh";
            Err(unsupported("reasoning_effort", effort, expected))
        }
    })?;
    checker.copy_if("chat_template_kwargs", |value| {
        let field = "chat_template_kwargs";
        let kwargs = object_of(field, value, &["enable_thinking"])?;
        let enable = required(field, kwargs, "enable_thinking")?;
        boolean("chat_template_kwargs.enable_thinking", enable).map(drop)
    })
}

macro_rules! shared_by_both {
    ($name:ident) => {
        impl $name {
            /// The `max_tokens` asked for, if any; for each choice.
            pub fn max_tokens(&self) -> Option<u32> {
                self.0.max_tokens
            }

            /// How many choices are asked for.
            pub fn choices(&self) -> u32 {
                self.0.choices
            }

            /// Lets each choice have at most `tokens` tokens (and no fewer than one), for example
            /// because no more are paid for.
            #[must_use]
            pub fn with_max_tokens_at_most(mut self, tokens: u32) -> Self {
                let tokens = tokens.max(1);
                self.0.max_tokens =
                    Some(self.0.max_tokens.map_or(tokens, |asked| asked.min(tokens)));
                self
            }

            pub(crate) fn generation(&self) -> &Generation {
                &self.0
            }

            pub(crate) fn into_generation(self) -> Generation {
                self.0
            }

            /// The bodies for the worker: the accepted fields and those that are ours to set.
            #[cfg(any(test, fuzzing))]
            pub(crate) fn for_worker(
                self,
                slot: u32,
                reuse_cache: bool,
                context: u32,
            ) -> crate::generation::Choices {
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

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

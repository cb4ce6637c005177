//! A checked request as the worker gets it, once for each choice.

use std::hash::{DefaultHasher, Hasher as _};

use serde_json::{Map, Value, json};

use crate::slots::Prefix;

/// Piece of a raw prompt that counts as one.
const PREFIX_PIECE_BYTES: usize = 256;

/// Which of the worker's endpoints answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completion,
    Infill,
}

/// How it is asked, and how it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    LlamaServer,
    Ollama,
    OpenAi,
}

impl Dialect {
    pub(crate) fn path(self, endpoint: Endpoint) -> &'static str {
        match (self, endpoint) {
            (Self::Ollama, Endpoint::Chat) => "/api/chat",
            (Self::Ollama, _) => "/api/generate",
            (_, Endpoint::Chat) => "/v1/chat/completions",
            (_, Endpoint::Completion) => "/v1/completions",
            (_, Endpoint::Infill) => "/infill",
        }
    }
}

/// The accepted fields of a request and what was read off them.
#[derive(Clone, PartialEq)]
pub(crate) struct Generation {
    pub(crate) endpoint: Endpoint,
    pub(crate) fields: Map<String, Value>,
    /// For each choice.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) choices: u32,
    pub(crate) seed: Option<u32>,
    pub(crate) images: usize,
    /// Length of a prompt that was given as tokens.
    pub(crate) prompt_tokens: Option<usize>,
    /// Whether the text is the call of a function.
    pub(crate) call_is_forced: bool,
}

/// The bodies of all choices of one request, in the slot that it was given. They are computed one
/// after the other: the first leaves the prompt in the slot, the others find it there, and no
/// account takes more slots than requests.
pub(crate) struct Choices {
    dialect: Dialect,
    endpoint: Endpoint,
    fields: Map<String, Value>,
    seed: Option<u32>,
    next: u32,
    count: u32,
    call_is_forced: bool,
}

impl Generation {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            fields: Map::new(),
            max_tokens: None,
            choices: 1,
            seed: None,
            images: 0,
            prompt_tokens: None,
            call_is_forced: false,
        }
    }

    pub(crate) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// How the prompt begins, for finding the slot that holds it.
    pub(crate) fn prefix(&self) -> Prefix {
        if let Some(Value::Array(messages)) = self.fields.get("messages") {
            return messages.iter().map(|message| number(message.to_string().as_bytes())).collect();
        }
        let raw = ["prompt", "input_prefix"].iter().find_map(|name| self.fields.get(*name));
        let text = raw.map(Value::to_string).unwrap_or_default();
        text.as_bytes().chunks(PREFIX_PIECE_BYTES).map(number).collect()
    }

    /// The accepted fields and those that are ours to set.
    pub(crate) fn for_worker(mut self, slot: u32, reuse_cache: bool, context: u32) -> Choices {
        let max_tokens = self.max_tokens_within(context);
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
        // Ollama's word for the whole context, which the worker does not know.
        if let Some(last_n) = self.fields.get_mut("repeat_last_n").filter(|last_n| **last_n == -1) {
            *last_n = json!(context);
        }
        let fields = std::mem::take(&mut self.fields);
        Choices::new(&self, Dialect::LlamaServer, fields)
    }

    /// The most tokens of a choice, with so long a context.
    pub(crate) fn max_tokens_within(&self, context: u32) -> u32 {
        self.max_tokens.map_or(context, |asked| asked.min(context))
    }
}

impl Choices {
    /// So many as were asked for, with a body of these `fields`.
    pub(crate) fn new(asked: &Generation, dialect: Dialect, fields: Map<String, Value>) -> Self {
        Self {
            dialect,
            endpoint: asked.endpoint,
            fields,
            seed: asked.seed,
            next: 0,
            count: asked.choices,
            call_is_forced: asked.call_is_forced,
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(crate) fn path(&self) -> &'static str {
        self.dialect.path(self.endpoint)
    }

    pub(crate) fn call_is_forced(&self) -> bool {
        self.call_is_forced
    }

    /// The body of the next choice, if there is one more. With a seed, each has one of its own.
    pub(crate) fn next_body(&mut self) -> Option<Vec<u8>> {
        if self.next == self.count {
            return None;
        }
        if let Some(seed) = self.seed {
            // The worker's largest seed means "random".
            let seed = (u64::from(seed) + u64::from(self.next)) % u64::from(u32::MAX);
            self.put_seed(seed);
        }
        if self.next > 0 && self.dialect == Dialect::LlamaServer {
            self.fields.insert("cache_prompt".to_owned(), json!(true));
        }
        self.next += 1;
        Some(serde_json::to_vec(&self.fields).expect("a JSON object always serialises"))
    }

    fn put_seed(&mut self, seed: u64) {
        match self.fields.get_mut("options").filter(|_| self.dialect == Dialect::Ollama) {
            Some(options) => options["seed"] = json!(seed),
            None => drop(self.fields.insert("seed".to_owned(), json!(seed))),
        }
    }
}

/// Two that are equal by accident cost an account the reuse of its own cache, nothing else.
fn number(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

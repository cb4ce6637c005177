//! A checked request in Ollama's words. What Ollama has no word for is refused, never left out.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::store::OWN_NAME;
use crate::backend::{OllamaBackend, OllamaPlace};
use crate::config::WorkerFacts;
use crate::fields::unsupported;
use crate::generation::{Choices, Dialect, Endpoint, Generation};
use crate::{EngineConfig, EngineError, RequestError};

const BACKEND: &str = "Ollama";
/// Fields that Ollama has among its options under the same names.
const OPTIONS: &[&str] = &[
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "top_k",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "repeat_last_n",
];
/// What takes the place of an account's prompt. It begins as no chat begins.
const WASH: &str = "\n\n\n";

/// The model as Ollama knows it, and how it is loaded. The same with every request: Ollama loads a
/// model anew when one of these differs.
pub(crate) struct Target {
    pub(super) model: String,
    context_tokens: u32,
    batch_tokens: u32,
    threads: u32,
}

impl Target {
    pub(crate) fn of(config: &EngineConfig, ollama: &OllamaBackend) -> Self {
        let own_store = OllamaPlace::Supervised { models_dir: None };
        let model = if ollama.place == own_store { OWN_NAME } else { &config.model_name };
        let has_tag = model.rsplit('/').next().is_some_and(|name| name.contains(':'));
        Self {
            model: if has_tag { model.to_owned() } else { format!("{model}:latest") },
            context_tokens: config.context_tokens,
            batch_tokens: config.batch_tokens.max(1),
            threads: config.threads_resolved(),
        }
    }

    /// A body with what every request has. A prompt that is too long is refused, not cut, and an
    /// answer that reaches the end of the context ends. The engine unloads models, not Ollama.
    fn body(&self, options: Map<String, Value>) -> Map<String, Value> {
        let mut all = options;
        all.insert("num_ctx".to_owned(), json!(self.context_tokens));
        all.insert("num_batch".to_owned(), json!(self.batch_tokens));
        all.insert("num_thread".to_owned(), json!(self.threads));
        let body = json!({
            "model": self.model, "options": all, "truncate": false, "shift": false,
            "keep_alive": -1,
        });
        let Value::Object(body) = body else { unreachable!("written as an object") };
        body
    }

    /// A body that computes `prompt` as it is, and one token.
    pub(super) fn raw(&self, prompt: &str) -> Value {
        let options = json!({ "num_predict": 1, "temperature": 0 });
        let Value::Object(options) = options else { unreachable!("written as an object") };
        let mut body = self.body(options);
        body.insert("prompt".to_owned(), json!(prompt));
        body.insert("raw".to_owned(), json!(true));
        body.insert("stream".to_owned(), json!(false));
        Value::Object(body)
    }

    /// A body that loads the model and computes nothing.
    pub(super) fn load(&self) -> Value {
        let mut body = self.body(Map::new());
        body.insert("stream".to_owned(), json!(false));
        Value::Object(body)
    }
}

/// The body that overwrites what the last request has left.
pub(crate) fn wash_body(target: &Target) -> Value {
    target.raw(WASH)
}

/// The body for vectors of `inputs`.
///
/// # Errors
/// [`EngineError::NotServed`] for token ids.
pub(crate) fn embeddings_body(target: &Target, inputs: &[Value]) -> Result<Value, EngineError> {
    if !inputs.iter().all(Value::is_string) {
        let what = "Ollama, which computes this model, makes embeddings of texts, not of token ids";
        return Err(EngineError::NotServed { what });
    }
    let mut body = target.body(Map::new());
    body.insert("input".to_owned(), json!(inputs));
    body.remove("shift");
    Ok(Value::Object(body))
}

/// The bodies of all choices of `asked`.
///
/// # Errors
/// [`EngineError::FieldNotServed`], [`EngineError::NotServed`], [`EngineError::Request`].
pub(crate) fn generation_body(
    mut asked: Generation,
    target: &Target,
    facts: &WorkerFacts,
) -> Result<Choices, EngineError> {
    let mut fields = std::mem::take(&mut asked.fields);
    let mut options = Map::new();
    options.insert("num_predict".to_owned(), json!(asked.max_tokens_within(target.context_tokens)));
    for name in OPTIONS {
        move_field(&mut fields, name, &mut options);
    }
    if let Some(stop) = fields.remove("stop") {
        let stop = if stop.is_array() { stop } else { json!([stop]) };
        options.insert("stop".to_owned(), stop);
    }
    let mut body = target.body(options);
    body.insert("stream".to_owned(), json!(true));
    if let Some(format) = fields.remove("response_format") {
        body.insert("format".to_owned(), format["json_schema"]["schema"].clone());
    }
    if let Some(schema) = fields.remove("json_schema") {
        body.insert("format".to_owned(), schema);
    }
    match asked.endpoint {
        Endpoint::Chat => chat(&mut fields, &mut body, facts)?,
        Endpoint::Completion => raw_prompt(&mut fields, &mut body)?,
        Endpoint::Infill => infill(&mut fields, &mut body, facts)?,
    }
    // Whatever has no place there: `grammar`, `logit_bias`, Mirostat, DRY, XTC, …
    if let Some(field) = fields.keys().next() {
        return Err(not_known(field));
    }
    Ok(Choices::new(&asked, Dialect::Ollama, body))
}

fn chat(
    fields: &mut Map<String, Value>,
    body: &mut Map<String, Value>,
    facts: &WorkerFacts,
) -> Result<(), EngineError> {
    let messages = fields.remove("messages").unwrap_or_default();
    body.insert("messages".to_owned(), messages_of(&messages)?);
    move_field(fields, "tools", body);
    // `required` and `none` have been turned into other requests; `auto` is what Ollama does.
    fields.remove("tool_choice");
    if fields.get("parallel_tool_calls") != Some(&json!(false)) {
        fields.remove("parallel_tool_calls");
    }
    move_field(fields, "logprobs", body);
    move_field(fields, "top_logprobs", body);
    let (effort, kwargs) =
        (fields.remove("reasoning_effort"), fields.remove("chat_template_kwargs"));
    // Ollama refuses the word for models that do not think; llama-server does nothing with it.
    if let Some(think) = think(effort.as_ref(), kwargs.as_ref())
        && facts.thinking != Some(false)
    {
        body.insert("think".to_owned(), think);
    }
    Ok(())
}

/// Whether, or how much, to think.
fn think(effort: Option<&Value>, kwargs: Option<&Value>) -> Option<Value> {
    if let Some(kwargs) = kwargs {
        return kwargs.get("enable_thinking").cloned();
    }
    Some(match effort?.as_str()? {
        "none" => json!(false),
        "minimal" | "low" => json!("low"),
        "medium" => json!("medium"),
        _ => json!("high"),
    })
}

fn raw_prompt(
    fields: &mut Map<String, Value>,
    body: &mut Map<String, Value>,
) -> Result<(), EngineError> {
    if fields.get("prompt").is_some_and(Value::is_array) {
        let what = "Ollama, which computes this model, takes prompts as text, not as token ids";
        return Err(EngineError::NotServed { what });
    }
    move_field(fields, "prompt", body);
    body.insert("raw".to_owned(), json!(true));
    completion_logprobs(fields, body);
    Ok(())
}

fn infill(
    fields: &mut Map<String, Value>,
    body: &mut Map<String, Value>,
    facts: &WorkerFacts,
) -> Result<(), EngineError> {
    if facts.infill != Some(true) {
        let what = "this model's template in Ollama knows no place between a prompt and a suffix; \
                    leave `suffix` out, or ask another model";
        return Err(EngineError::NotServed { what });
    }
    body.insert("prompt".to_owned(), fields.remove("input_prefix").unwrap_or_default());
    body.insert("suffix".to_owned(), fields.remove("input_suffix").unwrap_or_default());
    completion_logprobs(fields, body);
    Ok(())
}

/// A completion's `logprobs` is the number of alternatives.
fn completion_logprobs(fields: &mut Map<String, Value>, body: &mut Map<String, Value>) {
    if let Some(count) = fields.remove("logprobs") {
        body.insert("logprobs".to_owned(), json!(true));
        body.insert("top_logprobs".to_owned(), count);
    }
}

/// The conversation with images and calls where Ollama has them.
fn messages_of(messages: &Value) -> Result<Value, EngineError> {
    let mut names = HashMap::new();
    let messages = messages.as_array().map(Vec::as_slice).unwrap_or_default();
    let written = messages.iter().enumerate();
    written.map(|(index, message)| message_of(index, message, &mut names)).collect()
}

/// One message. `names` are those of the functions called so far, by the ids of their calls.
fn message_of(
    index: usize,
    message: &Value,
    names: &mut HashMap<String, Value>,
) -> Result<Value, EngineError> {
    let (text, images) = content_of(&message["content"]);
    let mut written = json!({ "role": message["role"], "content": text });
    if !images.is_empty() {
        written["images"] = json!(images);
    }
    if message["reasoning_content"].is_string() {
        written["thinking"] = message["reasoning_content"].clone();
    }
    if let Some(calls) = message["tool_calls"].as_array() {
        let mut all = Vec::new();
        for (at, call) in calls.iter().enumerate() {
            let field = format!("messages[{index}].tool_calls[{at}].function.arguments");
            let function = &call["function"];
            let arguments = arguments_of(&field, &function["arguments"])?;
            if let Some(id) = call["id"].as_str() {
                names.insert(id.to_owned(), function["name"].clone());
            }
            let function = json!({ "name": function["name"], "arguments": arguments });
            all.push(
                json!({ "id": call["id"].as_str().unwrap_or_default(), "function": function }),
            );
        }
        written["tool_calls"] = json!(all);
    }
    if let Some(id) = message["tool_call_id"].as_str() {
        written["tool_call_id"] = json!(id);
        if let Some(name) = names.get(id) {
            written["tool_name"] = name.clone();
        }
    }
    Ok(written)
}

/// Text of all parts, and images in base64.
fn content_of(content: &Value) -> (String, Vec<&str>) {
    if let Some(text) = content.as_str() {
        return (text.to_owned(), Vec::new());
    }
    let parts = content.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    let urls = parts.iter().filter_map(|part| part["image_url"]["url"].as_str());
    // The URI was checked to be one of base64.
    let images = urls.filter_map(|url| url.split_once(',')).map(|(_, data)| data).collect();
    (text, images)
}

/// Ollama wants the object that OpenAI's API has as text.
fn arguments_of(field: &str, text: &Value) -> Result<Value, RequestError> {
    let text = text.as_str().unwrap_or_default();
    let parsed = if text.trim().is_empty() { Ok(json!({})) } else { serde_json::from_str(text) };
    match parsed {
        Ok(arguments @ Value::Object(_)) => Ok(arguments),
        _ => Err(unsupported(field, text, "the JSON of an object")),
    }
}

fn move_field(from: &mut Map<String, Value>, name: &str, to: &mut Map<String, Value>) {
    if let Some(value) = from.remove(name) {
        to.insert(name.to_owned(), value);
    }
}

fn not_known(field: &str) -> EngineError {
    EngineError::FieldNotServed { field: field.to_owned(), backend: BACKEND }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;

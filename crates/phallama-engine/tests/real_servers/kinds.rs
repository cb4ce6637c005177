//! Models that Ollama fetches from a registry, and what some of them can do beyond answering: the
//! same weights with other templates, and with a word on pooling.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phallama_engine::{
    Backend, CompletionRequest, Engine, EngineConfig, EngineError, OllamaBackend, OllamaPlace,
    Serves, StartProgress, weights_digest,
};
use serde_json::json;

use crate::ollama::{ollama, running_with, weights};
use crate::registry::{Published, Registry};
use crate::support::{ANNE, calls_and_thinks, collect};
use crate::{CONTEXT, Running, ask, chat, makes_vectors, said, usage};

/// Has a place for thoughts, tools, calls, and a suffix. What a model of this size says in them is
/// what the examples before it said.
const ABLE: &str = r#"{{- if .Suffix }}{{ .Prompt }}<SUFFIX>{{ .Suffix }}
{{- else }}
{{- range .Tools }}<|im_start|>user
Call {{ .Function.Name }}.<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {"a": 7}}
</tool_call><|im_end|>
<|im_start|>user
Call {{ .Function.Name }}.<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {"a": 7}}
</tool_call><|im_end|>
{{ end }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}
{{- if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}"#;

/// An Ollama with nothing in its store, and a registry that it trusts.
struct Fetching {
    registry: Registry,
    running: Running,
    weights: PathBuf,
    program: PathBuf,
    dir: tempfile::TempDir,
}

impl Fetching {
    fn start(program: PathBuf, name: &str, weights: &Path, template: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::start(dir.path(), &Published { name, weights, template });
        let store = dir.path().join("store");
        let authority = Some(&*registry.certificate);
        let running = running_with(&program, dir.path(), &store, authority);
        Self { registry, running, weights: weights.to_owned(), program, dir }
    }

    fn config(&self, name: &str, pull: bool) -> EngineConfig {
        let place = OllamaPlace::Running { address: self.running.address };
        let digest = weights_digest(&self.weights, |_, _| {}).unwrap();
        let (name, own) = (self.registry.name_of(name), self.dir.path().join("own"));
        EngineConfig {
            backend: Backend::Ollama(OllamaBackend { place, pull, danger_share_cache: false }),
            context_tokens: CONTEXT,
            stall_timeout: Duration::from_mins(2),
            ..EngineConfig::new(&self.program, &self.weights, name, digest, own)
        }
    }
}

#[tokio::test]
async fn a_model_is_fetched_with_progress() {
    let Some(program) = ollama("a model that Ollama fetches") else { return };
    let weights = weights(&program);
    let fetching = Fetching::start(program, "plain", &weights, None);
    let error = Engine::start(fetching.config("plain", false)).await.err().unwrap();
    assert!(error.to_string().contains("it has no model of this name"), "{error}");
    let error = Engine::start(fetching.config("other", true)).await.err().unwrap();
    assert!(matches!(error, EngineError::BackendModel { .. }), "{error}");

    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let engine = Engine::start_with_progress(fetching.config("plain", true), move |step| {
        seen.lock().unwrap().push(step);
    });
    let engine = engine.await.unwrap();
    let total = weights.metadata().unwrap().len();
    let steps = std::mem::take(&mut *steps.lock().unwrap());
    let partly = |step: &StartProgress| {
        matches!(*step, StartProgress::Pulling { done_bytes, total_bytes }
            if done_bytes > 0 && total_bytes == total)
    };
    assert!(steps.iter().any(partly), "{steps:?}");
    let answer = said(&engine, chat("Hi", &json!({})), ANNE).await;
    assert!(usage(&answer).completion_tokens > 0);
}

#[tokio::test]
async fn a_model_that_thinks_calls_and_fills_in_does_so_through_the_engine() {
    let Some(program) = ollama("thoughts and calls of an Ollama") else { return };
    let weights = weights(&program);
    let fetching = Fetching::start(program, "able", &weights, Some(ABLE));
    let engine = Engine::start(fetching.config("able", true)).await.unwrap();
    let facts = engine.worker_facts().unwrap();
    assert_eq!((facts.tools, facts.thinking, facts.infill), (Some(true), Some(true), Some(true)));

    calls_and_thinks(&engine).await;

    let between = CompletionRequest::parse(
        br#"{"prompt":"1 2 3","suffix":"7 8 9","temperature":0,"max_tokens":5}"#,
    );
    let answer = collect(&mut engine.complete(between.unwrap(), ANNE).await.unwrap()).await;
    assert_eq!(usage(&answer).completion_tokens, 5);
}

#[tokio::test]
async fn a_model_that_makes_vectors_does_so_through_the_engine() {
    let Some(program) = ollama("vectors of an Ollama") else { return };
    let dir = tempfile::tempdir().unwrap();
    let pooled = dir.path().join("pooled.gguf");
    std::fs::write(&pooled, with_pooling(&std::fs::read(weights(&program)).unwrap())).unwrap();
    let fetching = Fetching::start(program, "vectors", &pooled, None);
    let config = fetching.config("vectors", true);
    let engine =
        Engine::start(EngineConfig { serves: Serves::Embeddings { pooling: None }, ..config });
    let engine = engine.await.unwrap();
    let body =
        json!({ "model": fetching.registry.name_of("vectors"), "input": ["a dog", "the sea"] });
    let direct = ask(fetching.running.address, "/api/embed", &body);
    let direct: [Vec<f32>; 2] = serde_json::from_value(direct["embeddings"].clone()).unwrap();
    assert_eq!(makes_vectors(&engine, &direct).await, 6);
}

/// The weights with mean pooling in their metadata, which is what makes vectors of them. Two
/// entries of together 64 bytes are put in front of the others, so that the tensors stay aligned.
fn with_pooling(gguf: &[u8]) -> Vec<u8> {
    let (counts_end, uint32, string, mean) = (24, 4_u32, 8_u32, 1_u32);
    let key = |name: &str| [&(name.len() as u64).to_le_bytes(), name.as_bytes()].concat();
    let entries = [
        key("llama.pooling_type"),
        uint32.to_le_bytes().into(),
        mean.to_le_bytes().into(),
        key("note"),
        string.to_le_bytes().into(),
        key("pooled"),
    ]
    .concat();
    assert_eq!(entries.len(), 64);
    let count = u64::from_le_bytes(gguf[16..counts_end].try_into().unwrap()) + 2;
    [&gguf[..16], &count.to_le_bytes(), &entries, &gguf[counts_end..]].concat()
}

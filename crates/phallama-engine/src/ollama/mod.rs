//! A real Ollama in the worker's place: its API, its process, its store.

mod answer;
mod launch;
mod request;
mod server;
mod store;

pub(crate) use answer::Lines;
pub(crate) use launch::{launch, recheck};
pub(crate) use request::{Target, embeddings_body, generation_body, wash_body};
#[cfg(fuzzing)]
pub(crate) use server::shown;
pub use server::{LoadedModel, OllamaModel, OllamaServer, PullProgress, ShownModel};

//! A server that speaks OpenAI's API, as vLLM does, in the worker's place.

mod launch;
mod request;

pub(crate) use launch::launch;
pub(crate) use request::{embeddings_body, generation_body};

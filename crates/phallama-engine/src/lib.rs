//! One interface to inference.
//!
//! The pod does not compute tokens itself. By default it runs llama-server as a child process and
//! speaks HTTP/1.1 to it over a UNIX socket in a directory that only this user can enter. C++
//! that parses weights and prompts therefore never shares an address space with keys, and a crash
//! costs a restart of the worker, not the identity of the enclave.
//!
//! Where the boundary of the TEE is a whole machine, a real Ollama or a server with OpenAI's API
//! can take its place, over TCP on the same machine ([`Backend`]). Both get the same checked
//! requests, in their own words; what they have no word for is refused before anything is sent.
//!
//! What this crate guarantees:
//!
//! - The worker is started only after the SHA-256 of the weight file was found equal to the digest
//!   in [`EngineConfig`] and the file passed [`check_gguf`]; the same holds for every restart. The
//!   file must lie where nobody but the enclave can change it between hashing and loading; hashing
//!   cannot establish that.
//! - A request reaches the worker only rebuilt field by field from an allow-list ([`ChatRequest`],
//!   [`CompletionRequest`], [`EmbeddingsRequest`]), every field within its bounds. Slot, cache and
//!   streaming fields are ours alone.
//! - The prefix cache of llama-server is reused within one account only (`slots`). Of an Ollama
//!   the same is found out at each start, unless it is waived ([`OllamaBackend`]); other servers
//!   are told whose prompts belong together, and may do with that what they like.
//! - An answer ends with exactly one [`EngineEvent::Finished`] or with an [`EngineError`]; a
//!   connection that merely closes is [`EngineError::Truncated`].
//! - Prompts and answers are never logged: the types that carry them print lengths only, and what
//!   the worker writes is discarded once it is ready.

mod address;
mod backend;
mod checker;
mod chunk;
mod config;
mod connection;
mod cores;
mod decoding;
mod engine;
mod error;
mod event;
mod extra_args;
mod fields;
mod forced_call;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generation;
mod gguf;
mod grammar;
mod image;
mod inputs;
mod json;
mod memory;
mod messages;
mod ndjson;
mod ollama;
mod openai;
mod pattern;
mod process;
mod request;
mod salt;
mod schema;
mod signs;
mod slots;
mod sse;
mod stream;
mod supervisor;
mod tools;
mod vectors;
mod weights;
mod worker;

pub use address::loopback_address;
pub use backend::{Backend, OllamaBackend, OllamaPlace};
pub use config::{
    Account, CompanionFile, EngineConfig, Load, ModelState, Pooling, Serves, StartProgress,
    WorkerFacts,
};
pub use engine::Engine;
pub use error::{EngineError, Fault, RequestError, WorkerText};
pub use event::{EngineEvent, FinishReason, Usage};
pub use extra_args::check_extra_args;
pub use gguf::{GgufError, GgufModel, GgufRefusal, check_gguf};
pub use inputs::{DetokeniseRequest, EmbeddingsRequest, TokeniseRequest};
pub use memory::Memory;
pub use ollama::{LoadedModel, OllamaModel, OllamaServer, PullProgress, ShownModel};
pub use request::{ChatRequest, CompletionRequest};
pub use sse::{SseDecoder, SseError};
pub use stream::ChatStream;
pub use vectors::Embeddings;
pub use weights::weights_digest;

/// Most token ids in one field.
const TOKENS_MAX: usize = 1 << 18;

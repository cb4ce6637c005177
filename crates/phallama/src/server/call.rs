//! What an app asked for, whichever API it used.

use serde_json::{Map, Value};

/// One request for an answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// OpenAI's `stream_options.include_usage`.
    pub(crate) include_usage: bool,
    /// The body that is sealed, without `model`.
    pub(crate) body: Map<String, Value>,
    /// A raw prompt (`prompt`) instead of `messages`.
    pub(crate) completion: bool,
}

//! What an app asked for, whichever API it used.

use phallama_client::Method;
use serde_json::{Map, Value};

/// One request for an answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) model: String,
    pub(crate) method: Method,
    pub(crate) stream: bool,
    /// OpenAI's `stream_options.include_usage`.
    pub(crate) include_usage: bool,
    /// The body that is sealed, without `model`.
    pub(crate) body: Map<String, Value>,
}

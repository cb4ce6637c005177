//! What an app asked for, whichever API it used.

use phallama_client::Method;
use serde_json::{Map, Value};

/// One request for an answer.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) model: String,
    pub(crate) method: Method,
    /// The body that is sealed, without `model`.
    pub(crate) body: Map<String, Value>,
}

//! What fails, for which requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::hold::Held;
use crate::RpcError;

/// From a request's parameters and the upstream's result to what is answered.
pub type Rewriter = Arc<dyn Fn(&Value, Value) -> Value + Send + Sync>;

/// A way to fail.
#[derive(Clone)]
#[non_exhaustive]
pub enum Fault {
    /// Connections are closed without an answer; with [`Rule::every`] as soon as they are made.
    Refuse,
    /// The request is taken and never answered.
    BlackHole,
    /// An HTTP status instead of an answer, e.g. 429 or 503.
    Status {
        /// The status code.
        code: u16,
        /// The header `Retry-After`, in seconds.
        retry_after_s: Option<u64>,
    },
    /// The right answer, this much later.
    Slow(Duration),
    /// What was right when this block was the newest. Transactions are passed on.
    AsOf(u64),
    /// State older than this many blocks is gone: requests for it fail as on a pruned node.
    Pruned {
        /// How many blocks before the newest still have their state.
        keep_blocks: u64,
    },
    /// Always this result; the request is not passed on.
    Answer(Value),
    /// Always this error; the request is not passed on.
    Error {
        /// JSON-RPC error code.
        code: i64,
        /// In the words of a node.
        message: String,
    },
    /// The upstream's result, changed.
    Rewrite(Rewriter),
    /// The request is passed on, and its answer is lost: the connection is closed.
    LoseAnswer,
}

impl Fault {
    /// A wrong `eth_chainId`, to be used with [`Rule::method`].
    pub fn chain_id(id: u64) -> Self {
        Self::Answer(Value::from(format!("{id:#x}")))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse => f.write_str("Refuse"),
            Self::BlackHole => f.write_str("BlackHole"),
            Self::Status { code, retry_after_s } => f
                .debug_struct("Status")
                .field("code", code)
                .field("retry_after_s", retry_after_s)
                .finish(),
            Self::Slow(by) => f.debug_tuple("Slow").field(by).finish(),
            Self::AsOf(block) => f.debug_tuple("AsOf").field(block).finish(),
            Self::Pruned { keep_blocks } => {
                f.debug_struct("Pruned").field("keep_blocks", keep_blocks).finish()
            }
            Self::Answer(value) => f.debug_tuple("Answer").field(value).finish(),
            Self::Error { code, message } => {
                f.debug_struct("Error").field("code", code).field("message", message).finish()
            }
            Self::Rewrite(_) => f.write_str("Rewrite"),
            Self::LoseAnswer => f.write_str("LoseAnswer"),
        }
    }
}

/// Which requests a fault is for.
#[derive(Debug)]
enum Scope {
    Every,
    Method(String),
    /// `eth_call` of a contract's function.
    Call {
        to: String,
        selector: String,
    },
}

/// What happens to a request.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Fail(Fault),
    Hold(Held),
}

/// A fault for some requests.
#[derive(Debug)]
pub struct Rule {
    scope: Scope,
    pub(super) action: Action,
    /// How many requests it is still for; `None` is all.
    left: Option<usize>,
}

impl Rule {
    /// For every request.
    pub fn every(fault: Fault) -> Self {
        Self::new(Scope::Every, Action::Fail(fault))
    }

    /// For one method.
    pub fn method(method: &str, fault: Fault) -> Self {
        Self::new(Scope::Method(method.to_owned()), Action::Fail(fault))
    }

    /// For `eth_call` of one function of one contract: its address, and the first four bytes of
    /// the calldata.
    pub fn call(to: [u8; 20], selector: [u8; 4], fault: Fault) -> Self {
        let hex = |bytes: &[u8]| revm::primitives::hex::encode_prefixed(bytes);
        Self::new(Scope::Call { to: hex(&to), selector: hex(&selector) }, Action::Fail(fault))
    }

    pub(super) fn held(method: &str, held: Held) -> Self {
        Self::new(Scope::Method(method.to_owned()), Action::Hold(held))
    }

    fn new(scope: Scope, action: Action) -> Self {
        Self { scope, action, left: None }
    }

    /// Only for the next `count` of them.
    #[must_use]
    pub fn times(self, count: usize) -> Self {
        Self { left: Some(count), ..self }
    }

    pub(super) fn fits(&self, method: &str, params: &Value) -> bool {
        match &self.scope {
            Scope::Every => true,
            Scope::Method(wanted) => method == wanted,
            Scope::Call { to, selector } => {
                let text = |field: &str| params[0][field].as_str().unwrap_or_default();
                let data = [text("input"), text("data")].concat();
                method == "eth_call"
                    && text("to").eq_ignore_ascii_case(to)
                    && data.starts_with(selector.as_str())
            }
        }
    }

    /// Notes a request; returns whether it was the last.
    pub(super) fn use_up(&mut self) -> bool {
        let Some(left) = &mut self.left else { return false };
        *left = left.saturating_sub(1);
        *left == 0
    }

    pub(super) fn refuses_everything(&self) -> bool {
        let everything = matches!(self.scope, Scope::Every) && self.left.is_none();
        everything && matches!(self.action, Action::Fail(Fault::Refuse))
    }
}

impl From<RpcError> for Fault {
    fn from(error: RpcError) -> Self {
        Self::Error { code: error.code(), message: error.to_string() }
    }
}

//! Parameters of a request.

use alloy_eips::{BlockId, BlockNumberOrTag};
use revm::primitives::U256;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::RpcError;

/// The positional parameters of a request.
pub(super) struct Params(Vec<Value>);

impl Params {
    pub(super) fn new(params: Value) -> Result<Self, RpcError> {
        match params {
            Value::Array(values) => Ok(Self(values)),
            Value::Null => Ok(Self(Vec::new())),
            _ => Err(invalid("params", "must be an array")),
        }
    }

    /// The parameter at `index`, which must be there.
    pub(super) fn required<T: DeserializeOwned>(
        &self,
        index: usize,
        name: &'static str,
    ) -> Result<T, RpcError> {
        self.optional(index, name)?.ok_or_else(|| invalid(name, "is missing"))
    }

    /// The parameter at `index`; absent and `null` are the same.
    pub(super) fn optional<T: DeserializeOwned>(
        &self,
        index: usize,
        name: &'static str,
    ) -> Result<Option<T>, RpcError> {
        match self.raw(index) {
            None => Ok(None),
            // `T` reads from a reference, so the value is not copied first.
            Some(value) => {
                T::deserialize(value).map(Some).map_err(|error| invalid(name, error.to_string()))
            }
        }
    }

    /// A number: `"0x1f"`, `"31"` or `31`.
    pub(super) fn number(&self, index: usize, name: &'static str) -> Result<U256, RpcError> {
        self.optional_number(index, name)?.ok_or_else(|| invalid(name, "is missing"))
    }

    /// Like [`number`](Self::number); absent and `null` are the same.
    pub(super) fn optional_number(
        &self,
        index: usize,
        name: &'static str,
    ) -> Result<Option<U256>, RpcError> {
        self.raw(index).map(|value| parse_number(value, name)).transpose()
    }

    /// Like [`optional_number`](Self::optional_number), for numbers of 64 bits.
    pub(super) fn optional_u64(
        &self,
        index: usize,
        name: &'static str,
    ) -> Result<Option<u64>, RpcError> {
        self.optional_number(index, name)?
            .map(|number| u64::try_from(number).map_err(|_| invalid(name, "is above 64 bits")))
            .transpose()
    }

    /// Like [`optional_u64`](Self::optional_u64), but it must be there.
    pub(super) fn u64(&self, index: usize, name: &'static str) -> Result<u64, RpcError> {
        self.optional_u64(index, name)?.ok_or_else(|| invalid(name, "is missing"))
    }

    /// A block by tag, number or hash; the newest if absent.
    pub(super) fn block(&self, index: usize) -> Result<BlockId, RpcError> {
        Ok(self.optional(index, "block")?.unwrap_or(BlockNumberOrTag::Latest.into()))
    }

    /// The parameter as it came; `None` for `null`.
    pub(super) fn raw(&self, index: usize) -> Option<&Value> {
        self.0.get(index).filter(|value| !value.is_null())
    }
}

pub(super) fn invalid(name: &'static str, problem: impl Into<String>) -> RpcError {
    RpcError::InvalidParams { name, problem: problem.into() }
}

fn parse_number(value: &Value, name: &'static str) -> Result<U256, RpcError> {
    let parsed = match value {
        Value::Number(number) => number.as_u64().map(U256::from),
        Value::String(text) => match text.strip_prefix("0x") {
            Some("") => None,
            Some(digits) => U256::from_str_radix(digits, 16).ok(),
            None => U256::from_str_radix(text, 10).ok().filter(|_| !text.is_empty()),
        },
        _ => None,
    };
    parsed.ok_or_else(|| invalid(name, format!("{value} is not a number like \"0x1f\"")))
}

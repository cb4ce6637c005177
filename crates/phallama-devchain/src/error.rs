//! What a request can fail with, and how that looks in JSON-RPC.

use alloy_eips::BlockId;
use revm::context::result::{HaltReason, InvalidTransaction};
use revm::primitives::{Address, Bytes, U256};
use serde_json::{Value, json};

/// Why a request failed. The messages begin with the words that Ethereum nodes use, because
/// libraries match on them; the codes are those of `anvil` and `geth`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// The body is not JSON.
    #[error("parse error: {0}")]
    Parse(String),
    /// The body is JSON, but no JSON-RPC request.
    #[error("invalid request: {0}")]
    InvalidRequest(&'static str),
    /// This chain does not have the method.
    #[error("the method {0} does not exist/is not available")]
    MethodNotFound(String),
    /// A parameter is missing or of the wrong form.
    #[error("invalid params: {name}: {problem}")]
    InvalidParams {
        /// Which parameter.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The block is not (or no longer) part of the chain.
    #[error("block not found: {block}, the head is block {head}")]
    UnknownBlock {
        /// What was asked for.
        block: BlockId,
        /// Number of the newest block.
        head: u64,
    },
    /// A block cannot be that old.
    #[error(
        "timestamp error: {got} is lower than or equal to the previous block's timestamp {previous}"
    )]
    TimestampTooLow {
        /// Asked for, seconds since the Unix epoch.
        got: u64,
        /// The head's, seconds since the Unix epoch.
        previous: u64,
    },
    /// The bytes are no signed transaction.
    #[error("failed to decode signed transaction: {0}")]
    Undecodable(String),
    /// A blob or set-code transaction.
    #[error("transaction type not supported: {0:#04x}; send type 0, 1 or 2")]
    UnsupportedType(u8),
    /// No key made this signature.
    #[error("invalid signature: {0}")]
    BadSignature(String),
    /// Signed for another chain.
    #[error("invalid chain id for signer: have {got} want {expected}")]
    WrongChainId {
        /// In the transaction.
        got: u64,
        /// This chain's.
        expected: u64,
    },
    /// The nonce was used.
    #[error("nonce too low: address {address}, tx nonce {got}, next nonce {expected}")]
    NonceTooLow {
        /// The sender.
        address: Address,
        /// In the transaction.
        got: u64,
        /// What the sender must use.
        expected: u64,
    },
    /// Too many earlier transactions are missing; with fewer it would wait for them.
    #[error("nonce too high: address {address}, tx nonce {got}, next nonce {expected}")]
    NonceTooHigh {
        /// The sender.
        address: Address,
        /// In the transaction.
        got: u64,
        /// What the sender must use.
        expected: u64,
    },
    /// The same transaction waits in the pool or is in a block.
    #[error("already known")]
    AlreadyKnown,
    /// Another transaction with this nonce waits, and the new one pays less than 10 % more.
    #[error("replacement transaction underpriced: {what} {got} wei, needs {needed} wei")]
    ReplacementUnderpriced {
        /// `max fee` or `tip`, per gas.
        what: &'static str,
        /// In the transaction.
        got: u128,
        /// What would replace the waiting one.
        needed: u128,
    },
    /// The sender cannot pay for the gas limit and the value.
    #[error(
        "insufficient funds for gas * price + value: address {address} have {have} want {want}"
    )]
    InsufficientFunds {
        /// The sender.
        address: Address,
        /// Balance not yet promised to waiting transactions, in wei.
        have: U256,
        /// Gas limit × max fee + value, in wei.
        want: U256,
    },
    /// The fee cap is below the next block's base fee.
    #[error(
        "max fee per gas less than block base fee: address {address}, maxFeePerGas: {got}, \
         baseFee: {base_fee}"
    )]
    FeeBelowBase {
        /// The sender.
        address: Address,
        /// Max fee per gas in the transaction, in wei.
        got: u128,
        /// Base fee of the next block, in wei.
        base_fee: u64,
    },
    /// The tip is above the fee cap.
    #[error(
        "max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: {tip}, \
         maxFeePerGas: {cap}"
    )]
    TipAboveCap {
        /// Max priority fee per gas, in wei.
        tip: u128,
        /// Max fee per gas, in wei.
        cap: u128,
    },
    /// The gas limit does not fit in a block.
    #[error("exceeds block gas limit: tx gas limit {got}, block gas limit {limit}")]
    ExceedsBlockGasLimit {
        /// In the transaction.
        got: u64,
        /// Of every block.
        limit: u64,
    },
    /// EIP-7825.
    #[error("transaction gas limit too high (cap: {cap}, tx: {got})")]
    ExceedsGasCap {
        /// In the transaction.
        got: u64,
        /// Of every transaction.
        cap: u64,
    },
    /// The gas limit does not even pay for the transaction's bytes.
    #[error("intrinsic gas too low: gas {got}, minimum needed {needed}")]
    IntrinsicGasTooLow {
        /// In the transaction.
        got: u64,
        /// Base cost, or the calldata floor of EIP-7623 if that is higher.
        needed: u64,
    },
    /// Another rule for transactions is broken.
    #[error("transaction rejected: {0}")]
    Rejected(InvalidTransaction),
    /// A call or an estimate ended in `revert`.
    #[error("execution reverted{}", revert_reason(.data))]
    Reverted {
        /// What the contract returned.
        data: Bytes,
    },
    /// A call or an estimate ended in an exceptional halt.
    #[error("{}", halt_words(.reason))]
    Halted {
        /// Why the EVM stopped.
        reason: HaltReason,
    },
    /// No gas limit that the sender may use is enough.
    #[error("gas required exceeds allowance ({allowance})")]
    GasAboveAllowance {
        /// The highest gas limit that was tried.
        allowance: u64,
    },
    /// A bug in this crate.
    #[error("internal error: {0}")]
    Internal(String),
}

impl RpcError {
    /// The JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Self::Reverted { .. } => 3,
            Self::Parse(_) => -32_700,
            Self::InvalidRequest(_) => -32_600,
            Self::MethodNotFound(_) => -32_601,
            Self::InvalidParams { .. } | Self::TimestampTooLow { .. } => -32_602,
            Self::Internal(_) => -32_603,
            Self::UnknownBlock { .. } => -32_001,
            Self::Halted { .. } | Self::GasAboveAllowance { .. } => -32_000,
            Self::Undecodable(_)
            | Self::UnsupportedType(_)
            | Self::BadSignature(_)
            | Self::WrongChainId { .. }
            | Self::NonceTooLow { .. }
            | Self::NonceTooHigh { .. }
            | Self::AlreadyKnown
            | Self::ReplacementUnderpriced { .. }
            | Self::InsufficientFunds { .. }
            | Self::FeeBelowBase { .. }
            | Self::TipAboveCap { .. }
            | Self::ExceedsBlockGasLimit { .. }
            | Self::ExceedsGasCap { .. }
            | Self::IntrinsicGasTooLow { .. }
            | Self::Rejected(_) => -32_003,
        }
    }

    /// The error's `data`: what a reverting contract returned, as a hex string.
    pub fn data(&self) -> Option<Value> {
        match self {
            Self::Reverted { data } => Some(json!(data)),
            _ => None,
        }
    }

    /// The `error` object of a JSON-RPC response.
    pub fn to_json(&self) -> Value {
        let mut object = json!({ "code": self.code(), "message": self.to_string() });
        if let Some(data) = self.data() {
            object["data"] = data;
        }
        object
    }

    /// Puts a rule the EVM found broken into our words, for a transaction of `sender`.
    pub(crate) fn from_invalid(error: InvalidTransaction, sender: Address) -> Self {
        use InvalidTransaction as Evm;
        match error {
            Evm::LackOfFundForMaxFee { fee, balance } => {
                Self::InsufficientFunds { address: sender, have: *balance, want: *fee }
            }
            Evm::CallGasCostMoreThanGasLimit { initial_gas, gas_limit } => {
                Self::IntrinsicGasTooLow { got: gas_limit, needed: initial_gas }
            }
            Evm::GasFloorMoreThanGasLimit { gas_floor, gas_limit } => {
                Self::IntrinsicGasTooLow { got: gas_limit, needed: gas_floor }
            }
            Evm::TxGasLimitGreaterThanCap { gas_limit, cap } => {
                Self::ExceedsGasCap { got: gas_limit, cap }
            }
            Evm::NonceTooLow { tx, state } => {
                Self::NonceTooLow { address: sender, got: tx, expected: state }
            }
            Evm::NonceTooHigh { tx, state } => {
                Self::NonceTooHigh { address: sender, got: tx, expected: state }
            }
            other => Self::Rejected(other),
        }
    }
}

/// `": <reason>"` for data made by `revert("reason")` or by a panic, else nothing: custom errors
/// are for the caller, who knows the ABI.
fn revert_reason(data: &Bytes) -> String {
    /// Selector of `Error(string)`.
    const ERROR: [u8; 4] = [0x08, 0xc3, 0x79, 0xa0];
    /// Selector of `Panic(uint256)`.
    const PANIC: [u8; 4] = [0x4e, 0x48, 0x7b, 0x71];
    let Some((selector, arguments)) = data.split_first_chunk::<4>() else {
        return String::new();
    };
    match *selector {
        ERROR => abi_string(arguments).map(|reason| format!(": {reason}")),
        PANIC if arguments.len() == 32 => {
            Some(format!(": panic code {:#04x}", U256::from_be_slice(arguments)))
        }
        _ => None,
    }
    .unwrap_or_default()
}

/// The single ABI-encoded string in `arguments`: offset, length, bytes.
fn abi_string(arguments: &[u8]) -> Option<String> {
    let word = |at: usize| -> Option<usize> {
        let bytes = arguments.get(at..at.checked_add(32)?)?;
        U256::from_be_slice(bytes).try_into().ok()
    };
    let offset = word(0)?;
    let length = word(offset)?;
    let start = offset.checked_add(32)?;
    let text = arguments.get(start..start.checked_add(length)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

fn halt_words(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "out of gas".to_owned(),
        HaltReason::InvalidFEOpcode => "invalid opcode: INVALID".to_owned(),
        HaltReason::OpcodeNotFound => "invalid opcode: not defined".to_owned(),
        HaltReason::InvalidJump => "invalid jump destination".to_owned(),
        HaltReason::CreateContractSizeLimit => "max code size exceeded".to_owned(),
        HaltReason::OutOfFunds => "insufficient balance for transfer".to_owned(),
        other => format!("execution halted: {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revm::primitives::hex;

    fn check(data: &str, message: &str) {
        let data = Bytes::from(hex::decode(data).unwrap());
        assert_eq!(RpcError::Reverted { data }.to_string(), message);
    }

    #[test]
    fn a_revert_without_data_has_the_plain_message() {
        check("", "execution reverted");
    }

    #[test]
    fn a_revert_string_is_in_the_message() {
        let word = |n: u8| format!("{n:064x}");
        let text = "6e6f"; // "no"
        let data = format!("08c379a0{}{}{text:0<64}", word(32), word(2));
        check(&data, "execution reverted: no");
    }

    #[test]
    fn a_panic_code_is_in_the_message() {
        check(&format!("4e487b71{:064x}", 0x11), "execution reverted: panic code 0x11");
    }

    #[test]
    fn a_custom_error_is_left_to_the_caller() {
        check("deadbeef", "execution reverted");
    }

    #[test]
    fn a_lying_string_length_does_not_panic() {
        check(&format!("08c379a0{:064x}{}", 32, "f".repeat(64)), "execution reverted");
    }
}

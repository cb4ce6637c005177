//! Between alloy's types and the protocol's.

use alloy::primitives::aliases::{U24, U40, U96};
use alloy::primitives::{B256, U256};
use alloy::rpc::types::Header;
use phallama_protocol::ids::{Address, Amount, Digest32};

use crate::error::ChainError;
use crate::record::Head;

pub(crate) fn to_address(address: Address) -> alloy::primitives::Address {
    address.0.into()
}

pub(crate) fn from_address(address: alloy::primitives::Address) -> Address {
    Address(address.into_array())
}

pub(crate) fn from_b256(word: B256) -> Digest32 {
    Digest32(word.0)
}

pub(crate) fn head(header: &Header) -> Head {
    Head {
        number: header.number,
        hash: from_b256(header.hash),
        parent: from_b256(header.parent_hash),
        timestamp_unix_s: header.timestamp,
    }
}

pub(crate) fn to_u96(amount: Amount) -> U96 {
    U96::from(amount.value())
}

pub(crate) fn to_u256(amount: Amount) -> U256 {
    U256::from(amount.value())
}

pub(crate) fn from_u96(value: U96) -> Amount {
    Amount::new(value.to::<u128>()).expect("96 bits fit an amount")
}

pub(crate) fn from_u40(time_unix_s: U40) -> u64 {
    time_unix_s.to()
}

/// A number that may exceed what is of use here, as token balances do that no escrow can hold.
pub(crate) fn saturating_u128(value: U256) -> u128 {
    value.try_into().unwrap_or(u128::MAX)
}

pub(crate) fn to_u24(epoch: u32, what: &'static str) -> Result<U24, ChainError> {
    let out_of_range =
        |_| ChainError::Malformed { what, reason: format!("epoch {epoch} > 2^24 - 1") };
    U24::try_from(epoch).map_err(out_of_range)
}

pub(crate) fn to_u40(time_unix_s: u64, what: &'static str) -> Result<U40, ChainError> {
    let reason = format!("time {time_unix_s} > 2^40 - 1");
    U40::try_from(time_unix_s).map_err(|_| ChainError::Malformed { what, reason })
}

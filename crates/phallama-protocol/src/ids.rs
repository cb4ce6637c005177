//! Identifiers: fixed-size byte strings with a `0x…` text form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::amount::{Amount, AmountError};

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The `0x` in front is missing.
    #[error("{0} must start with 0x")]
    NoPrefix(&'static str),
    /// Not the right number of hexadecimal digits.
    #[error("{what} has {got} hexadecimal digits after 0x, not {expected}")]
    Length {
        /// Name of the identifier.
        what: &'static str,
        /// Digits expected.
        expected: usize,
        /// Digits found.
        got: usize,
    },
    /// A character that is not a hexadecimal digit.
    #[error("{0} contains a character that is not a hexadecimal digit")]
    NotHex(&'static str),
    /// An address in mixed case whose case is not the EIP-55 check sum.
    #[error("address {0} has a wrong EIP-55 check sum: a digit is mistyped")]
    Checksum(String),
}

/// `text` (with `0x`) as `N` bytes; `what` names the identifier in errors.
pub(crate) fn parse_hex<const N: usize>(
    what: &'static str,
    text: &str,
) -> Result<[u8; N], IdError> {
    let digits = text.strip_prefix("0x").ok_or(IdError::NoPrefix(what))?;
    let expected = N.saturating_mul(2);
    if digits.len() != expected {
        return Err(IdError::Length { what, expected, got: digits.len() });
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| IdError::NotHex(what))?;
    Ok(bytes)
}

/// Text and JSON forms over `FromStr` and `Display`.
macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex($what, text).map(Self)
            }
        }

        serde_as_text!($name);
    };
}

hex_id!(
    /// A pod: `keccak256(abi.encode(operator, salt))`, 32 bytes.
    PodId, 32, "pod id"
);
hex_id!(
    /// A 32-byte hash or measurement.
    Digest32, 32, "digest"
);
hex_id!(
    /// A request as its client names it, 16 random bytes. The same id is never charged twice.
    RequestId, 16, "request id"
);

/// An EVM account, 20 bytes. Text form: EIP-55 (mixed-case check sum).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// The zero address, which is nobody's.
    pub const ZERO: Self = Self([0; 20]);
}

impl fmt::Display for Address {
    /// EIP-55: a letter is upper case where the hash of the lower-case text has a nibble ≥ 8.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = hex::encode(self.0);
        let hash = crate::hash::keccak256(&[lower.as_bytes()]);
        let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
        let text: String = lower
            .chars()
            .zip(nibbles)
            .map(|(digit, nibble)| if nibble >= 8 { digit.to_ascii_uppercase() } else { digit })
            .collect();
        write!(f, "0x{text}")
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = IdError;

    /// Accepts all-lower, all-upper and EIP-55 digits.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let address = Self(parse_hex("address", text)?);
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mixed = digits.bytes().any(|byte| byte.is_ascii_lowercase())
            && digits.bytes().any(|byte| byte.is_ascii_uppercase());
        if mixed && address.to_string() != text {
            return Err(IdError::Checksum(text.to_owned()));
        }
        Ok(address)
    }
}

serde_as_text!(Address);

#[cfg(test)]
mod tests {
    use super::*;

    /// The mixed-case examples of EIP-55.
    const EIP55: [&str; 4] = [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn address_text_is_eip_55() {
        for text in EIP55 {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(text.to_lowercase().parse(), Ok(address));
        }
    }

    #[test]
    fn rejects_address_with_one_letter_in_the_wrong_case() {
        let wrong = EIP55[0].replacen('A', "a", 1);
        assert_eq!(wrong.parse::<Address>(), Err(IdError::Checksum(wrong)));
    }

    #[test]
    fn rejects_wrong_prefix_length_and_digit() {
        let short = format!("0x{}", "0".repeat(62));
        assert_eq!("00".parse::<PodId>(), Err(IdError::NoPrefix("pod id")));
        assert_eq!(
            short.parse::<Digest32>(),
            Err(IdError::Length { what: "digest", expected: 64, got: 62 })
        );
        let odd = format!("0x{}g", "0".repeat(31));
        assert_eq!(odd.parse::<RequestId>(), Err(IdError::NotHex("request id")));
    }
}

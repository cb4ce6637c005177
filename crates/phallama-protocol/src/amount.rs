//! Amounts of the settlement token.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount in the token's smallest unit, at most 2^96 − 1 (spec/billing.md, constants).
///
/// Text and JSON form: a decimal string, because JSON numbers lose digits above 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

/// Why a number is not an [`Amount`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Above 2^96 − 1, or the result of a calculation that is.
    #[error("amount is above 2^96 - 1, the most that the escrow can hold")]
    TooLarge,
    /// Not a decimal number without sign, spaces or separators.
    #[error("amount {0:?} is not a whole decimal number of the token's smallest unit")]
    NotDecimal(String),
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// 2^96 − 1.
    pub const MAX: Self = Self((1 << 96) - 1);

    /// `value` in the token's smallest unit.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] above 2^96 − 1.
    pub const fn new(value: u128) -> Result<Self, AmountError> {
        if value > Self::MAX.0 { Err(AmountError::TooLarge) } else { Ok(Self(value)) }
    }

    /// The number of smallest units.
    pub const fn value(self) -> u128 {
        self.0
    }

    /// The sum, or `None` above 2^96 − 1.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|sum| Self::new(sum).ok())
    }

    /// The difference, or `None` below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// 16 bytes, big-endian, as in messages.
    pub const fn to_be_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// 12 bytes, big-endian, as in settlement rows.
    pub fn to_u96_be_bytes(self) -> [u8; 12] {
        let [_, _, _, _, low @ ..] = self.0.to_be_bytes();
        low
    }
}

impl From<u64> for Amount {
    fn from(value: u64) -> Self {
        Self(value.into())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::NotDecimal(text.chars().take(64).collect()));
        }
        // Digits only, so the one way left to fail is the size.
        text.parse().map_err(|_| AmountError::TooLarge).and_then(Self::new)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_amounts_above_96_bits() {
        assert_eq!(Amount::new(Amount::MAX.value()), Ok(Amount::MAX));
        assert_eq!(Amount::new(1 << 96), Err(AmountError::TooLarge));
        assert_eq!("79228162514264337593543950336".parse::<Amount>(), Err(AmountError::TooLarge));
        assert_eq!(Amount::MAX.checked_add(Amount::from(1)), None);
        assert_eq!(Amount::ZERO.checked_sub(Amount::from(1)), None);
    }

    #[test]
    fn text_form_is_plain_decimal() {
        assert_eq!(Amount::MAX.to_string(), "79228162514264337593543950335");
        assert_eq!("79228162514264337593543950335".parse(), Ok(Amount::MAX));
        for wrong in ["", "+1", "-1", " 1", "1e3", "0x10", "1_000"] {
            assert_eq!(
                wrong.parse::<Amount>(),
                Err(AmountError::NotDecimal(wrong.to_owned())),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn json_form_is_a_string() {
        assert_eq!(serde_json::to_string(&Amount::from(7)).unwrap(), "\"7\"");
        assert_eq!(serde_json::from_str::<Amount>("\"7\"").unwrap(), Amount::from(7));
        assert!(serde_json::from_str::<Amount>("7").is_err(), "a bare number must be refused");
    }
}

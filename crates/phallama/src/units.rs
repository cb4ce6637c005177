//! Amounts between people (whole tokens, decimals) and contracts (smallest units).

use phallama_protocol::ids::Amount;

/// Why a text is no amount.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits with at most one dot.
    #[error("`{0}` is not an amount; expected digits like `5` or `0.25`")]
    NotANumber(String),
    /// More decimals than the token has.
    #[error("`{text}` has {got} decimals, the token has {most}")]
    TooFine {
        /// As typed.
        text: String,
        /// Decimals typed.
        got: usize,
        /// Decimals of the token.
        most: u8,
    },
    /// Does not fit 96 bits.
    #[error("`{0}` is larger than any amount the escrow can hold")]
    TooLarge(String),
}

/// Reads whole tokens with decimals, exactly.
pub fn parse(text: &str, decimals: u8) -> Result<Amount, AmountError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(AmountError::NotANumber(text.to_owned()));
    }
    if fraction.len() > usize::from(decimals) {
        let got = fraction.len();
        return Err(AmountError::TooFine { text: text.to_owned(), got, most: decimals });
    }
    let padded = format!("{whole}{fraction:0<width$}", width = usize::from(decimals));
    let too_large = || AmountError::TooLarge(text.to_owned());
    let units: u128 = padded.parse().map_err(|_| too_large())?;
    Amount::new(units).map_err(|_| too_large())
}

/// Writes whole tokens with as many decimals as are needed, at least two.
pub fn show(amount: Amount, decimals: u8) -> String {
    show_units(amount.value(), decimals)
}

/// The same for a plain number of smallest units.
pub fn show_units(units: u128, decimals: u8) -> String {
    let width = usize::from(decimals);
    let digits = format!("{units:0>width$}", width = width + 1);
    let (whole, fraction) = digits.split_at(digits.len() - width);
    let fraction = fraction.trim_end_matches('0');
    if decimals == 0 { whole.to_owned() } else { format!("{whole}.{fraction:0<2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str) -> Result<u128, AmountError> {
        parse(text, 6).map(Amount::value)
    }

    #[test]
    fn reads_and_writes_exactly() {
        for (text, expected, shown) in [
            ("5", 5_000_000, "5.00"),
            ("0.25", 250_000, "0.25"),
            (".000001", 1, "0.000001"),
            ("12.", 12_000_000, "12.00"),
        ] {
            assert_eq!(units(text), Ok(expected));
            assert_eq!(show_units(expected, 6), shown);
        }
    }

    #[test]
    fn refuses_what_is_no_amount() {
        for text in ["", ".", "-1", "1e3", "1,5", " 1", "0x10"] {
            assert_eq!(units(text), Err(AmountError::NotANumber(text.to_owned())));
        }
        assert_eq!(
            units("0.0000001"),
            Err(AmountError::TooFine { text: "0.0000001".to_owned(), got: 7, most: 6 })
        );
        let huge = "9".repeat(40);
        assert_eq!(units(&huge), Err(AmountError::TooLarge(huge.clone())));
    }
}

//! Sums that stop at the ends of the range: a total that does not fit is "as much as there can be".

use phallama_protocol::ids::Amount;

/// `a + b`, at most [`Amount::MAX`].
pub(crate) fn plus(a: Amount, b: Amount) -> Amount {
    a.checked_add(b).unwrap_or(Amount::MAX)
}

/// `a − b`, at least zero.
pub(crate) fn minus(a: Amount, b: Amount) -> Amount {
    a.checked_sub(b).unwrap_or(Amount::ZERO)
}

/// The sum, at most [`Amount::MAX`].
pub(crate) fn total(amounts: impl IntoIterator<Item = Amount>) -> Amount {
    amounts.into_iter().fold(Amount::ZERO, plus)
}

//! Offers: what a pod serves, at which price; and what an answer costs (spec/billing.md).

use serde::{Deserialize, Serialize};

use crate::demand::Demand;
use crate::eip712::word;
use crate::hash::keccak256;
use crate::ids::{Amount, AmountError, Digest32};

/// Longest model name, bytes.
pub const MODEL_NAME_MAX_LEN: usize = 64;

const TOKENS_PER_PRICE: u128 = 1_000_000;

/// One model at one price, as stored on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// 1..64 bytes of `[a-z0-9._:/-]`, for example `smollm2:135m`.
    pub model: String,
    /// SHA-256 of the GGUF file.
    pub weights_sha256: Digest32,
    /// Smallest token unit per 1,000,000 prompt tokens.
    pub input_price_per_mtok: Amount,
    /// Smallest token unit per 1,000,000 completion tokens.
    pub output_price_per_mtok: Amount,
    /// Longest prompt and completion together, tokens.
    pub context_tokens: u32,
    /// Longest completion, tokens.
    pub max_output_tokens: u32,
}

/// Why a text is not a model name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelNameError {
    /// Empty, or longer than 64 bytes.
    #[error("model name has {0} bytes, not 1 to 64")]
    Length(usize),
    /// A character outside the set.
    #[error("model name contains {0:?}; allowed are a-z 0-9 . _ : / -")]
    Character(char),
}

/// Checks a model name: 1..64 bytes of `[a-z0-9._:/-]`.
pub fn check_model_name(name: &str) -> Result<(), ModelNameError> {
    if name.is_empty() || name.len() > MODEL_NAME_MAX_LEN {
        return Err(ModelNameError::Length(name.len()));
    }
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._:/-".contains(c);
    match name.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(ModelNameError::Character(c)),
        None => Ok(()),
    }
}

impl Offer {
    /// `ceil((prompt × input + completion × output) / 1,000,000)`, rounded up once per answer.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] when the cost is above 2^96 − 1.
    pub fn cost(&self, prompt_tokens: u32, completion_tokens: u32) -> Result<Amount, AmountError> {
        cost(
            self.input_price_per_mtok,
            self.output_price_per_mtok,
            prompt_tokens.into(),
            completion_tokens.into(),
        )
    }

    /// The most that an answer can cost, before its prompt is counted.
    ///
    /// # Errors
    /// [`AmountError::TooLarge`] when the reserve is above 2^96 − 1.
    pub fn reserve(&self, demand: &Demand) -> Result<Amount, AmountError> {
        cost(
            self.input_price_per_mtok,
            self.output_price_per_mtok,
            demand.prompt_tokens,
            demand.completion_tokens,
        )
    }
}

/// The formula of spec/billing.md, checked in u128.
pub(crate) fn cost(
    input_price: Amount,
    output_price: Amount,
    prompt_tokens: u64,
    completion_tokens: u64,
) -> Result<Amount, AmountError> {
    let input = input_price.value().checked_mul(prompt_tokens.into());
    let output = output_price.value().checked_mul(completion_tokens.into());
    let total = input.zip(output).and_then(|(input, output)| input.checked_add(output));
    Amount::new(total.ok_or(AmountError::TooLarge)?.div_ceil(TOKENS_PER_PRICE))
}

/// `keccak256(abi.encode(Offer[]))`, in the order stored on chain: the terms of allocations.
pub fn offers_hash(offers: &[Offer]) -> Digest32 {
    Digest32(keccak256(&[abi_encode(offers).as_flattened()]))
}

/// ABI encoding of a dynamic array of dynamic tuples, as words.
fn abi_encode(offers: &[Offer]) -> Vec<[u8; 32]> {
    let tuples: Vec<_> = offers.iter().map(abi_encode_offer).collect();
    let mut words = vec![number(32), number(offers.len())];
    // Offsets count from the first word after the length, in bytes.
    let mut offset = offers.len();
    for tuple in &tuples {
        words.push(number(offset.saturating_mul(32)));
        offset = offset.saturating_add(tuple.len());
    }
    words.extend(tuples.into_iter().flatten());
    words
}

fn abi_encode_offer(offer: &Offer) -> Vec<[u8; 32]> {
    let mut words = vec![
        // The name follows the six words of the head.
        number(6 * 32),
        offer.weights_sha256.0,
        word(&offer.input_price_per_mtok.to_be_bytes()),
        word(&offer.output_price_per_mtok.to_be_bytes()),
        word(&offer.context_tokens.to_be_bytes()),
        word(&offer.max_output_tokens.to_be_bytes()),
        number(offer.model.len()),
    ];
    words.extend(offer.model.as_bytes().chunks(32).map(|chunk| {
        let mut word = [0; 32];
        word.iter_mut().zip(chunk).for_each(|(slot, byte)| *slot = *byte);
        word
    }));
    words
}

fn number(value: usize) -> [u8; 32] {
    word(&value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offer() -> Offer {
        Offer {
            model: "smollm2:135m".into(),
            weights_sha256: Digest32([0xb1; 32]),
            input_price_per_mtok: Amount::from(200_000),
            output_price_per_mtok: Amount::from(800_000),
            context_tokens: 2048,
            max_output_tokens: 512,
        }
    }

    #[test]
    fn cost_rounds_up_once() {
        assert_eq!(offer().cost(0, 0), Ok(Amount::ZERO));
        // 0.2 + 0.8 = 1, not 1 + 1.
        assert_eq!(offer().cost(1, 1), Ok(Amount::from(1)));
        assert_eq!(offer().cost(1, 0), Ok(Amount::from(1)));
        assert_eq!(offer().cost(1_000_000, 1_000_000), Ok(Amount::from(1_000_000)));
    }

    #[test]
    fn cost_above_96_bits_is_an_error() {
        let offer = Offer { input_price_per_mtok: Amount::MAX, ..offer() };
        assert_eq!(offer.cost(u32::MAX, 0), Err(AmountError::TooLarge));
        let most = Demand { prompt_tokens: u64::MAX, completion_tokens: u64::MAX };
        assert_eq!(offer.reserve(&most), Err(AmountError::TooLarge));
    }

    #[test]
    fn rejects_model_names_outside_the_set() {
        assert_eq!(check_model_name("hf.co/a-b_c:1.5b"), Ok(()));
        assert_eq!(check_model_name(""), Err(ModelNameError::Length(0)));
        assert_eq!(check_model_name(&"a".repeat(65)), Err(ModelNameError::Length(65)));
        assert_eq!(check_model_name("SmolLM2"), Err(ModelNameError::Character('S')));
        assert_eq!(check_model_name("a b"), Err(ModelNameError::Character(' ')));
    }

    #[test]
    fn abi_layout_of_one_offer_with_a_long_name() {
        let long = Offer { model: "a".repeat(33), ..offer() };
        let words = abi_encode(&[long]);
        // offset, length, 1 offset, 6 head words, name length, 2 name words
        assert_eq!(words.len(), 12);
        assert_eq!(words[2], number(32));
        assert_eq!(words[3], number(192));
        assert_eq!(words[9], number(33));
        assert_eq!(words[11][..2], [b'a', 0]);
    }

    proptest! {
        #[test]
        fn reserve_covers_every_cost_it_was_made_for(
            prompt_tokens in 0u64..10_000, completion_tokens in 0u64..5_000,
            prompt_share in 0u64..=100, completion_share in 0u64..=100,
        ) {
            let prompt = u32::try_from(prompt_tokens * prompt_share / 100).unwrap();
            let completion = u32::try_from(completion_tokens * completion_share / 100).unwrap();
            let cost = offer().cost(prompt, completion).unwrap();
            let demand = Demand { prompt_tokens, completion_tokens };
            prop_assert!(cost <= offer().reserve(&demand).unwrap());
        }
    }
}

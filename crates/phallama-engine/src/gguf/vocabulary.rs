//! The vocabulary: what the tokenizer indexes with, before it does.

use super::{GgufError, GgufRefusal, TOKEN_MAX_BYTES};

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";

/// Types of tokens in llama.cpp: undefined, normal, unknown, control, user defined, unused, byte.
const TOKEN_TYPE_MAX: i128 = 6;
const TOKEN_TYPE_BYTE: u8 = 6;

/// What was seen of the vocabulary. One byte for each token that the file really has.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    /// For each token: is it `<0x` and two hex digits and `>`?
    is_byte: Vec<bool>,
    token_types: Vec<u8>,
}

impl Vocabulary {
    /// Takes the next token. `at` is where its length lies in the file.
    pub(super) fn token(&mut self, at: u64, text: &[u8]) -> Result<(), GgufError> {
        let index = self.is_byte.len() as u64;
        let got = text.len() as u64;
        if text.is_empty() || got > TOKEN_MAX_BYTES {
            let refusal = GgufRefusal::TokenLength { index, got, max: TOKEN_MAX_BYTES };
            return Err(GgufError::refused(at, refusal));
        }
        let is_byte = is_byte_token(text);
        // Nothing else has any business to look like one.
        if !is_byte && text.len() == 6 && text.starts_with(b"<0x") && text.ends_with(b">") {
            let got = text.escape_ascii().to_string();
            return Err(GgufError::refused(at, GgufRefusal::ByteToken { index, got }));
        }
        self.is_byte.push(is_byte);
        Ok(())
    }

    /// Takes the next token's type.
    pub(super) fn token_type(&mut self, at: u64, got: i128) -> Result<(), GgufError> {
        let index = self.token_types.len() as u64;
        match u8::try_from(got) {
            Ok(known) if (0..=TOKEN_TYPE_MAX).contains(&got) => self.token_types.push(known),
            _ => {
                let refusal = GgufRefusal::TokenType { index, got, max: TOKEN_TYPE_MAX };
                return Err(GgufError::refused(at, refusal));
            }
        }
        Ok(())
    }

    /// Takes one token's score.
    pub(super) fn score(at: u64, index: u64, got: f64) -> Result<(), GgufError> {
        if got.is_nan() {
            return Err(GgufError::refused(at, GgufRefusal::ScoreNotANumber { index }));
        }
        Ok(())
    }

    /// Whether what was marked as a byte reads as one; `at` is where the types lie.
    pub(super) fn check_byte_tokens(&self, at: u64) -> Result<(), GgufError> {
        let mut pairs = self.token_types.iter().zip(&self.is_byte).zip(0_u64..);
        match pairs.find(|((kind, is_byte), _)| **kind == TOKEN_TYPE_BYTE && !**is_byte) {
            None => Ok(()),
            Some((_, index)) => Err(GgufError::refused(at, GgufRefusal::ByteTokenText { index })),
        }
    }
}

fn is_byte_token(text: &[u8]) -> bool {
    match text {
        [b'<', b'0', b'x', high, low, b'>'] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        _ => false,
    }
}

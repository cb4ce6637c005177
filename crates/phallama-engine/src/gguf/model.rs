//! What a file must say of its model, and what follows from it.

use super::metadata::{Array, Entry, Metadata, Value, in_range, mistyped};
use super::value_type::ValueType;
use super::vocabulary::{MERGES, SCORES, TOKEN_TYPES, TOKENS};
use super::{GgufError, GgufRefusal};

/// llama.cpp keeps what belongs to a layer in arrays of this length (`LLAMA_MAX_LAYERS`).
const LAYERS_MAX: i128 = 512;
/// `LLAMA_MAX_EXPERTS`.
const EXPERTS_MAX: i128 = 1_024;
const CONTEXT_MAX: i128 = 1 << 24;
const EMBEDDING_MAX: i128 = 1 << 20;
const HEADS_MAX: i128 = 4_096;
const HEAD_LENGTH_MAX: i128 = 1 << 16;
/// Keys and values are cached in half precision.
const CACHE_BYTES_PER_NUMBER: u64 = 2;

/// A model that has passed the check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufModel {
    /// llama.cpp's name for the kind of network, such as `llama`.
    pub architecture: String,
    /// Layers, at least one.
    pub layers: u64,
    /// The context it was trained for, tokens.
    pub context_tokens: u64,
    /// Tokens of the vocabulary.
    pub vocabulary_tokens: u64,
    /// The most that one token of context takes in the worker's cache, bytes.
    pub cache_bytes_per_token: u64,
}

impl GgufModel {
    /// # Errors
    /// [`GgufError::Refused`] with the first value that is absent, mistyped or out of bounds.
    pub(super) fn from_metadata(metadata: &Metadata) -> Result<Self, GgufError> {
        let architecture = architecture(metadata)?;
        let of = |name: &str| format!("{architecture}.{name}");
        let layers = required(metadata, &of("block_count"), 1, LAYERS_MAX)?;
        let context_tokens = required(metadata, &of("context_length"), 1, CONTEXT_MAX)?;
        let embedding = required(metadata, &of("embedding_length"), 1, EMBEDDING_MAX)?;
        let heads = per_layer(metadata, &of("attention.head_count"), 1, HEADS_MAX)?;
        let heads = heads.ok_or_else(|| metadata.missing(&of("attention.head_count")))?;
        let cached_heads = per_layer(metadata, &of("attention.head_count_kv"), 1, heads.into())?;
        let experts = metadata.integer(&of("expert_count"), 0, EXPERTS_MAX)?.unwrap_or(0);
        per_layer(metadata, &of("expert_used_count"), 0, experts.into())?;
        let head_length = embedding.checked_div(heads).unwrap_or(embedding);
        let length = |name| metadata.integer(&of(name), 1, HEAD_LENGTH_MAX);
        let key_length = length("attention.key_length")?.unwrap_or(head_length);
        let value_length = length("attention.value_length")?.unwrap_or(head_length);
        Ok(Self {
            layers,
            context_tokens,
            vocabulary_tokens: vocabulary(metadata)?,
            cache_bytes_per_token: key_length
                .saturating_add(value_length)
                .saturating_mul(cached_heads.unwrap_or(heads))
                .saturating_mul(layers)
                .saturating_mul(CACHE_BYTES_PER_NUMBER),
            architecture,
        })
    }
}

fn required(metadata: &Metadata, key: &str, min: i128, max: i128) -> Result<u64, GgufError> {
    metadata.integer(key, min, max)?.ok_or_else(|| metadata.missing(key))
}

/// The name becomes the beginning of other keys.
fn architecture(metadata: &Metadata) -> Result<String, GgufError> {
    const KEY: &str = "general.architecture";
    let Entry { offset, value } = metadata.required(KEY)?;
    let Value::Text(text) = value else {
        return Err(mistyped(*offset, KEY, value, "a string"));
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    match text {
        Some(name) if !name.is_empty() && name.chars().all(plain) => Ok(name.clone()),
        _ => Err(GgufError::refused(*offset, GgufRefusal::Architecture)),
    }
}

/// The largest of a number that is given once or for each layer. It is at least `min`; single
/// layers may do without.
fn per_layer(
    metadata: &Metadata,
    key: &str,
    min: i128,
    max: i128,
) -> Result<Option<u64>, GgufError> {
    let Some(Entry { offset, value }) = metadata.entry(key) else { return Ok(None) };
    match value {
        Value::Array(Array { len, range: Some((least, most)), .. }) => {
            in_range(*offset, key, (*len).into(), 1, LAYERS_MAX)?;
            in_range(*offset, key, *least, 0, max)?;
            in_range(*offset, key, *most, min, max).map(Some)
        }
        Value::Integer { .. } => metadata.integer(key, min, max),
        _ => Err(mistyped(*offset, key, value, "an integer, or one for each layer")),
    }
}

/// Checks the vocabulary's parts against each other and returns its size.
fn vocabulary(metadata: &Metadata) -> Result<u64, GgufError> {
    const MODEL: &str = "tokenizer.ggml.model";
    let Entry { offset, value } = metadata.required(MODEL)?;
    if !matches!(value, Value::Text(_)) {
        return Err(mistyped(*offset, MODEL, value, "a string"));
    }
    let Entry { offset, value } = metadata.required(TOKENS)?;
    let Value::Array(Array { of: ValueType::Text, len: tokens, .. }) = value else {
        return Err(mistyped(*offset, TOKENS, value, "an array of strings"));
    };
    if *tokens == 0 {
        return Err(metadata.missing(TOKENS));
    }
    let integers = [ValueType::I32, ValueType::U32];
    parallel(metadata, SCORES, &[ValueType::F32], "an array of f32", *tokens)?;
    parallel(metadata, TOKEN_TYPES, &integers, "an array of i32", *tokens)?;
    if let Some(Entry { offset, .. }) = metadata.entry(TOKEN_TYPES) {
        metadata.vocabulary.check_byte_tokens(*offset)?;
    }
    if let Some(Entry { offset, value }) = metadata.entry(MERGES)
        && !matches!(value, Value::Array(Array { of: ValueType::Text, .. }))
    {
        return Err(mistyped(*offset, MERGES, value, "an array of strings"));
    }
    metadata.entries().try_for_each(|(key, entry)| token_ids(key, entry, *tokens))?;
    Ok(*tokens)
}

/// An array with an entry for each token, where it is there at all.
fn parallel(
    metadata: &Metadata,
    key: &str,
    of: &[ValueType],
    expected: &'static str,
    tokens: u64,
) -> Result<(), GgufError> {
    let Some(Entry { offset, value }) = metadata.entry(key) else { return Ok(()) };
    match value {
        Value::Array(array) if of.contains(&array.of) => {
            if array.len == tokens {
                return Ok(());
            }
            let (key, got) = (key.to_owned(), array.len);
            let refusal = GgufRefusal::VocabularyLength { key, got, expected: tokens };
            Err(GgufError::refused(*offset, refusal))
        }
        _ => Err(mistyped(*offset, key, value, expected)),
    }
}

/// Keys that name tokens name those of the vocabulary.
fn token_ids(key: &str, Entry { offset, value }: &Entry, tokens: u64) -> Result<(), GgufError> {
    let (least, most) = match value {
        _ if !key.ends_with("_token_id") && !key.ends_with("_token_ids") => return Ok(()),
        Value::Integer { number, .. } => (*number, *number),
        Value::Array(Array { len: 0, .. }) => return Ok(()),
        Value::Array(Array { range: Some(range), .. }) => *range,
        _ => return Err(mistyped(*offset, key, value, "an integer")),
    };
    let outside = [least, most].into_iter().find(|id| !(0..i128::from(tokens)).contains(id));
    match outside {
        None => Ok(()),
        Some(got) => {
            let key = key.to_owned();
            Err(GgufError::refused(*offset, GgufRefusal::TokenId { key, got, tokens }))
        }
    }
}

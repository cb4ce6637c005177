//! A check of GGUF files before anything else parses a byte of them.
//!
//! llama.cpp reads weights with C++ that has had memory errors of every class, and asserts where it
//! could refuse. The digest of an offer says that a file is the one that was offered, not that it
//! is harmless: whoever offers a model may have been given a hostile one. So the enclave runs
//! [`check_gguf`] on every start, after the SHA-256 and before the worker exists.
//!
//! The check is a function of the bytes. It reads each byte of the header once, in order, from any
//! [`Read`](std::io::Read); claimed lengths are held against the rest of the file and against the
//! limits below before anything is read, and nothing is allocated for what is only claimed. It
//! never panics: indexing, unchecked arithmetic and narrowing casts are denied in this module.
//!
//! It is stricter than the format: files in several parts, nested arrays, gaps between tensors and
//! bytes after the last one are refused, because the worker would follow the first, and nobody
//! needs the others. Each refusal names the class of bug that it stops ([`GgufRefusal`]).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

mod cursor;
mod ggml_type;
mod metadata;
mod model;
mod refusal;
mod tensors;
#[cfg(test)]
mod tests;
mod value_type;
mod vocabulary;

use std::io::Read;

use cursor::Cursor;
use metadata::Metadata;
pub use model::GgufModel;
pub use refusal::{GgufError, GgufRefusal};

/// Most bytes in front of the tensors' data. The largest vocabularies with their merges have 20 MB.
const HEADER_MAX_BYTES: u64 = 256 << 20;
/// Most metadata keys; real files have 20 to 60.
const KEYS_MAX: u64 = 4_096;
/// Longest key.
const KEY_MAX_BYTES: u64 = 256;
/// Longest string that is nothing special; some files carry the tokenizer's whole JSON.
const STRING_MAX_BYTES: u64 = 16 << 20;
/// Most entries of an array that is nothing special.
const ARRAY_MAX_ENTRIES: u64 = 1 << 22;
/// Longest chat template; real ones have up to 20 KB.
const CHAT_TEMPLATE_MAX_BYTES: u64 = 128 << 10;
/// Largest vocabulary; real ones have up to 262,208 tokens.
const TOKENS_MAX: u64 = 1 << 20;
/// Longest token.
const TOKEN_MAX_BYTES: u64 = 1_024;
/// Most merges.
const MERGES_MAX: u64 = 1 << 21;
/// Longest merge: two tokens and the space between them.
const MERGE_MAX_BYTES: u64 = 2 * TOKEN_MAX_BYTES + 1;
/// Most tensors.
const TENSORS_MAX: u64 = 32_768;
/// Longest tensor name; ggml keeps 64 bytes with the final NUL.
const TENSOR_NAME_MAX_BYTES: u64 = 63;
/// Most dimensions of a tensor, as in ggml.
const DIMENSIONS_MAX: u32 = 4;
/// Alignment of a file that names none.
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MIN: i128 = 8;
const ALIGNMENT_MAX: i128 = 65_536;

/// Checks a whole model file: container, metadata, vocabulary and tensors.
///
/// `reader` gives the file from its first byte on, `file_len` is its size in bytes. Only the header
/// is read.
///
/// # Errors
/// [`GgufError`] with the first thing that is wrong and where.
pub fn check_gguf(reader: impl Read, file_len: u64) -> Result<GgufModel, GgufError> {
    let mut cursor = Cursor::new(reader, file_len);
    let counts = header(&mut cursor)?;
    let metadata = Metadata::read(&mut cursor, counts.keys)?;
    let alignment = metadata.alignment()?;
    metadata.check_single_file()?;
    let model = GgufModel::from_metadata(&metadata)?;
    tensors::check(&mut cursor, counts.tensors, alignment)?;
    Ok(model)
}

struct Counts {
    tensors: u64,
    keys: u64,
}

/// Magic, version and the two counts.
fn header<R: Read>(cursor: &mut Cursor<R>) -> Result<Counts, GgufError> {
    let got = cursor.bytes("the magic")?;
    if got != *b"GGUF" {
        return Err(GgufError::refused(0, GgufRefusal::Magic { got }));
    }
    let at = cursor.offset();
    let version = cursor.u32("the version")?;
    let refusal = match version {
        2 | 3 => None,
        swapped if matches!(swapped.swap_bytes(), 1..=3) => Some(GgufRefusal::BigEndian),
        got => Some(GgufRefusal::Version { got }),
    };
    if let Some(refusal) = refusal {
        return Err(GgufError::refused(at, refusal));
    }
    let at = cursor.offset();
    let tensors = cursor.u64("the tensor count")?;
    if tensors == 0 || tensors > TENSORS_MAX {
        let refusal = GgufRefusal::TensorCount { got: tensors, max: TENSORS_MAX };
        return Err(GgufError::refused(at, refusal));
    }
    let at = cursor.offset();
    let keys = cursor.u64("the key count")?;
    if keys > KEYS_MAX {
        return Err(GgufError::refused(at, GgufRefusal::KeyCount { got: keys, max: KEYS_MAX }));
    }
    Ok(Counts { tensors, keys })
}

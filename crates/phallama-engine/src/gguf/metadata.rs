//! Keys and values in front of the tensors.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::io::Read;

use super::cursor::Cursor;
use super::value_type::ValueType;
use super::vocabulary::{MERGES, SCORES, TOKEN_TYPES, TOKENS, Vocabulary};
use super::{
    ALIGNMENT_DEFAULT, ALIGNMENT_MAX, ALIGNMENT_MIN, ARRAY_MAX_ENTRIES, CHAT_TEMPLATE_MAX_BYTES,
    GgufError, GgufRefusal, KEY_MAX_BYTES, MERGE_MAX_BYTES, MERGES_MAX, STRING_MAX_BYTES,
    TOKEN_MAX_BYTES, TOKENS_MAX,
};

const ALIGNMENT: &str = "general.alignment";
const CHAT_TEMPLATE: &str = "tokenizer.chat_template";
const SPLIT_COUNT: &str = "split.count";
/// Longest string whose text is kept.
const KEPT_MAX_BYTES: usize = 128;

/// All keys of a file.
pub(super) struct Metadata {
    entries: BTreeMap<String, Entry>,
    pub(super) vocabulary: Vocabulary,
    /// Where the last value ends.
    end: u64,
}

/// One value, as far as anything depends on it.
pub(super) struct Entry {
    /// Where the value lies in the file.
    pub(super) offset: u64,
    pub(super) value: Value,
}

pub(super) enum Value {
    Integer {
        of: ValueType,
        number: i128,
    },
    Float(ValueType),
    Bool,
    /// The text, where it is short and UTF-8.
    Text(Option<String>),
    Array(Array),
}

/// An array, whose entries were read and forgotten.
pub(super) struct Array {
    pub(super) of: ValueType,
    pub(super) len: u64,
    /// Smallest and largest entry, of integers.
    pub(super) range: Option<(i128, i128)>,
}

/// One value that is no array.
enum Scalar {
    Integer(i128),
    Float(f64),
    Bool,
    /// `None`: longer than anything that is looked at.
    Text(Option<Vec<u8>>),
}

impl Value {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Integer { of, .. } | Self::Float(of) => of.name(),
            Self::Bool => ValueType::Bool.name(),
            Self::Text(_) => ValueType::Text.name(),
            Self::Array(_) => ValueType::Array.name(),
        }
    }
}

impl Metadata {
    /// Reads `count` keys with their values.
    pub(super) fn read<R: Read>(cursor: &mut Cursor<R>, count: u64) -> Result<Self, GgufError> {
        let mut entries = BTreeMap::new();
        let mut vocabulary = Vocabulary::default();
        for _ in 0..count {
            let at = cursor.offset();
            let key = read_key(cursor)?;
            match entries.entry(key) {
                Place::Occupied(place) => {
                    let refusal = GgufRefusal::DuplicateKey { key: place.key().clone() };
                    return Err(GgufError::refused(at, refusal));
                }
                Place::Vacant(place) => {
                    let entry = read_entry(cursor, place.key(), &mut vocabulary)?;
                    place.insert(entry);
                }
            }
        }
        Ok(Self { entries, vocabulary, end: cursor.offset() })
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// A value without which the file is no model.
    pub(super) fn required(&self, key: &str) -> Result<&Entry, GgufError> {
        self.entry(key).ok_or_else(|| self.missing(key))
    }

    pub(super) fn missing(&self, key: &str) -> GgufError {
        GgufError::refused(self.end, GgufRefusal::Missing { key: key.to_owned() })
    }

    /// An integer within bounds, or `None` where the key is absent.
    pub(super) fn integer(
        &self,
        key: &str,
        min: i128,
        max: i128,
    ) -> Result<Option<u64>, GgufError> {
        let Some(Entry { offset, value }) = self.entry(key) else { return Ok(None) };
        let Value::Integer { number, .. } = value else {
            return Err(mistyped(*offset, key, value, "an integer"));
        };
        in_range(*offset, key, *number, min, max).map(Some)
    }

    /// What the tensors' data is aligned to, in bytes.
    pub(super) fn alignment(&self) -> Result<u64, GgufError> {
        let Some(Entry { offset, value }) = self.entry(ALIGNMENT) else {
            return Ok(ALIGNMENT_DEFAULT);
        };
        let Value::Integer { of: ValueType::U32, number } = value else {
            return Err(mistyped(*offset, ALIGNMENT, value, "u32"));
        };
        let alignment = in_range(*offset, ALIGNMENT, *number, ALIGNMENT_MIN, ALIGNMENT_MAX)?;
        if !alignment.is_power_of_two() {
            return Err(GgufError::refused(*offset, GgufRefusal::Alignment { got: alignment }));
        }
        Ok(alignment)
    }

    /// A file in several parts makes the worker open the others by name: nobody has hashed them.
    pub(super) fn check_single_file(&self) -> Result<(), GgufError> {
        match self.integer(SPLIT_COUNT, 0, i128::MAX)? {
            None | Some(0 | 1) => Ok(()),
            Some(got) => {
                let at = self.entry(SPLIT_COUNT).map_or(self.end, |entry| entry.offset);
                Err(GgufError::refused(at, GgufRefusal::Split { got }))
            }
        }
    }
}

/// The number, if it lies within bounds.
pub(super) fn in_range(
    at: u64,
    key: &str,
    got: i128,
    min: i128,
    max: i128,
) -> Result<u64, GgufError> {
    match u64::try_from(got) {
        Ok(number) if (min..=max).contains(&got) => Ok(number),
        _ => {
            let refusal = GgufRefusal::OutOfRange { key: key.to_owned(), got, min, max };
            Err(GgufError::refused(at, refusal))
        }
    }
}

pub(super) fn mistyped(at: u64, key: &str, value: &Value, expected: &'static str) -> GgufError {
    let (key, got) = (key.to_owned(), value.type_name());
    GgufError::refused(at, GgufRefusal::KeyType { key, got, expected })
}

fn read_key<R: Read>(cursor: &mut Cursor<R>) -> Result<String, GgufError> {
    let at = cursor.offset();
    let refusal = |got| GgufRefusal::KeyLength { got, max: KEY_MAX_BYTES };
    let len = cursor.length("a key", KEY_MAX_BYTES, refusal)?;
    if len == 0 {
        return Err(GgufError::refused(at, refusal(0)));
    }
    printable(at, cursor.take("a key", len)?, |byte| GgufRefusal::KeyCharacter { byte })
}

/// The text, if all of it is printable ASCII without spaces.
pub(super) fn printable(
    at: u64,
    bytes: Vec<u8>,
    refusal: impl FnOnce(u8) -> GgufRefusal,
) -> Result<String, GgufError> {
    match bytes.iter().find(|byte| !byte.is_ascii_graphic()) {
        Some(byte) => Err(GgufError::refused(at, refusal(*byte))),
        None => Ok(bytes.into_iter().map(char::from).collect()),
    }
}

fn read_type<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<ValueType, GgufError> {
    let at = cursor.offset();
    let got = cursor.u32("the type of a value")?;
    ValueType::from_id(got)
        .ok_or_else(|| GgufError::refused(at, GgufRefusal::ValueType { key: key.to_owned(), got }))
}

fn read_entry<R: Read>(
    cursor: &mut Cursor<R>,
    key: &str,
    vocabulary: &mut Vocabulary,
) -> Result<Entry, GgufError> {
    let of = read_type(cursor, key)?;
    let offset = cursor.offset();
    let value = if of == ValueType::Array {
        Value::Array(read_array(cursor, key, vocabulary)?)
    } else {
        match read_scalar(cursor, key, of)? {
            Scalar::Integer(number) => Value::Integer { of, number },
            Scalar::Float(_) => Value::Float(of),
            Scalar::Bool => Value::Bool,
            Scalar::Text(text) => Value::Text(kept(offset, key, text)?),
        }
    };
    Ok(Entry { offset, value })
}

/// The text, where it is short. A chat template must be UTF-8, however long it is.
fn kept(at: u64, key: &str, text: Option<Vec<u8>>) -> Result<Option<String>, GgufError> {
    let Some(text) = text else { return Ok(None) };
    let is_short = text.len() <= KEPT_MAX_BYTES;
    match String::from_utf8(text) {
        Ok(text) => Ok(is_short.then_some(text)),
        Err(_) if key.starts_with(CHAT_TEMPLATE) => {
            Err(GgufError::refused(at, GgufRefusal::NotUtf8 { key: key.to_owned() }))
        }
        Err(_) => Ok(None),
    }
}

fn read_array<R: Read>(
    cursor: &mut Cursor<R>,
    key: &str,
    vocabulary: &mut Vocabulary,
) -> Result<Array, GgufError> {
    let at = cursor.offset();
    let of = read_type(cursor, key)?;
    if of == ValueType::Array {
        return Err(GgufError::refused(at, GgufRefusal::NestedArray { key: key.to_owned() }));
    }
    let max = match key {
        TOKENS | TOKEN_TYPES | SCORES => TOKENS_MAX,
        MERGES => MERGES_MAX,
        _ => ARRAY_MAX_ENTRIES,
    };
    let refusal = |got| GgufRefusal::ArrayLength { key: key.to_owned(), got, max };
    let len = cursor.length("an array", max, refusal)?;
    cursor.need("an array", len.saturating_mul(of.min_bytes()))?;
    let mut range: Option<(i128, i128)> = None;
    for index in 0..len {
        let at = cursor.offset();
        let scalar = read_scalar(cursor, key, of)?;
        if let Scalar::Integer(number) = scalar {
            let (min, max) = range.unwrap_or((number, number));
            range = Some((min.min(number), max.max(number)));
        }
        match (key, scalar) {
            (TOKENS, Scalar::Text(text)) => vocabulary.token(at, &text.unwrap_or_default())?,
            (TOKEN_TYPES, Scalar::Integer(kind)) => vocabulary.token_type(at, kind)?,
            (SCORES, Scalar::Float(score)) => Vocabulary::score(at, index, score)?,
            _ => {}
        }
    }
    Ok(Array { of, len, range })
}

fn read_scalar<R: Read>(
    cursor: &mut Cursor<R>,
    key: &str,
    of: ValueType,
) -> Result<Scalar, GgufError> {
    const WHAT: &str = "a value";
    Ok(match of {
        ValueType::U8 => Scalar::Integer(u8::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::I8 => Scalar::Integer(i8::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::U16 => Scalar::Integer(u16::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::I16 => Scalar::Integer(i16::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::U32 => Scalar::Integer(u32::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::I32 => Scalar::Integer(i32::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::U64 => Scalar::Integer(u64::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::I64 => Scalar::Integer(i64::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::F32 => Scalar::Float(f32::from_le_bytes(cursor.bytes(WHAT)?).into()),
        ValueType::F64 => Scalar::Float(f64::from_le_bytes(cursor.bytes(WHAT)?)),
        ValueType::Bool => read_bool(cursor, key)?,
        ValueType::Text => Scalar::Text(read_text(cursor, key)?),
        ValueType::Array => {
            let refusal = GgufRefusal::NestedArray { key: key.to_owned() };
            return Err(GgufError::refused(cursor.offset(), refusal));
        }
    })
}

fn read_bool<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<Scalar, GgufError> {
    let at = cursor.offset();
    match cursor.bytes("a bool")? {
        [0 | 1] => Ok(Scalar::Bool),
        [got] => Err(GgufError::refused(at, GgufRefusal::Bool { key: key.to_owned(), got })),
    }
}

/// A string, or `None` for one so long that nothing looks at it.
fn read_text<R: Read>(cursor: &mut Cursor<R>, key: &str) -> Result<Option<Vec<u8>>, GgufError> {
    let max = match key {
        TOKENS => TOKEN_MAX_BYTES,
        MERGES => MERGE_MAX_BYTES,
        _ if key.starts_with(CHAT_TEMPLATE) => CHAT_TEMPLATE_MAX_BYTES,
        _ => STRING_MAX_BYTES,
    };
    let refusal = |got| GgufRefusal::StringLength { key: key.to_owned(), got, max };
    let len = cursor.length("a string", max, refusal)?;
    if len <= CHAT_TEMPLATE_MAX_BYTES {
        cursor.take("a string", len).map(Some)
    } else {
        cursor.skip("a string", len).map(|()| None)
    }
}

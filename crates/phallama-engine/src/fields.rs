//! Checks of single values. Each takes the path of the field, for the error, and the value.

use serde_json::{Map, Value};

use crate::{RequestError, TOKENS_MAX};

type Checked<T> = Result<T, RequestError>;

/// What a plain field must be.
pub(crate) enum Rule {
    Number { min: f64, max: f64 },
    Integer { min: i64, max: i64 },
    Bool,
}

/// Sampling fields that go to the worker as they are. Ranges are llama-server's meaningful ones,
/// narrowed to OpenAI's where OpenAI has the field.
pub(crate) const SAMPLING: &[(&str, Rule)] = &[
    ("temperature", Rule::Number { min: 0.0, max: 2.0 }),
    ("top_p", Rule::Number { min: 0.0, max: 1.0 }),
    ("min_p", Rule::Number { min: 0.0, max: 1.0 }),
    ("typical_p", Rule::Number { min: 0.0, max: 1.0 }),
    ("top_k", Rule::Integer { min: 0, max: 100_000 }),
    ("presence_penalty", Rule::Number { min: -2.0, max: 2.0 }),
    ("frequency_penalty", Rule::Number { min: -2.0, max: 2.0 }),
    ("repeat_penalty", Rule::Number { min: 0.1, max: 2.0 }),
    // -1: the whole context.
    ("repeat_last_n", Rule::Integer { min: -1, max: 65_536 }),
    ("mirostat", Rule::Integer { min: 0, max: 2 }),
    ("mirostat_tau", Rule::Number { min: 0.0, max: 100.0 }),
    ("mirostat_eta", Rule::Number { min: 0.0, max: 1.0 }),
    ("top_n_sigma", Rule::Number { min: -1.0, max: 100.0 }),
    ("xtc_probability", Rule::Number { min: 0.0, max: 1.0 }),
    ("xtc_threshold", Rule::Number { min: 0.0, max: 1.0 }),
    ("dynatemp_range", Rule::Number { min: 0.0, max: 2.0 }),
    ("dynatemp_exponent", Rule::Number { min: 0.1, max: 10.0 }),
    ("dry_multiplier", Rule::Number { min: 0.0, max: 10.0 }),
    ("dry_base", Rule::Number { min: 1.0, max: 10.0 }),
    ("dry_allowed_length", Rule::Integer { min: 0, max: 1_000 }),
    ("dry_penalty_last_n", Rule::Integer { min: 0, max: 65_536 }),
];

const STOP_MAX: usize = 16;
const STOP_MAX_BYTES: usize = 256;
const BIAS_MAX: usize = 300;

impl Rule {
    pub(crate) fn check(&self, field: &str, value: &Value) -> Checked<()> {
        match *self {
            Self::Number { min, max } => number(field, value, min, max).map(drop),
            Self::Integer { min, max } => integer(field, value, min, max).map(drop),
            Self::Bool => boolean(field, value).map(drop),
        }
    }
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

pub(crate) fn wrong_type(field: &str, value: &Value, expected: &'static str) -> RequestError {
    RequestError::WrongType { field: field.to_owned(), got: kind(value), expected }
}

pub(crate) fn unsupported(field: &str, got: &str, expected: &'static str) -> RequestError {
    RequestError::Unsupported { field: field.to_owned(), got: cut(got), expected }
}

/// At most 64 characters of a foreign name.
pub(crate) fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}

pub(crate) fn number(field: &str, value: &Value, min: f64, max: f64) -> Checked<f64> {
    let got = value.as_f64().ok_or_else(|| wrong_type(field, value, "a number"))?;
    // Not `got < min || got > max`, which would let NaN through.
    if (min..=max).contains(&got) {
        Ok(got)
    } else {
        Err(RequestError::OutOfRange { field: field.to_owned(), got, min, max })
    }
}

#[expect(clippy::cast_precision_loss, reason = "only for the message; limits are far below 2^53")]
pub(crate) fn integer(field: &str, value: &Value, min: i64, max: i64) -> Checked<i64> {
    match value.as_i64() {
        Some(got) if (min..=max).contains(&got) => Ok(got),
        _ => match value.as_f64() {
            Some(got) if got.fract() == 0.0 => Err(RequestError::OutOfRange {
                field: field.to_owned(),
                got,
                min: min as f64,
                max: max as f64,
            }),
            _ => Err(wrong_type(field, value, "an integer")),
        },
    }
}

pub(crate) fn boolean(field: &str, value: &Value) -> Checked<bool> {
    value.as_bool().ok_or_else(|| wrong_type(field, value, "a boolean"))
}

pub(crate) fn text<'a>(field: &str, value: &'a Value) -> Checked<&'a str> {
    value.as_str().ok_or_else(|| wrong_type(field, value, "a string"))
}

pub(crate) fn short_text<'a>(field: &str, value: &'a Value, max_bytes: usize) -> Checked<&'a str> {
    let text = text(field, value)?;
    at_most_bytes(field, text.len(), max_bytes)?;
    Ok(text)
}

pub(crate) fn at_most_bytes(field: &str, got_bytes: usize, max_bytes: usize) -> Checked<()> {
    if got_bytes <= max_bytes {
        Ok(())
    } else {
        Err(RequestError::TooLong { field: field.to_owned(), got_bytes, max_bytes })
    }
}

pub(crate) fn list<'a>(field: &str, value: &'a Value, max: usize) -> Checked<&'a [Value]> {
    let list = value.as_array().ok_or_else(|| wrong_type(field, value, "an array"))?;
    if list.len() <= max {
        Ok(list)
    } else {
        Err(RequestError::TooMany { field: field.to_owned(), got: list.len(), max })
    }
}

pub(crate) fn object<'a>(field: &str, value: &'a Value) -> Checked<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| wrong_type(field, value, "an object"))
}

/// An object that has no other keys than `allowed`.
pub(crate) fn object_of<'a>(
    field: &str,
    value: &'a Value,
    allowed: &[&str],
) -> Checked<&'a Map<String, Value>> {
    let object = object(field, value)?;
    match object.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => Err(RequestError::UnknownField { field: format!("{field}.{}", cut(key)) }),
        None => Ok(object),
    }
}

pub(crate) fn required<'a>(
    field: &str,
    object: &'a Map<String, Value>,
    key: &str,
) -> Checked<&'a Value> {
    object.get(key).ok_or_else(|| RequestError::Missing { field: format!("{field}.{key}") })
}

/// `stop`: one string or up to 16, none of them empty.
pub(crate) fn stop(field: &str, value: &Value) -> Checked<()> {
    let one = std::slice::from_ref(value);
    let strings = if value.is_string() { one } else { list(field, value, STOP_MAX)? };
    for string in strings {
        if short_text(field, string, STOP_MAX_BYTES)?.is_empty() {
            return Err(RequestError::Empty { field: field.to_owned() });
        }
    }
    Ok(())
}

/// `logit_bias`: up to 300 token ids (as keys) with a bias from -100 to 100.
pub(crate) fn logit_bias(field: &str, value: &Value) -> Checked<()> {
    let biases = object(field, value)?;
    if biases.len() > BIAS_MAX {
        return Err(RequestError::TooMany {
            field: field.to_owned(),
            got: biases.len(),
            max: BIAS_MAX,
        });
    }
    for (token, bias) in biases {
        if token.parse::<u32>().is_err() {
            return Err(unsupported(field, token, "token ids as keys"));
        }
        number(field, bias, -100.0, 100.0)?;
    }
    Ok(())
}

/// `seed`: any integer; llama-server takes 32 bits, of which the largest value means "random".
pub(crate) fn seed(field: &str, value: &Value) -> Checked<u32> {
    let seed = value.as_i64().ok_or_else(|| wrong_type(field, value, "an integer"))?;
    let seed = seed.rem_euclid(i64::from(u32::MAX));
    Ok(u32::try_from(seed).expect("less than 2^32 - 1"))
}

/// Token ids. Those that the model does not have are the worker's to refuse.
pub(crate) fn tokens(field: &str, value: &Value) -> Checked<()> {
    for (index, token) in list(field, value, TOKENS_MAX)?.iter().enumerate() {
        integer(&format!("{field}[{index}]"), token, 0, i32::MAX.into())?;
    }
    Ok(())
}

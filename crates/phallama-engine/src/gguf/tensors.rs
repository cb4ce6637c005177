//! The table of tensors, against the file that must hold them.

use std::collections::BTreeSet;
use std::io::Read;

use super::cursor::Cursor;
use super::metadata::printable;
use super::{DIMENSIONS_MAX, GgufError, GgufRefusal, TENSOR_NAME_MAX_BYTES, ggml_type};

/// One row of the table.
struct Tensor {
    /// Where its offset is written.
    at: u64,
    name: String,
    /// Where its data lies, from the start of all data.
    offset: u64,
    /// Size of its data.
    bytes: u64,
}

/// Reads `count` rows, and checks that their data fills the rest of the file without gap or
/// overlap.
pub(super) fn check<R: Read>(
    cursor: &mut Cursor<R>,
    count: u64,
    alignment: u64,
) -> Result<(), GgufError> {
    let mut names = BTreeSet::new();
    let mut tensors = Vec::new();
    for _ in 0..count {
        let at = cursor.offset();
        let tensor = read_tensor(cursor)?;
        if !names.insert(tensor.name.clone()) {
            let refusal = GgufRefusal::DuplicateTensor { tensor: tensor.name };
            return Err(GgufError::refused(at, refusal));
        }
        tensors.push(tensor);
    }
    let end = layout(&tensors, cursor, alignment)?;
    check_end(end, cursor.file_len(), alignment)
}

/// Checks where each tensor lies. Returns where the last one ends in the file.
fn layout<R: Read>(
    tensors: &[Tensor],
    cursor: &Cursor<R>,
    alignment: u64,
) -> Result<u64, GgufError> {
    let file_len = cursor.file_len();
    let start = padded(cursor.offset(), alignment);
    // Offsets from the start of the data.
    let (mut expected, mut end) = (0, 0);
    for tensor in tensors {
        let Tensor { at, name, offset: got, bytes } = tensor;
        let (got, tensor) = (*got, name.clone());
        end = got.saturating_add(*bytes);
        let in_file = start.saturating_add(end);
        let refusal = if in_file > file_len {
            GgufRefusal::TensorPastEnd { tensor, end: in_file, file_len }
        } else if got.checked_rem(alignment) != Some(0) {
            GgufRefusal::TensorUnaligned { tensor, got, alignment }
        } else if got < expected {
            GgufRefusal::TensorOverlap { tensor, got, expected }
        } else if got > expected {
            GgufRefusal::TensorGap { tensor, got, expected }
        } else {
            expected = padded(end, alignment);
            continue;
        };
        return Err(GgufError::refused(*at, refusal));
    }
    Ok(start.saturating_add(end))
}

/// The file ends with its last tensor, or with the padding behind it.
fn check_end(end: u64, file_len: u64, alignment: u64) -> Result<(), GgufError> {
    if file_len == end || file_len == padded(end, alignment) {
        return Ok(());
    }
    Err(GgufError::refused(end, GgufRefusal::TrailingBytes { got: file_len, expected: end }))
}

/// The next multiple of `alignment`; it is in bounds, as is everything inside a file.
fn padded(position: u64, alignment: u64) -> u64 {
    position.checked_next_multiple_of(alignment).unwrap_or(u64::MAX)
}

fn read_tensor<R: Read>(cursor: &mut Cursor<R>) -> Result<Tensor, GgufError> {
    let name = read_name(cursor)?;
    let at = cursor.offset();
    let (row, elements) = read_shape(cursor, &name)?;
    let type_at = cursor.offset();
    let id = cursor.u32("a tensor's type")?;
    let tensor = || name.clone();
    let refuse = |at, refusal| Err(GgufError::refused(at, refusal));
    let Some(blocks) = ggml_type::blocks(id) else {
        return refuse(type_at, GgufRefusal::TensorType { tensor: tensor(), got: id });
    };
    if row.checked_rem(blocks.elements) != Some(0) {
        let (tensor, block) = (tensor(), blocks.elements);
        return refuse(at, GgufRefusal::PartialBlock { tensor, got: row, block });
    }
    let count = elements.checked_div(blocks.elements);
    let Some(bytes) = count.and_then(|count| count.checked_mul(blocks.bytes)) else {
        return refuse(at, GgufRefusal::TensorTooLarge { tensor: tensor() });
    };
    let at = cursor.offset();
    let offset = cursor.u64("a tensor's offset")?;
    Ok(Tensor { at, name, offset, bytes })
}

fn read_name<R: Read>(cursor: &mut Cursor<R>) -> Result<String, GgufError> {
    let at = cursor.offset();
    let refusal = |got| GgufRefusal::TensorNameLength { got, max: TENSOR_NAME_MAX_BYTES };
    let len = cursor.length("a tensor's name", TENSOR_NAME_MAX_BYTES, refusal)?;
    if len == 0 {
        return Err(GgufError::refused(at, refusal(0)));
    }
    let name = cursor.take("a tensor's name", len)?;
    printable(at, name, |byte| GgufRefusal::TensorNameCharacter { byte })
}

/// Elements of a row, and of the whole tensor.
fn read_shape<R: Read>(cursor: &mut Cursor<R>, name: &str) -> Result<(u64, u64), GgufError> {
    let at = cursor.offset();
    let tensor = || name.to_owned();
    let got = cursor.u32("a tensor's dimensions")?;
    if got == 0 || got > DIMENSIONS_MAX {
        let refusal = GgufRefusal::Dimensions { tensor: tensor(), got, max: DIMENSIONS_MAX };
        return Err(GgufError::refused(at, refusal));
    }
    let (mut row, mut elements) = (None, 1_u64);
    for _ in 0..got {
        let at = cursor.offset();
        let size = cursor.u64("a tensor's dimensions")?;
        // ggml counts in i64, and so must every product.
        let product = elements.checked_mul(size).filter(|product| i64::try_from(*product).is_ok());
        elements = match product {
            Some(product) if size > 0 => product,
            _ => {
                let refusal = GgufRefusal::DimensionSize { tensor: tensor(), got: size };
                return Err(GgufError::refused(at, refusal));
            }
        };
        row = row.or(Some(size));
    }
    Ok((row.unwrap_or(1), elements))
}

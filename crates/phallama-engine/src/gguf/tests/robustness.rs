//! Whatever the bytes are, the check ends and does not panic.

use proptest::prelude::*;

use super::writer::{Gguf, Value};
use super::{check, check_gguf};

#[test]
fn no_single_byte_makes_it_panic() {
    let valid = Gguf::valid().write();
    let mut file = valid.clone();
    let mut accepted = 0_u32;
    for at in 0..file.len().min(4_096) {
        for change in 1..=255 {
            file[at] = valid[at] ^ change;
            accepted += u32::from(check(&file).is_ok());
        }
        file[at] = valid[at];
    }
    assert!(accepted > 0, "bytes of weights and names may have any value");
}

/// Bytes of a header with numbers that parsers stumble over put anywhere.
fn with_edges() -> impl Strategy<Value = Vec<u8>> {
    let edges = prop::sample::select(vec![
        0,
        1,
        31,
        255,
        1 << 16,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        1 << 62,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ]);
    let places = prop::collection::vec((any::<prop::sample::Index>(), edges, 1_usize..=8), 1..4);
    places.prop_map(|places| {
        let gguf = Gguf::valid();
        let mut file = gguf.write();
        for (index, edge, width) in places {
            let at = index.index(gguf.header_len() - 8);
            file[at..at + width].copy_from_slice(&edge.to_le_bytes()[..width]);
        }
        file
    })
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
        claimed in any::<u64>(),
    ) {
        let file = [&b"GGUF\x03\0\0\0"[..], &bytes].concat();
        let _ = check(&bytes);
        let _ = check(&file);
        // A size that is not the file's.
        let _ = check_gguf(file.as_slice(), claimed);
    }

    #[test]
    fn edge_numbers_anywhere_end_in_an_answer(file in with_edges()) {
        let _ = check(&file);
    }

    #[test]
    fn any_bounds_in_order_are_accepted(
        layers in 1_u32..=512, heads in 1_u32..=4_096, context in 1_u32..=1 << 24,
    ) {
        let mut gguf = Gguf::valid();
        gguf.set("llama.block_count", Value::U32(layers));
        gguf.set("llama.attention.head_count", Value::U32(heads));
        gguf.set("llama.attention.head_count_kv", Value::U32(heads));
        gguf.set("llama.context_length", Value::U32(context));
        let model = check(&gguf.write()).unwrap();
        prop_assert_eq!((model.layers, model.context_tokens), (layers.into(), context.into()));
    }
}

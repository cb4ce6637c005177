//! From a valid file, one thing is changed, and the exact refusal is asserted.

mod robustness;
mod writer;

use std::io::{self, Read};

use super::{GgufError, GgufModel, GgufRefusal, check_gguf};
use writer::{ARRAY, F32, Gguf, I32, TEXT, Tensor, U32, Value, text, texts};

fn check(file: &[u8]) -> Result<GgufModel, GgufError> {
    check_gguf(file, file.len() as u64)
}

/// Where the changed file is refused, and why.
fn refused(change: impl FnOnce(&mut Gguf)) -> (u64, GgufRefusal) {
    let mut gguf = Gguf::valid();
    change(&mut gguf);
    match check(&gguf.write()) {
        Err(GgufError::Refused { offset, refusal }) => (offset, refusal),
        other => panic!("{other:?}"),
    }
}

fn refusal(change: impl FnOnce(&mut Gguf)) -> GgufRefusal {
    refused(change).1
}

fn with(key: &str, value: Value) -> GgufRefusal {
    refusal(|gguf| gguf.set(key, value))
}

fn accepts(change: impl FnOnce(&mut Gguf)) -> GgufModel {
    let mut gguf = Gguf::valid();
    change(&mut gguf);
    check(&gguf.write()).unwrap()
}

fn first_tensor(change: impl FnOnce(&mut Tensor)) -> GgufRefusal {
    refusal(|gguf| change(&mut gguf.tensors[0]))
}

const EMBEDDING: &str = "token_embd.weight";

#[test]
fn a_valid_file_tells_what_the_model_needs() {
    let model = accepts(|_| ());
    assert_eq!(
        model,
        GgufModel {
            architecture: "llama".to_owned(),
            layers: 1,
            context_tokens: 64,
            vocabulary_tokens: 7,
            // 2 heads with keys and values of 32 / 4 numbers of 2 bytes.
            cache_bytes_per_token: 2 * (8 + 8) * 2,
        }
    );
}

/// Programs and tests elsewhere use this file, and fuzzing begins with it.
#[test]
fn the_fixture_is_the_valid_file() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/gguf/tiny.gguf");
    let expected = Gguf::valid().write();
    if std::env::var_os("PHALLAMA_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read(&path).unwrap();
    assert!(found == expected, "run this test with PHALLAMA_WRITE_VECTORS=1 to write it anew");
}

#[test]
fn refuses_another_format_byte_order_or_version() {
    let wrong = refused(|gguf| gguf.magic = *b"GGML");
    assert_eq!(wrong, (0, GgufRefusal::Magic { got: *b"GGML" }));
    let swapped = refused(|gguf| gguf.version = 3_u32.swap_bytes());
    assert_eq!(swapped, (4, GgufRefusal::BigEndian));
    for got in [0, 1, 4, u32::MAX] {
        assert_eq!(refused(|gguf| gguf.version = got), (4, GgufRefusal::Version { got }));
    }
    accepts(|gguf| gguf.version = 2);
}

#[test]
fn refuses_counts_that_no_model_has() {
    for got in [0, 32_769, u64::MAX / 368, u64::MAX] {
        let refusal = refused(|gguf| gguf.tensor_count = Some(got));
        assert_eq!(refusal, (8, GgufRefusal::TensorCount { got, max: 32_768 }));
    }
    for got in [4_097, u64::MAX] {
        let refusal = refused(|gguf| gguf.key_count = Some(got));
        assert_eq!(refusal, (16, GgufRefusal::KeyCount { got, max: 4_096 }));
    }
}

#[test]
fn refuses_every_file_that_ends_early() {
    let file = Gguf::valid().write();
    for len in 0..file.len() {
        let Err(GgufError::Refused { refusal, .. }) = check(&file[..len]) else {
            panic!("accepted {len} of {} bytes", file.len())
        };
        let end =
            matches!(refusal, GgufRefusal::Truncated { .. } | GgufRefusal::TensorPastEnd { .. });
        assert!(end, "{len}: {refusal}");
    }
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_truncated() {
    let file = Gguf::valid().write();
    let Err(GgufError::Refused { refusal, .. }) = check_gguf(&file[..100], file.len() as u64)
    else {
        panic!("accepted")
    };
    assert!(matches!(refusal, GgufRefusal::Truncated { .. }), "{refusal}");
}

#[test]
fn a_disk_that_fails_is_told_apart_from_a_bad_file() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("bad sector"))
        }
    }
    let file = Gguf::valid().write();
    let error = check_gguf((&file[..50]).chain(Broken), file.len() as u64).unwrap_err();
    assert!(matches!(error, GgufError::Unreadable { .. }), "{error}");
}

#[test]
fn refuses_a_header_without_end() {
    const LONGEST: u64 = 16 << 20;
    let file = Gguf::valid().write();
    let mut endless: Box<dyn Read> = Box::new(&file[..24]);
    for index in 0..17 {
        let key = format!("padding.{index:02}");
        let lengths = [10_u64.to_le_bytes(), LONGEST.to_le_bytes()];
        let entry = [&lengths[0], key.as_bytes(), &TEXT.to_le_bytes(), &lengths[1]].concat();
        let text = io::repeat(b'x').take(LONGEST);
        endless = Box::new(endless.chain(io::Cursor::new(entry)).chain(text));
    }
    let Err(GgufError::Refused { refusal, .. }) = check_gguf(endless, 1 << 40) else {
        panic!("accepted")
    };
    assert_eq!(refusal, GgufRefusal::HeaderTooLarge { max: 256 << 20 });
}

#[test]
fn refuses_keys_that_are_empty_long_doubled_or_not_printable() {
    let key = |key: &str| refusal(|gguf| gguf.keys[2].0 = key.to_owned());
    assert_eq!(key(""), GgufRefusal::KeyLength { got: 0, max: 256 });
    assert_eq!(key(&"k".repeat(257)), GgufRefusal::KeyLength { got: 257, max: 256 });
    assert_eq!(key("general.na\0me"), GgufRefusal::KeyCharacter { byte: 0 });
    assert_eq!(key("\u{1b}[2J"), GgufRefusal::KeyCharacter { byte: 0x1b });
    assert_eq!(key("general na"), GgufRefusal::KeyCharacter { byte: b' ' });
    let twice = key("general.architecture");
    assert_eq!(twice, GgufRefusal::DuplicateKey { key: "general.architecture".to_owned() });
}

#[test]
fn refuses_values_of_no_type() {
    let key = "general.name".to_owned();
    for got in [13, u32::MAX] {
        let refusal = with(&key, Value::Raw(got, vec![0; 8]));
        assert_eq!(refusal, GgufRefusal::ValueType { key: key.clone(), got });
    }
    let refusal = with(&key, Value::Raw(ARRAY, [13_u32.to_le_bytes(), [0; 4], [0; 4]].concat()));
    assert_eq!(refusal, GgufRefusal::ValueType { key: key.clone(), got: 13 });
    let refusal = with(&key, Value::Bool(2));
    assert_eq!(refusal, GgufRefusal::Bool { key, got: 2 });
}

#[test]
fn every_type_of_value_is_read_with_its_size() {
    let sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
    for (kind, size) in (0_u32..).zip(sizes).filter(|(_, size)| *size > 0) {
        accepts(|gguf| gguf.keys.insert(2, ("x".to_owned(), Value::Raw(kind, vec![0; size]))));
    }
}

#[test]
fn refuses_strings_that_are_too_long_before_reading_them() {
    let key = "general.name".to_owned();
    let (got, max) = (u64::MAX, 16 << 20);
    let refusal = with(&key, Value::Raw(TEXT, got.to_le_bytes().to_vec()));
    assert_eq!(refusal, GgufRefusal::StringLength { key: key.clone(), got, max });
    // Allowed, but not there.
    let refusal = with(&key, Value::Raw(TEXT, (1_u64 << 20).to_le_bytes().to_vec()));
    assert!(matches!(refusal, GgufRefusal::Truncated { needed: 0x10_0000, .. }), "{refusal}");
}

#[test]
fn refuses_arrays_that_are_nested_or_claim_more_than_there_is() {
    let key = "general.tags".to_owned();
    let inner = vec![Value::Array(U32, vec![])];
    assert_eq!(
        with(&key, Value::Array(ARRAY, inner)),
        GgufRefusal::NestedArray { key: key.clone() }
    );
    let claim = |len: u64| Value::Raw(ARRAY, [&U32.to_le_bytes()[..], &len.to_le_bytes()].concat());
    let (got, max) = ((1 << 22) + 1, 1 << 22);
    assert_eq!(with(&key, claim(got)), GgufRefusal::ArrayLength { key: key.clone(), got, max });
    let refusal = with(&key, claim(1 << 22));
    assert!(matches!(refusal, GgufRefusal::Truncated { needed: 0x100_0000, .. }), "{refusal}");
}

#[test]
fn refuses_an_alignment_that_is_mistyped_no_power_of_two_or_out_of_bounds() {
    let key = "general.alignment";
    let got = |value| refused(|gguf| gguf.set(key, value));
    let at = Gguf::valid().offset_of(key);
    assert_eq!(got(Value::U32(48)), (at, GgufRefusal::Alignment { got: 48 }));
    for number in [0, 1, 4, 0x2_0000, 0x8000_0000] {
        let refusal = got(Value::U32(number)).1;
        let (key, got) = (key.to_owned(), number.into());
        assert_eq!(refusal, GgufRefusal::OutOfRange { key, got, min: 8, max: 65_536 });
    }
    let mistyped = |name| GgufRefusal::KeyType { key: key.to_owned(), got: name, expected: "u32" };
    assert_eq!(got(Value::I32(32)).1, mistyped("i32"));
    assert_eq!(got(Value::Raw(10, 32_u64.to_le_bytes().to_vec())).1, mistyped("u64"));
    assert_eq!(got(text("32")).1, mistyped("a string"));
    accepts(|gguf| {
        gguf.set(key, Value::U32(64));
        gguf.alignment = 64;
    });
    accepts(|gguf| gguf.remove(key));
}

#[test]
fn refuses_a_part_of_a_split_file() {
    assert_eq!(with("split.count", Value::U32(2)), GgufRefusal::Split { got: 2 });
    accepts(|gguf| gguf.set("split.count", Value::U32(1)));
}

#[test]
fn refuses_a_model_without_what_it_is_made_from() {
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.attention.head_count",
        "tokenizer.ggml.model",
        "tokenizer.ggml.tokens",
    ] {
        let refusal = refusal(|gguf| gguf.remove(key));
        assert_eq!(refusal, GgufRefusal::Missing { key: key.to_owned() });
    }
}

#[test]
fn refuses_numbers_that_are_out_of_bounds_or_no_integers() {
    let bounds = [
        ("llama.block_count", 1, 512),
        ("llama.context_length", 1, 1 << 24),
        ("llama.embedding_length", 1, 1 << 20),
        ("llama.attention.head_count", 1, 4_096),
        ("llama.expert_count", 0, 1_024),
        ("llama.attention.key_length", 1, 65_536),
        ("llama.attention.value_length", 1, 65_536),
    ];
    for (key, min, max) in bounds {
        for got in [min - 1, max + 1, i32::MIN.into()] {
            let number = Value::I32(i32::try_from(got).unwrap());
            let key = key.to_owned();
            assert_eq!(with(&key, number), GgufRefusal::OutOfRange { key, got, min, max });
        }
        let refusal = with(key, Value::F32(1.0));
        assert!(matches!(&refusal, GgufRefusal::KeyType { got: "f32", .. }), "{key}: {refusal}");
    }
    let key = "llama.attention.head_count_kv".to_owned();
    let refusal = with(&key, Value::U32(5));
    assert_eq!(refusal, GgufRefusal::OutOfRange { key, got: 5, min: 1, max: 4 });
    let key = "llama.expert_used_count".to_owned();
    let refusal = with(&key, Value::U32(1));
    assert_eq!(refusal, GgufRefusal::OutOfRange { key, got: 1, min: 0, max: 0 });
}

#[test]
fn heads_may_differ_by_layer_and_be_absent_in_some() {
    let key = "llama.attention.head_count_kv";
    let layers = |heads: &[u32]| Value::Array(U32, heads.iter().copied().map(Value::U32).collect());
    let model = accepts(|gguf| gguf.set(key, layers(&[0, 1])));
    assert_eq!(model.cache_bytes_per_token, (8 + 8) * 2, "the most of any layer");
    let of = |got, min, max| GgufRefusal::OutOfRange { key: key.to_owned(), got, min, max };
    assert_eq!(with(key, layers(&[0, 0])), of(0, 1, 4));
    assert_eq!(with(key, layers(&[1, 5])), of(5, 1, 4));
    assert_eq!(with(key, layers(&vec![1; 513])), of(513, 1, 512));
    let negative = Value::Array(I32, vec![Value::I32(-1), Value::I32(1)]);
    assert_eq!(with(key, negative), of(-1, 0, 4));
}

#[test]
fn refuses_an_architecture_that_is_no_plain_word() {
    for name in ["", "LLAMA", "a b", "a\0b", "\u{1b}[1m", "ž", &"x".repeat(129)] {
        assert_eq!(with("general.architecture", text(name)), GgufRefusal::Architecture, "{name}");
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

#[test]
fn refuses_byte_tokens_that_are_none() {
    let tokens = |token| texts(&["<unk>", "<s>", "</s>", token, "a", "b", "ab"]);
    for token in ["<0x-1>", "<0x+1>", "<0x 1>", "<0xZZ>", "<0x1g>", "<0x>>>"] {
        let refusal = with(TOKENS, tokens(token));
        assert_eq!(refusal, GgufRefusal::ByteToken { index: 3, got: token.to_owned() });
    }
    // Marked as a byte by its type.
    for token in ["<0x-100>", "<0x>", "x", "<0x0A"] {
        let refusal = with(TOKENS, tokens(token));
        assert_eq!(refusal, GgufRefusal::ByteTokenText { index: 3 }, "{token}");
    }
    accepts(|gguf| gguf.set(TOKENS, tokens("<0xff>")));
    // The types may come first.
    let types = [2, 3, 3, 6, 6, 1, 1].map(Value::I32).to_vec();
    let refusal = refusal(|gguf| {
        gguf.remove(TOKEN_TYPES);
        gguf.keys.insert(1, (TOKEN_TYPES.to_owned(), Value::Array(I32, types)));
    });
    assert_eq!(refusal, GgufRefusal::ByteTokenText { index: 4 });
}

#[test]
fn refuses_tokens_that_are_empty_or_long() {
    let refusal = with(TOKENS, texts(&["<unk>", ""]));
    assert_eq!(refusal, GgufRefusal::TokenLength { index: 1, got: 0, max: 1_024 });
    let refusal = with(TOKENS, texts(&[&"t".repeat(1_025)]));
    let (key, got, max) = (TOKENS.to_owned(), 1_025, 1_024);
    assert_eq!(refusal, GgufRefusal::StringLength { key, got, max });
    assert_eq!(with(TOKENS, texts(&[])), GgufRefusal::Missing { key: TOKENS.to_owned() });
}

#[test]
fn refuses_scores_and_types_that_are_not_one_for_each_token() {
    let length =
        |key: &str, got| GgufRefusal::VocabularyLength { key: key.to_owned(), got, expected: 7 };
    for len in [6, 8] {
        let scores = Value::Array(F32, vec![Value::F32(0.0); len]);
        assert_eq!(with(SCORES, scores), length(SCORES, len as u64));
        let types = Value::Array(I32, vec![Value::I32(1); len]);
        assert_eq!(with(TOKEN_TYPES, types), length(TOKEN_TYPES, len as u64));
    }
    let integers = || Value::Array(I32, vec![Value::I32(1); 7]);
    let mistyped = |refusal: &GgufRefusal| matches!(refusal, GgufRefusal::KeyType { .. });
    assert!(mistyped(&with(SCORES, integers())));
    assert!(mistyped(&with(TOKENS, integers())));
    assert!(mistyped(&with("tokenizer.ggml.merges", integers())));
    assert!(mistyped(&with(TOKEN_TYPES, Value::Array(F32, vec![Value::F32(1.0); 7]))));
    assert!(mistyped(&with("tokenizer.ggml.model", Value::U32(1))));
}

#[test]
fn refuses_token_types_and_scores_that_are_none() {
    for got in [-1, 7, i32::MAX] {
        let mut types = vec![Value::I32(6); 7];
        types[5] = Value::I32(got);
        let refusal = with(TOKEN_TYPES, Value::Array(I32, types));
        assert_eq!(refusal, GgufRefusal::TokenType { index: 5, got: got.into(), max: 6 });
    }
    let mut scores = vec![Value::F32(0.0); 7];
    scores[2] = Value::F32(f32::NAN);
    let refusal = with(SCORES, Value::Array(F32, scores));
    assert_eq!(refusal, GgufRefusal::ScoreNotANumber { index: 2 });
}

#[test]
fn refuses_special_tokens_outside_the_vocabulary() {
    let of = |key: &str, got| GgufRefusal::TokenId { key: key.to_owned(), got, tokens: 7 };
    for key in ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.fim_pad_token_id"] {
        assert_eq!(with(key, Value::U32(7)), of(key, 7));
        assert_eq!(with(key, Value::I32(-1)), of(key, -1));
        assert_eq!(with(key, Value::U32(u32::MAX)), of(key, u32::MAX.into()));
        accepts(|gguf| gguf.set(key, Value::U32(6)));
    }
    let key = "tokenizer.ggml.eog_token_ids";
    let ids = |ids: &[u32]| Value::Array(U32, ids.iter().copied().map(Value::U32).collect());
    assert_eq!(with(key, ids(&[2, 7])), of(key, 7));
    accepts(|gguf| gguf.set(key, ids(&[])));
    let refusal = with(key, text("2"));
    assert!(matches!(refusal, GgufRefusal::KeyType { .. }), "{refusal}");
}

#[test]
fn refuses_merges_and_chat_templates_that_are_too_long() {
    let key = "tokenizer.ggml.merges";
    let refusal = with(key, texts(&[&"m".repeat(2_050)]));
    let expected =
        |key: &str, got, max| GgufRefusal::StringLength { key: key.to_owned(), got, max };
    assert_eq!(refusal, expected(key, 2_050, 2_049));
    for key in ["tokenizer.chat_template", "tokenizer.chat_template.tool_use"] {
        let limit = 128 << 10;
        assert_eq!(with(key, text(&"{".repeat(limit + 1))), expected(key, 131_073, 131_072));
        accepts(|gguf| gguf.set(key, text(&"{".repeat(limit))));
        let refusal = with(key, Value::Text(vec![b'{', 0xff]));
        assert_eq!(refusal, GgufRefusal::NotUtf8 { key: key.to_owned() });
    }
}

#[test]
fn refuses_tensor_names_that_are_empty_long_doubled_or_not_printable() {
    let named = |name: &str| first_tensor(|tensor| tensor.name = name.to_owned());
    assert_eq!(named(""), GgufRefusal::TensorNameLength { got: 0, max: 63 });
    assert_eq!(named(&"n".repeat(64)), GgufRefusal::TensorNameLength { got: 64, max: 63 });
    assert_eq!(named("a\0b"), GgufRefusal::TensorNameCharacter { byte: 0 });
    let tensor = "output_norm.weight".to_owned();
    assert_eq!(named(&tensor), GgufRefusal::DuplicateTensor { tensor });
}

#[test]
fn refuses_shapes_that_are_none_or_whose_product_overflows() {
    let tensor = || EMBEDDING.to_owned();
    for count in [0, 5] {
        let refusal = first_tensor(|tensor| tensor.shape = vec![32; count]);
        let got = u32::try_from(count).unwrap();
        assert_eq!(refusal, GgufRefusal::Dimensions { tensor: tensor(), got, max: 4 });
    }
    let half = u64::MAX / 2;
    for (shape, got) in [
        (vec![32, 0], 0),
        (vec![u64::MAX], u64::MAX),
        (vec![half + 1], half + 1),
        (vec![half, 2], 2),
        (vec![1 << 32, 1 << 31], 1 << 31),
        (vec![1 << 16, 1 << 16, 1 << 16, 1 << 16], 1 << 16),
    ] {
        let refusal = first_tensor(|tensor| tensor.shape = shape);
        assert_eq!(refusal, GgufRefusal::DimensionSize { tensor: tensor(), got });
    }
    // 2^63 - 1 elements can be counted; their bytes cannot.
    let refusal = first_tensor(|tensor| (tensor.shape, tensor.kind) = (vec![half], 27));
    assert_eq!(refusal, GgufRefusal::TensorTooLarge { tensor: tensor() });
}

#[test]
fn refuses_types_that_are_unknown_or_withdrawn_and_rows_of_parts_of_blocks() {
    let tensor = || EMBEDDING.to_owned();
    for got in [4, 5, 31, 32, 33, 36, 37, 38, 43, u32::MAX] {
        let refusal = first_tensor(|tensor| tensor.kind = got);
        assert_eq!(refusal, GgufRefusal::TensorType { tensor: tensor(), got });
    }
    for (kind, block) in [(2, 32), (12, 256), (40, 64), (41, 128)] {
        let refusal = first_tensor(|tensor| (tensor.shape, tensor.kind) = (vec![33, 32], kind));
        assert_eq!(refusal, GgufRefusal::PartialBlock { tensor: tensor(), got: 33, block });
    }
}

#[test]
fn each_ggml_type_takes_as_many_bytes_as_in_ggml() {
    // type, elements and bytes of a block, from ggml.c and ggml-common.h
    let blocks = [
        (0, 1, 4),
        (1, 1, 2),
        (2, 32, 2 + 16),
        (3, 32, 4 + 16),
        (6, 32, 2 + 4 + 16),
        (7, 32, 4 + 4 + 16),
        (8, 32, 2 + 32),
        (9, 32, 4 + 32),
        (10, 256, 4 + 16 + 64),
        (11, 256, 2 + 64 + 32 + 12),
        (12, 256, 4 + 12 + 128),
        (13, 256, 4 + 12 + 128 + 32),
        (14, 256, 2 + 16 + 192),
        (15, 256, 4 + 256 + 32),
        (16, 256, 2 + 64),
        (17, 256, 2 + 64 + 8),
        (18, 256, 2 + 96),
        (19, 256, 2 + 32 + 16),
        (20, 32, 2 + 16),
        (21, 256, 2 + 104 + 4),
        (22, 256, 2 + 64 + 16),
        (23, 256, 2 + 2 + 4 + 128),
        (24, 1, 1),
        (25, 1, 2),
        (26, 1, 4),
        (27, 1, 8),
        (28, 1, 8),
        (29, 256, 32 + 16 + 8),
        (30, 1, 2),
        (34, 256, 2 + 4 + 48),
        (35, 256, 2 + 64),
        (39, 32, 1 + 16),
        (40, 64, 4 + 32),
        (41, 128, 2 + 16),
        (42, 64, 2 + 16),
    ];
    for (kind, elements, bytes) in blocks {
        accepts(|gguf| {
            let tensor = &mut gguf.tensors[0];
            (tensor.shape, tensor.kind, tensor.bytes) = (vec![elements, 3], kind, 3 * bytes);
        });
    }
}

#[test]
fn refuses_data_past_the_end_of_the_file() {
    let file = Gguf::valid().write().len() as u64;
    let refusal = first_tensor(|tensor| tensor.offset = Some(1 << 40));
    let GgufRefusal::TensorPastEnd { tensor, end, file_len } = refusal else { panic!("{refusal}") };
    assert_eq!((tensor.as_str(), file_len), (EMBEDDING, file));
    assert!(end > 1 << 40, "{end}");
    // A size that the file does not have.
    let refusal = first_tensor(|tensor| tensor.shape = vec![32, 1 << 20]);
    assert!(matches!(refusal, GgufRefusal::TensorPastEnd { .. }), "{refusal}");
    let refusal = first_tensor(|tensor| tensor.offset = Some(u64::MAX - 31));
    assert!(matches!(refusal, GgufRefusal::TensorPastEnd { end: u64::MAX, .. }), "{refusal}");
}

#[test]
fn refuses_data_that_is_not_aligned_overlaps_or_leaves_a_gap() {
    let second = |offset| refusal(|gguf| gguf.tensors[1].offset = Some(offset));
    let tensor = || "blk.0.attn_q.weight".to_owned();
    let (got, expected, alignment) = (32, 448, 32);
    assert_eq!(second(8), GgufRefusal::TensorUnaligned { tensor: tensor(), got: 8, alignment });
    assert_eq!(second(got), GgufRefusal::TensorOverlap { tensor: tensor(), got, expected });
    let got = 480;
    assert_eq!(second(got), GgufRefusal::TensorGap { tensor: tensor(), got, expected });
}

#[test]
fn refuses_bytes_after_the_last_tensor() {
    for tail in [1, 32, 4_096] {
        let mut gguf = Gguf::valid();
        gguf.tail = tail;
        let file = gguf.write();
        let (got, expected) = (file.len() as u64, (file.len() - tail) as u64);
        let refusal = refusal(|gguf| gguf.tail = tail);
        assert_eq!(refusal, GgufRefusal::TrailingBytes { got, expected });
    }
    // The padding behind the last tensor may be there or not.
    let mut gguf = Gguf::valid();
    (gguf.tensors[2].shape, gguf.tensors[2].bytes) = (vec![3], 12);
    let file = gguf.write();
    check(&file).unwrap();
    check(&file[..file.len() - 20]).unwrap();
}

#[test]
fn a_message_names_place_value_and_bound() {
    let mut gguf = Gguf::valid();
    gguf.set("llama.block_count", Value::U32(0));
    let at = gguf.offset_of("llama.block_count");
    let error = check(&gguf.write()).unwrap_err().to_string();
    assert_eq!(error, format!("at byte {at}: `llama.block_count` is 0, expected 1 to 512"));
}

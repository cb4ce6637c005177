use proptest::prelude::*;

use super::plain::{PLAIN_PREFIX_LEN, PlainError, UnknownMethod};
use super::*;
use crate::frames::FrameClass;
use crate::ids::Amount;
use crate::refusal::Code;
use crate::testing::fixture::{self, BODY, bundle, epoch_key, plain};
use crate::testing::{Edit, Seeded};

fn seal(body: &[u8]) -> Vec<u8> {
    let plain = plain(FrameClass::Std, body);
    seal_request(&bundle(), &plain, &mut Seeded::new("client")).unwrap().0
}

fn open(request: &[u8]) -> Result<RequestPlain, OpenError> {
    open_request(&epoch_key(), &bundle(), request).map(|opened| opened.plain)
}

pub(crate) fn padded() -> Vec<u8> {
    let (_, ephemeral_pk) = suite::generate(&mut Seeded::new("client"));
    plain(FrameClass::Std, BODY).encode(&ephemeral_pk).unwrap().to_vec()
}

/// Every rule of the sealed form with one edit of the valid request that breaks it.
pub(crate) fn wire_cases() -> Vec<(&'static str, Edit, OpenError)> {
    let set = |at: usize, bytes: &[u8]| Edit::Set(at, bytes.to_vec());
    let key_id = bundle().key_id();
    let mut other_key_id = key_id;
    other_key_id[0] ^= 1;
    vec![
        ("empty", Edit::Cut(0), OpenError::Length(0)),
        ("header only", Edit::Cut(16), OpenError::Length(16)),
        ("one byte short", Edit::Cut(5247), OpenError::Length(5247)),
        ("trailing byte", Edit::Append(vec![0]), OpenError::Length(5249)),
        ("version", set(0, &[2]), OpenError::Version(2)),
        ("flags", set(1, &[1]), OpenError::Flags(1)),
        ("key id", set(2, &other_key_id), OpenError::KeyId { expected: key_id, got: other_key_id }),
        ("kem", set(10, &[0, 0x20]), OpenError::Suite([0, 0x20, 0, 1, 0, 2])),
        ("kdf", set(12, &[0, 3]), OpenError::Suite([0x64, 0x7a, 0, 3, 0, 2])),
        ("aead", set(14, &[0, 1]), OpenError::Suite([0x64, 0x7a, 0, 1, 0, 1])),
        ("ML-KEM part of the encapsulation", set(16, &[0, 0]), OpenError::Chunk(0)),
        ("X25519 part of the encapsulation", set(1104, &[0, 0]), OpenError::Chunk(0)),
        ("cipher text", set(1136, &[0, 0]), OpenError::Chunk(0)),
        ("tag", set(5246, &[0, 0]), OpenError::Chunk(0)),
    ]
}

/// Every rule of the plain text with one edit of the valid one that breaks it.
pub(crate) fn plain_cases() -> Vec<(&'static str, Edit, PlainError)> {
    let set = |at: usize, bytes: &[u8]| Edit::Set(at, bytes.to_vec());
    let too_much = (Amount::MAX.value() + 1).to_be_bytes();
    vec![
        ("bucket not a power of two", Edit::Cut(4095), PlainError::Bucket(4095)),
        ("bucket too small", Edit::Cut(2048), PlainError::Bucket(2048)),
        ("unknown class", set(1232, &[0]), PlainError::UnknownClass(0)),
        ("epoch above u24", set(1285, &[1, 0, 0, 0]), PlainError::Epoch(1 << 24)),
        ("cap above u96", set(1289, &too_much), PlainError::Amount),
        ("allocation flag", set(1401, &[2]), PlainError::AllocationFlag(2)),
        ("allocation fields without flag", set(1401, &[0]), PlainError::AllocationFields),
        ("total above u96", set(1402, &too_much), PlainError::Amount),
        (
            "deadline above u40",
            set(1418, &(1u64 << 40).to_be_bytes()),
            PlainError::Deadline(1 << 40),
        ),
        ("method 0", set(1490, &[0, 0]), PlainError::Method(UnknownMethod(0))),
        ("method 6", set(1490, &[0, 6]), PlainError::Method(UnknownMethod(6))),
        (
            "body longer than the bucket",
            set(1492, &2601u32.to_be_bytes()),
            PlainError::BodyLength { max: 2600, got: 2601 },
        ),
        ("padding", set(4095, &[1]), PlainError::Padding),
    ]
}

#[test]
fn rejects_each_broken_rule_of_the_wire() {
    let valid = seal(BODY);
    for (name, edit, expected) in wire_cases() {
        assert_eq!(open(&edit.apply(&valid)), Err(expected), "{name}");
    }
}

#[test]
fn rejects_each_broken_rule_of_the_plain_text() {
    let valid = padded();
    for (name, edit, expected) in plain_cases() {
        let result = RequestPlain::decode(&edit.apply(&valid)).map(|(plain, _)| plain);
        assert_eq!(result, Err(expected), "{name}");
    }
}

#[test]
fn opens_what_was_sealed_in_every_shape() {
    for (len, wire) in [(0, 5_248), (2_600, 5_248), (2_601, 9_344), (40_000, 66_736)] {
        let body: Vec<u8> = (0..=250).cycle().take(len).collect();
        let request = seal(&body);
        assert_eq!(request.len(), wire);
        assert_eq!(open(&request), Ok(plain(FrameClass::Std, &body)));
    }
}

#[test]
fn opens_a_request_without_allocation() {
    let plain = RequestPlain {
        payment: fixture::payment(),
        method: Method::Completion,
        ..plain(FrameClass::Fast, BODY)
    };
    let request = seal_request(&bundle(), &plain, &mut Seeded::new("client")).unwrap().0;
    assert_eq!(open(&request), Ok(plain));
}

#[test]
fn largest_body_fits_and_one_more_byte_does_not() {
    let largest = seal(&vec![b'x'; BODY_MAX_LEN]);
    assert_eq!(largest.len(), REQUEST_MAX_LEN);
    assert_eq!(open(&largest).unwrap().body.len(), BODY_MAX_LEN);
    let plain = plain(FrameClass::Std, &vec![b'x'; BODY_MAX_LEN + 1]);
    let result = seal_request(&bundle(), &plain, &mut Seeded::new("client"));
    let expected = SealError::BodyTooLarge { max: BODY_MAX_LEN, got: BODY_MAX_LEN + 1 };
    assert_eq!(result.unwrap_err(), expected);
}

#[test]
fn rejects_oversize_before_looking_at_anything_else() {
    let got = REQUEST_MAX_LEN + 1;
    let expected = OpenError::TooLarge { max: REQUEST_MAX_LEN, got };
    assert_eq!(peek_key_id(&vec![0xff; got]), Err(expected.clone()));
    assert_eq!(expected.code(), Code::RequestTooLarge);
}

#[test]
fn rejects_reordered_chunks() {
    let request = seal(&vec![b'x'; 40_000]);
    let sealed = CHUNK_LEN + suite::TAG_LEN;
    let start = HEADER_LEN + ENC_LEN;
    let mut swapped = request.clone();
    swapped[start..start + sealed].copy_from_slice(&request[start + sealed..start + 2 * sealed]);
    swapped[start + sealed..start + 2 * sealed].copy_from_slice(&request[start..start + sealed]);
    assert_eq!(open(&swapped), Err(OpenError::Chunk(0)));
}

#[test]
fn rejects_request_cut_at_a_chunk_border_though_the_length_is_a_bucket() {
    // 65,536 B are four chunks, 32,768 B two: what is left has a valid length, but its last
    // chunk was not sealed as the final one.
    let request = seal(&vec![b'x'; 40_000]);
    let cut = HEADER_LEN + ENC_LEN + 2 * (CHUNK_LEN + suite::TAG_LEN);
    assert_eq!(open(&request[..cut]), Err(OpenError::Chunk(1)));
}

#[test]
fn rejects_request_sealed_to_another_epoch() {
    let request = seal(BODY);
    let other = EpochKey::generate(&mut Seeded::new("other epoch"));
    let error = open_request(&other, &bundle(), &request).unwrap_err();
    assert_eq!(error, OpenError::Chunk(0));
}

#[test]
fn rejects_class_that_the_pod_does_not_serve() {
    let mut fields = fixture::key_bundle();
    fields.classes = vec![FrameClass::Fast];
    let bundle = fields.sign(&fixture::signer("identity"));
    let plain = plain(FrameClass::Std, BODY);
    let error = seal_request(&bundle, &plain, &mut Seeded::new("client")).unwrap_err();
    assert_eq!(error, SealError::ClassNotServed(FrameClass::Std));

    // A client that does not check: sealed to the same key under a bundle with only one class.
    let request = crate::interop::seal_padded_to(&bundle, &padded());
    let error = open_request(&epoch_key(), &bundle, &request).unwrap_err();
    assert_eq!(error, OpenError::ClassNotServed(FrameClass::Std));
    assert_eq!(error.code(), Code::MalformedRequest);
}

#[test]
fn errors_map_to_the_refusals_of_the_page() {
    let key_id = OpenError::KeyId { expected: [0; 8], got: [1; 8] };
    assert_eq!(key_id.code(), Code::UnknownKey);
    for error in [
        OpenError::Length(1),
        OpenError::Version(2),
        OpenError::Flags(1),
        OpenError::Suite([0; 6]),
        OpenError::Chunk(0),
        OpenError::Plain(PlainError::Padding),
    ] {
        assert_eq!(error.code(), Code::MalformedRequest, "{error}");
    }
}

#[test]
fn peek_and_fingerprint_read_the_header_and_the_encapsulation() {
    let request = seal(BODY);
    assert_eq!(peek_key_id(&request), Ok(bundle().key_id()));
    assert_eq!(enc_fingerprint(&request), crate::hash::sha256(&request[16..1136])[..16]);
    let mut other_text = request.clone();
    other_text[2000] ^= 1;
    assert_eq!(enc_fingerprint(&other_text), enc_fingerprint(&request));
}

#[test]
fn debug_forms_show_no_prompt_and_no_voucher() {
    let plain = plain(FrameClass::Std, b"secret prompt");
    let shown = format!("{plain:?} {:?} {:?}", plain.payment, epoch_key());
    assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
    assert!(!shown.contains(&hex::encode(plain.payment.voucher_sig.0)), "{shown}");
    assert!(shown.ends_with("EpochKey(…)"), "{shown}");
}

#[test]
fn prefix_length_is_that_of_the_page() {
    assert_eq!(PLAIN_PREFIX_LEN, 1216 + 16 + 1 + 32 + 20 + 4 + 16 + 64 + 32 + 89 + 2 + 4);
    assert_eq!(REQUEST_MAX_LEN, 16 + 1120 + 2_097_152 + 128 * 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_body_round_trips(body in prop::collection::vec(any::<u8>(), 0..20_000)) {
        prop_assert_eq!(open(&seal(&body)), Ok(plain(FrameClass::Std, &body)));
    }

    #[test]
    fn any_changed_byte_is_refused(at in 0usize..5248, flip in 1u8..) {
        let mut request = seal(BODY);
        request[at] ^= flip;
        prop_assert!(open(&request).is_err(), "byte {at}");
    }

    #[test]
    fn plain_text_parser_never_panics(
        edits in prop::collection::vec((0usize..4096, any::<u8>()), 0..40),
    ) {
        let mut bytes = padded();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        let _ = RequestPlain::decode(&bytes);
    }

    #[test]
    fn opener_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..6_000)) {
        prop_assert!(open(&bytes).is_err());
    }
}

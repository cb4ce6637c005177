use proptest::prelude::*;

use super::*;
use crate::testing::fixture::{NOT_BEFORE_UNIX_S, bundle, key_bundle, signer};
use crate::testing::{Edit, fixture};

/// Every rule of decoding with one edit of the valid bundle that breaks it.
pub(crate) fn cases() -> Vec<(&'static str, Edit, BundleError)> {
    let set = |at: usize, bytes: &[u8]| Edit::Set(at, bytes.to_vec());
    vec![
        ("cut", Edit::Cut(1500), BundleError::Size { expected: 1585, got: 1500 }),
        ("empty", Edit::Cut(0), BundleError::Size { expected: 1585, got: 0 }),
        ("trailing byte", Edit::Append(vec![0]), BundleError::Size { expected: 1588, got: 1589 }),
        ("magic", set(0, b"PHKC"), BundleError::Magic(*b"PHKC")),
        ("version", set(4, &[2]), BundleError::Version(2)),
        ("kem", set(5, &[0, 0x20]), BundleError::Suite([0, 0x20, 0, 1, 0, 2])),
        ("kdf", set(7, &[0, 3]), BundleError::Suite([0x64, 0x7a, 0, 3, 0, 2])),
        ("aead", set(9, &[0, 1]), BundleError::Suite([0x64, 0x7a, 0, 1, 0, 1])),
        ("class count", set(1519, &[3]), BundleError::Size { expected: 1587, got: 1588 }),
        ("classes descending", set(1520, &[2, 1]), BundleError::Classes(vec![2, 1, 3, 4])),
        ("class twice", set(1520, &[1, 1]), BundleError::Classes(vec![1, 1, 3, 4])),
        ("unknown class", set(1523, &[5]), BundleError::UnknownClass(5)),
        (
            "signature out of range",
            set(1524, &[0; 64]),
            BundleError::Signature(SignatureError::OutOfRange),
        ),
    ]
}

#[test]
fn rejects_each_broken_rule() {
    let valid = bundle();
    for (name, edit, expected) in cases() {
        assert_eq!(SignedBundle::decode(&edit.apply(valid.bytes())), Err(expected), "{name}");
    }
}

#[test]
fn decodes_what_was_signed() {
    let signed = bundle();
    let decoded = SignedBundle::decode(signed.bytes()).unwrap();
    assert_eq!(decoded, signed);
    assert_eq!(decoded.bundle(), &key_bundle());
    assert_eq!(decoded.bytes().len(), BUNDLE_MAX_LEN);
    assert_eq!(decoded.key_id(), decoded.hash().0[..8]);
}

#[test]
fn decodes_a_bundle_of_one_class() {
    let one = KeyBundle { classes: vec![FrameClass::Bulk], ..key_bundle() };
    let signed = one.clone().sign(&signer("identity"));
    assert_eq!(signed.bytes().len(), BUNDLE_MIN_LEN);
    assert_eq!(SignedBundle::decode(signed.bytes()).unwrap().bundle(), &one);
}

#[test]
fn rejects_bundle_without_class() {
    let none = KeyBundle { classes: vec![], ..key_bundle() }.sign(&signer("identity"));
    let expected = BundleError::Size { expected: 1585, got: 1584 };
    assert_eq!(SignedBundle::decode(none.bytes()), Err(expected));
}

#[test]
fn rejects_signature_of_another_key() {
    let stranger = signer("stranger");
    let signed = key_bundle().sign(&stranger);
    let expected =
        BundleError::Signer { identity: key_bundle().identity, signer: stranger.address() };
    assert_eq!(SignedBundle::decode(signed.bytes()), Err(expected));
}

#[test]
fn rejects_public_key_outside_the_field() {
    // The first coefficient of ML-KEM's encoding becomes 0xfff, above q = 3329.
    let mut xwing_pk = key_bundle().xwing_pk;
    xwing_pk[..2].fill(0xff);
    let signed = KeyBundle { xwing_pk, ..key_bundle() }.sign(&signer("identity"));
    assert_eq!(SignedBundle::decode(signed.bytes()), Err(BundleError::PublicKey));
}

#[test]
fn window_has_120_s_of_tolerance_and_not_one_more() {
    let (start, end) = (NOT_BEFORE_UNIX_S, NOT_BEFORE_UNIX_S + 900);
    let check = |now| bundle().check_window(now);
    assert_eq!(check(start - 120), Ok(()));
    assert_eq!(check(end + 120), Ok(()));
    assert_eq!(
        check(start - 121),
        Err(BundleError::NotYetValid { not_before_unix_s: start, now_unix_s: start - 121 })
    );
    assert_eq!(
        check(end + 121),
        Err(BundleError::Expired { not_after_unix_s: end, now_unix_s: end + 121 })
    );
}

#[test]
fn rejects_window_that_is_empty_backward_or_too_long() {
    for end in [NOT_BEFORE_UNIX_S, NOT_BEFORE_UNIX_S - 1, NOT_BEFORE_UNIX_S + 901] {
        let signed = KeyBundle { not_after_unix_s: end, ..key_bundle() }.sign(&signer("identity"));
        let expected =
            BundleError::Window { not_before_unix_s: NOT_BEFORE_UNIX_S, not_after_unix_s: end };
        assert_eq!(signed.check_window(NOT_BEFORE_UNIX_S), Err(expected));
    }
}

#[test]
fn rejects_bundle_of_another_pod_chain_or_identity() {
    let KeyBundle { chain_id, registry, escrow, pod_id, identity, .. } = key_bundle();
    let expected = BundleExpectation { chain_id, registry, escrow, pod_id, identity };
    let check = |expected| bundle().check_expectation(&expected);
    assert_eq!(check(expected), Ok(()));
    let other = fixture::address("other");
    let cases = [
        (BundleExpectation { chain_id: 1, ..expected }, "chain id"),
        (BundleExpectation { registry: other, ..expected }, "registry"),
        (BundleExpectation { escrow: other, ..expected }, "escrow"),
        (BundleExpectation { pod_id: PodId([0; 32]), ..expected }, "pod id"),
        (BundleExpectation { identity: other, ..expected }, "identity"),
    ];
    for (wrong, name) in cases {
        assert_eq!(check(wrong), Err(BundleError::Mismatch(name)));
    }
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..1700)) {
        prop_assert!(SignedBundle::decode(&bytes).is_err());
    }

    #[test]
    fn any_changed_byte_is_refused(at in 0usize..1588, flip in 1u8..) {
        let mut bytes = bundle().bytes().to_vec();
        bytes[at] ^= flip;
        prop_assert!(SignedBundle::decode(&bytes).is_err(), "byte {at}");
    }
}

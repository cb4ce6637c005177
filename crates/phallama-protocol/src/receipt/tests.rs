use proptest::prelude::*;

use super::*;
use crate::testing::Edit;
use crate::testing::fixture::{self, digest, domain, signer};

pub(crate) fn signed() -> SignedReceipt {
    fixture::receipt(digest("commitment"), digest("chain"), 2, Finish::Stop)
        .sign(&signer("identity"), &domain())
}

/// Every rule of decoding with one edit of the valid receipt that breaks it.
pub(crate) fn decode_cases() -> Vec<(&'static str, Edit, DecodeError)> {
    let set = |at: usize, bytes: &[u8]| Edit::Set(at, bytes.to_vec());
    let too_much = (1u128 << 96).to_be_bytes();
    let size = |got| DecodeError::Size { expected: SIGNED_RECEIPT_LEN, got };
    vec![
        ("empty", Edit::Cut(0), size(0)),
        ("without signature", Edit::Cut(378), size(378)),
        ("trailing byte", Edit::Append(vec![0]), size(443)),
        ("version", set(0, &[2]), DecodeError::Version(2)),
        ("epoch above u24", set(85, &[1, 0, 0, 0]), DecodeError::Epoch(1 << 24)),
        ("cumulative above u96", set(97, &too_much), DecodeError::Amount),
        ("cost above u96", set(113, &too_much), DecodeError::Amount),
        ("input price above u96", set(337, &too_much), DecodeError::Amount),
        ("output price above u96", set(353, &too_much), DecodeError::Amount),
        ("finish 0", set(377, &[0]), DecodeError::Finish(0)),
        ("finish 6", set(377, &[6]), DecodeError::Finish(6)),
    ]
}

/// Every step of the client's checklist with one change that breaks it; signed again, so that
/// nothing but the step fails.
pub(crate) fn check_cases() -> Vec<(&'static str, Receipt, ReceiptError)> {
    let valid = signed().receipt;
    let change = |name: &'static str, edit: fn(&mut Receipt), error: ReceiptError| {
        let mut receipt = valid.clone();
        edit(&mut receipt);
        (name, receipt, error)
    };
    let mismatch = |name, edit| change(name, edit, ReceiptError::Mismatch(name));
    let amount = Amount::from;
    vec![
        mismatch("pod id", |r| r.pod_id = PodId([1; 32])),
        mismatch("identity", |r| r.identity = Address([1; 20])),
        mismatch("channel", |r| r.channel = digest("other")),
        mismatch("epoch", |r| r.epoch += 1),
        mismatch("measurement", |r| r.measurement = digest("other")),
        mismatch("evidence hash", |r| r.evidence_hash = digest("other")),
        mismatch("terms hash", |r| r.terms_hash = digest("other")),
        mismatch("model digest", |r| r.model_digest = digest("other")),
        mismatch("input price", |r| r.input_price_per_mtok = Amount::from(1)),
        mismatch("output price", |r| r.output_price_per_mtok = Amount::from(1)),
        mismatch("request commitment", |r| r.request_commitment = digest("other")),
        mismatch("data chain", |r| r.data_chain = digest("other")),
        mismatch("number of DATA frames", |r| r.data_frames += 1),
        change(
            "cost above its tokens",
            |r| r.cost = Amount::from(5),
            ReceiptError::Cost { expected: Some(amount(4)), got: amount(5) },
        ),
        change(
            "cost below its tokens",
            |r| r.cost = Amount::from(3),
            ReceiptError::Cost { expected: Some(amount(4)), got: amount(3) },
        ),
        change(
            "cost above the reserve",
            |r| {
                r.completion_tokens = 100;
                r.cost = Amount::from(22);
            },
            ReceiptError::AboveReserve { reserve: amount(20), got: amount(22) },
        ),
        change(
            "cumulative above the highest cap",
            |r| r.cumulative = Amount::from(1_250_001),
            ReceiptError::AboveCap { cap: amount(1_250_000), got: amount(1_250_001) },
        ),
        change(
            "cumulative below the record and the cost",
            |r| r.cumulative = Amount::from(1_000_003),
            ReceiptError::BelowRecord { least: amount(1_000_004), got: amount(1_000_003) },
        ),
    ]
}

fn check(signed: &SignedReceipt) -> Result<(), ReceiptError> {
    signed.check(&fixture::expectation(&self::signed().receipt), &domain())
}

#[test]
fn accepts_the_valid_receipt_and_the_limits() {
    assert_eq!(check(&signed()), Ok(()));
    let at_the_cap = Receipt { cumulative: Amount::from(1_250_000), ..signed().receipt };
    assert_eq!(check(&at_the_cap.sign(&signer("identity"), &domain())), Ok(()));
}

#[test]
fn rejects_each_broken_rule_of_decoding() {
    let valid = signed().encode();
    for (name, edit, expected) in decode_cases() {
        assert_eq!(SignedReceipt::decode(&edit.apply(&valid)), Err(expected), "{name}");
    }
}

#[test]
fn rejects_each_broken_step_of_the_checklist() {
    for (name, receipt, expected) in check_cases() {
        let signed = receipt.sign(&signer("identity"), &domain());
        assert_eq!(check(&signed), Err(expected), "{name}");
    }
}

#[test]
fn rejects_signature_of_another_key_or_for_another_domain() {
    let stranger = signer("stranger");
    let forged = signed().receipt.sign(&stranger, &domain());
    let identity = signer("identity").address();
    let expected = ReceiptError::Signer { identity, signer: stranger.address() };
    assert_eq!(check(&forged), Err(expected));

    let elsewhere = Domain { chain_id: 1, ..domain() };
    let other_chain = signed().receipt.sign(&signer("identity"), &elsewhere);
    let Err(ReceiptError::Signer { identity: named, .. }) = check(&other_chain) else {
        panic!("a receipt for another chain must not count");
    };
    assert_eq!(named, identity);
}

#[test]
fn rejects_malformed_signature() {
    let broken = SignedReceipt { signature: Signature([0; 64]), ..signed() };
    assert_eq!(check(&broken), Err(ReceiptError::Signature(SignatureError::OutOfRange)));
}

#[test]
fn cost_that_no_amount_can_hold_is_refused() {
    let mut receipt = signed().receipt;
    receipt.prompt_tokens = u32::MAX;
    receipt.input_price_per_mtok = Amount::MAX;
    let signed = receipt.clone().sign(&signer("identity"), &domain());
    let expected = fixture::expectation(&receipt);
    assert_eq!(
        signed.check(&expected, &domain()),
        Err(ReceiptError::Cost { expected: None, got: Amount::from(4) })
    );
}

#[test]
fn settlement_carries_the_receipt() {
    let receipt = signed().receipt;
    let settlement = receipt.settlement();
    assert_eq!(settlement.receipt_hash, receipt.hash());
    assert_eq!(
        (settlement.channel, settlement.epoch, settlement.seq, settlement.cumulative),
        (receipt.channel, receipt.epoch, receipt.seq, receipt.cumulative)
    );
}

proptest! {
    #[test]
    fn any_bytes_that_decode_encode_to_themselves(
        edits in prop::collection::vec((0usize..442, any::<u8>()), 0..20),
    ) {
        let mut bytes = signed().encode();
        for (at, byte) in edits {
            bytes[at] = byte;
        }
        if let Ok(decoded) = SignedReceipt::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }

    #[test]
    fn any_changed_byte_is_refused(at in 0usize..442, flip in 1u8..) {
        let mut bytes = signed().encode();
        bytes[at] ^= flip;
        let accepted = SignedReceipt::decode(&bytes).is_ok_and(|signed| check(&signed).is_ok());
        prop_assert!(!accepted, "byte {at}");
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(SignedReceipt::decode(&bytes).is_err() || bytes.len() == 442);
    }
}

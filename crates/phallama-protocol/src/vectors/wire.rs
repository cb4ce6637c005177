//! `valid/wire.json`, `invalid/wire.json`.

use serde_json::{Value, json};

use super::{RNG, check_committed, edits, error_name};
use crate::events::{EventDecoder, EventError};
use crate::frames::tests::{answer, cases as answer_cases, read};
use crate::frames::{FrameClass, ladder};
use crate::ids::Amount;
use crate::refusal::{Code, PodError};
use crate::request::{enc_fingerprint, tests as request};
use crate::testing::Seeded;
use crate::testing::fixture::{self, BODY, bundle, event_bytes};
use crate::{bundle::tests as bundle_tests, refusal::tests as refusal};

/// A frame without the zeros that fill it.
fn trimmed(frame: &[u8]) -> String {
    let len = frame.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    hex::encode(&frame[..len])
}

fn bundle_vector() -> Value {
    let signed = bundle();
    let b = signed.bundle();
    json!({
        "signer": "identity",
        "xwing_key": "epoch key",
        "chain_id": b.chain_id,
        "registry": b.registry,
        "escrow": b.escrow,
        "pod_id": b.pod_id,
        "identity": b.identity,
        "epoch_id": b.epoch_id,
        "not_before_unix_s": b.not_before_unix_s,
        "not_after_unix_s": b.not_after_unix_s,
        "block_seen": b.block_seen,
        "evidence_hash": b.evidence_hash,
        "measurement": b.measurement,
        "model_set_root": b.model_set_root,
        "offers_hash": b.offers_hash,
        "policy_digest": b.policy_digest,
        "classes": b.classes.iter().map(|class| class.id()).collect::<Vec<_>>(),
        "bytes": hex::encode(signed.bytes()),
        "hash": signed.hash(),
        "key_id": hex::encode(signed.key_id()),
    })
}

fn request_vector() -> Value {
    let (wire, client, _) = fixture::exchange(FrameClass::Std);
    let plain = fixture::plain(FrameClass::Std, BODY);
    let payment = &plain.payment;
    let grant = payment.allocation.unwrap();
    json!({
        "comment": "Generator 'client' yields the ephemeral key pair, then the encapsulation. \
                    plain is filled with zeros to 4096 B.",
        "request_id": plain.request_id,
        "class": plain.class.id(),
        "salt": hex::encode(plain.salt),
        "user": payment.user,
        "epoch": payment.epoch,
        "cap": payment.cap,
        "voucher_sig": payment.voucher_sig,
        "terms_hash": payment.terms_hash,
        "allocation": {
            "total": grant.total,
            "deadline_unix_s": grant.deadline_unix_s,
            "signature": grant.signature,
        },
        "method": plain.method.id(),
        "body": String::from_utf8(plain.body).unwrap(),
        "plain": trimmed(&request::padded()),
        "wire": hex::encode(&wire),
        "request_hash": client.request_hash(),
        "request_commitment": client.request_commitment(),
        "enc_fingerprint": hex::encode(enc_fingerprint(&wire)),
    })
}

fn response_vector() -> Value {
    let (_, client, server) = fixture::exchange(FrameClass::Std);
    let (mut wire, mut sealer) =
        server.respond(FrameClass::Std, &mut Seeded::new("server")).unwrap();
    for frame in answer() {
        wire.extend(sealer.seal_raw(&frame));
    }
    let mut opener = client.opener();
    opener.push(&wire).unwrap();
    assert_eq!(opener.finish(), Ok(()));
    json!({
        "comment": "Generator 'server' yields the encapsulation. Each frame is filled with zeros \
                    to 256 B before it is sealed.",
        "frames": answer().iter().map(|frame| trimmed(frame)).collect::<Vec<_>>(),
        "events": hex::encode(event_bytes()),
        "data_chain": opener.data_chain(),
        "data_frames": opener.data_frames(),
        "wire": hex::encode(wire),
    })
}

#[test]
fn valid_exchange_is_committed() {
    let error = PodError {
        code: Code::CapTooLow,
        retry_after_ms: 0,
        cumulative: Amount::from(1_000_004),
        message: "cap 1 is below 5".into(),
    };
    let rungs: Vec<_> = (0..12)
        .scan(0, |frames, _| {
            let rung = ladder::next_rung(*frames);
            *frames = rung + 1;
            Some(rung)
        })
        .collect();
    let computed = json!({
        "comment": "One exchange of class std. Hexadecimal without 0x is bytes; amounts are decimal \
                    strings.",
        "generator": RNG,
        "bundle": bundle_vector(),
        "request": request_vector(),
        "response": response_vector(),
        "refusal": {
            "code": refusal::refusal().code.as_u16(),
            "retry_after_ms": refusal::refusal().retry_after_ms,
            "bytes": hex::encode(refusal::refusal().encode()),
        },
        "error": {
            "code": error.code.as_u16(),
            "retry_after_ms": error.retry_after_ms,
            "cumulative": error.cumulative,
            "message": error.message,
            "bytes": hex::encode(error.encode()),
        },
        "ladder": rungs,
    });
    check_committed("valid/wire.json", &computed);
}

fn event_cases() -> Vec<(&'static str, Vec<u8>, EventError)> {
    vec![
        ("unknown tag", vec![9], EventError::UnknownTag(9)),
        ("tag 0", vec![0], EventError::UnknownTag(0)),
        ("no payload", vec![1, 0, 0], EventError::Empty(1)),
        ("not UTF-8", vec![2, 0, 1, 0xff], EventError::NotUtf8(2)),
        ("short timings", vec![5, 0, 1, 0], EventError::TimingsLength(1)),
        ("a choice without end", vec![6, 0, 0], EventError::ChoiceLength(0)),
        ("a choice cancelled", vec![6, 0, 1, 4], EventError::ChoiceFinish(4)),
        ("a cut embedding", vec![7, 0, 3, 1, 2, 3], EventError::WordsLength { tag: 7, got: 3 }),
        ("no tokens", vec![8, 0, 0], EventError::Empty(8)),
    ]
}

/// The cases of the answer; a frame that is one of the valid answer's is its index.
fn responses() -> Vec<Value> {
    let valid = answer();
    answer_cases()
        .into_iter()
        .map(|(name, frames, error)| {
            assert_eq!(read(&frames), Err(error.clone()), "{name}");
            let frames: Vec<_> = frames
                .iter()
                .map(|frame| match valid.iter().position(|known| known == frame) {
                    Some(index) => json!(index),
                    None => json!(trimmed(frame)),
                })
                .collect();
            json!({"name": name, "frames": frames, "error": error_name(&error)})
        })
        .collect()
}

#[test]
fn invalid_messages_are_committed() {
    let events: Vec<_> = event_cases()
        .into_iter()
        .map(|(name, bytes, error)| {
            assert_eq!(EventDecoder::default().push(&bytes), Err(error));
            json!({"name": name, "bytes": hex::encode(bytes), "error": error_name(&error)})
        })
        .collect();
    let computed = json!({
        "comment": "bundle, request, request_plain, refusal: edits of the valid bytes (request_plain \
                    filled with zeros to 4096 B). response: frames before sealing, a number is that \
                    frame of the valid answer. events: event streams. Each breaks one rule; error: \
                    variants of the Rust error, outermost first.",
        "bundle": edits(&bundle_tests::cases()),
        "request": edits(&request::wire_cases()),
        "request_plain": edits(&request::plain_cases()),
        "response": responses(),
        "events": events,
        "refusal": edits(&refusal::cases()),
    });
    check_committed("invalid/wire.json", &computed);
}

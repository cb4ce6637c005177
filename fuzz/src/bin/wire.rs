//! Everything of `phallama-protocol` that is read from strangers in the open: key bundles,
//! receipts, refusals, errors, event streams and the link between host and enclave. The first byte
//! chooses the parser. What parses must encode to the same bytes again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phallama_protocol::bundle::{BundleExpectation, SignedBundle};
use phallama_protocol::events::EventDecoder;
use phallama_protocol::link::{self, Control, Decoder, Frame};
use phallama_protocol::receipt::SignedReceipt;
use phallama_protocol::refusal::{PodError, Refusal};
use phallama_protocol::request;

fuzz_target!(|data: &[u8]| {
    let Some((parser, bytes)) = data.split_first() else { return };
    match parser % 7 {
        0 => bundle(bytes),
        1 => receipt(bytes),
        2 => refusal(bytes),
        3 => pod_error(bytes),
        4 => events(bytes),
        5 => link_frames(bytes),
        _ => header(bytes),
    }
});

fn bundle(bytes: &[u8]) {
    let Ok(signed) = SignedBundle::decode(bytes) else { return };
    assert_eq!(signed.bytes(), bytes);
    let bundle = signed.bundle();
    let own = BundleExpectation {
        chain_id: bundle.chain_id,
        registry: bundle.registry,
        escrow: bundle.escrow,
        pod_id: bundle.pod_id,
        identity: bundle.identity,
    };
    signed.check_expectation(&own).expect("a bundle is what it says");
    let _ = signed.check_window(bundle.not_before_unix_s);
    let _ = signed.check_window(u64::MAX);
}

fn receipt(bytes: &[u8]) {
    let Ok(signed) = SignedReceipt::decode(bytes) else { return };
    assert_eq!(signed.encode(), bytes);
    assert_eq!(signed.receipt.settlement().cumulative, signed.receipt.cumulative);
}

fn refusal(bytes: &[u8]) {
    let Ok(refusal) = Refusal::decode(bytes) else { return };
    assert_eq!(refusal.encode(), bytes);
}

fn pod_error(bytes: &[u8]) {
    let Ok(error) = PodError::decode(bytes) else { return };
    assert_eq!(error.encode(), bytes);
}

/// Cut anywhere, a stream gives the same events or the same fault.
fn events(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let mut at_once = EventDecoder::default();
    let whole = at_once.push(bytes);
    let mut decoder = EventDecoder::default();
    let pieces: Result<Vec<_>, _> =
        bytes.chunks(usize::from(*step).max(1)).map(|piece| decoder.push(piece)).collect();
    assert_eq!(whole, pieces.map(|events| events.concat()));
    let Ok(events) = whole else { return };
    assert_eq!(at_once.is_complete(), decoder.is_complete());
    if at_once.is_complete() {
        let mut encoded = Vec::new();
        for event in &events {
            event.encode(&mut encoded).expect("what was read can be written");
        }
        assert_eq!(encoded, bytes);
    }
}

fn link_frames(bytes: &[u8]) {
    let Some((step, bytes)) = bytes.split_first() else { return };
    let mut at_once = Decoder::default();
    let whole = at_once.decode(bytes);
    let mut decoder = Decoder::default();
    let pieces: Result<Vec<_>, _> =
        bytes.chunks(usize::from(*step).max(1)).map(|piece| decoder.decode(piece)).collect();
    assert_eq!(whole.is_ok(), pieces.is_ok());
    let (Ok(frames), Ok(pieces)) = (whole, pieces) else { return };
    assert_eq!(frames, pieces.concat());
    for frame in &frames {
        assert!(link::encode(frame.kind, &frame.payload).is_ok());
        every_message(frame);
    }
}

fn every_message(frame: &Frame) {
    message::<link::Admit>(frame);
    message::<link::Admitted>(frame);
    message::<link::Denied>(frame);
    message::<link::Claim>(frame);
    message::<link::Refused>(frame);
    message::<link::SignBatch>(frame);
    message::<link::BatchSigned>(frame);
    message::<link::SignClose>(frame);
    message::<link::CloseSigned>(frame);
    message::<link::Status>(frame);
    message::<link::Head>(frame);
}

fn message<T: Control + PartialEq + std::fmt::Debug>(frame: &Frame) {
    let Ok(message) = frame.control::<T>() else { return };
    let encoded = link::encode_control(&message).expect("what was read can be written");
    let again = Decoder::default().decode(&encoded).expect("what was written can be read");
    assert_eq!(again[0].control::<T>().expect("of the same kind"), message);
}

fn header(bytes: &[u8]) {
    if request::peek_key_id(bytes).is_ok() {
        let _ = request::enc_fingerprint(bytes);
    }
}

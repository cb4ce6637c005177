use proptest::prelude::*;

use super::*;
use crate::ids::Amount;
use crate::refusal::Code;
use crate::testing::fixture::{digest, payment, payment_with_allocation, signer};

/// Sends a control message through the codec and back.
fn check<T: Control + PartialEq + std::fmt::Debug>(message: &T) -> serde_json::Value {
    let frames = Decoder::default().decode(&encode_control(message).unwrap()).unwrap();
    let [frame] = &frames[..] else { panic!("{frames:?}") };
    assert_eq!(frame.kind, T::KIND);
    assert_eq!(&frame.control::<T>().unwrap(), message);
    serde_json::from_slice(&frame.payload).unwrap()
}

fn error<T>(result: Result<T, LinkError>) -> String {
    result.map(drop).unwrap_err().to_string()
}

#[test]
fn control_messages_round_trip() {
    let signature = signer("identity").sign(&[1; 32]);
    let row = BatchRow {
        user: payment().user,
        epoch: 2,
        cap: Amount::from(10),
        voucher_sig: payment().voucher_sig,
        claimed: Amount::from(9),
    };
    assert_eq!(row.pack()[11..24], [10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    check(&Admit::new(&payment(), Amount::from(5), Amount::ZERO));
    check(&Admitted { cumulative: Amount::MAX });
    check(&Claim {
        user: payment().user,
        epoch: 2,
        cap: Amount::from(10),
        voucher_sig: payment().voucher_sig,
        seq: u64::MAX,
        cumulative: Amount::from(9),
        receipt_hash: digest("receipt"),
        settlement_sig: signature,
        prompt_tokens: 30,
        completion_tokens: 9,
    });
    check(&Refused { code: Code::Draining, retry_after_ms: 1 });
    check(&SignBatch { rows: vec![row, row] });
    check(&BatchSigned { accepted: vec![0, 1], signature });
    check(&SignClose { user: payment().user, epoch: 2 });
    check(&CloseSigned { cumulative: Amount::from(9), signature });
    check(&Status {
        identity: signer("identity").address(),
        measurement: digest("measurement"),
        in_flight: 1,
        queued: 2,
        slots: 4,
        worker: WorkerState::Ready,
        epoch_id: 7,
        models: vec![ModelStatus {
            model: "tiny".to_owned(),
            state: WorkerState::Unloaded,
            build: None,
            in_flight: 0,
            queued: 0,
            restarts: 3,
            needs_bytes: 1 << 40,
        }],
    });
    check(&Head { block: 1 });
}

#[test]
fn control_payload_has_the_fields_of_the_page() {
    let json = check(&Admit::new(&payment_with_allocation(), Amount::from(5), Amount::ZERO));
    assert_eq!(json["reserve"], "5");
    assert_eq!(json["user"], payment().user.to_string());
    assert_eq!(json["allocation"]["total"], "5000000");
    let json = check(&Denied {
        code: Code::CapTooLow,
        retry_after_ms: 0,
        cumulative: Amount::from(7),
        message: "cap 1 is below 7".into(),
    });
    assert_eq!(json["code"], 21);
}

#[test]
fn rejects_unknown_missing_and_bare_number_fields() {
    let refused = |json: &str, needle: &str| {
        let frame = Frame { kind: Kind::Admitted, payload: json.as_bytes().to_vec() };
        let message = error(frame.control::<Admitted>());
        assert!(message.contains(needle), "{message}");
    };
    refused(r#"{"cumulative":"1","extra":0}"#, "unknown field `extra`");
    refused("{}", "missing field `cumulative`");
    refused(r#"{"cumulative":1}"#, "expected a string");
    refused(r#"{"cumulative":"79228162514264337593543950336"}"#, "above 2^96 - 1");
    refused(r#"{"cumulative":"1""#, "EOF");
}

#[test]
fn rejects_unknown_kind_and_oversize_from_the_header_alone() {
    assert!(matches!(Header::parse([0, 0, 0, 0, 0]), Err(LinkError::UnknownKind(0))));
    assert!(matches!(Header::parse([19, 0, 0, 0, 0]), Err(LinkError::UnknownKind(19))));
    let too_long = Header::parse([7, 0, 64, 0, 1]);
    assert!(matches!(
        too_long,
        Err(LinkError::TooLong { kind: Kind::Out, max: 4_194_304, got: 4_194_305 })
    ));
    assert_eq!(Header::parse([7, 0, 64, 0, 0]).unwrap().len, PAYLOAD_MAX_LEN);
    assert!(matches!(
        encode(Kind::Out, &vec![0; PAYLOAD_MAX_LEN + 1]),
        Err(LinkError::TooLong { got: 4_194_305, .. })
    ));
    let mut decoder = Decoder::default();
    assert!(matches!(decoder.decode(&[7, 0xff, 0, 0, 0]), Err(LinkError::TooLong { .. })));
}

#[test]
fn rejects_other_kind_than_the_one_due() {
    let stored = Frame { kind: Kind::Stored, payload: vec![] };
    assert!(stored.empty(Kind::Stored).is_ok());
    assert_eq!(error(stored.empty(Kind::Done)), "link frame is Stored, not Done");
    assert_eq!(error(stored.control::<Admitted>()), "link frame is Stored, not Admitted");
    let full = Frame { kind: Kind::Done, payload: vec![1] };
    assert_eq!(error(full.empty(Kind::Done)), "link frame Done has 1 bytes; it has none");
}

#[test]
fn kinds_are_those_of_the_page() {
    let page = include_str!("../../../../spec/wire.md");
    let section = page.split("## Host and enclave").nth(1).unwrap();
    let rows: Vec<_> = section
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            Some((cells.get(1)?.parse::<u8>().ok()?, cells[2].to_owned()))
        })
        .collect();
    let ours: Vec<_> = Kind::ALL.iter().map(|kind| (kind.id(), format!("{kind:?}"))).collect();
    assert_eq!(rows, ours);
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_frames(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..8),
        step in 1usize..60,
    ) {
        let frames: Vec<_> = payloads
            .iter()
            .map(|payload| Frame { kind: Kind::Out, payload: payload.clone() })
            .collect();
        let wire: Vec<u8> =
            payloads.iter().flat_map(|payload| encode(Kind::Out, payload).unwrap()).collect();
        let mut decoder = Decoder::default();
        let mut read = Vec::new();
        for piece in wire.chunks(step) {
            read.extend(decoder.decode(piece).unwrap());
        }
        prop_assert!(decoder.is_complete());
        prop_assert_eq!(read, frames);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Decoder::default().decode(&bytes).map(|frames| {
            for frame in frames {
                let _ = frame.control::<Admit>();
                let _ = frame.control::<SignBatch>();
            }
        });
    }
}

use proptest::prelude::*;

use super::*;
use crate::events::EventError;
use crate::receipt::{DecodeError, Finish, SIGNED_RECEIPT_LEN, SignedReceipt};
use crate::refusal::{Code, PodError, PodErrorError};
use crate::testing::Seeded;
use crate::testing::fixture::{self, digest, domain, event_bytes, events, receipt, signer};

/// One frame before sealing.
pub(crate) type Inner = Vec<u8>;

pub(crate) fn inner(class: FrameClass, kind: u8, data: &[u8]) -> Inner {
    let len = u16::try_from(data.len()).unwrap().to_be_bytes();
    let mut bytes = [&[kind], &len[..], data].concat();
    bytes.resize(class.frame_plain_len(), 0);
    bytes
}

fn std(kind: u8, data: &[u8]) -> Inner {
    inner(FrameClass::Std, kind, data)
}

pub(crate) fn head_data() -> Vec<u8> {
    [&1_800_000_100u64.to_be_bytes()[..], &digest("weights").0].concat()
}

fn commitment() -> crate::ids::Digest32 {
    fixture::exchange(FrameClass::Std).1.request_commitment()
}

fn signed(data: &[&[u8]], finish: Finish) -> SignedReceipt {
    let chain = data.iter().fold([0; 32], |chain, data| next_link(&chain, data));
    let frames = u32::try_from(data.len()).unwrap();
    let receipt = receipt(commitment(), crate::ids::Digest32(chain), frames, finish);
    receipt.sign(&signer("identity"), &domain())
}

/// The valid answer of class std: HEAD, DATA, PAD, SETTLE in two parts with a PAD between, DATA,
/// END in two parts, PAD to the second rung, 10 frames.
pub(crate) fn answer() -> Vec<Inner> {
    let stream = event_bytes();
    let (first, second) = stream.split_at(20);
    let interim = signed(&[first], Finish::Interim).encode();
    let last = signed(&[first, second], Finish::Stop).encode();
    let mut frames = vec![
        std(1, &head_data()),
        std(2, first),
        std(0, &[]),
        std(0x83, &interim[..253]),
        std(0, &[]),
        std(3, &interim[253..]),
        std(2, second),
        std(0x85, &last[..253]),
        std(5, &last[253..]),
    ];
    frames.resize(10, std(0, &[]));
    frames
}

/// Seals inner frames as they are and gives them to a client.
pub(crate) fn read(frames: &[Inner]) -> Result<Vec<Message>, OpenError> {
    let (mut wire, sealed, client) = sealed(frames);
    wire.extend(sealed.concat());
    read_wire(client, &wire)
}

fn sealed(frames: &[Inner]) -> (Vec<u8>, Vec<Vec<u8>>, ClientExchange) {
    let (_, client, server) = fixture::exchange(FrameClass::Std);
    let (enc, mut sealer) = server.respond(FrameClass::Std, &mut Seeded::new("server")).unwrap();
    let sealed = frames.iter().map(|frame| sealer.seal_raw(frame)).collect();
    (enc, sealed, client)
}

fn read_wire(client: ClientExchange, wire: &[u8]) -> Result<Vec<Message>, OpenError> {
    let mut opener = client.opener();
    let messages = opener.push(wire)?;
    opener.finish()?;
    Ok(messages)
}

fn edited(edit: impl FnOnce(&mut Vec<Inner>)) -> Vec<Inner> {
    let mut frames = answer();
    edit(&mut frames);
    frames
}

fn error(bytes: &[u8]) -> Vec<Inner> {
    let mut frames: Vec<_> = bytes
        .chunks(253)
        .enumerate()
        .map(|(i, part)| std(if (i + 1) * 253 < bytes.len() { 0x84 } else { 4 }, part))
        .collect();
    frames.resize(8, std(0, &[]));
    frames
}

fn pod_error() -> PodError {
    PodError {
        code: Code::CapTooLow,
        retry_after_ms: 0,
        cumulative: crate::ids::Amount::from(1_000_004),
        message: "cap 1 is below 5".into(),
    }
}

/// A frame sequence in which one rule is broken, its name and the error.
pub(crate) type Case = (&'static str, Vec<Inner>, OpenError);

/// Rules of one frame.
fn frame_cases() -> Vec<Case> {
    vec![
        ("unknown type", edited(|f| f[2] = std(6, &[])), OpenError::UnknownType(6)),
        ("unknown type in parts", edited(|f| f[2] = std(0x86, &[])), OpenError::UnknownType(0x86)),
        (
            "length above the frame",
            edited(|f| f[1][1..3].copy_from_slice(&254u16.to_be_bytes())),
            OpenError::Length { max: 253, got: 254 },
        ),
        ("PAD with data", edited(|f| f[2] = std(0, &[0])), OpenError::PadData(1)),
        ("DATA without data", edited(|f| f[1] = std(2, &[])), OpenError::Empty(FrameType::Data)),
        ("END without data", edited(|f| f[8] = std(5, &[])), OpenError::Empty(FrameType::End)),
        ("padding of PAD", edited(|f| f[2][255] = 1), OpenError::Padding),
        ("padding of DATA", edited(|f| f[1][255] = 1), OpenError::Padding),
        (
            "HEAD in parts",
            edited(|f| f[0] = std(0x81, &head_data())),
            OpenError::Order(OrderError::NoParts(FrameType::Head)),
        ),
        (
            "DATA in parts",
            edited(|f| f[1][0] |= MORE),
            OpenError::Order(OrderError::NoParts(FrameType::Data)),
        ),
        (
            "PAD in parts",
            edited(|f| f[2] = std(0x80, &[])),
            OpenError::Order(OrderError::NoParts(FrameType::Pad)),
        ),
        ("HEAD too short", edited(|f| f[0] = std(1, &[0; 39])), OpenError::HeadLength(39)),
        ("HEAD too long", edited(|f| f[0] = std(1, &[0; 41])), OpenError::HeadLength(41)),
    ]
}

/// Rules of the order of frames.
fn order_cases() -> Vec<Case> {
    let order = OpenError::Order;
    let interleaved = |started, got| OpenError::Order(OrderError::Interleaved { started, got });
    vec![
        (
            "without HEAD",
            edited(|f| drop(f.remove(0))),
            order(OrderError::FirstFrame(FrameType::Data)),
        ),
        (
            "PAD before HEAD",
            edited(|f| f.insert(0, std(0, &[]))),
            order(OrderError::FirstFrame(FrameType::Pad)),
        ),
        ("second HEAD", edited(|f| f[2] = std(1, &head_data())), order(OrderError::SecondHead)),
        (
            "DATA between the parts of SETTLE",
            edited(|f| f[4] = std(2, &[1])),
            interleaved(FrameType::Settle, FrameType::Data),
        ),
        (
            "END between the parts of SETTLE",
            edited(|f| f[4] = std(5, &[1])),
            interleaved(FrameType::Settle, FrameType::End),
        ),
        (
            "second END",
            edited(|f| f[9] = f[8].clone()),
            order(OrderError::AfterEnd(FrameType::End)),
        ),
        (
            "DATA after END",
            edited(|f| f[9] = std(2, &[1, 0, 1, b'x'])),
            order(OrderError::AfterEnd(FrameType::Data)),
        ),
        (
            "ERROR after END",
            edited(|f| f[9] = error(&pod_error().encode())[0].clone()),
            order(OrderError::AfterEnd(FrameType::Error)),
        ),
        (
            "END after ERROR",
            edited(|f| f[1] = error(&pod_error().encode())[0].clone()),
            order(OrderError::AfterEnd(FrameType::Settle)),
        ),
        ("PAD after the rung", edited(|f| f.push(std(0, &[]))), OpenError::AfterRung),
        ("last PAD missing", edited(|f| drop(f.pop())), OpenError::Truncated(9)),
        ("END missing", edited(|f| f.truncate(7)), OpenError::Truncated(7)),
        ("last part of END missing", edited(|f| f.truncate(8)), OpenError::Truncated(8)),
        ("no frames", vec![], OpenError::Truncated(0)),
    ]
}

/// Rules of what the frames say.
fn message_cases() -> Vec<Case> {
    let stream = event_bytes();
    let (first, second) = stream.split_at(20);
    let with_receipt = |at: usize, signed: SignedReceipt| {
        edited(|f| {
            let (bytes, kind) = (signed.encode(), f[at + 1 + usize::from(at == 3)][0]);
            f[at] = std(kind | MORE, &bytes[..253]);
            f[at + 1 + usize::from(at == 3)] = std(kind, &bytes[253..]);
        })
    };
    let mismatch = |change: fn(&mut crate::receipt::Receipt)| {
        let mut receipt = signed(&[first, second], Finish::Stop).receipt;
        change(&mut receipt);
        with_receipt(7, receipt.sign(&signer("identity"), &domain()))
    };
    vec![
        (
            "SETTLE longer than a receipt",
            edited(|f| f[5] = std(3, &[0; 190])),
            OpenError::MessageTooLong { frame: FrameType::Settle, max: SIGNED_RECEIPT_LEN },
        ),
        (
            "END shorter than a receipt",
            edited(|f| f[8] = std(5, &[0; 188])),
            OpenError::Receipt(DecodeError::Size { expected: SIGNED_RECEIPT_LEN, got: 441 }),
        ),
        ("receipt version", edited(|f| f[7][3] = 2), OpenError::Receipt(DecodeError::Version(2))),
        (
            "final receipt in SETTLE",
            with_receipt(3, signed(&[first], Finish::Stop)),
            OpenError::ReceiptFinish { frame: FrameType::Settle, finish: Finish::Stop },
        ),
        (
            "interim receipt in END",
            with_receipt(7, signed(&[first, second], Finish::Interim)),
            OpenError::ReceiptFinish { frame: FrameType::End, finish: Finish::Interim },
        ),
        (
            "receipt of another request",
            mismatch(|r| r.request_commitment = digest("other")),
            OpenError::ReceiptMismatch("request commitment"),
        ),
        (
            "receipt over other DATA",
            mismatch(|r| r.data_chain = digest("other")),
            OpenError::ReceiptMismatch("data chain"),
        ),
        (
            "receipt over fewer DATA frames",
            mismatch(|r| r.data_frames -= 1),
            OpenError::ReceiptMismatch("number of DATA frames"),
        ),
        ("unknown event", edited(|f| f[1][3] = 9), OpenError::Events(EventError::UnknownTag(9))),
        (
            "END inside an event",
            edited(|f| f[6] = std(2, &second[..second.len() - 1])),
            OpenError::EventsIncomplete,
        ),
    ]
}

/// Rules of ERROR.
fn error_cases() -> Vec<Case> {
    let valid = pod_error().encode();
    let set = |at: usize, bytes: &[u8]| {
        let mut edited = valid.clone();
        edited[at..at + bytes.len()].copy_from_slice(bytes);
        error(&edited)
    };
    vec![
        ("ERROR too short", error(&valid[..21]), OpenError::Error(PodErrorError::Size(21))),
        (
            "ERROR too long",
            error(&[&valid[..22], &[b'x'; 201]].concat()),
            OpenError::MessageTooLong { frame: FrameType::Error, max: 222 },
        ),
        ("unknown code", set(0, &[0, 99]), OpenError::Error(PodErrorError::Code(99))),
        ("code of a refusal", set(0, &[0, 1]), OpenError::Error(PodErrorError::Code(1))),
        ("amount above u96", set(6, &[1]), OpenError::Error(PodErrorError::Amount)),
        ("message not UTF-8", set(22, &[0xff]), OpenError::Error(PodErrorError::NotUtf8)),
        ("rung after ERROR missing", error(&valid)[..7].to_vec(), OpenError::Truncated(7)),
    ]
}

/// Every rule of the answer's plain text with one change that breaks it.
pub(crate) fn cases() -> Vec<Case> {
    [frame_cases(), order_cases(), message_cases(), error_cases()].concat()
}

#[test]
fn rejects_each_broken_rule() {
    for (name, frames, expected) in cases() {
        assert_ne!(frames, answer(), "{name}");
        assert_eq!(read(&frames), Err(expected), "{name}");
    }
}

#[test]
fn reads_the_valid_answer() {
    let stream = event_bytes();
    let (first, second) = stream.split_at(20);
    let mut expected =
        vec![Message::Head { created_unix_s: 1_800_000_100, model_digest: digest("weights") }];
    let [reasoning, rest @ ..] = &events()[..] else { unreachable!() };
    expected.push(Message::Event(reasoning.clone()));
    expected.push(Message::Interim(signed(&[first], Finish::Interim)));
    expected.extend(rest.iter().cloned().map(Message::Event));
    expected.push(Message::End(signed(&[first, second], Finish::Stop)));
    assert_eq!(read(&answer()), Ok(expected));
}

#[test]
fn error_may_stand_in_place_of_head_or_end_the_answer_later() {
    let expected = Message::Error(pod_error());
    assert_eq!(read(&error(&pod_error().encode())), Ok(vec![expected.clone()]));
    let mut frames = answer()[..3].to_vec();
    frames.extend(error(&pod_error().encode()));
    frames.truncate(8);
    assert_eq!(read(&frames).unwrap().last(), Some(&expected));
}

#[test]
fn rejects_changed_reordered_repeated_and_dropped_frames() {
    let expect_frame = |at: u64, change: fn(&mut Vec<Vec<u8>>)| {
        let (mut wire, mut frames, client) = sealed(&answer());
        change(&mut frames);
        wire.extend(frames.concat());
        assert_eq!(read_wire(client, &wire), Err(OpenError::Frame(at)));
    };
    expect_frame(4, |frames| frames[4][0] ^= 1);
    expect_frame(4, |frames| frames[4][271] ^= 1);
    expect_frame(1, |frames| frames.swap(1, 2));
    expect_frame(3, |frames| frames[3] = frames[2].clone());
    expect_frame(5, |frames| drop(frames.remove(5)));
}

#[test]
fn rejects_changed_encapsulation() {
    for at in [0, 1087, 1088, 1119] {
        let (mut wire, frames, client) = sealed(&answer());
        wire[at] ^= 1;
        wire.extend(frames.concat());
        assert_eq!(read_wire(client, &wire), Err(OpenError::Frame(0)), "byte {at}");
    }
}

#[test]
fn rejects_answer_to_another_request() {
    let (mut wire, frames, _) = sealed(&answer());
    wire.extend(frames.concat());
    // The same keys, encapsulation and exported secret: only the hash of the request differs.
    let plain = fixture::plain(FrameClass::Std, b"{}");
    let mut rng = Seeded::new("client");
    let (_, other) = crate::request::seal_request(&fixture::bundle(), &plain, &mut rng).unwrap();
    assert_eq!(read_wire(other, &wire), Err(OpenError::Frame(0)));
}

#[test]
fn rejects_bytes_inside_the_last_frame_and_after_it() {
    let (mut wire, frames, client) = sealed(&answer());
    wire.extend(frames.concat());
    let cut = &wire[..wire.len() - 1];
    assert_eq!(read_wire(client, cut), Err(OpenError::Truncated(9)));
    let (_, _, client) = sealed(&answer());
    wire.push(0);
    assert_eq!(read_wire(client, &wire), Err(OpenError::AfterRung));
}

#[test]
fn failed_opener_stays_failed() {
    let (enc, frames, client) = sealed(&answer());
    let mut opener = client.opener();
    opener.push(&enc).unwrap();
    let error = opener.push(&frames[1]).unwrap_err();
    assert_eq!(error, OpenError::Frame(0));
    assert_eq!(opener.push(&frames[0]), Err(error.clone()));
    assert_eq!(opener.finish(), Err(error));
}

#[test]
fn counters_and_chain_agree_on_both_sides() {
    for class in FrameClass::ALL {
        let (_, client, server) = fixture::exchange(class);
        assert_eq!(client.request_commitment(), server.request_commitment());
        let (mut wire, mut sealer) = server.respond(class, &mut Seeded::new("server")).unwrap();
        wire.extend(sealer.seal(FrameType::Head, false, &head_data()).unwrap());
        wire.extend(sealer.seal_message(FrameType::Data, &event_bytes()).unwrap().concat());
        let receipt = receipt(
            client.request_commitment(),
            sealer.data_chain(),
            sealer.data_frames(),
            Finish::Stop,
        );
        let end = receipt.sign(&signer("identity"), &domain());
        wire.extend(sealer.seal_message(FrameType::End, &end.encode()).unwrap().concat());
        for _ in 0..sealer.padding_due() {
            wire.extend(sealer.seal(FrameType::Pad, false, &[]).unwrap());
        }
        assert_eq!(sealer.padding_due(), 0);
        let mut opener = client.opener();
        let messages = opener.push(&wire).unwrap();
        assert_eq!(opener.finish(), Ok(()));
        assert_eq!(messages.last(), Some(&Message::End(end)));
        assert_eq!(opener.data_chain(), sealer.data_chain());
        assert_eq!(opener.data_frames(), sealer.data_frames());
        assert_eq!(opener.frames(), sealer.frames_sent());
        assert_eq!(opener.wire_bytes(), wire.len() as u64);
        assert_eq!(wire.len(), 1120 + 8 * class.frame_wire_len());
    }
}

#[test]
fn sealer_refuses_what_the_opener_would() {
    let (_, _, server) = fixture::exchange(FrameClass::Std);
    let error = SealError::Class { asked: FrameClass::Std, got: FrameClass::Fast };
    let mut rng = Seeded::new("server");
    assert_eq!(server.respond(FrameClass::Fast, &mut rng).unwrap_err(), error);

    let (_, _, server) = fixture::exchange(FrameClass::Std);
    let (_, mut sealer) = server.respond(FrameClass::Std, &mut rng).unwrap();
    let mut refused = |frame, more, data: &[u8], expected: SealError| {
        assert_eq!(sealer.seal(frame, more, data), Err(expected));
    };
    let order = SealError::Order;
    refused(FrameType::Data, false, &[1], order(OrderError::FirstFrame(FrameType::Data)));
    refused(FrameType::Head, true, &[1], order(OrderError::NoParts(FrameType::Head)));
    refused(FrameType::Head, false, &[], SealError::Empty(FrameType::Head));
    let too_long = SealError::TooLong { frame: FrameType::Data, max: 253, got: 254 };
    refused(FrameType::Data, false, &[0; 254], too_long);
    let pad = SealError::TooLong { frame: FrameType::Pad, max: 0, got: 1 };
    refused(FrameType::Pad, false, &[0], pad);
    let end = SealError::TooLong { frame: FrameType::End, max: 442, got: 443 };
    assert_eq!(sealer.seal_message(FrameType::End, &[0; 443]), Err(end));
    assert_eq!(sealer.frames_sent(), 0, "a refused frame consumes no sequence number");
    assert_eq!(sealer.seal(FrameType::Head, false, &head_data()).unwrap().len(), 272);
}

#[test]
fn server_refuses_invalid_ephemeral_key() {
    let mut plain = crate::request::tests::padded();
    plain[..2].fill(0xff);
    let request = crate::interop::seal_padded(&plain);
    let opened =
        crate::request::open_request(&fixture::epoch_key(), &fixture::bundle(), &request).unwrap();
    let result = opened.exchange.respond(FrameClass::Std, &mut Seeded::new("server"));
    assert_eq!(result.unwrap_err(), SealError::PeerKey);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_messages(cuts in prop::collection::vec(1usize..700, 1..40)) {
        let (mut wire, frames, client) = sealed(&answer());
        wire.extend(frames.concat());
        let mut opener = client.opener();
        let (mut messages, mut rest) = (Vec::new(), wire.as_slice());
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            messages.extend(opener.push(piece).unwrap());
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(opener.finish(), Ok(()));
        prop_assert_eq!(messages, read(&answer()).unwrap());
    }

    #[test]
    fn any_cut_is_truncated(len in 0usize..3840) {
        let (mut wire, frames, client) = sealed(&answer());
        wire.extend(frames.concat());
        prop_assert_eq!(wire.len(), 3840);
        let whole = len.saturating_sub(1120) / 272;
        let error = OpenError::Truncated(whole as u64);
        prop_assert_eq!(read_wire(client, &wire[..len]), Err(error));
    }

    #[test]
    fn any_authentic_frames_never_panic(
        frames in prop::collection::vec(
            (0u8..7, any::<bool>(), prop::collection::vec(any::<u8>(), 0..254)), 0..12,
        ),
    ) {
        let frames: Vec<_> = frames
            .iter()
            .map(|(kind, more, data)| std(kind | if *more { MORE } else { 0 }, data))
            .collect();
        if let Ok(messages) = read(&frames) {
            let ended = messages.iter().any(|m| matches!(m, Message::Error(_) | Message::End(_)));
            prop_assert!(ended);
        }
    }

    #[test]
    fn any_foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
        let (_, client, _) = fixture::exchange(FrameClass::Std);
        prop_assert!(read_wire(client, &bytes).is_err());
    }
}

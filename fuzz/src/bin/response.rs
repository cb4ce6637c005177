//! An answer as a client reads it, written by an enclave that keeps no rule: the frames' contents
//! are the input, sealed with the right keys. The first byte is the class, the second how the body
//! is cut; then come frames: kind 1 | stated length 2 | n 1 | n bytes. A kind with 0x40 stands for
//! a whole receipt that is right about this exchange, so that what lies behind is reached; its
//! finish is the third byte.
#![no_main]

use std::convert::Infallible;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use phallama_protocol::bundle::{KeyBundle, SignedBundle};
use phallama_protocol::frames::{FrameClass, FrameType, Message, ResponseOpener};
use phallama_protocol::fuzzing::{next_link, seal_inner};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId, RequestId};
use phallama_protocol::keys::{Signature, Signer};
use phallama_protocol::rand_core::{TryCryptoRng, TryRng};
use phallama_protocol::receipt::{Finish, Receipt, SignedReceipt};
use phallama_protocol::request::{
    EpochKey, Method, Payment, RequestPlain, open_request, seal_request,
};

/// Stands for a whole receipt; no type of frame has this bit.
const RIGHT_RECEIPT: u8 = 0x40;
/// Further parts follow (spec/wire.md, *Response*).
const MORE: u8 = 0x80;

fuzz_target!(|data: &[u8]| {
    let [class, step, frames @ ..] = data else { return };
    let class = FrameClass::ALL[usize::from(*class) % FrameClass::ALL.len()];
    let (mut opener, body) = answer(class, frames);
    let mut messages = Vec::new();
    for piece in body.chunks(usize::from(*step).max(1) * 16) {
        match opener.push(piece) {
            Ok(more) => messages.extend(more),
            Err(error) => {
                assert_eq!(opener.push(&[]), Err(error), "a fault stays");
                return;
            }
        }
    }
    let ends = messages.iter().filter(|m| matches!(m, Message::End(_) | Message::Error(_))).count();
    assert!(ends <= 1, "an answer ends once");
    if opener.finish().is_ok() {
        assert_eq!(ends, 1, "no answer is complete without its end");
    }
});

/// The reader of an answer and the body that it will be given.
fn answer(class: FrameClass, mut frames: &[u8]) -> (ResponseOpener, Vec<u8>) {
    let pod = &*POD;
    let (wire, client) =
        seal_request(&pod.bundle, &plain(class), &mut Counter(1)).expect("the class is served");
    let opened = open_request(&pod.key, &pod.bundle, &wire).expect("sealed to this key");
    let mut receipt = receipt(opened.exchange.request_commitment());
    let (mut body, mut sealer) =
        opened.exchange.respond(class, &mut Counter(2)).expect("the class was asked for");
    let mut seal = |kind: u8, stated: [u8; 2], data: &[u8]| {
        let mut inner = [&[kind], &stated[..], data].concat();
        inner.resize(class.frame_plain_len(), 0);
        body.extend(seal_inner(&mut sealer, &inner));
    };
    while let [kind, high, low, n, rest @ ..] = frames {
        let (data, rest) = rest.split_at(rest.len().min(usize::from(*n)));
        frames = rest;
        if kind & RIGHT_RECEIPT != 0 {
            receipt.finish = Finish::from_u8(*low).unwrap_or(receipt.finish);
            let signed = SignedReceipt { receipt: receipt.clone(), signature: Signature([1; 64]) };
            let encoded = signed.encode();
            let mut parts = encoded.chunks(class.data_capacity()).peekable();
            while let Some(part) = parts.next() {
                let more = if parts.peek().is_some() { MORE } else { 0 };
                let len = u16::try_from(part.len()).expect("a frame is short");
                seal(kind & !(RIGHT_RECEIPT | MORE) | more, len.to_be_bytes(), part);
            }
            continue;
        }
        seal(*kind, [*high, *low], data);
        let stated = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind == FrameType::Data.id() && stated <= data.len() {
            receipt.data_chain = next_link(&receipt.data_chain, &data[..stated]);
            receipt.data_frames += 1;
        }
    }
    (client.opener(), body)
}

fn receipt(request_commitment: Digest32) -> Receipt {
    Receipt {
        pod_id: PodId([3; 32]),
        identity: Address([4; 20]),
        channel: Digest32([5; 32]),
        epoch: 0,
        seq: 1,
        cumulative: Amount::from(4),
        cost: Amount::from(4),
        request_commitment,
        data_chain: Digest32([0; 32]),
        data_frames: 0,
        model_digest: Digest32([6; 32]),
        measurement: Digest32([5; 32]),
        evidence_hash: Digest32([4; 32]),
        terms_hash: Digest32([7; 32]),
        prompt_tokens: 30,
        completion_tokens: 9,
        cached_tokens: 0,
        input_price_per_mtok: Amount::from(50_000),
        output_price_per_mtok: Amount::from(200_000),
        block_seen: 1,
        finish: Finish::Interim,
    }
}

struct Pod {
    key: EpochKey,
    bundle: SignedBundle,
}

static POD: LazyLock<Pod> = LazyLock::new(|| {
    let key = EpochKey::generate(&mut Counter(3));
    let identity = Signer::from_bytes(&[7; 32]).expect("below the group's order");
    let bundle = KeyBundle {
        chain_id: 2035,
        registry: Address([1; 20]),
        escrow: Address([2; 20]),
        pod_id: PodId([3; 32]),
        identity: identity.address(),
        epoch_id: 7,
        xwing_pk: Box::new(key.public_key()),
        not_before_unix_s: 1_800_000_000,
        not_after_unix_s: 1_800_000_900,
        block_seen: 1,
        evidence_hash: Digest32([4; 32]),
        measurement: Digest32([5; 32]),
        model_set_root: Digest32([6; 32]),
        offers_hash: Digest32([7; 32]),
        policy_digest: Digest32([8; 32]),
        classes: FrameClass::ALL.to_vec(),
    };
    Pod { key, bundle: bundle.sign(&identity) }
});

fn plain(class: FrameClass) -> RequestPlain {
    RequestPlain {
        request_id: RequestId([1; 16]),
        class,
        salt: [2; 32],
        payment: Payment {
            user: Address([9; 20]),
            epoch: 0,
            cap: Amount::from(1_000),
            voucher_sig: Signature([0; 64]),
            terms_hash: Digest32([7; 32]),
            allocation: None,
        },
        method: Method::Chat,
        body: b"{}".to_vec(),
    }
}

/// The same bytes in every run, so that an input alone says what happens.
struct Counter(u8);

impl TryRng for Counter {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for byte in out {
            self.0 = self.0.wrapping_mul(37).wrapping_add(11);
            *byte = self.0;
        }
        Ok(())
    }
}

impl TryCryptoRng for Counter {}

//! A deterministic generator for tests: output block *i* is
//! `SHA-256("phallama test rng" ‖ 0 ‖ label ‖ 0 ‖ i as u64)`.

use std::convert::Infallible;

use crate::rand_core::{TryCryptoRng, TryRng};

pub(crate) struct Seeded {
    label: String,
    block: u64,
    ready: Vec<u8>,
}

impl Seeded {
    pub(crate) fn new(label: &str) -> Self {
        Self { label: label.to_owned(), block: 0, ready: Vec::new() }
    }
}

impl TryRng for Seeded {
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
        while self.ready.len() < out.len() {
            let label = self.label.as_bytes();
            let block = [label, &[0], &self.block.to_be_bytes()[..]];
            self.ready.extend(crate::hash::tagged("phallama test rng", &block));
            self.block += 1;
        }
        let rest = self.ready.split_off(out.len());
        out.copy_from_slice(&self.ready);
        self.ready = rest;
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}

/// The fixed parties of the tests: one chain, pod, enclave, user.
pub(crate) mod fixture {
    use super::Seeded;
    use crate::bundle::{KeyBundle, SignedBundle};
    use crate::eip712::{Allocation, Domain, channel_id};
    use crate::events::Event;
    use crate::frames::{ClientExchange, FrameClass, ServerExchange};
    use crate::hash::sha256;
    use crate::ids::{Address, Amount, Digest32, PodId, RequestId};
    use crate::keys::Signer;
    use crate::receipt::{Finish, Receipt, ReceiptExpectation};
    use crate::request::{
        AllocationGrant, EpochKey, Method, Payment, RequestPlain, open_request, seal_request,
    };

    pub(crate) const NOT_BEFORE_UNIX_S: u64 = 1_800_000_000;
    pub(crate) const BODY: &[u8] =
        br#"{"model":"smollm2:135m","messages":[{"role":"user","content":"Hello"}],"max_tokens":16}"#;

    pub(crate) fn digest(label: &str) -> Digest32 {
        Digest32(sha256(label.as_bytes()))
    }

    pub(crate) fn address(label: &str) -> Address {
        Address(crate::hash::truncate(&digest(label).0))
    }

    pub(crate) fn signer(label: &str) -> Signer {
        Signer::generate(&mut Seeded::new(label))
    }

    pub(crate) fn domain() -> Domain {
        Domain { chain_id: 2035, escrow: address("escrow") }
    }

    pub(crate) fn pod_id() -> PodId {
        PodId(digest("pod").0)
    }

    pub(crate) fn epoch_key() -> EpochKey {
        EpochKey::generate(&mut Seeded::new("epoch key"))
    }

    pub(crate) fn key_bundle() -> KeyBundle {
        KeyBundle {
            chain_id: domain().chain_id,
            registry: address("registry"),
            escrow: domain().escrow,
            pod_id: pod_id(),
            identity: signer("identity").address(),
            epoch_id: 7,
            xwing_pk: Box::new(epoch_key().public_key()),
            not_before_unix_s: NOT_BEFORE_UNIX_S,
            not_after_unix_s: NOT_BEFORE_UNIX_S + 900,
            block_seen: 1_234_567,
            evidence_hash: digest("evidence"),
            measurement: digest("measurement"),
            model_set_root: digest("models"),
            offers_hash: digest("offers"),
            policy_digest: digest("policy"),
            classes: FrameClass::ALL.to_vec(),
        }
    }

    pub(crate) fn bundle() -> SignedBundle {
        key_bundle().sign(&signer("identity"))
    }

    pub(crate) fn payment() -> Payment {
        let user = signer("user");
        let mut payment = Payment {
            user: user.address(),
            epoch: 2,
            cap: Amount::from(1_250_000),
            voucher_sig: user.sign(&[0; 32]),
            terms_hash: digest("offers"),
            allocation: None,
        };
        let voucher = payment.voucher(pod_id(), signer("identity").address());
        payment.voucher_sig = user.sign(&voucher.digest(&domain()));
        payment
    }

    pub(crate) fn payment_with_allocation() -> Payment {
        let (total, deadline_unix_s) = (Amount::from(5_000_000), NOT_BEFORE_UNIX_S + 3_600);
        let allocation = Allocation {
            pod_id: pod_id(),
            total,
            terms_hash: digest("offers"),
            epoch: 2,
            deadline_unix_s,
        };
        let signature = signer("user").sign(&allocation.digest(&domain()));
        let grant = AllocationGrant { total, deadline_unix_s, signature };
        Payment { allocation: Some(grant), ..payment() }
    }

    pub(crate) fn plain(class: FrameClass, body: &[u8]) -> RequestPlain {
        RequestPlain {
            request_id: RequestId(crate::hash::truncate(&digest("request").0)),
            class,
            salt: digest("salt").0,
            payment: payment_with_allocation(),
            method: Method::Chat,
            body: body.to_vec(),
        }
    }

    /// The request as sent, and both halves of its exchange.
    pub(crate) fn exchange(class: FrameClass) -> (Vec<u8>, ClientExchange, ServerExchange) {
        let (wire, client) =
            seal_request(&bundle(), &plain(class, BODY), &mut Seeded::new("client")).unwrap();
        let opened = open_request(&epoch_key(), &bundle(), &wire).unwrap();
        (wire, client, opened.exchange)
    }

    pub(crate) fn events() -> Vec<Event> {
        vec![
            Event::Reasoning("A greeting.".into()),
            Event::Content("Hello! How can I help you today?".into()),
            Event::Timings { prompt_ms: 41, predicted_ms: 163 },
        ]
    }

    pub(crate) fn event_bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        for event in events() {
            event.encode(&mut bytes).unwrap();
        }
        bytes
    }

    /// A receipt for the exchange of [`exchange`]: 30 prompt and 9 completion tokens.
    pub(crate) fn receipt(
        commitment: Digest32,
        data_chain: Digest32,
        data_frames: u32,
        finish: Finish,
    ) -> Receipt {
        Receipt {
            pod_id: pod_id(),
            identity: signer("identity").address(),
            channel: channel_id(signer("user").address(), pod_id()),
            epoch: 2,
            seq: 3,
            cumulative: Amount::from(1_000_004),
            cost: Amount::from(4),
            request_commitment: commitment,
            data_chain,
            data_frames,
            model_digest: digest("weights"),
            measurement: digest("measurement"),
            evidence_hash: digest("evidence"),
            terms_hash: digest("offers"),
            prompt_tokens: 30,
            completion_tokens: 9,
            cached_tokens: 0,
            input_price_per_mtok: Amount::from(50_000),
            output_price_per_mtok: Amount::from(200_000),
            block_seen: 1_234_567,
            finish,
        }
    }

    /// What the client of [`exchange`] expects of `receipt`.
    pub(crate) fn expectation(receipt: &Receipt) -> ReceiptExpectation {
        ReceiptExpectation {
            pod_id: receipt.pod_id,
            identity: receipt.identity,
            channel: receipt.channel,
            epoch: receipt.epoch,
            measurement: receipt.measurement,
            evidence_hash: receipt.evidence_hash,
            terms_hash: receipt.terms_hash,
            model_digest: receipt.model_digest,
            input_price_per_mtok: receipt.input_price_per_mtok,
            output_price_per_mtok: receipt.output_price_per_mtok,
            request_commitment: receipt.request_commitment,
            data_chain: receipt.data_chain,
            data_frames: receipt.data_frames,
            reserve: Amount::from(20),
            cap_highest: Amount::from(1_250_000),
            cumulative_before: Amount::from(1_000_000),
        }
    }
}

/// One change to valid bytes, in a form that the vectors can carry.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// Overwrites bytes from an offset on.
    Set(usize, Vec<u8>),
    /// Cuts to a length.
    Cut(usize),
    /// Appends bytes.
    Append(Vec<u8>),
}

impl Edit {
    pub(crate) fn apply(&self, valid: &[u8]) -> Vec<u8> {
        let mut bytes = valid.to_vec();
        match self {
            Self::Set(at, new) => bytes[*at..*at + new.len()].copy_from_slice(new),
            Self::Cut(len) => bytes.truncate(*len),
            Self::Append(new) => bytes.extend(new),
        }
        assert_ne!(bytes, valid, "an edit must change something: {self:?}");
        bytes
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Set(at, new) => serde_json::json!({"set_at": at, "bytes": hex::encode(new)}),
            Self::Cut(len) => serde_json::json!({ "cut_to": len }),
            Self::Append(new) => serde_json::json!({"append": hex::encode(new)}),
        }
    }
}

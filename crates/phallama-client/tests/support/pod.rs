//! A pod over HTTP that opens, meters and signs as an enclave does, and errs where the script says.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::{StreamExt as _, stream};
use phallama_protocol::closing::{CLOSE_MEDIA_TYPE, CLOSE_PATH, CloseAnswer, CloseRequest};
use phallama_protocol::eip712::{Close, Domain, channel_id};
use phallama_protocol::events::Event;
use phallama_protocol::frames::{FrameSealer, FrameType};
use phallama_protocol::ids::{Amount, Digest32};
use phallama_protocol::keys::{Signer, recover};
use phallama_protocol::rand_core::UnwrapErr;
use phallama_protocol::receipt::{Finish, Receipt, SignedReceipt};
use phallama_protocol::refusal::{Code, PodError, Refusal};
use phallama_protocol::request::{OpenedRequest, RequestPlain, open_request};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::fixture::Fixture;

/// What the pod does with the next request; without a script it answers `"hello world"`.
pub enum Act {
    /// An unauthenticated refusal.
    Refuse(Code),
    /// An ERROR frame in place of HEAD.
    Error(Code, u64),
    /// DATA, then an ERROR frame.
    ErrorAfterData(Code),
    /// HEAD and DATA, then the connection ends.
    Truncate,
    /// Everything but the last padding.
    CutPadding,
    /// One byte after the last padding.
    Trailing,
    /// One bit changed in the DATA frame.
    Tamper,
    /// A receipt with this change, signed by the identity.
    Receipt(Box<dyn Fn(&mut Receipt) + Send>),
    /// A receipt signed by somebody else.
    ForeignReceipt,
    /// HEAD with another model digest.
    OtherWeights,
    /// HEAD and DATA, then silence.
    Hang,
    /// The request is taken, and nothing comes back.
    BlackHole,
    /// HTTP 307 to another host.
    Redirect,
    /// HTTP 502 with a text from in between.
    BadGateway,
}

/// What the pod serves as key bundle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Good,
    Oversized,
    Redirect,
}

struct Inner {
    fixture: Mutex<Fixture>,
    script: Mutex<VecDeque<Act>>,
    keys: Mutex<Keys>,
    /// Bundles and evidence to show before those of the fixture, once each.
    earlier: Mutex<[VecDeque<Vec<u8>>; 2]>,
    seen: Mutex<Vec<RequestPlain>>,
    posts: Mutex<usize>,
    bundles: Mutex<usize>,
    charged: Mutex<u128>,
    closing: Mutex<Closing>,
    gone: Notify,
}

/// What the pod says to a request to close.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// What was charged, signed by the identity.
    Honest,
    /// This much more.
    Above(u128),
    /// Signed by somebody else.
    Foreign,
    /// A refusal.
    Refuse(Code),
}

/// A running pod.
pub struct ScriptedPod {
    inner: Arc<Inner>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for ScriptedPod {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ScriptedPod {
    pub fn serve(fixture: Fixture, listener: TcpListener) -> Self {
        let inner = Arc::new(Inner {
            fixture: Mutex::new(fixture),
            script: Mutex::default(),
            keys: Mutex::new(Keys::Good),
            earlier: Mutex::default(),
            seen: Mutex::default(),
            posts: Mutex::default(),
            bundles: Mutex::default(),
            charged: Mutex::default(),
            closing: Mutex::new(Closing::Honest),
            gone: Notify::new(),
        });
        let router = Router::new()
            .route("/.well-known/phallama/keys", get(keys))
            .route("/.well-known/phallama/evidence", get(evidence))
            .route("/v1/sealed", post(sealed))
            .route(CLOSE_PATH, post(close))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inner, server }
    }

    pub fn id(&self) -> phallama_protocol::ids::PodId {
        self.inner.fixture.lock().unwrap().record.pod_id
    }

    pub fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.inner.script.lock().unwrap().extend(acts);
    }

    /// Forgets what is left of the script.
    pub fn clear(&self) {
        self.inner.script.lock().unwrap().clear();
    }

    pub fn keys(&self, keys: Keys) {
        *self.inner.keys.lock().unwrap() = keys;
    }

    /// Shows this bundle and this evidence once before the fixture's own: the client asks while the
    /// pod renews its key.
    pub fn show_once(&self, bundle: Vec<u8>, evidence: Vec<u8>) {
        let mut earlier = self.inner.earlier.lock().unwrap();
        earlier[0].push_back(bundle);
        earlier[1].push_back(evidence);
    }

    /// The fixture as it is now.
    pub fn fixture(&self) -> Fixture {
        self.inner.fixture.lock().unwrap().clone()
    }

    /// Bundle and evidence of the fixture.
    pub fn shows(&self) -> (Vec<u8>, Vec<u8>) {
        let fixture = self.inner.fixture.lock().unwrap();
        (fixture.bundle().bytes().to_vec(), fixture.evidence().to_json().unwrap())
    }

    pub fn change(&self, change: impl FnOnce(&mut Fixture)) {
        change(&mut self.inner.fixture.lock().unwrap());
    }

    /// Requests that were opened, in order.
    pub fn seen(&self) -> Vec<RequestPlain> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// Requests that arrived, opened or not.
    pub fn posts(&self) -> usize {
        *self.inner.posts.lock().unwrap()
    }

    /// Times that the key bundle was fetched.
    pub fn bundles(&self) -> usize {
        *self.inner.bundles.lock().unwrap()
    }

    pub fn charged(&self) -> u128 {
        *self.inner.charged.lock().unwrap()
    }

    pub fn set_charged(&self, units: u128) {
        *self.inner.charged.lock().unwrap() = units;
    }

    pub fn closing(&self, closing: Closing) {
        *self.inner.closing.lock().unwrap() = closing;
    }

    /// Waits until a client goes away during [`Act::Hang`].
    pub async fn client_gone(&self) {
        self.inner.gone.notified().await;
    }
}

async fn keys(State(pod): State<Arc<Inner>>) -> Response {
    *pod.bundles.lock().unwrap() += 1;
    if let Some(bundle) = pod.earlier.lock().unwrap()[0].pop_front() {
        return bundle.into_response();
    }
    match *pod.keys.lock().unwrap() {
        Keys::Good => pod.fixture.lock().unwrap().bundle().bytes().to_vec().into_response(),
        Keys::Oversized => vec![0_u8; 100_000].into_response(),
        Keys::Redirect => redirect(),
    }
}

async fn evidence(State(pod): State<Arc<Inner>>) -> Response {
    if let Some(evidence) = pod.earlier.lock().unwrap()[1].pop_front() {
        return evidence.into_response();
    }
    pod.fixture.lock().unwrap().evidence().to_json().unwrap().into_response()
}

fn redirect() -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "http://127.0.0.2:1/")]).into_response()
}

fn refuse(code: Code) -> Response {
    let status = StatusCode::from_u16(code.http_status()).unwrap();
    let body = Refusal { code, retry_after_ms: 250 }.encode().to_vec();
    (status, [(header::CONTENT_TYPE, "application/phallama-refusal")], body).into_response()
}

async fn close(State(pod): State<Arc<Inner>>, body: Bytes) -> Response {
    let (fixture, closing) = (pod.fixture.lock().unwrap(), *pod.closing.lock().unwrap());
    let (domain, pod_id) = (domain(&fixture), fixture.record.pod_id);
    let request = CloseRequest::decode(&body).unwrap();
    let user = request.user(pod_id, &domain).unwrap();
    let mut cumulative = *pod.charged.lock().unwrap();
    let mut signer = fixture.identity.clone();
    match closing {
        Closing::Honest => {}
        Closing::Above(more) => cumulative += more,
        Closing::Foreign => signer = Signer::from_bytes(&[0x66; 32]).unwrap(),
        Closing::Refuse(code) => return refuse(code),
    }
    let cumulative = Amount::new(cumulative).unwrap();
    let close = Close { channel: channel_id(user, pod_id), epoch: request.epoch, cumulative };
    let answer = CloseAnswer { cumulative, signature: signer.sign(&close.digest(&domain)) };
    ([(header::CONTENT_TYPE, CLOSE_MEDIA_TYPE)], answer.encode()).into_response()
}

async fn sealed(State(pod): State<Arc<Inner>>, body: Bytes) -> Response {
    *pod.posts.lock().unwrap() += 1;
    let act = pod.script.lock().unwrap().pop_front();
    match act {
        Some(Act::Refuse(code)) => return refuse(code),
        Some(Act::Redirect) => return redirect(),
        Some(Act::BlackHole) => return std::future::pending().await,
        Some(Act::BadGateway) => return (StatusCode::BAD_GATEWAY, "proxy says no").into_response(),
        _ => {}
    }
    let hangs = matches!(act, Some(Act::Hang));
    let bytes = match answer(&pod, &body, act) {
        Ok(bytes) => bytes,
        Err(code) => return refuse(code),
    };
    // In odd pieces, so that frames never fall on the borders of reads.
    let pieces: Vec<Bytes> = bytes.chunks(1000).map(Bytes::copy_from_slice).collect();
    let whole = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
    let body = if hangs {
        let gone = Gone(Arc::clone(&pod));
        let forever = stream::once(async move {
            let _gone = gone;
            std::future::pending::<Result<Bytes, Infallible>>().await
        });
        Body::from_stream(whole.chain(forever))
    } else {
        Body::from_stream(whole)
    };
    ([(header::CONTENT_TYPE, "application/phallama-res")], body).into_response()
}

struct Gone(Arc<Inner>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.gone.notify_one();
    }
}

fn answer(pod: &Inner, body: &[u8], act: Option<Act>) -> Result<Vec<u8>, Code> {
    let fixture = pod.fixture.lock().unwrap();
    let opened = open_request(&fixture.epoch, &fixture.bundle(), body).map_err(|e| e.code())?;
    let OpenedRequest { plain, exchange } = opened;
    check_signatures(&plain, &fixture);
    pod.seen.lock().unwrap().push(plain.clone());
    let commitment = exchange.request_commitment();
    let (enc, sealer) = exchange.respond(plain.class, &mut UnwrapErr(getrandom::SysRng)).unwrap();
    let mut charged = pod.charged.lock().unwrap();
    let mut answering = Answering { wire: enc, sealer, commitment, plain, fixture: &fixture };
    answering.play(act, &mut charged);
    Ok(answering.wire)
}

/// The user key signed what travels with the request, the voucher for this pod's enclave.
fn check_signatures(plain: &RequestPlain, fixture: &Fixture) {
    let (domain, pod_id, payment) = (domain(fixture), fixture.record.pod_id, &plain.payment);
    let voucher = payment.voucher(pod_id, fixture.identity.address()).digest(&domain);
    assert_eq!(recover(&voucher, &payment.voucher_sig), Ok(payment.user));
    if let (Some(grant), Some(allocation)) = (payment.allocation, payment.allocation(pod_id)) {
        assert_eq!(recover(&allocation.digest(&domain), &grant.signature), Ok(payment.user));
    }
}

fn domain(fixture: &Fixture) -> Domain {
    Domain { chain_id: fixture.chain.chain_id, escrow: fixture.chain.escrow }
}

struct Answering<'a> {
    wire: Vec<u8>,
    sealer: FrameSealer,
    commitment: Digest32,
    plain: RequestPlain,
    fixture: &'a Fixture,
}

impl Answering<'_> {
    fn play(&mut self, act: Option<Act>, charged: &mut u128) {
        let cost = self.fixture.record.offers[0].cost(10, 2).unwrap().value();
        let cap = self.plain.payment.cap.value();
        match act {
            Some(Act::Error(code, cumulative)) => return self.error(code, cumulative),
            None if *charged + cost > cap => {
                let cumulative = u64::try_from(*charged).unwrap();
                return self.error(Code::CapTooLow, cumulative);
            }
            _ => {}
        }
        let weights = if matches!(act, Some(Act::OtherWeights)) { [9; 32] } else { [0xb1; 32] };
        self.message(FrameType::Head, &[&1_u64.to_be_bytes()[..], &weights].concat());
        let data_from = self.wire.len();
        self.data();
        match act {
            Some(Act::ErrorAfterData(code)) => return self.error(code, 0),
            // The host's claim for a client that went away.
            Some(Act::Truncate | Act::Hang) => *charged += cost,
            _ => {
                *charged += cost;
                self.end(*charged, cost, act.as_ref());
            }
        }
        match act {
            Some(Act::CutPadding) => self.wire.truncate(self.wire.len() - 1),
            Some(Act::Trailing) => self.wire.push(0),
            Some(Act::Tamper) => self.wire[data_from + 40] ^= 1,
            _ => {}
        }
    }

    fn data(&mut self) {
        let mut events = Vec::new();
        for event in [
            Event::Content("hello ".to_owned()),
            Event::Content("world".to_owned()),
            Event::Timings { prompt_ms: 3, predicted_ms: 4 },
        ] {
            event.encode(&mut events).unwrap();
        }
        self.message(FrameType::Data, &events);
    }

    fn end(&mut self, cumulative: u128, cost: u128, act: Option<&Act>) {
        let mut receipt = self.receipt(cumulative, cost);
        if let Some(Act::Receipt(change)) = act {
            change(&mut receipt);
        }
        let stranger = Signer::from_bytes(&[0x66; 32]).unwrap();
        let foreign = matches!(act, Some(Act::ForeignReceipt));
        let signer = if foreign { &stranger } else { &self.fixture.identity };
        let signed: SignedReceipt = receipt.sign(signer, &domain(self.fixture));
        self.message(FrameType::End, &signed.encode());
        self.pad();
    }

    fn receipt(&self, cumulative: u128, cost: u128) -> Receipt {
        let (bundle, offer) = (self.fixture.key_bundle(), &self.fixture.record.offers[0]);
        Receipt {
            pod_id: bundle.pod_id,
            identity: bundle.identity,
            channel: channel_id(self.plain.payment.user, bundle.pod_id),
            epoch: self.plain.payment.epoch,
            seq: 1,
            cumulative: Amount::new(cumulative).unwrap(),
            cost: Amount::new(cost).unwrap(),
            request_commitment: self.commitment,
            data_chain: self.sealer.data_chain(),
            data_frames: self.sealer.data_frames(),
            model_digest: offer.weights_sha256,
            measurement: bundle.measurement,
            evidence_hash: bundle.evidence_hash,
            terms_hash: bundle.offers_hash,
            prompt_tokens: 10,
            completion_tokens: 2,
            cached_tokens: 0,
            input_price_per_mtok: offer.input_price_per_mtok,
            output_price_per_mtok: offer.output_price_per_mtok,
            block_seen: 1,
            finish: Finish::Stop,
        }
    }

    fn error(&mut self, code: Code, cumulative: u64) {
        let message = "said by the enclave".to_owned();
        let error = PodError { code, retry_after_ms: 0, cumulative: cumulative.into(), message };
        self.message(FrameType::Error, &error.encode());
        self.pad();
    }

    fn message(&mut self, frame: FrameType, data: &[u8]) {
        self.wire.extend(self.sealer.seal_message(frame, data).unwrap().concat());
    }

    fn pad(&mut self) {
        for _ in 0..self.sealer.padding_due() {
            self.message(FrameType::Pad, &[]);
        }
    }
}

//! A pod with the engine's fake worker, and the two partners of the enclave, scripted: the host on
//! its socket and the client behind it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use phallama_enclave::clock::Clock;
use phallama_enclave::config::{
    Config, LoadConfig, ModelConfig, SimulatedConfig, TeeConfig, WorkerConfig,
};
use phallama_enclave::enclave::Enclave;
use phallama_enclave::link_server;
use phallama_enclave::policy::PolicyConfig;
use phallama_enclave::random::os_rng;
use phallama_protocol::bundle::SignedBundle;
use phallama_protocol::demand::Demand;
use phallama_protocol::eip712::{Domain, channel_id};
use phallama_protocol::events::Event;
use phallama_protocol::frames::{ClientExchange, FrameClass, Message, ResponseOpener};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId, RequestId};
use phallama_protocol::keys::{Signature, Signer};
use phallama_protocol::link::{
    self, Admit, Admitted, Claim, Control, Decoder, Denied, Frame, Kind, Refused,
};
use phallama_protocol::offers::offers_hash;
use phallama_protocol::rand_core::Rng as _;
use phallama_protocol::receipt::{ReceiptExpectation, SignedReceipt};
use phallama_protocol::refusal::{Code, PodError};
use phallama_protocol::request::{Method, Payment, RequestPlain, seal_request};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Price of a prompt token and of a completion token, so that costs are whole numbers.
const INPUT_PER_TOKEN: u64 = 1;
const OUTPUT_PER_TOKEN: u64 = 10;
const PER_MTOK: u64 = 1_000_000;

pub(crate) const MODEL: &str = "fake:1";
pub(crate) const CAP: u64 = 10_000_000;

/// A running enclave and one user of it.
pub(crate) struct Pod {
    pub(crate) enclave: Arc<Enclave>,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) user: Signer,
    dir: TempDir,
}

/// The engine's fake worker, beside this test's executable. `cargo test` builds the programs of the
/// tested package only, so on a fresh clone it is built here.
fn fake_worker() -> PathBuf {
    static WORKER: OnceLock<PathBuf> = OnceLock::new();
    let find = || {
        let executable = std::env::current_exe().unwrap();
        let target = executable.parent().and_then(Path::parent).unwrap();
        let worker = target.join("phallama-fake-worker");
        if !worker.exists() {
            let args = ["build", "--quiet", "--package", "phallama-engine", "--bins"];
            let built = Command::new(env!("CARGO")).args(args).status().unwrap();
            assert!(built.success() && worker.exists(), "{} is missing", worker.display());
        }
        worker
    };
    WORKER.get_or_init(find).clone()
}

pub(crate) fn config(dir: &Path) -> Config {
    let weights = dir.join("weights.gguf");
    fs::write(&weights, include_bytes!("../../../../vectors/gguf/tiny.gguf")).unwrap();
    let digest = Sha256::digest(fs::read(&weights).unwrap());
    Config {
        chain_id: 31_337,
        registry: Address([0x11; 20]),
        escrow: Address([0x22; 20]),
        pod_id: PodId([0x33; 32]),
        link_socket: dir.join("link.sock"),
        models: vec![ModelConfig {
            model: MODEL.to_owned(),
            model_path: weights,
            weights_sha256: Digest32(digest.into()),
            input_price_per_mtok: Amount::from(INPUT_PER_TOKEN * PER_MTOK),
            output_price_per_mtok: Amount::from(OUTPUT_PER_TOKEN * PER_MTOK),
            context_tokens: 32_768,
            max_output_tokens: 16_384,
            load: LoadConfig::Start,
            keep_alive_s: None,
            projector: None,
            draft: None,
            embeddings: None,
        }],
        worker: WorkerConfig {
            path: fake_worker(),
            backend: None,
            args: vec![],
            socket_dir: dir.join("w"),
            slots: 4,
            threads: Some(1),
            queue_max: 8,
            memory_budget_bytes: None,
            stall_timeout_s: None,
            start_timeout_s: None,
            batch_tokens: None,
        },
        tee: TeeConfig::Simulated(SimulatedConfig { platform_seed: "test machine".to_owned() }),
        danger_accept_simulated_tee: true,
        policy: PolicyConfig { classes: FrameClass::ALL.to_vec(), ..PolicyConfig::default() },
    }
}

impl Pod {
    /// An enclave that serves every class with four slots.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// The same, with a changed configuration.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        change(&mut config);
        let clock = Clock::system();
        let enclave = Enclave::start(&config, clock.clone(), |_| ()).await.unwrap();
        let listener = link_server::bind(&config.link_socket).unwrap();
        let serving = link_server::serve(Arc::clone(&enclave), listener, std::future::pending());
        tokio::spawn(serving);
        Self { enclave, config, clock, user: Signer::generate(&mut os_rng()), dir }
    }

    pub(crate) fn domain(&self) -> Domain {
        Domain { chain_id: self.config.chain_id, escrow: self.config.escrow }
    }

    pub(crate) async fn connect(&self) -> Host {
        let stream = UnixStream::connect(self.dir.path().join("link.sock")).await.unwrap();
        Host { stream, decoder: Decoder::default(), ready: Vec::new() }
    }

    pub(crate) async fn bundle(&self) -> SignedBundle {
        let mut host = self.connect().await;
        host.raw(Kind::Bundle, &[]).await;
        let frame = host.frame().await;
        assert_eq!(frame.kind, Kind::Bundle);
        SignedBundle::decode(&frame.payload).unwrap()
    }

    /// A request by [`Pod::user`] in channel epoch 1 with the cap [`CAP`].
    pub(crate) fn request(&self, class: FrameClass, message: &str) -> RequestPlain {
        let body = json!({
            "model": MODEL,
            "max_tokens": 10_000,
            "messages": [{ "role": "user", "content": message }],
        });
        self.request_with_body(class, &body)
    }

    pub(crate) fn request_with_body(&self, class: FrameClass, body: &Value) -> RequestPlain {
        let mut request_id = RequestId::default();
        os_rng().fill_bytes(&mut request_id.0);
        RequestPlain {
            request_id,
            class,
            salt: [7; 32],
            payment: self.payment(1, CAP),
            method: Method::Chat,
            body: serde_json::to_vec(body).unwrap(),
        }
    }

    pub(crate) fn payment(&self, epoch: u32, cap: u64) -> Payment {
        self.payment_by(&self.user, epoch, cap)
    }

    /// A payment by another account.
    pub(crate) fn payment_by(&self, user: &Signer, epoch: u32, cap: u64) -> Payment {
        let mut payment = Payment {
            user: user.address(),
            epoch,
            cap: Amount::from(cap),
            voucher_sig: Signature([0; 64]),
            terms_hash: offers_hash(&self.config.offers()),
            allocation: None,
        };
        let identity = self.enclave.identity_address();
        let digest = payment.voucher(self.config.pod_id, identity).digest(&self.domain());
        payment.voucher_sig = user.sign(&digest);
        payment
    }

    /// A request of a method whose body is not a chat.
    pub(crate) fn request_of(
        &self,
        method: Method,
        class: FrameClass,
        body: &Value,
    ) -> RequestPlain {
        RequestPlain { method, ..self.request_with_body(class, body) }
    }

    /// The most that `request` can cost.
    pub(crate) fn reserve(&self, request: &RequestPlain) -> Amount {
        let demand = Demand::of(request.method, &request.body).unwrap();
        self.config.offers()[0].reserve(&demand).unwrap()
    }

    /// Seals `request` to the current bundle and sends it on a new connection.
    pub(crate) async fn send(&self, request: &RequestPlain) -> Exchange {
        let bundle = self.bundle().await;
        self.send_to(&bundle, request).await
    }

    pub(crate) async fn send_to(&self, bundle: &SignedBundle, request: &RequestPlain) -> Exchange {
        let (sealed, client) = seal_request(bundle, request, &mut os_rng()).unwrap();
        self.send_sealed(&sealed, client).await
    }

    pub(crate) async fn send_sealed(&self, sealed: &[u8], client: ClientExchange) -> Exchange {
        Exchange::begin(self.connect().await, sealed, client).await
    }

    /// Sends `request` on the connection of an exchange that is complete.
    pub(crate) async fn send_after(&self, done: Exchange, request: &RequestPlain) -> Exchange {
        let bundle = self.bundle().await;
        let (sealed, client) = seal_request(&bundle, request, &mut os_rng()).unwrap();
        Exchange::begin(done.host, &sealed, client).await
    }

    /// Sends `request`, admits and stores, and reads the answer to its end.
    pub(crate) async fn ask(&self, request: &RequestPlain) -> Answer {
        self.send(request).await.run(&Script::default()).await
    }

    /// What the enclave says it has charged to the user's channel in epoch 1.
    pub(crate) async fn charged(&self) -> Amount {
        let request = self.request(FrameClass::Unpaced, "ok");
        let script = Script { verdict: Err(denied(Code::BalanceTooLow)), ..Script::default() };
        self.send(&request).await.run(&script).await.admit.unwrap().charged
    }

    /// The client's expectation of a receipt for `request`, with nothing charged before.
    pub(crate) fn expectation(
        &self,
        request: &RequestPlain,
        answer: &Answer,
    ) -> ReceiptExpectation {
        let facts = self.enclave.facts();
        let offer = &self.config.offers()[0];
        ReceiptExpectation {
            pod_id: self.config.pod_id,
            identity: self.enclave.identity_address(),
            channel: channel_id(self.user.address(), self.config.pod_id),
            epoch: request.payment.epoch,
            measurement: facts.measurement,
            evidence_hash: facts.evidence_hash,
            terms_hash: facts.offers_hash,
            model_digest: offer.weights_sha256,
            input_price_per_mtok: offer.input_price_per_mtok,
            output_price_per_mtok: offer.output_price_per_mtok,
            request_commitment: answer.request_commitment,
            data_chain: answer.data_chain,
            data_frames: answer.data_frames,
            reserve: self.reserve(request),
            cap_highest: request.payment.cap,
            cumulative_before: Amount::ZERO,
        }
    }
}

/// `prompt` and `completion` tokens at the prices of the test.
pub(crate) fn cost(prompt: u64, completion: u64) -> Amount {
    Amount::from(prompt * INPUT_PER_TOKEN + completion * OUTPUT_PER_TOKEN)
}

pub(crate) fn denied(code: Code) -> Denied {
    Denied { code, retry_after_ms: 7, cumulative: Amount::from(5), message: "no\u{7}".to_owned() }
}

/// The host's end of one connection.
pub(crate) struct Host {
    stream: UnixStream,
    decoder: Decoder,
    ready: Vec<Frame>,
}

impl Host {
    pub(crate) async fn raw(&mut self, kind: Kind, payload: &[u8]) {
        self.stream.write_all(&link::encode(kind, payload).unwrap()).await.unwrap();
    }

    pub(crate) async fn control<T: Control>(&mut self, message: &T) {
        self.stream.write_all(&link::encode_control(message).unwrap()).await.unwrap();
    }

    /// Asks one control question.
    pub(crate) async fn ask<Q: Control, A: Control>(&mut self, question: &Q) -> Result<A, Refused> {
        self.control(question).await;
        let frame = self.frame().await;
        match frame.kind {
            Kind::Refused => Err(frame.control().unwrap()),
            _ => Ok(frame.control().unwrap()),
        }
    }

    /// The next frame, or `None` when the enclave closed the connection.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        while self.ready.is_empty() {
            let mut bytes = [0; 4096];
            // A connection that was reset is closed, too.
            match self.stream.read(&mut bytes).await.unwrap_or(0) {
                0 => return None,
                read => self.ready.extend(self.decoder.decode(&bytes[..read]).unwrap()),
            }
        }
        Some(self.ready.remove(0))
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        self.next().await.expect("the enclave closed the connection")
    }

    /// Closes the sending half: the client has gone away.
    pub(crate) async fn client_gone(&mut self) {
        self.stream.shutdown().await.unwrap();
    }
}

/// What the host does when it is asked.
pub(crate) struct Script {
    pub(crate) verdict: Result<Admitted, Denied>,
    pub(crate) stored: Kind,
    /// Says nothing to a claim, so that the connection can break there.
    pub(crate) breaks_at_claim: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            verdict: Ok(Admitted { cumulative: Amount::ZERO }),
            stored: Kind::Stored,
            breaks_at_claim: false,
        }
    }
}

/// One request on its way.
pub(crate) struct Exchange {
    pub(crate) host: Host,
    opener: ResponseOpener,
    pub(crate) answer: Answer,
}

/// Everything that host and client saw.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) messages: Vec<Message>,
    pub(crate) admit: Option<Admit>,
    pub(crate) claim: Option<Claim>,
    pub(crate) refused: Option<Refused>,
    /// Whether the enclave said that the exchange is complete.
    pub(crate) done: bool,
    /// Whether the client takes the body for complete.
    pub(crate) complete: bool,
    pub(crate) frames: u64,
    pub(crate) request_commitment: Digest32,
    pub(crate) data_chain: Digest32,
    pub(crate) data_frames: u32,
}

impl Exchange {
    async fn begin(mut host: Host, sealed: &[u8], client: ClientExchange) -> Self {
        host.raw(Kind::Sealed, sealed).await;
        Self { host, opener: client.opener(), answer: Answer::default() }
    }

    /// Runs to its end, or to that of the connection.
    pub(crate) async fn run(mut self, script: &Script) -> Answer {
        self.run_to_end(script).await;
        self.into_answer()
    }

    pub(crate) async fn run_to_end(&mut self, script: &Script) {
        while !matches!(self.step(script).await, None | Some(Kind::Done | Kind::Refused)) {}
    }

    /// Runs until the client has at least one event.
    pub(crate) async fn until_first_event(&mut self, script: &Script) {
        while self.answer.events().next().is_none() {
            let kind = self.step(script).await;
            assert!(kind.is_some(), "the answer ended before its first event");
        }
    }

    /// Handles one frame of the enclave and returns its kind.
    pub(crate) async fn step(&mut self, script: &Script) -> Option<Kind> {
        let frame = self.host.next().await?;
        match frame.kind {
            Kind::Out => self.answer.messages.extend(self.opener.push(&frame.payload).unwrap()),
            Kind::Admit => {
                self.answer.admit = Some(frame.control().unwrap());
                match &script.verdict {
                    Ok(admitted) => self.host.control(admitted).await,
                    Err(denied) => self.host.control(denied).await,
                }
            }
            Kind::Claim if script.breaks_at_claim => {
                self.answer.claim = Some(frame.control().unwrap());
            }
            Kind::Claim => {
                self.answer.claim = Some(frame.control().unwrap());
                // After the client has gone there is no way to say more.
                let stored = link::encode(script.stored, &[]).unwrap();
                let _ = self.host.stream.write_all(&stored).await;
            }
            Kind::Refused => self.answer.refused = Some(frame.control().unwrap()),
            Kind::Done => self.answer.done = true,
            other => panic!("unexpected {other:?}"),
        }
        Some(frame.kind)
    }

    pub(crate) fn into_answer(self) -> Answer {
        Answer {
            complete: self.opener.finish().is_ok(),
            frames: self.opener.frames(),
            request_commitment: self.opener.request_commitment(),
            data_chain: self.opener.data_chain(),
            data_frames: self.opener.data_frames(),
            ..self.answer
        }
    }
}

impl Answer {
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.messages.iter().filter_map(|message| match message {
            Message::Event(event) => Some(event),
            _ => None,
        })
    }

    pub(crate) fn text(&self) -> String {
        let text = |event: &Event| match event {
            Event::Content(text) => Some(text.clone()),
            _ => None,
        };
        self.events().filter_map(text).collect()
    }

    pub(crate) fn receipt(&self) -> &SignedReceipt {
        match self.messages.last() {
            Some(Message::End(receipt)) => receipt,
            other => panic!("the answer ended with {other:?}"),
        }
    }

    pub(crate) fn interim(&self) -> Vec<&SignedReceipt> {
        let mut found = Vec::new();
        for message in &self.messages {
            if let Message::Interim(receipt) = message {
                found.push(receipt);
            }
        }
        found
    }

    /// The authenticated error that ended a complete, uncharged answer.
    pub(crate) fn error(&self) -> &PodError {
        assert!(self.done && self.complete, "the answer was cut off: {:?}", self.messages);
        match self.messages.last() {
            Some(Message::Error(error)) => error,
            other => panic!("the answer ended with {other:?}, refused {:?}", self.refused),
        }
    }
}

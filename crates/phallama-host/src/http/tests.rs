use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use phallama_attest::Evidence;
use phallama_protocol::closing::{CLOSE_MEDIA_TYPE, CLOSE_PATH, CloseAnswer, CloseRequest};
use phallama_protocol::eip712::StartExit;
use phallama_protocol::keys::{Signature, Signer};
use phallama_protocol::link::{CloseSigned, Kind, Refused, SignClose};
use phallama_protocol::refusal::{Code, REFUSAL_LEN, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::enclave::{EnclaveClient, EnclaveState};
use crate::status::StatusSource;
use crate::testing::{World, charge, user};

const BODY_MAX_BYTES: usize = 1_000;

struct Site {
    world: World,
    draining: Arc<AtomicBool>,
    server: Server,
    address: SocketAddr,
}

/// An answer: status, headers and what came after them, with the chunks' frames.
struct Answer {
    status: u16,
    head: String,
    rest: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    fn ended_cleanly(&self) -> bool {
        self.rest.ends_with(b"0\r\n\r\n")
    }

    #[track_caller]
    fn assert_refusal(&self, code: Code) {
        assert_eq!(self.rest.len(), REFUSAL_LEN);
        let refusal = Refusal::decode(&self.rest).unwrap();
        assert_eq!((refusal.code, self.status), (code, code.http_status()));
        assert_eq!(self.header("content-type"), Some("application/phallama-refusal"));
        let seconds = (refusal.retry_after_ms > 0)
            .then(|| refusal.retry_after_ms.div_ceil(1_000).to_string());
        assert_eq!(self.header("retry-after"), seconds.as_deref());
    }
}

impl Site {
    async fn start() -> Self {
        Self::with_limits(10, Duration::from_secs(10)).await
    }

    async fn with_limits(connections_max: usize, patience: Duration) -> Self {
        let world = World::new(0).await;
        let draining = Arc::new(AtomicBool::new(false));
        let exchanges = world.exchanges();
        let status = Arc::new(StatusSource {
            pod_id: world.pod,
            enclave: EnclaveClient::new(world.enclave.socket()),
            state: world.state.subscribe(),
            view: Arc::clone(&world.view),
            gate: Arc::clone(&world.gate),
            open: exchanges.open.clone(),
            url: "http://pod".to_owned(),
            draining: Arc::clone(&draining),
        });
        let state = world.state.subscribe();
        let body_limits = (BODY_MAX_BYTES, patience);
        let keeper = Arc::clone(&world.registered.registrar.keeper);
        let front =
            Front::new(exchanges, keeper, state, Arc::clone(&draining), status, body_limits);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = ServerLimits {
            connections_max,
            header_timeout: patience,
            write_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(10),
        };
        let server = Server::start(listener, front.router(), limits);
        Self { world, draining, server, address }
    }

    async fn send(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    async fn ask(&self, request: &str) -> Answer {
        read(self.send(request).await).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n")).await
    }
}

/// Reads until the server closes the connection; a reset counts as closing.
async fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("an HTTP head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    Answer { status, head, rest: bytes[end + 4..].to_vec() }
}

fn post(media_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /v1/sealed HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\
         content-type: {media_type}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn sealed(body: &str) -> String {
    post("application/phallama-req", body)
}

#[tokio::test]
async fn other_media_type_is_malformed() {
    let site = Site::start().await;
    site.ask(&post("application/json", "{}")).await.assert_refusal(Code::MalformedRequest);
}

#[tokio::test]
async fn stated_size_is_refused_before_the_body_is_sent() {
    let site = Site::start().await;
    let head = "POST /v1/sealed HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\
                content-type: application/phallama-req\r\ncontent-length: 1001\r\n\r\n";
    site.ask(head).await.assert_refusal(Code::RequestTooLarge);
}

#[tokio::test]
async fn body_of_unstated_size_is_read_up_to_the_limit() {
    let site = Site::start().await;
    let head = "POST /v1/sealed HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\
                content-type: application/phallama-req\r\ntransfer-encoding: chunked\r\n\r\n";
    let body = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1_001));
    site.ask(&format!("{head}{body}")).await.assert_refusal(Code::RequestTooLarge);
}

#[tokio::test]
async fn body_that_does_not_come_is_given_up() {
    let site = Site::with_limits(10, Duration::from_millis(200)).await;
    let whole = sealed("0123456789");
    site.ask(&whole[..whole.len() - 5]).await.assert_refusal(Code::MalformedRequest);
}

#[tokio::test]
async fn half_open_headers_are_closed() {
    let site = Site::with_limits(10, Duration::from_millis(200)).await;
    let mut stream = site.send("POST /v1/sealed HTTP/1.1\r\nhost: p").await;
    let mut bytes = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
    let _ = closed.await.expect("the server must close the connection");
}

#[tokio::test]
async fn draining_pod_and_absent_enclave_say_when_to_come_back() {
    let site = Site::start().await;
    site.draining.store(true, Ordering::Release);
    site.ask(&sealed("x")).await.assert_refusal(Code::Draining);
    site.draining.store(false, Ordering::Release);
    site.world.state.send_replace(EnclaveState::Down);
    site.ask(&sealed("x")).await.assert_refusal(Code::QueueFull);
    site.get("/.well-known/phallama/keys").await.assert_refusal(Code::QueueFull);
}

#[tokio::test]
async fn enclave_refusal_keeps_its_code() {
    let site = Site::start().await;
    let enclave = async {
        let mut side = site.world.enclave.accept().await;
        assert_eq!(side.expect(Kind::Sealed).await.payload, b"request");
        side.control(&Refused { code: Code::UnknownKey, retry_after_ms: 0 }).await;
    };
    let request = sealed("request");
    let (answer, ()) = tokio::join!(site.ask(&request), enclave);
    answer.assert_refusal(Code::UnknownKey);
}

async fn ask_to_close(site: &Site, request: &[u8]) -> Answer {
    let length = request.len();
    let head = format!(
        "POST {CLOSE_PATH} HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n"
    );
    let mut stream = site.send(&head).await;
    stream.write_all(request).await.unwrap();
    read(stream).await
}

fn close_request(site: &Site, user: &Signer) -> Vec<u8> {
    let gate = &site.world.exchanges().gate;
    let exit = StartExit { pod_id: gate.pod, epoch: 0 };
    CloseRequest { epoch: 0, exit_sig: user.sign(&exit.digest(&gate.domain)) }.encode()
}

#[tokio::test]
async fn enclaves_last_word_is_for_whoever_signed_the_request() {
    let (site, user) = (Site::start().await, user(0));
    site.world.open(&user, 1_000).await;
    site.world.lock(&user, 100).await;
    let (cumulative, signature) = (70.into(), Signature([8; 64]));
    let enclave = async {
        let mut side = site.world.enclave.accept().await;
        let asked: SignClose = side.expect(Kind::SignClose).await.control().unwrap();
        side.control(&CloseSigned { cumulative, signature }).await;
        asked
    };
    let request = close_request(&site, &user);
    let (answer, asked) = tokio::join!(ask_to_close(&site, &request), enclave);
    assert_eq!(asked, SignClose { user: user.address(), epoch: 0 });
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some(CLOSE_MEDIA_TYPE));
    assert_eq!(CloseAnswer::decode(&answer.rest), Ok(CloseAnswer { cumulative, signature }));
}

#[tokio::test]
async fn channel_does_not_end_before_what_was_charged_is_locked() {
    let site = Site::start().await;
    let (unlocked, locked) = (user(0), user(1));
    let request = |user: &Signer| {
        let gate = &site.world.exchanges().gate;
        let exit = StartExit { pod_id: gate.pod, epoch: 0 };
        CloseRequest { epoch: 0, exit_sig: user.sign(&exit.digest(&gate.domain)) }.encode()
    };
    site.world.open(&unlocked, 1_000).await;
    charge(&site.world, &unlocked, 80).await;
    ask_to_close(&site, &request(&unlocked)).await.assert_refusal(Code::QueueFull);
    site.world.open(&locked, 1_000).await;
    site.world.lock(&locked, 100).await;
    charge(&site.world, &locked, 80).await;
    let (cumulative, signature) = (80.into(), Signature([8; 64]));
    let enclave = async {
        let mut side = site.world.enclave.accept().await;
        side.expect(Kind::SignClose).await;
        side.control(&CloseSigned { cumulative, signature }).await;
    };
    let request = request(&locked);
    let (answer, ()) = tokio::join!(ask_to_close(&site, &request), enclave);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn last_word_that_leaves_claims_unpaid_is_kept_back() {
    let (site, user) = (Site::start().await, user(0));
    site.world.open(&user, 1_000).await;
    site.world.lock(&user, 100).await;
    charge(&site.world, &user, 80).await;
    let request = close_request(&site, &user);
    // Less than the journal has, and more than is locked.
    for cumulative in [0_u64, 79, 101] {
        let enclave = async {
            let mut side = site.world.enclave.accept().await;
            side.expect(Kind::SignClose).await;
            let signature = Signature([8; 64]);
            side.control(&CloseSigned { cumulative: cumulative.into(), signature }).await;
        };
        let (answer, ()) = tokio::join!(ask_to_close(&site, &request), enclave);
        answer.assert_refusal(Code::QueueFull);
    }
}

#[tokio::test]
async fn request_to_close_is_72_bytes_of_a_kind() {
    let site = Site::start().await;
    let request = close_request(&site, &Signer::from_bytes(&[9; 32]).unwrap());
    ask_to_close(&site, &request[..71]).await.assert_refusal(Code::MalformedRequest);
    let longer = [request.as_slice(), &[0]].concat();
    ask_to_close(&site, &longer).await.assert_refusal(Code::RequestTooLarge);
}

#[tokio::test]
async fn enclave_that_has_not_served_the_channel_does_not_close_it() {
    let site = Site::start().await;
    for (said, told) in [
        (Code::EpochMismatch, Code::EpochMismatch),
        (Code::QueueFull, Code::QueueFull),
        (Code::Internal, Code::QueueFull),
    ] {
        let enclave = async {
            let mut side = site.world.enclave.accept().await;
            side.expect(Kind::SignClose).await;
            side.control(&Refused { code: said, retry_after_ms: 0 }).await;
        };
        let request = close_request(&site, &Signer::from_bytes(&[9; 32]).unwrap());
        let (answer, ()) = tokio::join!(ask_to_close(&site, &request), enclave);
        answer.assert_refusal(told);
    }
}

#[tokio::test]
async fn complete_answer_ends_cleanly() {
    let site = Site::start().await;
    let enclave = async {
        let mut side = site.world.enclave.accept().await;
        side.expect(Kind::Sealed).await;
        side.raw(Kind::Out, b"frame one").await;
        side.raw(Kind::Out, b"frame two").await;
        side.raw(Kind::Done, &[]).await;
    };
    let request = sealed("request");
    let (answer, ()) = tokio::join!(site.ask(&request), enclave);
    assert_eq!((answer.status, answer.ended_cleanly()), (200, true));
    assert_eq!(answer.header("content-type"), Some("application/phallama-res"));
    assert_eq!(answer.header("incremental"), Some("?1"));
    let body = String::from_utf8(answer.rest).unwrap();
    assert!(body.contains("frame one") && body.contains("frame two"), "{body}");
}

#[tokio::test]
async fn aborted_answer_does_not_end_cleanly() {
    let site = Site::start().await;
    let mut stream = site.send(&sealed("request")).await;
    let mut side = site.world.enclave.accept().await;
    side.expect(Kind::Sealed).await;
    side.raw(Kind::Out, b"frame one").await;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"frame one\r\n") {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "the answer ended before its first frame");
        bytes.extend_from_slice(&piece[..read]);
    }
    drop(side);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "neither more bytes nor the last chunk's mark");
}

#[tokio::test]
async fn keys_are_the_enclaves_bytes_and_are_asked_for_once() {
    let site = Site::start().await;
    let enclave = async {
        let mut side = site.world.enclave.accept().await;
        side.expect(Kind::Bundle).await.empty(Kind::Bundle).unwrap();
        side.raw(Kind::Bundle, b"bundle").await;
    };
    let (answer, ()) = tokio::join!(site.get("/.well-known/phallama/keys"), enclave);
    assert_eq!((answer.status, &answer.rest[..]), (200, &b"bundle"[..]));
    assert_eq!(answer.header("content-type"), Some("application/phallama-keys"));
    assert_eq!(site.get("/.well-known/phallama/keys").await.rest, b"bundle");
}

#[tokio::test]
async fn evidence_is_kept_and_made_anew_only_for_a_nonce() {
    let site = Site::start().await;
    let path = "/.well-known/phallama/evidence";
    let EnclaveState::Ready(info) = site.world.state.borrow().clone() else { unreachable!() };
    assert_eq!(site.get(path).await.rest, info.evidence.to_json().unwrap());

    // The enclave's own collateral may be older than what the host has fetched since.
    let mut fresh = Evidence::clone(&info.evidence);
    fresh.quote = vec![0xfe; 600];
    let mut stale = fresh.clone();
    stale.collateral.tcb_info.clear();
    let enclave = async {
        let mut side = site.world.enclave.accept().await;
        assert_eq!(side.expect(Kind::Evidence).await.payload, [0xab; 32]);
        side.raw(Kind::Evidence, &stale.to_json().unwrap()).await;
    };
    let with_nonce = format!("{path}?nonce={}", "ab".repeat(32));
    let (answer, ()) = tokio::join!(site.get(&with_nonce), enclave);
    assert_eq!(answer.rest, fresh.to_json().unwrap());
    site.get(&format!("{path}?nonce=abcd")).await.assert_refusal(Code::MalformedRequest);
}

#[tokio::test]
async fn health_names_the_pod_and_nobody_else() {
    let site = Site::start().await;
    site.world.state.send_replace(EnclaveState::Down);
    let answer = site.get("/healthz").await;
    assert_eq!(answer.status, 503);
    let health: serde_json::Value = serde_json::from_slice(&answer.rest).unwrap();
    let mut keys: Vec<_> = health.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = [
        "block",
        "chain_behind",
        "draining",
        "identity",
        "in_flight",
        "journal_behind",
        "measurement",
        "models",
        "payments_paused",
        "payments_stopped",
        "pod_id",
        "queued",
        "ready",
        "slots",
        "worker",
    ];
    assert_eq!(keys, expected);
    assert_eq!(health["pod_id"], site.world.pod.to_string());
}

#[tokio::test]
async fn connection_above_the_cap_waits_for_a_place() {
    let site = Site::with_limits(1, Duration::from_secs(10)).await;
    let first = site.send("GET /healthz HTTP/1.1\r\nhost: p").await;
    let path = "/.well-known/phallama/evidence";
    let mut second = Box::pin(site.get(path));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut second).await;
    assert!(early.is_err(), "the only place is taken");
    drop(first);
    assert_eq!(second.await.status, 200);
}

#[tokio::test]
async fn stopped_server_lets_an_open_answer_finish() {
    let site = Site::start().await;
    let stream = site.send(&sealed("request")).await;
    let mut side = site.world.enclave.accept().await;
    side.expect(Kind::Sealed).await;
    side.raw(Kind::Out, b"frame one").await;
    let finish = async {
        side.raw(Kind::Done, &[]).await;
    };
    let ((), answer, ()) = tokio::join!(site.server.stop(), read(stream), finish);
    assert!(answer.ended_cleanly());
    assert!(TcpStream::connect(site.address).await.is_err(), "nothing more is accepted");
}

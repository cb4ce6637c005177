//! A caching service that serves the simulated platform's collateral, and does what a test wants
//! in between.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::collateral::{Cache, CollateralSource, Endpoint, HttpLimits, Item, PckCa, Wanted};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Response, StatusCode};
use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Collateral, Tee};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// 2026-11-18T12:00:00Z.
pub(crate) const NOW: u64 = 1_795_003_200;
pub(crate) const DAY: u64 = 86_400;

/// Changes an honest answer; gets the item that was asked for.
type Change = Arc<dyn Fn(Item, Response<Vec<u8>>) -> Response<Vec<u8>> + Send + Sync>;

/// What a service has and does.
struct Behaviour {
    collateral: Collateral,
    change: Change,
}

/// A running service.
pub(crate) struct Service {
    pub(crate) url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<AtomicUsize>,
}

impl Service {
    pub(crate) async fn start(collateral: Collateral) -> Self {
        let behaviour = Behaviour { collateral, change: Arc::new(|_, answer| answer) };
        let behaviour = Arc::new(Mutex::new(behaviour));
        let asked = Arc::new(AtomicUsize::new(0));
        let (state, count) = (Arc::clone(&behaviour), Arc::clone(&asked));
        let app = Router::new().fallback(move |request: Request| {
            count.fetch_add(1, Ordering::SeqCst);
            let answer = state.lock().unwrap().answer(&request);
            async move { answer.map(Body::from) }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, behaviour, asked }
    }

    /// From now on every answer is changed so.
    pub(crate) fn change(
        &self,
        change: impl Fn(Item, Response<Vec<u8>>) -> Response<Vec<u8>> + Send + Sync + 'static,
    ) {
        self.behaviour.lock().unwrap().change = Arc::new(change);
    }

    /// From now on it refuses everything.
    pub(crate) fn goes_down(&self) {
        self.change(|_, _| status(503));
    }

    /// From now on it serves this.
    pub(crate) fn serves(&self, collateral: Collateral) {
        self.behaviour.lock().unwrap().collateral = collateral;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Behaviour {
    fn answer(&self, request: &Request) -> Response<Vec<u8>> {
        let target = request.uri().path_and_query().unwrap().as_str();
        let Some((item, answer)) = honest(&self.collateral, target) else { return status(404) };
        (self.change)(item, answer)
    }
}

/// What a caching service sends: lists as DER or hex, chains URL-encoded in headers.
fn honest(collateral: &Collateral, target: &str) -> Option<(Item, Response<Vec<u8>>)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (tee, path) = path.strip_prefix('/')?.split_once("/certification/v4/")?;
    let chained = |name: &str, chain: &str, body: Vec<u8>| {
        Response::builder().header(name, url_encoded(chain)).body(body).unwrap()
    };
    let json = |name: &str, signed: &str, signature: &[u8]| {
        format!(r#"{{"{name}":{signed},"signature":"{}"}}"#, hex::encode(signature)).into_bytes()
    };
    let c = collateral;
    match (tee, path) {
        ("sgx", "rootcacrl") => {
            Some((Item::RootCrl, Response::new(hex::encode(&c.root_ca_crl).into_bytes())))
        }
        ("sgx", "pckcrl") => {
            assert_eq!(query, "ca=platform&encoding=der");
            let header = "SGX-PCK-CRL-Issuer-Chain";
            Some((Item::PckCrl, chained(header, &c.pck_crl_issuer_chain, c.pck_crl.clone())))
        }
        ("sgx" | "tdx", "tcb") => {
            assert_eq!(query, "fmspc=00606A000000");
            let body = json("tcbInfo", &c.tcb_info, &c.tcb_info_signature);
            Some((Item::TcbInfo, chained("TCB-Info-Issuer-Chain", &c.tcb_info_issuer_chain, body)))
        }
        ("sgx" | "tdx", "qe/identity") => {
            let body = json("enclaveIdentity", &c.qe_identity, &c.qe_identity_signature);
            let header = "SGX-Enclave-Identity-Issuer-Chain";
            Some((Item::QeIdentity, chained(header, &c.qe_identity_issuer_chain, body)))
        }
        _ => None,
    }
}

pub(crate) fn url_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

pub(crate) fn status(code: u16) -> Response<Vec<u8>> {
    let status = StatusCode::from_u16(code).unwrap();
    Response::builder().status(status).body(Vec::new()).unwrap()
}

/// The simulated machine of these tests, under the shared development root.
pub(crate) fn machine() -> SimulatedPlatform {
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"machine"))
}

pub(crate) fn wanted(tee: Tee) -> Wanted {
    let machine = machine();
    let (fmspc, root_der) = (machine.spec().fmspc, machine.root().root_der().to_vec());
    Wanted { tee, fmspc, ca: PckCa::Platform, root_der }
}

/// What the authorities say about `machine`.
pub(crate) fn published(machine: &SimulatedPlatform, spec: &CollateralSpec) -> Collateral {
    machine.evidence(&EnclaveSpec::new([1; 32], [2; 64]), spec).collateral
}

/// Issued an hour before `now_unix_s`, valid for 30 days.
pub(crate) fn fresh(now_unix_s: u64) -> Collateral {
    published(&machine(), &CollateralSpec::fresh(now_unix_s))
}

/// A source with a cache of its own.
pub(crate) struct Setup {
    pub(crate) source: CollateralSource,
    pub(crate) dir: TempDir,
}

impl Setup {
    pub(crate) fn new(urls: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { source: source(dir.path(), urls), dir }
    }
}

pub(crate) fn source(dir: &std::path::Path, urls: &[&str]) -> CollateralSource {
    let limits = HttpLimits { within: Duration::from_secs(2), ..HttpLimits::default() };
    let endpoints = urls.iter().map(|url| Endpoint::new(url, limits).unwrap()).collect();
    CollateralSource::new(endpoints, limits, Cache::open(dir).unwrap())
}

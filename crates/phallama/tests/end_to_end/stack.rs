//! One running deployment for a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use phallama::home::{ApprovedMeasurement, Home};
use phallama::server::Guard;
use phallama::tokens::Tokens;
use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::{Chain, ChainConfig};
use phallama_client::{
    ApprovedMeasurement as Approved, Client, ClientConfig, Keystore, ScryptCost, SpendLimits,
    TrustPolicy,
};
use phallama_devchain::{ChainOptions, DevChain, dev_account};
use phallama_host::config::{
    BackendSettings, CollateralSettings, EmbeddingsSettings, EnclaveSettings, ModelSettings,
    Policy, TeeSettings, WorkerSettings,
};
use phallama_host::{Pod, PodConfig};
use phallama_protocol::eip712::OpenAccount;
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) const MODEL: &str = "test-model";
/// The same model, offered for embeddings.
pub(crate) const VECTORS: &str = "smollm2:vectors";
pub(crate) const DEPOSIT: u64 = 5_000_000;
/// A page of another origin that the user has listed.
pub(crate) const PAGE_ELSEWHERE: &str = "http://localhost:3000";
const LOOPBACK: &str = "127.0.0.1:0";

/// What is behind the enclave.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worker {
    /// llama-server with SmolLM2-135M-Instruct.
    Real,
    /// The scripted worker: the last user message is its script.
    Scripted,
}

/// How a stack differs from the usual one.
pub(crate) struct Options {
    pub(crate) worker: Worker,
    /// What computes instead, with the program of it.
    pub(crate) backend: Option<(PathBuf, BackendSettings)>,
    /// Another EVM endpoint than the embedded chain.
    pub(crate) rpc_url: Option<String>,
    /// What the user has in the escrow; nothing at all when zero.
    pub(crate) deposit: u64,
    /// Whether the user has approved the enclave program.
    pub(crate) approved: bool,
    pub(crate) class: FrameClass,
    /// Whether the model is offered for embeddings too, as [`VECTORS`].
    pub(crate) vectors: bool,
    pub(crate) slots: u32,
    pub(crate) queue_max: usize,
    pub(crate) policy: Policy,
}

impl Options {
    pub(crate) fn scripted() -> Self {
        Self {
            worker: Worker::Scripted,
            backend: None,
            rpc_url: None,
            deposit: DEPOSIT,
            approved: true,
            class: FrameClass::Unpaced,
            vectors: false,
            slots: 2,
            queue_max: 8,
            policy: Policy::default(),
        }
    }

    pub(crate) fn real() -> Self {
        Self { worker: Worker::Real, class: FrameClass::Std, ..Self::scripted() }
    }
}

/// Chain, contracts, pod, user and local server. Everything ends with it.
pub(crate) struct Stack {
    pub(crate) dir: TempDir,
    pub(crate) chain: Chain,
    /// Until it is stopped.
    pod: Option<Pod>,
    pub(crate) pod_id: PodId,
    pub(crate) pod_url: String,
    pub(crate) user: Signer,
    pub(crate) client: Arc<Client>,
    /// The local server.
    pub(crate) server: SocketAddr,
}

pub(crate) fn developer(index: u32) -> Signer {
    Signer::from_bytes(&dev_account(index).1).expect("a valid scalar")
}

impl Stack {
    pub(crate) async fn start(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let rpc_url = match &options.rpc_url {
            Some(url) => url.clone(),
            None => embedded_chain().await,
        };
        let config = deploy(&rpc_url).await;
        let chain = Chain::connect(config.clone()).await.expect("the contracts are there");
        let pod = start_pod(dir.path(), &config, &options).await;
        let (user, owner) = (new_user(dir.path()), developer(2));
        if options.deposit > 0 {
            deposit(&chain, &user, &owner, options.deposit).await;
        }
        write_config(dir.path(), &chain, &pod, &options).await;
        let client = Arc::new(open_client(dir.path(), &chain, &pod, &user, &options).await);
        let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
        let server = listener.local_addr().expect("bound");
        let page = page(dir.path(), &client);
        let tokens = Tokens::of(&Home::at(dir.path()));
        let origins = [PAGE_ELSEWHERE.to_owned()];
        let guard = Guard::new(Some(server), &[], &origins, tokens, false);
        tokio::spawn(phallama::server::serve(listener, Arc::clone(&client), Some(page), guard));
        let (pod_id, pod_url) = (pod.pod_id(), pod.url().to_owned());
        Self { dir, chain, pod: Some(pod), pod_id, pod_url, user, client, server }
    }

    pub(crate) fn pod(&self) -> &Pod {
        self.pod.as_ref().expect("the pod runs")
    }

    /// A clean end of the pod: it drains, settles and goes.
    pub(crate) async fn stop_pod(&mut self) {
        self.pod.take().expect("the pod runs").shutdown().await.expect("a clean end");
    }

    /// Stops the pod and starts it again in the same place with other prices.
    pub(crate) async fn restart_pod_at_prices(&mut self, input: u64, output: u64) {
        self.stop_pod().await;
        let mut config = pod_config(self.dir.path(), self.chain.config(), &Options::scripted());
        config.listen = self.pod_url.trim_start_matches("http://").parse().expect("an address");
        let model = &mut config.enclave.models[0];
        (model.input_price_per_mtok, model.output_price_per_mtok) = (input.into(), output.into());
        self.pod = Some(Pod::start(config, |_| {}).await.expect("the pod starts"));
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server)
    }

    /// Posts JSON to the local server: status, then the body or why it broke off.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> (u16, Result<String, reqwest::Error>) {
        let sent = reqwest::Client::new().post(self.url(path)).json(body).send().await;
        let response = sent.expect("the local server answers");
        (response.status().as_u16(), response.text().await)
    }

    /// Posts a sealed request straight to the pod, as anybody could.
    pub(crate) async fn post_sealed(&self, request: Vec<u8>) -> reqwest::Response {
        reqwest::Client::new()
            .post(format!("{}/v1/sealed", self.pod_url))
            .header("content-type", "application/phallama-req")
            .body(request)
            .send()
            .await
            .expect("the pod answers")
    }

    /// Runs the command line in this stack's home.
    pub(crate) async fn phallama(&self, arguments: &[&str]) -> std::process::Output {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_phallama"))
            .args(arguments)
            .env_clear()
            .env("PHALLAMA_HOME", self.dir.path())
            .env("HOME", self.dir.path())
            .env("PHALLAMA_PASSWORD_FILE", self.dir.path().join("password"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the binary runs")
    }

    /// The same, which must succeed, with its answer as JSON.
    pub(crate) async fn phallama_json(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.phallama(&[&["--json"], arguments].concat()).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        let value = serde_json::from_slice(&output.stdout).expect("JSON");
        crate::json::check(&value);
        value
    }

    /// Lets a key be found by the command line: a developer's, in a file of this name.
    pub(crate) fn key_file(&self, name: &str, index: u32) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, hex::encode(developer(index).to_bytes().as_slice()))
            .expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    /// Moves the embedded chain's clock.
    pub(crate) async fn advance(&self, seconds: u64) {
        for (method, params) in [
            ("evm_increaseTime", serde_json::json!([seconds])),
            ("evm_mine", serde_json::json!([])),
        ] {
            let body =
                serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            let url = &self.chain.config().rpc_urls[0];
            let sent = reqwest::Client::new().post(url).json(&body).send().await;
            assert!(sent.expect("the chain answers").status().is_success());
        }
    }

    /// Everything the user has, free or locked and unclaimed, in smallest units.
    pub(crate) async fn users_money(&self) -> u128 {
        let user = self.user.address();
        let account = self.chain.account(user).await.expect("read");
        let channel = self.chain.channel(user, self.pod_id).await.expect("read");
        account.free.value() + channel.locked.value() - channel.claimed.value()
    }

    /// Kills the enclave program as a crash would, and waits for the next boot to serve.
    pub(crate) async fn crash_enclave(&self) {
        let before = self.pod().status().await.health.identity;
        let pattern = format!("phallama-enclave.*{}", self.dir.path().display());
        let killed = Command::new("pkill").args(["-9", "-f", &pattern]).status().expect("pkill");
        assert!(killed.success(), "no enclave program ran");
        loop {
            let health = self.pod().status().await.health;
            if health.ready && health.identity != before {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Settles everything and returns what the contract paid.
    pub(crate) async fn settle(&self) -> u128 {
        let settled = self.pod().settle_now().await.expect("settled");
        settled.iter().map(|settlement| settlement.paid.value()).sum()
    }
}

impl Stack {
    /// A second client of the same user, with records of its own.
    pub(crate) async fn another_client(&self, class: FrameClass, records: &str) -> Client {
        let options = Options { class, ..Options::scripted() };
        let dir = self.dir.path().join(records);
        open_client(&dir, &self.chain, self.pod(), &self.user, &options).await
    }
}

impl Stack {
    /// A client of the same user with limits, on the same records.
    pub(crate) async fn limited_client(&self, limits: SpendLimits, class: FrameClass) -> Client {
        let other = self.another_client(class, "limited").await;
        let mut config = other.config().clone();
        drop(other);
        config.limits = limits;
        Client::open(config, self.user.clone()).await.expect("opened")
    }
}

/// What a recorder has seen of `POST /v1/sealed`.
pub(crate) type Recorded = Arc<Mutex<Vec<Vec<u8>>>>;

/// Somebody on the path: passes everything on to the pod and keeps the sealed requests.
pub(crate) async fn recorder(pod_url: &str) -> (String, Recorded) {
    let recorded = Recorded::default();
    let (target, kept) = (pod_url.to_owned(), Arc::clone(&recorded));
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        pass_on(target.clone(), Arc::clone(&kept), request)
    });
    (serve(app).await, recorded)
}

/// Somebody on the path who cuts every answer to a sealed request after so many bytes.
pub(crate) async fn cutter(pod_url: &str, after_bytes: usize) -> String {
    let target = pod_url.to_owned();
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let target = target.clone();
        async move {
            let cut = request.method() == http::Method::POST;
            let (head, body) = pass_on(target, Recorded::default(), request).await.into_parts();
            if !cut {
                return axum::response::Response::from_parts(head, body);
            }
            let mut left = after_bytes;
            let body = body.into_data_stream().map(move |bytes| {
                let mut bytes = bytes.map_err(std::io::Error::other)?;
                if left == 0 {
                    return Err(std::io::Error::other("cut"));
                }
                bytes.truncate(left);
                left -= bytes.len();
                Ok(bytes)
            });
            axum::response::Response::from_parts(head, axum::body::Body::from_stream(body))
        }
    });
    serve(app).await
}

async fn serve(app: axum::Router) -> String {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn pass_on(
    target: String,
    kept: Recorded,
    request: axum::extract::Request,
) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a whole request");
    if parts.method == http::Method::POST {
        kept.lock().expect("no panic").push(body.to_vec());
    }
    let url = format!("{target}{}", parts.uri);
    let mut headers = parts.headers;
    headers.remove(http::header::HOST);
    let sent = reqwest::Client::new().request(parts.method, url).headers(headers).body(body);
    let answer = sent.send().await.expect("the pod answers");
    let mut response = axum::response::Response::builder().status(answer.status());
    if let Some(kind) = answer.headers().get(http::header::CONTENT_TYPE) {
        response = response.header(http::header::CONTENT_TYPE, kind);
    }
    let body = axum::body::Body::from_stream(answer.bytes_stream());
    response.body(body).expect("a response")
}

async fn embedded_chain() -> String {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(phallama_devchain::serve(DevChain::new(ChainOptions::default()), listener));
    format!("http://{address}")
}

async fn deploy(rpc_url: &str) -> ChainConfig {
    let deployer = developer(0);
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let config = deploy_under(rpc_url, root.root_der()).await;
    let chain = Chain::connect(config.clone()).await.expect("the contracts are there");
    let minted = Amount::from(1_000_000_000);
    chain.sender(&deployer).mint_test_token(developer(2).address(), minted).await.expect("minted");
    config
}

/// A deployment whose verifier pins this root certificate.
pub(crate) async fn deploy_under(rpc_url: &str, root_der: &[u8]) -> ChainConfig {
    let deployed = phallama_chain::deploy(rpc_url, &developer(0), root_der).await;
    deployed.expect("deployed").config(rpc_url)
}

pub(crate) async fn deposit(chain: &Chain, user: &Signer, owner: &Signer, amount: u64) {
    let opening = OpenAccount { user: user.address(), owner: owner.address() };
    let signature = user.sign(&opening.digest(&chain.domain()));
    let amount = Amount::from(amount);
    let sender = chain.sender(owner);
    sender
        .open_and_deposit(user.address(), owner.address(), &signature, amount)
        .await
        .expect("deposited");
}

fn new_user(home: &Path) -> Signer {
    std::fs::write(home.join("password"), "demo\n").expect("written");
    let path = home.join(phallama::context::USER_KEYSTORE);
    Keystore::create(&path, "demo", ScryptCost::LIGHT).expect("created").1
}

async fn start_pod(dir: &Path, chain: &ChainConfig, options: &Options) -> Pod {
    let config = pod_config(dir, chain, options);
    Pod::start(config, |_| {}).await.expect("the pod starts")
}

pub(crate) fn pod_config(dir: &Path, chain: &ChainConfig, options: &Options) -> PodConfig {
    let (worker, model_path) = match options.worker {
        Worker::Real => (set_up("llama-server"), set_up("model")),
        Worker::Scripted => (program("phallama-fake-worker"), scripted_weights(dir)),
    };
    let (worker, backend) = match &options.backend {
        Some((program, backend)) => (program.clone(), Some(backend.clone())),
        None => (worker, None),
    };
    let operator = developer(1);
    let model = ModelSettings {
        model: MODEL.to_owned(),
        weights_sha256: Digest32(Sha256::digest(std::fs::read(&model_path).expect("read")).into()),
        model_path,
        input_price_per_mtok: Amount::from(100_000),
        output_price_per_mtok: Amount::from(400_000),
        context_tokens: 4096,
        max_output_tokens: 1024,
        load: None,
        keep_alive_s: None,
        projector: None,
        draft: None,
        embeddings: None,
    };
    let pooling = Some("mean".to_owned());
    let vectors = ModelSettings {
        model: VECTORS.to_owned(),
        context_tokens: 512,
        max_output_tokens: 1,
        embeddings: Some(EmbeddingsSettings { pooling }),
        ..model.clone()
    };
    let models = if options.vectors { vec![model, vectors] } else { vec![model] };
    let worker = WorkerSettings {
        path: worker,
        backend,
        args: Vec::new(),
        slots: Some(options.slots),
        threads: None,
        queue_max: Some(options.queue_max),
        ..WorkerSettings::default()
    };
    PodConfig {
        listen: LOOPBACK.parse().expect("an address"),
        public_url: None,
        chain: chain.clone(),
        payout: operator.address(),
        operator,
        salt: [7; 32],
        state_dir: dir.join("pod"),
        enclave: EnclaveSettings {
            program: program("phallama-enclave"),
            program_args: Vec::new(),
            models,
            worker,
            tee: TeeSettings::Simulated { platform_seed: "end to end".to_owned() },
            danger_accept_simulated_tee: true,
            policy: Some(serde_json::json!({"classes": ["std", "fast", "bulk", "unpaced"]})),
        },
        collateral: CollateralSettings::default(),
        policy: options.policy.clone(),
    }
}

/// The scripted worker reads no weights; any valid file will do, as long as it is the one offered.
pub(crate) fn scripted_weights(dir: &Path) -> PathBuf {
    let path = dir.join("weights.gguf");
    std::fs::write(&path, include_bytes!("../../../../vectors/gguf/tiny.gguf")).expect("written");
    path
}

/// A program of this workspace, beside the one under test.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_phallama")).with_file_name(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace --bins`", path.display());
    path
}

/// What the set-up command has installed; it is asked only once a machine.
fn set_up(part: &str) -> PathBuf {
    let variable = format!("PHALLAMA_{}", part.to_uppercase().replace('-', "_"));
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(script).arg(part).stderr(Stdio::inherit()).output().expect("runs");
    assert!(output.status.success(), "tools/setup.sh {part} failed");
    String::from_utf8(output.stdout).expect("UTF-8").trim().into()
}

async fn measurement(chain: &Chain, pod: &Pod) -> String {
    let record = chain.pod(pod.pod_id()).await.expect("read").expect("registered");
    let key = record.key.expect("attested");
    key.measurement.to_string().trim_start_matches("0x").to_owned()
}

/// What `phallama chain deploy` and `phallama trust approve` would have written.
async fn write_config(dir: &Path, chain: &Chain, pod: &Pod, options: &Options) {
    let home = Home::at(dir);
    let mut config = home.config().expect("none yet");
    config.chain = Some(chain.config().clone());
    config.trust.danger_accept_simulated_tee = true;
    "unpaced".clone_into(&mut config.serve.class);
    if options.approved {
        let measurement = measurement(chain, pod).await;
        let label = "the build under test".to_owned();
        config.trust.measurements.push(ApprovedMeasurement { label, measurement, policy: None });
    }
    home.write_config(&config).expect("written");
}

/// The web page of the local server, with the development owner's key once that is in its file.
fn page(dir: &Path, client: &Arc<Client>) -> phallama::server::Page {
    let global = phallama::cli::Global {
        home: Some(dir.to_owned()),
        json: false,
        quiet: false,
        no_color: false,
        password_file: None,
        wallet: None,
        danger_accept_simulated_tee: true,
    };
    let context = phallama::context::Context::load(global).expect("a configuration");
    phallama::server::Page::new(&context, Arc::clone(client), None).expect("a wallet")
}

async fn open_client(
    dir: &Path,
    chain: &Chain,
    pod: &Pod,
    user: &Signer,
    options: &Options,
) -> Client {
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED).root_der().to_vec();
    let mut approved = Vec::new();
    if options.approved {
        let measurement = measurement(chain, pod).await;
        approved.push(Approved::from_hex("the build under test", &measurement).expect("hex"));
    }
    let trust = TrustPolicy::danger_simulated(root, approved);
    let mut config = ClientConfig::new(chain.config().clone(), trust, dir.join("state"));
    config.class = options.class;
    Client::open(config, user.clone()).await.expect("opened")
}

/// A real anvil, ended with the value.
pub(crate) struct Anvil {
    process: Child,
    pub(crate) url: String,
}

impl Anvil {
    /// `None` when it is not installed; the caller says what was not tested.
    pub(crate) async fn start() -> Option<Self> {
        let binary = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        if !binary.exists() {
            return None;
        }
        let port = TcpListener::bind(LOOPBACK).await.ok()?.local_addr().ok()?.port();
        let process = Command::new(binary)
            .args(["--port", &port.to_string(), "--silent"])
            .stdout(Stdio::null())
            .spawn()
            .expect("anvil runs");
        let anvil = Self { process, url: format!("http://127.0.0.1:{port}") };
        for index in 0..3 {
            anvil.fund(&developer(index)).await;
        }
        Some(anvil)
    }

    /// Retries until the freshly started process listens.
    async fn fund(&self, account: &Signer) {
        let body = serde_json::json!({
            "jsonrpc": "2.0", "id": 1, "method": "anvil_setBalance",
            "params": [account.address(), "0x21e19e0c9bab2400000"],
        });
        phallama_chain::use_ring();
        let mut tries = 0;
        while reqwest::Client::new().post(&self.url).json(&body).send().await.is_err() {
            tries += 1;
            assert!(tries < 200, "anvil does not listen");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

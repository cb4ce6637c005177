//! A chain, a pod and users with a local server each: all of them processes but the chain, so that
//! each can be killed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use phallama::context::{USER_KEYSTORE, key_text};
use phallama::home::{ApprovedMeasurement, Home};
use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::{Chain, ChainConfig, Channel};
use phallama_client::{Client, ClientConfig, Keystore, ScryptCost, StoredReceipt, TrustPolicy};
use phallama_devchain::{ChainOptions, DevChain, FaultyRpc, dev_account};
use phallama_host::journal::{ChannelRecord, Journal};
use phallama_protocol::demand::Demand;
use phallama_protocol::eip712::OpenAccount;
use phallama_protocol::ids::{Amount, PodId};
use phallama_protocol::keys::Signer;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::apps::MAX_TOKENS;
use crate::process::{Process, last_lines, running, signal};

pub(crate) const MODEL: &str = "test-model";
/// The scripted worker reads no weights; these pass as such.
const TINY: &[u8] = include_bytes!("../../../../vectors/gguf/tiny.gguf");
const DEPOSIT: u64 = 100_000_000;
/// A sealed request of the apps is shorter.
const BODY_BYTES_MAX: u64 = 400;
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Everything. It ends with the value.
pub(crate) struct Stack {
    dir: TempDir,
    pub(crate) chain: Chain,
    pub(crate) devchain: DevChain,
    /// The chain as the pod sees it.
    pub(crate) rpc: FaultyRpc,
    pub(crate) pod: Process,
    pub(crate) pod_id: PodId,
    pod_listen: SocketAddr,
    pub(crate) users: Vec<User>,
}

/// A user with a wallet and a local server.
pub(crate) struct User {
    pub(crate) key: Signer,
    home: PathBuf,
    listen: SocketAddr,
    server: Option<Process>,
}

fn developer(index: u32) -> Signer {
    Signer::from_bytes(&dev_account(index).1).expect("a valid scalar")
}

/// An address that is free now, and stays ours by nobody else wanting it.
fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound")
}

fn root_der() -> Vec<u8> {
    DevelopmentRoot::from_seed(DEVELOPMENT_SEED).root_der().to_vec()
}

impl Stack {
    pub(crate) async fn start(users: u32) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let devchain = DevChain::new(ChainOptions::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        tokio::spawn(phallama_devchain::serve(devchain.clone(), listener));
        let deployed = phallama_chain::deploy(&url, &developer(0), &root_der()).await;
        let config = deployed.expect("deployed").config(&url);
        let chain = Chain::connect(config.clone()).await.expect("the contracts are there");
        let owner = developer(2).address();
        let minted = Amount::from(u64::from(users) * DEPOSIT);
        chain.sender(&developer(0)).mint_test_token(owner, minted).await.expect("minted");

        let rpc = FaultyRpc::start(&devchain);
        let pod_home = dir.path().join("p");
        write_pod_home(&pod_home, ChainConfig { rpc_urls: vec![rpc.url()], ..config.clone() });
        let pod_listen = free_address();
        let pod = start_pod(&pod_home, pod_listen);
        let mut stack = Self {
            dir,
            chain,
            devchain,
            rpc,
            pod,
            pod_id: PodId([0; 32]),
            pod_listen,
            users: Vec::new(),
        };
        stack.pod_ready().await;
        let pods = stack.chain.pods().await.expect("read");
        stack.pod_id = pods.first().expect("it is registered").pod_id;
        let measurement = pods[0].key.as_ref().expect("attested").measurement.to_string();
        for index in 0..users {
            let home = stack.dir.path().join(format!("u{index}"));
            let mut user = User::new(home, &config, &measurement);
            deposit(&stack.chain, &user.key).await;
            user.start_server().await;
            stack.users.push(user);
        }
        stack
    }

    fn pod_home(&self) -> PathBuf {
        self.dir.path().join("p")
    }

    /// Starts the pod again and waits until it serves; how long that took.
    pub(crate) async fn start_pod(&mut self) -> Duration {
        self.pod = start_pod(&self.pod_home(), self.pod_listen);
        self.pod_ready().await
    }

    async fn pod_ready(&mut self) -> Duration {
        let began = Instant::now();
        while !self.health().await.is_some_and(|health| health["ready"] == true) {
            let ended = self.pod.status();
            assert!(ended.is_none(), "the pod ended: {ended:?}\n{}", self.pod.last_lines());
            assert!(began.elapsed() < READY_WITHIN, "not ready\n{}", self.pod.last_lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    /// What the pod says of itself; `None` when it does not answer.
    pub(crate) async fn health(&self) -> Option<Value> {
        let url = format!("http://{}/healthz", self.pod_listen);
        reqwest::get(url).await.ok()?.json().await.ok()
    }

    /// A second pod of the same home, at another address.
    pub(crate) fn another_pod(&self) -> Process {
        start_pod(&self.pod_home(), free_address())
    }

    /// The file with the journal, for a pod that does not run.
    pub(crate) fn journal_file(&self) -> PathBuf {
        let files = std::fs::read_dir(self.pod_home().join("pod")).expect("the pod's state");
        let mut paths = files.map(|file| file.expect("an entry").path());
        let is_journal = |path: &PathBuf| path.extension().is_some_and(|e| e == "redb");
        paths.find(is_journal).expect("a journal")
    }

    /// What the journal holds, read from a copy.
    pub(crate) fn journal(&self) -> Vec<ChannelRecord> {
        let copy = self.dir.path().join("copy.redb");
        std::fs::copy(self.journal_file(), &copy).expect("copied");
        let _ = std::fs::remove_file(copy.with_extension("opened"));
        Journal::open(&copy).expect("a journal opens after every kill").channels()
    }

    /// Stops the enclave that a killed pod left behind, without ending it: it hangs.
    pub(crate) fn hang_orphan(&self) {
        for pid in self.enclaves() {
            signal(pid, Signal::STOP);
        }
    }

    /// Enclave programs of this pod that run.
    pub(crate) fn enclaves(&self) -> Vec<u32> {
        running("phallama-enclave", &self.pod_home())
    }

    /// Workers of this pod that run.
    pub(crate) fn workers(&self) -> Vec<u32> {
        running("phallama-fake-worker", &self.pod_home())
    }

    pub(crate) async fn channel(&self, user: &Signer) -> Channel {
        self.chain.channel(user.address(), self.pod_id).await.expect("read")
    }

    /// What an answer of the apps can cost at most.
    pub(crate) async fn reserve(&self) -> u128 {
        let record = self.chain.pod(self.pod_id).await.expect("read").expect("registered");
        let reserve = record.offers[0].reserve(&Demand::of_chat(BODY_BYTES_MAX, 1, MAX_TOKENS));
        reserve.expect("a small amount").value()
    }

    pub(crate) fn pod_log(&self) -> String {
        last_lines(&self.pod_home().join("log"))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Whatever a killed pod left: nobody starts again to clear it away.
        self.pod.kill_if_running();
        for pid in self.enclaves().into_iter().chain(self.workers()) {
            signal(pid, Signal::KILL);
        }
    }
}

impl User {
    fn new(home: PathBuf, chain: &ChainConfig, measurement: &str) -> Self {
        let at = Home::at(&home);
        let mut config = at.config().expect("none yet");
        config.chain = Some(chain.clone());
        config.trust.danger_accept_simulated_tee = true;
        config.trust.measurements.push(ApprovedMeasurement {
            label: "the build under test".to_owned(),
            measurement: measurement.trim_start_matches("0x").to_owned(),
            policy: None,
        });
        "fast".clone_into(&mut config.serve.class);
        "1000".clone_into(&mut config.limits.per_day);
        at.write_config(&config).expect("written");
        at.write("password", b"demo\n").expect("written");
        let created = Keystore::create(&at.path(USER_KEYSTORE), "demo", ScryptCost::LIGHT);
        let key = created.expect("created").1;
        Self { key, home, listen: free_address(), server: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Starts the local server and waits until it answers; how long that took.
    pub(crate) async fn start_server(&mut self) -> Duration {
        let began = Instant::now();
        let listen = self.listen.to_string();
        let server =
            self.server.insert(Process::start(&self.home, &["serve", "--listen", &listen]));
        let url = format!("http://{listen}/api/version");
        while reqwest::get(&url).await.is_err() {
            let ended = server.status();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", server.last_lines());
            assert!(began.elapsed() < READY_WITHIN, "not ready\n{}", server.last_lines());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    pub(crate) fn kill_server(&mut self) {
        self.server.take().expect("it runs").kill();
    }

    /// Every receipt in the wallet.
    pub(crate) async fn receipts(&self) -> Vec<StoredReceipt> {
        let chain = Home::at(&self.home).config().expect("a configuration").chain;
        let trust = TrustPolicy::danger_simulated(root_der(), Vec::new());
        let config = ClientConfig::new(chain.expect("a chain"), trust, self.home.join("state"));
        let client = Client::open(config, self.key.clone()).await.expect("the records open");
        client.receipts(usize::MAX).await.expect("read")
    }
}

fn write_pod_home(home: &Path, chain: ChainConfig) {
    let at = Home::at(home);
    let mut config = at.config().expect("none yet");
    config.chain = Some(chain);
    config.trust.danger_accept_simulated_tee = true;
    at.write_config(&config).expect("written");
    at.write("operator.key", key_text(&developer(1)).as_bytes()).expect("written");
    at.write("weights.gguf", TINY).expect("written");
}

fn start_pod(home: &Path, listen: SocketAddr) -> Process {
    let beside = |name: &str| {
        let path = Path::new(env!("CARGO_BIN_EXE_phallama")).with_file_name(name);
        assert!(
            path.exists(),
            "{} is missing: run `cargo build --workspace --bins`",
            path.display()
        );
        path.display().to_string()
    };
    let file = |name: &str| home.join(name).display().to_string();
    let arguments = [
        "pod",
        "up",
        "--model",
        &file("weights.gguf"),
        "--name",
        MODEL,
        "--worker",
        &beside("phallama-fake-worker"),
        "--enclave",
        &beside("phallama-enclave"),
        "--operator-key-file",
        &file("operator.key"),
        "--listen",
        &listen.to_string(),
    ];
    Process::start(home, &arguments)
}

async fn deposit(chain: &Chain, user: &Signer) {
    let owner = developer(2);
    let opening = OpenAccount { user: user.address(), owner: owner.address() };
    let signature = user.sign(&opening.digest(&chain.domain()));
    let sender = chain.sender(&owner);
    let amount = Amount::from(DEPOSIT);
    let deposited =
        sender.open_and_deposit(user.address(), owner.address(), &signature, amount).await;
    deposited.expect("deposited");
}

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Binding, NONCE_ON_CHAIN, report_data};
use phallama_chain::{Chain, ChainConfig, SendPolicy, Sender, deploy};
use phallama_devchain::{ChainOptions, DevChain, FaultyRpc, Upstream, dev_account, serve};
use phallama_protocol::eip712::{
    Allocation, Domain, OpenAccount, Settlement, Voucher, channel_id, pod_id,
};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;
use phallama_protocol::link::{Admit, Claim};
use phallama_protocol::offers::{Offer, offers_hash};
use phallama_protocol::request::AllocationGrant;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};

use super::{ScriptedEnclave, SharedDisk};
use crate::admission::Limits;
use crate::attestation::CollateralKeeper;
use crate::books::Books;
use crate::clock;
use crate::enclave::{EnclaveClient, EnclaveInfo, EnclaveState, Links};
use crate::exchange::{Exchanges, OpenCount};
use crate::gate::Gate;
use crate::journal::{self, Change, ChannelKey, Journal};
use crate::locks::LockQueue;
use crate::metrics::Metrics;
use crate::progress::PodProgress;
use crate::registration::Registrar;
use crate::reserves::Reserves;
use crate::settlement::{Due, Memory, Settler};
use crate::view::{ChainView, Patience};

/// Input and output price per million tokens.
const PRICES: (u64, u64) = (100_000, 300_000);
const SALT: [u8; 32] = [7; 32];
/// No test takes this long without a block, unless it is about that.
const STILL: Duration = Duration::from_mins(10);
const MEASUREMENT: [u8; 32] = [3; 32];
const MODEL_SET_ROOT: [u8; 32] = [5; 32];
const POLICY_DIGEST: [u8; 32] = [6; 32];

/// A chain with one pod, and everything of a pod but its HTTP side and its enclave.
pub(crate) struct World {
    node: Option<Node>,
    node_url: String,
    /// Between everything here and the node.
    pub(crate) endpoint: FaultyRpc,
    pub(crate) chain: Chain,
    pub(crate) operator: Sender,
    owner: Sender,
    /// The enclave's key, registered on chain.
    pub(crate) identity: Signer,
    pub(crate) pod: PodId,
    pub(crate) view: Arc<ChainView>,
    pub(crate) disk: SharedDisk,
    pub(crate) journal: Arc<Journal>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) enclave: ScriptedEnclave,
    pub(crate) state: watch::Sender<EnclaveState>,
    pub(crate) registered: Registered,
}

/// How the pod came to its record.
pub(crate) struct Registered {
    pub(crate) registrar: Registrar,
    pub(crate) machine: SimulatedPlatform,
    /// The transactions, in order.
    pub(crate) first: Vec<&'static str>,
    /// What it and everything else has reported since.
    pub(crate) noted: Noted,
}

/// The node runs in a thread of its own, so that stopping it ends its connections too.
pub(crate) struct Node {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Tells of a transaction that is not mined at once, and never pays more for it.
pub(crate) const IMPATIENT: SendPolicy = SendPolicy {
    replace_after: Duration::from_hours(1),
    rebroadcast_after: Duration::from_hours(1),
    mined_within: Duration::from_secs(1),
    taken_after: Duration::from_hours(1),
};

pub(crate) fn signer(index: u32) -> Signer {
    Signer::from_bytes(&dev_account(index).1).unwrap()
}

pub(crate) fn user(index: u32) -> Signer {
    signer(1_000 + index)
}

pub(crate) fn offer() -> Offer {
    Offer {
        model: "tiny".to_owned(),
        weights_sha256: Digest32([1; 32]),
        input_price_per_mtok: PRICES.0.into(),
        output_price_per_mtok: PRICES.1.into(),
        context_tokens: 2_048,
        max_output_tokens: 512,
    }
}

pub(crate) fn start_node(options: ChainOptions) -> (String, Node) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).unwrap();
            let chain = DevChain::new(options);
            tokio::select! {
                served = serve(chain, listener) => served.unwrap(),
                _ = stopped => {}
            }
        });
    });
    (url, Node { stop, thread })
}

impl World {
    pub(crate) async fn new(credit_limit: u64) -> Self {
        Self::on(ChainOptions::default(), credit_limit).await
    }

    pub(crate) async fn on(options: ChainOptions, credit_limit: u64) -> Self {
        let (node_url, node) = start_node(options);
        let endpoint = FaultyRpc::start(Upstream::node(&node_url).unwrap());
        let url = endpoint.url();
        let machine = machine(b"machine of the world");
        let root_der = machine.root().root_der().to_vec();
        let deployment = deploy(&url, &signer(0), &root_der).await.unwrap();
        let chain = Chain::connect(deployment.config(&url)).await.unwrap();
        let (operator, owner) = (chain.sender(&signer(0)), chain.sender(&signer(1)));
        operator.mint_test_token(owner.address(), 1_000_000_000.into()).await.unwrap();
        let identity = signer(2);
        let (registrar, noted) = registrar(&chain, &operator, SALT);
        let pod = registrar.pod;
        let info = Arc::new(enclave_info(chain.config(), pod, identity.address(), &machine));
        registrar.ensure(&info).await.unwrap();
        let first = noted.sent();
        let registered = Registered { registrar, machine, first, noted };
        let accounts = (operator, owner);
        let behind = (node, node_url, endpoint);
        Self::assemble(behind, chain, accounts, identity, (registered, info), credit_limit).await
    }

    async fn assemble(
        (node, node_url, endpoint): (Node, String, FaultyRpc),
        chain: Chain,
        (operator, owner): (Sender, Sender),
        identity: Signer,
        (registered, info): (Registered, Arc<EnclaveInfo>),
        credit_limit: u64,
    ) -> Self {
        let pod = registered.registrar.pod;
        let patience = Patience { answer: Duration::from_hours(3), block: Some(STILL) };
        let view = ChainView::open(chain.clone(), pod, patience, 1_000.into()).await.unwrap();
        let (view, disk) = (Arc::new(view), SharedDisk::default());
        let journal = Arc::new(disk.journal());
        let gather = Duration::from_millis(20);
        let gate = Arc::new(Gate {
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            reserves: Reserves::default(),
            locks: LockQueue::start(
                operator.clone(),
                pod,
                Arc::clone(&view),
                gather,
                registered.registrar.books.clone(),
            ),
            pod,
            domain: chain.domain(),
            terms_hash: offers_hash(&[offer()]),
            limits: Limits {
                credit: credit_limit.into(),
                per_user: 1_000_000.into(),
                total: 10_000_000.into(),
                lock_min: Amount::ZERO,
            },
            lock_wait: Duration::from_secs(20),
            metrics: Metrics::default(),
        });
        let state = watch::Sender::new(EnclaveState::Ready(info));
        let (enclave, wake, node) = (ScriptedEnclave::new(), Arc::default(), Some(node));
        Self {
            node,
            node_url,
            endpoint,
            chain,
            operator,
            owner,
            identity,
            pod,
            view,
            disk,
            journal,
            gate,
            wake,
            enclave,
            state,
            registered,
        }
    }

    /// Makes an empty block.
    pub(crate) async fn mine(&self) {
        self.control("evm_mine", serde_json::json!([])).await;
    }

    /// One of the calls that only development chains take.
    pub(crate) async fn control(
        &self,
        method: &str,
        params: serde_json::Value,
    ) -> serde_json::Value {
        let call = serde_json::json!({
            "jsonrpc": "2.0", "id": 1, "method": method, "params": params,
        });
        let answer = reqwest::Client::new().post(&self.node_url).json(&call).send().await.unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer.get("error"), None, "{method}");
        answer["result"].clone()
    }

    /// Ends the node: nothing answers at its URL any more.
    pub(crate) fn stop_chain(&mut self) {
        let node = self.node.take().unwrap();
        node.stop.send(()).unwrap();
        node.thread.join().unwrap();
    }

    pub(crate) fn exchanges(&self) -> Arc<Exchanges> {
        Arc::new(Exchanges {
            links: Links::new(self.enclave.socket()),
            gate: Arc::clone(&self.gate),
            write_timeout: Duration::from_secs(10),
            claim_stored: Arc::clone(&self.wake),
            open: OpenCount::default(),
        })
    }

    pub(crate) fn settler(&self) -> Settler {
        Settler {
            sender: self.operator.clone(),
            pod: self.pod,
            view: Arc::clone(&self.view),
            journal: Arc::clone(&self.journal),
            enclave: EnclaveClient::new(self.enclave.socket()),
            locks: self.gate.locks.clone(),
            state: self.state.subscribe(),
            due: Due {
                min_value: 1_000_000.into(),
                max_age_s: 3_600,
                value_per_cost: 100,
                token_price_wei: None,
            },
            collect_min: None,
            wake: Arc::clone(&self.wake),
            books: self.registered.registrar.books.clone(),
            metrics: self.gate.metrics.clone(),
            report: Arc::clone(&self.registered.registrar.report),
            memory: Memory::default(),
        }
    }

    pub(crate) fn domain(&self) -> Domain {
        self.chain.domain()
    }

    /// Opens a user's account and deposits.
    pub(crate) async fn open(&self, user: &Signer, free: u64) {
        let owner = self.owner.address();
        let opened = OpenAccount { user: user.address(), owner }.digest(&self.domain());
        let opened = user.sign(&opened);
        self.owner.open_and_deposit(user.address(), owner, &opened, free.into()).await.unwrap();
    }

    /// Pays more in for a user.
    pub(crate) async fn deposit(&self, user: &Signer, amount: u64) {
        self.owner.deposit(user.address(), amount.into()).await.unwrap();
    }

    /// The owner takes free money out.
    pub(crate) async fn withdraw(&self, user: &Signer, amount: u64) {
        self.owner.withdraw(user.address(), amount.into()).await.unwrap();
    }

    /// The user leaves the pod.
    pub(crate) async fn start_exit(&self, user: &Signer) {
        self.owner.start_exit(user.address(), self.pod).await.unwrap();
    }

    /// The user has left; the exit window is over.
    pub(crate) async fn finish_exit(&self, user: &Signer) {
        self.owner.finish_exit(user.address(), self.pod).await.unwrap();
    }

    /// The enclave was started again with another key, which the chain knows.
    pub(crate) async fn replace_identity(&mut self) {
        self.identity = signer(3);
        let (identity, Registered { registrar, machine, .. }) =
            (self.identity.address(), &self.registered);
        let info = Arc::new(enclave_info(self.chain.config(), self.pod, identity, machine));
        registrar.ensure(&info).await.unwrap();
        self.state.send_replace(EnclaveState::Ready(info));
    }

    /// A question for `reserve` under a cap of 10,000, with an allocation of `total`.
    pub(crate) fn admit(&self, user: &Signer, reserve: u64, total: Option<u64>) -> Admit {
        let (identity, cap) = (self.identity.address(), 10_000.into());
        let voucher = Voucher { pod_id: self.pod, identity, epoch: 0, cap };
        Admit {
            user: user.address(),
            epoch: 0,
            cap,
            voucher_sig: user.sign(&voucher.digest(&self.domain())),
            terms_hash: self.gate.terms_hash,
            allocation: total
                .map(|total| self.grant(user, total.into(), self.view.now_unix_s() + 3_600)),
            reserve: reserve.into(),
            charged: Amount::ZERO,
        }
    }

    /// The same with an allocation that ends at `deadline_unix_s`.
    pub(crate) fn admit_until(
        &self,
        user: &Signer,
        reserve: u64,
        total: u64,
        deadline_unix_s: u64,
    ) -> Admit {
        let allocation = Some(self.grant(user, total.into(), deadline_unix_s));
        Admit { allocation, ..self.admit(user, reserve, None) }
    }

    fn grant(&self, user: &Signer, total: Amount, deadline_unix_s: u64) -> AllocationGrant {
        let allocation = Allocation {
            pod_id: self.pod,
            total,
            terms_hash: self.gate.terms_hash,
            epoch: 0,
            deadline_unix_s,
        };
        let signature = user.sign(&allocation.digest(&self.domain()));
        AllocationGrant { total, deadline_unix_s, signature }
    }

    /// A claim of `cumulative` under a cap of 10,000, signed by the enclave's key.
    pub(crate) fn claim(&self, user: &Signer, cumulative: u64) -> Claim {
        let admit = self.admit(user, 0, None);
        let (seq, cumulative, receipt_hash) = (1, cumulative.into(), Digest32([8; 32]));
        let channel = channel_id(user.address(), self.pod);
        let settlement = Settlement { channel, epoch: 0, seq, cumulative, receipt_hash };
        Claim {
            user: user.address(),
            epoch: 0,
            cap: admit.cap,
            voucher_sig: admit.voucher_sig,
            seq,
            cumulative,
            receipt_hash,
            settlement_sig: self.identity.sign(&settlement.digest(&self.domain())),
            prompt_tokens: 10,
            completion_tokens: 20,
        }
    }

    /// Locks what the user allocates, and waits for it.
    pub(crate) async fn lock(&self, user: &Signer, total: u64) {
        let admitted = self.gate.admit(&self.admit(user, total, Some(total))).await.unwrap();
        drop(admitted);
        if let Some(ticket) = self.gate.locks.ticket(user.address()) {
            ticket.outcome(Duration::from_secs(20)).await;
        }
        let channel = self.chain.channel(user.address(), self.pod).await.unwrap();
        assert_eq!(channel.locked, total.into());
    }
}

/// The host has stored a claim of the running enclave.
pub(crate) async fn charge(world: &World, user: &Signer, cumulative: u64) {
    charge_at(world, user, cumulative, clock::now_unix_s()).await;
}

pub(crate) async fn charge_at(world: &World, user: &Signer, cumulative: u64, at_unix_s: u64) {
    let claim = journal_claim(world, user, cumulative, at_unix_s);
    world.journal.store(Change::Claim(Box::new(claim))).await.unwrap();
}

/// A claim of the running enclave as the journal takes it.
pub(crate) fn journal_claim(
    world: &World,
    user: &Signer,
    cumulative: u64,
    at_unix_s: u64,
) -> journal::Claim {
    let claim = world.claim(user, cumulative);
    journal::Claim {
        key: ChannelKey { user: claim.user, epoch: claim.epoch },
        cap: claim.cap,
        voucher_sig: claim.voucher_sig,
        identity: world.identity.address(),
        seq: claim.seq,
        cumulative: claim.cumulative,
        receipt_hash: claim.receipt_hash,
        settlement_sig: claim.settlement_sig,
        prompt_tokens: claim.prompt_tokens,
        completion_tokens: claim.completion_tokens,
        settled: Amount::ZERO,
        at_unix_s,
    }
}

/// A machine of the simulated platform, under the shared development root.
pub(crate) fn machine(seed: &[u8]) -> SimulatedPlatform {
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    SimulatedPlatform::new(&root, PlatformSpec::from_seed(seed))
}

/// What an enclave on `machine` with this identity says of itself, as part of `pod`.
pub(crate) fn enclave_info(
    config: &ChainConfig,
    pod: PodId,
    identity: Address,
    machine: &SimulatedPlatform,
) -> EnclaveInfo {
    let collateral = CollateralSpec::fresh(clock::now_unix_s());
    let enclave = enclave_spec(config, pod, identity);
    EnclaveInfo {
        identity,
        measurement: Digest32(MEASUREMENT),
        model_set_root: Digest32(MODEL_SET_ROOT),
        policy_digest: Digest32(POLICY_DIGEST),
        evidence: Arc::new(machine.evidence(&enclave, &collateral)),
    }
}

/// The enclave behind [`enclave_info`].
pub(crate) fn enclave_spec(config: &ChainConfig, pod: PodId, identity: Address) -> EnclaveSpec {
    let binding = Binding {
        chain_id: config.chain_id,
        registry: config.registry.0,
        pod_id: pod.0,
        identity: identity.0,
        model_set_root: MODEL_SET_ROOT,
        policy_digest: POLICY_DIGEST,
    };
    EnclaveSpec::new(MEASUREMENT, report_data(&binding, NONCE_ON_CHAIN))
}

/// A registrar that notes what it reports.
pub(crate) fn registrar(chain: &Chain, operator: &Sender, salt: [u8; 32]) -> (Registrar, Noted) {
    let noted = Noted { steps: Arc::default(), folder: Arc::new(tempfile::tempdir().unwrap()) };
    let told = Arc::clone(&noted.steps);
    let books = Books::open(&noted.folder.path().join("books.jsonl")).unwrap();
    let registrar = Registrar {
        chain: chain.clone(),
        sender: operator.clone(),
        pod: pod_id(operator.address(), &salt),
        salt,
        url: "http://127.0.0.1:7000".to_owned(),
        payout: Address([0x9a; 20]),
        offers: vec![offer()],
        key_renew_s: 86_400,
        collateral_renew_s: 604_800,
        keeper: Arc::new(CollateralKeeper::without_services("/nowhere".into())),
        report: Arc::new(move |step| told.lock().unwrap().push(step)),
        books,
        told: Mutex::default(),
    };
    (registrar, noted)
}

/// What a registrar has reported, and the folder of its books.
#[derive(Clone)]
pub(crate) struct Noted {
    steps: Arc<Mutex<Vec<PodProgress>>>,
    folder: Arc<tempfile::TempDir>,
}

impl Noted {
    /// Everything since the last call.
    pub(crate) fn take(&self) -> Vec<PodProgress> {
        std::mem::take(&mut *self.steps.lock().unwrap())
    }

    /// The transactions since the last call.
    pub(crate) fn sent(&self) -> Vec<&'static str> {
        let sent = self.take().into_iter().filter_map(|step| match step {
            PodProgress::Registered { what, .. } => Some(what),
            _ => None,
        });
        sent.collect()
    }
}

//! A running pod: everything put together, in the order in which it can be trusted to work.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use phallama_chain::{Chain, Sender};
use phallama_protocol::eip712;
use phallama_protocol::ids::{Address, PodId};
use phallama_protocol::offers::offers_hash;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::attestation::{CollateralKeeper, collateral_file};
use crate::config::{PodConfig, Policy, SEALED_MAX_BYTES, TeeSettings};
use crate::enclave::{
    EnclaveClient, EnclaveProcess, EnclaveState, ProcessSpec, Report, enclave_config_json,
};
use crate::error::PodError;
use crate::exchange::{Exchanges, OpenCount};
use crate::gate::Gate;
use crate::http::{Front, Server, ServerLimits};
use crate::journal::{ChannelRecord, Journal};
use crate::locks::LockQueue;
use crate::private;
use crate::progress::PodProgress;
use crate::registration::{KEY_LIFE_MAX_S, Registrar};
use crate::reserves::Reserves;
use crate::settlement::{Due, Settlement, Settler};
use crate::status::{PodStatus, StatusSource};
use crate::view::{ChainView, Patience};
use crate::watcher::Watcher;

/// Longest path of a UNIX socket on Linux, bytes, without its terminating zero.
const SOCKET_PATH_MAX_BYTES: usize = 107;
/// What the enclave appends to its worker directory for a socket, bytes, generously.
const WORKER_SOCKET_ROOM: usize = 24;
/// The enclave waits 30 s for an answer about a payment.
const LOCK_WAIT_MAX_MS: u64 = 25_000;
/// The enclave lets its own exchanges finish for 30 s.
const ENCLAVE_STOP_WITHIN: Duration = Duration::from_secs(40);

/// A running pod. Dropping it stops it at once; [`shutdown`](Self::shutdown) settles first.
pub struct Pod {
    id: PodId,
    url: String,
    drain: Duration,
    draining: Arc<AtomicBool>,
    open: OpenCount,
    status: Arc<StatusSource>,
    settler: Arc<Settler>,
    gate: Arc<Gate>,
    server: Server,
    enclave: EnclaveProcess,
    tasks: JoinSet<()>,
}

/// Files and sockets of a pod.
struct Places {
    journal: PathBuf,
    enclave_config: PathBuf,
    enclave_log: PathBuf,
    link_socket: PathBuf,
    worker_sockets: PathBuf,
    collateral: PathBuf,
}

/// What a pod needs of the chain.
struct OnChain {
    chain: Chain,
    sender: Sender,
    pod_id: PodId,
    view: Arc<ChainView>,
}

/// What shares the state of exchanges.
struct Inside {
    journal: Arc<Journal>,
    gate: Arc<Gate>,
    wake_settler: Arc<Notify>,
    client: EnclaveClient,
    keeper: Arc<CollateralKeeper>,
    watcher: Watcher,
}

impl Pod {
    /// Starts a pod: connects to the chain, starts the enclave and waits for it, registers, serves.
    ///
    /// # Errors
    /// [`PodError`]; nothing keeps running then.
    pub async fn start(
        config: PodConfig,
        progress: impl Fn(PodProgress) + Send + Sync + 'static,
    ) -> Result<Self, PodError> {
        let report: Report = Arc::new(progress);
        check(&config)?;
        let places = Places::create(&config)?;
        let address = config.listen;
        let failed = |source| PodError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let url = config.public_url.clone().unwrap_or_else(|| format!("http://{bound}"));
        let url = url.trim_end_matches('/').to_owned();

        let on_chain = OnChain::connect(&config).await?;
        let (block, pod_id) = (on_chain.view.block(), on_chain.pod_id);
        report(PodProgress::ChainConnected { block, pod_id });
        let inside = Inside::build(&config, &on_chain, &places)?;
        if inside.journal.is_behind() {
            report(PodProgress::Remark(older_copy(&places.journal)));
        }
        inside.watcher.refresh().await?;

        write_enclave_config(&config, pod_id, &places)?;
        let spec = process_spec(&config, pod_id, &places);
        let enclave = EnclaveProcess::start(spec, Arc::clone(&report)).await?;
        let keeper = Arc::clone(&inside.keeper);
        let registrar = registrar(&config, &on_chain, keeper, &url, Arc::clone(&report));
        let first = match &*enclave.watch().borrow() {
            EnclaveState::Ready(info) => Some(Arc::clone(info)),
            EnclaveState::Down => None,
        };
        if let Some(info) = first {
            registrar.ensure(&info).await?;
        }
        let pod = Self::assemble(&config, on_chain, inside, enclave, registrar, (url, listener));
        report(PodProgress::Listening { url: pod.url.clone() });
        Ok(pod)
    }

    fn assemble(
        config: &PodConfig,
        on_chain: OnChain,
        inside: Inside,
        enclave: EnclaveProcess,
        registrar: Registrar,
        (url, listener): (String, TcpListener),
    ) -> Self {
        let OnChain { sender, pod_id, view, .. } = on_chain;
        let Inside { journal, gate, wake_settler, client, keeper, watcher } = inside;
        let (policy, state) = (&config.policy, enclave.watch());
        let draining = Arc::new(AtomicBool::new(false));
        let exchanges = Arc::new(Exchanges {
            socket: client.socket().to_owned(),
            gate: Arc::clone(&gate),
            write_timeout: ms(policy.write_timeout_ms),
            claim_stored: Arc::clone(&wake_settler),
            open: OpenCount::default(),
        });
        let open = exchanges.open.clone();
        let status = Arc::new(StatusSource {
            pod_id,
            enclave: client.clone(),
            state: state.clone(),
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            draining: Arc::clone(&draining),
        });
        let body_limits = (policy.body_max_bytes, ms(policy.body_timeout_ms));
        let front = Front::new(
            exchanges,
            keeper,
            state.clone(),
            draining.clone(),
            status.clone(),
            body_limits,
        );
        let server = Server::start(listener, front.router(), server_limits(policy));
        let settler = Arc::new(Settler {
            sender,
            pod: pod_id,
            view,
            journal,
            enclave: client,
            locks: gate.locks.clone(),
            state: state.clone(),
            due: Due { min_value: policy.settle_min_value, max_age_s: policy.settle_max_age_s },
            wake: wake_settler,
            turn: tokio::sync::Mutex::new(()),
        });
        let tasks = background(Arc::clone(&settler), watcher, registrar, &state);
        let drain = Duration::from_secs(policy.drain_s);
        Self {
            id: pod_id,
            url,
            drain,
            draining,
            open,
            status,
            settler,
            gate,
            server,
            enclave,
            tasks,
        }
    }

    /// The URL as registered, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The pod's id on chain.
    pub fn pod_id(&self) -> PodId {
        self.id
    }

    /// How the pod is now.
    pub async fn status(&self) -> PodStatus {
        PodStatus {
            health: self.status.health().await,
            url: self.url.clone(),
            exchanges: self.open.now(),
            reserved: self.gate.reserves.total(),
            at_risk: self.gate.reserves.at_risk(),
            unsettled: self.gate.journal.unsettled_total(),
            unsettled_channels: self.gate.journal.unsettled().len(),
        }
    }

    /// Every channel generation that was ever charged, from the journal.
    pub fn channels(&self) -> Vec<ChannelRecord> {
        self.gate.journal.channels()
    }

    /// Settles everything that the contract would pay for now. Empty when there is nothing.
    ///
    /// # Errors
    /// [`PodError::Settle`]; unsettled claims stay in the journal.
    pub async fn settle_now(&self) -> Result<Vec<Settlement>, PodError> {
        Ok(self.settler.settle_now().await?)
    }

    /// Refuses new requests and waits for the open ones, at most the policy's `drain_s`. Returns
    /// how many are still open.
    pub async fn drain(&self) -> usize {
        self.draining.store(true, Ordering::Release);
        self.open.none(self.drain).await;
        self.open.now()
    }

    /// Drains, settles, stops serving and stops the enclave.
    ///
    /// # Errors
    /// [`PodError::Settle`] when something could not be settled; the pod is stopped all the same,
    /// and the claims are settled after the next start.
    pub async fn shutdown(self) -> Result<Vec<Settlement>, PodError> {
        self.drain().await;
        let Self { settler, server, enclave, mut tasks, .. } = self;
        server.stop().await;
        let settled = settler.settle_now().await;
        tasks.shutdown().await;
        enclave.stop().await;
        Ok(settled?)
    }
}

fn check(config: &PodConfig) -> Result<(), PodError> {
    let refuse =
        |field, problem: &str| Err(PodError::Config { field, problem: problem.to_owned() });
    let Policy { body_max_bytes, poll_ms, connections_max, key_renew_s, lock_wait_ms, .. } =
        config.policy;
    if config.enclave.models.is_empty() {
        return refuse("enclave.models", "is empty; list at least one model");
    }
    if config.payout == Address::ZERO {
        return refuse("payout", "is the zero address; name the account that gets the earnings");
    }
    if body_max_bytes == 0 || body_max_bytes > SEALED_MAX_BYTES {
        let problem = format!("is {body_max_bytes}; it must be 1 to {SEALED_MAX_BYTES} bytes");
        return refuse("policy.body_max_bytes", &problem);
    }
    if poll_ms == 0 || connections_max == 0 {
        return refuse("policy", "has `poll_ms` or `connections_max` 0; set at least 1");
    }
    if lock_wait_ms > LOCK_WAIT_MAX_MS {
        let problem = format!("is {lock_wait_ms}; the enclave waits at most {LOCK_WAIT_MAX_MS} ms");
        return refuse("policy.lock_wait_ms", &problem);
    }
    if key_renew_s >= KEY_LIFE_MAX_S {
        let problem = format!("is {key_renew_s}; a key lives for at most {KEY_LIFE_MAX_S} s");
        return refuse("policy.key_renew_s", &problem);
    }
    Ok(())
}

impl Places {
    fn create(config: &PodConfig) -> Result<Self, PodError> {
        let state_dir = config.state_dir.as_path();
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |source| PodError::File { what, path, source }
        };
        private::dir(state_dir).map_err(file("create", state_dir))?;
        let dir = state_dir.canonicalize().map_err(file("resolve", state_dir))?;
        let places = Self {
            journal: dir.join(journal_name(config)),
            enclave_config: dir.join("enclave.json"),
            enclave_log: dir.join("enclave.log"),
            link_socket: dir.join("enclave.sock"),
            worker_sockets: dir.join("worker"),
            collateral: dir.join("collateral"),
        };
        let link = places.link_socket.as_os_str().len();
        let worker = places.worker_sockets.as_os_str().len().saturating_add(WORKER_SOCKET_ROOM);
        let got = link.max(worker);
        if got > SOCKET_PATH_MAX_BYTES {
            let problem = format!(
                "is too long: sockets in {} would have paths of {got} bytes, more than \
                 {SOCKET_PATH_MAX_BYTES}; choose a shorter directory",
                dir.display()
            );
            return Err(PodError::Config { field: "state_dir", problem });
        }
        let workers = &places.worker_sockets;
        private::dir(workers).map_err(file("create", workers))?;
        Ok(places)
    }
}

fn older_copy(journal: &Path) -> String {
    format!(
        "the journal {} is an older copy: claims that it does not hold and that were not settled \
         are lost to this pod. No user is charged more for it.",
        journal.display()
    )
}

/// One journal per deployment and pod: claims of another one could never be settled here.
fn journal_name(config: &PodConfig) -> String {
    let pod = eip712::pod_id(config.operator.address(), &config.salt);
    let (escrow, pod) = (hex::encode(config.chain.escrow.0), hex::encode(&pod.0[..8]));
    format!("journal-{}-{escrow}-{pod}.redb", config.chain.chain_id)
}

impl OnChain {
    async fn connect(config: &PodConfig) -> Result<Self, PodError> {
        let chain = Chain::connect(config.chain.clone()).await?;
        let sender = chain.sender(&config.operator);
        let pod_id = eip712::pod_id(config.operator.address(), &config.salt);
        let Policy { chain_stale_s, block_stale_s, risk_cap, .. } = config.policy;
        let patience = Patience {
            answer: Duration::from_secs(chain_stale_s),
            block: block_stale_s.map(Duration::from_secs),
        };
        let view = ChainView::open(chain.clone(), pod_id, patience, risk_cap).await?;
        Ok(Self { chain, sender, pod_id, view: Arc::new(view) })
    }
}

impl Inside {
    fn build(config: &PodConfig, on_chain: &OnChain, places: &Places) -> Result<Self, PodError> {
        let OnChain { chain, sender, pod_id, view } = on_chain;
        let policy = &config.policy;
        let journal = Arc::new(Journal::open(&places.journal)?);
        let gather = ms(policy.lock_batch_ms);
        let gate = Arc::new(Gate {
            view: Arc::clone(view),
            journal: Arc::clone(&journal),
            reserves: Reserves::default(),
            locks: LockQueue::start(sender.clone(), *pod_id, Arc::clone(view), gather),
            pod: *pod_id,
            domain: chain.domain(),
            terms_hash: offers_hash(&config.offers()),
            limits: config.limits(),
            lock_wait: ms(policy.lock_wait_ms),
        });
        let client = EnclaveClient::new(places.link_socket.clone());
        let keeper = CollateralKeeper::open(config, client.clone(), &places.collateral)?;
        let keeper = Arc::new(keeper);
        let wake_settler = Arc::default();
        let watcher = Watcher {
            view: Arc::clone(view),
            journal: Arc::clone(&journal),
            reserves: gate.reserves.clone(),
            enclave: client.clone(),
            wake_settler: Arc::clone(&wake_settler),
            poll: ms(policy.poll_ms),
        };
        for record in journal.unsettled() {
            gate.reserves.charge(record.key.user, record.key.epoch, record.cumulative);
        }
        Ok(Self { journal, gate, wake_settler, client, keeper, watcher })
    }
}

fn write_enclave_config(
    config: &PodConfig,
    pod_id: PodId,
    places: &Places,
) -> Result<(), PodError> {
    let mut config = config.clone();
    let file = collateral_file(&config, &places.collateral);
    if let TeeSettings::Gramine { collateral_path, .. } = &mut config.enclave.tee {
        *collateral_path = file.or(collateral_path.take());
    }
    let json = enclave_config_json(&config, pod_id, &places.link_socket, &places.worker_sockets);
    let path = &places.enclave_config;
    let written = private::empty_file(path).and_then(|mut file| file.write_all(json.as_ref()));
    written.map_err(|source| PodError::File { what: "write", path: path.clone(), source })
}

fn process_spec(config: &PodConfig, pod_id: PodId, places: &Places) -> ProcessSpec {
    let mut args = config.enclave.program_args.clone();
    args.extend(["--config".to_owned(), places.enclave_config.display().to_string()]);
    ProcessSpec {
        program: config.enclave.program.clone(),
        args,
        socket: places.link_socket.clone(),
        log: places.enclave_log.clone(),
        ready_within: Duration::from_secs(config.policy.ready_timeout_s),
        stop_within: ENCLAVE_STOP_WITHIN,
        chain_id: config.chain.chain_id,
        registry: config.chain.registry,
        escrow: config.chain.escrow,
        pod_id,
    }
}

fn registrar(
    config: &PodConfig,
    on_chain: &OnChain,
    keeper: Arc<CollateralKeeper>,
    url: &str,
    report: Report,
) -> Registrar {
    Registrar {
        chain: on_chain.chain.clone(),
        sender: on_chain.sender.clone(),
        pod: on_chain.pod_id,
        salt: config.salt,
        url: url.to_owned(),
        payout: config.payout,
        offers: config.offers(),
        key_renew_s: config.policy.key_renew_s,
        collateral_renew_s: config.policy.collateral_renew_s,
        keeper,
        report,
        told: Mutex::default(),
    }
}

fn server_limits(policy: &Policy) -> ServerLimits {
    ServerLimits {
        connections_max: policy.connections_max,
        header_timeout: ms(policy.header_timeout_ms),
        write_timeout: ms(policy.write_timeout_ms),
        drain: Duration::from_secs(policy.drain_s),
    }
}

fn background(
    settler: Arc<Settler>,
    watcher: Watcher,
    registrar: Registrar,
    state: &watch::Receiver<EnclaveState>,
) -> JoinSet<()> {
    let (watched, registered) = (state.clone(), state.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { settler.run().await });
    tasks.spawn(async move { watcher.run(watched).await });
    tasks.spawn(async move { registrar.run(registered).await });
    tasks
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

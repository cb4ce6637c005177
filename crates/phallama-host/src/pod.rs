//! A running pod: everything put together, in the order in which it can be trusted to work.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::serve::ListenerExt as _;
use phallama_chain::{Chain, Sender};
use phallama_protocol::eip712;
use phallama_protocol::ids::{Address, PodId};
use phallama_protocol::offers::offers_hash;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::admin::{AdminServer, Desk};
use crate::attestation::CollateralKeeper;
use crate::books::Books;
use crate::clock;
use crate::config::{PodConfig, Policy, SEALED_MAX_BYTES};
use crate::enclave::{EnclaveClient, EnclaveProcess, EnclaveState, Links, Report};
use crate::error::PodError;
use crate::exchange::{Exchanges, OpenCount};
use crate::gate::Gate;
use crate::http::{Front, Server, ServerLimits};
use crate::journal::{ChannelRecord, Journal};
use crate::locks::LockQueue;
use crate::metrics::{Exposition, Metrics};
use crate::places::{Places, process_spec, write_enclave_config};
use crate::progress::PodProgress;
use crate::registration::{KEY_LIFE_MAX_S, Registrar};
use crate::reserves::Reserves;
use crate::settlement::{Memory, Settlement, Settler};
use crate::status::{PodStatus, StatusSource};
use crate::view::{ChainView, Patience};
use crate::watcher::{WRITE_OFF_AFTER, Watcher};

/// The enclave waits 30 s for an answer about a payment.
const LOCK_WAIT_MAX_MS: u64 = 25_000;

/// A running pod. Dropping it stops it at once; [`shutdown`](Self::shutdown) settles first.
pub struct Pod {
    id: PodId,
    drain: Duration,
    status: Arc<StatusSource>,
    settler: Arc<Settler>,
    server: Server,
    beside: Beside,
    enclave: EnclaveProcess,
    tasks: JoinSet<()>,
}

/// What the operator and its monitoring ask.
struct Beside {
    admin: AdminServer,
    metrics: Option<Server>,
}

/// Sockets, bound before anything is started.
struct Doors {
    public: TcpListener,
    metrics: Option<TcpListener>,
    /// As registered, without a trailing slash.
    url: String,
}

/// What a pod needs of the chain.
struct OnChain {
    chain: Chain,
    sender: Sender,
    pod_id: PodId,
    view: Arc<ChainView>,
}

/// What a pod is put together from.
struct Inside {
    on_chain: OnChain,
    gate: Arc<Gate>,
    client: EnclaveClient,
    keeper: Arc<CollateralKeeper>,
    books: Books,
    report: Report,
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
        check(&config)?;
        let metrics = Metrics::default();
        let counted = metrics.clone();
        let report: Report = Arc::new(move |step| {
            counted.observe(&step);
            progress(step);
        });
        let places = Places::create(&config)?;
        let doors = Doors::open(&config).await?;
        let on_chain = OnChain::connect(&config, &places).await?;
        let (block, pod_id) = (on_chain.view.block(), on_chain.pod_id);
        report(PodProgress::ChainConnected { block, pod_id });
        let inside = Inside::build(&config, on_chain, &places, report, metrics)?;
        if inside.gate.journal.is_behind() {
            (inside.report)(PodProgress::Remark(older_copy(&places.journal)));
        }

        write_enclave_config(&config, pod_id, &places)?;
        let spec = process_spec(&config, pod_id, &places);
        let enclave = EnclaveProcess::start(spec, Arc::clone(&inside.report)).await?;
        let registrar = inside.registrar(&config, &doors.url);
        let first = match &*enclave.watch().borrow() {
            EnclaveState::Ready(info) => Some(Arc::clone(info)),
            EnclaveState::Down => None,
        };
        if let Some(info) = first {
            registrar.ensure(&info).await?;
        }
        let settler = Arc::new(inside.settler(&config, enclave.watch()));
        let watcher = inside.watcher(&config, Arc::clone(&settler));
        watcher.refresh().await?;
        let tasks = background(Arc::clone(&settler), watcher, registrar, &enclave.watch());
        let report = Arc::clone(&inside.report);
        let pod = Self::open(&config, &places, doors, inside, (settler, enclave, tasks))?;
        report(PodProgress::Listening { url: pod.url().to_owned() });
        Ok(pod)
    }

    /// Lets everybody in.
    fn open(
        config: &PodConfig,
        places: &Places,
        doors: Doors,
        inside: Inside,
        (settler, enclave, tasks): (Arc<Settler>, EnclaveProcess, JoinSet<()>),
    ) -> Result<Self, PodError> {
        let Inside { on_chain, gate, client, keeper, books, .. } = inside;
        let policy = &config.policy;
        let drain = Duration::from_secs(policy.drain_s);
        let exchanges = Arc::new(Exchanges {
            links: Links::new(client.socket().to_owned()),
            gate: Arc::clone(&gate),
            write_timeout: ms(policy.write_timeout_ms),
            claim_stored: Arc::clone(&settler.wake),
            open: OpenCount::default(),
        });
        let draining = Arc::new(AtomicBool::new(false));
        let metrics = gate.metrics.clone();
        let status = Arc::new(StatusSource {
            pod_id: on_chain.pod_id,
            enclave: client,
            state: enclave.watch(),
            view: Arc::clone(&on_chain.view),
            gate,
            open: exchanges.open.clone(),
            url: doors.url,
            draining: Arc::clone(&draining),
        });
        let body_limits = (policy.body_max_bytes, ms(policy.body_timeout_ms));
        let (state, for_front) = (enclave.watch(), Arc::clone(&status));
        let front = Front::new(exchanges, keeper, state, draining, for_front, body_limits);
        // Small frames must leave when they are due, not when a segment is full.
        let public = doors.public.tap_io(|stream| drop(stream.set_nodelay(true)));
        let server = Server::start(public, front.router(), server_limits(policy));
        let desk =
            Desk { status: Arc::clone(&status), settler: Arc::clone(&settler), books, drain };
        let exposition = Exposition { metrics, status: Arc::clone(&status) };
        let beside = Beside::open(places, doors.metrics, desk, exposition, policy)?;
        let id = on_chain.pod_id;
        Ok(Self { id, drain, status, settler, server, beside, enclave, tasks })
    }

    /// The URL as registered, without a trailing slash.
    pub fn url(&self) -> &str {
        &self.status.url
    }

    /// The pod's id on chain.
    pub fn pod_id(&self) -> PodId {
        self.id
    }

    /// How the pod is now.
    pub async fn status(&self) -> PodStatus {
        self.status.all().await
    }

    /// Every channel generation that was ever charged, from the journal.
    pub fn channels(&self) -> Vec<ChannelRecord> {
        self.settler.journal.channels()
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
        self.status.draining.store(true, Ordering::Release);
        self.status.open.none(self.drain).await;
        self.status.open.now()
    }

    /// Drains, settles, stops serving and stops the enclave.
    ///
    /// # Errors
    /// [`PodError::Settle`] when something could not be settled; the pod is stopped all the same,
    /// and the claims are settled after the next start.
    pub async fn shutdown(self) -> Result<Vec<Settlement>, PodError> {
        self.drain().await;
        let Self { settler, server, beside, enclave, mut tasks, .. } = self;
        server.stop().await;
        let settled = settler.settle_now().await;
        tasks.shutdown().await;
        beside.admin.stop().await;
        if let Some(metrics) = beside.metrics {
            metrics.stop().await;
        }
        enclave.stop().await;
        Ok(settled?)
    }
}

impl Doors {
    async fn open(config: &PodConfig) -> Result<Self, PodError> {
        let public = listen(config.listen).await?;
        let failed = |source| PodError::Listen { address: config.listen, source };
        let bound = public.local_addr().map_err(failed)?;
        let url = config.public_url.clone().unwrap_or_else(|| format!("http://{bound}"));
        let metrics = match config.policy.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Self { public, metrics, url: url.trim_end_matches('/').to_owned() })
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, PodError> {
    TcpListener::bind(address).await.map_err(|source| PodError::Listen { address, source })
}

impl Beside {
    fn open(
        places: &Places,
        metrics: Option<TcpListener>,
        desk: Desk,
        exposition: Exposition,
        policy: &Policy,
    ) -> Result<Self, PodError> {
        let socket = &places.admin_socket;
        let admin = AdminServer::start(socket, Arc::new(desk))
            .map_err(|source| PodError::File { what: "listen at", path: socket.clone(), source })?;
        let serve = |listener| Server::start(listener, exposition.router(), server_limits(policy));
        Ok(Self { admin, metrics: metrics.map(serve) })
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
    if let Some(address) = config.policy.metrics_listen.filter(|it| !it.ip().is_loopback()) {
        let problem = format!("is {address}; it must be a loopback address, such as 127.0.0.1");
        return refuse("policy.metrics_listen", &problem);
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

fn older_copy(journal: &std::path::Path) -> String {
    format!(
        "the journal {} is an older copy: claims that it does not hold and that were not settled \
         are lost to this pod. No user is charged more for it.",
        journal.display()
    )
}

impl OnChain {
    async fn connect(config: &PodConfig, places: &Places) -> Result<Self, PodError> {
        let chain = Chain::connect(config.chain.clone()).await?;
        let sender = chain.durable_sender(&config.operator, &places.outbox)?;
        // What an earlier process has sent comes before anything new.
        sender.tend().await?;
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
    fn build(
        config: &PodConfig,
        on_chain: OnChain,
        places: &Places,
        report: Report,
        metrics: Metrics,
    ) -> Result<Self, PodError> {
        let OnChain { chain, sender, pod_id, view } = &on_chain;
        let file = |what, path: &std::path::Path| {
            let path = path.to_owned();
            move |source| PodError::File { what, path, source }
        };
        let journal = Arc::new(Journal::open(&places.journal)?);
        let books = Books::open(&places.books).map_err(file("read", &places.books))?;
        let observed = metrics.clone();
        journal.observe_commits(move |took| observed.committed(took));
        let gather = ms(config.policy.lock_batch_ms);
        let (view, sender) = (Arc::clone(view), sender.clone());
        let gate = Arc::new(Gate {
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            reserves: Reserves::default(),
            locks: LockQueue::start(sender, *pod_id, view, gather, books.clone()),
            pod: *pod_id,
            domain: chain.domain(),
            terms_hash: offers_hash(&config.offers()),
            limits: config.limits(),
            lock_wait: ms(config.policy.lock_wait_ms),
            metrics,
        });
        let given_up = clock::now_unix_s().saturating_sub(WRITE_OFF_AFTER.as_secs());
        gate.reserves.restore(&journal.unsettled(), given_up);
        let client = EnclaveClient::new(places.link_socket.clone());
        let keeper = CollateralKeeper::open(config, client.clone(), &places.collateral)?;
        Ok(Self { on_chain, gate, client, keeper: Arc::new(keeper), books, report })
    }

    fn settler(&self, config: &PodConfig, state: watch::Receiver<EnclaveState>) -> Settler {
        Settler {
            sender: self.on_chain.sender.clone(),
            pod: self.on_chain.pod_id,
            view: Arc::clone(&self.on_chain.view),
            journal: Arc::clone(&self.gate.journal),
            enclave: self.client.clone(),
            locks: self.gate.locks.clone(),
            state,
            due: config.policy.due(),
            collect_min: config.policy.collect_min,
            wake: Arc::new(Notify::new()),
            books: self.books.clone(),
            metrics: self.gate.metrics.clone(),
            report: Arc::clone(&self.report),
            memory: Memory::default(),
        }
    }

    fn watcher(&self, config: &PodConfig, settler: Arc<Settler>) -> Watcher {
        Watcher {
            view: Arc::clone(&self.on_chain.view),
            journal: Arc::clone(&self.gate.journal),
            reserves: self.gate.reserves.clone(),
            enclave: self.client.clone(),
            settler,
            poll: ms(config.policy.poll_ms),
            stale: AtomicBool::new(true),
        }
    }

    fn registrar(&self, config: &PodConfig, url: &str) -> Registrar {
        Registrar {
            chain: self.on_chain.chain.clone(),
            sender: self.on_chain.sender.clone(),
            pod: self.on_chain.pod_id,
            salt: config.salt,
            url: url.to_owned(),
            payout: config.payout,
            offers: config.offers(),
            key_renew_s: config.policy.key_renew_s,
            collateral_renew_s: config.policy.collateral_renew_s,
            keeper: Arc::clone(&self.keeper),
            report: Arc::clone(&self.report),
            books: self.books.clone(),
            told: Mutex::default(),
        }
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

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use phallama_chain::{Chain, KeyRegistration, Registration, Sender, deploy};
use phallama_devchain::{ChainOptions, DevChain, dev_account, serve};
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
use crate::clock;
use crate::enclave::{EnclaveClient, EnclaveInfo, EnclaveState};
use crate::exchange::{Exchanges, OpenCount};
use crate::gate::Gate;
use crate::journal::Journal;
use crate::locks::LockQueue;
use crate::reserves::Reserves;
use crate::settlement::{Due, Settler};
use crate::view::ChainView;

/// Input and output price per million tokens.
const PRICES: (u64, u64) = (100_000, 300_000);
const SALT: [u8; 32] = [7; 32];

/// A chain with one pod, and everything of a pod but its HTTP side and its enclave.
pub(crate) struct World {
    node: Option<Node>,
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
}

/// The node runs in a thread of its own, so that stopping it ends its connections too.
struct Node {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

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

fn start_node(options: ChainOptions) -> (String, Node) {
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
        let (url, node) = start_node(options);
        let deployment = deploy(&url, &signer(0)).await.unwrap();
        let chain = Chain::connect(deployment.config(&url)).await.unwrap();
        let (operator, owner) = (chain.sender(&signer(0)), chain.sender(&signer(1)));
        operator.mint_test_token(owner.address(), 1_000_000_000.into()).await.unwrap();
        let identity = signer(2);
        let registration = Registration {
            salt: SALT,
            url: "http://127.0.0.1:7000".to_owned(),
            payout: Address([0x9a; 20]),
            offers: vec![offer()],
            key: key(&identity),
        };
        operator.register_pod(&registration).await.unwrap();
        let pod = pod_id(operator.address(), &SALT);
        Self::assemble(node, chain, (operator, owner), identity, pod, credit_limit).await
    }

    async fn assemble(
        node: Node,
        chain: Chain,
        (operator, owner): (Sender, Sender),
        identity: Signer,
        pod: PodId,
        credit_limit: u64,
    ) -> Self {
        let stale = Duration::from_hours(1);
        let view = ChainView::open(chain.clone(), pod, stale, 1_000.into()).await.unwrap();
        let (view, disk) = (Arc::new(view), SharedDisk::default());
        let journal = Arc::new(disk.journal());
        let gather = Duration::from_millis(20);
        let gate = Arc::new(Gate {
            view: Arc::clone(&view),
            journal: Arc::clone(&journal),
            reserves: Reserves::default(),
            locks: LockQueue::start(operator.clone(), pod, Arc::clone(&view), gather),
            pod,
            domain: chain.domain(),
            terms_hash: offers_hash(&[offer()]),
            credit_limit: credit_limit.into(),
            lock_wait: Duration::from_secs(20),
        });
        let state = watch::Sender::new(ready(&identity));
        let (enclave, wake, node) = (ScriptedEnclave::new(), Arc::default(), Some(node));
        Self {
            node,
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
        }
    }

    /// Ends the node: nothing answers at its URL any more.
    pub(crate) fn stop_chain(&mut self) {
        let node = self.node.take().unwrap();
        node.stop.send(()).unwrap();
        node.thread.join().unwrap();
    }

    pub(crate) fn exchanges(&self) -> Arc<Exchanges> {
        Arc::new(Exchanges {
            socket: self.enclave.socket(),
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
            due: Due { min_value: 1_000_000.into(), max_age_s: 3_600 },
            wake: Arc::clone(&self.wake),
            turn: tokio::sync::Mutex::new(()),
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

    /// The owner takes free money out.
    pub(crate) async fn withdraw(&self, user: &Signer, amount: u64) {
        self.owner.withdraw(user.address(), amount.into()).await.unwrap();
    }

    /// The user leaves the pod.
    pub(crate) async fn start_exit(&self, user: &Signer) {
        self.owner.start_exit(user.address(), self.pod).await.unwrap();
    }

    /// The enclave was started again with another key, which the chain knows.
    pub(crate) async fn replace_identity(&mut self) {
        self.identity = signer(3);
        self.operator.set_key(self.pod, &key(&self.identity)).await.unwrap();
        self.state.send_replace(ready(&self.identity));
    }

    /// A question for `reserve` under a cap of 10,000, with an allocation of `total`.
    pub(crate) fn admit(&self, user: &Signer, reserve: u64, total: Option<u64>) -> Admit {
        let cap = 10_000.into();
        let voucher = Voucher { pod_id: self.pod, epoch: 0, cap };
        Admit {
            user: user.address(),
            epoch: 0,
            cap,
            voucher_sig: user.sign(&voucher.digest(&self.domain())),
            terms_hash: self.gate.terms_hash,
            allocation: total.map(|total| self.grant(user, total.into())),
            reserve: reserve.into(),
            charged: Amount::ZERO,
        }
    }

    fn grant(&self, user: &Signer, total: Amount) -> AllocationGrant {
        let deadline_unix_s = clock::now_unix_s() + 3_600;
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

fn key(identity: &Signer) -> KeyRegistration {
    KeyRegistration {
        identity: identity.address(),
        expiry_unix_s: clock::now_unix_s() + 86_400,
        measurement: Digest32([3; 32]),
        quote_hash: Digest32([4; 32]),
        evidence_uri: String::new(),
    }
}

fn ready(identity: &Signer) -> EnclaveState {
    EnclaveState::Ready(Arc::new(EnclaveInfo {
        identity: identity.address(),
        measurement: Digest32([3; 32]),
        quote_hash: Digest32([4; 32]),
        evidence: Arc::from(&b"{\"version\":1}"[..]),
    }))
}

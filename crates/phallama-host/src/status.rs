//! How a pod is, for its operator and for load balancers. Nothing about users.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::link::{ModelStatus, Status, WorkerState};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::admission::Standing;
use crate::enclave::{EnclaveClient, EnclaveState};
use crate::exchange::OpenCount;
use crate::gate::Gate;
use crate::journal::Condition;
use crate::view::ChainView;

/// What `GET /healthz` answers.
#[expect(clippy::struct_excessive_bools, reason = "conditions, each of which can hold alone")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// New requests are served.
    pub ready: bool,
    /// This pod.
    pub pod_id: PodId,
    /// The enclave's identity key; absent while it starts.
    pub identity: Option<Address>,
    /// Measurement of the enclave program; absent while it starts.
    pub measurement: Option<Digest32>,
    /// How the workers are: ready while any model is served; absent while the enclave starts.
    pub worker: Option<WorkerState>,
    /// Requests being answered.
    pub in_flight: u32,
    /// Requests waiting.
    pub queued: u32,
    /// Requests that can be answered at once.
    pub slots: u32,
    /// Each model; none while the enclave starts.
    pub models: Vec<ModelStatus>,
    /// The newest block seen.
    pub block: u64,
    /// The chain does not answer.
    pub chain_behind: bool,
    /// The journal cannot store claims: no paid work is taken.
    pub payments_paused: bool,
    /// It will not be able to before the pod is started again.
    pub payments_stopped: bool,
    /// Claims are missing from the journal: it is an older copy, or the contract has paid more.
    pub journal_behind: bool,
    /// The pod is about to stop.
    pub draining: bool,
}

/// What the operator sees in addition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// What everyone sees.
    #[serde(flatten)]
    pub health: Health,
    /// URL as registered.
    pub url: String,
    /// Open exchanges, as the host counts them.
    pub exchanges: usize,
    /// Sum of what open exchanges may still cost.
    pub reserved: Amount,
    /// Sum of what users owe or may come to owe beyond what is locked for good.
    pub at_risk: Amount,
    /// Sum of what was charged and not settled.
    pub unsettled: Amount,
    /// Channels with something unsettled.
    pub unsettled_channels: usize,
}

/// Where the status comes from.
pub(crate) struct StatusSource {
    pub(crate) pod_id: PodId,
    pub(crate) enclave: EnclaveClient,
    pub(crate) state: watch::Receiver<EnclaveState>,
    pub(crate) view: Arc<ChainView>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) open: OpenCount,
    pub(crate) url: String,
    pub(crate) draining: Arc<AtomicBool>,
}

impl StatusSource {
    /// What the operator sees.
    pub(crate) async fn all(&self) -> PodStatus {
        let journal = &self.gate.journal;
        PodStatus {
            health: self.health().await,
            url: self.url.clone(),
            exchanges: self.open.now(),
            reserved: self.gate.reserves.total(),
            at_risk: self.gate.reserves.at_risk(),
            unsettled: journal.unsettled_total(),
            unsettled_channels: journal.unsettled().len(),
        }
    }

    pub(crate) async fn health(&self) -> Health {
        let info = match &*self.state.borrow() {
            EnclaveState::Ready(info) => Some(Arc::clone(info)),
            EnclaveState::Down => None,
        };
        let status = match &info {
            Some(_) => self.enclave.status().await.ok(),
            None => None,
        };
        let worker = status.as_ref().map(|status| status.worker);
        let count = |part: fn(&Status) -> u32| status.as_ref().map_or(0, part);
        let chain_behind = self.view.standing() != Standing::Current;
        let payments = self.gate.journal.condition();
        let payments_paused = payments != Condition::Storing;
        let draining = self.draining.load(Ordering::Acquire);
        let serves = worker == Some(WorkerState::Ready) && !payments_paused && !draining;
        Health {
            ready: serves && !chain_behind,
            pod_id: self.pod_id,
            identity: info.as_ref().map(|info| info.identity),
            measurement: info.as_ref().map(|info| info.measurement),
            worker,
            in_flight: count(|status| status.in_flight),
            queued: count(|status| status.queued),
            slots: count(|status| status.slots),
            models: status.map_or_else(Vec::new, |status| status.models),
            block: self.view.block(),
            chain_behind,
            payments_paused,
            payments_stopped: payments == Condition::Stopped,
            journal_behind: self.gate.journal.is_behind(),
            draining,
        }
    }
}

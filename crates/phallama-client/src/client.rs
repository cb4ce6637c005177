//! The client: one user, one deployment, many pods.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use phallama_attest::Evidence;
use phallama_attest::onchain::OnChainQuote;
use phallama_chain::{Chain, PodRecord, TeeKind, TokenMeta};
use phallama_protocol::ids::{Address, Digest32, PodId};
use phallama_protocol::keys::Signer;

use crate::check::{Refusal, VouchedBy};
use crate::config::{ClientConfig, SpendLimits};
use crate::conversation::Conversations;
use crate::directory::{self, Directory, ModelListing};
use crate::dossier::{Audit, DeploymentFacts, Dossier, MachineFacts};
use crate::error::ClientError;
use crate::health::Health;
use crate::ledger::{AccountKey, Ledger, LedgerError};
use crate::once::Named;
use crate::pod_http::{PodAddress, PodHttp};
use crate::verify::{self, VerifiedPod};

/// One user's way to the pods of one deployment. Clones share everything.
#[derive(Clone)]
pub struct Client {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) chain: Chain,
    pub(crate) http: PodHttp,
    pub(crate) ledger: Arc<Ledger>,
    user: UserKey,
    /// Those of the configuration until they are set.
    limits: Mutex<SpendLimits>,
    pub(crate) directory: Directory,
    verified: Mutex<HashMap<PodId, Slot>>,
    /// Requests that apps have named.
    pub(crate) named: Named,
    /// What was seen of each pod.
    pub(crate) health: Health,
    /// Which pod each conversation is with.
    pub(crate) conversations: Conversations,
    /// Pods that claimed what cannot be.
    pub(crate) misbehaved: Misbehaved,
    /// When this process read the chain's side of a channel, or began to.
    pub(crate) observed: Mutex<HashMap<PodId, Instant>>,
    token: tokio::sync::OnceCell<TokenMeta>,
    /// Contracts never change what they are made of.
    deployment: tokio::sync::OnceCell<DeploymentFacts>,
}

/// Whose money a client handles.
#[derive(Clone, Debug)]
pub enum UserKey {
    /// Nobody's: it can list and verify.
    None,
    /// The key stays locked: balance, limits and records can be read, nothing can be signed.
    Locked(Address),
    /// It can ask and sign.
    Unlocked(Signer),
}

/// Shared with the answers that are being read.
pub(crate) type Misbehaved = Arc<Mutex<HashSet<PodId>>>;

/// What was gathered, and what follows from it.
type Judged = (Dossier, Result<VerifiedPod, Box<Refusal>>);

/// The verified pod, once it is; whoever holds the lock is verifying.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<VerifiedPod>>>>;

impl Client {
    /// Connects to the chain and opens the records in `state_dir`.
    ///
    /// # Errors
    /// [`ClientError::ChainUnavailable`] (also for another chain id or missing contracts),
    /// [`ClientError::Ledger`], [`ClientError::InvalidConfig`].
    pub async fn open(config: ClientConfig, user: Signer) -> Result<Self, ClientError> {
        Self::open_with(config, UserKey::Unlocked(user)).await
    }

    /// The same without a key: everything but asking and signing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_without_key(config: ClientConfig) -> Result<Self, ClientError> {
        Self::open_with(config, UserKey::None).await
    }

    async fn open_with(config: ClientConfig, user: UserKey) -> Result<Self, ClientError> {
        let chain = Chain::connect(config.chain.clone()).await?;
        Self::on(chain, config, user)
    }

    /// The same on a connection that is there already; `config.chain` is that of the connection.
    ///
    /// # Errors
    /// [`ClientError::Ledger`], [`ClientError::InvalidConfig`].
    pub fn on(chain: Chain, config: ClientConfig, user: UserKey) -> Result<Self, ClientError> {
        let ledger = Ledger::open(&config.state_dir)
            .map_err(|source| ClientError::Ledger { path: config.state_dir.clone(), source })?;
        let http = PodHttp::new(&config.timeouts)?;
        let disputes = ledger
            .disputes()
            .map_err(|source| ClientError::Ledger { path: ledger.path().to_owned(), source })?;
        let misbehaved = disputes.iter().filter(|dispute| dispute.distrusts());
        let misbehaved = misbehaved.map(|dispute| dispute.pod).collect();
        let inner = Inner {
            limits: Mutex::new(config.limits),
            config,
            chain,
            http,
            ledger: Arc::new(ledger),
            user,
            directory: Directory::default(),
            verified: Mutex::default(),
            named: Named::default(),
            health: Health::default(),
            conversations: Conversations::default(),
            misbehaved: Arc::new(Mutex::new(misbehaved)),
            observed: Mutex::default(),
            token: tokio::sync::OnceCell::new(),
            deployment: tokio::sync::OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The configuration in force.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The user's limits in force.
    pub fn limits(&self) -> SpendLimits {
        *lock(&self.inner.limits)
    }

    /// Other limits, from the next request on, for this client and its clones.
    pub fn set_limits(&self, limits: SpendLimits) {
        *lock(&self.inner.limits) = limits;
    }

    /// The chain connection.
    pub fn chain(&self) -> &Chain {
        &self.inner.chain
    }

    /// The user's address, when it is known.
    pub fn user(&self) -> Option<Address> {
        match &self.inner.user {
            UserKey::None => None,
            UserKey::Locked(address) => Some(*address),
            UserKey::Unlocked(signer) => Some(signer.address()),
        }
    }

    pub(crate) fn signer(&self) -> Result<&Signer, ClientError> {
        match &self.inner.user {
            UserKey::Unlocked(signer) => Ok(signer),
            UserKey::None | UserKey::Locked(_) => Err(ClientError::KeystoreLocked),
        }
    }

    pub(crate) fn account_key(&self) -> Result<AccountKey, ClientError> {
        let chain = &self.inner.config.chain;
        let user = self.user().ok_or(ClientError::KeystoreLocked)?;
        Ok(AccountKey { chain_id: chain.chain_id, escrow: chain.escrow, user })
    }

    /// Symbol and decimals of the token that pods are paid in.
    ///
    /// # Errors
    /// [`ClientError::ChainUnavailable`].
    pub async fn token(&self) -> Result<&TokenMeta, ClientError> {
        let inner = &self.inner;
        Ok(inner.token.get_or_try_init(|| inner.chain.token_meta()).await?)
    }

    /// Every registered pod, retired ones included, at most as old as `timeouts.directory`.
    ///
    /// # Errors
    /// [`ClientError::ChainUnavailable`].
    pub async fn pods(&self) -> Result<Arc<Vec<PodRecord>>, ClientError> {
        let inner = &self.inner;
        let max_age = inner.config.timeouts.directory;
        Ok(inner.directory.records(max_age, inner.chain.pods()).await?)
    }

    /// The models that can be asked now, by name.
    ///
    /// # Errors
    /// [`ClientError::ChainUnavailable`].
    pub async fn models(&self) -> Result<Vec<ModelListing>, ClientError> {
        Ok(directory::models(&self.pods().await?, now_unix_s()))
    }

    /// Whether the model can be asked now, without listing the network.
    ///
    /// # Errors
    /// [`ClientError::ChainUnavailable`].
    pub async fn offers(&self, model: &str) -> Result<bool, ClientError> {
        Ok(directory::offers(&self.pods().await?, model, now_unix_s()))
    }

    /// Verifies one pod, from its chain record as it is now. No prompt is sent.
    ///
    /// # Errors
    /// [`ClientError::AttestationRejected`] with every check, [`ClientError::PodUnknown`],
    /// [`ClientError::PodUnreachable`], [`ClientError::ChainUnavailable`].
    pub async fn verify(&self, pod: PodId) -> Result<Arc<VerifiedPod>, ClientError> {
        let record = self.record(pod).await?;
        let slot = self.slot(pod);
        let mut known = slot.lock().await;
        *known = None;
        let (_, verified) = self.judged(&record).await?;
        let verified = Arc::new(verified.map_err(ClientError::AttestationRejected)?);
        *known = Some(Arc::clone(&verified));
        Ok(verified)
    }

    /// The same with everything that the verdict follows from, whatever the verdict is.
    ///
    /// # Errors
    /// [`ClientError::PodUnknown`], [`ClientError::PodUnreachable`],
    /// [`ClientError::ChainUnavailable`].
    pub async fn audit(&self, pod: PodId) -> Result<Audit, ClientError> {
        let record = self.record(pod).await?;
        let (dossier, verified) = self.judged(&record).await?;
        let at_unix_s = dossier.gathered_at_unix_s;
        let result = verified.map(|pod| (pod.release_label().to_owned(), pod.checks().to_vec()));
        Ok(Audit { dossier, at_unix_s, result })
    }

    async fn record(&self, pod: PodId) -> Result<PodRecord, ClientError> {
        self.inner.chain.pod(pod).await?.ok_or(ClientError::PodUnknown(pod))
    }

    /// Whether the pod claimed what cannot be.
    pub(crate) fn is_distrusted(&self, pod: PodId) -> bool {
        lock(&self.inner.misbehaved).contains(&pod)
    }

    /// The pod, verified now or before; its bundle is inside its window.
    pub(crate) async fn verified(
        &self,
        record: &PodRecord,
    ) -> Result<Arc<VerifiedPod>, ClientError> {
        self.verified_for(record, 0).await
    }

    /// The same with a bundle that lasts `ahead_s` more seconds, if the pod has one.
    pub(crate) async fn verified_for(
        &self,
        record: &PodRecord,
        ahead_s: u64,
    ) -> Result<Arc<VerifiedPod>, ClientError> {
        let slot = self.slot(record.pod_id);
        let mut known = slot.lock().await;
        let newer_or_same = |verified: &&Arc<VerifiedPod>| {
            verified.still_matches(record)
                || verified.record().updated_at_unix_s > record.updated_at_unix_s
        };
        if let Some(verified) = known.as_ref().filter(newer_or_same) {
            if now_unix_s().saturating_add(ahead_s) < verified.bundle_good_until_unix_s() {
                return Ok(Arc::clone(verified));
            }
            if let Some(newer) = self.with_new_bundle(verified).await? {
                return Ok(Arc::clone(known.insert(newer)));
            }
        }
        *known = None;
        let (_, verified) = self.judged(record).await?;
        let verified = Arc::new(verified.map_err(ClientError::AttestationRejected)?);
        Ok(Arc::clone(known.insert(verified)))
    }

    /// The pod with a bundle that is fetched now, because it does not know the key of the old one.
    pub(crate) async fn with_fresh_bundle(
        &self,
        old: &VerifiedPod,
    ) -> Result<Arc<VerifiedPod>, ClientError> {
        let slot = self.slot(old.record().pod_id);
        let mut known = slot.lock().await;
        // Somebody else may have fetched it meanwhile.
        if let Some(newer) = known.as_ref().filter(|new| new.bundle().hash() != old.bundle().hash())
        {
            return Ok(Arc::clone(newer));
        }
        if let Some(newer) = self.with_new_bundle(old).await? {
            return Ok(Arc::clone(known.insert(newer)));
        }
        *known = None;
        let (_, verified) = self.judged(old.record()).await?;
        let verified = Arc::new(verified.map_err(ClientError::AttestationRejected)?);
        Ok(Arc::clone(known.insert(verified)))
    }

    async fn with_new_bundle(
        &self,
        old: &VerifiedPod,
    ) -> Result<Option<Arc<VerifiedPod>>, ClientError> {
        let bytes = self.inner.http.bundle(&PodAddress::from(old.record())).await?;
        Ok(old.with_bundle(&bytes, now_unix_s()).map(Arc::new))
    }

    /// Gathers and judges by `record`. A refusal is made once more from what chain and pod say by
    /// then, if `record` is not the newest or if the two were read while the pod renewed its key:
    /// the chain and the pod cannot be read at one moment.
    async fn judged(&self, record: &PodRecord) -> Result<Judged, ClientError> {
        let first = self.judge(record).await?;
        let Err(refusal) = &first.1 else { return Ok(first) };
        match self.inner.chain.pod(record.pod_id).await? {
            Some(newer) if newer != *record => {
                self.inner.directory.forget().await;
                self.judge(&newer).await
            }
            Some(same) if refusal.may_be_of_two_moments() => self.judge(&same).await,
            _ => Ok(first),
        }
    }

    async fn judge(&self, record: &PodRecord) -> Result<Judged, ClientError> {
        let dossier = self.gather(record).await?;
        let (trust, now) = (&self.inner.config.trust, dossier.gathered_at_unix_s);
        let verdict = verify::appraise(&dossier, trust, VouchedBy::Chain, now);
        if let Ok(verified) = &verdict {
            let (root, tee) = (trust.root.sha256(), verified.key().tee);
            let seen = verified.evidence().tcb_evaluation_number();
            self.ledger(move |ledger| ledger.raise_tcb_evaluation_number(&root, tee, seen)).await?;
        }
        Ok((dossier, verdict))
    }

    /// Everything that the verdict follows from. A pod whose record refuses it is not contacted.
    async fn gather(&self, record: &PodRecord) -> Result<Dossier, ClientError> {
        let (at, inner) = (PodAddress::from(record), &self.inner);
        let mut dossier = Dossier {
            gathered_at_unix_s: now_unix_s(),
            deployment: self.deployment().await?.clone(),
            record: record.clone(),
            machine: None,
            tcb_evaluation_number_min: 0,
            bundle: Vec::new(),
            evidence: Vec::new(),
        };
        let trust = &inner.config.trust;
        if verify::check_record(&dossier, trust, dossier.gathered_at_unix_s).is_err() {
            return Ok(dossier);
        }
        let (root, tee) = (trust.root.sha256(), record.key.map_or(TeeKind::Sgx, |key| key.tee));
        dossier.tcb_evaluation_number_min =
            self.ledger(move |ledger| ledger.tcb_evaluation_number(&root, tee)).await?;
        (dossier.bundle, dossier.evidence) =
            tokio::try_join!(inner.http.bundle(&at), inner.http.evidence(&at))?;
        dossier.machine = self.machine(record.pod_id, &dossier.evidence).await?;
        dossier.gathered_at_unix_s = now_unix_s();
        Ok(dossier)
    }

    async fn deployment(&self) -> Result<&DeploymentFacts, ClientError> {
        let (chain, config) = (&self.inner.chain, &self.inner.config.chain);
        let read = async || {
            Ok(DeploymentFacts {
                chain_id: config.chain_id,
                registry: config.registry,
                escrow: config.escrow,
                verifier: chain.verifier(),
                root_certificate_sha256: chain.root_certificate_sha256().await?,
            })
        };
        self.inner.deployment.get_or_try_init(read).await
    }

    /// What the registry says about the machine that the evidence names. Evidence that names none
    /// is refused by an earlier check.
    async fn machine(
        &self,
        pod: PodId,
        evidence: &[u8],
    ) -> Result<Option<MachineFacts>, ClientError> {
        let quote = Evidence::from_json(evidence).ok().map(|evidence| evidence.quote);
        let Some(cut) = quote.and_then(|quote| OnChainQuote::cut(&quote).ok()) else {
            return Ok(None);
        };
        let machine = Digest32(cut.machine());
        let chain = &self.inner.chain;
        let (holder, shared) =
            tokio::try_join!(chain.machine_holder(machine), chain.sharing(pod, machine))?;
        Ok(Some(MachineFacts { machine, holder, shared }))
    }

    fn slot(&self, pod: PodId) -> Slot {
        Arc::clone(lock(&self.inner.verified).entry(pod).or_default())
    }

    /// Runs one operation on the records; they wait for the disk.
    pub(crate) async fn ledger<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let ledger = Arc::clone(&self.inner.ledger);
        on_ledger(ledger, operation).await
    }
}

/// Runs one operation on the records on a thread that may wait.
pub(crate) async fn on_ledger<T: Send + 'static>(
    ledger: Arc<Ledger>,
    operation: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, ClientError> {
    let path = ledger.path().to_owned();
    let done = tokio::task::spawn_blocking(move || operation(&ledger)).await;
    done.expect("operations on the records do not panic")
        .map_err(|source| ClientError::Ledger { path, source })
}

/// A lock whose holder panicked still guards consistent maps: every change is one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn now_unix_s() -> u64 {
    since_epoch().as_secs()
}

pub(crate) fn now_unix_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

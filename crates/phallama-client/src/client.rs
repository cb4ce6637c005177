//! The client: one user, one deployment, many pods.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use phallama_chain::{Chain, PodRecord, TokenMeta};
use phallama_protocol::ids::{Address, PodId};
use phallama_protocol::keys::Signer;

use crate::config::ClientConfig;
use crate::directory::{self, Candidate, Directory, ModelListing};
use crate::error::ClientError;
use crate::ledger::{AccountKey, Ledger, LedgerError};
use crate::pod_http::{PodAddress, PodHttp};
use crate::verify::{self, Presented, VerifiedPod};

/// How long a pod that failed is asked last.
const COOL_DOWN: Duration = Duration::from_secs(30);

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
    user: Option<Signer>,
    directory: Directory,
    verified: Mutex<HashMap<PodId, Slot>>,
    failed: Mutex<HashMap<PodId, Instant>>,
    /// Pods that claimed what cannot be.
    pub(crate) misbehaved: Misbehaved,
    /// Channels whose chain side was read by this process.
    pub(crate) observed: Mutex<HashSet<PodId>>,
    token: tokio::sync::OnceCell<TokenMeta>,
}

/// Shared with the answers that are being read.
pub(crate) type Misbehaved = Arc<Mutex<HashSet<PodId>>>;

/// The verified pod, once it is; whoever holds the lock is verifying.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<VerifiedPod>>>>;

impl Client {
    /// Connects to the chain and opens the records in `state_dir`.
    ///
    /// # Errors
    /// [`ClientError::ChainUnavailable`] (also for another chain id or missing contracts),
    /// [`ClientError::Ledger`], [`ClientError::InvalidConfig`].
    pub async fn open(config: ClientConfig, user: Signer) -> Result<Self, ClientError> {
        Self::open_with(config, Some(user)).await
    }

    /// The same without a key: everything but asking and signing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_without_key(config: ClientConfig) -> Result<Self, ClientError> {
        Self::open_with(config, None).await
    }

    async fn open_with(config: ClientConfig, user: Option<Signer>) -> Result<Self, ClientError> {
        let chain = Chain::connect(config.chain.clone()).await?;
        let ledger = Ledger::open(&config.state_dir)
            .map_err(|source| ClientError::Ledger { path: config.state_dir.clone(), source })?;
        let http = PodHttp::new(&config.timeouts)?;
        let inner = Inner {
            config,
            chain,
            http,
            ledger: Arc::new(ledger),
            user,
            directory: Directory::default(),
            verified: Mutex::default(),
            failed: Mutex::default(),
            misbehaved: Misbehaved::default(),
            observed: Mutex::default(),
            token: tokio::sync::OnceCell::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The configuration in force.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The chain connection.
    pub fn chain(&self) -> &Chain {
        &self.inner.chain
    }

    /// The user's address, when a key was given.
    pub fn user(&self) -> Option<Address> {
        self.inner.user.as_ref().map(Signer::address)
    }

    pub(crate) fn signer(&self) -> Result<&Signer, ClientError> {
        self.inner.user.as_ref().ok_or(ClientError::KeystoreLocked)
    }

    pub(crate) fn account_key(&self) -> Result<AccountKey, ClientError> {
        let chain = &self.inner.config.chain;
        let user = self.signer()?.address();
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

    /// Verifies one pod, from its chain record as it is now. No prompt is sent.
    ///
    /// # Errors
    /// [`ClientError::AttestationRejected`] with every check, [`ClientError::PodUnknown`],
    /// [`ClientError::PodUnreachable`], [`ClientError::ChainUnavailable`].
    pub async fn verify(&self, pod: PodId) -> Result<Arc<VerifiedPod>, ClientError> {
        let record = self.inner.chain.pod(pod).await?.ok_or(ClientError::PodUnknown(pod))?;
        let slot = self.slot(pod);
        let mut known = slot.lock().await;
        *known = None;
        let verified = Arc::new(self.verify_record(&record).await?);
        *known = Some(Arc::clone(&verified));
        Ok(verified)
    }

    /// Pods that may be asked for `model`, best first: cheapest first, those that just failed last.
    pub(crate) async fn candidates(&self, model: &str) -> Result<Vec<Candidate>, ClientError> {
        let (records, now) = (self.pods().await?, now_unix_s());
        let mut found = directory::candidates(&records, model, now);
        if found.is_empty() {
            let listings = directory::models(&records, now);
            let available = listings.into_iter().map(|listing| listing.model).collect();
            return Err(ClientError::ModelUnknown { asked: model.to_owned(), available });
        }
        let failed = lock(&self.inner.failed);
        found.sort_by_key(|candidate| {
            failed.get(&candidate.record.pod_id).is_some_and(|at| at.elapsed() < COOL_DOWN)
        });
        Ok(found)
    }

    /// Asks this pod last for a while, and reads the list of pods again: it may have changed.
    pub(crate) async fn remember_failure(&self, pod: PodId) {
        lock(&self.inner.failed).insert(pod, Instant::now());
        self.inner.directory.forget().await;
    }

    /// Whether the pod claimed what cannot be, in this process.
    pub(crate) fn is_distrusted(&self, pod: PodId) -> bool {
        lock(&self.inner.misbehaved).contains(&pod)
    }

    pub(crate) fn remember_success(&self, pod: PodId) {
        lock(&self.inner.failed).remove(&pod);
    }

    /// The pod, verified now or before; its bundle is inside its window.
    pub(crate) async fn verified(
        &self,
        record: &PodRecord,
    ) -> Result<Arc<VerifiedPod>, ClientError> {
        let slot = self.slot(record.pod_id);
        let mut known = slot.lock().await;
        let newer_or_same = |verified: &&Arc<VerifiedPod>| {
            verified.still_matches(record)
                || verified.record().updated_at_unix_s > record.updated_at_unix_s
        };
        if let Some(verified) = known.as_ref().filter(newer_or_same) {
            if now_unix_s() < verified.bundle_good_until_unix_s() {
                return Ok(Arc::clone(verified));
            }
            if let Some(newer) = self.with_new_bundle(verified).await? {
                return Ok(Arc::clone(known.insert(newer)));
            }
        }
        *known = None;
        let verified = Arc::new(self.verify_or_reread(record).await?);
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
        let verified = Arc::new(self.verify_or_reread(old.record()).await?);
        Ok(Arc::clone(known.insert(verified)))
    }

    async fn with_new_bundle(
        &self,
        old: &VerifiedPod,
    ) -> Result<Option<Arc<VerifiedPod>>, ClientError> {
        let bytes = self.inner.http.bundle(&PodAddress::from(old.record())).await?;
        Ok(old.with_bundle(&self.inner.config.chain, &bytes, now_unix_s()).map(Arc::new))
    }

    /// Verifies against `record`; if that fails and the chain has a newer record, against that.
    async fn verify_or_reread(&self, record: &PodRecord) -> Result<VerifiedPod, ClientError> {
        match self.verify_record(record).await {
            Err(ClientError::AttestationRejected(refusal)) => {
                match self.inner.chain.pod(record.pod_id).await? {
                    Some(newer) if newer != *record => self.verify_record(&newer).await,
                    _ => Err(ClientError::AttestationRejected(refusal)),
                }
            }
            other => other,
        }
    }

    async fn verify_record(&self, record: &PodRecord) -> Result<VerifiedPod, ClientError> {
        verify::check_record(record, now_unix_s()).map_err(ClientError::AttestationRejected)?;
        let (at, inner) = (PodAddress::from(record), &self.inner);
        let (bundle, evidence) =
            tokio::try_join!(inner.http.bundle(&at), inner.http.evidence(&at))?;
        let presented = Presented { record, bundle: &bundle, evidence: &evidence };
        let (chain, trust) = (&inner.config.chain, &inner.config.trust);
        let root = trust.root.sha256();
        let min = self.ledger(move |ledger| ledger.tcb_evaluation_number(&root)).await?;
        let verified = verify::appraise(&presented, chain, trust, min, now_unix_s())
            .map_err(ClientError::AttestationRejected)?;
        let seen = verified.evidence().tcb_evaluation_number();
        self.ledger(move |ledger| ledger.raise_tcb_evaluation_number(&root, seen)).await?;
        Ok(verified)
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

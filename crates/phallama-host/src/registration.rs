//! The pod's record on chain: registered once, brought up to date at every start, its key attested
//! in time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use phallama_attest::{Binding, Evidence, NONCE_ON_CHAIN, report_data};
use phallama_chain::{
    AttestedKey, Chain, ChainError, KeyBinding, PodRecord, Registration, Sender, Tx,
};
use phallama_protocol::ids::{Address, Amount, PodId};
use phallama_protocol::offers::{Offer, offers_hash};
use tokio::sync::watch;

use crate::attestation::{
    Appraisal, Bringing, CollateralKeeper, PlatformQuote, Refusal, Root, appraise, bring,
    machine_taken, of_contract,
};
use crate::books::{Books, Purpose};
use crate::clock;
use crate::collateral::CollateralSet;
use crate::enclave::{EnclaveInfo, EnclaveState};
use crate::error::PodError;
use crate::progress::PodProgress;

/// How often the key's remaining life is looked at.
const LOOK_EVERY: Duration = Duration::from_mins(1);
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Longest life of an attestation (`IPodRegistry.KEY_LIFE_MAX`), in seconds.
pub(crate) const KEY_LIFE_MAX_S: u64 = 604_800;
/// An attestation that gains less than this is not worth its gas, in seconds.
const GAIN_MIN_S: u64 = 3_600;

/// What a pod's record must say.
pub(crate) struct Registrar {
    pub(crate) chain: Chain,
    pub(crate) sender: Sender,
    pub(crate) pod: PodId,
    pub(crate) salt: [u8; 32],
    pub(crate) url: String,
    pub(crate) payout: Address,
    pub(crate) offers: Vec<Offer>,
    pub(crate) key_renew_s: u64,
    pub(crate) collateral_renew_s: u64,
    pub(crate) keeper: Arc<CollateralKeeper>,
    pub(crate) report: Arc<dyn Fn(PodProgress) + Send + Sync>,
    pub(crate) books: Books,
    /// What the operator was told last, so that a lasting problem is told once.
    pub(crate) told: Mutex<Vec<String>>,
}

/// One transaction that a record needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Register,
    UpdateUrl,
    UpdateOffers,
    UpdatePayout,
}

/// Why a key is attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The record has another key or none.
    NewKey,
    /// The registry vouches for it not much longer.
    Ending,
    /// There is collateral of a higher evaluation number, below which clients may refuse.
    NewerCollateral,
}

/// An enclave's evidence, judged.
struct Judged {
    quote: PlatformQuote,
    set: Arc<CollateralSet>,
    appraisal: Appraisal,
}

impl Registrar {
    /// Reads the record and sends what it needs. Nothing is sent for a platform that would be
    /// refused; a pod whose machine backs another one is listed, so that it can agree to share.
    ///
    /// # Errors
    /// [`PodError::Refused`], [`PodError::Chain`].
    pub(crate) async fn ensure(&self, info: &EnclaveInfo) -> Result<(), PodError> {
        let now_unix_s = clock::now_unix_s();
        let judged = self.judge(info, now_unix_s).await?;
        let record = self.chain.pod(self.pod).await?;
        if record.as_ref().is_some_and(|record| record.retired) {
            self.remark("this pod is retired on chain, so clients skip it".to_owned());
        }
        let due = self.due(record.as_ref(), info, &judged, now_unix_s);
        if due.is_some() {
            self.remark_on(&judged.appraisal);
            (self.report)(PodProgress::Appraised { appraisal: judged.appraisal.clone() });
        }
        for step in self.steps(record.as_ref()) {
            self.take(&step).await?;
        }
        if due.is_some() {
            self.machine_is_free(&judged.quote, now_unix_s).await?;
            self.attest(info, &judged, now_unix_s).await?;
        }
        Ok(())
    }

    /// What this host says of the evidence, with the newest collateral.
    async fn judge(&self, info: &EnclaveInfo, now_unix_s: u64) -> Result<Judged, PodError> {
        let quote = PlatformQuote::cut(&info.evidence.quote)?;
        let root = Root(self.chain.root_certificate_sha256().await?.0);
        root.trust(&quote.wanted)?;
        let (set, remarks) = self.keeper.newest(info, &quote, now_unix_s).await?;
        for remark in remarks {
            self.remark(remark.to_string());
        }
        let evidence =
            Evidence { collateral: set.to_evidence(), ..Evidence::clone(&info.evidence) };
        let expected = Some(report_data(&self.binding(info), NONCE_ON_CHAIN));
        let appraisal = appraise(&evidence, &quote, root, expected, now_unix_s)?;
        Ok(Judged { quote, set, appraisal })
    }

    fn binding(&self, info: &EnclaveInfo) -> Binding {
        let config = self.chain.config();
        Binding {
            chain_id: config.chain_id,
            registry: config.registry.0,
            pod_id: self.pod.0,
            identity: info.identity.0,
            model_set_root: info.model_set_root.0,
            policy_digest: info.policy_digest.0,
        }
    }

    fn due(
        &self,
        record: Option<&PodRecord>,
        info: &EnclaveInfo,
        judged: &Judged,
        now_unix_s: u64,
    ) -> Option<Due> {
        let Some(key) = record.and_then(|record| record.key) else { return Some(Due::NewKey) };
        if key.identity != info.identity || key.evidence != judged.quote.evidence {
            return Some(Due::NewKey);
        }
        self.renewal(&key, judged, now_unix_s)
    }

    fn renewal(&self, key: &AttestedKey, judged: &Judged, now_unix_s: u64) -> Option<Due> {
        if judged.appraisal.evaluation_number > key.evaluation_number {
            return Some(Due::NewerCollateral);
        }
        if key.expiry_unix_s >= now_unix_s.saturating_add(self.key_renew_s) {
            return None;
        }
        let longest = now_unix_s.saturating_add(KEY_LIFE_MAX_S);
        let until_unix_s = judged.appraisal.expires_at_unix_s.min(longest);
        if until_unix_s < key.expiry_unix_s.saturating_add(GAIN_MIN_S) {
            let end = key.expiry_unix_s;
            self.remark(format!(
                "the registry vouches for this pod's key until unix time {end}, and there is no \
                 collateral that would last longer"
            ));
            return None;
        }
        Some(Due::Ending)
    }

    /// The machine backs no other pod, or both agreed to share it.
    async fn machine_is_free(
        &self,
        quote: &PlatformQuote,
        now_unix_s: u64,
    ) -> Result<(), PodError> {
        let machine = quote.pck.machine;
        let Some(holder) = self.chain.machine_holder(machine).await? else { return Ok(()) };
        if self.pod.0.starts_with(&holder.pod_prefix) || holder.until_unix_s <= now_unix_s {
            return Ok(());
        }
        let pods = self.chain.pods().await?;
        let other = pods.iter().map(|pod| pod.pod_id);
        let other = other.into_iter().find(|pod| pod.0.starts_with(&holder.pod_prefix));
        let shared = match other {
            Some(other) => {
                self.chain.sharing(self.pod, machine).await?
                    && self.chain.sharing(other, machine).await?
            }
            None => false,
        };
        if shared { Ok(()) } else { Err(machine_taken(machine, self.pod, &holder, other).into()) }
    }

    fn steps(&self, record: Option<&PodRecord>) -> Vec<Step> {
        let Some(record) = record else { return vec![Step::Register] };
        let needed = [
            (record.url != self.url, Step::UpdateUrl),
            (record.offers_hash != offers_hash(&self.offers), Step::UpdateOffers),
            (record.payout != self.payout, Step::UpdatePayout),
        ];
        needed.into_iter().filter_map(|(needed, step)| needed.then_some(step)).collect()
    }

    async fn take(&self, step: &Step) -> Result<(), ChainError> {
        let (sender, pod) = (&self.sender, self.pod);
        let (what, tx) = match step {
            Step::Register => ("register", sender.register_pod(&self.registration()).await?),
            Step::UpdateUrl => ("updateUrl", sender.update_url(pod, &self.url).await?),
            Step::UpdateOffers => ("updateOffers", sender.update_offers(pod, &self.offers).await?),
            Step::UpdatePayout => ("updatePayout", sender.update_payout(pod, self.payout).await?),
        };
        self.sent(what, &tx);
        Ok(())
    }

    fn registration(&self) -> Registration {
        Registration {
            salt: self.salt,
            url: self.url.clone(),
            payout: self.payout,
            offers: self.offers.clone(),
        }
    }

    /// Brings what the contract lacks, and has the key attested.
    async fn attest(
        &self,
        info: &EnclaveInfo,
        judged: &Judged,
        now_unix_s: u64,
    ) -> Result<(), PodError> {
        let Judged { quote, set, .. } = judged;
        let until_unix_s = now_unix_s.saturating_add(self.collateral_renew_s);
        let mut sent = |what: crate::attestation::Bring, tx: &Tx| self.sent(what.as_str(), tx);
        bring(&self.chain, &self.sender, quote, set, until_unix_s, &mut sent).await.map_err(
            |error| match error {
                Bringing::Refused(refusal) => refusal.into(),
                Bringing::Chain(error) => explained(error),
            },
        )?;
        let binding = KeyBinding {
            identity: info.identity,
            model_set_root: info.model_set_root,
            policy_digest: info.policy_digest,
        };
        let (sender, parts) = (&self.sender, &quote.parts);
        if self.chain.is_known_pck(&quote.pck).await? {
            let attested = sender.attest_known(self.pod, &binding, parts, &quote.pck).await;
            self.sent("attestKnown", &attested.map_err(explained)?);
        } else {
            let attested = sender.attest(self.pod, &binding, parts, &quote.leaf).await;
            self.sent("attest", &attested.map_err(explained)?);
        }
        let record = self.chain.pod(self.pod).await?;
        if let Some(key) = record.and_then(|record| record.key) {
            (self.report)(PodProgress::Attested { until_unix_s: key.expiry_unix_s });
        }
        Ok(())
    }

    fn sent(&self, what: &'static str, tx: &Tx) {
        self.books.note(Purpose::Register, Amount::ZERO, tx);
        let (tx_hash, gas_used) = (tx.hash, tx.gas_used);
        (self.report)(PodProgress::Registered { what, tx_hash, gas_used });
    }

    fn remark_on(&self, appraisal: &Appraisal) {
        if let Some(remark) = appraisal.remark() {
            self.remark(remark);
        }
    }

    /// Tells the operator, once.
    fn remark(&self, text: String) {
        if self.is_news(&text) {
            (self.report)(PodProgress::Remark(text));
        }
    }

    fn is_news(&self, text: &str) -> bool {
        const REMEMBERED: usize = 32;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.iter().any(|earlier| earlier == text) {
            return false;
        }
        if told.len() >= REMEMBERED {
            told.remove(0);
        }
        told.push(text.to_owned());
        true
    }

    /// Attests the identity of every new start, and renews the key before it ends. For ever.
    pub(crate) async fn run(&self, mut state: watch::Receiver<EnclaveState>) {
        state.mark_unchanged();
        loop {
            let pause = tokio::time::sleep(LOOK_EVERY);
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                () = pause => {}
            }
            let info = match &*state.borrow_and_update() {
                EnclaveState::Ready(info) => Arc::clone(info),
                EnclaveState::Down => continue,
            };
            match self.ensure(&info).await {
                Ok(()) => {}
                Err(PodError::Refused(refusal)) => {
                    if self.is_news(&refusal.to_string()) {
                        tracing::warn!(kind = ?refusal.kind, "registration: refused");
                        (self.report)(PodProgress::Refused(refusal));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "registration: failed, will be tried again");
                    tokio::time::sleep(RETRY_AFTER).await;
                    // A change is not forgotten: look again at once.
                    state.mark_changed();
                }
            }
        }
    }
}

/// A contract's error in words, where it is about the platform.
fn explained(error: ChainError) -> PodError {
    match of_contract(&error) {
        Some(refusal) => Refusal::into(refusal),
        None => PodError::Chain(error),
    }
}

#[cfg(test)]
mod tests;

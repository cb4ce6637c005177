//! The pod's record on chain: registered once, brought up to date at every start, its key renewed
//! in time.

use std::sync::Arc;
use std::time::Duration;

use phallama_chain::{Chain, ChainError, KeyRegistration, PodRecord, Registration, Sender, Tx};
use phallama_protocol::ids::{Address, PodId};
use phallama_protocol::offers::{Offer, offers_hash};
use tokio::sync::watch;

use crate::clock;
use crate::enclave::{EnclaveInfo, EnclaveState};
use crate::progress::PodProgress;

/// Where a pod serves its evidence.
pub(crate) const EVIDENCE_PATH: &str = "/.well-known/phallama/evidence";
/// How often the key's remaining life is looked at.
const LOOK_EVERY: Duration = Duration::from_mins(1);
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What a pod's record must say.
pub(crate) struct Registrar {
    pub(crate) chain: Chain,
    pub(crate) sender: Sender,
    pub(crate) pod: PodId,
    pub(crate) salt: [u8; 32],
    pub(crate) url: String,
    pub(crate) payout: Address,
    pub(crate) offers: Vec<Offer>,
    pub(crate) key_life_s: u64,
    pub(crate) key_renew_s: u64,
    pub(crate) report: Arc<dyn Fn(PodProgress) + Send + Sync>,
}

/// One transaction that a record needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Register,
    UpdateUrl,
    UpdateOffers,
    UpdatePayout,
    SetKey,
}

impl Registrar {
    /// Reads the record and sends what it needs.
    pub(crate) async fn ensure(&self, info: &EnclaveInfo) -> Result<(), ChainError> {
        let record = self.chain.pod(self.pod).await?;
        if record.as_ref().is_some_and(|record| record.retired) {
            let pod = self.pod;
            tracing::warn!(%pod, "registration: retired on chain, so clients skip this pod");
        }
        for step in self.steps(record.as_ref(), info, clock::now_unix_s()) {
            self.take(&step, info).await?;
        }
        Ok(())
    }

    fn steps(&self, record: Option<&PodRecord>, info: &EnclaveInfo, now_unix_s: u64) -> Vec<Step> {
        let Some(record) = record else { return vec![Step::Register] };
        let left_s = record.key_expiry_unix_s.saturating_sub(now_unix_s);
        let key = (record.identity, record.measurement, record.quote_hash);
        let key_differs = key != (info.identity, info.measurement, info.quote_hash)
            || record.evidence_uri != self.evidence_uri()
            || left_s < self.key_renew_s;
        let needed = [
            (record.url != self.url, Step::UpdateUrl),
            (record.offers_hash != offers_hash(&self.offers), Step::UpdateOffers),
            (record.payout != self.payout, Step::UpdatePayout),
            (key_differs, Step::SetKey),
        ];
        needed.into_iter().filter_map(|(needed, step)| needed.then_some(step)).collect()
    }

    async fn take(&self, step: &Step, info: &EnclaveInfo) -> Result<(), ChainError> {
        let (sender, pod) = (&self.sender, self.pod);
        let (what, tx) = match step {
            Step::Register => ("register", sender.register_pod(&self.registration(info)).await?),
            Step::UpdateUrl => ("updateUrl", sender.update_url(pod, &self.url).await?),
            Step::UpdateOffers => ("updateOffers", sender.update_offers(pod, &self.offers).await?),
            Step::UpdatePayout => ("updatePayout", sender.update_payout(pod, self.payout).await?),
            Step::SetKey => ("setKey", sender.set_key(pod, &self.key(info)).await?),
        };
        let Tx { hash, gas_used, .. } = tx;
        (self.report)(PodProgress::Registered { what, tx_hash: hash, gas_used });
        Ok(())
    }

    fn registration(&self, info: &EnclaveInfo) -> Registration {
        Registration {
            salt: self.salt,
            url: self.url.clone(),
            payout: self.payout,
            offers: self.offers.clone(),
            key: self.key(info),
        }
    }

    fn key(&self, info: &EnclaveInfo) -> KeyRegistration {
        KeyRegistration {
            identity: info.identity,
            expiry_unix_s: clock::now_unix_s().saturating_add(self.key_life_s),
            measurement: info.measurement,
            quote_hash: info.quote_hash,
            evidence_uri: self.evidence_uri(),
        }
    }

    fn evidence_uri(&self) -> String {
        format!("{}{EVIDENCE_PATH}", self.url)
    }

    /// Registers the identity of every new start, and renews the key before it expires. For ever.
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
            if let Err(error) = self.ensure(&info).await {
                tracing::warn!(%error, "registration: failed, will be tried again");
                tokio::time::sleep(RETRY_AFTER).await;
                // A change is not forgotten: look again at once.
                state.mark_changed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use phallama_protocol::ids::Digest32;

    use super::*;
    use crate::testing::{World, offer};

    fn info(identity: u8) -> EnclaveInfo {
        EnclaveInfo {
            identity: Address([identity; 20]),
            measurement: Digest32([3; 32]),
            quote_hash: Digest32([4; 32]),
            evidence: Arc::from(&b"{}"[..]),
        }
    }

    fn registrar(world: &World, salt: [u8; 32]) -> Registrar {
        Registrar {
            chain: world.chain.clone(),
            sender: world.operator.clone(),
            pod: phallama_protocol::eip712::pod_id(world.operator.address(), &salt),
            salt,
            url: "http://127.0.0.1:7001".to_owned(),
            payout: Address([9; 20]),
            offers: vec![offer()],
            key_life_s: 86_400,
            key_renew_s: 3_600,
            report: Arc::new(|_| {}),
        }
    }

    #[tokio::test]
    async fn record_is_made_once_and_then_changed_only_where_it_differs() {
        let world = World::new(0).await;
        let mut registrar = registrar(&world, [1; 32]);
        registrar.ensure(&info(1)).await.unwrap();
        let record = world.chain.pod(registrar.pod).await.unwrap().unwrap();
        assert_eq!(record.identity, Address([1; 20]));
        assert_eq!(record.evidence_uri, "http://127.0.0.1:7001/.well-known/phallama/evidence");
        let now = clock::now_unix_s();
        let steps = |registrar: &Registrar, info: &EnclaveInfo, now| {
            registrar.steps(Some(&record), info, now)
        };
        assert_eq!(steps(&registrar, &info(1), now), []);
        assert_eq!(steps(&registrar, &info(2), now), [Step::SetKey]);
        assert_eq!(steps(&registrar, &info(1), now + 83_000), [Step::SetKey]);

        registrar.url = "http://127.0.0.1:7002".to_owned();
        registrar.payout = Address([8; 20]);
        registrar.offers[0].input_price_per_mtok = 1.into();
        let all = [Step::UpdateUrl, Step::UpdateOffers, Step::UpdatePayout, Step::SetKey];
        assert_eq!(steps(&registrar, &info(1), now), all);
        registrar.ensure(&info(1)).await.unwrap();
        let record = world.chain.pod(registrar.pod).await.unwrap().unwrap();
        assert_eq!((record.url, record.payout), (registrar.url.clone(), registrar.payout));
        assert_eq!(record.offers, registrar.offers);
    }
}

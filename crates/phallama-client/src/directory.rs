//! The pods of the network, as the chain lists them, and what they offer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phallama_chain::PodRecord;
use phallama_protocol::ids::{Amount, Digest32, PodId};
use phallama_protocol::offers::Offer;
use serde::Serialize;
use tokio::sync::Mutex;

/// One model of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelListing {
    /// Name, as offered on chain.
    pub model: String,
    /// Pods that offer it, cheapest first.
    pub pods: Vec<PodId>,
    /// SHA-256 of the cheapest pod's weights file.
    pub weights_sha256: Digest32,
    /// Lowest price per 1,000,000 prompt tokens among the pods, in the smallest token unit.
    pub input_price_per_mtok: Amount,
    /// Lowest price per 1,000,000 completion tokens.
    pub output_price_per_mtok: Amount,
    /// Longest prompt and completion together among the pods, tokens.
    pub context_tokens: u32,
    /// Longest completion among the pods, tokens.
    pub max_output_tokens: u32,
    /// Newest change among the pods' records, unix seconds.
    pub updated_at_unix_s: u64,
}

/// A pod that may be asked for a model.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) record: PodRecord,
    pub(crate) offer: Offer,
}

/// Pods that can be asked now: not retired, with a key that has not expired.
pub(crate) fn usable(records: &[PodRecord], now_unix_s: u64) -> impl Iterator<Item = &PodRecord> {
    let live = move |record: &&PodRecord| {
        !record.retired && record.key.is_some_and(|key| now_unix_s < key.expiry_unix_s)
    };
    records.iter().filter(live)
}

/// Whether a usable pod offers the model.
pub(crate) fn offers(records: &[PodRecord], model: &str, now_unix_s: u64) -> bool {
    usable(records, now_unix_s).any(|record| record.offers.iter().any(|it| it.model == model))
}

/// Every model that a usable pod offers, by name.
pub(crate) fn models(records: &[PodRecord], now_unix_s: u64) -> Vec<ModelListing> {
    let mut names: Vec<&str> = usable(records, now_unix_s)
        .flat_map(|record| record.offers.iter().map(|offer| offer.model.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().filter_map(|name| listing(records, name, now_unix_s)).collect()
}

fn listing(records: &[PodRecord], model: &str, now_unix_s: u64) -> Option<ModelListing> {
    let all = candidates(records, model, now_unix_s);
    let cheapest = all.first()?;
    Some(ModelListing {
        model: model.to_owned(),
        pods: all.iter().map(|candidate| candidate.record.pod_id).collect(),
        weights_sha256: cheapest.offer.weights_sha256,
        input_price_per_mtok: all.iter().map(|c| c.offer.input_price_per_mtok).min()?,
        output_price_per_mtok: all.iter().map(|c| c.offer.output_price_per_mtok).min()?,
        context_tokens: all.iter().map(|c| c.offer.context_tokens).max()?,
        max_output_tokens: all.iter().map(|c| c.offer.max_output_tokens).max()?,
        updated_at_unix_s: all.iter().map(|c| c.record.updated_at_unix_s).max()?,
    })
}

/// Usable pods that offer `model`, cheapest first, as they are listed. Who is asked first is drawn.
fn candidates(records: &[PodRecord], model: &str, now_unix_s: u64) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = usable(records, now_unix_s)
        .filter_map(|record| {
            let offer = record.offers.iter().find(|offer| offer.model == model)?;
            Some(Candidate { record: record.clone(), offer: offer.clone() })
        })
        .collect();
    found.sort_by_key(|candidate| (price(&candidate.offer), candidate.record.pod_id));
    found
}

/// What offers are compared by: the price of a token in and a token out.
pub(crate) fn price(offer: &Offer) -> u128 {
    offer.input_price_per_mtok.value() + offer.output_price_per_mtok.value()
}

/// The list of pods as last read from the chain.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    read: Mutex<Option<(Instant, Arc<Vec<PodRecord>>)>>,
}

impl Directory {
    /// The list, read again through `read` when it is older than `max_age`.
    pub(crate) async fn records<E>(
        &self,
        max_age: Duration,
        read: impl Future<Output = Result<Vec<PodRecord>, E>>,
    ) -> Result<Arc<Vec<PodRecord>>, E> {
        let mut known = self.read.lock().await;
        if let Some((at, records)) = known.as_ref()
            && at.elapsed() < max_age
        {
            return Ok(Arc::clone(records));
        }
        let records = Arc::new(read.await?);
        *known = Some((Instant::now(), Arc::clone(&records)));
        Ok(records)
    }

    /// Lets the next request for the list read it again.
    pub(crate) async fn forget(&self) {
        *self.read.lock().await = None;
    }
}

#[cfg(test)]
mod tests {
    use phallama_chain::{AttestedKey, TcbStatusCode, TeeKind};
    use phallama_protocol::ids::Address;

    use super::*;

    fn pod(id: u8, offers: &[(&str, u64, u64)]) -> PodRecord {
        let offer = |(model, input, output): &(&str, u64, u64)| Offer {
            model: (*model).to_owned(),
            weights_sha256: Digest32([id; 32]),
            input_price_per_mtok: Amount::from(*input),
            output_price_per_mtok: Amount::from(*output),
            context_tokens: 1000 * u32::from(id),
            max_output_tokens: 100 * u32::from(id),
        };
        PodRecord {
            pod_id: PodId([id; 32]),
            operator: Address([id; 20]),
            url: format!("http://127.0.0.1:{id}"),
            payout: Address([id; 20]),
            offers: offers.iter().map(offer).collect(),
            offers_hash: Digest32([0; 32]),
            key: Some(AttestedKey {
                identity: Address([id; 20]),
                expiry_unix_s: 1_000,
                tee: TeeKind::Sgx,
                tcb_status: TcbStatusCode::UpToDate,
                evaluation_number: 17,
                measurement: Digest32([1; 32]),
                evidence: Digest32([2; 32]),
            }),
            updated_at_unix_s: u64::from(id),
            retired: false,
        }
    }

    fn ids(candidates: &[Candidate]) -> Vec<u8> {
        candidates.iter().map(|candidate| candidate.record.pod_id.0[0]).collect()
    }

    #[test]
    fn the_cheapest_pod_comes_first_and_ties_are_stable() {
        let pods = [pod(3, &[("m", 5, 5)]), pod(1, &[("m", 5, 5)]), pod(2, &[("m", 1, 2)])];
        assert_eq!(ids(&candidates(&pods, "m", 0)), [2, 1, 3]);
    }

    #[test]
    fn retired_and_expired_pods_and_those_without_a_key_are_not_asked() {
        let retired = PodRecord { retired: true, ..pod(1, &[("m", 1, 1)]) };
        let without_key = PodRecord { key: None, ..pod(3, &[("m", 1, 1)]) };
        let pods = [retired, pod(2, &[("m", 2, 2)]), without_key];
        assert_eq!(ids(&candidates(&pods, "m", 999)), [2]);
        assert_eq!(ids(&candidates(&pods, "m", 1_000)), [] as [u8; 0]);
        let offered = |model, now_unix_s| offers(&pods, model, now_unix_s);
        assert_eq!((offered("m", 999), offered("m", 1_000), offered("n", 0)), (true, false, false));
    }

    #[test]
    fn a_listing_shows_the_best_of_every_pod() {
        let pods = [pod(1, &[("a", 9, 1), ("b", 1, 1)]), pod(2, &[("a", 2, 3)])];
        let models = models(&pods, 0);
        assert_eq!(
            models.iter().map(|listing| listing.model.as_str()).collect::<Vec<_>>(),
            ["a", "b"]
        );
        let a = &models[0];
        assert_eq!(a.pods, [PodId([2; 32]), PodId([1; 32])]);
        assert_eq!((a.input_price_per_mtok, a.output_price_per_mtok), (2.into(), 1.into()));
        assert_eq!((a.context_tokens, a.max_output_tokens, a.updated_at_unix_s), (2000, 200, 2));
        assert_eq!(a.weights_sha256, Digest32([2; 32]));
    }
}

//! Choosing: the suitable pods for one question, in the order in which they are asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phallama_chain::PodRecord;
use phallama_protocol::ids::PodId;

use crate::client::{Client, now_unix_s};
use crate::conversation::Beginnings;
use crate::directory::{self, Candidate};
use crate::draw::{Contender, Dice, order};
use crate::error::{ClientError, PodFailure};
use crate::health::Visit;
use crate::keystore::random_bytes;
use crate::suitability::Unsuitable;

/// Pods of each model that are kept verified, for the first request to be quick.
const READY_PODS: usize = 3;
/// How often that is looked after.
const READY_EVERY: Duration = Duration::from_secs(10);
/// A key bundle that ends within this time is fetched anew before a request needs it.
const READY_AHEAD_S: u64 = 60;
/// Pods with programs that nobody approved that are verified when there are no others.
const UNAPPROVED_PODS: usize = 3;
/// Rest of a pod that is too busy and does not say for how long.
const BUSY: Duration = Duration::from_secs(1);

/// Suitable pods in the order of asking, and the others with the reason.
pub(crate) struct Draw {
    records: Arc<Vec<PodRecord>>,
    /// Places of the record and of the offer in it.
    order: Vec<(usize, usize)>,
    sharing: usize,
    pub(crate) refused: Vec<PodFailure>,
}

impl Draw {
    /// The candidates, best first.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = Candidate> + '_ {
        self.order.iter().map(|(record, offer)| {
            let record = &self.records[*record];
            Candidate { record: record.clone(), offer: record.offers[*offer].clone() }
        })
    }

    /// Brings the pod to the front, if it is one of those that share and still has that key.
    fn prefer(&mut self, pod: PodId, identity: phallama_protocol::ids::Address) {
        let same = |(record, _): &(usize, usize)| {
            let record = &self.records[*record];
            record.pod_id == pod && record.key.is_some_and(|key| key.identity == identity)
        };
        if let Some(at) = self.order.iter().take(self.sharing).position(same) {
            self.order[..=at].rotate_right(1);
        }
    }
}

impl Client {
    /// The pods that may be asked for `model`. A conversation that began elsewhere goes on there.
    pub(crate) async fn draw(
        &self,
        model: &str,
        beginnings: &Beginnings,
    ) -> Result<Draw, ClientError> {
        let mut draw = self.shuffled(model, self.pods().await?)?;
        let with = self.inner.conversations.with(beginnings, Instant::now());
        if let Some((pod, identity)) = with {
            draw.prefer(pod, identity);
        }
        Ok(draw)
    }

    fn shuffled(&self, model: &str, records: Arc<Vec<PodRecord>>) -> Result<Draw, ClientError> {
        let now = now_unix_s();
        let (policy, trust) = (&self.inner.config.pods, &self.inner.config.trust);
        let (mut suitable, mut refused, mut unapproved) = (Vec::new(), Vec::new(), Vec::new());
        for (at, record) in records.iter().enumerate().filter(|(_, record)| !record.retired) {
            let offered = record.offers.iter().enumerate().find(|(_, offer)| offer.model == model);
            let Some((of, offer)) = offered else { continue };
            match policy.unsuitable(record, offer, trust, now) {
                None => suitable.push((at, of)),
                Some(why) => {
                    if matches!(why, Unsuitable::Measurement { .. }) {
                        unapproved.push((at, of));
                    }
                    let (pod, url) = (record.pod_id, record.url.clone());
                    let error = ClientError::PodUnsuitable { pod, why };
                    refused.push(PodFailure { pod, url, error });
                }
            }
        }
        if suitable.is_empty() && refused.is_empty() {
            let listings = directory::models(&records, now);
            let available = listings.into_iter().map(|listing| listing.model).collect();
            return Err(ClientError::ModelUnknown { asked: model.to_owned(), available });
        }
        if suitable.is_empty() {
            // Their verification fails and says first-hand what they run.
            suitable = unapproved.into_iter().take(UNAPPROVED_PODS).collect();
            let asked = |pod| suitable.iter().any(|(record, _)| records[*record].pod_id == pod);
            refused.retain(|failure| !asked(failure.pod));
        }
        let contenders = self.contenders(&records, &suitable);
        let (shuffled, sharing) =
            order(&contenders, policy.share_percent, &mut Dice::new(random_bytes()));
        let order = shuffled.into_iter().map(|at| suitable[at]).collect();
        Ok(Draw { records, order, sharing, refused })
    }

    fn contenders(&self, records: &[PodRecord], suitable: &[(usize, usize)]) -> Vec<Contender> {
        let pods = suitable.iter().map(|(record, _)| records[*record].pod_id);
        let conditions = self.inner.health.conditions(pods, Instant::now());
        let both = suitable.iter().zip(conditions);
        both.map(|((record, offer), condition)| Contender {
            price: directory::price(&records[*record].offers[*offer]),
            expected_ms: condition.expected_ms,
            in_flight: condition.in_flight,
            resting_until: condition.resting_until,
        })
        .collect()
    }

    /// Lets a pod that failed rest, and has the list of pods read again: it may have changed.
    pub(crate) async fn remember_failure(&self, visit: &Visit, error: &ClientError) {
        let now = Instant::now();
        match error {
            ClientError::PodRefused {
                code: phallama_protocol::refusal::Code::QueueFull, ..
            } => {
                let asked = error.retry_after_ms().map(|ms| Duration::from_millis(ms.into()));
                visit.refused(asked.unwrap_or(BUSY), now);
            }
            _ => visit.failed(now),
        }
        self.inner.directory.forget().await;
    }

    /// Requests that are open with pods, and pods that rest after a failure.
    pub fn open_and_resting(&self) -> (usize, usize) {
        self.inner.health.open_and_resting(Instant::now())
    }

    /// Keeps the list of pods fresh, and a few suitable pods of each model verified, so that the
    /// first request waits for neither. Runs until it is dropped; what fails is tried again later.
    ///
    /// Who is kept ready is drawn as for a request, so that a pod learns no more of this user than
    /// that it may be asked.
    pub async fn keep_ready(&self) {
        let mut chosen: HashSet<PodId> = HashSet::new();
        loop {
            if let Err(error) = self.make_ready(&mut chosen).await {
                tracing::debug!(%error, "the list of pods could not be read");
            }
            tokio::time::sleep(READY_EVERY).await;
        }
    }

    /// One round of [`keep_ready`](Self::keep_ready); `chosen` are the pods of the round before,
    /// which are kept as long as they share the requests.
    async fn make_ready(&self, chosen: &mut HashSet<PodId>) -> Result<(), ClientError> {
        let records = self.pods().await?;
        let mut kept = HashSet::new();
        for listing in directory::models(&records, now_unix_s()) {
            let draw = self.shuffled(&listing.model, Arc::clone(&records))?;
            let sharing = || draw.candidates().take(draw.sharing);
            let before = sharing().filter(|one| chosen.contains(&one.record.pod_id));
            let new = sharing().filter(|one| !chosen.contains(&one.record.pod_id));
            for candidate in before.chain(new).take(READY_PODS) {
                let pod = candidate.record.pod_id;
                if kept.insert(pod) && !self.is_distrusted(pod) {
                    self.make_pod_ready(&candidate.record).await;
                }
            }
        }
        *chosen = kept;
        Ok(())
    }

    async fn make_pod_ready(&self, record: &PodRecord) {
        if let Err(error) = self.verified_for(record, READY_AHEAD_S).await {
            tracing::debug!(%error, "a pod could not be verified ahead");
            let visit = self.inner.health.visit(record.pod_id, Instant::now());
            if error.another_pod_may_help() {
                visit.failed(Instant::now());
            }
        }
    }
}

//! What this process has seen of each pod: how fast it answers, and whether it failed lately.
//!
//! Only in memory, and only this client's own measurements: nobody reports pods to anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use phallama_protocol::ids::PodId;

use crate::client::lock;

/// Rest after a first failure; doubled with each one in a row.
const REST_MIN: Duration = Duration::from_secs(5);
/// Longest rest.
const REST_MAX: Duration = Duration::from_mins(10);
/// Weight of a new measurement in the average.
const SMOOTHING: f64 = 0.3;
/// After so long an average counts for nothing: the pod is measured anew.
const STALE_AFTER: Duration = Duration::from_mins(30);
/// What an ordinary answer is taken to be, tokens.
const ORDINARY_TOKENS: f64 = 250.0;

/// What is known of every pod. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health(Arc<Mutex<HashMap<PodId, Known>>>);

#[derive(Debug, Default)]
struct Known {
    /// In a row.
    failures: u32,
    resting_until: Option<Instant>,
    /// A request tries whether the pod has recovered; until it ends, no other one does.
    probing: bool,
    in_flight: u32,
    first_ms: Average,
    token_ms: Average,
}

/// An exponentially weighted average that is forgotten when nothing is added to it.
#[derive(Clone, Copy, Debug, Default)]
struct Average(Option<(f64, Instant)>);

impl Average {
    fn add(&mut self, value: f64, now: Instant) {
        let before = self.at(now).unwrap_or(value);
        self.0 = Some((before + SMOOTHING * (value - before), now));
    }

    fn at(self, now: Instant) -> Option<f64> {
        let fresh = |(_, at): &(f64, Instant)| now.saturating_duration_since(*at) < STALE_AFTER;
        self.0.filter(fresh).map(|(average, _)| average)
    }
}

/// What a draw needs to know.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Condition {
    pub(crate) expected_ms: Option<f64>,
    pub(crate) in_flight: u32,
    pub(crate) resting_until: Option<Instant>,
}

impl Health {
    /// The condition of each pod, in the given order.
    pub(crate) fn conditions(
        &self,
        pods: impl Iterator<Item = PodId>,
        now: Instant,
    ) -> Vec<Condition> {
        let known = lock(&self.0);
        pods.map(|pod| known.get(&pod).map(|known| known.condition(now)).unwrap_or_default())
            .collect()
    }

    /// Requests that are open, and pods that rest.
    pub(crate) fn open_and_resting(&self, now: Instant) -> (usize, usize) {
        let known = lock(&self.0);
        let open = known.values().map(|known| known.in_flight as usize).sum();
        let rests = |known: &&Known| known.condition(now).resting_until.is_some();
        (open, known.values().filter(rests).count())
    }

    /// A request goes to the pod.
    pub(crate) fn visit(&self, pod: PodId, now: Instant) -> Visit {
        let mut all = lock(&self.0);
        let known = all.entry(pod).or_default();
        known.in_flight += 1;
        let probes = known.failures > 0 && !known.probing;
        known.probing |= probes;
        Visit { health: self.clone(), pod, probes, sent_at: now, first_at: None }
    }
}

impl Known {
    fn condition(&self, now: Instant) -> Condition {
        let first_ms = self.first_ms.at(now);
        let token_ms = self.token_ms.at(now).unwrap_or(0.0);
        let resting = self.resting_until.filter(|until| now < *until);
        Condition {
            expected_ms: first_ms.map(|first| first + ORDINARY_TOKENS * token_ms),
            in_flight: self.in_flight,
            // While one request probes, the others stay away.
            resting_until: resting.or_else(|| self.probing.then_some(now)),
        }
    }
}

/// One request at one pod. It counts as open until it is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    health: Health,
    pod: PodId,
    probes: bool,
    sent_at: Instant,
    first_at: Option<Instant>,
}

impl Visit {
    /// The request leaves now; what came before, verification above all, is not the pod's speed.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    /// The first part of the answer is here: the pod works.
    pub(crate) fn began(&mut self, now: Instant) {
        self.first_at = Some(now);
        let took = millis(now.saturating_duration_since(self.sent_at));
        self.change(|known| {
            known.first_ms.add(took, now);
            known.failures = 0;
            known.resting_until = None;
        });
    }

    /// The answer is complete.
    pub(crate) fn finished(&self, tokens: u32, now: Instant) {
        let Some(first_at) = self.first_at.filter(|_| tokens > 1) else { return };
        let took = millis(now.saturating_duration_since(first_at));
        self.change(|known| known.token_ms.add(took / f64::from(tokens - 1), now));
    }

    /// The pod failed: it rests, longer each time.
    pub(crate) fn failed(&self, now: Instant) {
        self.change(|known| {
            let doubled = 1_u32.checked_shl(known.failures.min(20)).unwrap_or(u32::MAX);
            known.failures += 1;
            known.resting_until = Some(now + REST_MIN.saturating_mul(doubled).min(REST_MAX));
        });
    }

    /// The pod asked to be left alone so long.
    pub(crate) fn refused(&self, retry_after: Duration, now: Instant) {
        self.change(|known| known.resting_until = Some(now + retry_after.min(REST_MAX)));
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(lock(&self.health.0).entry(self.pod).or_default());
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let probes = self.probes;
        self.change(|known| {
            known.in_flight = known.in_flight.saturating_sub(1);
            known.probing &= !probes;
        });
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: PodId = PodId([7; 32]);

    fn of(health: &Health, now: Instant) -> Condition {
        health.conditions([POD].into_iter(), now)[0]
    }

    fn rest(health: &Health, now: Instant) -> Option<Duration> {
        of(health, now).resting_until.map(|until| until - now)
    }

    #[test]
    fn a_pod_that_fails_rests_longer_each_time_and_at_most_ten_minutes() {
        let (health, now) = (Health::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..10 {
            health.visit(POD, now).failed(now);
            rests.push(rest(&health, now).unwrap().as_secs());
        }
        assert_eq!(rests, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        let mut visit = health.visit(POD, now);
        visit.began(now);
        drop(visit);
        assert_eq!(rest(&health, now), None, "it answered");
        health.visit(POD, now).failed(now);
        assert_eq!(rest(&health, now), Some(REST_MIN), "and begins anew");
    }

    #[test]
    fn after_its_rest_one_request_tries_and_the_others_stay_away() {
        let (health, now) = (Health::default(), Instant::now());
        health.visit(POD, now).failed(now);
        let later = now + REST_MIN;
        assert_eq!(rest(&health, later), None);
        let probe = health.visit(POD, later);
        assert!(rest(&health, later).is_some(), "somebody is trying");
        let second = health.visit(POD, later);
        drop(second);
        assert!(rest(&health, later).is_some(), "the probe is still open");
        drop(probe);
        assert_eq!(rest(&health, later), None, "given up without a verdict");
    }

    #[test]
    fn a_busy_pod_is_left_alone_as_long_as_it_asks_and_does_not_count_as_failed() {
        let (health, now) = (Health::default(), Instant::now());
        health.visit(POD, now).refused(Duration::from_secs(2), now);
        assert_eq!(rest(&health, now), Some(Duration::from_secs(2)));
        health.visit(POD, now).refused(Duration::from_hours(1_000), now);
        assert_eq!(rest(&health, now), Some(REST_MAX), "whatever it says");
        health.visit(POD, now).failed(now);
        assert_eq!(rest(&health, now), Some(REST_MIN));
    }

    #[test]
    fn time_to_the_first_part_and_per_token_make_the_expectation() {
        let (health, now) = (Health::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        let mut visit = health.visit(POD, now);
        visit.sent(at(1_000));
        visit.began(at(1_200));
        visit.finished(11, at(1_300));
        assert_eq!(of(&health, at(1_300)).in_flight, 1);
        drop(visit);
        // 200 ms to the first part, 10 ms per token.
        let first = of(&health, at(1_300));
        assert_eq!((first.expected_ms, first.in_flight), (Some(200.0 + 2_500.0), 0));
        let mut visit = health.visit(POD, at(2_000));
        visit.began(at(3_200));
        // 200 + 0.3 · (1200 - 200)
        assert_eq!(of(&health, at(3_200)).expected_ms, Some(500.0 + 2_500.0));
        drop(visit);
        assert_eq!(of(&health, at(3_200) + STALE_AFTER).expected_ms, None, "forgotten");
    }
}

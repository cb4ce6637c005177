//! Where the money is, and that none of it came or went.

use super::{Counts, State, World};

impl World {
    /// Unsettled claims of channels whose user is leaving.
    pub(crate) fn leaving_unsettled(&self) -> u64 {
        self.leaving_unsettled
    }

    /// Money in channels that no pod has claimed.
    pub(crate) fn tied(&self) -> u64 {
        self.channels.iter().map(|state| state.locked - state.claimed).sum()
    }

    /// Per user, sorted.
    pub(crate) fn tied_per_user(&self) -> Vec<u64> {
        let mut tied = vec![0; self.free.len()];
        for state in &self.channels {
            tied[state.ends.user as usize] += state.locked - state.claimed;
        }
        tied.sort_unstable();
        tied
    }

    /// Per pod, sorted: the most that was served before its lock was mined.
    pub(crate) fn on_credit_per_pod(&self) -> Vec<u64> {
        sorted(self.pods.iter().map(|pod| pod.on_credit_most))
    }

    /// Per pod, sorted: the most that was served before its lock was safe.
    pub(crate) fn at_risk_per_pod(&self) -> Vec<u64> {
        sorted(self.pods.iter().map(|pod| pod.at_risk_most))
    }

    /// Per pod, sorted: the most that was unsettled at a time.
    pub(crate) fn unsettled_per_pod(&self) -> Vec<u64> {
        sorted(self.pods.iter().map(|pod| pod.unsettled_most))
    }

    /// Starts counting again, after a day that only fills the channels.
    pub(crate) fn forget(&mut self) {
        self.counts = Counts::default();
        self.chain.forget();
        for pod in &mut self.pods {
            (pod.on_credit_most, pod.unsettled_most) = (pod.on_credit, pod.unsettled);
            pod.at_risk_most = pod.at_risk;
        }
    }

    /// Every unit is where it must be.
    ///
    /// # Panics
    /// If one is not.
    pub(crate) fn check(&self) {
        let free: u64 = self.free.iter().sum();
        let credits: u64 = self.pods.iter().map(|pod| pod.credit).sum();
        assert_eq!(self.deposited, free + self.tied() + credits, "free + tied + credits");
        let leaving = self.channels.iter().filter(|state| state.left_at.is_some());
        assert_eq!(self.leaving_unsettled, leaving.map(State::unsettled).sum::<u64>());
        let mut sums = vec![(0, 0, 0); self.pods.len()];
        for state in &self.channels {
            assert!(state.claimed <= state.locked.min(state.charged), "{state:?}");
            assert!(state.safe_locked <= state.locked, "{state:?}");
            let (unsettled, on_credit, at_risk) = &mut sums[state.ends.pod as usize];
            *unsettled += state.unsettled();
            *on_credit += state.on_credit();
            *at_risk += state.at_risk();
        }
        for (pod, sums) in self.pods.iter().zip(sums) {
            assert_eq!((pod.unsettled, pod.on_credit, pod.at_risk), sums);
        }
    }
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

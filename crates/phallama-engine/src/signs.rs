//! When a worker was last heard of.
//!
//! A worker computes the prompts of several requests one after the other, a batch at a time, and
//! says nothing to those whose turn has not come. So a worker counts as stalled when it tells
//! nobody anything, and a request as lost when it alone is told nothing for much longer.

use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

/// A request that is told nothing for so many times the limit is lost, whatever others are told.
const LIMITS_MAX: u32 = 10;

/// What all requests of one worker have heard of it.
#[derive(Debug)]
pub(crate) struct Signs(Mutex<Instant>);

impl Default for Signs {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Signs {
    /// What the worker says in `telling`; `None` when it has told nobody anything for `limit`.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        telling: impl Future<Output = T>,
    ) -> Option<T> {
        let mut telling = pin!(telling);
        let mut silent_since = Instant::now();
        let lost_at = silent_since + limit * LIMITS_MAX;
        loop {
            let until = (silent_since + limit).min(lost_at);
            if let Ok(told) = timeout_at(until, &mut telling).await {
                *self.0.lock().expect("holders do not panic") = Instant::now();
                return Some(told);
            }
            let last = *self.0.lock().expect("holders do not panic");
            if last <= silent_since || Instant::now() >= lost_at {
                return None;
            }
            silent_since = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::sleep;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// How long somebody waits who is told something after `told` seconds, while others are told
    /// something every six seconds until `others`; and whether it was in time.
    async fn waits(told: Option<u64>, others: u64) -> (u64, bool) {
        let (signs, began) = (Signs::default(), Instant::now());
        let telling = async {
            match told {
                Some(after) => sleep(Duration::from_secs(after)).await,
                None => pending().await,
            }
        };
        let beside = async {
            while began.elapsed().as_secs() < others {
                sleep(Duration::from_secs(6)).await;
                signs.within(LIMIT, ready(())).await;
            }
            pending::<()>().await;
        };
        tokio::select! {
            told = signs.within(LIMIT, telling) => (began.elapsed().as_secs(), told.is_some()),
            () = beside => unreachable!("it is pending"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_tells_nobody_anything_is_stalled() {
        assert_eq!(waits(Some(9), 0).await, (9, true));
        assert_eq!(waits(Some(11), 0).await, (10, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_turn_has_not_come_waits_as_long_as_others_are_told_something() {
        assert_eq!(waits(Some(59), 60).await, (59, true));
        assert_eq!(waits(None, 24).await, (34, false), "ten seconds after the last sign");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_alone_is_told_nothing_is_lost() {
        assert_eq!(waits(None, 1_000).await, (100, false));
    }
}

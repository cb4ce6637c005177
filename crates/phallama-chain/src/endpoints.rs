//! The endpoints of a connection: which one is asked, and what two of them must agree on.
//!
//! A call that decides nothing goes to one endpoint, the healthiest, and over to the next one if
//! that does not answer. What decides about money is asked of two (see [`crate::AtBlock`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::eips::BlockNumberOrTag;
use alloy::providers::{Provider as _, RootProvider};
use alloy::transports::TransportResult;
use tokio::task::JoinSet;

use crate::convert::head;
use crate::endpoint::{Endpoint, Failure, Rank};
use crate::error::ChainError;
use crate::record::Head;

/// An endpoint whose head is further than this from every other one's is not believed.
const APART_BLOCKS: u64 = 8;
/// How much longer than for the second head we wait for the others, at least.
pub(crate) const GRACE: Duration = Duration::from_millis(50);
/// With several endpoints, heads are compared at least this often while anything is asked.
const HEADS_EVERY: Duration = Duration::from_secs(10);

/// One or more endpoints of one chain, in the order of the configuration.
#[derive(Debug)]
pub(crate) struct Endpoints {
    list: Vec<Arc<Endpoint>>,
    /// `None` while it is not known, before a deployment.
    chain_id: Option<u64>,
    timeout: Duration,
    compared: std::sync::Mutex<Option<Instant>>,
}

/// An endpoint and the block it answered with.
pub(crate) type Answered = (Arc<Endpoint>, Head);

impl Endpoints {
    pub(crate) fn new(
        urls: &[String],
        chain_id: Option<u64>,
        timeout: Duration,
    ) -> Result<Self, ChainError> {
        let list = urls.iter().map(|url| Endpoint::new(url, timeout).map(Arc::new));
        let list: Vec<Arc<Endpoint>> = list.collect::<Result<_, _>>()?;
        if list.is_empty() {
            let reason = "no endpoint is configured (`rpc_urls`)".to_owned();
            return Err(ChainError::BadEndpoint { url: String::new(), reason });
        }
        // Twice the same would be a second opinion of the first.
        if let Some(twice) = (1..urls.len()).find(|index| urls[..*index].contains(&urls[*index])) {
            let (url, reason) = (list[twice].name.clone(), "it is listed twice".to_owned());
            return Err(ChainError::BadEndpoint { url, reason });
        }
        Ok(Self { list, chain_id, timeout, compared: std::sync::Mutex::default() })
    }

    pub(crate) fn list(&self) -> &[Arc<Endpoint>] {
        &self.list
    }

    pub(crate) fn chain_id(&self) -> Option<u64> {
        self.chain_id
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many have to agree.
    pub(crate) fn quorum(&self) -> usize {
        self.list.len().min(2)
    }

    /// The best first; among equals the order of the configuration.
    fn by_rank(&self) -> Vec<Arc<Endpoint>> {
        let now = Instant::now();
        let mut list = self.list.clone();
        list.sort_by_key(|endpoint| endpoint.rank(now));
        list
    }

    pub(crate) async fn ask<T>(
        &self,
        endpoint: &Endpoint,
        what: &'static str,
        limit: Duration,
        call: impl Future<Output = TransportResult<T>>,
    ) -> Result<T, Failure> {
        endpoint.ask(what, self.chain_id, limit, call).await
    }

    /// Asks one endpoint after the other until one answers, all within the limit for one call.
    pub(crate) async fn any<T, Fut>(
        &self,
        what: &'static str,
        call: impl Fn(RootProvider) -> Fut,
    ) -> Result<T, ChainError>
    where
        Fut: Future<Output = TransportResult<T>>,
    {
        let deadline = Instant::now() + self.timeout;
        self.compare_now_and_then().await;
        let list = self.by_rank();
        let mut failures = Vec::new();
        for (index, endpoint) in list.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = left / u32::try_from(list.len() - index).unwrap_or(u32::MAX);
            match self.ask(endpoint, what, limit, Box::pin(call(endpoint.provider.clone()))).await {
                Err(Failure::Silent(error) | Failure::Missing(error)) => failures.push(error),
                answer => return answer.map_err(|failure| failure.into_error(what)),
            }
        }
        Err(together(what, failures))
    }

    /// Answers from as many endpoints as have to agree elsewhere, for a caller who chooses among
    /// them; fewer where fewer answer, but never none.
    pub(crate) async fn several<T, Fut>(
        &self,
        what: &'static str,
        call: impl Fn(RootProvider) -> Fut,
    ) -> Result<Vec<T>, ChainError>
    where
        Fut: Future<Output = TransportResult<T>>,
    {
        let deadline = Instant::now() + self.timeout;
        self.compare_now_and_then().await;
        let list = self.by_rank();
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for (index, endpoint) in list.iter().enumerate() {
            if answers.len() == self.quorum() {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = left / u32::try_from(list.len() - index).unwrap_or(u32::MAX);
            match self.ask(endpoint, what, limit, Box::pin(call(endpoint.provider.clone()))).await {
                Ok(answer) => answers.push(answer),
                Err(failure) => failures.push(failure.into_error(what)),
            }
        }
        if answers.is_empty() { Err(together(what, failures)) } else { Ok(answers) }
    }

    /// Whether no endpoint at all has something, and enough of them answer to believe it.
    pub(crate) async fn nobody_has<T, Fut>(
        &self,
        what: &'static str,
        call: impl Fn(RootProvider) -> Fut,
    ) -> bool
    where
        T: Send + 'static,
        Fut: Future<Output = TransportResult<Option<T>>> + Send + 'static,
    {
        let mut asking = JoinSet::new();
        for endpoint in &self.list {
            let (endpoint, chain_id, limit) = (Arc::clone(endpoint), self.chain_id, self.timeout);
            let call = call(endpoint.provider.clone());
            asking.spawn(async move { endpoint.ask(what, chain_id, limit, call).await });
        }
        let mut without = 0;
        while let Some(joined) = asking.join_next().await {
            match joined {
                Ok(Ok(Some(_))) => return false,
                Ok(Ok(None)) => without += 1,
                Ok(Err(_)) | Err(_) => {}
            }
        }
        without >= self.quorum()
    }

    /// What as many endpoints as have to agree answer, as far as `same` compares it.
    pub(crate) async fn agreed<T, Fut>(
        &self,
        what: &'static str,
        call: impl Fn(RootProvider) -> Fut,
        same: impl Fn(&T, &T) -> bool,
    ) -> Result<T, ChainError>
    where
        T: Send + 'static,
        Fut: Future<Output = TransportResult<T>> + Send + 'static,
    {
        let mut asking = JoinSet::new();
        for endpoint in self.worth_asking() {
            let (chain_id, limit) = (self.chain_id, self.timeout);
            let call = call(endpoint.provider.clone());
            asking.spawn(async move {
                let answer = endpoint.ask(what, chain_id, limit, call).await;
                (endpoint.name.clone(), answer)
            });
        }
        let (mut answers, mut failures): (Vec<(String, T, usize)>, _) = (Vec::new(), Vec::new());
        while let Some(joined) = asking.join_next().await {
            let (name, answer) = match joined {
                Ok((name, Ok(answer))) => (name, answer),
                Ok((_, Err(failure))) => {
                    failures.push(failure.into_error(what));
                    continue;
                }
                Err(_) => continue,
            };
            let count = match answers.iter_mut().find(|(_, other, _)| same(other, &answer)) {
                Some((_, _, count)) => {
                    *count += 1;
                    *count
                }
                None => {
                    answers.push((name, answer, 1));
                    1
                }
            };
            if count >= self.quorum() {
                let agreed = answers.into_iter().find(|(_, _, votes)| *votes == count);
                return Ok(agreed.expect("it was just counted").1);
            }
        }
        for (name, _, _) in answers {
            let reason = "no other endpoint says the same".to_owned();
            failures.push(ChainError::Unavailable { url: name, what, reason });
        }
        Err(together(what, failures))
    }

    /// Blocks by tag from the endpoints that answer. Once as many as have to agree are near each
    /// other, the others get little more time.
    pub(crate) async fn blocks(
        &self,
        among: &[Arc<Endpoint>],
        tag: BlockNumberOrTag,
        limit: Duration,
    ) -> (Vec<Answered>, Vec<ChainError>) {
        let mut asking = JoinSet::new();
        for endpoint in among {
            let (endpoint, chain_id) = (Arc::clone(endpoint), self.chain_id);
            asking.spawn(async move {
                block(&endpoint, chain_id, tag, limit).await.map(|head| (endpoint, head))
            });
        }
        let (mut answered, mut failures) = (Vec::new(), Vec::new());
        let began = Instant::now();
        let mut until = None;
        while let Some(joined) = joined_until(&mut asking, until).await {
            match joined {
                Ok(Ok(one)) => answered.push(one),
                Ok(Err(failure)) => failures.push(failure.into_error("eth_getBlockByNumber")),
                Err(_) => {}
            }
            let numbers: Vec<u64> =
                answered.iter().map(|(_, head): &Answered| head.number).collect();
            if until.is_none() && confirmed_top(&numbers, self.quorum()).is_some() {
                until = Some(Instant::now() + began.elapsed().max(GRACE));
            }
        }
        // In the order of the configuration, whoever was faster.
        answered.sort_by_key(|(endpoint, _): &Answered| self.position(endpoint));
        (answered, failures)
    }

    fn position(&self, endpoint: &Arc<Endpoint>) -> usize {
        self.list.iter().position(|other| Arc::ptr_eq(other, endpoint)).unwrap_or(usize::MAX)
    }

    /// The newest blocks of the endpoints that are believed: all of them are within
    /// [`APART_BLOCKS`] of the highest that another one confirms. At least [`Self::quorum`].
    pub(crate) async fn believed(&self, limit: Duration) -> Result<Vec<Answered>, ChainError> {
        let among = self.worth_asking();
        let (answered, failures) = self.blocks(&among, BlockNumberOrTag::Latest, limit).await;
        if answered.len() < self.quorum() {
            return Err(together("eth_getBlockByNumber", failures));
        }
        *self.compared() = Some(Instant::now());
        let numbers: Vec<u64> = answered.iter().map(|(_, head)| head.number).collect();
        let Some(top) = confirmed_top(&numbers, self.quorum()) else {
            return Err(nobody_agrees(&answered));
        };
        let is_near = |number: u64| number <= top && top - number <= APART_BLOCKS;
        for (endpoint, head) in &answered {
            endpoint.set_apart(!is_near(head.number));
        }
        Ok(answered.into_iter().filter(|(_, head)| is_near(head.number)).collect())
    }

    /// The good ones, or all when those are too few.
    fn worth_asking(&self) -> Vec<Arc<Endpoint>> {
        let now = Instant::now();
        let by_rank = self.by_rank();
        let good = by_rank.iter().filter(|one| one.rank(now) <= Rank::Apart).count();
        by_rank[..if good < self.quorum() { by_rank.len() } else { good }].to_vec()
    }

    fn compared(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.compared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// So that an endpoint that stopped following the chain is not the first choice for long.
    async fn compare_now_and_then(&self) {
        if self.list.len() < 2 || self.chain_id.is_none() {
            return;
        }
        {
            let mut compared = self.compared();
            if compared.is_some_and(|at| at.elapsed() < HEADS_EVERY) {
                return;
            }
            *compared = Some(Instant::now());
        }
        // Who does not answer or is apart is noted where it shows.
        let _ = self.believed(self.timeout / 4).await;
    }
}

/// Every head is away from every other: whoever is behind is the likelier one to be wrong.
fn nobody_agrees(answered: &[Answered]) -> ChainError {
    let highest = answered.iter().max_by_key(|(_, head)| head.number);
    let (ahead, top) = highest.expect("a quorum answered");
    let lowest = answered.iter().min_by_key(|(_, head)| head.number);
    let (behind, bottom) = lowest.expect("a quorum answered");
    for (endpoint, _) in answered {
        endpoint.set_apart(!Arc::ptr_eq(endpoint, ahead));
    }
    ChainError::HeadsApart {
        ahead: (ahead.name.clone(), top.number),
        behind: (behind.name.clone(), bottom.number),
    }
}

async fn block(
    endpoint: &Endpoint,
    chain_id: Option<u64>,
    tag: BlockNumberOrTag,
    limit: Duration,
) -> Result<Head, Failure> {
    let what = "eth_getBlockByNumber";
    let call = endpoint.provider.get_block_by_number(tag);
    let block = endpoint.ask(what, chain_id, limit, Box::pin(async { call.await })).await?;
    let none = || endpoint.unavailable(what, format!("no block for `{tag}`"));
    block.map(|block| head(&block.header)).ok_or_else(|| Failure::Missing(none()))
}

/// The next result; `None` when there is none, or none before `until`.
pub(crate) async fn joined_until<T: 'static>(
    tasks: &mut JoinSet<T>,
    until: Option<Instant>,
) -> Option<Result<T, tokio::task::JoinError>> {
    match until {
        None => tasks.join_next().await,
        Some(until) => tokio::time::timeout_at(until.into(), tasks.join_next()).await.ok()?,
    }
}

/// The highest number that, together with the `quorum - 1` next lower ones, is within
/// [`APART_BLOCKS`].
fn confirmed_top(numbers: &[u64], quorum: usize) -> Option<u64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let near = |window: &&[u64]| window[0] - window[window.len() - 1] <= APART_BLOCKS;
    sorted.windows(quorum).find(near).map(|window| window[0])
}

/// One failure as it is, several in one.
pub(crate) fn together(what: &'static str, mut failures: Vec<ChainError>) -> ChainError {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let (mut urls, mut reasons) = (Vec::new(), Vec::new());
    for failure in failures {
        match failure {
            ChainError::Unavailable { url, reason, .. } => {
                reasons.push(format!("{url}: {reason}"));
                urls.push(url);
            }
            ChainError::WrongChain { url, got, .. } => {
                reasons.push(format!("{url}: serves chain {got}"));
                urls.push(url);
            }
            other => reasons.push(other.to_string()),
        }
    }
    ChainError::Unavailable { url: urls.join(", "), what, reason: reasons.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_head_that_another_confirms_is_believed() {
        assert_eq!(confirmed_top(&[7], 1), Some(7));
        assert_eq!(confirmed_top(&[100, 92], 2), Some(100));
        assert_eq!(confirmed_top(&[100, 91], 2), None);
        // One that is far ahead alone is no better than one that is far behind.
        assert_eq!(confirmed_top(&[1_000_000, 103, 105], 2), Some(105));
        assert_eq!(confirmed_top(&[3, 103, 105], 2), Some(105));
    }

    #[test]
    fn the_same_endpoint_twice_is_no_second_opinion() {
        let urls = ["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:1".to_owned()];
        let error = Endpoints::new(&urls, Some(1), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("listed twice"), "{error}");
        let error = Endpoints::new(&[], Some(1), Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("no endpoint"), "{error}");
    }
}

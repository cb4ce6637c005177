//! Reading one block that the endpoints agree on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::eips::{BlockId, BlockNumberOrTag, RpcBlockHash};
use alloy::primitives::Bytes;
use alloy::providers::Provider as _;
use alloy::rpc::types::TransactionRequest;
use alloy::sol_types::SolCall;
use phallama_protocol::ids::{Address, Digest32, PodId};

use crate::Chain;
use crate::attestation::MachineHolder;
use crate::contracts::{self, Escrow, PodRegistry};
use crate::convert::{from_address, from_u40, from_u96, head, to_address};
use crate::endpoint::{Endpoint, Failure, Said};
use crate::endpoints::{Answered, together};
use crate::error::{ChainError, Disagreement, revert_reason};
use crate::record::{Account, BlockTag, Channel, Head, PodRecord};

/// One block, named by its hash, and the endpoints that are asked about it: everything read
/// through it is of the same moment. With two or more endpoints configured, two of them have to
/// give the same answer.
#[derive(Clone, Debug)]
pub struct AtBlock {
    chain: Chain,
    head: Head,
    asked: Vec<Arc<Endpoint>>,
}

/// What an endpoint says about a call: the data it returned, or why it reverted.
type Answer = Result<Bytes, Said>;

impl AtBlock {
    pub(crate) fn new(chain: Chain, head: Head, asked: Vec<Arc<Endpoint>>) -> Self {
        Self { chain, head, asked }
    }

    /// The block.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// A user key's account.
    ///
    /// # Errors
    /// [`ChainError::BlockGone`] where the block was reorganised away,
    /// [`ChainError::Disagreement`], [`ChainError::Unavailable`] when too few endpoints answer.
    pub async fn account(&self, user: Address) -> Result<Account, ChainError> {
        let call = Escrow::accountCall { user: to_address(user) };
        let Some(account) = self.read_escrow("account", call).await? else {
            return Ok(Account::default());
        };
        let owner = (!account.owner.is_zero()).then(|| from_address(account.owner));
        Ok(Account { owner, free: from_u96(account.free) })
    }

    /// What a user has locked for a pod.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn channel(&self, user: Address, pod: PodId) -> Result<Channel, ChainError> {
        let call = Escrow::channelCall { user: to_address(user), podId: pod.0.into() };
        let channel = self.read_escrow("channel", call).await?;
        Ok(channel.as_ref().map(contracts::channel).unwrap_or_default())
    }

    /// The same for many users, in their order.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn channels(
        &self,
        pod: PodId,
        users: &[Address],
    ) -> Result<Vec<Channel>, ChainError> {
        let what = "channels";
        let expected = users.len();
        let users = users.iter().copied().map(to_address).collect();
        let call = Escrow::channelsCall { podId: pod.0.into(), users };
        let Some(channels) = self.read_escrow(what, call).await? else {
            return Ok(vec![Channel::default(); expected]);
        };
        if channels.len() != expected {
            let reason = format!("{} channels for {expected} users", channels.len());
            return Err(ChainError::Malformed { what, reason });
        }
        Ok(channels.iter().map(contracts::channel).collect())
    }

    /// One pod.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn pod(&self, pod: PodId) -> Result<Option<PodRecord>, ChainError> {
        let call = PodRegistry::podCall { podId: pod.0.into() };
        match self.read("pod", self.chain.config().registry, call).await {
            Ok(view) => contracts::pod_record(view).map(Some),
            Err(error) if contracts::is_unknown_pod(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Until when the escrow accepts claims signed by a key, grace included; 0 when never.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn key_good_until(&self, pod: PodId, identity: Address) -> Result<u64, ChainError> {
        let call =
            PodRegistry::keyGoodUntilCall { podId: pod.0.into(), identity: to_address(identity) };
        let until = self.read("keyGoodUntil", self.chain.config().registry, call).await?;
        Ok(until.saturating_to())
    }

    /// The pod that a machine backs (see [`Pck::machine`](crate::Pck::machine)), if any.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn machine_holder(
        &self,
        machine: Digest32,
    ) -> Result<Option<MachineHolder>, ChainError> {
        let call = PodRegistry::machineOfCall { machine: machine.0.into() };
        let held = self.read("machineOf", self.chain.config().registry, call).await?;
        let holder =
            MachineHolder { pod_prefix: held.holder.0, until_unix_s: from_u40(held.until) };
        Ok((holder.pod_prefix != [0; 26]).then_some(holder))
    }

    /// Whether the pod's operator agreed to share the machine.
    ///
    /// # Errors
    /// As [`account`](Self::account).
    pub async fn sharing(&self, pod: PodId, machine: Digest32) -> Result<bool, ChainError> {
        let call = PodRegistry::sharingCall { podId: pod.0.into(), machine: machine.0.into() };
        self.read("sharing", self.chain.config().registry, call).await
    }

    /// How many transactions of the account are in the chain up to this block.
    pub(crate) async fn nonce(&self, account: Address) -> Result<u64, ChainError> {
        let what = "eth_getTransactionCount";
        let ask = |endpoint: Arc<Endpoint>| async move {
            let count = endpoint.provider.get_transaction_count(to_address(account));
            let count = count.block_id(self.id());
            self.ask(&endpoint, what, Box::pin(async { count.await })).await
        };
        let answers = self.quorum(what, ask).await?;
        self.same(what, answers, |said| said, |one, other| one == other)
    }

    /// The hash of the block with this number, which must not be above this one.
    pub(crate) async fn block(&self, number: u64) -> Result<Option<Head>, ChainError> {
        let what = "eth_getBlockByNumber";
        let mut failures = Vec::new();
        for endpoint in &self.asked {
            let call = endpoint.provider.get_block_by_number(number.into());
            match self.ask(endpoint, what, Box::pin(async { call.await })).await {
                Ok(block) => return Ok(block.map(|block| head(&block.header))),
                Err(failure) => failures.push(failure.into_error(what)),
            }
        }
        Err(together(what, failures))
    }

    fn id(&self) -> BlockId {
        // EIP-1898; `true`: a block that was reorganised away is no answer.
        BlockId::Hash(RpcBlockHash::from_hash(self.head.hash.0.into(), Some(true)))
    }

    /// `None` in a block before the escrow was deployed: there a call has an empty answer, and
    /// nobody has anything. A `safe` head can be that old.
    async fn read_escrow<C: SolCall>(
        &self,
        what: &'static str,
        call: C,
    ) -> Result<Option<C::Return>, ChainError> {
        let bytes = self.answer(what, self.chain.config().escrow, call).await?;
        if bytes.is_empty() { Ok(None) } else { decoded::<C>(what, &bytes).map(Some) }
    }

    async fn read<C: SolCall>(
        &self,
        what: &'static str,
        to: Address,
        call: C,
    ) -> Result<C::Return, ChainError> {
        decoded::<C>(what, &self.answer(what, to, call).await?)
    }

    async fn answer<C: SolCall>(
        &self,
        what: &'static str,
        to: Address,
        call: C,
    ) -> Result<Bytes, ChainError> {
        let request =
            TransactionRequest::default().to(to_address(to)).input(call.abi_encode().into());
        let request = &request;
        let ask = |endpoint: Arc<Endpoint>| async move {
            let call = endpoint.provider.call(request.clone()).block(self.id());
            match self.ask(&endpoint, what, Box::pin(async { call.await })).await {
                Ok(bytes) => Ok(Ok(bytes)),
                Err(Failure::Said(said)) => Ok(Err(said)),
                Err(failure) => Err(failure),
            }
        };
        let answers = self.quorum(what, ask).await?;
        let bytes = self.same(what, answers, shown, same_answer)?;
        bytes.map_err(|said| Failure::Said(said).into_error(what))
    }

    async fn ask<T>(
        &self,
        endpoint: &Endpoint,
        what: &'static str,
        call: impl Future<Output = alloy::transports::TransportResult<T>>,
    ) -> Result<T, Failure> {
        let endpoints = &self.chain.endpoints;
        // A third one needs some time, too, when one of the first two is silent.
        let share = if self.asked.len() > endpoints.quorum() { 2 } else { 1 };
        endpoints.ask(endpoint, what, endpoints.timeout() / share, call).await
    }

    /// Answers from as many endpoints as have to agree: two at the same time, and another one for
    /// each that does not answer.
    async fn quorum<T, Fut>(
        &self,
        what: &'static str,
        ask: impl Fn(Arc<Endpoint>) -> Fut,
    ) -> Result<Vec<(Arc<Endpoint>, T)>, ChainError>
    where
        Fut: Future<Output = Result<T, Failure>>,
    {
        let wanted = self.chain.endpoints.quorum();
        let (mut answers, mut failures, mut gone) = (Vec::new(), Vec::new(), None);
        let mut spare = self.asked.iter();
        while answers.len() < wanted {
            let now: Vec<&Arc<Endpoint>> = spare.by_ref().take(wanted - answers.len()).collect();
            let asked = match now[..] {
                [one, other, ..] => {
                    let (first, second) =
                        tokio::join!(ask(Arc::clone(one)), ask(Arc::clone(other)));
                    vec![(one, first), (other, second)]
                }
                [one] => vec![(one, ask(Arc::clone(one)).await)],
                [] => break,
            };
            for (endpoint, answer) in asked {
                match answer {
                    Ok(answer) => answers.push((Arc::clone(endpoint), answer)),
                    Err(Failure::Missing(_)) => gone = Some(endpoint.name.clone()),
                    Err(failure) => failures.push(failure.into_error(what)),
                }
            }
        }
        if answers.len() >= wanted {
            return Ok(answers);
        }
        match gone {
            Some(url) => Err(ChainError::BlockGone { what, url, number: self.head.number }),
            None => Err(together(what, failures)),
        }
    }

    fn same<T, S: std::fmt::Display>(
        &self,
        what: &'static str,
        answers: Vec<(Arc<Endpoint>, T)>,
        show: impl Fn(T) -> S,
        equal: impl Fn(&T, &T) -> bool,
    ) -> Result<T, ChainError> {
        let mut answers = answers.into_iter();
        let (endpoint, first) = answers.next().expect("a quorum is at least one");
        for (other, second) in answers {
            if !equal(&first, &second) {
                return Err(ChainError::Disagreement(Box::new(Disagreement {
                    what,
                    block: self.head.number,
                    first: (endpoint.name.clone(), show(first).to_string()),
                    second: (other.name.clone(), show(second).to_string()),
                })));
            }
        }
        Ok(first)
    }
}

fn decoded<C: SolCall>(what: &'static str, bytes: &Bytes) -> Result<C::Return, ChainError> {
    let failed =
        |error: alloy::sol_types::Error| ChainError::Malformed { what, reason: error.to_string() };
    C::abi_decode_returns(bytes).map_err(failed)
}

fn same_answer(one: &Answer, other: &Answer) -> bool {
    match (one, other) {
        (Ok(one), Ok(other)) => one == other,
        (Err(one), Err(other)) => revert_reason(&one.error) == revert_reason(&other.error),
        _ => false,
    }
}

/// For an error: at most the first 64 bytes, which hold every number of an account or a channel.
fn shown(answer: Answer) -> String {
    match answer {
        Ok(bytes) if bytes.len() > 128 => {
            format!("{} … ({} bytes)", bytes.slice(..128), bytes.len())
        }
        Ok(bytes) => bytes.to_string(),
        Err(said) => revert_reason(&said.error).unwrap_or_else(|| said.error.to_string()),
    }
}

impl Chain {
    /// The newest block of a kind that the endpoints agree on, for reading several things of the
    /// same moment.
    ///
    /// With two or more endpoints, those whose head is far from every other one's are left out,
    /// and of the rest the lowest head that two of them have is taken, so that all of them have it.
    ///
    /// # Errors
    /// [`ChainError::HeadsApart`] when no two heads are near each other,
    /// [`ChainError::BlockGone`] when no two endpoints have the same block,
    /// [`ChainError::Unavailable`] when too few endpoints answer.
    pub async fn at(&self, tag: BlockTag) -> Result<AtBlock, ChainError> {
        let began = Instant::now();
        let limit = self.endpoints.timeout() / 2;
        let mut answered = self.endpoints.believed(limit).await?;
        let other = match tag {
            BlockTag::Latest => None,
            BlockTag::Safe => Some(BlockNumberOrTag::Safe),
            BlockTag::Number(number) => Some(number.into()),
        };
        if let Some(other) = other {
            let believed: Vec<Arc<Endpoint>> =
                answered.into_iter().map(|(endpoint, _)| endpoint).collect();
            let limit = self.endpoints.timeout().saturating_sub(began.elapsed());
            let (blocks, failures) = self.endpoints.blocks(&believed, other, limit).await;
            if blocks.len() < self.endpoints.quorum() {
                return Err(together("eth_getBlockByNumber", failures));
            }
            answered = blocks;
        }
        let limit = self.endpoints.timeout().saturating_sub(began.elapsed());
        self.confirmed(answered, limit).await
    }

    /// The lowest head that another endpoint has, too. Whoever answered with a lower one that
    /// nobody else knows is left out: at its block the others could not answer anything.
    async fn confirmed(
        &self,
        answered: Vec<Answered>,
        limit: Duration,
    ) -> Result<AtBlock, ChainError> {
        let mut answered = answered;
        loop {
            let numbers =
                answered.iter().enumerate().map(|(index, (_, head))| (head.number, index));
            let (_, lowest) = numbers.min().expect("a quorum answered");
            let (supplier, head) = answered.remove(lowest);
            if self.is_confirmed(&head, &answered, limit).await {
                let others = answered.into_iter().map(|(endpoint, _)| endpoint);
                let asked = std::iter::once(supplier).chain(others).collect();
                return Ok(AtBlock::new(self.clone(), head, asked));
            }
            supplier.set_apart(true);
            if answered.len() < self.endpoints.quorum() {
                let (what, url) = ("eth_getBlockByNumber", supplier.name.clone());
                return Err(ChainError::BlockGone { what, url, number: head.number });
            }
        }
    }

    async fn is_confirmed(&self, head: &Head, others: &[Answered], limit: Duration) -> bool {
        if self.endpoints.quorum() == 1 || others.iter().any(|(_, other)| other == head) {
            return true;
        }
        let others: Vec<Arc<Endpoint>> =
            others.iter().map(|(endpoint, _)| Arc::clone(endpoint)).collect();
        let (blocks, _) = self.endpoints.blocks(&others, head.number.into(), limit).await;
        blocks.iter().any(|(_, block)| block == head)
    }
}

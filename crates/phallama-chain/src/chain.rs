//! Reading the chain.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::U256;
use alloy::providers::{Provider as _, RootProvider};
use alloy::sol_types::SolCall;
use phallama_protocol::eip712::Domain;
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;

use crate::at::AtBlock;
use crate::attestation::MachineHolder;
use crate::config::ChainConfig;
use crate::contracts::{self, Escrow, PodRegistry, TestToken};
use crate::convert::{from_address, saturating_u128, to_address};
use crate::endpoints::Endpoints;
use crate::error::ChainError;
use crate::record::{Account, BlockTag, Channel, Head, PodRecord, TokenMeta};
use crate::sender::Sender;

/// How often a read starts anew because its block is gone or has not arrived everywhere.
const AGREED_TRIES: u32 = 4;
const AGREED_PAUSE: Duration = Duration::from_millis(100);
/// Pods per call of the registry's view, unless the node finds that too much.
const PAGE: u64 = 100;

/// A connection to one deployment on one chain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(crate) endpoints: Arc<Endpoints>,
    config: ChainConfig,
    /// As the registry names it; it never changes.
    verifier: Address,
}

impl Chain {
    /// Connects and checks that an endpoint serves the configured chain, that the contracts are
    /// there and that they belong together. Every other endpoint is checked before it is used; one
    /// of another chain is put aside (see [`Chain::complaints`]).
    ///
    /// # Errors
    /// [`ChainError::BadEndpoint`], [`ChainError::Unavailable`], [`ChainError::WrongChain`],
    /// [`ChainError::NoContract`],
    /// [`ChainError::Mismatch`], [`ChainError::Malformed`].
    pub async fn connect(config: ChainConfig) -> Result<Self, ChainError> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let endpoints = Endpoints::new(&config.rpc_urls, Some(config.chain_id), timeout)?;
        let mut chain = Self::unchecked(endpoints, config);
        chain.check_contracts().await?;
        chain.verifier = chain.registrys_verifier().await?;
        Ok(chain)
    }

    /// For deploying, when there is nothing to check yet.
    pub(crate) fn unchecked(endpoints: Endpoints, config: ChainConfig) -> Self {
        Self { endpoints: Arc::new(endpoints), config, verifier: Address::ZERO }
    }

    async fn check_contracts(&self) -> Result<(), ChainError> {
        let ChainConfig { registry, escrow, token, .. } = self.config;
        for (name, address) in [("registry", registry), ("escrow", escrow), ("token", token)] {
            self.check_code(name, address).await?;
        }
        let of_escrow = from_address(self.read("registry", escrow, Escrow::REGISTRYCall {}).await?);
        self.same("registry", of_escrow, registry)?;
        let of_escrow = from_address(self.read("token", escrow, Escrow::TOKENCall {}).await?);
        self.same("token", of_escrow, token)
    }

    async fn check_code(&self, name: &'static str, address: Address) -> Result<(), ChainError> {
        let account = to_address(address);
        let ask = |provider: RootProvider| async move { provider.get_code_at(account).await };
        if self.endpoints.any("eth_getCode", ask).await?.is_empty() {
            let chain_id = self.config.chain_id;
            return Err(ChainError::NoContract { name, address, chain_id });
        }
        Ok(())
    }

    async fn registrys_verifier(&self) -> Result<Address, ChainError> {
        let call = PodRegistry::VERIFIERCall {};
        let verifier = from_address(self.read("VERIFIER", self.config.registry, call).await?);
        self.check_code("verifier", verifier).await?;
        Ok(verifier)
    }

    fn same(&self, name: &'static str, got: Address, expected: Address) -> Result<(), ChainError> {
        if got == expected {
            return Ok(());
        }
        Err(ChainError::Mismatch { name, escrow: self.config.escrow, got, expected })
    }

    /// What this connection was made from.
    pub fn config(&self) -> &ChainConfig {
        &self.config
    }

    /// The contract that verifies quotes for the registry.
    pub fn verifier(&self) -> Address {
        self.verifier
    }

    /// The EIP-712 domain of this deployment.
    pub fn domain(&self) -> Domain {
        self.config.domain()
    }

    /// An account that sends transactions and remembers them as long as the process lives.
    pub fn sender(&self, signer: &Signer) -> Sender {
        Sender::in_memory(self.clone(), signer)
    }

    /// The same with an outbox in the file `path`, which is made if it is not there; beside it are
    /// `.lock` and, for moments, `.new`. What an earlier process left in it is looked after by
    /// [`Sender::tend`].
    ///
    /// # Errors
    /// [`ChainError::Outbox`] when the file cannot be used, belongs to another account or chain, or
    /// is open in another process.
    pub fn durable_sender(&self, signer: &Signer, path: &Path) -> Result<Sender, ChainError> {
        Sender::durable(self.clone(), signer, path)
    }

    /// The head by tag, as the endpoints agree on it: see [`Chain::at`].
    ///
    /// # Errors
    /// As [`Chain::at`].
    pub async fn head(&self, tag: BlockTag) -> Result<Head, ChainError> {
        self.agreed(tag, |at| async move { Ok(*at.head()) }).await
    }

    /// What is held against each endpoint now, in the order of the configuration; `None` where
    /// nothing is.
    pub fn complaints(&self) -> Vec<(String, Option<String>)> {
        let now = Instant::now();
        let list = self.endpoints.list().iter();
        list.map(|endpoint| (endpoint.name.clone(), endpoint.complaint(now))).collect()
    }

    /// Reads at the newest block of a kind; once more where that was reorganised away or had not
    /// arrived everywhere.
    pub(crate) async fn agreed<T, Fut>(
        &self,
        tag: BlockTag,
        read: impl Fn(AtBlock) -> Fut,
    ) -> Result<T, ChainError>
    where
        Fut: Future<Output = Result<T, ChainError>>,
    {
        let mut tries = AGREED_TRIES;
        loop {
            tries -= 1;
            match Box::pin(async { read(self.at(tag).await?).await }).await {
                Err(ChainError::BlockGone { .. }) if tries > 0 => {
                    tokio::time::sleep(AGREED_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    /// Every registered pod, retired ones included.
    pub async fn pods(&self) -> Result<Vec<PodRecord>, ChainError> {
        let mut pods = Vec::new();
        let mut cursor = U256::ZERO;
        let mut limit = PAGE;
        loop {
            let call = PodRegistry::pageCall { cursor, limit: U256::from(limit) };
            let page = match self.read("page", self.config.registry, call).await {
                // Nodes limit the gas of a call, and pods may carry many offers.
                Err(error) if limit > 1 && is_out_of_gas(&error) => {
                    limit /= 2;
                    continue;
                }
                page => page?,
            };
            for pod in page.pods {
                pods.push(contracts::pod_record(pod)?);
            }
            // A cursor that does not move would be an endless list.
            if page.next >= page.count || page.next <= cursor {
                return Ok(pods);
            }
            cursor = page.next;
        }
    }

    /// One pod.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn pod(&self, pod: PodId) -> Result<Option<PodRecord>, ChainError> {
        self.agreed(BlockTag::Latest, |at| async move { at.pod(pod).await }).await
    }

    /// Until when the escrow accepts claims signed by a key, grace included; 0 when never.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn key_good_until(&self, pod: PodId, identity: Address) -> Result<u64, ChainError> {
        self.agreed(BlockTag::Latest, |at| async move { at.key_good_until(pod, identity).await })
            .await
    }

    /// The pod that a machine backs (see [`Pck::machine`](crate::Pck::machine)), if any.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn machine_holder(
        &self,
        machine: Digest32,
    ) -> Result<Option<MachineHolder>, ChainError> {
        self.agreed(BlockTag::Latest, |at| async move { at.machine_holder(machine).await }).await
    }

    /// Whether the pod's operator agreed to share the machine.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn sharing(&self, pod: PodId, machine: Digest32) -> Result<bool, ChainError> {
        self.agreed(BlockTag::Latest, |at| async move { at.sharing(pod, machine).await }).await
    }

    /// A user key's account.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn account(&self, user: Address) -> Result<Account, ChainError> {
        self.account_at(user, BlockTag::Latest).await
    }

    /// The same as of `tag`. A node that does not know the tag answers with an error.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn account_at(&self, user: Address, tag: BlockTag) -> Result<Account, ChainError> {
        self.agreed(tag, |at| async move { at.account(user).await }).await
    }

    /// What a user has locked for a pod.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn channel(&self, user: Address, pod: PodId) -> Result<Channel, ChainError> {
        self.channel_at(user, pod, BlockTag::Latest).await
    }

    /// The same as of `tag`.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn channel_at(
        &self,
        user: Address,
        pod: PodId,
        tag: BlockTag,
    ) -> Result<Channel, ChainError> {
        self.agreed(tag, |at| async move { at.channel(user, pod).await }).await
    }

    /// The same for many users, in their order.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn channels(
        &self,
        pod: PodId,
        users: &[Address],
    ) -> Result<Vec<Channel>, ChainError> {
        self.channels_at(pod, users, BlockTag::Latest).await
    }

    /// The same as of `tag`.
    ///
    /// # Errors
    /// As [`AtBlock::account`].
    pub async fn channels_at(
        &self,
        pod: PodId,
        users: &[Address],
        tag: BlockTag,
    ) -> Result<Vec<Channel>, ChainError> {
        self.agreed(tag, |at| async move { at.channels(pod, users).await }).await
    }

    /// What the escrow owes a pod.
    pub async fn credit(&self, pod: PodId) -> Result<Amount, ChainError> {
        let call = Escrow::creditCall { podId: pod.0.into() };
        let credit = saturating_u128(self.read("credit", self.config.escrow, call).await?);
        Amount::new(credit).map_err(|error| {
            let reason = error.to_string();
            ChainError::Malformed { what: "credit", reason }
        })
    }

    /// Token balance, in smallest units.
    pub async fn token_balance(&self, holder: Address) -> Result<u128, ChainError> {
        let call = TestToken::balanceOfCall { owner: to_address(holder) };
        Ok(saturating_u128(self.read("balanceOf", self.config.token, call).await?))
    }

    /// Ether balance, in wei.
    pub async fn ether_balance(&self, holder: Address) -> Result<u128, ChainError> {
        let holder = to_address(holder);
        let ask = |provider: RootProvider| async move { provider.get_balance(holder).await };
        Ok(saturating_u128(self.endpoints.any("eth_getBalance", ask).await?))
    }

    /// What the node would pay per gas now, in wei.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn gas_price_wei(&self) -> Result<u128, ChainError> {
        let ask = |provider: RootProvider| async move { provider.get_gas_price().await };
        self.endpoints.any("eth_gasPrice", ask).await
    }

    /// The token's symbol and decimals.
    pub async fn token_meta(&self) -> Result<TokenMeta, ChainError> {
        let token = self.config.token;
        let symbol = self.read("symbol", token, TestToken::symbolCall {}).await?;
        let decimals = self.read("decimals", token, TestToken::decimalsCall {}).await?;
        Ok(TokenMeta { symbol, decimals })
    }

    /// Reads the newest block of whichever endpoint answers.
    pub(crate) async fn read<C: SolCall>(
        &self,
        what: &'static str,
        to: Address,
        call: C,
    ) -> Result<C::Return, ChainError> {
        let request = alloy::rpc::types::TransactionRequest::default()
            .to(to_address(to))
            .input(call.abi_encode().into());
        let ask = |provider: RootProvider| {
            let request = request.clone();
            async move { provider.call(request).await }
        };
        let bytes = self.endpoints.any(what, ask).await?;
        C::abi_decode_returns(&bytes)
            .map_err(|error| ChainError::Malformed { what, reason: error.to_string() })
    }
}

/// The words that nodes use, there being no code for it.
fn is_out_of_gas(error: &ChainError) -> bool {
    let (ChainError::Unavailable { reason, .. } | ChainError::Reverted { reason, .. }) = error
    else {
        return false;
    };
    let reason = reason.to_lowercase();
    ["out of gas", "outofgas", "oog"].iter().any(|words| reason.contains(words))
}

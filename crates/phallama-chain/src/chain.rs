//! Reading the chain.

use std::time::Duration;

use alloy::eips::BlockNumberOrTag;
use alloy::primitives::U256;
use alloy::providers::{Provider as _, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::sol_types::SolCall;
use phallama_protocol::eip712::Domain;
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::keys::Signer;

use crate::attestation::MachineHolder;
use crate::config::ChainConfig;
use crate::contracts::{self, Escrow, PodRegistry, TestToken};
use crate::convert::{from_address, from_b256, from_u40, from_u96, saturating_u128, to_address};
use crate::error::{ChainError, from_rpc};
use crate::record::{Account, BlockTag, Channel, Head, PodRecord, TokenMeta};
use crate::sender::Sender;

/// Pods per call of the registry's view, unless the node finds that too much.
const PAGE: u64 = 100;

/// A connection to one deployment on one chain. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Chain {
    pub(crate) provider: RootProvider,
    config: ChainConfig,
    /// As the registry names it; it never changes.
    verifier: Address,
}

impl Chain {
    /// Connects and checks that the endpoint serves the configured chain, that the contracts are
    /// there and that they belong together.
    ///
    /// # Errors
    /// [`ChainError::Unavailable`], [`ChainError::WrongChain`], [`ChainError::NoContract`],
    /// [`ChainError::Mismatch`], [`ChainError::Malformed`].
    pub async fn connect(config: ChainConfig) -> Result<Self, ChainError> {
        let provider = provider(&config.rpc_url, config.timeout_ms)?;
        let mut chain = Self::unchecked(provider, config);
        let got = chain.rpc("eth_chainId", chain.provider.get_chain_id()).await?;
        let expected = chain.config.chain_id;
        if got != expected {
            return Err(ChainError::WrongChain { url: chain.config.rpc_url, got, expected });
        }
        chain.check_contracts().await?;
        chain.verifier = chain.registrys_verifier().await?;
        Ok(chain)
    }

    /// For deploying, when there is nothing to check yet.
    pub(crate) fn unchecked(provider: RootProvider, config: ChainConfig) -> Self {
        Self { provider, config, verifier: Address::ZERO }
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
        let code = self.provider.get_code_at(to_address(address));
        if self.rpc("eth_getCode", async { code.await }).await?.is_empty() {
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

    /// An account that sends transactions.
    pub fn sender(&self, signer: &Signer) -> Sender {
        Sender::new(self.clone(), signer)
    }

    /// The head by tag.
    pub async fn head(&self, tag: BlockTag) -> Result<Head, ChainError> {
        let tag = number_or_tag(tag);
        let what = "eth_getBlockByNumber";
        let block = self.provider.get_block_by_number(tag);
        let block = self.rpc(what, async { block.await }).await?.ok_or(ChainError::Malformed {
            what,
            reason: format!("no block for the tag `{tag}`"),
        })?;
        Ok(Head {
            number: block.header.number,
            timestamp_unix_s: block.header.timestamp,
            hash: from_b256(block.header.hash),
            parent: from_b256(block.header.parent_hash),
        })
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
    pub async fn pod(&self, pod: PodId) -> Result<Option<PodRecord>, ChainError> {
        let call = PodRegistry::podCall { podId: pod.0.into() };
        match self.read("pod", self.config.registry, call).await {
            Ok(view) => contracts::pod_record(view).map(Some),
            Err(error) if contracts::is_unknown_pod(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Until when the escrow accepts claims signed by a key, grace included; 0 when never.
    pub async fn key_good_until(&self, pod: PodId, identity: Address) -> Result<u64, ChainError> {
        let call =
            PodRegistry::keyGoodUntilCall { podId: pod.0.into(), identity: to_address(identity) };
        let until = self.read("keyGoodUntil", self.config.registry, call).await?;
        Ok(until.saturating_to())
    }

    /// The pod that a machine backs (see [`Pck::machine`](crate::Pck::machine)), if any.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn machine_holder(
        &self,
        machine: Digest32,
    ) -> Result<Option<MachineHolder>, ChainError> {
        let call = PodRegistry::machineOfCall { machine: machine.0.into() };
        let held = self.read("machineOf", self.config.registry, call).await?;
        let holder =
            MachineHolder { pod_prefix: held.holder.0, until_unix_s: from_u40(held.until) };
        Ok((holder.pod_prefix != [0; 26]).then_some(holder))
    }

    /// Whether the pod's operator agreed to share the machine.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn sharing(&self, pod: PodId, machine: Digest32) -> Result<bool, ChainError> {
        let call = PodRegistry::sharingCall { podId: pod.0.into(), machine: machine.0.into() };
        self.read("sharing", self.config.registry, call).await
    }

    /// A user key's account.
    pub async fn account(&self, user: Address) -> Result<Account, ChainError> {
        self.account_at(user, BlockTag::Latest).await
    }

    /// The same as of `tag`. A node that does not know the tag answers with an error.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn account_at(&self, user: Address, tag: BlockTag) -> Result<Account, ChainError> {
        let call = Escrow::accountCall { user: to_address(user) };
        let account = self.read_at("account", self.config.escrow, call, tag).await?;
        let owner = (!account.owner.is_zero()).then(|| from_address(account.owner));
        Ok(Account { owner, free: from_u96(account.free) })
    }

    /// What a user has locked for a pod.
    pub async fn channel(&self, user: Address, pod: PodId) -> Result<Channel, ChainError> {
        let call = Escrow::channelCall { user: to_address(user), podId: pod.0.into() };
        let channel = self.read("channel", self.config.escrow, call).await?;
        Ok(contracts::channel(&channel))
    }

    /// The same for many users, in their order.
    pub async fn channels(
        &self,
        pod: PodId,
        users: &[Address],
    ) -> Result<Vec<Channel>, ChainError> {
        self.channels_at(pod, users, BlockTag::Latest).await
    }

    /// The same as of `tag`. A node that does not know the tag answers with an error.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn channels_at(
        &self,
        pod: PodId,
        users: &[Address],
        tag: BlockTag,
    ) -> Result<Vec<Channel>, ChainError> {
        let what = "channels";
        let expected = users.len();
        let users = users.iter().copied().map(to_address).collect();
        let call = Escrow::channelsCall { podId: pod.0.into(), users };
        let channels = self.read_at(what, self.config.escrow, call, tag).await?;
        if channels.len() != expected {
            let reason = format!("{} channels for {expected} users", channels.len());
            return Err(ChainError::Malformed { what, reason });
        }
        Ok(channels.iter().map(contracts::channel).collect())
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
        let balance = self.provider.get_balance(to_address(holder));
        Ok(saturating_u128(self.rpc("eth_getBalance", async { balance.await }).await?))
    }

    /// What the node would pay per gas now, in wei.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn gas_price_wei(&self) -> Result<u128, ChainError> {
        let price = self.provider.get_gas_price();
        self.rpc("eth_gasPrice", price).await
    }

    /// The token's symbol and decimals.
    pub async fn token_meta(&self) -> Result<TokenMeta, ChainError> {
        let token = self.config.token;
        let symbol = self.read("symbol", token, TestToken::symbolCall {}).await?;
        let decimals = self.read("decimals", token, TestToken::decimalsCall {}).await?;
        Ok(TokenMeta { symbol, decimals })
    }

    pub(crate) async fn read<C: SolCall>(
        &self,
        what: &'static str,
        to: Address,
        call: C,
    ) -> Result<C::Return, ChainError> {
        self.read_at(what, to, call, BlockTag::Latest).await
    }

    async fn read_at<C: SolCall>(
        &self,
        what: &'static str,
        to: Address,
        call: C,
        tag: BlockTag,
    ) -> Result<C::Return, ChainError> {
        let request = alloy::rpc::types::TransactionRequest::default()
            .to(to_address(to))
            .input(call.abi_encode().into());
        let answer = self.provider.call(request).block(number_or_tag(tag).into());
        let bytes = self.rpc(what, async { answer.await }).await?;
        C::abi_decode_returns(&bytes)
            .map_err(|error| ChainError::Malformed { what, reason: error.to_string() })
    }

    async fn rpc<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = alloy::transports::TransportResult<T>>,
    ) -> Result<T, ChainError> {
        call.await.map_err(|error| from_rpc(&self.config.rpc_url, what, &error))
    }
}

fn number_or_tag(tag: BlockTag) -> BlockNumberOrTag {
    match tag {
        BlockTag::Latest => BlockNumberOrTag::Latest,
        BlockTag::Safe => BlockNumberOrTag::Safe,
        BlockTag::Number(number) => BlockNumberOrTag::Number(number),
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

/// HTTP with a limit on every call; without one, a silent endpoint would hang its caller for ever.
pub(crate) fn provider(url: &str, timeout_ms: u64) -> Result<RootProvider, ChainError> {
    let failed =
        |reason: String| ChainError::Unavailable { url: url.to_owned(), what: "connect", reason };
    let parsed = url.parse().map_err(|error| failed(format!("not a URL: {error}")))?;
    crate::tls::use_ring();
    let http = reqwest::Client::builder()
        .timeout(Duration::from_millis(timeout_ms))
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let transport = alloy::transports::http::Http::with_client(http, parsed);
    Ok(RootProvider::new(RpcClient::new(transport, false)))
}

//! A deployment on an embedded chain with endpoints in front of it that fail on request.

use std::time::Duration;

use alloy::primitives::keccak256;
use phallama_chain::{Chain, ChainConfig, SendPolicy, Sender, deploy};
use phallama_devchain::{ChainOptions, DevChain, FaultyRpc};
use phallama_protocol::eip712::OpenAccount;
use phallama_protocol::ids::Address;
use phallama_protocol::keys::Signer;
use serde_json::{Value, json};

use crate::platform::root;
use crate::world::{amount, signer, user};

/// An address that does nothing else.
pub(crate) const SOMEBODY: Address = Address([0x50; 20]);
/// Long enough for a loaded machine.
pub(crate) const PATIENT: Duration = Duration::from_mins(1);
/// What the user of a stage has deposited.
pub(crate) const DEPOSIT: u64 = 700;

pub(crate) struct Stage {
    pub(crate) node: DevChain,
    pub(crate) rpcs: Vec<FaultyRpc>,
    pub(crate) config: ChainConfig,
    pub(crate) user: Signer,
}

impl Stage {
    /// With an account of `user`, and this many endpoints; `safe` is 100 blocks behind.
    pub(crate) async fn new(endpoints: usize) -> Self {
        let options = ChainOptions { safe_depth_blocks: 100, ..ChainOptions::default() };
        let node = DevChain::new(options);
        let rpcs: Vec<FaultyRpc> = (0..endpoints).map(|_| FaultyRpc::start(&node)).collect();
        let deployed = deploy(&rpcs[0].url(), &signer(0), root().root_der()).await.unwrap();
        let rpc_urls = rpcs.iter().map(FaultyRpc::url).collect();
        let config =
            ChainConfig { rpc_urls, timeout_ms: 20_000, ..deployed.config(&rpcs[0].url()) };
        let stage = Self { node, rpcs, config, user: user(0) };
        stage.open_account().await;
        stage
    }

    async fn open_account(&self) {
        let chain = self.chain().await;
        let owner = chain.sender(&signer(1));
        owner.mint_test_token(owner.address(), amount(DEPOSIT)).await.unwrap();
        let (user, owner_address) = (self.user.address(), owner.address());
        let opened = OpenAccount { user, owner: owner_address }.digest(&chain.domain());
        let sig = self.user.sign(&opened);
        owner.open_and_deposit(user, owner_address, &sig, amount(DEPOSIT)).await.unwrap();
    }

    pub(crate) async fn chain(&self) -> Chain {
        Chain::connect(self.config.clone()).await.unwrap()
    }

    /// A chain whose calls end after this time.
    pub(crate) async fn hasty(&self, timeout_ms: u64) -> Chain {
        let config = ChainConfig { timeout_ms, ..self.config.clone() };
        // Connecting is not what is tested: the calls after it are.
        loop {
            match Chain::connect(config.clone()).await {
                Ok(chain) => return chain,
                Err(error) => assert!(error.to_string().contains("no answer within"), "{error}"),
            }
        }
    }

    /// Directly on the chain, past every fault.
    pub(crate) fn rpc(&self, method: &str, params: Value) -> Value {
        self.node.request(method, params).unwrap()
    }

    pub(crate) fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([blocks]));
    }

    pub(crate) fn automine(&self, enabled: bool) {
        self.rpc("evm_setAutomine", json!([enabled]));
    }

    pub(crate) fn head(&self) -> u64 {
        crate::node::number(&self.rpc("eth_blockNumber", json!([])))
    }

    pub(crate) fn received(&self) -> u64 {
        crate::node::number(&self.rpc("eth_getBalance", json!([SOMEBODY, "latest"])))
    }

    /// Transactions of the sender in blocks.
    pub(crate) fn mined_nonce(&self) -> u64 {
        let params = json!([sending_key().address(), "latest"]);
        crate::node::number(&self.rpc("eth_getTransactionCount", params))
    }

    /// The selector of a function of the contracts.
    pub(crate) fn selector(signature: &str) -> [u8; 4] {
        keccak256(signature)[..4].try_into().unwrap()
    }
}

/// The key that tests send from; funded, and used for nothing else.
pub(crate) fn sending_key() -> Signer {
    signer(3)
}

/// Acts at once where the default waits for half a minute.
pub(crate) const EAGER: SendPolicy = SendPolicy {
    replace_after: Duration::from_millis(100),
    rebroadcast_after: Duration::from_millis(100),
    mined_within: PATIENT,
    taken_after: Duration::from_secs(3),
};

/// Never replaces, broadcasts again at once.
pub(crate) const STUBBORN: SendPolicy = SendPolicy { replace_after: PATIENT, ..EAGER };

pub(crate) fn sender(chain: &Chain) -> Sender {
    chain.sender(&sending_key()).with_policy(STUBBORN)
}

//! How a chain is set up.

use std::time::Duration;

use revm::primitives::{U256, eip7825};

/// Settings of a new chain. `Default` is what a test wants: chain 31337, a block per transaction,
/// ten funded accounts.
#[derive(Debug, Clone)]
pub struct ChainOptions {
    /// EIP-155 chain id, also returned by `net_version`.
    pub chain_id: u64,
    /// When blocks are made.
    pub mining: Mining,
    /// Timestamp of block 0, in seconds since the Unix epoch; `None` is the wall clock. The
    /// chain's clock starts there and then runs at the speed of the wall clock.
    pub genesis_unix_s: Option<u64>,
    /// Base fee of blocks 0 and 1, in wei per gas; later ones follow EIP-1559.
    pub base_fee_wei: u64,
    /// Gas limit of every block.
    pub block_gas_limit: u64,
    /// Highest gas limit a transaction may carry (EIP-7825: 2²⁴ since Osaka). `u64::MAX` lifts it.
    pub tx_gas_limit_cap: u64,
    /// How many of the accounts of [`dev_account`](crate::dev_account) hold ether at block 0.
    pub funded_accounts: u32,
    /// What each of them holds, in wei.
    pub funded_balance_wei: U256,
    /// How many blocks the `safe` tag is behind the head (never before block 0).
    pub safe_depth_blocks: u64,
    /// How many blocks the `finalized` tag is behind the head (never before block 0).
    pub finalized_depth_blocks: u64,
    /// What the P-256 precompile at 0x100 costs.
    pub p256_price: P256Price,
}

impl Default for ChainOptions {
    fn default() -> Self {
        Self {
            chain_id: 31_337,
            mining: Mining::Instant,
            genesis_unix_s: None,
            base_fee_wei: 1_000_000_000,
            block_gas_limit: 30_000_000,
            tx_gas_limit_cap: eip7825::TX_GAS_LIMIT_CAP,
            funded_accounts: 10,
            funded_balance_wei: U256::from(10_000_000_000_000_000_000_000_u128),
            safe_depth_blocks: 0,
            finalized_depth_blocks: 0,
            p256_price: P256Price::Osaka,
        }
    }
}

/// When blocks are made. `evm_mine` and `anvil_mine` make them at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mining {
    /// One block per transaction, before `eth_sendRawTransaction` returns.
    Instant,
    /// One block per interval, empty or not; transactions wait in the pool.
    Every(Duration),
    /// Only on request; transactions wait in the pool.
    OnRequest,
}

/// Gas of one P-256 verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum P256Price {
    /// 6,900 (EIP-7951), as on Ethereum since Osaka.
    Osaka,
    /// 3,450 (RIP-7212), as on OP-stack chains.
    OpStack,
}

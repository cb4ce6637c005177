//! A development chain that lives inside the process: an EVM ([`revm`]), blocks that are mined the
//! moment a transaction arrives, and the JSON-RPC methods that alloy, `cast` and wallets call.
//!
//! It exists so that a demonstration and a test suite need no second program, and it is only for
//! those: balances are made up, the developer keys are public, nothing is stored.
//!
//! What is faithful: the rules and the gas of the latest hardfork (Osaka), EIP-1559 base fees,
//! transaction and receipt roots, blooms, the customary error messages. The integration tests run
//! one script of raw transactions here and on `anvil` and compare every receipt.
//!
//! What is absent, on purpose:
//!
//! - **Keys.** The chain signs nothing: `eth_accounts` is empty and `eth_sendTransaction` does not
//!   exist. [`dev_account`] derives keys for the caller, who signs.
//! - **A state trie.** `stateRoot` in headers is zero and `eth_getProof` does not exist. State is
//!   kept as a history per account and slot, so every past block can be queried and
//!   `evm_snapshot`/`evm_revert` cost next to nothing.
//! - **Blob and set-code transactions.** Types 0, 1 and 2 are accepted.
//!
//! What can go wrong with a chain can be made to go wrong: the `evm_` and `anvil_` methods move the
//! clock, raise the base fee, drop waiting transactions and reorganise the newest blocks
//! (`anvil_reorg`), and a [`FaultyRpc`] in front of a chain is down, slow, stale or lying on
//! request.
//!
//! ```
//! use phallama_devchain::{ChainOptions, DevChain, dev_account};
//! use serde_json::json;
//!
//! let chain = DevChain::new(ChainOptions::default());
//! let (address, _secret_key) = dev_account(0);
//! let balance = chain.request("eth_getBalance", json!([address, "latest"])).expect("funded");
//! assert_eq!(balance, json!("0x21e19e0c9bab2400000")); // 10,000 ether
//! ```

mod accounts;
mod block;
mod chain;
mod clock;
mod error;
mod evm;
mod faulty;
mod http;
mod ledger;
mod options;
mod pool;
mod rewind;
mod rpc;
mod state;
#[cfg(feature = "alloy")]
mod transport;

pub use accounts::dev_account;
pub use chain::DevChain;
pub use error::RpcError;
pub use faulty::{Fault, FaultyRpc, Hold, InjectedFault, Moment, Rewriter, Rule, Upstream};
pub use http::{BODY_MAX_BYTES, serve};
pub use options::{ChainOptions, Mining, P256Price};
#[cfg(feature = "alloy")]
pub use transport::InProcess;

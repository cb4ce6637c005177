//! The handle to a chain.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, RwLock, Weak};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::error::RpcError;
use crate::ledger::Ledger;
use crate::options::{ChainOptions, Mining};
use crate::rpc;

/// A development chain. Clones are handles to the same chain, which ends with the last of them.
///
/// Requests may come from many threads: those that only read run at the same time. A request
/// blocks its thread while the EVM works, usually for microseconds.
#[derive(Clone)]
pub struct DevChain(Arc<Shared>);

struct Shared {
    ledger: RwLock<Ledger>,
    /// Dropping it ends the thread that makes blocks, where there is one.
    _miner: Option<Sender<()>>,
}

impl DevChain {
    /// A new chain with block 0.
    pub fn new(options: ChainOptions) -> Self {
        let mining = options.mining;
        let ledger = RwLock::new(Ledger::new(options));
        let Mining::Every(interval) = mining else {
            return Self(Arc::new(Shared { ledger, _miner: None }));
        };
        let (miner, ended) = channel();
        let shared = Arc::new(Shared { ledger, _miner: Some(miner) });
        let chain = Arc::downgrade(&shared);
        thread::spawn(move || mine_every(interval, &chain, &ended));
        Self(shared)
    }

    /// Answers one JSON-RPC request; `params` is an array, or `null` for none.
    ///
    /// # Errors
    ///
    /// What a node would put in the response's `error`: see [`RpcError`].
    pub fn request(&self, method: &str, params: Value) -> Result<Value, RpcError> {
        rpc::answer(self, method, params)
    }

    /// Looks at the chain.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(&self.0.ledger.read().expect("no request panics while it holds the chain"))
    }

    /// Changes the chain.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        change(&mut self.0.ledger.write().expect("no request panics while it holds the chain"))
    }
}

impl fmt::Debug for DevChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (chain_id, head) =
            self.read(|ledger| (ledger.options.chain_id, ledger.head().header.number));
        f.debug_struct("DevChain").field("chain_id", &chain_id).field("head", &head).finish()
    }
}

/// Makes blocks until the chain is gone.
fn mine_every(interval: Duration, chain: &Weak<Shared>, ended: &Receiver<()>) {
    // Without any pause the chain would do nothing else.
    let interval = interval.max(Duration::from_millis(1));
    while ended.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        let Some(shared) = chain.upgrade() else { return };
        DevChain(shared).write(|ledger| {
            // `evm_setAutomine` may have taken over in the meantime.
            if matches!(ledger.options.mining, Mining::Every(_)) {
                ledger.mine();
            }
        });
    }
}

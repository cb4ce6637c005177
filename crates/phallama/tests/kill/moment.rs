//! The moments of a settlement at which a crash leaves something different behind, found from
//! outside: between the pod and the chain.

use phallama_devchain::{DevChain, FaultyRpc, Hold, Moment as Way};
use serde_json::json;

/// How far a settlement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The pod asks what the transaction would cost; nothing is signed.
    BeforeSigning,
    /// The signed transaction has left the pod and reaches nobody.
    Signed,
    /// The node has it, and no block does.
    Sent,
    /// It is in a block, and the pod was not told.
    MinedNotSeen,
    /// The pod has its receipt, and has noted nothing.
    SeenNotStored,
}

impl Moment {
    pub(crate) const ALL: [Self; 5] =
        [Self::BeforeSigning, Self::Signed, Self::Sent, Self::MinedNotSeen, Self::SeenNotStored];

    /// Holds the pod's next settlement here. `settle` makes it begin.
    pub(crate) async fn reached(
        self,
        rpc: &FaultyRpc,
        chain: &DevChain,
        settle: impl FnOnce(),
    ) -> Hold {
        let mut hold = match self {
            Self::BeforeSigning => rpc.hold("eth_estimateGas", Way::BeforeForwarding),
            Self::Signed => rpc.hold("eth_sendRawTransaction", Way::BeforeForwarding),
            Self::Sent => {
                let stopped = chain.request("evm_setAutomine", json!([false]));
                stopped.expect("a development chain waits");
                rpc.hold("eth_sendRawTransaction", Way::BeforeAnswering)
            }
            Self::MinedNotSeen => rpc.hold("eth_getTransactionReceipt", Way::BeforeForwarding),
            Self::SeenNotStored => rpc.hold("eth_getTransactionReceipt", Way::BeforeAnswering),
        };
        settle();
        hold.arrived().await;
        if self == Self::SeenNotStored {
            let mut next = rpc.hold("eth_call", Way::BeforeForwarding);
            hold.release();
            next.arrived().await;
            return next;
        }
        hold
    }

    /// What the node held back is mined.
    pub(crate) fn over(chain: &DevChain) {
        for (method, params) in [("evm_setAutomine", json!([true])), ("evm_mine", json!([]))] {
            chain.request(method, params).expect("a development chain mines");
        }
    }
}

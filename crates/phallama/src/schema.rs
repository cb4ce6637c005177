//! What programs read: the names of the objects that `--json` prints.
//!
//! Each has a schema in `docs/reference/schemas/`. A field may be added to an object at any time;
//! when one is taken away or changes its meaning, the number in its name goes up.

use serde_json::Value;

macro_rules! schemas {
    ($($variant:ident = $name:literal,)*) => {
        /// A kind of object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "each says its name, and its schema says the rest")]
        pub enum Schema {
            $($variant,)*
        }

        impl Schema {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, and that of its file in `docs/reference/schemas/`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

schemas! {
    Balance = "balance",
    Collected = "pod-collect",
    Config = "config",
    ConfigValue = "config-get",
    Dispute = "dispute",
    Disputes = "disputes",
    Doctor = "doctor",
    Drained = "pod-drain",
    Earnings = "pod-earnings",
    Error = "error",
    Exit = "exit",
    Forgiven = "forgiven",
    Init = "init",
    Launch = "launch",
    LaunchApps = "launch-list",
    LaunchRestored = "launch-restore",
    Limits = "limits",
    Model = "show",
    Models = "list",
    PlannedCalls = "dry-run",
    PlannedClose = "dry-run-close",
    PodCheck = "pod-check",
    PodModel = "pod-model",
    PodModelRemoved = "pod-model-removed",
    PodModels = "pod-models",
    PodStatus = "pod-status",
    Pods = "pods",
    Ps = "ps",
    Pull = "pull",
    Receipt = "receipt",
    Receipts = "receipts",
    ReceiptsChecked = "receipts-check",
    ReceiptsExport = "receipts-export",
    Run = "run",
    Sent = "sent",
    Settled = "pod-settle",
    SharedMachine = "pod-share-machine",
    Signed = "signed",
    Status = "status",
    Stop = "stop",
    Tokens = "tokens",
    Trust = "trust",
    Wallet = "wallet",
    Wallets = "wallets",
}

impl Schema {
    /// The object with its name: `"schema": "phallama.balance.1"`.
    pub fn stamp(self, mut object: Value) -> Value {
        object["schema"] = format!("phallama.{}.1", self.name()).into();
        object
    }
}

//! The untrusted half of a pod: public HTTP, chain watcher, locks, settlement.
//!
//! A pod is an enclave that answers and a host that does everything else. The host sees ciphertext,
//! vouchers and claims, all of which may be public; it can delay or drop, and what it tells its
//! enclave about deposits costs only itself, because the contract pays the lesser. So nothing here
//! protects users; everything here protects the operator's earnings and the machine:
//!
//! 1. [`Pod::start`] starts the enclave program ([`enclave`]), waits for it, has the registry
//!    verify its quote ([`attestation`], with [`collateral`] from Intel) and serves four routes;
//! 2. a sealed request goes to the enclave as it is, over a connection of its own ([`exchange`]);
//!    the enclave asks whether it is paid for, and the [`gate`] answers by the table of
//!    [`admission`];
//! 3. a new allocation is locked in the escrow together with others that came at the same time
//!    ([`locks`]); up to the credit limit the answer does not wait for that;
//! 4. each claim is on disk before the answer's last frame leaves ([`journal`]);
//! 5. claims become the pod's credit in batches ([`settlement`]): when enough has gathered, when
//!    one is old, when a user is leaving, at shutdown.
//!
//! The operator asks a running pod over a socket of its own ([`admin`]); what transactions paid and
//! cost is in the [`books`], and a monitoring system reads [`metrics`].
//!
//! A restarted enclave has a new identity; it is attested, and what the former one claimed is
//! settled with the signatures that the journal kept. A chain that does not answer is risked up to
//! a cap. A journal that cannot store pauses paid work.

pub mod admin;
pub mod admission;
pub mod attestation;
pub mod books;
pub mod collateral;
pub mod config;
pub mod earnings;
pub mod enclave;
pub mod exchange;
pub mod gate;
pub mod http;
pub mod journal;
pub mod locks;
pub mod metrics;
pub mod models;
pub mod reserves;
pub mod settlement;
pub mod status;
pub mod view;

mod clock;
mod error;
mod money;
mod places;
mod pod;
mod private;
mod progress;
mod registration;
mod watcher;
mod wei;

#[cfg(test)]
mod testing;

pub use config::PodConfig;
pub use error::{EnclaveError, PodError, SettleError};
pub use pod::Pod;
pub use progress::PodProgress;
pub use settlement::Settlement;
pub use status::{Health, PodStatus};

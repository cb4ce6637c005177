//! Collateral: Intel's signed statements about a platform, which its quotes are judged with.
//!
//! Four items make a set: TCB information and quoting-enclave identity (signed JSON), and the
//! revocation lists of the PCK certificates' CA and of the root (signed DER). They come from
//! caching services that speak Intel's PCS API, version 4 ([`Endpoint`]), one after the other
//! until one gives an item that [`judge`](judge()) finds signed under the root, about this
//! platform, and valid now. What was found is kept on disk ([`Cache`]); it is asked for again every
//! day, and used until its own next update when nobody answers ([`CollateralSource`]).
//!
//! The host trusts none of the services. Neither does anybody trust the host with this: the
//! contract and every client check the same signatures. A service that lies is skipped so that the
//! pod keeps working, and named so that its operator hears of it.

mod cache;
mod certificate;
mod endpoint;
mod fault;
mod item;
mod judge;
mod source;

#[cfg(test)]
pub(crate) mod tests;

pub use cache::Cache;
pub use certificate::root_distribution_point;
pub use endpoint::{Endpoint, HttpLimits};
pub use fault::Fault;
pub use item::{Document, Item, PckCa, Wanted};
pub use judge::{Window, judge};
pub use source::{CollateralError, CollateralSet, CollateralSource, Held, Remark, Tried};

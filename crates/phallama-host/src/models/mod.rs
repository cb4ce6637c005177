//! Model files on the pod's machine: fetched, checked, kept by digest.
//!
//! Fetching is the untrusted host's work: it may bring what it likes, because the enclave hashes
//! and checks each file itself before a worker sees it. So this module protects the operator, not
//! users: from half files and changed ones, from servers that point into the operator's own network
//! ([`address`]), and from names that become paths. Nothing that a server says is ever part of a
//! path: files are named by the SHA-256 of their content or of their URL, and names of models are
//! values in an index.
//!
//! 1. [`Source::parse`] reads what the operator typed: a URL, or a model of a registry;
//! 2. of a registry, the [`manifest`] names the blob with its digest and size;
//! 3. [`fetch`] gets the bytes, going on where an earlier try was cut;
//! 4. the [`ModelStore`] checks the digest and gives the file its name.

pub mod address;
pub mod fetch;
pub mod manifest;

mod digests;
mod error;
mod partial;
mod source;
mod store;
#[cfg(test)]
mod tests;

pub use digests::file_digest;
pub use error::ModelError;
pub use fetch::{FetchPolicy, FetchProgress};
pub use source::{Reference, Source};
pub use store::{ModelStore, Removed, StoredModel};

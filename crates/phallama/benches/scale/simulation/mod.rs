//! A network of pods and users over a day, under the policies that pods and clients really have.
//!
//! What decides is called, not imitated: [`decide`](phallama_host::admission::decide) for every
//! request, [`Due`](phallama_host::settlement::Due) and [`Plan`](phallama_host::settlement::Plan)
//! for settlements, [`lock_size`](phallama_client::lock_size) for
//! allocations, [`Offer`](phallama_protocol::offers::Offer) for costs and reserves, each with its
//! defaults. Gas is what the snapshots and `docs/figures.json` say. The same seed gives the same
//! day.

pub(crate) mod chain;
pub(crate) mod exodus;
pub(crate) mod gas;
pub(crate) mod market;
pub(crate) mod population;
pub(crate) mod rng;
pub(crate) mod sybil;
pub(crate) mod world;

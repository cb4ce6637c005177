//! Collateral from services that work, fail and lie, over real HTTP on this machine.

mod fixture;
mod intel;
mod lies;
mod outages;

pub(crate) use fixture::{DAY, NOW, Service, fresh, source};

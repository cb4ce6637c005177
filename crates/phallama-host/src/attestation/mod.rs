//! A platform before the registry: what is judged here first, and what the contract is brought.
//!
//! The contract verifies quotes itself and believes no host, so nothing here is a check that users
//! rely on. It saves the operator gas and riddles: a platform that would be refused is refused
//! here, in words ([`Refusal`]); collateral that the contract has is not brought again
//! ([`missing`]).

mod appraisal;
mod bringing;
mod keeper;
mod quote;
mod refusal;
mod trial;

#[cfg(test)]
mod tests;

pub use appraisal::{Appraisal, appraise};
pub use bringing::{Bring, Bringing, bring, collateral_keys, missing};
pub use keeper::no_collateral;
pub(crate) use keeper::{CollateralKeeper, collateral_file};
pub use quote::{PlatformQuote, Root};
pub use refusal::{Refusal, RefusalKind, RefusedBy};
pub(crate) use refusal::{machine_taken, of_contract};
pub use trial::{Trial, try_evidence};

//! The families of cases.

mod certificates;
mod framing;
mod json;
mod platforms;
mod quotes;
mod real;
mod revocation;
mod signatures;
mod signed;
mod statuses;
mod times;

use crate::run::Family;

/// All families.
pub(crate) fn all() -> Vec<Family> {
    let families = [
        real::families(),
        times::families(),
        quotes::families(),
        framing::families(),
        signed::families(),
        platforms::families(),
        statuses::families(),
        json::families(),
        certificates::families(),
        revocation::families(),
        signatures::families(),
    ];
    families.into_iter().flatten().collect()
}

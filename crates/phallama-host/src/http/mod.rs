//! The public side: five routes, small limits, nothing in clear.

mod routes;
mod server;
mod stall;

pub(crate) use routes::Front;
pub use server::{Server, ServerLimits};

#[cfg(test)]
mod tests;

//! The chain client against real nodes over HTTP: every body runs on the embedded development chain
//! and again on `anvil`. Where `anvil` is not installed, stderr says what was not tested.

// Clippy takes only the functions marked as tests for tests.
#![allow(clippy::unwrap_used)]

mod attesting;
mod bringing;
mod connecting;
mod endpoints;
mod gas;
mod leaving;
mod listing;
mod node;
mod nonces;
mod paying;
mod platform;
mod rejecting;
mod reorganising;
mod restarting;
mod reverting;
mod stage;
mod stuck;
mod world;

/// Makes two tests of each body `async fn name(node: Node)`.
macro_rules! on_both_chains {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::node::Node::embedded()).await;
            })*
        }
        mod anvil {
            $(#[tokio::test]
            async fn $name() {
                if let Some(node) = crate::node::Node::anvil(stringify!($name)) {
                    super::$name(node).await;
                }
            })*
        }
    };
}
pub(crate) use on_both_chains;

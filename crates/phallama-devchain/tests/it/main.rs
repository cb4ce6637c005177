//! The chain seen from outside: through `request`, over HTTP, through alloy, beside `anvil`.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    clippy::wildcard_imports,
    reason = "test code: fresh `json!` values, failures that should panic, one shared vocabulary"
)]

#[cfg(feature = "alloy")]
mod alloy_client;
mod blocks;
mod calls;
mod control;
mod faulty;
mod foundry;
mod http;
mod logs;
mod pool;
mod sending;
mod speed;
mod support;

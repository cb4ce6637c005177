//! The command line, and the local OpenAI- and Ollama-compatible server.
//!
//! Everything a user types ends in [`command::run`]; everything an app asks ends in [`server`].
//! This is the only crate that prints.

pub mod cli;
pub mod clock;
pub mod command;
pub mod context;
pub mod error;
pub mod home;
pub mod print;
pub mod schema;
pub mod server;
pub mod settings;
pub mod signal;
pub mod tokens;
pub mod units;

mod notify;

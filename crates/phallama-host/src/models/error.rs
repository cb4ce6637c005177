use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use phallama_protocol::ids::Digest32;
use phallama_protocol::offers::ModelNameError;

/// Why a model is not added, found or removed.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file or directory of the store cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The index is not one.
    #[error("the index {} is damaged: {reason}; move it away and add the models again", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// What was typed is neither a URL nor a model of a registry.
    #[error("`{got}` names no model: {problem}")]
    Source {
        /// What was typed.
        got: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A name under which no model can be offered.
    #[error("`{got}` is no name for a model: {source}")]
    Name {
        /// The name.
        got: String,
        /// What is wrong with it.
        source: ModelNameError,
    },
    /// No model of that name is in the store.
    #[error("no model `{name}` is in the store; it has {}", listed(known))]
    Unknown {
        /// The name.
        name: String,
        /// Those that are.
        known: Vec<String>,
    },
    /// A URL that is not followed.
    #[error("{url} is not fetched: {problem}")]
    Url {
        /// The URL, without its query.
        url: String,
        /// Why.
        problem: &'static str,
    },
    /// A server, or a redirect, that leads into a private network.
    #[error(
        "{host} is not fetched: {address} is not a public address, and what answers there may be \
         nobody's business but yours"
    )]
    PrivateAddress {
        /// The host that was asked for.
        host: String,
        /// Where it leads.
        address: IpAddr,
    },
    /// Too many redirects.
    #[error("{url} was redirected more than {max} times")]
    Redirects {
        /// The first URL.
        url: String,
        /// The limit.
        max: usize,
    },
    /// No connection, or it broke.
    #[error("{url} does not answer: {reason}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What the transport says.
        reason: String,
    },
    /// The connection broke before everything had come.
    #[error("{url} broke off after {got_bytes} bytes: {reason}")]
    Cut {
        /// The URL.
        url: String,
        /// Bytes that are on disk.
        got_bytes: u64,
        /// What the transport says.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("{url} sent nothing for {after_s} s")]
    Stalled {
        /// The URL.
        url: String,
        /// How long, seconds.
        after_s: u64,
    },
    /// The server refuses.
    #[error("{url} answers with HTTP status {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// An answer that is none to what was asked.
    #[error("{url} answers wrongly: {problem}")]
    Answer {
        /// The URL.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// More than may be fetched.
    #[error("{url} has {got_bytes} bytes, at most {max_bytes} are fetched")]
    TooLarge {
        /// The URL.
        url: String,
        /// Its size, or what came before it was cut.
        got_bytes: u64,
        /// The limit.
        max_bytes: u64,
    },
    /// Another size than was stated.
    #[error("{url} has {got_bytes} bytes, expected {expected_bytes}")]
    Size {
        /// The URL.
        url: String,
        /// Its size.
        got_bytes: u64,
        /// What the manifest or an earlier answer said.
        expected_bytes: u64,
    },
    /// Another file than was named.
    #[error("{url} has SHA-256 {got}, expected {expected}; it was not kept")]
    Digest {
        /// Where it came from.
        url: String,
        /// Its digest.
        got: Digest32,
        /// The digest that was named.
        expected: Digest32,
    },
    /// A manifest that does not name one model.
    #[error("the manifest {url} is not usable: {problem}")]
    Manifest {
        /// The manifest.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// Not enough space.
    #[error("{} has {free_bytes} bytes free, {needed_bytes} are needed", path.display())]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes to come, with a margin.
        needed_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
    },
    /// Not a GGUF file.
    #[error("{from} is no GGUF file: it begins with {:?}", begins.escape_ascii().to_string())]
    NotGguf {
        /// Where it came from.
        from: String,
        /// Its first bytes.
        begins: Vec<u8>,
    },
}

impl ModelError {
    /// Whether it is a server's doing, and not the operator's or this machine's.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Redirects { .. }
            | Self::Unreachable { .. }
            | Self::Cut { .. }
            | Self::Stalled { .. }
            | Self::Status { .. }
            | Self::Answer { .. }
            | Self::TooLarge { .. }
            | Self::Size { .. }
            | Self::Digest { .. }
            | Self::Manifest { .. } => true,
            Self::File { .. }
            | Self::Index { .. }
            | Self::Source { .. }
            | Self::Name { .. }
            | Self::Unknown { .. }
            | Self::Url { .. }
            | Self::PrivateAddress { .. }
            | Self::NoSpace { .. }
            | Self::NotGguf { .. } => false,
        }
    }

    /// Whether the same request may be answered in a moment.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 416 | 429 | 500..=599),
            _ => false,
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

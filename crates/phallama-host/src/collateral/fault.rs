//! What can be wrong with a collateral service, or with what it serves.

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection, or it broke.
    #[error("does not answer: {reason}")]
    Unreachable {
        /// What the transport said.
        reason: String,
    },
    /// It took too long.
    #[error("did not answer within {within_ms} ms")]
    TimedOut {
        /// How long it had, in milliseconds.
        within_ms: u64,
    },
    /// It refused.
    #[error("answered with HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// It points elsewhere. That is not followed: only configured services are asked.
    #[error("redirects to {to}, which is not followed")]
    Redirected {
        /// Its `Location`.
        to: String,
    },
    /// More than an item can be.
    #[error("sent more than {max_bytes} bytes")]
    TooLarge {
        /// The limit, in bytes.
        max_bytes: usize,
    },
    /// The certificates that go with an item are not in the answer's headers.
    #[error("sent no `{header}` header")]
    NoIssuerChain {
        /// The header.
        header: &'static str,
    },
    /// Not the structure that the API defines.
    #[error("sent something malformed: {detail}")]
    Malformed {
        /// What is wrong.
        detail: String,
    },
    /// An item about something else.
    #[error("sent the {what} of {got} instead of {expected}")]
    Other {
        /// e.g. `TCB information`.
        what: &'static str,
        /// What was asked for.
        expected: String,
        /// What came.
        got: String,
    },
    /// The chain ends in another root.
    #[error(
        "sent certificates of another root: SHA-256 {}, expected {}",
        hex::encode(got_sha256),
        hex::encode(expected_sha256)
    )]
    OtherRoot {
        /// SHA-256 of the root certificate that the registry's verifier pins.
        expected_sha256: [u8; 32],
        /// SHA-256 of the last certificate sent.
        got_sha256: [u8; 32],
    },
    /// A signature does not verify.
    #[error("sent the {what} with a signature that does not verify")]
    BadSignature {
        /// e.g. `TCB information`.
        what: &'static str,
    },
    /// From the future.
    #[error(
        "sent the {what} that is valid from unix time {from_unix_s}, later than now ({now_unix_s})"
    )]
    NotYetValid {
        /// e.g. `TCB information`.
        what: &'static str,
        /// First second of validity.
        from_unix_s: u64,
        /// Now.
        now_unix_s: u64,
    },
    /// Too old.
    #[error("sent the {what} that expired at unix time {end_unix_s}, and now is {now_unix_s}")]
    Expired {
        /// e.g. `TCB information`.
        what: &'static str,
        /// First second at which it is no longer valid.
        end_unix_s: u64,
        /// Now.
        now_unix_s: u64,
    },
    /// Valid, but older than what is held already.
    #[error("sent an older item: issued at unix time {offered_unix_s}, held is {held_unix_s}")]
    Older {
        /// Issue date of the item on disk.
        held_unix_s: u64,
        /// Issue date of the item sent.
        offered_unix_s: u64,
    },
}

impl Fault {
    pub(super) fn malformed(error: impl std::fmt::Display) -> Self {
        Self::Malformed { detail: error.to_string() }
    }
}

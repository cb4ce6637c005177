//! Why a call is refused, with what the contract says about it.

use phallama_protocol::ids::{Address, PodId};

/// The escrow's errors.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Named and described in contracts/src/interfaces/IEscrow.sol.
pub enum Refusal {
    ZeroOwner,
    AlreadyOpen {
        user: Address,
        owner: Address,
    },
    NotOpen {
        user: Address,
    },
    NotOwner {
        user: Address,
        owner: Address,
        caller: Address,
    },
    WrongSigner {
        expected: Address,
        recovered: Address,
    },
    IdentityNotAccepted {
        pod: PodId,
        identity: Address,
        good_until_unix_s: u64,
    },
    PermitRefused {
        reason: TokenRefusal,
    },
    NothingArrived,
    FreeTooLarge {
        user: Address,
        free: u128,
        added: u128,
    },
    InsufficientFree {
        user: Address,
        free: u128,
        asked: u128,
    },
    WrongNonce {
        current: u64,
        got: u64,
    },
    Expired {
        deadline_unix_s: u64,
        now_unix_s: u64,
    },
    NoRows,
    WrongEpoch {
        current: u32,
        got: u32,
    },
    ExitRunning {
        exit_at_unix_s: u64,
    },
    NoExit {
        user: Address,
        pod: PodId,
    },
    ExitTooEarly {
        exit_at_unix_s: u64,
        now_unix_s: u64,
    },
    NothingToCollect {
        pod: PodId,
    },
    /// The token's own.
    Token(TokenRefusal),
}

/// The token's errors, as far as the escrow passes them on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Named and described in contracts/src/TestToken.sol.
pub enum TokenRefusal {
    /// Whatever stops a pull: the library that makes it says no more.
    TransferFromFailed,
    InsufficientBalance,
    PermitExpired,
    InvalidPermit,
    OutsideOfTime {
        valid_after_unix_s: u64,
        valid_before_unix_s: u64,
        now_unix_s: u64,
    },
    /// The nonce of this account and salt.
    NonceUsed {
        authorizer: Address,
        user: Address,
        salt: [u8; 32],
    },
    WrongSigner {
        expected: Address,
        recovered: Address,
    },
}

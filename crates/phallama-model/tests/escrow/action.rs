//! One call, with everything that it needs: a sequence of them can be cut and run again.

// `claimed` is the row's own word for it.
#![allow(clippy::struct_field_names)]

use crate::party::{Key, Sig};

/// A call to the escrow or its token, or the passing of time. Amounts are in the token's smallest
/// unit, times in seconds since 1970, pods are places in `PODS`.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Warp {
        seconds: u64,
    },
    SetKey {
        pod: usize,
        identity: Key,
        good_until: u64,
    },
    Mint {
        to: Key,
        amount: u128,
    },
    Approve {
        by: Key,
        amount: u128,
    },
    Donate {
        by: Key,
        amount: u128,
    },
    Open(Opening),
    Deposit {
        caller: Key,
        user: Key,
        amount: u128,
        open: Option<Opening>,
    },
    DepositWithPermit {
        caller: Key,
        user: Key,
        permit: SignedPermit,
        open: Option<Opening>,
    },
    DepositWithAuthorization {
        caller: Key,
        user: Key,
        paid: Paid,
        open: Option<Opening>,
    },
    Withdraw {
        caller: Key,
        user: Key,
        amount: u128,
    },
    WithdrawFor {
        user: Key,
        amount: u128,
        nonce: u64,
        deadline: u64,
        sig: Sig,
    },
    Lock {
        pod: usize,
        rows: Vec<Allocated>,
    },
    /// `tail`: bytes after the last whole row.
    Settle {
        pod: usize,
        rows: Vec<Claimed>,
        tail: usize,
        sig: Sig,
    },
    SettleReceipts {
        pod: usize,
        rows: Vec<Receipted>,
    },
    StartExit {
        caller: Key,
        user: Key,
        pod: usize,
    },
    StartExitFor {
        pod: usize,
        epoch: u32,
        sig: Sig,
    },
    FinishExit {
        user: Key,
        pod: usize,
    },
    Close {
        caller: Key,
        user: Key,
        pod: usize,
        closing: Closing,
    },
    CloseFor {
        user: Key,
        pod: usize,
        epoch: u32,
        closing: Closing,
        user_sig: Sig,
    },
    Collect {
        pod: usize,
    },
}

/// `OpenAccount`; `owner: None` is the zero address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) user: Key,
    pub(crate) owner: Option<Key>,
    pub(crate) sig: Sig,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedPermit {
    pub(crate) amount: u128,
    pub(crate) deadline: u64,
    pub(crate) sig: Sig,
}

/// An EIP-3009 authorization, signed for the account of `signed_for`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paid {
    pub(crate) from: Key,
    pub(crate) amount: u128,
    pub(crate) after: u64,
    pub(crate) before: u64,
    pub(crate) salt: u8,
    pub(crate) signed_for: Key,
    pub(crate) sig: Sig,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Allocated {
    pub(crate) total: u128,
    pub(crate) epoch: u32,
    pub(crate) deadline: u64,
    pub(crate) sig: Sig,
}

/// A settle row; the voucher is signed for `names`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claimed {
    pub(crate) cap: u128,
    pub(crate) claimed: u128,
    pub(crate) epoch: u32,
    pub(crate) names: Key,
    pub(crate) sig: Sig,
}

/// A row with its own settlement, made for the channel of `settles`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipted {
    pub(crate) row: Claimed,
    pub(crate) identity: Key,
    pub(crate) seq: u64,
    pub(crate) settles: Key,
    pub(crate) settlement: Sig,
}

/// `Close`, signed for `epoch`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closing {
    pub(crate) cumulative: u128,
    pub(crate) epoch: u32,
    pub(crate) sig: Sig,
}

impl Action {
    /// For counting.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Warp { .. } => "warp",
            Self::SetKey { .. } => "set key",
            Self::Mint { .. } => "mint",
            Self::Approve { .. } => "approve",
            Self::Donate { .. } => "donate",
            Self::Open(_) => "open",
            Self::Deposit { open: None, .. } => "deposit",
            Self::Deposit { .. } => "openAndDeposit",
            Self::DepositWithPermit { open: None, .. } => "depositWithPermit",
            Self::DepositWithPermit { .. } => "openAndDepositWithPermit",
            Self::DepositWithAuthorization { open: None, .. } => "depositWithAuthorization",
            Self::DepositWithAuthorization { .. } => "openAndDepositWithAuthorization",
            Self::Withdraw { .. } => "withdraw",
            Self::WithdrawFor { .. } => "withdrawFor",
            Self::Lock { .. } => "lock",
            Self::Settle { .. } => "settle",
            Self::SettleReceipts { .. } => "settleReceipts",
            Self::StartExit { .. } => "startExit",
            Self::StartExitFor { .. } => "startExitFor",
            Self::FinishExit { .. } => "finishExit",
            Self::Close { .. } => "close",
            Self::CloseFor { .. } => "closeFor",
            Self::Collect { .. } => "collect",
        }
    }
}

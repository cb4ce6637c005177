//! The model's words in the contract's encoding: refusals, events, storage.

use std::collections::BTreeMap;

use alloy::primitives::aliases::{U24, U40};
use alloy::primitives::{Address as A, B256, Bytes, LogData, U256, keccak256};
use alloy::sol_types::{SolError, SolEvent, SolValue};
use phallama_model::escrow::{EscrowModel, Event, Refusal, TokenRefusal};
use phallama_protocol::ids::{Address, PodId};

/// Generated code: its style is not ours.
#[allow(missing_docs, clippy::pedantic, unreachable_pub, dead_code)]
mod generated {
    alloy::sol!(Escrow, "../../contracts/artifacts/Escrow.json");
    alloy::sol!(TestToken, "../../contracts/artifacts/TestToken.json");
    pub mod library {
        alloy::sol! {
            error TransferFromFailed();
        }
    }
}

pub(crate) use generated::Escrow as E;
pub(crate) use generated::TestToken as T;
use generated::library::TransferFromFailed;

pub(crate) fn a(address: Address) -> A {
    A::from(address.0)
}

pub(crate) fn pod(pod: PodId) -> B256 {
    B256::from(pod.0)
}

fn u(units: u128) -> U256 {
    U256::from(units)
}

/// `depositNonce(user, salt)`, as the page gives it.
pub(crate) fn deposit_nonce(user: Address, salt: [u8; 32]) -> B256 {
    let kind = keccak256("Deposit(address user,bytes32 salt)");
    keccak256((kind, a(user), B256::from(salt)).abi_encode())
}

/// The bytes that the contract reverts with.
pub(crate) fn refusal(refusal: &Refusal) -> Vec<u8> {
    match *refusal {
        Refusal::ZeroOwner => E::ZeroOwner {}.abi_encode(),
        Refusal::AlreadyOpen { user, owner } => {
            E::AlreadyOpen { user: a(user), owner: a(owner) }.abi_encode()
        }
        Refusal::NotOpen { user } => E::NotOpen { user: a(user) }.abi_encode(),
        Refusal::NotOwner { user, owner, caller } => {
            E::NotOwner { user: a(user), owner: a(owner), caller: a(caller) }.abi_encode()
        }
        Refusal::WrongSigner { expected, recovered } => {
            E::WrongSigner { expected: a(expected), recovered: a(recovered) }.abi_encode()
        }
        Refusal::IdentityNotAccepted { pod: id, identity, good_until_unix_s } => {
            let goodUntil = U256::from(good_until_unix_s);
            E::IdentityNotAccepted { podId: pod(id), identity: a(identity), goodUntil }.abi_encode()
        }
        Refusal::PermitRefused { ref reason } => {
            E::PermitRefused { reason: token(reason).into() }.abi_encode()
        }
        Refusal::NothingArrived => E::NothingArrived {}.abi_encode(),
        Refusal::FreeTooLarge { user, free, added } => {
            E::FreeTooLarge { user: a(user), free: u(free), added: u(added) }.abi_encode()
        }
        Refusal::InsufficientFree { user, free, asked } => {
            E::InsufficientFree { user: a(user), free: u(free), asked: u(asked) }.abi_encode()
        }
        Refusal::WrongNonce { current, got } => {
            E::WrongNonce { current: U256::from(current), got: U256::from(got) }.abi_encode()
        }
        Refusal::Expired { deadline_unix_s, now_unix_s } => {
            let deadline = U256::from(deadline_unix_s);
            E::Expired { deadline, timestamp: U256::from(now_unix_s) }.abi_encode()
        }
        Refusal::NoRows => E::NoRows {}.abi_encode(),
        ref late => channel_refusal(late),
    }
}

fn channel_refusal(refusal: &Refusal) -> Vec<u8> {
    match *refusal {
        Refusal::WrongEpoch { current, got } => {
            E::WrongEpoch { current: U24::from(current), got: U24::from(got) }.abi_encode()
        }
        Refusal::ExitRunning { exit_at_unix_s } => {
            E::ExitRunning { exitAt: U40::from(exit_at_unix_s) }.abi_encode()
        }
        Refusal::NoExit { user, pod: id } => {
            E::NoExit { user: a(user), podId: pod(id) }.abi_encode()
        }
        Refusal::ExitTooEarly { exit_at_unix_s, now_unix_s } => {
            let timestamp = U256::from(now_unix_s);
            E::ExitTooEarly { exitAt: U40::from(exit_at_unix_s), timestamp }.abi_encode()
        }
        Refusal::NothingToCollect { pod: id } => {
            E::NothingToCollect { podId: pod(id) }.abi_encode()
        }
        Refusal::Token(ref refusal) => token(refusal),
        ref early => unreachable!("{early:?} is encoded before"),
    }
}

fn token(refusal: &TokenRefusal) -> Vec<u8> {
    match *refusal {
        TokenRefusal::TransferFromFailed => TransferFromFailed {}.abi_encode(),
        TokenRefusal::InsufficientBalance => T::InsufficientBalance {}.abi_encode(),
        TokenRefusal::PermitExpired => T::PermitExpired {}.abi_encode(),
        TokenRefusal::InvalidPermit => T::InvalidPermit {}.abi_encode(),
        TokenRefusal::OutsideOfTime { valid_after_unix_s, valid_before_unix_s, now_unix_s } => {
            T::OutsideOfTime {
                validAfter: U256::from(valid_after_unix_s),
                validBefore: U256::from(valid_before_unix_s),
                timestamp: U256::from(now_unix_s),
            }
            .abi_encode()
        }
        TokenRefusal::NonceUsed { authorizer, user, salt } => {
            T::NonceUsed { authorizer: a(authorizer), nonce: deposit_nonce(user, salt) }
                .abi_encode()
        }
        TokenRefusal::WrongSigner { expected, recovered } => {
            T::WrongSigner { expected: a(expected), recovered: a(recovered) }.abi_encode()
        }
    }
}

/// The log that the contract writes.
pub(crate) fn event(event: &Event) -> LogData {
    let count = |rows: usize| U256::from(rows);
    match event.clone() {
        Event::AccountOpened { user, owner } => {
            E::AccountOpened { user: a(user), owner: a(owner) }.encode_log_data()
        }
        Event::Deposited { user, payer, amount } => {
            E::Deposited { user: a(user), payer: a(payer), amount: u(amount) }.encode_log_data()
        }
        Event::Withdrawn { user, owner, amount } => {
            E::Withdrawn { user: a(user), owner: a(owner), amount: u(amount) }.encode_log_data()
        }
        Event::Locked { pod: id, moved, rows, skipped } => {
            let (podId, skipped) = (pod(id), Bytes::from(skipped));
            E::Locked { podId, moved: u(moved), rows: count(rows), skipped }.encode_log_data()
        }
        Event::Settled { pod: id, paid, rows, skipped } => {
            let (podId, skipped) = (pod(id), Bytes::from(skipped));
            E::Settled { podId, paid: u(paid), rows: count(rows), skipped }.encode_log_data()
        }
        Event::ExitStarted { user, pod: id, epoch, exit_at_unix_s } => {
            let (epoch, exitAt) = (U24::from(epoch), U40::from(exit_at_unix_s));
            E::ExitStarted { user: a(user), podId: pod(id), epoch, exitAt }.encode_log_data()
        }
        Event::ExitFinished { user, pod: id, new_epoch, refund } => {
            let (newEpoch, refund) = (U24::from(new_epoch), u(refund));
            E::ExitFinished { user: a(user), podId: pod(id), newEpoch, refund }.encode_log_data()
        }
        Event::Closed { user, pod: id, new_epoch, paid, refund } => {
            let (newEpoch, paid, refund) = (U24::from(new_epoch), u(paid), u(refund));
            E::Closed { user: a(user), podId: pod(id), newEpoch, paid, refund }.encode_log_data()
        }
        Event::Collected { pod: id, payout, amount } => {
            E::Collected { podId: pod(id), payout: a(payout), amount: u(amount) }.encode_log_data()
        }
    }
}

/// Every word that the escrow must have stored, and none besides: one slot each for accounts,
/// channels, credits and withdrawal nonces.
pub(crate) fn storage(model: &EscrowModel) -> BTreeMap<U256, U256> {
    let slot = |key: B256, map: B256| keccak256([key, map].concat());
    let map = |index: u64| B256::from(U256::from(index));
    let mut words = BTreeMap::new();
    let mut put = |at: B256, word: U256| {
        if !word.is_zero() {
            words.insert(U256::from_be_bytes(at.0), word);
        }
    };
    for (user, account) in model.accounts() {
        let owner = U256::from_be_slice(&account.owner.0);
        put(slot(a(user).into_word(), map(0)), owner | (u(account.free) << 160));
    }
    for (user, id, channel) in model.channels() {
        let at = slot(a(user).into_word(), slot(pod(id), map(1)));
        let word = u(channel.locked)
            | (u(channel.claimed) << 96)
            | (U256::from(channel.exit_at_unix_s) << 192)
            | (U256::from(channel.epoch) << 232);
        put(at, word);
    }
    for (id, credit) in model.credits() {
        put(slot(pod(id), map(2)), u(credit));
    }
    for (user, nonce) in model.withdrawals() {
        put(slot(a(user).into_word(), map(3)), U256::from(nonce));
    }
    words
}

/// The name of the error in the bytes of a revert.
pub(crate) fn name(bytes: &[u8]) -> &'static str {
    let Some(selector) = bytes.first_chunk::<4>() else { return "nothing" };
    ERRORS.iter().find(|(known, _)| known == selector).map_or("unknown", |(_, name)| *name)
}

/// Every refusal that sequences must meet, by its selector. `TestToken.WrongSigner` has that of the
/// escrow's; the token's words about permits are inside `PermitRefused`; `Reentered` takes a token
/// that reenters, which contracts/test has.
pub(crate) const ERRORS: [([u8; 4], &str); 23] = [
    (E::ZeroOwner::SELECTOR, "ZeroOwner"),
    (E::AlreadyOpen::SELECTOR, "AlreadyOpen"),
    (E::NotOpen::SELECTOR, "NotOpen"),
    (E::NotOwner::SELECTOR, "NotOwner"),
    (E::WrongSigner::SELECTOR, "WrongSigner"),
    (E::IdentityNotAccepted::SELECTOR, "IdentityNotAccepted"),
    (E::PermitRefused::SELECTOR, "PermitRefused"),
    (E::NothingArrived::SELECTOR, "NothingArrived"),
    (E::FreeTooLarge::SELECTOR, "FreeTooLarge"),
    (E::InsufficientFree::SELECTOR, "InsufficientFree"),
    (E::WrongNonce::SELECTOR, "WrongNonce"),
    (E::Expired::SELECTOR, "Expired"),
    (E::NoRows::SELECTOR, "NoRows"),
    (E::RowsLength::SELECTOR, "RowsLength"),
    (E::WrongEpoch::SELECTOR, "WrongEpoch"),
    (E::ExitRunning::SELECTOR, "ExitRunning"),
    (E::NoExit::SELECTOR, "NoExit"),
    (E::ExitTooEarly::SELECTOR, "ExitTooEarly"),
    (E::NothingToCollect::SELECTOR, "NothingToCollect"),
    (TransferFromFailed::SELECTOR, "TransferFromFailed"),
    (T::InsufficientBalance::SELECTOR, "InsufficientBalance"),
    (T::OutsideOfTime::SELECTOR, "OutsideOfTime"),
    (T::NonceUsed::SELECTOR, "NonceUsed"),
];

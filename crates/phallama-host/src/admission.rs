//! May this request be served? One decision from what is known, without I/O and without a clock.
//!
//! The contract pays `min(claimed, cap, locked)`, so an answer is safe for the pod when its
//! reserve, on top of everything charged and in flight, is covered by what is locked at the chain's
//! `safe` head. What is not covered so is at risk, and served only within [`Limits`]:
//!
//! - no lock mined yet, while a valid allocation is on its way: `credit` per user, and no more
//!   than the account's free money at the safe head;
//! - lock mined, but not safe yet: `per_user`;
//! - both together, over all users: `total`. Whoever comes with a thousand accounts gets no more;
//! - the chain does not answer: what is left of the risk cap, on what was last read.
//!
//! The enclave checks the voucher's signature and the cap against its own books; nothing here
//! protects the user.

use phallama_chain::{Channel, LockRow};
use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::refusal::Code;

use crate::journal::Condition;
use crate::money::{minus, plus};

/// An allocation that may be late by the time its lock is mined is not worth the gas, in seconds.
pub const DEADLINE_MARGIN_S: u64 = 30;
/// A user whose free money is little has to allocate this part of it at a time: half of it is what
/// clients allocate by themselves.
const LOCK_SHARE: u128 = 8;
/// When a client should try again after a fault that passes, in milliseconds.
const RETRY_AFTER_MS: u32 = 2_000;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who pays.
    pub user: Address,
    /// Generation of the channel that the voucher names.
    pub epoch: u32,
    /// The voucher's cap.
    pub cap: Amount,
    /// The terms that the user agreed to.
    pub terms_hash: Digest32,
    /// Most that the answer can cost.
    pub reserve: Amount,
    /// What this enclave has charged in the channel, cumulative.
    pub charged: Amount,
    /// An allocation that came with the request.
    pub allocation: Option<Grant>,
}

/// An allocation as it would be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The row for the contract; its epoch and terms are the request's.
    pub row: LockRow,
    /// Who signed it; `None` when the signature recovers to nobody.
    pub signer: Option<Address>,
}

/// Whether what is known of the chain is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The chain answered a moment ago.
    Current,
    /// The chain does not answer; reserves up to `room` may still be risked on what was last read.
    Behind {
        /// What is left of the risk cap.
        room: Amount,
    },
}

/// Most that may be at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What one user may owe beyond what is locked, while a lock is on its way.
    pub credit: Amount,
    /// What one user may owe against a lock that is mined and not safe yet.
    pub per_user: Amount,
    /// What all users together may owe beyond what is locked for good.
    pub total: Amount,
    /// What an allocation adds at least to what is locked or about to be: each one costs the pod
    /// gas. Of little free money, a [`LOCK_SHARE`]th.
    pub lock_min: Amount,
}

/// What the host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Hash of what this pod sells.
    pub terms_hash: Digest32,
    /// Most that may be at risk.
    pub limits: Limits,
    /// Whether the journal can store claims.
    pub payments: Condition,
    /// Whether the chain's part of this is current.
    pub standing: Standing,
    /// Time, seconds since 1970.
    pub now_unix_s: u64,
    /// The account's money that is neither locked nor withdrawn.
    pub free: Amount,
    /// The part of it that no reorganisation of the chain takes back.
    pub safe_free: Amount,
    /// The user's channel with this pod.
    pub channel: Channel,
    /// What of its locked amount no reorganisation takes back, cumulative.
    pub safe_locked: Amount,
    /// What all other users have at risk.
    pub others_at_risk: Amount,
    /// Highest claim in the journal for this channel generation.
    pub claimed: Amount,
    /// Sum of the reserves of this user's open exchanges.
    pub in_flight: Amount,
    /// Total of an allocation already on its way to the chain.
    pub pending_lock: Option<Amount>,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Everything is covered by what is locked.
    Admit {
        /// Highest amount charged in this channel generation, as the host knows it.
        cumulative: Amount,
    },
    /// Served at once although a lock has yet to be mined.
    OnCredit {
        /// As above.
        cumulative: Amount,
        /// The lock to send, unless one that suffices is on its way.
        lock: Option<LockRow>,
    },
    /// The cap is too low, which is for the enclave to say. Nothing is reserved.
    CapTooLow {
        /// As above.
        cumulative: Amount,
    },
    /// Served when the lock is mined.
    AfterLock {
        /// The lock to send, unless one that suffices is on its way.
        lock: Option<LockRow>,
    },
    /// Not served.
    Deny(Denial),
}

/// Why a request is not served, as the enclave passes it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// One of the codes of spec/wire.md.
    pub code: Code,
    /// When to try again, in milliseconds; 0 when trying again does not help.
    pub retry_after_ms: u32,
    /// Highest amount charged in this channel generation, as the host knows it.
    pub cumulative: Amount,
    /// One sentence for the user, at most 200 bytes.
    pub message: String,
}

/// Decides. The rows are tried in order; the first that applies counts.
pub fn decide(ask: &Ask, facts: &Facts) -> Decision {
    let base = base(ask, facts);
    if let Some(denial) = refused_outright(ask, facts, base) {
        return Decision::Deny(denial);
    }
    let need = plus(plus(base, facts.in_flight), ask.reserve);
    let locked = facts.channel.locked;
    if let Standing::Behind { room } = facts.standing
        && (need > locked || ask.reserve > room)
    {
        return Decision::Deny(chain_behind(base));
    }
    // A cap that is too low is the enclave's to refuse, with an amount that the client can believe:
    // it only has to know the base. No lock is sent for such a request.
    if plus(base, ask.reserve) > ask.cap {
        return Decision::CapTooLow { cumulative: base };
    }
    let risk = at_risk(facts, need);
    if need <= locked {
        return match risk {
            Ok(()) => Decision::Admit { cumulative: base },
            Err((code, message)) => denied(code, RETRY_AFTER_MS, base, message),
        };
    }
    // Credit is for deposits that stay; a fresh one is served when its lock is mined.
    let credit = facts.limits.credit.min(facts.safe_free);
    match lock_for(ask, facts, need) {
        Ok(lock) if minus(need, locked) <= credit && risk.is_ok() => {
            Decision::OnCredit { cumulative: base, lock }
        }
        Ok(lock) => Decision::AfterLock { lock },
        Err((code, message)) => denied(code, 0, base, message),
    }
}

/// Highest amount charged in the channel's generation, whoever knows of it.
pub(crate) fn base(ask: &Ask, facts: &Facts) -> Amount {
    ask.charged.max(facts.claimed).max(facts.channel.claimed)
}

fn denied(code: Code, retry_after_ms: u32, cumulative: Amount, message: String) -> Decision {
    Decision::Deny(Denial { code, retry_after_ms, cumulative, message })
}

/// Whether `need` stays within what may be owed beyond what is locked for good.
fn at_risk(facts: &Facts, need: Amount) -> Result<(), (Code, String)> {
    let Limits { per_user, total, .. } = facts.limits;
    let exposure = minus(need, facts.safe_locked);
    let unsafe_lock = minus(need.min(facts.channel.locked), facts.safe_locked);
    if unsafe_lock > per_user {
        let message = format!(
            "{unsafe_lock} of what is locked is in blocks that the chain may still take back, the \
             pod risks {per_user}; try again when they are safe"
        );
        return Err((Code::LockNotSafe, message));
    }
    if exposure > Amount::ZERO && plus(facts.others_at_risk, exposure) > total {
        let message = "the pod has as much at risk as it may until more locks are safe; try again \
                       or use another pod"
            .to_owned();
        return Err((Code::RiskLimit, message));
    }
    Ok(())
}

/// What no amount of money would change.
fn refused_outright(ask: &Ask, facts: &Facts, base: Amount) -> Option<Denial> {
    let denial = |code, retry_after_ms, message: String| {
        Some(Denial { code, retry_after_ms, cumulative: base, message })
    };
    let unstored = match facts.payments {
        Condition::Storing => None,
        Condition::Paused => Some((RETRY_AFTER_MS, "at the moment")),
        Condition::Stopped => Some((0, "any more; use another pod")),
    };
    if let Some((retry_after_ms, when)) = unstored {
        let message = format!("the pod cannot store payments {when}; nothing is charged");
        return denial(Code::PaymentsPaused, retry_after_ms, message);
    }
    let (channel, got) = (facts.channel, ask.epoch);
    if channel.exit_at_unix_s != 0 {
        let message = "this account is leaving the pod; use another pod".to_owned();
        return denial(Code::ChannelExiting, 0, message);
    }
    if got != channel.epoch {
        let message =
            format!("the voucher is for epoch {got}, the channel is at {}", channel.epoch);
        return denial(Code::EpochMismatch, 0, message);
    }
    if ask.terms_hash != facts.terms_hash {
        let message = "the pod's prices have changed; read its offers again".to_owned();
        return denial(Code::TermsMismatch, 0, message);
    }
    None
}

/// Nobody can be paid by an account that was never opened.
pub(crate) fn not_open() -> Denial {
    Denial {
        code: Code::BalanceTooLow,
        retry_after_ms: 0,
        cumulative: Amount::ZERO,
        message: "this account is not open; make a deposit first".to_owned(),
    }
}

pub(crate) fn chain_behind(cumulative: Amount) -> Denial {
    Denial {
        code: Code::ChainBehind,
        retry_after_ms: RETRY_AFTER_MS,
        cumulative,
        message: "the pod's chain endpoint does not answer; try again or use another pod"
            .to_owned(),
    }
}

/// What an allocation has to add to be worth its lock.
fn least_addition(facts: &Facts) -> Amount {
    let share = Amount::new(facts.free.value() / LOCK_SHARE).unwrap_or_default();
    facts.limits.lock_min.min(share)
}

/// The lock that would cover `need`: one on its way (`None`), or the request's allocation.
fn lock_for(ask: &Ask, facts: &Facts, need: Amount) -> Result<Option<LockRow>, (Code, String)> {
    if facts.pending_lock.is_some_and(|total| total >= need) {
        return Ok(None);
    }
    let locked = facts.channel.locked;
    let Some(Grant { row, signer }) = ask.allocation else {
        let message = format!("{need} is needed, {locked} is locked; send a higher allocation");
        return Err((Code::BalanceTooLow, message));
    };
    if signer != Some(ask.user) {
        return Err((Code::BadVoucher, "the allocation is not signed by this user key".to_owned()));
    }
    if row.deadline_unix_s < facts.now_unix_s.saturating_add(DEADLINE_MARGIN_S) {
        let message = "the allocation has expired or is about to; sign a new one".to_owned();
        return Err((Code::BalanceTooLow, message));
    }
    if row.total < need {
        let message =
            format!("{need} is needed, the allocation is {}; sign a higher one", row.total);
        return Err((Code::BalanceTooLow, message));
    }
    let (missing, free) = (minus(row.total, locked), facts.free);
    if free < missing {
        let message = format!("the allocation takes {missing} of the deposit, {free} is free");
        return Err((Code::BalanceTooLow, message));
    }
    let on_its_way = facts.pending_lock.unwrap_or_default().max(locked);
    let (adds, least) = (minus(row.total, on_its_way), least_addition(facts));
    if adds < least {
        let message = format!(
            "the allocation adds {adds}, the pod pays for a lock of {least} or more; sign a higher \
             one"
        );
        return Err((Code::BalanceTooLow, message));
    }
    Ok(Some(row))
}

#[cfg(test)]
mod tests {
    use phallama_protocol::keys::Signature;

    use super::*;

    const USER: Address = Address([1; 20]);
    const TERMS: Digest32 = Digest32([2; 32]);
    const NOW: u64 = 1_800_000_000;

    /// 100 locked, 20 charged, nothing in flight; asks for 30 under a cap of 1,000.
    fn ask() -> Ask {
        Ask {
            user: USER,
            epoch: 4,
            cap: 1_000.into(),
            terms_hash: TERMS,
            reserve: 30.into(),
            charged: 20.into(),
            allocation: None,
        }
    }

    fn facts() -> Facts {
        Facts {
            terms_hash: TERMS,
            limits: limits(50, 1_000, 10_000),
            payments: Condition::Storing,
            standing: Standing::Current,
            now_unix_s: NOW,
            free: 500.into(),
            safe_free: 500.into(),
            channel: Channel {
                locked: 100.into(),
                claimed: 10.into(),
                exit_at_unix_s: 0,
                epoch: 4,
            },
            safe_locked: 100.into(),
            others_at_risk: Amount::ZERO,
            claimed: 20.into(),
            in_flight: Amount::ZERO,
            pending_lock: None,
        }
    }

    fn limits(credit: u64, per_user: u64, total: u64) -> Limits {
        Limits {
            credit: credit.into(),
            per_user: per_user.into(),
            total: total.into(),
            lock_min: Amount::ZERO,
        }
    }

    fn row(total: u64) -> LockRow {
        LockRow {
            total: total.into(),
            deadline_unix_s: NOW + 600,
            terms_hash: TERMS,
            epoch: 4,
            signature: Signature([3; 64]),
        }
    }

    fn with(row: LockRow) -> Ask {
        Ask { allocation: Some(Grant { row, signer: Some(USER) }), ..ask() }
    }

    /// Nothing locked yet: 50 is needed.
    fn unlocked() -> Facts {
        let channel = Channel { locked: 10.into(), ..facts().channel };
        Facts { channel, safe_locked: 10.into(), ..facts() }
    }

    fn denied(ask: &Ask, facts: &Facts) -> (Code, Amount) {
        match decide(ask, facts) {
            Decision::Deny(denial) => {
                assert!(denial.message.len() <= 200);
                (denial.code, denial.cumulative)
            }
            other => panic!("expected a denial, got {other:?}"),
        }
    }

    #[test]
    fn covered_request_is_admitted_with_the_highest_known_amount() {
        assert_eq!(decide(&ask(), &facts()), Decision::Admit { cumulative: 20.into() });
        let after_restart = Ask { charged: Amount::ZERO, ..ask() };
        assert_eq!(decide(&after_restart, &facts()), Decision::Admit { cumulative: 20.into() });
        let channel = Channel { claimed: 60.into(), ..facts().channel };
        let lost_journal = Facts { channel, claimed: Amount::ZERO, ..facts() };
        assert_eq!(decide(&ask(), &lost_journal), Decision::Admit { cumulative: 60.into() });
    }

    #[test]
    fn covered_to_the_last_unit_counts_what_is_in_flight() {
        let full = Facts { in_flight: 50.into(), ..facts() };
        assert_eq!(decide(&ask(), &full), Decision::Admit { cumulative: 20.into() });
        let over = Facts { in_flight: 51.into(), ..facts() };
        assert_eq!(denied(&ask(), &over).0, Code::BalanceTooLow);
    }

    #[test]
    fn journal_that_cannot_store_refuses_paid_work() {
        for (payments, retries) in [(Condition::Paused, true), (Condition::Stopped, false)] {
            let facts = Facts { payments, ..facts() };
            let Decision::Deny(denial) = decide(&ask(), &facts) else { panic!("{payments:?}") };
            assert_eq!((denial.code, denial.cumulative), (Code::PaymentsPaused, 20.into()));
            assert_eq!(denial.retry_after_ms > 0, retries, "{payments:?}");
        }
    }

    #[test]
    fn exiting_channel_is_not_served() {
        let channel = Channel { exit_at_unix_s: NOW + 1, ..facts().channel };
        assert_eq!(denied(&ask(), &Facts { channel, ..facts() }).0, Code::ChannelExiting);
    }

    #[test]
    fn voucher_of_another_epoch_is_refused_with_the_amount() {
        let ask = Ask { epoch: 3, ..ask() };
        assert_eq!(denied(&ask, &facts()), (Code::EpochMismatch, 20.into()));
    }

    #[test]
    fn other_terms_are_refused() {
        let ask = Ask { terms_hash: Digest32([9; 32]), ..ask() };
        assert_eq!(denied(&ask, &facts()).0, Code::TermsMismatch);
    }

    #[test]
    fn cap_that_is_too_low_is_left_to_the_enclave_and_costs_no_lock() {
        let told = Decision::CapTooLow { cumulative: 20.into() };
        let low = Ask { cap: 49.into(), ..ask() };
        assert_eq!(decide(&low, &facts()), told);
        assert_eq!(decide(&low, &unlocked()), told);
        let with_allocation = Ask { cap: 49.into(), ..with(row(200)) };
        assert_eq!(decide(&with_allocation, &unlocked()), told);
        let exact = Ask { cap: 50.into(), ..ask() };
        assert_eq!(denied(&exact, &unlocked()).0, Code::BalanceTooLow);
        // A silent chain is risked for nobody who is not covered.
        let standing = Standing::Behind { room: 1_000.into() };
        assert_eq!(denied(&low, &Facts { standing, ..unlocked() }).0, Code::ChainBehind);
    }

    #[test]
    fn silent_chain_is_risked_up_to_the_cap() {
        let behind =
            |room: u64| Facts { standing: Standing::Behind { room: room.into() }, ..facts() };
        assert_eq!(decide(&ask(), &behind(30)), Decision::Admit { cumulative: 20.into() });
        assert_eq!(denied(&ask(), &behind(29)).0, Code::ChainBehind);
        let uncovered = Facts { channel: unlocked().channel, ..behind(1_000) };
        assert_eq!(denied(&with(row(200)), &uncovered).0, Code::ChainBehind);
    }

    #[test]
    fn small_request_is_served_while_its_lock_is_on_its_way() {
        let lock = Some(row(200));
        let expected = Decision::OnCredit { cumulative: 20.into(), lock };
        assert_eq!(decide(&with(row(200)), &unlocked()), expected);
    }

    #[test]
    fn request_above_the_credit_limit_waits_for_its_lock() {
        let facts = Facts { limits: limits(39, 1_000, 10_000), ..unlocked() };
        assert_eq!(decide(&with(row(200)), &facts), Decision::AfterLock { lock: Some(row(200)) });
    }

    #[test]
    fn fresh_deposit_gets_no_credit() {
        let fresh = Facts { safe_free: 39.into(), ..unlocked() };
        assert_eq!(decide(&with(row(200)), &fresh), Decision::AfterLock { lock: Some(row(200)) });
        let settled = Facts { safe_free: 40.into(), ..unlocked() };
        let lock = Some(row(200));
        let expected = Decision::OnCredit { cumulative: 20.into(), lock };
        assert_eq!(decide(&with(row(200)), &settled), expected);
    }

    #[test]
    fn lock_that_is_mined_and_not_safe_counts_up_to_the_users_limit() {
        // 50 is needed and mined, 10 of it is safe.
        let fresh = |per_user| Facts {
            safe_locked: 10.into(),
            limits: limits(50, per_user, 10_000),
            ..facts()
        };
        assert_eq!(decide(&ask(), &fresh(40)), Decision::Admit { cumulative: 20.into() });
        assert_eq!(denied(&ask(), &fresh(39)), (Code::LockNotSafe, 20.into()));
        let behind = Facts { standing: Standing::Behind { room: 30.into() }, ..fresh(39) };
        assert_eq!(denied(&ask(), &behind).0, Code::LockNotSafe);
    }

    #[test]
    fn credit_does_not_come_on_top_of_a_lock_that_is_not_safe_enough() {
        let lock = Some(row(200));
        let facts = |per_user| Facts {
            safe_locked: Amount::ZERO,
            limits: limits(50, per_user, 10_000),
            ..unlocked()
        };
        let served = Decision::OnCredit { cumulative: 20.into(), lock };
        assert_eq!(decide(&with(row(200)), &facts(10)), served);
        assert_eq!(decide(&with(row(200)), &facts(9)), Decision::AfterLock { lock });
    }

    #[test]
    fn all_users_together_risk_no_more_than_the_total() {
        let facts = |others: u64, facts: Facts| Facts {
            others_at_risk: others.into(),
            limits: limits(50, 1_000, 100),
            ..facts
        };
        // Not mined: 40 of 50 would be at risk.
        let lock = Some(row(200));
        let served = Decision::OnCredit { cumulative: 20.into(), lock };
        assert_eq!(decide(&with(row(200)), &facts(60, unlocked())), served);
        let waits = Decision::AfterLock { lock };
        assert_eq!(decide(&with(row(200)), &facts(61, unlocked())), waits);
        // Mined and not safe: the same 40.
        let fresh = Facts { safe_locked: 10.into(), ..self::facts() };
        let admitted = Decision::Admit { cumulative: 20.into() };
        assert_eq!(decide(&ask(), &facts(60, fresh)), admitted);
        assert_eq!(denied(&ask(), &facts(61, fresh)), (Code::RiskLimit, 20.into()));
        // Safe: it takes no room, however little there is.
        assert_eq!(decide(&ask(), &facts(5_000, self::facts())), admitted);
    }

    #[test]
    fn lock_on_its_way_is_not_sent_twice() {
        let facts = Facts { pending_lock: Some(50.into()), ..unlocked() };
        assert_eq!(
            decide(&ask(), &facts),
            Decision::OnCredit { cumulative: 20.into(), lock: None }
        );
        let strict = Facts { limits: limits(0, 1_000, 10_000), ..facts };
        assert_eq!(decide(&ask(), &strict), Decision::AfterLock { lock: None });
        let too_small = Facts { pending_lock: Some(49.into()), ..unlocked() };
        assert_eq!(denied(&ask(), &too_small).0, Code::BalanceTooLow);
    }

    #[test]
    fn allocation_that_adds_too_little_is_refused() {
        // 10 is locked, 50 is needed.
        let facts = |free: u64, lock_min: u64, pending_lock: Option<u64>| Facts {
            free: free.into(),
            limits: Limits { lock_min: lock_min.into(), ..facts().limits },
            pending_lock: pending_lock.map(Amount::from),
            ..unlocked()
        };
        let served = |total| Decision::OnCredit { cumulative: 20.into(), lock: Some(row(total)) };
        assert_eq!(denied(&with(row(69)), &facts(800, 60, None)).0, Code::BalanceTooLow);
        assert_eq!(decide(&with(row(70)), &facts(800, 60, None)), served(70));
        // Of 800 that are free it need not be more than 100.
        assert_eq!(denied(&with(row(109)), &facts(800, 5_000, None)).0, Code::BalanceTooLow);
        assert_eq!(decide(&with(row(110)), &facts(800, 5_000, None)), served(110));
        // What is on its way already is added once.
        assert_eq!(denied(&with(row(104)), &facts(800, 60, Some(45))).0, Code::BalanceTooLow);
        assert_eq!(decide(&with(row(105)), &facts(800, 60, Some(45))), served(105));
    }

    #[test]
    fn request_without_allocation_is_refused_when_nothing_covers_it() {
        assert_eq!(denied(&ask(), &unlocked()).0, Code::BalanceTooLow);
    }

    #[test]
    fn allocation_signed_by_somebody_else_is_refused() {
        for signer in [None, Some(Address([8; 20]))] {
            let ask = Ask { allocation: Some(Grant { row: row(200), signer }), ..ask() };
            assert_eq!(denied(&ask, &unlocked()).0, Code::BadVoucher);
        }
    }

    #[test]
    fn allocation_about_to_expire_is_refused() {
        let at = |margin| LockRow { deadline_unix_s: NOW + margin, ..row(200) };
        assert_eq!(denied(&with(at(DEADLINE_MARGIN_S - 1)), &unlocked()).0, Code::BalanceTooLow);
        let enough = decide(&with(at(DEADLINE_MARGIN_S)), &unlocked());
        assert_eq!(
            enough,
            Decision::OnCredit { cumulative: 20.into(), lock: Some(at(DEADLINE_MARGIN_S)) }
        );
    }

    #[test]
    fn allocation_below_the_need_or_above_the_deposit_is_refused() {
        assert_eq!(denied(&with(row(49)), &unlocked()).0, Code::BalanceTooLow);
        assert_eq!(denied(&with(row(511)), &unlocked()).0, Code::BalanceTooLow);
        let exact = Decision::OnCredit { cumulative: 20.into(), lock: Some(row(510)) };
        assert_eq!(decide(&with(row(510)), &unlocked()), exact);
    }
}

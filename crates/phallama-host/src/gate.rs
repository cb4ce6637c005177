//! Answers the enclave's question whether a request is paid for: gathers the facts, applies
//! [`admission::decide`], sends the lock, waits for it where the policy says so.

use std::sync::Arc;
use std::time::Duration;

use phallama_chain::{ChainError, LockRow};
use phallama_protocol::eip712::{Allocation, Domain};
use phallama_protocol::ids::{Amount, Digest32, PodId};
use phallama_protocol::keys;
use phallama_protocol::link::Admit;
use phallama_protocol::refusal::Code;

use crate::admission::{self, Ask, Decision, Denial, Facts, Grant, Limits};
use crate::journal::{ChannelKey, Journal};
use crate::locks::{LockQueue, LockState, LockTicket};
use crate::metrics::Metrics;
use crate::reserves::{Reserve, Reserves, Seen};
use crate::view::ChainView;

/// Decides about payments for one pod.
pub struct Gate {
    /// The chain as last read.
    pub view: Arc<ChainView>,
    /// What users owe.
    pub journal: Arc<Journal>,
    /// What open exchanges may still cost.
    pub reserves: Reserves,
    /// Locks on their way.
    pub locks: LockQueue,
    /// This pod.
    pub pod: PodId,
    /// The escrow's domain.
    pub domain: Domain,
    /// Hash of what this pod sells.
    pub terms_hash: Digest32,
    /// Most that may be at risk.
    pub limits: Limits,
    /// How long a request waits for its lock.
    pub lock_wait: Duration,
    /// Counts.
    pub metrics: Metrics,
}

/// A request that is paid for, as long as this lives.
#[derive(Debug)]
pub struct Admission {
    /// Highest amount charged in this channel generation.
    pub cumulative: Amount,
    /// Released when dropped; `None` when the enclave will refuse for want of a higher cap.
    pub reserve: Option<Reserve>,
}

impl Gate {
    /// Whether a channel can end without loss: what was charged in it is locked, or is about to be,
    /// which is waited for.
    ///
    /// # Errors
    /// [`ChainError`]: the channel could not be read.
    pub async fn is_covered(&self, key: ChannelKey) -> Result<bool, ChainError> {
        let charged = self.journal.cumulative(key);
        if charged == Amount::ZERO {
            return Ok(true);
        }
        if let Some(ticket) = self.locks.ticket(key.user) {
            ticket.outcome(self.lock_wait).await;
        }
        let channels = self.view.channels(&[key.user]).await?;
        Ok(channels.first().is_some_and(|channel| channel.locked >= charged))
    }

    /// Whether the enclave's last word about a channel leaves nothing unpaid: it counts everything
    /// that is in the journal, and is locked.
    ///
    /// # Errors
    /// [`ChainError`]: the channel could not be read.
    pub async fn is_paid_by(&self, key: ChannelKey, last: Amount) -> Result<bool, ChainError> {
        let channels = self.view.channels(&[key.user]).await?;
        let locked = channels.first().map_or(Amount::ZERO, |channel| channel.locked);
        Ok(self.journal.cumulative(key) <= last && last <= locked)
    }

    /// Answers one question.
    ///
    /// # Errors
    /// The [`Denial`] to pass on.
    pub async fn admit(&self, admit: &Admit) -> Result<Admission, Denial> {
        let answer = self.judge(admit).await;
        match &answer {
            Ok(_) => self.metrics.admitted(),
            Err(denial) => self.metrics.denied(denial.code),
        }
        answer
    }

    async fn judge(&self, admit: &Admit) -> Result<Admission, Denial> {
        let mut ask = self.ask(admit);
        let (decision, reserve) = self.decide(&ask).await?;
        let ticket = match decision {
            Decision::Admit { cumulative } | Decision::CapTooLow { cumulative } => {
                return Ok(Admission { cumulative, reserve });
            }
            Decision::OnCredit { cumulative, lock } => {
                self.send(&ask, lock, cumulative)?;
                return Ok(Admission { cumulative, reserve });
            }
            Decision::AfterLock { lock } => self.send(&ask, lock, ask.charged)?,
            Decision::Deny(denial) => return Err(denial),
        };
        let outcome = match ticket {
            Some(ticket) => ticket.outcome(self.lock_wait).await,
            // It was mined between the decision and now.
            None => LockState::Locked,
        };
        if let LockState::Failed(reason) = outcome {
            return Err(lock_failed(ask.charged, &reason));
        }
        ask.allocation = None;
        match self.decide(&ask).await? {
            (
                Decision::Admit { cumulative }
                | Decision::OnCredit { cumulative, .. }
                | Decision::CapTooLow { cumulative },
                reserve,
            ) => Ok(Admission { cumulative, reserve }),
            (Decision::Deny(denial), _) => Err(denial),
            (Decision::AfterLock { .. }, _) => {
                Err(lock_failed(ask.charged, "other requests used it up; send a higher allocation"))
            }
        }
    }

    async fn decide(&self, ask: &Ask) -> Result<(Decision, Option<Reserve>), Denial> {
        let Some(money) = self.view.money(ask.user).await else {
            return Err(admission::chain_behind(ask.charged));
        };
        if money.account.owner.is_none() {
            return Err(admission::not_open());
        }
        self.journal.compare(ask.user, money.channel.claimed);
        let (standing, channel) = (self.view.standing(), money.channel);
        let key = ChannelKey { user: ask.user, epoch: ask.epoch };
        let mut facts = Facts {
            terms_hash: self.terms_hash,
            limits: self.limits,
            payments: self.journal.condition(),
            standing,
            now_unix_s: self.view.now_unix_s(),
            free: money.account.free,
            safe_free: money.safe_free,
            channel,
            safe_locked: money.safe_locked,
            others_at_risk: Amount::ZERO,
            claimed: self.journal.cumulative(key),
            in_flight: Amount::ZERO,
            pending_lock: self.locks.pending_total(ask.user),
        };
        let current = ask.epoch == channel.epoch;
        let charged = if current { admission::base(ask, &facts) } else { channel.claimed };
        let seen = Seen { channel, safe_locked: money.safe_locked, charged };
        let decide = |in_flight, others_at_risk| {
            (facts.in_flight, facts.others_at_risk) = (in_flight, others_at_risk);
            let decision = admission::decide(ask, &facts);
            let serve = matches!(decision, Decision::Admit { .. } | Decision::OnCredit { .. });
            (decision, serve)
        };
        let (decision, reserve) = self.reserves.reserve_if(ask.user, ask.reserve, seen, decide);
        if reserve.is_some() && standing != admission::Standing::Current {
            self.view.risk(ask.reserve);
        }
        Ok((decision, reserve))
    }

    fn send(
        &self,
        ask: &Ask,
        lock: Option<LockRow>,
        cumulative: Amount,
    ) -> Result<Option<LockTicket>, Denial> {
        let Some(row) = lock else { return Ok(self.locks.ticket(ask.user)) };
        let ticket = self.locks.submit(ask.user, row);
        ticket.map(Some).ok_or_else(|| lock_failed(cumulative, "too many locks wait"))
    }

    fn ask(&self, admit: &Admit) -> Ask {
        let allocation = admit.allocation.map(|grant| {
            let row = LockRow {
                total: grant.total,
                deadline_unix_s: grant.deadline_unix_s,
                terms_hash: admit.terms_hash,
                epoch: admit.epoch,
                signature: grant.signature,
            };
            let signed = Allocation {
                pod_id: self.pod,
                total: row.total,
                terms_hash: row.terms_hash,
                epoch: row.epoch,
                deadline_unix_s: row.deadline_unix_s,
            };
            let signer = keys::recover(&signed.digest(&self.domain), &grant.signature).ok();
            Grant { row, signer }
        });
        Ask {
            user: admit.user,
            epoch: admit.epoch,
            cap: admit.cap,
            terms_hash: admit.terms_hash,
            reserve: admit.reserve,
            charged: admit.charged,
            allocation,
        }
    }
}

fn lock_failed(cumulative: Amount, reason: &str) -> Denial {
    let mut message = format!("the allocation could not be locked: {reason}");
    message.truncate(message.floor_char_boundary(200));
    Denial { code: Code::BalanceTooLow, retry_after_ms: 0, cumulative, message }
}

#[cfg(test)]
mod tests;

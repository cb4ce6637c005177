//! What a request promises to a pod: decided, written down, signed. Steps 2 and 3 of
//! `spec/billing.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use phallama_chain::{ChainError, Channel};
use phallama_protocol::eip712::{Allocation, Domain, Voucher};
use phallama_protocol::ids::{Amount, PodId, RequestId};
use phallama_protocol::keys::Signer;
use phallama_protocol::request::{AllocationGrant, Payment};

use crate::client::{Client, Misbehaved, lock, now_unix_s, on_ledger};
use crate::config::Purse;
use crate::dispute::{Accusation, Dispute, Evidence};
use crate::error::{ClientError, SpendLimit};
use crate::ledger::{AccountKey, Bounds, Ledger, NotReserved, Outcome, Reservation, Wanted};
use crate::question::SizedQuestion;
use crate::spend::{AboveBound, ChannelView, Funds, NoPlan, NotObserved, Plan, Wish};
use crate::verify::VerifiedPod;

/// How long a lost request's reserve stays covered by later caps, in seconds: the pod may still be
/// busy with it.
const LOST_COVERED_S: u64 = 30;

/// Whether any promise of a request was lost: whether it may have been charged though nobody has a
/// receipt. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Arc<AtomicBool>);

impl Fate {
    pub(crate) fn is_lost(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn lose(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A promise on its way. Dropped without [`finish`](Promise::finish), it counts as lost.
#[derive(Debug)]
pub(crate) struct Promise {
    ledger: Arc<Ledger>,
    open: Option<Reservation>,
    payment: Payment,
    /// Whether an earlier attempt with the same request id may have been charged.
    repeated: bool,
    misbehaved: Misbehaved,
    fate: Fate,
}

impl Promise {
    /// What goes into the sealed request.
    pub(crate) fn payment(&self) -> &Payment {
        &self.payment
    }

    pub(crate) fn reserve(&self) -> Amount {
        amount(self.reservation().reserve)
    }

    /// The channel's amount when the promise was made.
    pub(crate) fn charged_before(&self) -> Amount {
        amount(self.reservation().charged_before)
    }

    /// What a receipt that comes now is held to.
    pub(crate) async fn bounds(&self) -> Result<Bounds, ClientError> {
        let made = self.reservation().clone();
        on_ledger(Arc::clone(&self.ledger), move |ledger| ledger.bounds(&made)).await
    }

    /// Says that an attempt before this one, with the same request id, may have been charged: then
    /// only a receipt can say how the request ended.
    pub(crate) fn repeats(&mut self) {
        self.repeated = true;
    }

    /// Says who wants to know whether it was lost.
    pub(crate) fn tells(&mut self, fate: &Fate) {
        self.fate = fate.clone();
    }

    /// Keeps what the pod did, with the exchange that shows it: it is not asked again unless it is
    /// named.
    pub(crate) async fn accuse(&self, domain: Domain, accusation: Accusation, shown: Evidence) {
        let (user, pod, account) =
            (self.payment.user, self.reservation().pod, self.reservation().account);
        let unrecorded = move |ledger: &Ledger| ledger.is_unrecorded(&account, pod);
        if matches!(accusation, Accusation::Claim { .. })
            && on_ledger(Arc::clone(&self.ledger), unrecorded).await.is_ok_and(|is| is)
        {
            tracing::warn!("pod {pod} {accusation}, as far as this wallet's records go");
            return;
        }
        let dispute = Dispute::new(domain, user, pod, accusation, Some(shown));
        accuse(&self.ledger, &self.misbehaved, dispute).await;
    }

    pub(crate) fn request_id(&self) -> RequestId {
        self.reservation().request_id
    }

    fn reservation(&self) -> &Reservation {
        self.open.as_ref().expect("a promise is open until `finish` takes it")
    }

    /// Writes down how the request ended.
    pub(crate) async fn finish(mut self, how: Outcome) -> Result<(), ClientError> {
        let Some(made) = self.open.take() else { return Ok(()) };
        let how = match how {
            Outcome::NotCharged if self.repeated => lost(),
            how => how,
        };
        if matches!(how, Outcome::Unknown { .. }) {
            self.fate.lose();
        }
        let finish = move |ledger: &Ledger| ledger.finish(&made, &how, now_unix_s());
        on_ledger(Arc::clone(&self.ledger), finish).await
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(made) = self.open.take() else { return };
        self.fate.lose();
        let ledger = Arc::clone(&self.ledger);
        let close = move || {
            if let Err(error) = ledger.finish(&made, &lost(), now_unix_s()) {
                // The reserve stays in flight until its time is over: caps only get too high.
                tracing::warn!(%error, "a lost request could not be written down");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(close)),
            Err(_) => close(),
        }
    }
}

/// Where an enclave says that a channel stands, when a cap was too low for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    pub(crate) epoch: u32,
    pub(crate) claimed: Amount,
}

/// Keeps a dispute and says so, once. A dispute that cannot be kept is said all the same.
async fn accuse(ledger: &Arc<Ledger>, misbehaved: &Misbehaved, dispute: Dispute) {
    let pod = dispute.pod;
    if dispute.distrusts() {
        lock(misbehaved).insert(pod);
    }
    let accusation = dispute.accusation.to_string();
    match on_ledger(Arc::clone(ledger), move |ledger| ledger.accuse(&dispute)).await {
        Ok(false) => {}
        Ok(true) => tracing::error!(
            "pod {pod} {accusation}. The evidence is kept: `phallama disputes`. To take back what \
             is locked for it: `phallama exit {pod} --start`"
        ),
        Err(error) => tracing::error!(%error, "pod {pod} {accusation}; the evidence is not kept"),
    }
}

/// Nobody knows how the request ended.
pub(crate) fn lost() -> Outcome {
    Outcome::Unknown { covered_until_unix_s: now_unix_s().saturating_add(LOST_COVERED_S) }
}

impl Client {
    /// Promises `sized.reserve` to the pod, after the user's limits and balance allow it.
    pub(crate) async fn promise(
        &self,
        pod: &VerifiedPod,
        sized: &SizedQuestion,
        (request_id, purse): (RequestId, Option<Purse>),
    ) -> Result<Promise, ClientError> {
        let (account, pod_id) = (self.account_key()?, pod.record().pod_id);
        if !lock(&self.inner.observed).contains_key(&pod_id) {
            self.observe(&account, pod_id).await?;
        }
        let mut funds = None;
        let reservation = loop {
            let wanted = self.request(&account, pod_id, request_id, sized, funds);
            let request = Wanted { purse, ..wanted };
            match self.ledger(move |ledger| ledger.reserve(&request)).await? {
                Ok(reservation) => break reservation,
                Err(NotReserved::Plan(NoPlan::FundsUnknown)) => {
                    self.observe(&account, pod_id).await?;
                    funds = Some(self.funds(&account, pod_id).await?);
                }
                Err(refused) => {
                    return Err(self.not_reserved(pod_id, request_id, refused, sized).await);
                }
            }
        };
        let domain = self.inner.config.chain.domain();
        let payment = sign(self.signer()?, &domain, pod, &reservation.plan);
        if payment.allocation.is_some() {
            self.look_for_lock(account, pod_id);
        }
        Ok(Promise {
            ledger: Arc::clone(&self.inner.ledger),
            repeated: reservation.repeats,
            open: Some(reservation),
            payment,
            fate: Fate::default(),
            misbehaved: Arc::clone(&self.inner.misbehaved),
        })
    }

    /// Finds out, beside the request, whether the allocation that it carries is locked meanwhile:
    /// then the next one carries none, and nobody has to sign and check it.
    fn look_for_lock(&self, account: AccountKey, pod: PodId) {
        let every = self.inner.config.payment.lock_check;
        {
            let mut observed = lock(&self.inner.observed);
            match observed.get_mut(&pod) {
                Some(at) if at.elapsed() >= every => *at = Instant::now(),
                _ => return,
            }
        }
        let client = self.clone();
        tokio::spawn(async move {
            if let Err(error) = client.observe(&account, pod).await {
                tracing::debug!(%error, "the channel's side of the chain was not read");
            }
        });
    }

    /// After a pod said that the cap is too low or the epoch another one: takes over the chain's
    /// side, and with `behind` the pod's word as far as lost requests explain it.
    pub(crate) async fn catch_up(
        &self,
        pod: PodId,
        behind: Option<Behind>,
    ) -> Result<(), ClientError> {
        let account = self.account_key()?;
        self.observe(&account, pod).await?;
        let Some(Behind { epoch, claimed }) = behind else { return Ok(()) };
        let (claimed, now) = (claimed.value(), now_unix_s());
        let adopted =
            self.ledger(move |ledger| ledger.adopt(&account, pod, epoch, claimed, now)).await?;
        match adopted {
            Ok(()) => Ok(()),
            Err(above) => Err(self.claim_too_high(pod, above).await),
        }
    }

    /// The pod is remembered for it, unless it is the records that may be wrong.
    async fn claim_too_high(&self, pod: PodId, above: AboveBound) -> ClientError {
        let (claimed, allowed) = (amount(above.claimed), amount(above.allowed));
        match self.may_miss_records(pod).await {
            Ok(false) => {}
            Ok(true) => return ClientError::RecordsMissing { pod, claimed, allowed },
            Err(error) => return error,
        }
        self.accuse(pod, Accusation::Claim { claimed, allowed }).await;
        ClientError::ClaimTooHigh { pod, claimed, allowed }
    }

    /// Whether the channel may have been used without records here: by another wallet with the same
    /// key, or before the records were lost.
    async fn may_miss_records(&self, pod: PodId) -> Result<bool, ClientError> {
        let account = self.account_key()?;
        let missing = move |ledger: &Ledger| {
            Ok(ledger.is_unrecorded(&account, pod)? || !ledger.has_proof(&account, pod)?)
        };
        self.ledger(missing).await
    }

    /// Keeps what a pod did, without an exchange that shows it.
    async fn accuse(&self, pod: PodId, accusation: Accusation) {
        let inner = &self.inner;
        let Some(user) = self.user() else { return };
        let dispute = Dispute::new(inner.chain.domain(), user, pod, accusation, None);
        accuse(&inner.ledger, &inner.misbehaved, dispute).await;
    }

    /// The chain's side of a channel, read into the records, exiting or not.
    pub(crate) async fn settled_channel(&self, pod: PodId) -> Result<Channel, ClientError> {
        let account = self.account_key()?;
        self.observe_channel(&account, pod).await
    }

    /// Holds the final amount of a channel against the records.
    pub(crate) async fn hold_close(
        &self,
        pod: PodId,
        epoch: u32,
        cumulative: Amount,
    ) -> Result<(), ClientError> {
        let account = self.account_key()?;
        let claimed = cumulative.value();
        let held = move |ledger: &Ledger| ledger.hold(&account, pod, epoch, claimed);
        match self.ledger(held).await? {
            Ok(()) => Ok(()),
            Err(above) => Err(self.claim_too_high(pod, above).await),
        }
    }

    async fn not_observed(&self, pod: PodId, refused: NotObserved) -> ClientError {
        match refused {
            NotObserved::Behind { got, seen } => ClientError::from(ChainError::Malformed {
                what: "channels",
                reason: format!(
                    "channel epoch {got} after {seen} was seen: the endpoint is behind"
                ),
            }),
            NotObserved::Overclaimed(AboveBound { claimed, allowed }) => {
                lock(&self.inner.observed).remove(&pod);
                let (claimed, allowed) = (amount(claimed), amount(allowed));
                match self.may_miss_records(pod).await {
                    Ok(false) => {}
                    Ok(true) => return ClientError::RecordsMissing { pod, claimed, allowed },
                    Err(error) => return error,
                }
                self.accuse(pod, Accusation::Chain { claimed, allowed }).await;
                ClientError::PodOverclaimed { pod, claimed, allowed }
            }
            NotObserved::Unrecorded(AboveBound { claimed, allowed }) => {
                let (claimed, allowed) = (amount(claimed), amount(allowed));
                ClientError::RecordsMissing { pod, claimed, allowed }
            }
        }
    }

    /// Reads the chain's side of a channel into the records.
    async fn observe(&self, account: &AccountKey, pod: PodId) -> Result<(), ClientError> {
        let channel = self.observe_channel(account, pod).await?;
        if channel.exit_at_unix_s != 0 {
            let exit_at_unix_s = channel.exit_at_unix_s;
            return Err(ClientError::ChannelExiting { pod, exit_at_unix_s });
        }
        lock(&self.inner.observed).insert(pod, Instant::now());
        Ok(())
    }

    async fn observe_channel(
        &self,
        account: &AccountKey,
        pod: PodId,
    ) -> Result<Channel, ClientError> {
        let (account, user) = (*account, account.user);
        let channel = self.inner.chain.channel(user, pod).await?;
        let view = ChannelView {
            epoch: channel.epoch,
            locked: channel.locked.value(),
            claimed: channel.claimed.value(),
        };
        let known = (self.inner.config.payment.unrecorded_max.value(), now_unix_s());
        let seen = self.ledger(move |ledger| ledger.observe(&account, pod, &view, known)).await?;
        match seen {
            Ok(()) => Ok(channel),
            Err(refused) => Err(self.not_observed(pod, refused).await),
        }
    }

    /// The free balance, and what other pods may still take from it.
    ///
    /// Channels are read before the balance: a lock mined in between is then counted twice, never
    /// not at all.
    async fn funds(&self, account: &AccountKey, pod: PodId) -> Result<Funds, ClientError> {
        let account = *account;
        for other in self.promised_elsewhere(account, pod).await? {
            match self.observe(&account, other.0).await {
                Ok(())
                | Err(
                    ClientError::ChannelExiting { .. }
                    | ClientError::PodOverclaimed { .. }
                    | ClientError::RecordsMissing { .. },
                ) => {}
                Err(error) => return Err(error),
            }
        }
        let free = self.inner.chain.account(account.user).await?.free.value();
        let promised = self.promised_elsewhere(account, pod).await?;
        let promised_elsewhere =
            promised.iter().fold(0_u128, |sum, (_, promised)| sum.saturating_add(*promised));
        Ok(Funds { free, promised_elsewhere })
    }

    async fn promised_elsewhere(
        &self,
        account: AccountKey,
        pod: PodId,
    ) -> Result<Vec<(PodId, u128)>, ClientError> {
        let channels = self.ledger(move |ledger| ledger.channels(&account)).await?;
        let now = now_unix_s();
        let promised = channels.iter().map(|(other, record)| (*other, record.promised(now)));
        Ok(promised.filter(|(other, promised)| *other != pod && *promised > 0).collect())
    }

    fn request(
        &self,
        account: &AccountKey,
        pod: PodId,
        request_id: RequestId,
        sized: &SizedQuestion,
        funds: Option<Funds>,
    ) -> Wanted {
        let (config, now_unix_s) = (&self.inner.config, now_unix_s());
        let (account, limits) = (*account, self.limits());
        let wish = Wish {
            reserve: sized.reserve.value(),
            in_flight: 0,
            lock_chunk: config.payment.lock_chunk.value(),
            lock_max: limits.per_day.map(Amount::value),
            pod_max: limits.per_pod.map(Amount::value),
            allocation_life_s: config.payment.allocation_life_s,
            now_unix_s,
        };
        let longest = config.timeouts.response + config.timeouts.answer;
        let over_at_unix_s = now_unix_s.saturating_add(longest.as_secs() + LOST_COVERED_S);
        Wanted { account, pod, request_id, limits, purse: None, funds, wish, over_at_unix_s }
    }

    async fn not_reserved(
        &self,
        pod: PodId,
        request_id: RequestId,
        refused: NotReserved,
        sized: &SizedQuestion,
    ) -> ClientError {
        match refused {
            NotReserved::Inconsistent(above) => self.claim_too_high(pod, above).await,
            NotReserved::Repeated(how) => ClientError::RequestRepeated { request_id, how },
            refused => unaffordable(refused, sized),
        }
    }
}

fn unaffordable(refused: NotReserved, sized: &SizedQuestion) -> ClientError {
    let (reserve, max_tokens) = (sized.reserve, sized.max_tokens);
    match refused {
        // Counted as the request's reserve and what else the allocation would have to add.
        NotReserved::Plan(NoPlan::LockTooLarge { adds, allowed }) => ClientError::LimitExceeded {
            limit: SpendLimit::PerDay,
            allowed: amount(allowed),
            needs: reserve,
            spent: amount(adds.saturating_sub(reserve.value())),
        },
        NotReserved::Plan(NoPlan::PodLimit { allowed, used }) => ClientError::LimitExceeded {
            limit: SpendLimit::PerPod,
            allowed: amount(allowed),
            needs: reserve,
            spent: amount(used),
        },
        NotReserved::Limit { limit, allowed, spent } => ClientError::LimitExceeded {
            limit,
            allowed: amount(allowed),
            needs: reserve,
            spent: amount(spent),
        },
        NotReserved::Plan(NoPlan::TooLow { needs, available }) => ClientError::BalanceTooLow {
            needs: amount(needs),
            available: amount(available),
            reserve,
            max_tokens,
        },
        NotReserved::Plan(NoPlan::FundsUnknown | NoPlan::Overflow)
        | NotReserved::Repeated(_)
        | NotReserved::Inconsistent(_) => ClientError::BalanceTooLow {
            needs: Amount::MAX,
            available: Amount::ZERO,
            reserve,
            max_tokens,
        },
    }
}

/// The voucher is for the enclave that was verified: no other key of the pod can claim it.
fn sign(signer: &Signer, domain: &Domain, pod: &VerifiedPod, plan: &Plan) -> Payment {
    let (pod_id, bundle) = (pod.record().pod_id, pod.bundle().bundle());
    let (identity, terms_hash) = (bundle.identity, bundle.offers_hash);
    let voucher = Voucher { pod_id, identity, epoch: plan.epoch, cap: amount(plan.cap) };
    let allocation = plan.allocation.map(|planned| {
        let allocation = Allocation {
            pod_id,
            total: amount(planned.total),
            terms_hash,
            epoch: plan.epoch,
            deadline_unix_s: planned.deadline_unix_s,
        };
        AllocationGrant {
            total: allocation.total,
            deadline_unix_s: allocation.deadline_unix_s,
            signature: signer.sign(&allocation.digest(domain)),
        }
    });
    Payment {
        user: signer.address(),
        epoch: plan.epoch,
        cap: voucher.cap,
        voucher_sig: signer.sign(&voucher.digest(domain)),
        terms_hash,
        allocation,
    }
}

/// A sum of the ledger as an amount. The ledger refuses caps above 2^96 − 1; what is only shown
/// saturates there.
pub(crate) fn amount(units: u128) -> Amount {
    Amount::new(units).unwrap_or(Amount::MAX)
}

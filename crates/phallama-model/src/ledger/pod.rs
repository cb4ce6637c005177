//! A pod: the host's admission, reserves, journal and settlement plan, and the enclave's ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use phallama_chain::{Channel, LockRow};
use phallama_enclave::ledger::{
    ChannelKey as LedgerKey, Charge, Ledger, Reservation, ReserveError,
};
use phallama_host::admission::{self, Ask, Decision, Facts, Grant, Limits, Standing};
use phallama_host::journal::{Change, ChannelKey, ChannelRecord, Claim, Journal};
use phallama_host::reserves::{Reserve, Reserves, Seen};
use phallama_host::settlement::Plan;
use phallama_protocol::ids::{Address, Amount, Digest32};
use phallama_protocol::refusal::Code;

use crate::escrow::{AllocationRow, EscrowModel, ReceiptClaim, VoucherRow};

use super::chain::{Chain, Tx};
use super::disk::Disk;
use super::signed::{Content, Settlement, Voucher};
use super::user::Promise;
use super::{POD, TERMS};

/// Most that the pod has at risk.
pub(super) fn limits() -> Limits {
    Limits { credit: 400.into(), per_user: 900.into(), total: 1_200.into(), lock_min: 0.into() }
}

/// Most that is risked while the chain does not answer.
pub(super) const RISK_CAP: u64 = 700;

fn amount(units: u128) -> Amount {
    Amount::new(units).expect("the escrow holds no more than 96 bits")
}

/// A request that the pod works on.
pub(super) struct Open {
    pub(super) promise: Promise,
    pub(super) user: Address,
    reservation: Reservation,
    /// Released when the exchange is over.
    _reserve: Option<Reserve>,
}

/// What came of a request.
pub(super) enum Answer {
    Open(Box<Open>),
    /// Refused, without charge.
    Refused(Code),
    /// Refused with the channel's amount.
    CapTooLow(Amount),
}

/// How an answer ended.
pub(super) enum End {
    Receipt { cumulative: Amount, cost: Amount },
    NotStored,
}

pub(super) struct Pod {
    disk: Disk,
    journal: Option<Journal>,
    reserves: Reserves,
    locks: BTreeMap<Address, Amount>,
    /// The newest block that was read, and the safe one then; `None`: the chain does not answer.
    seen: (EscrowModel, EscrowModel),
    behind: bool,
    risked: u64,
    enclave: Arc<Ledger>,
    pub(super) identity: Address,
    boots: u8,
    runtime: tokio::runtime::Runtime,
}

impl Pod {
    pub(super) fn new(chain: &mut Chain) -> Self {
        let disk = Disk::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let seen = (chain.head().clone(), chain.safe().clone());
        let mut pod = Self {
            journal: None,
            disk,
            reserves: Reserves::default(),
            locks: BTreeMap::new(),
            seen,
            behind: false,
            risked: 0,
            enclave: Arc::default(),
            identity: Address::ZERO,
            boots: 0,
            runtime,
        };
        pod.start(chain);
        pod
    }

    fn start(&mut self, chain: &mut Chain) {
        let journal = Journal::open_on("a disk in memory", Box::new(self.disk.clone()));
        self.journal = Some(journal.expect("what was committed can be opened"));
        (self.reserves, self.locks) = Default::default();
        self.restart_enclave(chain);
        self.read_chain(chain);
    }

    /// The enclave starts again with another key; the registry takes it at once.
    pub(super) fn restart_enclave(&mut self, chain: &mut Chain) {
        self.boots += 1;
        self.identity = Address([0x70_u8.wrapping_add(self.boots); 20]);
        self.enclave = Arc::default();
        chain.attest(self.identity);
    }

    /// The power goes; of what was not synced, the writes whose bit is set in `kept` are there when
    /// it comes back.
    pub(super) fn crash(&mut self, kept: u64, copy: Option<&[u8]>, chain: &mut Chain) {
        self.disk.cut_power();
        self.journal = None;
        self.disk.come_back(kept);
        if let Some(copy) = copy {
            self.disk.restore(copy);
        }
        self.start(chain);
    }

    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    pub(super) fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("the journal is open while the pod runs")
    }

    /// The disk works again; the next change shows it to the journal.
    pub(super) fn repair_disk(&mut self) {
        self.disk.set_failing(false);
        let nothing = ChannelKey { user: Address::ZERO, epoch: 0 };
        let stored = self.store(Change::Closed(nothing));
        assert!(stored, "a disk that works stores");
    }

    fn store(&self, change: Change) -> bool {
        self.runtime.block_on(self.journal().store(change)).is_ok()
    }

    /// Reads the head, as the watcher does.
    pub(super) fn read_chain(&mut self, chain: &Chain) {
        self.seen = (chain.head().clone(), chain.safe().clone());
        (self.behind, self.risked) = (false, 0);
        let users: Vec<Address> = self.locks.keys().copied().collect();
        for user in users {
            let channel = self.channel(user);
            if self.locks.get(&user).is_some_and(|total| channel.locked >= *total) {
                self.locks.remove(&user);
            }
        }
        for (user, _) in chain.head().accounts() {
            self.reserves.see(user, &self.channel(user), self.safe_locked(user));
        }
        self.confirm();
    }

    /// What was noted as paid is compared with the newest block and the safe one.
    fn confirm(&self) {
        let at_unix_s = self.seen.0.now_unix_s;
        for record in self.journal().provisional() {
            let ChannelKey { user, epoch } = record.key;
            let safe = self.seen.1.channel(user, POD);
            let (key, claimed) = (record.key, self.channel(user).claimed);
            let safe_claimed = amount(safe.claimed);
            if safe.epoch > epoch {
                self.store(Change::Closed(key));
            } else if record.would_change(claimed, safe_claimed) {
                self.store(Change::Read { key, claimed, safe_claimed, at_unix_s });
            }
        }
    }

    pub(super) fn lose_chain(&mut self) {
        self.behind = true;
    }

    fn channel(&self, user: Address) -> Channel {
        let channel = self.seen.0.channel(user, POD);
        Channel {
            locked: amount(channel.locked),
            claimed: amount(channel.claimed),
            exit_at_unix_s: channel.exit_at_unix_s,
            epoch: channel.epoch,
        }
    }

    fn safe_locked(&self, user: Address) -> Amount {
        amount(self.seen.1.channel(user, POD).locked)
    }

    /// A request arrives: admission, then the enclave's ledger.
    pub(super) fn ask(
        &mut self,
        user: Address,
        promise: Promise,
        now_unix_s: u64,
        chain: &mut Chain,
    ) -> Answer {
        let key = LedgerKey { user, epoch: promise.epoch };
        let voucher = Voucher { identity: self.identity, epoch: promise.epoch, cap: promise.cap };
        if voucher.signer(&promise.voucher) != user {
            return Answer::Refused(Code::BadVoucher);
        }
        let ask = Ask {
            user,
            epoch: promise.epoch,
            cap: promise.cap,
            terms_hash: TERMS,
            reserve: promise.reserve,
            charged: self.enclave.charged(key),
            allocation: promise.allocation.as_ref().map(|(allocation, signature)| Grant {
                row: LockRow {
                    total: allocation.total,
                    deadline_unix_s: allocation.deadline_unix_s,
                    terms_hash: TERMS,
                    epoch: allocation.epoch,
                    signature: *signature,
                },
                signer: Some(allocation.signer(signature)),
            }),
        };
        let (decision, reserve) = self.decide(&ask, now_unix_s);
        let known = match decision {
            // A cap that is too low is for the enclave to refuse.
            Decision::Admit { cumulative } | Decision::CapTooLow { cumulative } => cumulative,
            Decision::OnCredit { cumulative, lock } => {
                self.send_lock(user, lock, chain);
                cumulative
            }
            Decision::AfterLock { lock } => {
                self.send_lock(user, lock, chain);
                return Answer::Refused(Code::BalanceTooLow);
            }
            Decision::Deny(denial) => return Answer::Refused(denial.code),
        };
        match self.enclave.reserve(key, known, promise.cap, promise.reserve) {
            Ok(reservation) => {
                Answer::Open(Box::new(Open { promise, user, reservation, _reserve: reserve }))
            }
            Err(ReserveError::CapTooLow { charged, .. }) => Answer::CapTooLow(charged),
            Err(_) => Answer::Refused(Code::EpochMismatch),
        }
    }

    fn decide(&mut self, ask: &Ask, now_unix_s: u64) -> (Decision, Option<Reserve>) {
        let (user, channel) = (ask.user, self.channel(ask.user));
        let free = |escrow: &EscrowModel| escrow.account(user).map_or(0, |account| account.free);
        let room = Amount::from(RISK_CAP - self.risked);
        let standing = if self.behind { Standing::Behind { room } } else { Standing::Current };
        let mut facts = Facts {
            terms_hash: TERMS,
            limits: limits(),
            payments: self.journal().condition(),
            standing,
            now_unix_s,
            free: amount(free(&self.seen.0)),
            safe_free: amount(free(&self.seen.1).min(free(&self.seen.0))),
            channel,
            safe_locked: self.safe_locked(user),
            others_at_risk: Amount::ZERO,
            claimed: self.journal().cumulative(ChannelKey { user, epoch: ask.epoch }),
            in_flight: Amount::ZERO,
            pending_lock: self.locks.get(&user).copied(),
        };
        let charged = if ask.epoch == channel.epoch {
            ask.charged.max(facts.claimed).max(channel.claimed)
        } else {
            channel.claimed
        };
        let seen = Seen { channel, safe_locked: facts.safe_locked, charged };
        let decide = |in_flight, others_at_risk| {
            (facts.in_flight, facts.others_at_risk) = (in_flight, others_at_risk);
            let decision = admission::decide(ask, &facts);
            let serve = matches!(decision, Decision::Admit { .. } | Decision::OnCredit { .. });
            (decision, serve)
        };
        let (decision, reserve) = self.reserves.reserve_if(user, ask.reserve, seen, decide);
        if reserve.is_some() && self.behind {
            self.risked += u64::try_from(ask.reserve.value()).expect("within the risk cap");
        }
        (decision, reserve)
    }

    fn send_lock(&mut self, user: Address, lock: Option<LockRow>, chain: &mut Chain) {
        let Some(row) = lock else { return };
        self.locks.insert(user, row.total);
        let allocation = super::signed::Allocation {
            epoch: row.epoch,
            total: row.total,
            deadline_unix_s: row.deadline_unix_s,
        };
        chain.waiting.push(Tx::Lock(AllocationRow {
            user: allocation.signer(&row.signature),
            total: row.total.value(),
            epoch: row.epoch,
            deadline_unix_s: row.deadline_unix_s,
        }));
    }

    /// The engine is done: a charge, a claim, and what the client is told.
    pub(super) fn finish(&self, open: Open, cost: Amount, now_unix_s: u64) -> End {
        let Open { promise, user, reservation, _reserve } = open;
        let cost = cost.min(reservation.reserve());
        let mut charge: Charge = self.runtime.block_on(reservation.charge(cost));
        let cumulative = charge.cumulative;
        charge.hand_over();
        let claim = self.claim(user, &promise, &charge, now_unix_s);
        if !self.store(Change::Claim(Box::new(claim))) {
            charge.take_back();
            return End::NotStored;
        }
        self.reserves.charge(user, promise.epoch, cumulative);
        End::Receipt { cumulative, cost }
    }

    fn claim(&self, user: Address, promise: &Promise, charge: &Charge, now_unix_s: u64) -> Claim {
        let (epoch, cumulative) = (promise.epoch, charge.cumulative);
        Claim {
            key: ChannelKey { user, epoch },
            cap: promise.cap,
            voucher_sig: promise.voucher,
            identity: self.identity,
            seq: charge.seq,
            cumulative,
            receipt_hash: Digest32([7; 32]),
            settlement_sig: Settlement { user, epoch, cumulative }.sign(self.identity),
            prompt_tokens: 1,
            completion_tokens: 1,
            settled: self.channel(user).claimed,
            at_unix_s: now_unix_s,
        }
    }

    /// Sends everything that the contract would pay; whether there was anything.
    pub(super) fn settle(&mut self, chain: &mut Chain, now_unix_s: u64) -> bool {
        let unsettled = self.journal().unsettled();
        let channels: Vec<Channel> =
            unsettled.iter().map(|record| self.channel(record.key.user)).collect();
        let plan = Plan::new(&unsettled, &channels, Some(self.identity));
        for change in plan.news(now_unix_s) {
            self.store(change);
        }
        let (batch, mut receipts) = (plan.batch, plan.receipts);
        let (covered, rest): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|record| self.covers(record));
        receipts.extend(rest);
        let sent = !covered.is_empty() || !receipts.is_empty();
        if !covered.is_empty() {
            let identity = self.identity;
            let rows = covered.iter().map(|record| row(record, identity)).collect();
            chain.waiting.push(Tx::Settle { identity, rows });
        }
        if !receipts.is_empty() {
            chain.waiting.push(Tx::SettleReceipts(receipts.iter().map(receipt).collect()));
        }
        sent
    }

    /// Whether the enclave signs a row: it has claimed as much itself, and the voucher is for it.
    fn covers(&self, record: &ChannelRecord) -> bool {
        let ChannelKey { user, epoch } = record.key;
        record.cumulative <= self.enclave.claimed(LedgerKey { user, epoch })
            && row(record, self.identity).user == user
    }

    /// The final amount of a channel, if nothing is open in it.
    pub(super) fn close(&self, user: Address, epoch: u32) -> Option<Amount> {
        self.enclave.close(LedgerKey { user, epoch }).ok()
    }
}

/// A record as a row of a batch by `identity`: the voucher recovers to its signer for that key
/// alone.
fn row(record: &ChannelRecord, identity: Address) -> VoucherRow {
    let voucher = Voucher { identity, epoch: record.key.epoch, cap: record.cap };
    VoucherRow {
        user: voucher.signer(&record.voucher_sig),
        cap: record.cap.value(),
        claimed: record.cumulative.value(),
        epoch: record.key.epoch,
    }
}

fn receipt(record: &ChannelRecord) -> ReceiptClaim {
    let row = row(record, record.identity);
    let settled =
        Settlement { user: row.user, epoch: record.key.epoch, cumulative: record.cumulative };
    let signer = settled.signer(&record.settlement_sig);
    ReceiptClaim { row, identity: record.identity, signer }
}

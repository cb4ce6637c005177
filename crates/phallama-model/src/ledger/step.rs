//! What a byte does: the lower five bits choose, the upper three say how much.

use phallama_protocol::demand::Demand;
use phallama_protocol::ids::{Amount, Digest32};
use phallama_protocol::offers::Offer;
use phallama_protocol::refusal::Code;

use super::POD;
use super::chain::Tx;
use super::pod::{Answer, End};
use super::world::{Letter, USERS, World};

/// Free money moves in pieces of this.
const PIECE: u128 = 2_000;

/// What becomes of an answer on its way to the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// Later, perhaps after others.
    Late,
    Lost,
}

impl World {
    /// Does one thing; returns what it was.
    pub(super) fn step(&mut self, byte: u8) -> &'static str {
        let (op, how) = (byte & 31, usize::from(byte >> 5));
        let (user, much) = (how % USERS, how / USERS);
        match op {
            0..=4 => self.ask(user, usize::from(op) * 4 + much),
            5..=7 => self.finish(how, 4, Fate::Arrives),
            8 => self.finish(how, much, Fate::Arrives),
            9 => self.finish(how, 3, Fate::Late),
            10 => self.finish(how, 2, Fate::Lost),
            11 => self.fail(how),
            12 => self.deliver_late(how),
            13 | 14 => self.read_chain(),
            15 => self.lose_chain(),
            16 => self.blocks(1, 12),
            17 => self.blocks(how + 1, 12),
            18 => self.blocks(1, 45),
            19 => self.blocks(1, 700),
            20 => self.reorganise(how % 3 + 1),
            21 => self.drop_or_repeat_a_transaction(how),
            22 | 23 => self.settle(),
            24 => self.collect(),
            25 => self.break_or_repair_the_disk(),
            26 => self.crash(byte.wrapping_mul(37), false),
            27 => self.copy_the_disk(),
            28 if how < 2 => self.crash(byte, true),
            28 => self.restart_the_enclave(),
            29 => self.exit(user, much),
            30 => self.close(user),
            _ => self.money(user, much),
        }
    }

    fn ask(&mut self, user: usize, size: usize) -> &'static str {
        let now = self.now_unix_s;
        let Ok(reserve) = reserve(size) else { return "a request too large" };
        if self.users[user].distrusts.is_some() {
            return "a request that is not made";
        }
        let asking = &mut self.users[user];
        let identity = self.pod.identity;
        let Some(promise) = asking.promise(self.chain.head(), identity, reserve, now) else {
            return "a request without a promise";
        };
        match self.pod.ask(asking.address, promise.clone(), now, &mut self.chain) {
            Answer::Open(open) => {
                self.report.admitted += 1;
                self.open.push((user, *open));
                "a request"
            }
            Answer::Refused(code) => {
                asking.not_charged(&promise, now);
                if code != Code::BalanceTooLow {
                    asking.observe(self.chain.head());
                }
                "a request that is refused"
            }
            Answer::CapTooLow(charged) => {
                asking.not_charged(&promise, now);
                asking.catch_up(self.chain.head(), promise.epoch, charged);
                "a request with a low cap"
            }
        }
    }

    /// The engine is done with one of the answers, at `quarters` of the reserve.
    fn finish(&mut self, which: usize, quarters: usize, fate: Fate) -> &'static str {
        if self.open.is_empty() {
            return "nothing to finish";
        }
        let (user, open) = self.open.remove(which % self.open.len());
        let (promise, now) = (open.promise.clone(), self.now_unix_s);
        let part = promise.reserve.value() * quarters.min(4) as u128 / 4;
        let cost = Amount::new(part).expect("less than the reserve");
        let key = (open.user, promise.epoch);
        let End::Receipt { cumulative, cost } = self.pod.finish(open, cost, now) else {
            self.report.not_stored += 1;
            // An answer that had begun: the client cannot know.
            self.users[user].lose(&promise, now);
            return "an answer that is not stored";
        };
        self.report.stored += 1;
        let known = self.acknowledged.entry(key).or_default();
        *known = (*known).max(cumulative);
        match fate {
            _ if now >= promise.over_at_unix_s => self.users[user].lose(&promise, now),
            Fate::Lost => self.users[user].lose(&promise, now),
            Fate::Late => self.letters.push(Letter { user, promise, cumulative, cost }),
            Fate::Arrives => {
                self.letters.push(Letter { user, promise, cumulative, cost });
                self.deliver(self.letters.len() - 1);
            }
        }
        "an answer"
    }

    /// The worker fails: nothing is charged.
    fn fail(&mut self, which: usize) -> &'static str {
        if self.open.is_empty() {
            return "nothing to fail";
        }
        let (user, open) = self.open.remove(which % self.open.len());
        self.users[user].not_charged(&open.promise, self.now_unix_s);
        "an answer that fails"
    }

    fn deliver_late(&mut self, which: usize) -> &'static str {
        if self.letters.is_empty() {
            return "nothing to deliver";
        }
        self.deliver(which % self.letters.len());
        "a late receipt"
    }

    fn read_chain(&mut self) -> &'static str {
        self.pod.read_chain(&self.chain);
        "the pod reads the chain"
    }

    fn lose_chain(&mut self) -> &'static str {
        self.pod.lose_chain();
        "the chain does not answer"
    }

    fn blocks(&mut self, blocks: usize, seconds: u64) -> &'static str {
        self.mine(blocks, seconds);
        "blocks"
    }

    fn reorganise(&mut self, depth: usize) -> &'static str {
        self.chain.reorganise(depth);
        self.report.taken_back += 1;
        "blocks are taken back"
    }

    fn drop_or_repeat_a_transaction(&mut self, how: usize) -> &'static str {
        let waiting = &mut self.chain.waiting;
        if waiting.is_empty() {
            return "no transaction waits";
        }
        let index = how / 2 % waiting.len();
        if how.is_multiple_of(2) {
            waiting.remove(index);
            return "a transaction is dropped";
        }
        let again = waiting[index].clone();
        waiting.insert(0, again);
        "a transaction is sent again"
    }

    fn settle(&mut self) -> &'static str {
        if self.pod.settle(&mut self.chain, self.now_unix_s) {
            self.report.settlements += 1;
        }
        "the pod settles"
    }

    fn collect(&mut self) -> &'static str {
        self.chain.waiting.push(Tx::Collect);
        "the pod collects"
    }

    fn break_or_repair_the_disk(&mut self) -> &'static str {
        if self.pod.disk().is_failing() {
            self.pod.repair_disk();
            return "the disk works again";
        }
        self.pod.disk().set_failing(true);
        "the disk fails"
    }

    /// The machine loses its power; perhaps an old copy of its disk is put back.
    fn crash(&mut self, kept: u8, old: bool) -> &'static str {
        self.lose_open_requests();
        let kept = u64::from(kept).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let copy = self.copy.take().filter(|_| old);
        self.report.crashes += 1;
        let Some((copy, acknowledged)) = copy else {
            self.pod.crash(kept, None, &mut self.chain);
            return "the power goes";
        };
        self.pod.crash(kept, Some(&copy), &mut self.chain);
        self.acknowledged = acknowledged;
        self.report.restored += 1;
        "an old copy is put back"
    }

    fn copy_the_disk(&mut self) -> &'static str {
        self.copy = Some((self.pod.disk().copy(), self.acknowledged.clone()));
        "the disk is copied"
    }

    fn restart_the_enclave(&mut self) -> &'static str {
        self.lose_open_requests();
        self.pod.restart_enclave(&mut self.chain);
        "the enclave starts again"
    }

    fn lose_open_requests(&mut self) {
        for (user, open) in std::mem::take(&mut self.open) {
            self.users[user].lose(&open.promise, self.now_unix_s);
        }
    }

    fn exit(&mut self, user: usize, how: usize) -> &'static str {
        let user = self.users[user].address;
        if how == 0 {
            self.chain.waiting.push(Tx::StartExit(user));
            return "an exit starts";
        }
        if how == 3 {
            self.mine(1, crate::escrow::EXIT_WINDOW_S);
        }
        self.chain.waiting.push(Tx::FinishExit(user));
        self.ended_early = true;
        "an exit ends"
    }

    /// Both sides agree on the end of a channel.
    fn close(&mut self, user: usize) -> &'static str {
        let user = self.users[user].address;
        let epoch = self.chain.head().channel(user, POD).epoch;
        let Some(cumulative) = self.pod.close(user, epoch) else { return "no close" };
        let (cumulative, identity) = (cumulative.value(), self.pod.identity);
        self.chain.waiting.push(Tx::Close { user, epoch, cumulative, identity });
        self.ended_early = true;
        "a close"
    }

    fn money(&mut self, user: usize, how: usize) -> &'static str {
        let user = self.users[user].address;
        let piece = PIECE * (1 + how as u128 / 2);
        let deposits = how.is_multiple_of(2);
        let tx = if deposits { Tx::Deposit(user, piece) } else { Tx::Withdraw(user, piece) };
        self.chain.waiting.push(tx);
        if deposits { "a deposit" } else { "a withdrawal" }
    }
}

/// The reserve of a request, by the page's formula.
fn reserve(size: usize) -> Result<Amount, phallama_protocol::ids::AmountError> {
    let offer = Offer {
        model: "smollm2:135m".to_owned(),
        weights_sha256: Digest32([0; 32]),
        input_price_per_mtok: Amount::from(500_000),
        output_price_per_mtok: Amount::from(2_000_000),
        context_tokens: 8_192,
        max_output_tokens: 2_048,
    };
    let body_bytes = u64::try_from(8 * size).unwrap_or(u64::MAX);
    offer.reserve(&Demand::of_chat(body_bytes, 1, 1 + u32::try_from(size * 9).unwrap_or(0)))
}

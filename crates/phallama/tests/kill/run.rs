//! One run of kills, and what is held after each.

use std::time::Duration;

use phallama_host::journal::ChannelRecord;
use phallama_protocol::ids::Amount;

use crate::apps::{Apps, Told};
use crate::moment::Moment;
use crate::random::Random;
use crate::stack::Stack;

const USERS: u32 = 2;
const APPS_PER_USER: u64 = 2;
/// One of so many kills is at a moment of a settlement.
const SETTLEMENT_EVERY: u64 = 12;
/// One of so many pods leaves an enclave behind that does not answer any more.
const HANGING_EVERY: u64 = 25;
/// Longest time between the return of a process and its death, in milliseconds.
const LIFE_MAX_MS: u64 = 400;
/// How soon the books and the contract agree after a settlement was interrupted.
const SETTLED_WITHIN: Duration = Duration::from_mins(1);

/// What no run may end with: each would say that books contradict each other.
const FORBIDDEN: &[&str] = &[
    "answer_tampered",
    "claim_too_high",
    "duplicate_request",
    "pod_misbehaved",
    "pod_overclaimed",
    "receipt_rejected",
];

/// The result.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) kills: u64,
    pub(crate) lost_above_one_increment: u64,
    /// Milliseconds from each start until the pod served.
    pub(crate) pod: Vec<u64>,
    /// Milliseconds from each start until the local server answered.
    pub(crate) server: Vec<u64>,
    pub(crate) settlement: u64,
    pub(crate) answers: u64,
}

pub(crate) struct Run {
    stack: Stack,
    apps: Vec<Apps>,
    random: Random,
    report: Report,
    reserve: u128,
    wanted: u64,
    /// What each user has been charged beyond what apps were told, when it was last looked at.
    exposed: Vec<u128>,
    /// Kills that each user has met since.
    met: Vec<u64>,
}

impl Run {
    pub(crate) async fn start(wanted: u64) -> Self {
        let seed = std::env::var("PHALLAMA_KILL_SEED").ok();
        let seed = seed.map_or(1, |text| text.parse().expect("PHALLAMA_KILL_SEED is a number"));
        let stack = Stack::start(USERS).await;
        let apps: Vec<Apps> = (seed..)
            .zip(&stack.users)
            .map(|(seed, user)| Apps::start(&user.url(), APPS_PER_USER, seed))
            .collect();
        for apps in &apps {
            apps.answers(3).await;
        }
        let reserve = stack.reserve().await;
        let users = apps.len();
        Self {
            stack,
            apps,
            random: Random::new(seed),
            report: Report::default(),
            reserve,
            wanted,
            exposed: vec![0; users],
            met: vec![0; users],
        }
    }

    pub(crate) fn kills(&self) -> u64 {
        self.report.kills
    }

    /// One kill, at random, and everything that is held after it.
    pub(crate) async fn kill(&mut self) {
        let life = Duration::from_millis(self.random.below(LIFE_MAX_MS));
        tokio::time::sleep(life).await;
        let number = self.report.kills;
        match number % SETTLEMENT_EVERY {
            0 => {
                let moment = (number / SETTLEMENT_EVERY) % (Moment::ALL.len() as u64);
                let moment = Moment::ALL[usize::try_from(moment).expect("one of five")];
                self.kill_in_settlement(moment).await;
            }
            n if n % 5 < 2 => self.kill_server().await,
            _ => self.kill_pod().await,
        }
        self.report.kills += 1;
        if self.report.kills.is_multiple_of(20) {
            let answers: u64 = self.apps.iter().map(|apps| apps.told().answers).sum();
            eprintln!("kill: {} of {}, {answers} answers", self.report.kills, self.wanted);
        }
    }

    async fn kill_pod(&mut self) {
        self.stack.pod.kill();
        for met in &mut self.met {
            *met += 1;
        }
        self.pause().await;
        self.check_journal();
        if self.report.kills.is_multiple_of(HANGING_EVERY) {
            self.stack.hang_orphan();
        }
        self.start_pod().await;
        self.resume();
    }

    async fn start_pod(&mut self) {
        let took = self.stack.start_pod().await;
        self.report.pod.push(u64::try_from(took.as_millis()).expect("a short time"));
        let (enclaves, workers) = (self.stack.enclaves(), self.stack.workers());
        assert_eq!((enclaves.len(), workers.len()), (1, 1), "{}", self.stack.pod_log());
    }

    async fn kill_server(&mut self) {
        let users = self.apps.len() as u64;
        let user = usize::try_from(self.random.below(users)).expect("a user");
        self.apps[user].outage();
        self.stack.users[user].kill_server();
        self.met[user] += 1;
        let took = self.stack.users[user].start_server().await;
        self.apps[user].outage();
        self.report.server.push(u64::try_from(took.as_millis()).expect("a short time"));
        self.apps[user].answers(1).await;
    }

    /// Interrupts the settlement of a pod that is asked to end.
    async fn kill_in_settlement(&mut self, moment: Moment) {
        for apps in &self.apps {
            apps.answers(1).await;
        }
        self.pause().await;
        let Stack { rpc, devchain, pod, .. } = &mut self.stack;
        let reached = moment.reached(rpc, devchain, || pod.interrupt());
        let reached = tokio::time::timeout(SETTLED_WITHIN, reached).await;
        let hold = reached.unwrap_or_else(|_| panic!("no settlement reaches {moment:?}"));
        pod.kill();
        hold.cut();
        Moment::over(devchain);
        self.check_journal();
        let interrupted = self.stack.journal();
        self.start_pod().await;
        self.settle().await;
        self.check_settled(&interrupted).await;
        self.start_pod().await;
        self.report.settlement += 1;
        self.resume();
    }

    /// A clean end of the pod: it settles.
    async fn settle(&mut self) {
        self.stack.pod.interrupt();
        let status = self.stack.pod.ended(SETTLED_WITHIN).await;
        assert!(status.success(), "{status}\n{}", self.stack.pod_log());
    }

    /// The contract has paid what was charged, and each unit once.
    async fn check_settled(&self, before: &[ChannelRecord]) {
        let mut paid = Amount::ZERO;
        let journal = self.stack.journal();
        for user in &self.stack.users {
            let of = |records: &[ChannelRecord]| {
                let of_user = records.iter().find(|r| r.key.user == user.key.address());
                of_user.map(|record| (record.cumulative, record.unsettled()))
            };
            let claimed = self.stack.channel(&user.key).await.claimed;
            assert_eq!(of(&journal), Some((claimed, Amount::ZERO)), "settled, and noted");
            assert_eq!(of(before).map(|(cumulative, _)| cumulative), Some(claimed));
            paid = paid.checked_add(claimed).expect("small amounts");
        }
        let credit = self.stack.chain.credit(self.stack.pod_id).await.expect("read");
        assert_eq!(credit, paid, "what users paid is what the pod has, to the unit");
    }

    async fn pause(&self) {
        for apps in &self.apps {
            apps.pause().await;
        }
    }

    fn resume(&self) {
        for apps in &self.apps {
            apps.resume();
        }
    }

    /// With no request open and the pod dead: what the journal holds beside what apps were told.
    fn check_journal(&mut self) {
        let journal = self.stack.journal();
        for (index, user) in self.stack.users.iter().enumerate() {
            let told = self.apps[index].told();
            check_told(&told);
            let record = journal.iter().find(|record| record.key.user == user.key.address());
            let charged = record.map_or(0, |record| record.cumulative.value());
            assert!(charged >= told.cumulative, "an acknowledged claim is gone: {told:?}");
            let exposed = charged.checked_sub(told.cost).expect("answers were charged");
            let allowed = u128::from(self.met[index] * APPS_PER_USER) * self.reserve;
            let more = exposed.checked_sub(self.exposed[index]).expect("a charge stands");
            if more > allowed {
                eprintln!("kill: user {index} lost {more}, more than {allowed}");
                self.report.lost_above_one_increment += 1;
            }
            (self.exposed[index], self.met[index]) = (exposed, 0);
        }
    }

    /// Stops the apps, lets the pod settle, and adds everything up.
    pub(crate) async fn finish(mut self) -> Report {
        // Everybody still gets answers.
        for apps in &self.apps {
            apps.answers(2).await;
        }
        let mut told = Vec::new();
        for apps in std::mem::take(&mut self.apps) {
            told.push(apps.stop().await);
        }
        self.settle().await;
        let journal = self.stack.journal();
        self.check_settled(&journal).await;
        for (index, user) in self.stack.users.iter().enumerate() {
            check_told(&told[index]);
            let claimed = self.stack.channel(&user.key).await.claimed.value();
            let receipts = user.receipts().await;
            let costs = receipts.iter().map(|stored| stored.check().expect("a valid receipt"));
            let receipted: u128 = costs.map(|signed| signed.receipt.cost.value()).sum();
            assert!(receipts.len() as u64 >= told[index].answers, "every answer has its receipt");
            assert!(receipted >= told[index].cost && claimed >= receipted);
            let lost = claimed - receipted;
            let allowed =
                self.exposed[index] + u128::from(self.met[index] * APPS_PER_USER) * self.reserve;
            assert!(lost <= allowed, "user {index}: {lost} is above {allowed}");
            eprintln!(
                "kill: user {index}: {} answers, paid {claimed}, receipts {receipted}, lost {lost}, {:?}",
                told[index].answers, told[index].failures
            );
            self.report.answers += told[index].answers;
        }
        std::mem::take(&mut self.report)
    }
}

fn check_told(told: &Told) {
    assert_eq!(told.faults, Vec::<String>::new());
    let forbidden = FORBIDDEN.iter().find(|code| told.failures.contains_key(**code));
    assert_eq!(forbidden, None, "{:?}", told.failures);
}

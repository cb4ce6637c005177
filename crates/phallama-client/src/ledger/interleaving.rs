//! Any order of beginning, losing, answering and asking again, against a pod that is honest: it
//! charges an id once at most, and nothing beyond a cap.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{NOW, POD, account, request};
use super::*;
use crate::receipt::tests::stored;

const PER_DAY: u128 = 600;
const PER_POD: u128 = 500;
const PER_REQUEST: u128 = 90;
const IDS: u8 = 12;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The app asks, or asks again.
    Begin { id: u8, reserve: u128 },
    /// The pod answers, and the receipt arrives.
    Answer { id: u8, part: u8 },
    /// The answer is lost; the pod has charged it, or never saw it.
    Lose { id: u8, part: Option<u8> },
    /// The process dies with the request open; the pod has charged it, or never saw it.
    Crash { id: u8, part: Option<u8> },
    /// The enclave refuses without charge.
    Refuse { id: u8 },
    /// Time passes, in seconds.
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..IDS;
    prop_oneof![
        4 => (id.clone(), 1_u128..100).prop_map(|(id, reserve)| Step::Begin { id, reserve }),
        3 => (id.clone(), any::<u8>()).prop_map(|(id, part)| Step::Answer { id, part }),
        2 => (id.clone(), any::<Option<u8>>()).prop_map(|(id, part)| Step::Lose { id, part }),
        1 => (id.clone(), any::<Option<u8>>()).prop_map(|(id, part)| Step::Crash { id, part }),
        1 => id.prop_map(|id| Step::Refuse { id }),
        2 => (1_u64..400).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// The pod, and what the test knows of the client.
struct Model {
    ledger: Ledger,
    now: u64,
    /// The enclave's cumulative amount.
    charged: u128,
    /// Ids that the enclave has charged, and what.
    costs: BTreeMap<u8, u128>,
    open: BTreeMap<u8, Reservation>,
    /// First reserve of an id whose end was never known.
    lost: BTreeMap<u8, u128>,
    answered: BTreeSet<u8>,
}

impl Model {
    fn wanted(&self, id: u8, reserve: u128) -> Wanted {
        let mut wanted = request(id + 1, reserve);
        wanted.limits = SpendLimits {
            per_request: Amount::new(PER_REQUEST).ok(),
            per_day: Amount::new(PER_DAY).ok(),
            per_pod: Amount::new(PER_POD).ok(),
        };
        wanted.wish.pod_max = Some(PER_POD);
        wanted.wish.now_unix_s = self.now;
        wanted.over_at_unix_s = self.now + 600;
        wanted
    }

    /// As `Client::promise` and one catching up with the pod's amount.
    fn begin(&mut self, id: u8, reserve: u128) -> Result<(), TestCaseError> {
        for caught_up in [false, true] {
            let made = match self.ledger.reserve(&self.wanted(id, reserve)).unwrap() {
                Ok(made) => made,
                Err(refused) => return self.may_refuse(id, reserve, refused),
            };
            prop_assert!(!self.open.contains_key(&id), "two promises for one id");
            prop_assert!(!self.answered.contains(&id), "an answered id is promised again");
            if let Some(first) = self.lost.get(&id) {
                prop_assert_eq!(made.reserve, *first, "the same money");
                prop_assert!(made.repeats);
            }
            let others: u128 = self.open.values().map(|open| open.reserve).sum();
            let record = self.ledger.channel(&account(), POD).unwrap().unwrap();
            prop_assert!(made.plan.cap >= record.proven + others + made.reserve);
            prop_assert!(made.plan.cap <= PER_POD && made.reserve <= PER_REQUEST);
            if self.charged + others + made.reserve <= made.plan.cap {
                self.open.insert(id, made);
                return Ok(());
            }
            // `cap_too_low`: the enclave says where it stands, and charges nothing.
            let how = if made.repeats { self.unknown() } else { Outcome::NotCharged };
            self.ledger.finish(&made, &how, self.now).unwrap();
            prop_assert!(!caught_up, "one catching up is enough");
            let said = self.ledger.adopt(&account(), POD, 0, self.charged, self.now).unwrap();
            prop_assert_eq!(said, Ok(()), "an honest pod is not accused");
        }
        Ok(())
    }

    fn may_refuse(&self, id: u8, reserve: u128, refused: NotReserved) -> Result<(), TestCaseError> {
        match refused {
            NotReserved::Repeated(Repeated::Open) => prop_assert!(self.open.contains_key(&id)),
            NotReserved::Repeated(Repeated::Answered) => {
                prop_assert!(self.answered.contains(&id));
            }
            NotReserved::Repeated(Repeated::Larger) => {
                prop_assert!(self.lost.get(&id).is_some_and(|first| reserve > *first));
            }
            NotReserved::Repeated(Repeated::Charged) => {
                prop_assert!(self.lost.contains_key(&id), "only a lost one");
            }
            NotReserved::Repeated(Repeated::Elsewhere(_)) | NotReserved::Inconsistent(_) => {
                prop_assert!(false, "{refused:?}");
            }
            NotReserved::Plan(_) | NotReserved::Limit { .. } => {}
        }
        Ok(())
    }

    fn unknown(&self) -> Outcome {
        Outcome::Unknown { covered_until_unix_s: self.now + 30 }
    }

    /// The enclave charges a part of the reserve, unless it has charged the id before.
    fn charge(&mut self, id: u8, reserve: u128, part: u8) -> Option<u128> {
        if self.costs.contains_key(&id) {
            return None;
        }
        let cost = reserve * u128::from(part) / 255;
        self.costs.insert(id, cost);
        self.charged += cost;
        Some(cost)
    }

    fn answer(&mut self, id: u8, part: u8) -> Result<(), TestCaseError> {
        let Some(made) = self.open.remove(&id) else { return Ok(()) };
        let Some(cost) = self.charge(id, made.reserve, part) else {
            // `duplicate_request`: the first attempt was charged, its answer is gone.
            self.lost.entry(id).or_insert(made.reserve);
            self.ledger.finish(&made, &self.unknown(), self.now).unwrap();
            return Ok(());
        };
        let bounds = self.ledger.bounds(&made).unwrap();
        prop_assert!(self.charged <= bounds.cap_highest);
        prop_assert!(self.charged <= bounds.before_cost + cost, "an honest receipt is accepted");
        let receipt = Box::new(stored(id + 1, self.now));
        let how = Outcome::Settled { cumulative: self.charged, cost, receipt };
        self.ledger.finish(&made, &how, self.now).unwrap();
        self.answered.insert(id);
        self.lost.remove(&id);
        Ok(())
    }

    fn lose(&mut self, id: u8, part: Option<u8>, crash: bool) {
        let Some(made) = self.open.remove(&id) else { return };
        if let Some(part) = part {
            self.charge(id, made.reserve, part);
        }
        self.lost.entry(id).or_insert(made.reserve);
        if crash {
            // Nobody finishes it; its time has to pass.
            self.now += 601;
            for (id, open) in std::mem::take(&mut self.open) {
                self.lost.entry(id).or_insert(open.reserve);
            }
        } else {
            self.ledger.finish(&made, &self.unknown(), self.now).unwrap();
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let spent = self.ledger.spent_on_day(&account(), self.now).unwrap();
        prop_assert!(spent <= PER_DAY, "{spent} of {PER_DAY}");
        prop_assert!(self.charged <= spent, "{} charged, {spent} counted", self.charged);
        prop_assert!(self.charged <= PER_POD);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Caps cover what was charged and is in flight, limits hold, no id is promised twice or for
    /// more, what the pod has charged is counted, and an honest pod is never accused.
    #[test]
    fn an_id_costs_once_and_limits_hold_in_every_order(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path()).unwrap();
        let mut model = Model {
            ledger, now: NOW, charged: 0, costs: BTreeMap::new(), open: BTreeMap::new(),
            lost: BTreeMap::new(), answered: BTreeSet::new(),
        };
        for step in steps {
            match step {
                Step::Begin { id, reserve } => model.begin(id, reserve)?,
                Step::Answer { id, part } => model.answer(id, part)?,
                Step::Lose { id, part } => model.lose(id, part, false),
                Step::Crash { id, part } => model.lose(id, part, true),
                Step::Refuse { id } => {
                    if let Some(made) = model.open.remove(&id) {
                        let how = if made.repeats { model.unknown() } else { Outcome::NotCharged };
                        model.ledger.finish(&made, &how, model.now).unwrap();
                    }
                }
                Step::Wait { seconds } => {
                    model.now += seconds;
                    let over: Vec<u8> = model.open.keys().copied().collect();
                    // What takes longer than allowed is lost by then.
                    for id in over {
                        model.lose(id, None, false);
                    }
                }
            }
            model.check()?;
        }
    }
}

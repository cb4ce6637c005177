//! Runs sequences on all processors, counts how calls end, and cuts down what fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::action::Action;
use crate::encode::ERRORS;
use crate::generate::Generator;
use crate::world::World;

const CALLS: usize = 80;
/// Every sequence follows from it and its number.
const SEED: u64 = 0x7068_616c_6c61_6d61;

/// How the calls ended.
#[derive(Default)]
pub(crate) struct Report {
    sequences: usize,
    pub(crate) calls: usize,
    /// By the name of the call, and "done" or the error's name.
    ended: BTreeMap<(&'static str, &'static str), usize>,
    /// The first sequence that failed.
    pub(crate) failure: Option<String>,
}

/// Runs the sequences with these numbers.
pub(crate) fn run(sequences: &[usize]) -> Report {
    let (next, report) = (AtomicUsize::new(0), Mutex::new(Report::default()));
    let start = World::new();
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        for _ in 0..processors {
            scope.spawn(|| {
                while let Some(number) = sequences.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = sequence(&start, *number);
                    let mut report = report.lock().expect("no holder panics");
                    if report.failure.is_some() {
                        return;
                    }
                    report.add(outcome, &start, *number);
                }
            });
        }
    });
    report.into_inner().expect("no holder panics")
}

/// The calls of a sequence as far as they went, how each ended, and why the last one failed.
struct Outcome {
    actions: Vec<Action>,
    ended: Vec<&'static str>,
    fault: Option<String>,
}

fn sequence(start: &World, number: usize) -> Outcome {
    let mut generator = Generator::new(SEED ^ number as u64);
    let mut world = start.clone();
    let mut outcome = Outcome { actions: Vec::new(), ended: Vec::new(), fault: None };
    for _ in 0..CALLS {
        let action = generator.next(&world.model);
        outcome.actions.push(action.clone());
        match step(&mut world, &action) {
            Ok(word) => outcome.ended.push(word),
            Err(fault) => {
                outcome.fault = Some(fault);
                break;
            }
        }
    }
    outcome
}

/// A panic is a fault like any other.
fn step(world: &mut World, action: &Action) -> Result<&'static str, String> {
    let stepped = catch_unwind(AssertUnwindSafe(|| world.step(action)));
    stepped.unwrap_or_else(|_| Err("a panic, see above".to_owned()))
}

fn replay(start: &World, actions: &[Action]) -> Option<String> {
    let mut world = start.clone();
    actions.iter().find_map(|action| step(&mut world, action).err())
}

/// Leaves out what the fault does not need: halves, quarters, single calls.
fn shrunk(start: &World, mut actions: Vec<Action>) -> Vec<Action> {
    let mut piece = actions.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < actions.len() {
            let mut fewer = actions.clone();
            fewer.drain(at..actions.len().min(at + piece));
            if replay(start, &fewer).is_some() {
                actions = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    actions
}

impl Report {
    fn add(&mut self, outcome: Outcome, start: &World, number: usize) {
        self.sequences += 1;
        self.calls += outcome.ended.len();
        for (action, word) in outcome.actions.iter().zip(&outcome.ended) {
            *self.ended.entry((action.name(), word)).or_default() += 1;
        }
        let Some(fault) = outcome.fault else { return };
        let actions = shrunk(start, outcome.actions);
        let fault = replay(start, &actions).unwrap_or(fault);
        let mut text = format!("sequence {number}: {fault}\n\nthe calls that matter:\n");
        for action in &actions {
            let _ = writeln!(text, "  {action:?}");
        }
        let how = "cargo test -p phallama-model --test escrow";
        let _ = write!(text, "\nrepeat: PHALLAMA_ESCROW_REPEAT={number} {how}");
        self.failure = Some(text);
    }

    /// Calls that never succeeded, and errors that never occurred.
    pub(crate) fn never(&self) -> Vec<&'static str> {
        let seen = |word: &str| self.ended.keys().any(|(_, ended)| *ended == word);
        let errors = ERRORS.iter().map(|(_, name)| *name).filter(|name| !seen(name));
        let calls = self.ended.keys().map(|(call, _)| *call);
        let undone = calls.filter(|call| !self.ended.contains_key(&(*call, "done")));
        let mut never: Vec<_> = errors.chain(undone).collect();
        never.dedup();
        never
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let Self { sequences, calls, .. } = self;
        let mut text = format!("\n{calls} calls in {sequences} sequences\n");
        for ((call, word), count) in &self.ended {
            let _ = writeln!(text, "{call:32} {word:22} {count:8}");
        }
        text
    }
}

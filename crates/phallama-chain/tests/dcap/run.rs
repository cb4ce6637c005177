//! Runs families of cases on all processors, and counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::case::{Case, Verdict};
use crate::contract::{Answer, Contract, Step};
use crate::field;
use crate::intended::{self, Intended};
use crate::rng::Rng;

/// Every case follows from it, its family and its index.
pub(crate) const SEED: u64 = 0x7068_616c_6c61_6d61;
/// Cases that a processor takes at a time: neighbours share what has to be prepared.
const BATCH: usize = 32;
/// Unexplained cases of a kind and family that are described.
const SHOWN_MAX: usize = 3;

/// Makes the case of an index; the generator is its own.
type Make = dyn Fn(usize, &mut Rng) -> Case + Send + Sync;

/// Cases of one kind. The first `count` are what CI runs; there are as many more as asked for.
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) count: usize,
    pub(crate) make: Box<Make>,
}

impl Family {
    pub(crate) fn new(
        name: &'static str,
        count: usize,
        make: impl Fn(usize, &mut Rng) -> Case + Send + Sync + 'static,
    ) -> Self {
        Self { name, count, make: Box::new(make) }
    }

    fn case(&self, index: usize) -> Case {
        (self.make)(index, &mut Rng::of(SEED, self.name, index))
    }
}

/// How the cases of a family ended.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: usize,
    pub(crate) intended: usize,
    pub(crate) unexplained: usize,
    spent: Duration,
}

/// How everything ended.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) families: BTreeMap<&'static str, Tally>,
    /// Each intended difference, and how often it occurred.
    pub(crate) intended: BTreeMap<&'static str, usize>,
    /// What the contract said: statuses of what it accepts, errors of what it refuses.
    pub(crate) answers: BTreeMap<String, usize>,
    /// The first unexplained cases, described.
    pub(crate) unexplained: Vec<String>,
}

/// What one case showed.
enum Ending {
    Accepted,
    Refused,
    Intended(&'static Intended),
    Unexplained(String),
}

/// Runs `scale` times the number of each family, or of one, or one case of it.
pub(crate) fn run(families: &[Family], scale: f64, only: Option<(&str, Option<usize>)>) -> Report {
    let wanted = |family: &Family| only.is_none_or(|(name, _)| name == family.name);
    let mut batches = Vec::new();
    for family in families.iter().filter(|family| wanted(family)) {
        let (first, last) = match only {
            Some((_, Some(index))) => (index, index + 1),
            _ => (0, scaled(family.count, scale)),
        };
        // Fewer than all are taken from everywhere.
        let step = if first > 0 { 1 } else { (family.count / last).max(1) };
        let batch =
            |at: usize| (family, (at..last.min(at + BATCH)).map(move |at| at * step + at % step));
        batches.extend((first..last).step_by(BATCH).map(batch));
    }
    let (next, report) = (AtomicUsize::new(0), Mutex::new(Report::default()));
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        for _ in 0..processors {
            scope.spawn(|| {
                let mut contract = Contract::default();
                while let Some((family, indices)) =
                    batches.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    for index in indices.clone() {
                        let start = Instant::now();
                        let ended = end(&mut contract, family, index);
                        let mut report = report.lock().expect("no holder panics");
                        report.add(family.name, ended, start.elapsed());
                    }
                }
            });
        }
    });
    report.into_inner().expect("no holder panics")
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
fn scaled(count: usize, scale: f64) -> usize {
    ((count as f64 * scale).ceil() as usize).max(1)
}

/// How a case ended, and the contract's answer in a word.
fn end(contract: &mut Contract, family: &Family, index: usize) -> (Ending, String) {
    let told = |what: String| {
        let repeat = format!("PHALLAMA_DCAP_REPEAT='{}/{index}'", family.name);
        let how = "cargo test -p phallama-chain --test dcap";
        Ending::Unexplained(format!("{what}\n  repeat: {repeat} {how}   (seed {SEED:#x})"))
    };
    let ended = catch_unwind(AssertUnwindSafe(|| compare(contract, &family.case(index))));
    match ended {
        Ok((Ending::Unexplained(what), answer)) => (told(what), answer),
        Ok(ended) => ended,
        Err(_) => {
            // What it had prepared may be half done.
            *contract = Contract::default();
            (told("a panic, see above".to_owned()), "none".to_owned())
        }
    }
}

fn compare(contract: &mut Contract, case: &Case) -> (Ending, String) {
    let expected = field::judge(case);
    let got = contract.judge(case);
    let answer = match &got.verdict {
        Ok(verdict) => verdict.status.clone(),
        Err(refusal) => refusal.name(),
    };
    (ending(case, &expected, &got), answer)
}

fn ending(case: &Case, expected: &Result<Verdict, String>, got: &Answer) -> Ending {
    let unexplained = |what: &str| {
        let mut text = format!("{what}\n  case: {:?}, {}", case.changed, case.note);
        let (brought, judged) = (case.brought_at, case.judged_at);
        let _ = write!(text, "\n  brought at {brought}, judged at {judged}");
        let _ = write!(text, "\n  dcap-qvl: {expected:?}\n  contract: {:?}", got.verdict);
        Ending::Unexplained(text)
    };
    let objection = intended::objection(case, expected, &got.verdict);
    if let Some(complaint) = got.complaints.first().or(objection.as_ref()) {
        return unexplained(complaint);
    }
    if let Some(found) = intended::find(case, expected, &got.verdict) {
        return Ending::Intended(found);
    }
    match (expected, &got.verdict) {
        (Ok(expected), Ok(got)) if expected.is(got) => Ending::Accepted,
        (Ok(_), Ok(_)) => unexplained("two verdicts"),
        (Err(_), Err(refusal)) if refusal.error.is_some() => Ending::Refused,
        (Err(_), Err(refusal)) if refusal.step == Step::Cut => Ending::Refused,
        (Err(_), Err(_)) => unexplained("the contract refuses without a reason"),
        (Ok(_), Err(_)) => unexplained("only dcap-qvl accepts"),
        (Err(_), Ok(_)) => unexplained("only the contract accepts"),
    }
}

impl Report {
    fn add(&mut self, family: &'static str, ended: (Ending, String), spent: Duration) {
        let (ending, answer) = ended;
        *self.answers.entry(answer).or_default() += 1;
        let tally = self.families.entry(family).or_default();
        tally.cases += 1;
        tally.spent += spent;
        match ending {
            Ending::Accepted => tally.accepted += 1,
            Ending::Refused => tally.refused += 1,
            Ending::Intended(found) => {
                tally.intended += 1;
                *self.intended.entry(found.name).or_default() += 1;
            }
            Ending::Unexplained(what) => {
                tally.unexplained += 1;
                // A few of each kind of each family.
                let kind = what.lines().next().unwrap_or_default();
                let kind = format!("{family}: {kind}");
                let shown = self.unexplained.iter().filter(|one| one.starts_with(&kind)).count();
                if shown < SHOWN_MAX {
                    self.unexplained.push(format!("{family}: {what}"));
                }
            }
        }
    }

    pub(crate) fn total(&self, of: impl Fn(&Tally) -> usize) -> usize {
        self.families.values().map(of).sum()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "\nfamily                                cases  accepted   refused  intended  \
             unexplained  ms/case\n",
        );
        for (name, tally) in &self.families {
            let ms = tally.spent.as_secs_f64() * 1e3
                / f64::from(u32::try_from(tally.cases).unwrap_or(1));
            out.push_str(&row(name, tally, &format!("{ms:9.2}")));
        }
        let total = Tally {
            cases: self.total(|tally| tally.cases),
            accepted: self.total(|tally| tally.accepted),
            refused: self.total(|tally| tally.refused),
            intended: self.total(|tally| tally.intended),
            unexplained: self.total(|tally| tally.unexplained),
            spent: Duration::ZERO,
        };
        out.push_str(&row("all", &total, ""));
        out.push_str("\nintended difference                      cases  reason\n");
        for intended in intended::ALL {
            let count = self.intended.get(intended.name).copied().unwrap_or(0);
            let _ = writeln!(out, "{:38} {count:7}  {}", intended.name, intended.reason);
        }
        out.push_str("\nthe contract's answer                    cases\n");
        for (answer, count) in &self.answers {
            let _ = writeln!(out, "{answer:38} {count:7}");
        }
        out
    }
}

fn row(name: &str, tally: &Tally, ms: &str) -> String {
    let Tally { cases, accepted, refused, intended, unexplained, .. } = tally;
    format!("{name:34} {cases:8} {accepted:9} {refused:9} {intended:9} {unexplained:12} {ms}\n")
}

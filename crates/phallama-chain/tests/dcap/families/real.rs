//! Real quotes under Intel's root, at times inside and outside of every window.

use crate::case::Case;
use crate::real;
use crate::rng::Rng;
use crate::run::Family;

const DAY_S: u64 = 86_400;

pub(crate) fn families() -> Vec<Family> {
    let cases = real::cases();
    let at_any_time = move |index: usize, rng: &mut Rng| {
        let case = cases[index % cases.len()].clone();
        at(case, index / cases.len(), rng)
    };
    vec![Family::new("real quotes, any time", 400, at_any_time)]
}

fn at(case: Case, round: usize, rng: &mut Rng) -> Case {
    let good = case.brought_at;
    let judged_at = match round {
        0 => good,
        _ if rng.once_in(3) => rng.between(good - 60 * DAY_S, good + 60 * DAY_S),
        _ => rng.between(good - 5 * DAY_S, good + 20 * DAY_S),
    };
    // The contract's clock does not go back; collateral may come late.
    let brought_at = if judged_at < good || rng.once_in(2) { judged_at } else { good };
    Case { brought_at, judged_at, ..case }
}

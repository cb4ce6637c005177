//! Quotes with one byte changed, cut short, or longer, with the signatures they had.

use std::sync::Arc;

use crate::case::{Case, Changed};
use crate::field;
use crate::real;
use crate::rng::Rng;
use crate::run::Family;
use crate::scene::{Scene, Shape};

pub(crate) fn families() -> Vec<Family> {
    let real: Arc<[Case]> = real::cases()[..4].into();
    let simulated = Shape::ALL.map(|shape| Scene::new("quotes", shape).case());
    let simulated: Arc<[Case]> = simulated.to_vec().into();
    vec![
        every_byte("real quotes, every byte", &real),
        every_byte("simulated quotes, every byte", &simulated),
    ]
}

/// Once, each byte of each quote; after that again, with other values.
fn every_byte(name: &'static str, bases: &Arc<[Case]>) -> Family {
    let count = bases.iter().map(|case| case.quote.len()).sum();
    let bases = Arc::clone(bases);
    Family::new(name, count, move |index, rng| {
        let mut at = index % count;
        let mut base = &bases[0];
        for case in bases.iter() {
            base = case;
            if at < case.quote.len() {
                break;
            }
            at -= case.quote.len();
        }
        changed_at(base.clone(), at, rng)
    })
}

fn changed_at(mut case: Case, at: usize, rng: &mut Rng) -> Case {
    case.original = field::cut(&case.quote).map(Arc::new);
    let (was, is) = (case.quote[at], rng.other_than(case.quote[at]));
    case.quote[at] = is;
    let note = format!("{} byte {at}: {was:#04x} -> {is:#04x}", case.note);
    case.note(Changed::Quote, note)
}

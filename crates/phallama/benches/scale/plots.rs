//! The plots of `docs/scale/`.

use std::collections::BTreeMap;

use crate::Results;
use crate::chart::{Axis, Chart, Mark, Series};
use crate::simulation::chain::{BLOCK_GAS, BLOCK_S, KINDS, Kind};
use crate::tables::PRICES_GWEI;

/// Blocks of ten minutes, the step of the day's plot.
const STEP: usize = 60;

pub(crate) fn all(results: &Results) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("day", day(results).svg()),
        ("cost", cost(results).svg()),
        ("sybil", sybil(results).svg()),
        ("exit", exit(results).svg()),
    ])
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Settle => "settlements",
        Kind::Lock => "locks",
        Kind::Exit => "exits",
        Kind::Deposit => "deposits",
        Kind::Collect => "collections",
    }
}

fn day(results: &Results) -> Chart {
    let blocks = &results.days[0].world.chain.blocks;
    let layer = |index: usize| {
        let share = |(step, blocks): (usize, &[[u64; KINDS.len()]])| {
            let gas: u64 = blocks.iter().map(|block| block[index]).sum();
            let percent = 100.0 * gas as f64 / (blocks.len() as u64 * BLOCK_GAS) as f64;
            (step as f64 * (STEP as u64 * BLOCK_S) as f64 / 3_600.0, percent)
        };
        blocks.chunks(STEP).enumerate().map(share).collect()
    };
    let series: Vec<Series> = (0..KINDS.len())
        .map(|index| Series { name: name(KINDS[index]).to_owned(), points: layer(index) })
        .collect();
    let sum = |at: usize| series.iter().map(|layer| layer.points[at].1).sum::<f64>();
    let most = (0..series[0].points.len()).map(sum).fold(0.0, f64::max);
    Chart {
        title: "Block space taken over an ordinary day",
        x: Axis {
            label: "hour of the day",
            from: 0.0,
            to: 24.0,
            logarithmic: false,
            ticks: (0..=8).map(|i| (f64::from(i) * 3.0, (i * 3).to_string())).collect(),
        },
        y: linear("share of the block gas limit, %", most),
        stacked: true,
        series,
        marks: Vec::new(),
    }
}

/// From zero to a round number above `most`.
fn linear(label: &'static str, most: f64) -> Axis {
    let step = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0]
        .into_iter()
        .find(|step| step * 6.0 >= most)
        .unwrap_or(most / 5.0);
    let steps = crate::simulation::rng::whole((most / step).ceil()).max(1);
    let tick = |index: u32| {
        let value = f64::from(index) * step;
        (value, format!("{}", (value * 10.0).round() / 10.0))
    };
    let to = f64::from(steps) * step;
    Axis { label, from: 0.0, to, logarithmic: false, ticks: (0..=steps).map(tick).collect() }
}

/// Powers of ten.
fn powers(label: &'static str, from: i32, to: i32, text: impl Fn(i32) -> String) -> Axis {
    let ticks = (from..=to).map(|power| (10_f64.powi(power), text(power))).collect();
    let (from, to) = (10_f64.powi(from), 10_f64.powi(to));
    Axis { label, from, to, logarithmic: true, ticks }
}

fn number(power: i32) -> String {
    if power < 0 {
        format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power))
    } else {
        crate::tables::count(10_u64.pow(power.unsigned_abs()))
    }
}

fn cost(results: &Results) -> Chart {
    let series = results.days.iter().map(|day| {
        let points = [1e-4, 1e-3, 1e-2, 1e-1, 1.0].map(|gwei| (gwei, 100.0 * day.gas_share(gwei)));
        Series { name: format!("settle after {} h", day.age_h), points: points.to_vec() }
    });
    let marks = PRICES_GWEI.map(|gwei| Mark::Down(gwei, format!("{gwei} gwei")));
    Chart {
        title: "Gas for a query, as a share of what the query costs",
        x: powers("gas price, gwei (ether at 3,000 USD)", -4, 0, number),
        y: powers("gas ÷ price of the query, %", -2, 4, number),
        stacked: false,
        series: series.collect(),
        marks: marks
            .into_iter()
            .chain([Mark::Across(100.0, "all of the pod's income".to_owned())])
            .collect(),
    }
}

fn sybil(results: &Results) -> Chart {
    let mut series: Vec<Series> = Vec::new();
    for attacked in &results.attacks {
        let name = attacked.pod();
        let point = (f64::from(attacked.attack.accounts), attacked.loss.lost as f64 / 1e6);
        match series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => series.push(Series { name, points: vec![point] }),
        }
    }
    Chart {
        title: "What a pod loses in a day to accounts that take credit and never pay",
        x: powers("accounts of the attacker, each with the least deposit", 0, 6, number),
        y: powers("lost by one pod, USD", -4, 4, number),
        stacked: false,
        series,
        marks: Vec::new(),
    }
}

fn exit(results: &Results) -> Chart {
    let mut series = Vec::new();
    for leaving in results.leaving.iter().filter(|leaving| leaving.exodus.share > 0.99) {
        let order = if leaving.exodus.settlements_first { "pods pay more" } else { "first come" };
        let unsettled = leaving.outcome.unsettled.iter().step_by(30).enumerate();
        let points = unsettled.map(|(step, units)| {
            (step as f64 * 30.0 * BLOCK_S as f64 / 3_600.0, *units as f64 / 1e6)
        });
        let name = format!("{} of the space, {order}", leaving.room);
        if leaving.room != "a tenth" {
            series.push(Series { name, points: points.collect() });
        }
    }
    let most = series.iter().flat_map(|s| &s.points).map(|(_, y)| *y).fold(0.0, f64::max);
    Chart {
        title: "Everybody leaves within an hour: claims of leavers not settled yet",
        x: Axis {
            label: "hours since the first exit",
            from: 0.0,
            to: 96.0,
            logarithmic: false,
            ticks: (0..=8).map(|i| (f64::from(i) * 12.0, (i * 12).to_string())).collect(),
        },
        y: linear("unsettled claims, USD", most),
        stacked: false,
        series,
        marks: vec![Mark::Down(48.0, "first exits can be finished".to_owned())],
    }
}

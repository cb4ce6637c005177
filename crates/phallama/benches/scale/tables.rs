//! The tables of `docs/scale.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::simulation::chain::{BLOCK_GAS, BLOCK_S, KINDS, Kind};
use crate::simulation::exodus::WINDOW_BLOCKS;
use crate::{Day, Results};

/// Gas prices in gwei: a quiet rollup, a usual one, a busy one.
pub(crate) const PRICES_GWEI: [f64; 3] = [0.001, 0.01, 0.1];
/// An assumption; costs are proportional to it.
pub(crate) const ETHER_USD: f64 = 3_000.0;
/// Smallest units of the token in a dollar.
const UNITS: f64 = 1_000_000.0;
/// Blocks of an hour.
const HOUR: usize = 360;

pub(crate) fn all(results: &Results) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("day", day(results)),
        ("cost", cost(results)),
        ("money", money(results)),
        ("sybil", sybil(results)),
        ("exit", exit(results)),
        ("market", market(results)),
    ])
}

/// Rows of cells, the first one the head; all columns but the first are numbers.
fn table(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = String::new();
    for (index, row) in rows.into_iter().enumerate() {
        let _ = writeln!(out, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(out, "|---{}|", "|--:".repeat(row.len() - 1));
        }
    }
    out
}

fn row(label: impl Into<String>, cells: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(label.into()).chain(cells).collect()
}

fn head(label: &str, results: &Results) -> Vec<String> {
    row(label, results.days.iter().map(|day| format!("{} h", day.age_h)))
}

fn per_day(results: &Results, label: &str, of: impl Fn(&Day) -> String) -> Vec<String> {
    row(label, results.days.iter().map(of))
}

impl Day {
    pub(crate) fn gas(&self) -> u64 {
        KINDS.iter().map(|kind| self.world.chain.total(*kind).gas).sum()
    }

    pub(crate) fn gas_per_query(&self) -> f64 {
        self.gas() as f64 / self.world.counts.queries as f64
    }

    /// In dollars.
    pub(crate) fn price_per_query(&self) -> f64 {
        self.world.counts.revenue as f64 / UNITS / self.world.counts.queries as f64
    }

    /// Gas cost of a query ÷ its price.
    pub(crate) fn gas_share(&self, gwei: f64) -> f64 {
        usd(self.gas_per_query(), gwei) / self.price_per_query()
    }

    /// Share of the block space in each hour.
    pub(crate) fn hours(&self) -> Vec<f64> {
        let used = |blocks: &[[u64; KINDS.len()]]| {
            let gas: u64 = blocks.iter().flatten().sum();
            gas as f64 / (blocks.len() as u64 * BLOCK_GAS) as f64
        };
        self.world.chain.blocks.chunks(HOUR).map(used).collect()
    }
}

/// Of `gas`.
pub(crate) fn usd(gas: f64, gwei: f64) -> f64 {
    gas * gwei * 1e-9 * ETHER_USD
}

fn day(results: &Results) -> String {
    let kind = |label: &str, kind: Kind| {
        per_day(results, label, |day| {
            let total = day.world.chain.total(kind);
            match kind {
                Kind::Settle | Kind::Lock => {
                    format!("{} ({} rows)", count(total.transactions), count(total.rows))
                }
                _ => count(total.transactions),
            }
        })
    };
    let gas = |label: &str, kind: Kind| {
        per_day(results, label, |day| gigagas(day.world.chain.total(kind).gas))
    };
    let hour = |day: &Day| day.hours().into_iter().fold(0.0, f64::max);
    table([
        head("settle after", results),
        per_day(results, "queries", |day| count(day.world.counts.queries)),
        kind("settlement transactions", Kind::Settle),
        kind("lock transactions", Kind::Lock),
        kind("exits started and finished", Kind::Exit),
        kind("deposits", Kind::Deposit),
        kind("collections", Kind::Collect),
        gas("gas of settlements", Kind::Settle),
        gas("gas of locks", Kind::Lock),
        per_day(results, "gas of everything", |day| gigagas(day.gas())),
        per_day(results, "share of the day's block space", |day| {
            percent(day.hours().iter().sum::<f64>() / day.hours().len() as f64)
        }),
        per_day(results, "share in the busiest hour", |day| percent(hour(day))),
        per_day(results, "gas per query", |day| format!("{:.0}", day.gas_per_query())),
        per_day(results, "rows per settlement", |day| {
            let total = day.world.chain.total(Kind::Settle);
            format!("{:.1}", total.rows as f64 / total.transactions as f64)
        }),
        per_day(results, "queries per settled row", |day| {
            let rows = day.world.chain.total(Kind::Settle).rows;
            format!("{:.1}", day.world.counts.queries as f64 / rows as f64)
        }),
    ])
}

fn cost(results: &Results) -> String {
    let mut rows = vec![head("settle after", results)];
    rows.push(per_day(results, "price of a query, USD", |day| dollars(day.price_per_query())));
    for gwei in PRICES_GWEI {
        rows.push(per_day(results, &format!("gas of a query at {gwei} gwei, USD"), |day| {
            format!(
                "{} ({})",
                dollars(usd(day.gas_per_query(), gwei)),
                percent(day.gas_share(gwei))
            )
        }));
    }
    table(rows)
}

fn money(results: &Results) -> String {
    let day = &results.days[0];
    let world = &day.world;
    let counts = &world.counts;
    let spread = |label: &str, values: Vec<u64>| {
        row(label, [0.5, 0.99, 1.0].map(|share| money_of(quantile(&values, share))))
    };
    let one = |label: &str, value: String| row(label, [String::new(), String::new(), value]);
    table([
        row("USD", ["median", "99 %", "most"].map(str::to_owned)),
        spread("a pod: served before its lock was mined", world.on_credit_per_pod()),
        spread("a pod: served before its lock was safe", world.at_risk_per_pod()),
        spread("a pod: claims not settled yet, all covered", world.unsettled_per_pod()),
        spread("a user: locked with pods and not used up", world.tied_per_user()),
        one("a user: what one request reserves", money_of(counts.reserve_most)),
        one("a user: reserves of one channel in one block", money_of(counts.user_at_risk_most)),
        one("all users: locked with pods and not used up", money_of(world.tied())),
        one("all users: spent on the day", money_of(counts.revenue)),
        one("requests served before their lock was mined", count(counts.on_credit)),
        one("requests that waited for their lock", count(counts.after_lock)),
        one("requests refused, all reasons", count(counts.refused)),
        one("lock rows that the contract skipped", count(counts.skipped_locks)),
    ])
}

fn sybil(results: &Results) -> String {
    let heads = [
        "lost, USD",
        "attacker's deposits, USD",
        "attacker's gas",
        "skipped lock rows",
        "the pod's gas for them",
        "hours with a full lock queue",
    ];
    let mut rows = vec![row("accounts, pod", heads.map(str::to_owned))];
    for attacked in &results.attacks {
        let accounts = u64::from(attacked.attack.accounts);
        let deposits = accounts * crate::simulation::sybil::Attack::deposit(&attacked.rules);
        let gas = accounts * (results.gas.open_and_deposit + results.gas.withdraw);
        let blocks = u64::from(attacked.loss.full_queue_blocks);
        let loss = attacked.loss;
        rows.push(row(
            format!("{} on {}", count(accounts), attacked.pod()),
            [
                money_of(loss.lost),
                money_of(deposits),
                gigagas(gas),
                count(loss.skipped_locks.into()),
                gigagas(u64::from(loss.skipped_locks) * results.gas.skipped_lock_row),
                format!("{:.1}", (blocks * BLOCK_S) as f64 / 3_600.0),
            ],
        ));
    }
    table(rows)
}

fn exit(results: &Results) -> String {
    let heads = [
        "exits",
        "exits mined within",
        "longest wait for settlement",
        "settled too late",
        "settlements",
    ];
    let mut rows = vec![row("who leaves, room, who pays for order", heads.map(str::to_owned))];
    for leaving in &results.leaving {
        let (exodus, outcome) = (leaving.exodus, &leaving.outcome);
        let order = if exodus.settlements_first { "pods pay more" } else { "first come" };
        let cells = [
            count(outcome.exits.into()),
            hours(outcome.exits_took_blocks),
            hours(outcome.longest_wait_blocks),
            if outcome.late_rows == 0 {
                "none".to_owned()
            } else {
                count(outcome.late_rows.into())
            },
            count(outcome.settle_transactions),
        ];
        let label = format!("{}, {} of the space, {order}", percent(exodus.share), leaving.room);
        rows.push(row(label, cells));
    }
    table(rows)
}

fn market(results: &Results) -> String {
    let heads = ["pods with work", "of", "asked by a newcomer", "dearest ÷ cheapest"];
    let mut rows = vec![row("pods of", heads.map(str::to_owned))];
    for (speed, market) in &results.markets {
        rows.push(row(
            format!("{speed:.0} tokens/s"),
            [
                count((market.full + 1).into()),
                count(market.pods.into()),
                count(market.asked_by_newcomer.into()),
                format!("{:.2}", market.dearest),
            ],
        ));
    }
    table(rows)
}

pub(crate) fn quantile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get(crate::simulation::rng::whole(last * share) as usize).copied().unwrap_or(0)
}

/// With commas.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn gigagas(gas: u64) -> String {
    format!("{:.2} G", gas as f64 / 1e9)
}

fn percent(share: f64) -> String {
    if share < 0.1 { format!("{:.1} %", share * 100.0) } else { format!("{:.0} %", share * 100.0) }
}

fn dollars(usd: f64) -> String {
    format!("{usd:.7}")
}

/// Smallest units as dollars.
fn money_of(units: u64) -> String {
    let usd = units as f64 / UNITS;
    if usd < 10.0 { format!("{usd:.4}") } else { count(crate::simulation::rng::whole(usd).into()) }
}

fn hours(blocks: u32) -> String {
    let hours = f64::from(blocks) * BLOCK_S as f64 / 3_600.0;
    let over = if blocks > WINDOW_BLOCKS { "**" } else { "" };
    format!("{over}{hours:.1} h{over}")
}

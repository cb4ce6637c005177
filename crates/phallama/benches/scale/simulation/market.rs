//! What becomes of "the cheapest pod first, in the same order for everyone" when one pod is not
//! enough.

use phallama_protocol::offers::Offer;

use super::rng::whole;

/// The load on pods that take the cheapest first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Market {
    pub(crate) pods: u32,
    /// Pods that are full, all of them cheaper than every other.
    pub(crate) full: u32,
    /// Pods that somebody who knows nothing asks until one has room.
    pub(crate) asked_by_newcomer: u32,
    /// Price of a query with the dearest pod that has work ÷ with the cheapest.
    pub(crate) dearest: f64,
}

/// `queries_per_s` arrive; each answer has `tokens`, and a pod makes `tokens_per_s` of them.
pub(crate) fn cheapest_first(
    offers: &[Offer],
    queries_per_s: f64,
    tokens: f64,
    tokens_per_s: f64,
) -> Market {
    let mut prices: Vec<u128> = offers
        .iter()
        .map(|offer| offer.input_price_per_mtok.value() + offer.output_price_per_mtok.value())
        .collect();
    prices.sort_unstable();
    let pods = u32::try_from(prices.len()).expect("a u32 of pods");
    let full = whole((queries_per_s * tokens / tokens_per_s).floor()).min(pods);
    let last = full.min(pods.saturating_sub(1)) as usize;
    let price = |place: usize| prices.get(place).map_or(1.0, |price| *price as f64);
    Market { pods, full, asked_by_newcomer: (full + 1).min(pods), dearest: price(last) / price(0) }
}

//! Quantiles of what was measured.

use serde::{Deserialize, Serialize};

/// How long something took, over many times.
#[derive(Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Times {
    pub(super) fn of(mut all_ms: Vec<f64>) -> Self {
        all_ms.sort_by(f64::total_cmp);
        Self { p50_ms: quantile(&all_ms, 50), p99_ms: quantile(&all_ms, 99) }
    }
}

/// The percentile of sorted values; of none it is not a number.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(sorted.len() * percent / 100).or(sorted.get(last)).copied().unwrap_or(f64::NAN)
}

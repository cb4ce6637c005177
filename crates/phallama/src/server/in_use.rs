//! The models that apps use at present, as Ollama's `ps` shows them.
//!
//! What a pod has loaded is the pod's business. An app's `keep_alive` says how long a model counts
//! as used after a request.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Ollama's own default.
const USUAL_S: u64 = 300;
/// As good as always.
const CENTURY_S: u64 = 100 * 365 * 86_400;
/// Most models that are remembered.
const MODELS_MAX: usize = 1_024;

/// How long a model counts as used, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeepAlive(u64);

impl KeepAlive {
    /// What an app that says nothing means.
    pub(crate) const USUAL: Self = Self(USUAL_S);

    /// Whether the model is to go at once.
    pub(crate) fn is_over(self) -> bool {
        self.0 == 0
    }

    /// Seconds; less than none means always.
    pub(crate) fn of_seconds(seconds: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
        Self(if seconds < 0.0 { CENTURY_S } else { seconds.min(1e9).ceil() as u64 })
    }

    /// A number of seconds, or a duration as Go writes them: `5m`, `1h30m`, `-1s`.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse::<f64>() {
            return seconds.is_finite().then(|| Self::of_seconds(seconds));
        }
        let (sign, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, text),
        };
        if rest.is_empty() {
            return None;
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
            let number: f64 = rest[..digits].parse().ok()?;
            let unit_end = rest[digits..].find(|c: char| c.is_ascii_digit()).map(|at| at + digits);
            let unit_s = match &rest[digits..unit_end.unwrap_or(rest.len())] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
            seconds += number * unit_s;
            rest = &rest[unit_end.unwrap_or(rest.len())..];
        }
        Some(Self::of_seconds(sign * seconds))
    }
}

/// The models in use, with the unix second at which each stops to be.
#[derive(Debug, Default)]
pub(crate) struct InUse {
    until: Mutex<BTreeMap<String, u64>>,
}

impl InUse {
    /// A request for `model` came; with nothing to keep, it is not in use any more.
    pub(crate) fn keep(&self, model: &str, how_long: KeepAlive, now_unix_s: u64) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.retain(|_, end| *end > now_unix_s);
        if how_long.is_over() {
            until.remove(model);
        } else if until.len() < MODELS_MAX {
            until.insert(model.to_owned(), now_unix_s.saturating_add(how_long.0));
        }
    }

    /// Each model with the unix second at which it stops to be in use.
    pub(crate) fn list(&self, now_unix_s: u64) -> Vec<(String, u64)> {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let live = until.iter().filter(|(_, end)| **end > now_unix_s);
        live.map(|(model, end)| (model.clone(), *end)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, seconds) in [
            ("5m", 300),
            ("1h30m", 5400),
            ("0", 0),
            ("0s", 0),
            ("90", 90),
            ("1.5s", 2),
            ("300ms", 1),
            ("-1", CENTURY_S),
            ("-1m", CENTURY_S),
        ] {
            assert_eq!(KeepAlive::of_text(text), Some(KeepAlive(seconds)), "{text}");
        }
        for wrong in ["", "m", "5x", "5m3", "soon", "NaN", "-"] {
            assert_eq!(KeepAlive::of_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_model_is_in_use_for_as_long_as_it_is_kept() {
        let in_use = InUse::default();
        in_use.keep("a", KeepAlive::USUAL, 1_000);
        in_use.keep("b", KeepAlive(10), 1_000);
        assert_eq!(in_use.list(1_000), [("a".to_owned(), 1_300), ("b".to_owned(), 1_010)]);
        assert_eq!(in_use.list(1_010), [("a".to_owned(), 1_300)]);
        in_use.keep("a", KeepAlive(0), 1_011);
        assert_eq!(in_use.list(1_011), []);
    }
}

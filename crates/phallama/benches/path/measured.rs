//! What is measured of one answer, and medians of many.

use std::fmt;
use std::time::Duration;

/// One answer as its reader saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Side {
    /// From the call until the first text.
    pub(crate) first_token: Duration,
    /// From the call until the last text.
    pub(crate) last_token: Duration,
    /// What the worker says it took for the prompt, in milliseconds.
    pub(crate) prompt_ms: f64,
    /// From the call until the end, for the private side with an accepted receipt.
    pub(crate) total: Duration,
    /// Tokens of the answer.
    pub(crate) tokens: u32,
    /// Bytes of the request's body.
    pub(crate) up: u64,
    /// Bytes of the answer's body, padding after the end included.
    pub(crate) down: u64,
}

impl Side {
    /// Answers that were begun together: the time until all are complete.
    pub(crate) fn together(answers: &[Self]) -> Self {
        Self {
            first_token: answers.iter().map(|side| side.first_token).max().unwrap_or_default(),
            last_token: answers.iter().map(|side| side.last_token).max().unwrap_or_default(),
            prompt_ms: 0.0,
            total: answers.iter().map(|side| side.total).max().unwrap_or_default(),
            tokens: answers.iter().map(|side| side.tokens).sum(),
            up: answers.iter().map(|side| side.up).sum(),
            down: answers.iter().map(|side| side.down).sum(),
        }
    }

    /// Over the whole answer, waiting for the first token included.
    pub(crate) fn tokens_per_s(&self) -> f64 {
        f64::from(self.tokens) / self.total.as_secs_f64()
    }

    pub(crate) fn first_token_ms(&self) -> f64 {
        self.first_token.as_secs_f64() * 1_000.0
    }

    /// Everything before the first text but the prompt's computation, whose time differs from run
    /// to run by more than what is measured here.
    pub(crate) fn first_token_overhead_ms(&self) -> f64 {
        self.first_token_ms() - self.prompt_ms
    }

    pub(crate) fn last_token_ms(&self) -> f64 {
        self.last_token.as_secs_f64() * 1_000.0
    }

    pub(crate) fn total_ms(&self) -> f64 {
        self.total.as_secs_f64() * 1_000.0
    }

    #[expect(clippy::cast_precision_loss, reason = "answers are far below 2^53 bytes")]
    pub(crate) fn bytes_up(&self) -> f64 {
        self.up as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "answers are far below 2^53 bytes")]
    pub(crate) fn bytes_down(&self) -> f64 {
        self.down as f64
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, down, .. } = self;
        let (first, own) = (self.first_token_ms(), self.first_token_overhead_ms());
        let total = self.total_ms();
        write!(f, "{tokens} tokens, first {first:.0} ms ({own:.1}), total {total:.0} ms, {down} B")
    }
}

/// Pairs of the same prompt, directly and privately.
#[derive(Default)]
pub(crate) struct Summary {
    pairs: Vec<(Side, Side)>,
}

impl Summary {
    pub(crate) fn push(&mut self, direct: Side, private: Side) {
        self.pairs.push((direct, private));
    }

    /// Median of the direct side.
    pub(crate) fn direct(&self, value: impl Fn(&Side) -> f64) -> f64 {
        self.median(|direct, _| value(direct))
    }

    /// Median of the private side.
    pub(crate) fn private(&self, value: impl Fn(&Side) -> f64) -> f64 {
        self.median(|_, private| value(private))
    }

    /// Median over prompts of private ÷ direct.
    pub(crate) fn ratio(&self, value: impl Fn(&Side) -> f64) -> f64 {
        self.median(|direct, private| value(private) / value(direct))
    }

    /// Median over prompts of private − direct.
    pub(crate) fn added(&self, value: impl Fn(&Side) -> f64) -> f64 {
        self.median(|direct, private| value(private) - value(direct))
    }

    fn median(&self, value: impl Fn(&Side, &Side) -> f64) -> f64 {
        let mut values: Vec<f64> =
            self.pairs.iter().map(|(direct, private)| value(direct, private)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 {
            return values[middle];
        }
        f64::midpoint(values[middle - 1], values[middle])
    }
}

//! What is measured of one answer, and medians of many.

use std::fmt;
use std::time::Duration;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// llama-server, asked by its own API.
    Direct,
    /// The same through client library, host and enclave.
    Private,
    /// A real Ollama, asked by its own API.
    Ollama,
}

/// One answer as its reader saw it, or several that were begun together.
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
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: u32,
    /// Tokens of the prompt that were there already.
    pub(crate) cached_tokens: u32,
    /// Tokens of the answer.
    pub(crate) tokens: u32,
    /// Bytes of the request's body.
    pub(crate) up: u64,
    /// Bytes of the answer's body, padding after the end included.
    pub(crate) down: u64,
    /// The answer.
    pub(crate) text: String,
    /// Where llama-server computed it.
    pub(crate) slot: usize,
}

impl Side {
    /// Notes a piece of the answer.
    pub(crate) fn read(&mut self, text: &str, after: Duration) {
        if text.is_empty() {
            return;
        }
        self.text += text;
        self.last_token = after;
        if self.first_token.is_zero() {
            self.first_token = after;
        }
    }

    /// Answers that were begun together: the time until all are complete.
    pub(crate) fn together(answers: &[Self]) -> Self {
        if let [alone] = answers {
            return alone.clone();
        }
        let latest = |time: fn(&Self) -> Duration| answers.iter().map(time).max();
        Self {
            first_token: latest(|side| side.first_token).unwrap_or_default(),
            last_token: latest(|side| side.last_token).unwrap_or_default(),
            total: latest(|side| side.total).unwrap_or_default(),
            prompt_tokens: answers.iter().map(|side| side.prompt_tokens).sum(),
            cached_tokens: answers.iter().map(|side| side.cached_tokens).sum(),
            tokens: answers.iter().map(|side| side.tokens).sum(),
            up: answers.iter().map(|side| side.up).sum(),
            down: answers.iter().map(|side| side.down).sum(),
            text: answers.iter().map(|side| side.text.as_str()).collect::<Vec<_>>().join("\n"),
            ..Self::default()
        }
    }

    /// Over the whole answer, waiting for the first token included.
    pub(crate) fn tokens_per_s(&self) -> f64 {
        f64::from(self.tokens) / self.total.as_secs_f64()
    }

    /// Tokens of the prompt that had to be computed, over the wait for the first text.
    pub(crate) fn prefill_per_s(&self) -> f64 {
        f64::from(self.prompt_tokens - self.cached_tokens) / self.first_token.as_secs_f64()
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
        let Self { prompt_tokens, cached_tokens, tokens, .. } = self;
        let (first, own) = (self.first_token_ms(), self.first_token_overhead_ms());
        let (total, rate) = (self.total_ms(), self.tokens_per_s());
        write!(
            f,
            "{prompt_tokens} ({cached_tokens}) + {tokens} tokens, first {first:.0} ({own:.1}) ms, \
             total {total:.0} ms, {rate:.1}/s"
        )
    }
}

/// Answers to the same question, by [`Name`].
#[derive(Clone, Default)]
pub(crate) struct Round([Option<Side>; 3]);

impl Round {
    pub(crate) fn put(&mut self, name: Name, side: Side) {
        self.0[name as usize] = Some(side);
    }

    pub(crate) fn of(&self, name: Name) -> Option<&Side> {
        self.0[name as usize].as_ref()
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for name in [Name::Direct, Name::Private, Name::Ollama] {
            if let Some(side) = self.of(name) {
                write!(f, "{between}{name:?}: {side}")?;
                between = " | ";
            }
        }
        Ok(())
    }
}

/// Rounds of the same kind.
#[derive(Default)]
pub(crate) struct Rounds(Vec<Round>);

impl Rounds {
    pub(crate) fn push(&mut self, round: Round) {
        self.0.push(round);
    }

    /// Median of one side; `None` when it did not take part.
    pub(crate) fn of(&self, name: Name, value: impl Fn(&Side) -> f64) -> Option<f64> {
        median(self.0.iter().filter_map(|round| round.of(name).map(&value)).collect())
    }

    /// Median over rounds of one side ÷ another.
    pub(crate) fn ratio(&self, (one, other): (Name, Name), value: impl Fn(&Side) -> f64) -> f64 {
        self.paired((one, other), |one, other| value(one) / value(other)).unwrap_or(f64::NAN)
    }

    /// Median over rounds of private − direct.
    pub(crate) fn added(&self, value: impl Fn(&Side) -> f64) -> f64 {
        let sides = (Name::Private, Name::Direct);
        self.paired(sides, |private, direct| value(private) - value(direct)).unwrap_or(f64::NAN)
    }

    /// Of the rounds, how many have the same text from both sides, and how many there are.
    pub(crate) fn same_text(&self) -> (usize, usize) {
        let text = |round: &Round, name| round.of(name).map(|side| side.text.clone());
        let same = |round: &&Round| text(round, Name::Private) == text(round, Name::Direct);
        (self.0.iter().filter(same).count(), self.0.len())
    }

    fn paired(
        &self,
        (one, other): (Name, Name),
        value: impl Fn(&Side, &Side) -> f64,
    ) -> Option<f64> {
        let both = |round: &Round| Some(value(round.of(one)?, round.of(other)?));
        median(self.0.iter().filter_map(both).collect())
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[middle - 1], upper) })
}

//! Prompts of about 64 tokens, each different from its first word on.

const SUBJECTS: [&str; 12] = [
    "a lighthouse keeper who collects letters from the sea",
    "the slow growth of an old oak tree beside a river",
    "a baker who invents a new kind of bread every morning",
    "two friends who repair a broken radio in a small village",
    "the first day of spring in a city high in the mountains",
    "a captain who draws maps of islands nobody has visited",
    "a library where every book is written by its readers",
    "the night train that crosses the desert without stopping",
    "a clockmaker who teaches children how to measure time",
    "a garden on a roof and the birds that come to see it",
    "an astronomer who listens to the stars instead of looking",
    "the market where people trade stories for fresh fruit",
];

/// Gives prompts one after the other.
#[derive(Default)]
pub(crate) struct Prompts {
    given: usize,
}

impl Prompts {
    pub(crate) fn next(&mut self) -> String {
        let subject = SUBJECTS[self.given % SUBJECTS.len()];
        self.given += 1;
        format!(
            "{}. Please write a long and detailed story about {subject}. Describe the place, the \
             people, the weather and what happens from the morning until the late evening, and \
             do not leave anything out.",
            self.given
        )
    }
}

/// The request that both sides get.
pub(crate) fn body(prompt: &str) -> serde_json::Value {
    serde_json::json!({
        "messages": [{ "role": "user", "content": prompt }],
        "temperature": 0, "max_tokens": ANSWER_TOKENS,
    })
}

/// Length of an answer.
const ANSWER_TOKENS: u32 = 64;

//! Prompts, each different from its first words on.

use phallama_protocol::frames::FrameClass;
use serde_json::{Value, json};

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

/// Length of an answer.
const ANSWER_TOKENS: u32 = 64;

/// What all sides are asked. Greedy, so that the text is the model's and not chance's.
#[derive(Clone)]
pub(crate) struct Question {
    pub(crate) messages: Vec<Value>,
    pub(crate) max_tokens: u32,
    /// For the private side.
    pub(crate) class: FrameClass,
}

impl Question {
    fn new(prompt: &str) -> Self {
        let messages = vec![json!({ "role": "user", "content": prompt })];
        Self { messages, max_tokens: ANSWER_TOKENS, class: FrameClass::Unpaced }
    }

    pub(crate) fn of_class(self, class: FrameClass) -> Self {
        Self { class, ..self }
    }

    pub(crate) fn of_tokens(self, max_tokens: u32) -> Self {
        Self { max_tokens, ..self }
    }

    /// The next turn of the conversation.
    pub(crate) fn followed_by(&self, answer: &str, prompt: &str) -> Self {
        let mut next = self.clone();
        next.messages.push(json!({ "role": "assistant", "content": answer }));
        next.messages.push(json!({ "role": "user", "content": prompt }));
        next
    }

    /// As OpenAI's API has it.
    pub(crate) fn body(&self) -> Value {
        json!({ "messages": self.messages, "temperature": 0, "max_tokens": self.max_tokens })
    }
}

/// Gives questions one after the other.
#[derive(Default)]
pub(crate) struct Prompts {
    given: usize,
}

impl Prompts {
    /// About 64 tokens.
    pub(crate) fn next(&mut self) -> Question {
        self.given += 1;
        let subject = SUBJECTS[self.given % SUBJECTS.len()];
        Question::new(&format!(
            "{}. Please write a long and detailed story about {subject}. Describe the place, the \
             people, the weather and what happens from the morning until the late evening, and \
             do not leave anything out.",
            self.given
        ))
    }

    pub(crate) fn several(&mut self, count: usize) -> Vec<Question> {
        (0..count).map(|_| self.next()).collect()
    }

    /// One with so many remarks of about 16 tokens before the question.
    pub(crate) fn long(&mut self, remarks: usize) -> Question {
        self.given += 1;
        let remark = |index: usize| {
            let subject = SUBJECTS[(self.given * 5 + index * 7) % SUBJECTS.len()];
            format!("{}: remember {subject}. ", index + self.given)
        };
        let remarks: String = (0..remarks).map(remark).collect();
        Question::new(&format!("{}. {remarks}Which of these is the best story?", self.given))
    }
}

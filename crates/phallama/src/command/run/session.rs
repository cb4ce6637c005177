//! A conversation: what was said, and how the next answer is to be made.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::images;
use crate::error::CliError;
use crate::{print, server};

/// Everything that the next request says. Each request carries the conversation from its beginning;
/// the pod that answered the last one has it in its cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    pub(super) model: String,
    #[serde(default)]
    pub(super) system: Option<String>,
    /// As Ollama's `/api/chat` has them.
    #[serde(default)]
    pub(super) messages: Vec<Value>,
    /// Ollama's options.
    #[serde(default)]
    pub(super) options: Map<String, Value>,
    #[serde(default)]
    pub(super) format: Option<Value>,
    #[serde(default)]
    pub(super) think: Option<Value>,
}

impl Session {
    pub(super) fn new(model: &str) -> Self {
        Self { model: model.to_owned(), ..Self::default() }
    }

    /// Adds what the user says, with the images that it names.
    pub(super) fn ask(&mut self, prompt: &str) -> Result<(), CliError> {
        let (text, images) = images::cut(prompt)?;
        let mut message = json!({"role": "user", "content": text});
        for image in &images {
            print::note(format!("added image {}", image.path.display()));
        }
        if !images.is_empty() {
            message["images"] = images.into_iter().map(|image| image.base64).collect();
        }
        self.messages.push(message);
        Ok(())
    }

    /// Adds what was answered. Nothing answered is nothing asked.
    pub(super) fn answered(&mut self, text: &str) {
        if text.is_empty() {
            self.messages.pop();
        } else {
            self.messages.push(json!({"role": "assistant", "content": text}));
        }
    }

    /// The request that is sealed.
    pub(super) fn body(&self) -> Result<Value, CliError> {
        let system = self.system.iter().map(|text| json!({"role": "system", "content": text}));
        let messages: Vec<Value> = system.chain(self.messages.iter().cloned()).collect();
        let mut request = json!({
            "model": self.model, "messages": messages, "options": self.options,
        });
        if let Some(format) = &self.format {
            request["format"] = format.clone();
        }
        if let Some(think) = &self.think {
            request["think"] = think.clone();
        }
        Ok(Value::Object(server::sealed_chat(&request)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_carries_the_whole_conversation() {
        let mut session = Session::new("m");
        session.system = Some("be brief".to_owned());
        session.options.insert("num_predict".to_owned(), 5.into());
        session.think = Some(false.into());
        session.ask("one").unwrap();
        session.answered("1");
        session.ask("two").unwrap();
        let said = |role: &str, content: &str| json!({"role": role, "content": content});
        let body = session.body().unwrap();
        assert_eq!(
            body["messages"],
            json!([
                said("system", "be brief"),
                said("user", "one"),
                said("assistant", "1"),
                said("user", "two"),
            ])
        );
        assert_eq!((&body["max_tokens"], &body["reasoning_effort"]), (&json!(5), &json!("none")));
    }

    #[test]
    fn a_question_without_an_answer_is_taken_back() {
        let mut session = Session::new("m");
        session.ask("one").unwrap();
        session.answered("");
        assert_eq!(session, Session::new("m"));
    }

    #[test]
    fn what_no_pod_would_take_is_refused_before_it_leaves() {
        let mut session = Session::new("m");
        session.ask("one").unwrap();
        session.think = Some("deeply".into());
        let error = session.body().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("`think`"), "{error}");
    }
}

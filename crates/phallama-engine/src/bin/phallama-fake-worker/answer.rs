//! Writes an answer in llama-server's stream formats.

use std::io;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::http;

/// The format that goes with an endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completion,
    /// The server's own, for text that is filled in.
    Infill,
}

/// One streamed answer.
pub(crate) struct Answer<'a> {
    stream: &'a UnixStream,
    shape: Shape,
    prompt: usize,
    cached: usize,
    sent: u64,
    max_tokens: u64,
}

impl<'a> Answer<'a> {
    /// Starts the stream with the report of a prompt of so many tokens.
    pub(crate) fn start(
        stream: &'a UnixStream,
        shape: Shape,
        prompt: usize,
        cached: usize,
        max_tokens: u64,
    ) -> io::Result<Self> {
        let answer = Self { stream, shape, prompt, cached, sent: 0, max_tokens };
        http::start_stream(stream)?;
        for processed in [cached, prompt] {
            let mut chunk = answer.chunk(&answer.delta(&json!({ "content": null })));
            chunk["prompt_progress"] =
                json!({ "total": prompt, "cache": cached, "processed": processed, "time_ms": 1 });
            answer.send(&chunk)?;
        }
        Ok(answer)
    }

    /// Whether `max_tokens` is used up.
    pub(crate) fn is_full(&self) -> bool {
        self.sent >= self.max_tokens
    }

    /// One token of text.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.tokens(1, &json!({ "content": text }))
    }

    /// Some tokens in one event; silent once the answer is full.
    pub(crate) fn tokens(&mut self, count: u64, delta: &Value) -> io::Result<()> {
        match self.token_chunk(count, delta) {
            Some(chunk) => self.send(&chunk),
            None => Ok(()),
        }
    }

    /// One token with its log probability.
    pub(crate) fn text_with_logprobs(&mut self, text: &str) -> io::Result<()> {
        let Some(mut chunk) = self.token_chunk(1, &json!({ "content": text })) else {
            return Ok(());
        };
        let probabilities = json!([{ "token": text, "logprob": -0.5, "top_logprobs": [] }]);
        if self.shape == Shape::Infill {
            chunk["completion_probabilities"] = probabilities;
        } else {
            chunk["choices"][0]["logprobs"] = json!({ "content": probabilities });
        }
        self.send(&chunk)
    }

    /// One token of text, each byte of the event in a write of its own.
    pub(crate) fn text_bytewise(&mut self, text: &str) -> io::Result<()> {
        let Some(chunk) = self.token_chunk(1, &json!({ "content": text })) else { return Ok(()) };
        event(&chunk).chunks(1).try_for_each(|byte| http::chunk(self.stream, byte))
    }

    /// Bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        http::chunk(self.stream, bytes)
    }

    /// The proper end: reason, usage, `[DONE]`.
    pub(crate) fn finish(self, reason: &str) -> io::Result<()> {
        let reason = if self.is_full() && reason == "stop" { "length" } else { reason };
        if self.shape == Shape::Infill {
            let stop_type = if reason == "length" { "limit" } else { "eos" };
            self.send(&json!({
                "content": "", "stop": true, "stop_type": stop_type,
                "tokens_evaluated": self.prompt, "timings": self.timings(),
            }))?;
            return http::end_stream(self.stream);
        }
        let mut last = self.chunk(&self.delta(&json!({})));
        last["choices"][0]["finish_reason"] = json!(reason);
        if self.shape == Shape::Chat {
            self.send(&last)?;
            last = self.chunk(&json!([]));
        }
        last["usage"] = json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.sent,
            "prompt_tokens_details": { "cached_tokens": self.cached },
        });
        last["timings"] = self.timings();
        self.send(&last)?;
        self.end()
    }

    /// `[DONE]` alone.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.raw(b"data: [DONE]\n\n")?;
        http::end_stream(self.stream)
    }

    fn token_chunk(&mut self, count: u64, delta: &Value) -> Option<Value> {
        if self.is_full() {
            return None;
        }
        self.sent += count;
        let mut chunk = self.chunk(&self.delta(delta));
        chunk["timings"] = self.timings();
        Some(chunk)
    }

    fn delta(&self, delta: &Value) -> Value {
        if self.shape == Shape::Chat {
            return json!([{ "index": 0, "finish_reason": null, "delta": delta }]);
        }
        let text = delta.get("content").and_then(Value::as_str).unwrap_or_default();
        json!([{ "index": 0, "finish_reason": null, "text": text, "logprobs": null }])
    }

    fn chunk(&self, choices: &Value) -> Value {
        let object = match self.shape {
            Shape::Chat => "chat.completion.chunk",
            Shape::Completion => "text_completion",
            Shape::Infill => return json!({ "content": choices[0]["text"], "stop": false }),
        };
        json!({ "object": object, "model": "fake", "choices": choices })
    }

    fn timings(&self) -> Value {
        json!({
            "cache_n": self.cached, "predicted_n": self.sent, "prompt_ms": 1.0, "predicted_ms": 2.0,
        })
    }

    fn send(&self, chunk: &Value) -> io::Result<()> {
        self.raw(&event(chunk))
    }
}

fn event(chunk: &Value) -> Vec<u8> {
    format!("data: {chunk}\n\n").into_bytes()
}

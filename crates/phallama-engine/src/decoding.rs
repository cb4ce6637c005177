//! From the bytes of the worker's event stream to the steps of an answer. No I/O and no time.

use std::collections::VecDeque;

use serde_json::Value;

use crate::chunk::{Choice, Chunk, Progress, Timings, finish_reason};
use crate::forced_call::read_call;
use crate::generation::Dialect;
use crate::ndjson::LineDecoder;
use crate::ollama::Lines;
use crate::sse::SseDecoder;
use crate::{EngineError, EngineEvent, FinishReason, SseError, Usage};

/// One answer while it is being read, choice after choice.
#[derive(Default)]
pub(crate) struct Decoding {
    decoder: Decoder,
    /// Counts of cached tokens are about other accounts too, and are not told.
    hides_cache: bool,
    events: VecDeque<EngineEvent>,
    usage: Usage,
    /// Choices that are complete, and their tokens.
    earlier_choices: u32,
    earlier_tokens: u32,
    /// Tokens that events have stood for so far.
    told_tokens: u32,
    prompt_told: bool,
    prompt_computed: bool,
    reason: Option<FinishReason>,
    final_usage: Option<Usage>,
    timings: Timings,
    prompt_ms: f64,
    predicted_ms: f64,
    /// What the model has written of a call that was forced, with its tokens; `None` where text is
    /// text.
    forced_call: Option<(String, u32)>,
}

/// How the pieces of an answer are told apart, and what they are.
enum Decoder {
    /// Server-sent events with chunks in OpenAI's shape or llama-server's own.
    Events(SseDecoder),
    /// Lines of Ollama's.
    Lines(LineDecoder, Lines),
}

impl Default for Decoder {
    fn default() -> Self {
        Self::Events(SseDecoder::default())
    }
}

impl Decoder {
    fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::LlamaServer | Dialect::OpenAi => Self::default(),
            Dialect::Ollama => Self::Lines(LineDecoder::default(), Lines::default()),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        match self {
            Self::Events(decoder) => decoder.feed(bytes),
            Self::Lines(decoder, _) => decoder.feed(bytes),
        }
    }

    /// The next chunk, and whether the choice ends with it; `None` of a chunk is a mere end.
    fn next_chunk(&mut self) -> Result<Option<(Option<Chunk>, bool)>, EngineError> {
        match self {
            Self::Events(decoder) => {
                let Some(data) = decoder.next_event() else { return Ok(None) };
                if data == "[DONE]" {
                    return Ok(Some((None, true)));
                }
                let what = "an event that is not a chunk of JSON";
                let chunk: Chunk =
                    serde_json::from_str(&data).map_err(|_| EngineError::Protocol { what })?;
                let (chunk, is_last) = chunk.into_choices();
                Ok(Some((Some(chunk), is_last)))
            }
            Self::Lines(decoder, lines) => {
                let Some(line) = decoder.next_line() else { return Ok(None) };
                let (chunk, is_last) = lines.read(&line)?;
                Ok(Some((Some(chunk), is_last)))
            }
        }
    }

    /// Forgets what belongs to the choice that has ended.
    fn reset(&mut self) {
        *self = match self {
            Self::Events(_) => Self::default(),
            Self::Lines(..) => Self::of(Dialect::Ollama),
        };
    }
}

impl Decoding {
    /// Of an answer in this `dialect`; its text may be the call of a function.
    pub(crate) fn new(dialect: Dialect, call_is_forced: bool, tells_cache: bool) -> Self {
        Self {
            decoder: Decoder::of(dialect),
            hides_cache: !tells_cache,
            forced_call: call_is_forced.then(|| (String::new(), 0)),
            ..Self::default()
        }
    }

    /// Takes the next bytes; says whether the choice ended with them. What follows its end is not
    /// read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<bool, EngineError> {
        let fed = self.decoder.feed(bytes);
        while let Some((chunk, is_last)) = self.decoder.next_chunk()? {
            if let Some(chunk) = chunk {
                self.take_chunk(chunk)?;
            }
            if is_last {
                return Ok(true);
            }
        }
        fed?;
        Ok(false)
    }

    /// The next step that is known.
    pub(crate) fn next_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// Token counts so far.
    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether the worker has computed the prompt, so that it is what the slot holds.
    pub(crate) fn prompt_computed(&self) -> bool {
        self.prompt_computed
    }

    /// A choice has ended, and another one follows or none.
    pub(crate) fn end_choice(&mut self, another_follows: bool) -> Result<(), EngineError> {
        let (Some(reason), Some(usage)) = (self.reason.take(), self.final_usage.take()) else {
            return Err(EngineError::Protocol { what: "an end without finish_reason and usage" });
        };
        let reason = self.tell_forced_call(reason);
        let timings = std::mem::take(&mut self.timings);
        self.prompt_ms += timings.prompt_ms;
        self.predicted_ms += timings.predicted_ms;
        if another_follows {
            self.events.push_back(EngineEvent::NextChoice { reason });
            self.earlier_choices += 1;
            self.earlier_tokens = usage.completion_tokens;
            self.decoder.reset();
        } else {
            let (prompt_ms, predicted_ms) = (self.prompt_ms, self.predicted_ms);
            self.events.push_back(EngineEvent::Finished { reason, usage, prompt_ms, predicted_ms });
        }
        Ok(())
    }

    /// Tells the call that was written, or as text what was written of it.
    fn tell_forced_call(&mut self, reason: FinishReason) -> FinishReason {
        let choice = self.earlier_choices;
        let Some((written, tokens)) = self.forced_call.as_mut() else { return reason };
        let (text, tokens) = (std::mem::take(written), std::mem::take(tokens));
        match read_call(&text, choice) {
            Some(calls) => {
                self.events.push_back(EngineEvent::ToolCalls { calls, tokens });
                FinishReason::ToolCalls
            }
            None if text.is_empty() => reason,
            None => {
                self.events.push_back(EngineEvent::Content { text, tokens });
                reason
            }
        }
    }

    fn take_chunk(&mut self, chunk: Chunk) -> Result<(), EngineError> {
        if let Some(message) = chunk.failure() {
            let message = crate::WorkerText::new(message);
            return Err(EngineError::WorkerFailed { message });
        }
        if let Some(progress) = chunk.prompt_progress {
            self.take_progress(progress);
        }
        let counted = chunk.timings.is_some();
        if let Some(timings) = chunk.timings {
            self.take_timings(timings);
        }
        if let Some(usage) = chunk.usage() {
            self.take_usage(usage);
        }
        match chunk.choices.into_iter().next() {
            Some(choice) => self.take_choice(choice, counted),
            None => Ok(()),
        }
    }

    fn take_progress(&mut self, progress: Progress) {
        if progress.processed >= progress.total {
            self.prompt_computed = true;
        }
        if self.earlier_choices == 0 {
            self.usage.prompt_tokens = progress.total;
            self.usage.cached_tokens = progress.cache;
        }
        if !std::mem::replace(&mut self.prompt_told, true) {
            self.events.push_back(EngineEvent::Prompt {
                prompt_tokens: progress.total,
                cached_tokens: progress.cache,
            });
        }
    }

    fn take_timings(&mut self, timings: Timings) {
        if timings.predicted_n > 0 {
            self.prompt_computed = true;
        }
        let tokens = self.earlier_tokens.saturating_add(timings.predicted_n);
        self.usage.completion_tokens = self.usage.completion_tokens.max(tokens);
        self.timings = timings;
    }

    /// The final counts of a choice. The prompt is that of the first one: the others found it in
    /// the slot.
    fn take_usage(&mut self, usage: Usage) {
        self.prompt_computed = true;
        if self.earlier_choices == 0 {
            self.usage.prompt_tokens = usage.prompt_tokens;
            self.usage.cached_tokens = if self.hides_cache { 0 } else { usage.cached_tokens };
        }
        let tokens = self.earlier_tokens.saturating_add(usage.completion_tokens);
        // What has been told cannot be taken back.
        self.usage.completion_tokens = tokens.max(self.told_tokens);
        self.final_usage = Some(self.usage);
    }

    fn take_choice(&mut self, choice: Choice, counted: bool) -> Result<(), EngineError> {
        let full = |text: &String| !text.is_empty();
        let delta = choice.delta;
        if let Some(text) = delta.reasoning_content.or(delta.reasoning).filter(full) {
            let tokens = self.tokens_of_event(counted);
            self.events.push_back(EngineEvent::Reasoning { text, tokens });
        }
        if let Some(text) = delta.content.or(choice.text).filter(full) {
            let tokens = self.tokens_of_event(counted);
            match self.forced_call.as_mut() {
                Some((written, told)) => {
                    written.push_str(&text);
                    *told = told.saturating_add(tokens);
                }
                None => self.events.push_back(EngineEvent::Content { text, tokens }),
            }
        }
        if let Some(calls) = delta.tool_calls.filter(Value::is_array) {
            let tokens = self.tokens_of_event(counted);
            self.events.push_back(EngineEvent::ToolCalls { calls, tokens });
        }
        if let Some(logprobs) = choice.logprobs.filter(Value::is_object) {
            self.events.push_back(EngineEvent::Logprobs(logprobs));
        }
        if let Some(word) = choice.finish_reason {
            let unknown = EngineError::Protocol { what: "an unknown finish_reason" };
            self.reason = Some(finish_reason(&word).ok_or(unknown)?);
        }
        Ok(())
    }

    /// Tokens since the last event that had any. A worker that does not count them sends one token
    /// per chunk.
    fn tokens_of_event(&mut self, counted: bool) -> u32 {
        if !counted {
            self.prompt_computed = true;
            self.usage.completion_tokens = self.usage.completion_tokens.saturating_add(1);
        }
        let tokens = self.usage.completion_tokens.saturating_sub(self.told_tokens);
        self.told_tokens += tokens;
        tokens
    }
}

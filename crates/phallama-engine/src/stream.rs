use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Bytes;
use serde_json::Value;

use crate::chunk::{Choice, Chunk, Progress, Timings, finish_reason};
use crate::connection::Exchange;
use crate::slots::Lease;
use crate::sse::SseDecoder;
use crate::supervisor::ReadyWorker;
use crate::{EngineError, EngineEvent, FinishReason, Usage};

/// One running answer. Dropping it closes the connection to the worker, which then stops computing
/// within one decode step, and passes the slot on.
pub struct ChatStream {
    running: Option<Running>,
    decoder: SseDecoder,
    pending: VecDeque<EngineEvent>,
    failed: Option<EngineError>,
    usage: Usage,
    /// Tokens that events have stood for so far.
    told_tokens: u32,
    prompt_told: bool,
    reason: Option<FinishReason>,
    final_usage: Option<Usage>,
    timings: Timings,
    stall_timeout: Duration,
}

/// What is given back as soon as the answer ends.
struct Running {
    exchange: Exchange,
    lease: Lease,
    worker: ReadyWorker,
}

impl ChatStream {
    pub(crate) fn new(
        exchange: Exchange,
        lease: Lease,
        worker: ReadyWorker,
        stall_timeout: Duration,
    ) -> Self {
        Self {
            running: Some(Running { exchange, lease, worker }),
            decoder: SseDecoder::new(),
            pending: VecDeque::new(),
            failed: None,
            usage: Usage::default(),
            told_tokens: 0,
            prompt_told: false,
            reason: None,
            final_usage: None,
            timings: Timings::default(),
            stall_timeout,
        }
    }

    /// The next step of the answer; `None` after [`EngineEvent::Finished`] or an error, of which
    /// there is exactly one. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<EngineEvent, EngineError>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(Ok(event));
            }
            if let Some(error) = self.failed.take() {
                return Some(Err(error));
            }
            let received = self.receive().await?;
            if let Err(error) = received.and_then(|bytes| self.take_bytes(&bytes)) {
                let nonsense = matches!(error, EngineError::Protocol { .. } | EngineError::Sse(_));
                // Who talks nonsense may have had its memory overwritten.
                if let Some(running) = self.running.take().filter(|_| nonsense) {
                    running.worker.restart();
                }
                self.failed = Some(error);
            }
        }
    }

    /// Token counts so far: what a cancelled answer has cost. The prompt counts from the first
    /// event on.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// The next bytes of the body, or `None` when the answer has ended already.
    async fn receive(&mut self) -> Option<Result<Bytes, EngineError>> {
        let running = self.running.as_mut()?;
        let frame = tokio::time::timeout(self.stall_timeout, running.exchange.body.frame()).await;
        Some(match frame {
            Ok(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
            Ok(None | Some(Err(_))) => {
                Err(EngineError::Truncated { completion_tokens: self.usage.completion_tokens })
            }
            Err(_) => {
                running.worker.restart();
                Err(EngineError::Stalled { after: self.stall_timeout })
            }
        })
    }

    fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let fed = self.decoder.feed(bytes);
        while let Some(data) = self.decoder.next_event() {
            if data == "[DONE]" {
                return self.finish();
            }
            self.take_chunk(&data)?;
        }
        Ok(fed?)
    }

    fn take_chunk(&mut self, data: &str) -> Result<(), EngineError> {
        let chunk: Chunk = serde_json::from_str(data)
            .map_err(|_| EngineError::Protocol { what: "an event that is not a chunk of JSON" })?;
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
            self.usage = usage;
            self.final_usage = Some(usage);
        }
        chunk.choices.into_iter().take(1).try_for_each(|choice| self.take_choice(choice, counted))
    }

    fn take_progress(&mut self, progress: Progress) {
        self.usage.prompt_tokens = progress.total;
        self.usage.cached_tokens = progress.cache;
        if progress.processed >= progress.total {
            self.prompt_computed();
        }
        if !std::mem::replace(&mut self.prompt_told, true) {
            self.pending.push_back(EngineEvent::Prompt {
                prompt_tokens: progress.total,
                cached_tokens: progress.cache,
            });
        }
    }

    fn take_timings(&mut self, timings: Timings) {
        if timings.predicted_n > 0 {
            self.prompt_computed();
        }
        self.usage.completion_tokens = self.usage.completion_tokens.max(timings.predicted_n);
        self.timings = timings;
    }

    fn prompt_computed(&mut self) {
        if let Some(running) = self.running.as_mut() {
            running.lease.confirm();
        }
    }

    fn take_choice(&mut self, choice: Choice, counted: bool) -> Result<(), EngineError> {
        let full = |text: &String| !text.is_empty();
        let delta = choice.delta;
        if let Some(text) = delta.reasoning_content.filter(full) {
            let tokens = self.tokens_of_event(counted);
            self.pending.push_back(EngineEvent::Reasoning { text, tokens });
        }
        if let Some(text) = delta.content.or(choice.text).filter(full) {
            let tokens = self.tokens_of_event(counted);
            self.pending.push_back(EngineEvent::Content { text, tokens });
        }
        if let Some(calls) = delta.tool_calls.filter(Value::is_array) {
            let tokens = self.tokens_of_event(counted);
            self.pending.push_back(EngineEvent::ToolCalls { calls, tokens });
        }
        if let Some(logprobs) = choice.logprobs.filter(Value::is_object) {
            self.pending.push_back(EngineEvent::Logprobs(logprobs));
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
            self.usage.completion_tokens += 1;
        }
        let tokens = self.usage.completion_tokens.saturating_sub(self.told_tokens);
        self.told_tokens += tokens;
        tokens
    }

    fn finish(&mut self) -> Result<(), EngineError> {
        let (Some(reason), Some(usage)) = (self.reason, self.final_usage) else {
            return Err(EngineError::Protocol { what: "an end without finish_reason and usage" });
        };
        self.pending.push_back(EngineEvent::Finished {
            reason,
            usage,
            prompt_ms: self.timings.prompt_ms,
            predicted_ms: self.timings.predicted_ms,
        });
        self.running = None;
        Ok(())
    }
}

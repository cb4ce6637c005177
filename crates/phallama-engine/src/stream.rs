use std::pin::Pin;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Bytes;

use crate::connection::Exchange;
use crate::decoding::Decoding;
use crate::engine::begin;
use crate::generation::Choices;
use crate::slots::Lease;
use crate::supervisor::ReadyWorker;
use crate::{EngineError, EngineEvent, Usage};

/// One running answer. Dropping it closes the connection to the worker, which then stops computing
/// within one decode step, and passes the slot on.
pub struct ChatStream {
    running: Option<Running>,
    decoding: Decoding,
    failed: Option<EngineError>,
    stall_timeout: Duration,
}

/// What is given back as soon as the answer ends.
struct Running {
    source: Source,
    choices: Choices,
    lease: Lease,
    worker: ReadyWorker,
}

/// Where the next bytes come from.
enum Source {
    Body(Exchange),
    /// The next choice is being asked for. Kept, so that a reader who gives up does not ask twice.
    Starting(Pin<Box<dyn Future<Output = Result<Exchange, EngineError>> + Send>>),
}

impl ChatStream {
    pub(crate) fn new(
        exchange: Exchange,
        choices: Choices,
        lease: Lease,
        worker: ReadyWorker,
        stall_timeout: Duration,
        tells_cache: bool,
    ) -> Self {
        let source = Source::Body(exchange);
        let decoding = Decoding::new(choices.dialect(), choices.call_is_forced(), tells_cache);
        Self {
            running: Some(Running { source, choices, lease, worker }),
            decoding,
            failed: None,
            stall_timeout,
        }
    }

    /// The next step of the answer; `None` after [`EngineEvent::Finished`] or an error, of which
    /// there is exactly one. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<EngineEvent, EngineError>> {
        loop {
            if let Some(event) = self.decoding.next_event() {
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
        self.decoding.usage()
    }

    /// The next bytes of the body, or `None` when the answer has ended already.
    async fn receive(&mut self) -> Option<Result<Bytes, EngineError>> {
        let completion_tokens = self.decoding.usage().completion_tokens;
        let truncated = EngineError::Truncated { completion_tokens };
        let running = self.running.as_mut()?;
        let exchange = match &mut running.source {
            Source::Body(exchange) => exchange,
            Source::Starting(start) => match start.as_mut().await {
                Ok(exchange) => {
                    running.source = Source::Body(exchange);
                    return Some(Ok(Bytes::new()));
                }
                Err(EngineError::Truncated { .. }) => return Some(Err(truncated)),
                Err(error) => return Some(Err(error)),
            },
        };
        let told = exchange.body.frame();
        let frame = running.worker.signs.within(self.stall_timeout, told).await;
        Some(match frame {
            Some(Some(Ok(frame))) => Ok(frame.into_data().unwrap_or_default()),
            Some(None | Some(Err(_))) => Err(truncated),
            None => {
                running.worker.restart();
                Err(EngineError::Stalled { after: self.stall_timeout })
            }
        })
    }

    fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let fed = self.decoding.feed(bytes);
        // Also when the bytes were not what they should be: the slot may hold the prompt by now.
        if let Some(running) = self.running.as_mut().filter(|_| self.decoding.prompt_computed()) {
            running.lease.confirm();
        }
        if !fed? {
            return Ok(());
        }
        let another_follows = self.start_next_choice();
        self.decoding.end_choice(another_follows)?;
        if !another_follows {
            self.running = None;
        }
        Ok(())
    }

    /// Asks for the next choice, if there is one.
    fn start_next_choice(&mut self) -> bool {
        let Some(running) = self.running.as_mut() else { return false };
        let Some(body) = running.choices.next_body() else { return false };
        let path = running.choices.path();
        let start = begin(running.worker.clone(), path, body, self.stall_timeout);
        running.source = Source::Starting(Box::pin(start));
        true
    }
}

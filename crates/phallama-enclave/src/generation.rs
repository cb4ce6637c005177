//! From the worker's events to the outbox, as fast as frames can take them.

use phallama_engine::{ChatStream, Engine, EngineError, EngineEvent, FinishReason};
use phallama_protocol::events::{Event, EventError};
use phallama_protocol::ids::Address;
use phallama_protocol::receipt::Finish;
use phallama_protocol::refusal::{Code, PodError};

use crate::admission::{Generation, Job, Lookup, Work, engine_error, refuse};
use crate::connection::{HostGone, HostReader};
use crate::outbox::Outbox;
use crate::pacer::{OrClosed, Pacer};

/// How computing ended.
pub(crate) enum Generated {
    /// Every event is in the outbox.
    Finished(Finish),
    /// The answer cannot be completed; nothing is charged.
    Failed(PodError),
    /// The client went away; the worker has stopped.
    ClientGone,
}

/// Most bytes of a withheld answer.
const WITHHELD_MAX_BYTES: usize = 8 * 1024 * 1024;

enum Step {
    Event(EngineEvent),
    Failed(PodError),
    /// The worker has nothing at the moment, and frames wait to be sent.
    Idle,
}

/// Runs `job` for `user` until it ends or the client goes away. Dropping the stream of events stops
/// the worker within one token.
///
/// # Errors
/// [`HostGone`].
pub(crate) async fn generate(
    job: Job,
    user: Address,
    pacer: &mut Pacer,
    reader: &mut HostReader,
) -> Result<Generated, HostGone> {
    let Job { engine, work, .. } = job;
    match work {
        Work::Stream(generation) => {
            Box::pin(stream(generation, &engine, user, pacer, reader)).await
        }
        Work::Whole(lookup) => Box::pin(look_up(lookup, &engine, user, pacer, reader)).await,
    }
}

async fn look_up(
    lookup: Lookup,
    engine: &Engine,
    user: Address,
    pacer: &mut Pacer,
    reader: &mut HostReader,
) -> Result<Generated, HostGone> {
    let found = match pacer.during_or_closed(Box::pin(lookup.run(engine, user)), reader).await? {
        OrClosed::ClientGone => return Ok(Generated::ClientGone),
        OrClosed::Done(Err(error)) => return Ok(Generated::Failed(engine_error(&error))),
        OrClosed::Done(Ok(found)) => found,
    };
    pacer.outbox.count_prompt(found.prompt_tokens, 0);
    for event in found.events {
        if let Err(error) = pacer.outbox.push(&event, 0) {
            return Ok(Generated::Failed(too_long(error)));
        }
        if is_too_much(pacer) {
            let message = "the answer is too long for class bulk; ask for less at once";
            return Ok(Generated::Failed(refuse(Code::InvalidRequest, message)));
        }
        if let OrClosed::ClientGone = pacer.relieve(reader).await? {
            return Ok(Generated::ClientGone);
        }
    }
    Ok(Generated::Finished(Finish::Stop))
}

async fn stream(
    generation: Generation,
    engine: &Engine,
    user: Address,
    pacer: &mut Pacer,
    reader: &mut HostReader,
) -> Result<Generated, HostGone> {
    let mut stream =
        match pacer.during_or_closed(Box::pin(generation.start(engine, user)), reader).await? {
            OrClosed::ClientGone => return Ok(Generated::ClientGone),
            OrClosed::Done(Err(error)) => return Ok(Generated::Failed(engine_error(&error))),
            OrClosed::Done(Ok(stream)) => stream,
        };
    let mut completion_tokens = 0;
    loop {
        let flush_when_idle = pacer.is_unpaced() && pacer.outbox.has_frame();
        let step = pacer.during_or_closed(next_step(&mut stream, flush_when_idle), reader).await?;
        let sent = match step {
            OrClosed::ClientGone => return Ok(Generated::ClientGone),
            OrClosed::Done(Step::Failed(error)) => return Ok(Generated::Failed(error)),
            OrClosed::Done(Step::Idle) => pacer.drain_and_flush(reader).await?,
            OrClosed::Done(Step::Event(event)) => {
                let usage = stream.usage();
                pacer.outbox.count_prompt(usage.prompt_tokens, usage.cached_tokens);
                match take_event(&mut pacer.outbox, event, &mut completion_tokens) {
                    Err(error) => return Ok(Generated::Failed(error)),
                    Ok(Some(finish)) => return Ok(Generated::Finished(finish)),
                    Ok(None) if is_too_much(pacer) => {
                        let message = "the answer is too long for class bulk; ask in another one";
                        return Ok(Generated::Failed(refuse(Code::InvalidRequest, message)));
                    }
                    Ok(None) => pacer.relieve(reader).await?,
                }
            }
        };
        if let OrClosed::ClientGone = sent {
            return Ok(Generated::ClientGone);
        }
    }
}

/// Whether a withheld answer is longer than this program keeps. In the other classes the worker
/// waits for the frames instead.
fn is_too_much(pacer: &Pacer) -> bool {
    pacer.is_withheld() && pacer.outbox.waiting_bytes() > WITHHELD_MAX_BYTES
}

async fn next_step(stream: &mut ChatStream, flush_when_idle: bool) -> Step {
    let event = tokio::select! {
        biased;
        event = stream.next() => event,
        () = std::future::ready(()), if flush_when_idle => return Step::Idle,
    };
    match event {
        Some(Ok(event)) => Step::Event(event),
        Some(Err(error)) => Step::Failed(engine_error(&error)),
        None => Step::Failed(engine_error(&EngineError::Protocol { what: "nothing any more" })),
    }
}

/// Puts one event into the outbox. Returns how the answer ended, with its last event.
fn take_event(
    outbox: &mut Outbox,
    event: EngineEvent,
    completion_tokens: &mut u32,
) -> Result<Option<Finish>, PodError> {
    let (event, tokens) = match event {
        EngineEvent::Prompt { .. } => return Ok(None),
        EngineEvent::Content { text, tokens } => (Event::Content(text), tokens),
        EngineEvent::Reasoning { text, tokens } => (Event::Reasoning(text), tokens),
        EngineEvent::ToolCalls { calls, tokens } => (Event::ToolCalls(calls.to_string()), tokens),
        EngineEvent::Logprobs(logprobs) => (Event::Logprobs(logprobs.to_string()), 0),
        EngineEvent::NextChoice { reason } => (Event::NextChoice(finish(reason)), 0),
        EngineEvent::Finished { reason, usage, prompt_ms, predicted_ms } => {
            outbox.count_prompt(usage.prompt_tokens, usage.cached_tokens);
            let timings = Event::Timings {
                prompt_ms: milliseconds(prompt_ms),
                predicted_ms: milliseconds(predicted_ms),
            };
            // Tokens without text, such as the end of the answer, are complete with this event.
            outbox.push(&timings, usage.completion_tokens).map_err(too_long)?;
            return Ok(Some(finish(reason)));
        }
    };
    *completion_tokens += tokens;
    outbox.push(&event, *completion_tokens).map_err(too_long)?;
    Ok(None)
}

// By value, because that is the shape `map_err` hands over.
#[allow(clippy::needless_pass_by_value)]
fn too_long(error: EventError) -> PodError {
    refuse(Code::WorkerFailed, error.to_string())
}

fn finish(reason: FinishReason) -> Finish {
    match reason {
        FinishReason::Stop => Finish::Stop,
        FinishReason::Length => Finish::Length,
        FinishReason::ToolCalls => Finish::ToolCalls,
    }
}

/// Whole milliseconds; a worker that reports nonsense reports 0 or the most.
fn milliseconds(value: f64) -> u32 {
    // A cast from a float saturates and takes NaN for 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let milliseconds = value.round() as u32;
    milliseconds
}

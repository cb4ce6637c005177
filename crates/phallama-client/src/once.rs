//! Requests that an app names: asked and charged once, however often the app sends them.
//!
//! An app whose connection broke cannot know whether its request was answered, so it sends it again
//! (SDKs do so by themselves). With a name for all of these they are one request: what is under way
//! is joined, what was answered is told again from its beginning, and an app that goes away cancels
//! nothing. A request that has certainly cost nothing is asked anew; one that may have been charged
//! is not, whatever became of its answer.
//!
//! Names live in this process: they are forgotten when it ends. Their request ids follow from
//! account and name, so that the records know an earlier process's request when its name comes
//! again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use phallama_protocol::ids::{PodId, RequestId};
use phallama_protocol::request::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::{mpsc, watch};

use crate::answer::{Answer, AnswerEvent};
use crate::ask::AskOptions;
use crate::client::{Client, lock};
use crate::error::ClientError;
use crate::ledger::AccountKey;
use crate::promise::Fate;

/// Longest name, bytes.
const NAME_MAX_BYTES: usize = 255;
/// Names that are remembered; the oldest go first.
const NAMES_MAX: usize = 4_096;
/// How long an answer can be told again.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// How much of all answers is kept, bytes.
const KEPT_MAX_BYTES: usize = 32 << 20;

/// What apps have named. Shared by all clones of a client.
pub(crate) type Named = Mutex<HashMap<String, Arc<Attempt>>>;

/// The one attempt at a named request.
pub(crate) struct Attempt {
    /// SHA-256 of what was asked.
    content: [u8; 32],
    begun_at: Instant,
    fate: Fate,
    log: Mutex<Log>,
    /// Counts changes of the log.
    grown: watch::Sender<u64>,
}

#[derive(Default)]
struct Log {
    answers: Option<(PodId, RequestId)>,
    events: Vec<AnswerEvent>,
    kept_bytes: usize,
    end: Option<End>,
}

#[derive(Clone)]
enum End {
    Complete,
    Failed(Arc<ClientError>),
    /// It was complete, and is not kept any more.
    Forgotten,
}

impl Client {
    /// Asks once for all calls with the same name. Every call gets the whole answer.
    ///
    /// # Errors
    /// As [`ask`](Self::ask); [`ClientError::Repeated`] with the error of the first call where that
    /// may have been charged; [`ClientError::InvalidRequest`] for a name that stood for another
    /// request, or whose answer is not kept any more.
    pub async fn ask_once(
        &self,
        name: &str,
        method: Method,
        model: &str,
        body: Value,
        mut options: AskOptions,
    ) -> Result<Answer, ClientError> {
        if name.is_empty() || name.len() > NAME_MAX_BYTES {
            return Err(unusable(format!("a name has 1 to {NAME_MAX_BYTES} bytes")));
        }
        let content = content(method, model, &body, options);
        let (attempt, is_new) = self.attempt_named(name, content)?;
        if is_new {
            options.request_id.get_or_insert(request_id(&self.account_key()?, name));
            let (client, attempt) = (self.clone(), Arc::clone(&attempt));
            let model = model.to_owned();
            tokio::spawn(async move { attempt.run(&client, method, &model, body, options).await });
        }
        attempt.follow().await
    }

    fn attempt_named(
        &self,
        name: &str,
        content: [u8; 32],
    ) -> Result<(Arc<Attempt>, bool), ClientError> {
        let mut named = lock(&self.inner.named);
        if let Some(known) = named.get(name).filter(|known| !known.is_void()) {
            if known.content != content {
                return Err(unusable("it stands for another request already".to_owned()));
            }
            return Ok((Arc::clone(known), false));
        }
        make_room(&mut named);
        let attempt = Arc::new(Attempt {
            content,
            begun_at: Instant::now(),
            fate: Fate::default(),
            log: Mutex::default(),
            grown: watch::Sender::new(0),
        });
        named.insert(name.to_owned(), Arc::clone(&attempt));
        Ok((attempt, true))
    }
}

fn unusable(reason: String) -> ClientError {
    let reason = format!("the request's name cannot be used: {reason}");
    ClientError::InvalidRequest { reason, field: Some("Idempotency-Key") }
}

/// The one id of a name. It is as hard to guess as the name, and shows nothing of it.
fn request_id(account: &AccountKey, name: &str) -> RequestId {
    let mut hash = Sha256::new_with_prefix(b"phallama named request\0");
    hash.update(account.chain_id.to_be_bytes());
    hash.update(account.escrow.0);
    hash.update(account.user.0);
    hash.update(name);
    let digest: [u8; 32] = hash.finalize().into();
    RequestId(*digest.first_chunk().expect("16 of 32 bytes"))
}

fn content(method: Method, model: &str, body: &Value, options: AskOptions) -> [u8; 32] {
    Sha256::digest(format!("{method:?}\n{model}\n{options:?}\n{body}")).into()
}

/// Forgets answers that are old, or more than there is room for, and names above their number.
fn make_room(named: &mut HashMap<String, Arc<Attempt>>) {
    let mut ended: Vec<_> =
        named.iter().filter(|(_, attempt)| lock(&attempt.log).end.is_some()).collect();
    ended.sort_by_key(|(_, attempt)| attempt.begun_at);
    let mut kept: usize = ended.iter().map(|(_, attempt)| lock(&attempt.log).kept_bytes).sum();
    for (_, attempt) in &ended {
        if kept > KEPT_MAX_BYTES || attempt.begun_at.elapsed() > KEPT_FOR {
            kept -= attempt.forget();
        }
    }
    let excess = (named.len() + 1).saturating_sub(NAMES_MAX);
    let oldest: Vec<String> =
        ended.into_iter().take(excess).map(|(name, _)| name.clone()).collect();
    for name in oldest {
        named.remove(&name);
    }
}

impl Attempt {
    /// It failed, and has certainly cost nothing: the name is free again.
    fn is_void(&self) -> bool {
        matches!(lock(&self.log).end, Some(End::Failed(_))) && !self.fate.is_lost()
    }

    /// Lets go of a kept answer; its size.
    fn forget(&self) -> usize {
        let mut log = lock(&self.log);
        if matches!(log.end, Some(End::Complete)) {
            log.end = Some(End::Forgotten);
        }
        log.events = Vec::new();
        std::mem::take(&mut log.kept_bytes)
    }

    fn change(&self, change: impl FnOnce(&mut Log)) {
        change(&mut lock(&self.log));
        self.grown.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    async fn run(
        &self,
        client: &Client,
        method: Method,
        model: &str,
        body: Value,
        options: AskOptions,
    ) {
        let asked = client.ask_with_fate(method, model, body, options, &self.fate).await;
        let end = match asked {
            Ok(answer) => self.record(answer).await,
            Err(error) => Err(error),
        };
        let end = end.map_or_else(|error| End::Failed(Arc::new(error)), |()| End::Complete);
        self.change(|log| log.end = Some(end));
    }

    async fn record(&self, mut answer: Answer) -> Result<(), ClientError> {
        self.change(|log| log.answers = Some((answer.pod_id(), answer.request_id())));
        while let Some(event) = answer.next().await {
            let event = event?;
            self.change(|log| {
                log.kept_bytes += size(&event);
                log.events.push(event);
            });
        }
        Ok(())
    }

    /// An answer that tells everything from the beginning on.
    async fn follow(self: Arc<Self>) -> Result<Answer, ClientError> {
        let mut grown = self.grown.subscribe();
        let (pod_id, request_id) = loop {
            let (answers, end) = {
                let log = lock(&self.log);
                (log.answers, log.end.clone())
            };
            match (answers, end) {
                (_, Some(End::Forgotten)) => {
                    return Err(unusable("its answer is not kept any more".to_owned()));
                }
                (None, Some(End::Failed(error))) => return Err(ClientError::Repeated(error)),
                (Some(answers), _) => break answers,
                (None, _) => grown.changed().await.expect("the sender is ours"),
            }
        };
        let (events, app) = mpsc::unbounded_channel();
        tokio::spawn(async move { self.tell(&events, grown).await });
        Ok(Answer::told_again(pod_id, request_id, app))
    }

    async fn tell(
        &self,
        app: &mpsc::UnboundedSender<Result<AnswerEvent, ClientError>>,
        mut grown: watch::Receiver<u64>,
    ) {
        let mut told = 0;
        loop {
            let (news, end) = {
                let log = lock(&self.log);
                (log.events.get(told..).unwrap_or_default().to_vec(), log.end.clone())
            };
            told += news.len();
            for event in news {
                if app.send(Ok(event)).is_err() {
                    return;
                }
            }
            match end {
                Some(End::Failed(error)) => {
                    let _ = app.send(Err(ClientError::Repeated(error)));
                    return;
                }
                Some(_) => return,
                None => grown.changed().await.expect("the sender is ours"),
            }
        }
    }
}

fn size(event: &AnswerEvent) -> usize {
    let text = match event {
        AnswerEvent::Content(text)
        | AnswerEvent::Reasoning(text)
        | AnswerEvent::ToolCalls(text)
        | AnswerEvent::Logprobs(text) => text.len(),
        AnswerEvent::Embedding(numbers) => size_of_val(numbers.as_slice()),
        AnswerEvent::Tokens(tokens) => size_of_val(tokens.as_slice()),
        AnswerEvent::Started(_)
        | AnswerEvent::NextChoice(_)
        | AnswerEvent::Timings { .. }
        | AnswerEvent::Finished(_) => 0,
    };
    text + size_of::<AnswerEvent>()
}

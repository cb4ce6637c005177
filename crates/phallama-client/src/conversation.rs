//! Which pod a conversation was with: it goes on there, where the worker still has its beginning.
//!
//! A conversation is known by what its requests begin with. The app repeats all earlier messages in
//! each request, so the whole of an earlier request is a beginning of a later one. Only whole
//! requests are remembered, never parts: a system prompt that many conversations share does not
//! bring them all to one pod.
//!
//! What is kept are keyed hashes in the memory of this process, under a key that it drew at its
//! start, for one wallet: nothing here can be joined with another wallet's, another process's or a
//! pod's knowledge. An entry names the pod's identity key and is void with it: a pod that was
//! started anew has no cache, and somebody who wants a conversation to stay gains nothing by
//! registering a new key. Staying tells the pod nothing new, since each request contains the
//! conversation; going elsewhere would tell it to one pod more.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use phallama_protocol::ids::{Address, PodId};
use phallama_protocol::request::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::client::lock;
use crate::keystore::random_bytes;
use crate::question::Question;

/// How long a conversation is remembered after its last request.
const KEPT_FOR: Duration = Duration::from_mins(30);
/// Conversations that are remembered; the oldest go first.
const KEPT_MAX: usize = 1_024;
/// A prompt of a completion has no messages: it is cut into pieces of so many bytes.
const PIECE_BYTES: usize = 1_024;

/// What the beginnings of a request hash to, the shortest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beginnings(Vec<[u8; 32]>);

/// The conversations of one wallet in this process.
#[derive(Debug)]
pub(crate) struct Conversations {
    key: [u8; 32],
    with: Mutex<HashMap<[u8; 32], With>>,
}

#[derive(Clone, Copy, Debug)]
struct With {
    pod: PodId,
    identity: Address,
    at: Instant,
}

impl Default for Conversations {
    fn default() -> Self {
        Self { key: random_bytes(), with: Mutex::default() }
    }
}

impl Conversations {
    /// The beginnings of a question about `model`; none where nothing goes on.
    pub(crate) fn beginnings(&self, model: &str, question: &Question) -> Beginnings {
        let pieces: Vec<Vec<u8>> = match (question.method, question.subject()) {
            (Method::Chat, Some(Value::Array(messages))) => {
                messages.iter().map(|message| message.to_string().into_bytes()).collect()
            }
            (Method::Completion, Some(Value::String(prompt))) => {
                prompt.as_bytes().chunks_exact(PIECE_BYTES).map(<[u8]>::to_vec).collect()
            }
            _ => Vec::new(),
        };
        let mut hash = Sha256::new_with_prefix(self.key);
        hash.update(model);
        let mut state: [u8; 32] = hash.finalize().into();
        let mut next = |piece: &Vec<u8>| {
            state = Sha256::new_with_prefix(state).chain_update(piece).finalize().into();
            state
        };
        Beginnings(pieces.iter().map(&mut next).collect())
    }

    /// The pod that answered the longest known beginning, and the key that it had then.
    pub(crate) fn with(&self, beginnings: &Beginnings, now: Instant) -> Option<(PodId, Address)> {
        let known = lock(&self.with);
        let fresh = |with: &&With| now.saturating_duration_since(with.at) < KEPT_FOR;
        let longest = beginnings.0.iter().rev().find_map(|hash| known.get(hash).filter(fresh))?;
        Some((longest.pod, longest.identity))
    }

    /// The pod answers a request with these beginnings.
    pub(crate) fn goes_on(
        &self,
        beginnings: &Beginnings,
        pod: PodId,
        identity: Address,
        now: Instant,
    ) {
        let Some(whole) = beginnings.0.last() else { return };
        let mut known = lock(&self.with);
        // The request before is a beginning of this one and is needed no more, unless the app goes
        // back to it: then the conversation may go elsewhere.
        for earlier in beginnings.0.iter().rev().skip(1) {
            known.remove(earlier);
        }
        known.insert(*whole, With { pod, identity, at: now });
        if known.len() > KEPT_MAX {
            known.retain(|_, with| now.saturating_duration_since(with.at) < KEPT_FOR);
            let oldest = known.iter().min_by_key(|(_, with)| with.at).map(|(hash, _)| *hash);
            if let Some(oldest) = oldest.filter(|_| known.len() > KEPT_MAX) {
                known.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const POD: PodId = PodId([7; 32]);
    const IDENTITY: Address = Address([9; 20]);

    fn chat(texts: &[&str]) -> Question {
        let message = |text: &&str| json!({"role": "user", "content": text});
        let messages: Vec<Value> = texts.iter().map(message).collect();
        Question::new(Method::Chat, "m", json!({"messages": messages})).unwrap()
    }

    fn with(all: &Conversations, texts: &[&str], now: Instant) -> Option<PodId> {
        all.with(&all.beginnings("m", &chat(texts)), now).map(|(pod, _)| pod)
    }

    fn goes_on(all: &Conversations, texts: &[&str], pod: PodId, now: Instant) {
        all.goes_on(&all.beginnings("m", &chat(texts)), pod, IDENTITY, now);
    }

    #[test]
    fn a_conversation_is_known_by_the_whole_request_before() {
        let (all, now) = (Conversations::default(), Instant::now());
        goes_on(&all, &["system", "a"], POD, now);
        assert_eq!(with(&all, &["system", "a", "answer", "b"], now), Some(POD));
        assert_eq!(with(&all, &["system", "a"], now), Some(POD), "asked again");
        assert_eq!(with(&all, &["system"], now), None, "a part is nothing");
        assert_eq!(with(&all, &["system", "other"], now), None, "a shared system prompt neither");
        assert_eq!(all.with(&all.beginnings("n", &chat(&["system", "a"])), now), None);
        assert_eq!(with(&all, &["system", "a"], now + KEPT_FOR), None, "forgotten");
    }

    #[test]
    fn the_longest_known_beginning_decides() {
        let (all, now, other) = (Conversations::default(), Instant::now(), PodId([8; 32]));
        goes_on(&all, &["a", "b", "c"], other, now);
        goes_on(&all, &["a"], POD, now);
        assert_eq!(with(&all, &["a", "b", "c", "d"], now), Some(other));
        assert_eq!(with(&all, &["a", "x"], now), Some(POD));
    }

    #[test]
    fn no_two_processes_or_wallets_know_the_same_hashes() {
        let (one, two) = (Conversations::default(), Conversations::default());
        assert_ne!(one.beginnings("m", &chat(&["a"])), two.beginnings("m", &chat(&["a"])));
    }

    #[test]
    fn a_prompt_without_messages_is_known_by_its_whole_pieces() {
        let (all, now) = (Conversations::default(), Instant::now());
        let prompt = |bytes: usize| {
            let body = json!({"prompt": "x".repeat(bytes)});
            all.beginnings("m", &Question::new(Method::Completion, "m", body).unwrap())
        };
        all.goes_on(&prompt(PIECE_BYTES + 9), POD, IDENTITY, now);
        assert_eq!(all.with(&prompt(3 * PIECE_BYTES), now), Some((POD, IDENTITY)));
        assert_eq!(all.with(&prompt(PIECE_BYTES - 1), now), None);
    }

    #[test]
    fn memory_is_bounded() {
        let (all, now) = (Conversations::default(), Instant::now());
        for n in 0..KEPT_MAX + 10 {
            let at = now + Duration::from_millis(n.try_into().unwrap());
            goes_on(&all, &[&n.to_string()], POD, at);
        }
        assert_eq!(lock(&all.with).len(), KEPT_MAX);
        assert_eq!(with(&all, &["0"], now), None, "the oldest went");
    }
}

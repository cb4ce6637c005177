//! Handing a signed transaction to every endpoint, and what their answers mean together.

use std::sync::Arc;
use std::time::Instant;

use alloy::providers::Provider as _;
use alloy::transports::{RpcError, TransportErrorKind};
use tokio::task::JoinSet;

use crate::endpoint::{Failure, Said};
use crate::endpoints::{Endpoints, GRACE, joined_until, together};
use crate::error::{ChainError, from_rpc};

const WHAT: &str = "eth_sendRawTransaction";

/// What became of a broadcast.
#[derive(Debug)]
pub(crate) enum Broadcast {
    /// At least one node has it.
    Taken,
    /// Nobody said that they have it, but somebody may: an answer was lost, or it waits for
    /// earlier ones.
    Unsure,
    /// Every node refused it: the nonce is in a block, or somebody else's transaction has it.
    NonceUsed,
    /// Every node refused it: it pays too little.
    Underpriced,
    /// Every node refused it: the account cannot pay.
    CannotPay(String),
    /// Every node refused it for another reason.
    Refused(ChainError),
}

/// One node's answer, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Known,
    NonceUsed,
    Underpriced,
    CannotPay,
    /// It has not seen the earlier ones.
    Gap,
    Other,
}

impl Endpoints {
    /// Sends to all of them, not only to the best: one that is cut off from the network takes a
    /// transaction and never passes it on.
    pub(crate) async fn broadcast(&self, raw: &[u8]) -> Broadcast {
        let mut sending = JoinSet::new();
        for endpoint in self.list() {
            let (endpoint, raw) = (Arc::clone(endpoint), raw.to_vec());
            let (chain_id, limit) = (self.chain_id(), self.timeout());
            sending.spawn(async move {
                let call = endpoint.provider.send_raw_transaction(&raw);
                endpoint.ask(WHAT, chain_id, limit, async { call.await.map(drop) }).await
            });
        }
        let (mut said, mut silent, mut taken) = (Vec::new(), false, false);
        let began = Instant::now();
        let mut until = None;
        while let Some(joined) = joined_until(&mut sending, until).await {
            match joined {
                Ok(Ok(())) => taken = true,
                Ok(Err(Failure::Said(error))) => said.push(error),
                _ => silent = true,
            }
            if taken {
                until = Some(Instant::now() + began.elapsed().max(GRACE));
            }
        }
        if taken { Broadcast::Taken } else { outcome(said, silent) }
    }
}

fn outcome(said: Vec<Said>, silent: bool) -> Broadcast {
    let words = said.iter().map(|said| word(&said.error));
    match words.min() {
        Some(Word::Known) => Broadcast::Taken,
        _ if silent => Broadcast::Unsure,
        None | Some(Word::Gap) => Broadcast::Unsure,
        Some(Word::NonceUsed) => Broadcast::NonceUsed,
        Some(Word::Underpriced) => Broadcast::Underpriced,
        Some(Word::CannotPay) => {
            let reasons: Vec<String> = said.iter().map(|said| said.error.to_string()).collect();
            Broadcast::CannotPay(reasons.join("; "))
        }
        Some(Word::Other) => {
            let errors = said.iter().map(|said| from_rpc(&said.url, WHAT, &said.error));
            Broadcast::Refused(together(WHAT, errors.collect()))
        }
    }
}

/// Nodes have words for it and no common codes.
fn word(error: &RpcError<TransportErrorKind>) -> Word {
    // One that could be replaced is somebody else's: ours would be known.
    const NONCE_USED: &[&str] =
        &["nonce too low", "nonce is too low", "oldnonce", "been used", "replacement transaction"];
    const WORDS: [(Word, &[&str]); 5] = [
        (Word::Known, &["already known", "known transaction", "already imported", "alreadyknown"]),
        (Word::NonceUsed, NONCE_USED),
        (
            Word::Underpriced,
            &[
                "underpriced",
                "less than block base fee",
                "fee too low",
                "feetoolow",
                "price too low",
            ],
        ),
        (Word::CannotPay, &["insufficient funds", "insufficientfunds"]),
        (Word::Gap, &["nonce too high", "nonce gap", "noncegap"]),
    ];
    let text = error.to_string().to_lowercase();
    let found = WORDS.iter().find(|(_, words)| words.iter().any(|word| text.contains(word)));
    found.map_or(Word::Other, |(word, _)| *word)
}

#[cfg(test)]
mod tests {
    use alloy_json_rpc::ErrorPayload;

    use super::*;

    fn said(message: &'static str) -> Said {
        let payload = ErrorPayload { code: -32_000, message: message.into(), data: None };
        Said { url: "http://node".to_owned(), error: RpcError::ErrorResp(payload) }
    }

    #[test]
    fn one_node_that_has_it_is_enough() {
        let answers = vec![said("nonce too low"), said("already known")];
        assert!(matches!(outcome(answers, false), Broadcast::Taken));
    }

    #[test]
    fn a_silent_node_may_have_it() {
        let answers = vec![said("insufficient funds for gas * price + value")];
        assert!(matches!(outcome(answers, true), Broadcast::Unsure));
        assert!(matches!(outcome(Vec::new(), true), Broadcast::Unsure));
    }

    #[test]
    fn refusals_of_all_are_told_apart() {
        let one = |message| outcome(vec![said(message)], false);
        assert!(matches!(one("nonce too low: next nonce 5, tx nonce 4"), Broadcast::NonceUsed));
        assert!(matches!(one("replacement transaction underpriced"), Broadcast::NonceUsed));
        assert!(matches!(one("transaction underpriced"), Broadcast::Underpriced));
        let base = "max fee per gas less than block base fee: address 0x1";
        assert!(matches!(one(base), Broadcast::Underpriced));
        let funds = "insufficient funds for gas * price + value";
        assert!(matches!(one(funds), Broadcast::CannotPay(_)));
        assert!(matches!(one("nonce too high"), Broadcast::Unsure));
        assert!(matches!(one("invalid sender"), Broadcast::Refused(_)));
    }
}

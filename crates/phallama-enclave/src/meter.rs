//! What an answer has cost, as receipts (spec/receipts.md).

use std::sync::Arc;

use phallama_engine::Usage;
use phallama_protocol::eip712::channel_id;
use phallama_protocol::ids::{Amount, Digest32};
use phallama_protocol::offers::Offer;
use phallama_protocol::receipt::{Finish, Receipt, SignedReceipt};

use crate::enclave::Enclave;
use crate::ledger::{ChannelKey, Charge, Reservation};

/// Meters one admitted request.
pub(crate) struct Meter {
    subject: Subject,
    reservation: Reservation,
}

/// What all receipts of one answer are about.
pub(crate) struct Subject {
    pub(crate) enclave: Arc<Enclave>,
    pub(crate) key: ChannelKey,
    pub(crate) offer: Offer,
    pub(crate) request_commitment: Digest32,
}

/// What was handed out so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Token counts.
    pub(crate) tokens: Usage,
    /// Hash chain over the DATA frames.
    pub(crate) data_chain: Digest32,
    /// Their number.
    pub(crate) data_frames: u32,
}

/// A charge with its receipt, both waiting for the host to store them.
pub(crate) struct Claimed {
    pub(crate) charge: Charge,
    pub(crate) receipt: SignedReceipt,
}

impl Meter {
    pub(crate) fn new(subject: Subject, reservation: Reservation) -> Self {
        Self { subject, reservation }
    }

    /// SHA-256 of the model's weights.
    pub(crate) fn model_digest(&self) -> Digest32 {
        self.subject.offer.weights_sha256
    }

    /// An interim receipt for what was handed out so far. Nothing is charged.
    pub(crate) fn interim(&self, progress: &Progress) -> SignedReceipt {
        let reserve = self.reservation.reserve();
        let (tokens, cost) = billed(&self.subject.offer, progress.tokens, reserve);
        let (seq, cumulative) = self.reservation.interim(cost);
        let numbers = Numbers { seq, cumulative, cost, tokens, finish: Finish::Interim };
        self.subject.sign(progress, &numbers)
    }

    /// Charges what was handed out, once earlier claims of the channel are settled with the host.
    pub(crate) async fn claim(self, progress: &Progress, finish: Finish) -> Claimed {
        let Self { subject, reservation } = self;
        let (tokens, cost) = billed(&subject.offer, progress.tokens, reservation.reserve());
        let charge = reservation.charge(cost).await;
        let (seq, cumulative) = (charge.seq, charge.cumulative);
        let receipt = subject.sign(progress, &Numbers { seq, cumulative, cost, tokens, finish });
        Claimed { charge, receipt }
    }
}

impl Subject {
    fn sign(&self, progress: &Progress, numbers: &Numbers) -> SignedReceipt {
        let facts = self.enclave.facts();
        let receipt = Receipt {
            pod_id: facts.pod_id,
            identity: self.enclave.identity().address(),
            channel: channel_id(self.key.user, facts.pod_id),
            epoch: self.key.epoch,
            seq: numbers.seq,
            cumulative: numbers.cumulative,
            cost: numbers.cost,
            request_commitment: self.request_commitment,
            data_chain: progress.data_chain,
            data_frames: progress.data_frames,
            model_digest: self.offer.weights_sha256,
            measurement: facts.measurement,
            evidence_hash: facts.evidence_hash,
            terms_hash: facts.offers_hash,
            prompt_tokens: numbers.tokens.prompt_tokens,
            completion_tokens: numbers.tokens.completion_tokens,
            cached_tokens: numbers.tokens.cached_tokens,
            input_price_per_mtok: self.offer.input_price_per_mtok,
            output_price_per_mtok: self.offer.output_price_per_mtok,
            block_seen: self.enclave.block_seen(),
            finish: numbers.finish,
        };
        receipt.sign(self.enclave.identity(), &self.enclave.domain())
    }
}

/// What differs between the receipts of one answer.
struct Numbers {
    seq: u64,
    cumulative: Amount,
    cost: Amount,
    tokens: Usage,
    finish: Finish,
}

/// The tokens that are charged, with their cost. Prompt tokens above what the reserve pays for (a
/// chat template longer than spec/billing.md allows for) are given away, so that `cost ≤ reserve`
/// and the formula both hold in the receipt.
fn billed(offer: &Offer, mut tokens: Usage, reserve: Amount) -> (Usage, Amount) {
    let cost = |tokens: &Usage| {
        let cost = offer.cost(tokens.prompt_tokens, tokens.completion_tokens);
        cost.ok().filter(|cost| *cost <= reserve)
    };
    loop {
        if let Some(cost) = cost(&tokens) {
            tokens.cached_tokens = tokens.cached_tokens.min(tokens.prompt_tokens);
            return (tokens, cost);
        }
        // The reserve covers `max_tokens`, so what is above it is prompt; should a worker exceed
        // `max_tokens`, completion tokens are given away too.
        if tokens.prompt_tokens > 0 {
            tokens.prompt_tokens -= 1;
        } else {
            tokens.completion_tokens -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prompt: u32, completion: u32, reserve: u64, expected: (u32, u32, u64)) {
        let offer = Offer {
            model: "m".to_owned(),
            weights_sha256: Digest32([0; 32]),
            input_price_per_mtok: Amount::from(1_000_000),
            output_price_per_mtok: Amount::from(2_000_000),
            context_tokens: 100,
            max_output_tokens: 100,
        };
        let tokens =
            Usage { prompt_tokens: prompt, completion_tokens: completion, cached_tokens: prompt };
        let (tokens, cost) = billed(&offer, tokens, Amount::from(reserve));
        let (prompt, completion, cost_expected) = expected;
        assert_eq!((tokens.prompt_tokens, tokens.completion_tokens), (prompt, completion));
        assert_eq!(cost, Amount::from(cost_expected));
        assert_eq!(offer.cost(prompt, completion), Ok(cost), "the receipt's formula holds");
        assert!(tokens.cached_tokens <= tokens.prompt_tokens);
    }

    #[test]
    fn tokens_within_the_reserve_are_all_charged() {
        check(10, 5, 20, (10, 5, 20));
    }

    #[test]
    fn prompt_tokens_above_the_reserve_are_given_away() {
        check(10, 5, 17, (7, 5, 17));
    }

    #[test]
    fn completion_tokens_above_the_reserve_are_given_away_last() {
        check(10, 5, 7, (0, 3, 6));
    }
}

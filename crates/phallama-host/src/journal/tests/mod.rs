mod faults;
mod power_cuts;
mod restoring;
mod storing;

use phallama_protocol::ids::Digest32;
use phallama_protocol::keys::Signature;

use super::*;

fn key(user: u8) -> ChannelKey {
    ChannelKey { user: Address([user; 20]), epoch: 1 }
}

fn claim(user: u8, cumulative: u64) -> Change {
    Change::Claim(Box::new(Claim {
        key: key(user),
        cap: 1_000_000.into(),
        voucher_sig: Signature([1; 64]),
        identity: Address([2; 20]),
        seq: cumulative,
        cumulative: cumulative.into(),
        receipt_hash: Digest32([3; 32]),
        settlement_sig: Signature([4; 64]),
        prompt_tokens: 5,
        completion_tokens: 6,
        settled: Amount::ZERO,
        at_unix_s: 7,
    }))
}

/// Waits for a condition; it has to come by itself.
async fn until(journal: &Journal, condition: Condition) -> std::time::Duration {
    let began = std::time::Instant::now();
    let comes = async {
        while journal.condition() != condition {
            tokio::task::yield_now().await;
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, comes).await.expect("the condition comes by itself");
    began.elapsed()
}

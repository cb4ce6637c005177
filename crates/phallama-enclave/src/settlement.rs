//! Signatures that the host asks for to settle and to close (spec/billing.md, steps 7 and 9).

use phallama_protocol::eip712::{Batch, Close, Voucher, channel_id, rows_hash};
use phallama_protocol::keys::recover;
use phallama_protocol::link::{BatchRow, BatchSigned, CloseSigned, Refused, SignBatch, SignClose};
use phallama_protocol::refusal::Code;

use crate::enclave::Enclave;
use crate::ledger::{ChannelKey, CloseError};

/// When to ask again for a channel that has open requests.
const CLOSE_RETRY_MS: u32 = 1_000;

/// Signs those rows of which this enclave itself has claimed at least as much.
///
/// The contract finds a row's channel through its voucher, so the voucher must be the user's and
/// name this enclave's key: any other would draw on a stranger, or on nobody.
pub(crate) async fn sign_batch(enclave: &Enclave, batch: &SignBatch) -> BatchSigned {
    let mut accepted = Vec::new();
    let mut packed = Vec::new();
    for (index, row) in (0_u32..).zip(&batch.rows) {
        if covers(enclave, row) {
            accepted.push(index);
            packed.extend(row.pack());
        }
        // Recovering a key takes about 0.1 ms; running answers keep their pace in between.
        tokio::task::yield_now().await;
    }
    let digest = Batch { pod_id: enclave.facts().pod_id, rows_hash: rows_hash(&packed) };
    let signature = enclave.identity().sign(&digest.digest(&enclave.domain()));
    BatchSigned { accepted, signature }
}

fn covers(enclave: &Enclave, row: &BatchRow) -> bool {
    let key = ChannelKey { user: row.user, epoch: row.epoch };
    if row.claimed > enclave.ledger().claimed(key) {
        return false;
    }
    let (pod_id, identity) = (enclave.facts().pod_id, enclave.identity().address());
    let voucher = Voucher { pod_id, identity, epoch: row.epoch, cap: row.cap };
    recover(&voucher.digest(&enclave.domain()), &row.voucher_sig) == Ok(row.user)
}

/// Signs the final amount of a channel, which takes no more requests in this epoch.
///
/// # Errors
/// [`Refused`] with `queue_full` while requests of the channel are open, with `epoch_mismatch` when
/// this enclave has not served it.
pub(crate) fn sign_close(enclave: &Enclave, close: SignClose) -> Result<CloseSigned, Refused> {
    let key = ChannelKey { user: close.user, epoch: close.epoch };
    let cumulative = enclave.ledger().close(key).map_err(|error| match error {
        CloseError::Open(_) => Refused { code: Code::QueueFull, retry_after_ms: CLOSE_RETRY_MS },
        CloseError::Unknown => Refused { code: Code::EpochMismatch, retry_after_ms: 0 },
    })?;
    let channel = channel_id(close.user, enclave.facts().pod_id);
    let digest = Close { channel, epoch: close.epoch, cumulative };
    let signature = enclave.identity().sign(&digest.digest(&enclave.domain()));
    Ok(CloseSigned { cumulative, signature })
}

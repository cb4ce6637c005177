//! What is kept beside the channels: receipts, disputes, evaluation numbers.

use phallama_chain::TeeKind;
use phallama_protocol::ids::{PodId, RequestId};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

use super::rows::{DISPUTE_BYTES, RECEIPT_BYTES, TCB_KEY_BYTES, joined};
use super::{Ledger, LedgerError, storage};
use crate::dispute::Dispute;
use crate::receipt::StoredReceipt;

const RECEIPTS: TableDefinition<[u8; RECEIPT_BYTES], &[u8]> = TableDefinition::new("receipts");
pub(super) const RECEIPT_IDS: TableDefinition<[u8; 16], [u8; RECEIPT_BYTES]> =
    TableDefinition::new("receipt_ids");
/// SHA-256 of the trust root ‖ kind of TEE → highest TCB evaluation number seen.
const TCB_NUMBERS: TableDefinition<[u8; TCB_KEY_BYTES], u32> =
    TableDefinition::new("tcb_evaluation_numbers_2");

/// When it was noticed, and whom it is about → the dispute as JSON.
const DISPUTES: TableDefinition<[u8; DISPUTE_BYTES], &[u8]> = TableDefinition::new("disputes");

pub(super) fn create(txn: &WriteTransaction) -> Result<(), LedgerError> {
    txn.open_table(RECEIPTS).map_err(storage)?;
    txn.open_table(RECEIPT_IDS).map_err(storage)?;
    txn.open_table(DISPUTES).map_err(storage)?;
    txn.open_table(TCB_NUMBERS).map_err(storage)?;
    Ok(())
}

impl Ledger {
    /// The newest `most` receipts, newest first.
    pub(crate) fn receipts(&self, most: usize) -> Result<Vec<StoredReceipt>, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let table = txn.open_table(RECEIPTS).map_err(storage)?;
        let rows = table.iter().map_err(storage)?.rev().take(most);
        rows.map(|row| {
            let (_, value) = row.map_err(storage)?;
            Ok(serde_json::from_slice(value.value())?)
        })
        .collect()
    }

    /// The receipt of one request.
    pub(crate) fn receipt(&self, id: RequestId) -> Result<Option<StoredReceipt>, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let ids = txn.open_table(RECEIPT_IDS).map_err(storage)?;
        let Some(key) = ids.get(id.0).map_err(storage)? else { return Ok(None) };
        let table = txn.open_table(RECEIPTS).map_err(storage)?;
        let Some(value) = table.get(key.value()).map_err(storage)? else { return Ok(None) };
        Ok(Some(serde_json::from_slice(value.value())?))
    }

    /// Highest TCB evaluation number seen for a kind of TEE under a trust root; 0 before any.
    pub(crate) fn tcb_evaluation_number(
        &self,
        root: &[u8; 32],
        tee: TeeKind,
    ) -> Result<u32, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let table = txn.open_table(TCB_NUMBERS).map_err(storage)?;
        Ok(table.get(tcb_key(root, tee)).map_err(storage)?.map_or(0, |value| value.value()))
    }

    /// Remembers a TCB evaluation number; a lower one than before changes nothing.
    pub(crate) fn raise_tcb_evaluation_number(
        &self,
        root: &[u8; 32],
        tee: TeeKind,
        seen: u32,
    ) -> Result<(), LedgerError> {
        if self.tcb_evaluation_number(root, tee)? >= seen {
            return Ok(());
        }
        let key = tcb_key(root, tee);
        self.write(|txn| {
            let mut table = txn.open_table(TCB_NUMBERS).map_err(storage)?;
            let known = table.get(key).map_err(storage)?.map_or(0, |value| value.value());
            table.insert(key, known.max(seen)).map_err(storage)?;
            Ok(())
        })
    }

    /// Keeps a dispute. `false`: there is one that says the same.
    pub(crate) fn accuse(&self, dispute: &Dispute) -> Result<bool, LedgerError> {
        let json = serde_json::to_vec(dispute)?;
        self.write(|txn| {
            let mut table = txn.open_table(DISPUTES).map_err(storage)?;
            for row in table.iter().map_err(storage)? {
                let (_, value) = row.map_err(storage)?;
                if serde_json::from_slice::<Dispute>(value.value())?.repeats(dispute) {
                    return Ok(false);
                }
            }
            // Two in one millisecond are two all the same.
            let mut at_unix_ms = dispute.at_unix_ms;
            while table.get(dispute_key(at_unix_ms, dispute.pod)).map_err(storage)?.is_some() {
                at_unix_ms += 1;
            }
            let key = dispute_key(at_unix_ms, dispute.pod);
            table.insert(key, json.as_slice()).map_err(storage)?;
            Ok(true)
        })
    }

    /// Every dispute, oldest first.
    pub(crate) fn disputes(&self) -> Result<Vec<Dispute>, LedgerError> {
        let txn = self.db.begin_read().map_err(storage)?;
        let table = txn.open_table(DISPUTES).map_err(storage)?;
        let rows = table.iter().map_err(storage)?;
        rows.map(|row| {
            let (_, value) = row.map_err(storage)?;
            Ok(serde_json::from_slice(value.value())?)
        })
        .collect()
    }

    /// Removes every dispute about a pod.
    pub(crate) fn forgive(&self, pod: PodId) -> Result<(), LedgerError> {
        self.write(|txn| {
            let mut table = txn.open_table(DISPUTES).map_err(storage)?;
            table.retain(|key: [u8; DISPUTE_BYTES], _| !key.ends_with(&pod.0)).map_err(storage)?;
            Ok(())
        })
    }
}

fn dispute_key(at_unix_ms: u64, pod: PodId) -> [u8; DISPUTE_BYTES] {
    joined(&[&at_unix_ms.to_be_bytes(), &pod.0])
}

fn tcb_key(root: &[u8; 32], tee: TeeKind) -> [u8; TCB_KEY_BYTES] {
    joined(&[root, &[u8::from(tee)]])
}

pub(super) fn keep_receipt(
    txn: &WriteTransaction,
    receipt: &StoredReceipt,
) -> Result<(), LedgerError> {
    let at = receipt.finished_at_unix_ms.to_be_bytes();
    let key: [u8; RECEIPT_BYTES] = joined(&[&at, &receipt.request_id.0]);
    let json = serde_json::to_vec(receipt)?;
    let mut table = txn.open_table(RECEIPTS).map_err(storage)?;
    table.insert(key, json.as_slice()).map_err(storage)?;
    let mut ids = txn.open_table(RECEIPT_IDS).map_err(storage)?;
    ids.insert(receipt.request_id.0, key).map_err(storage)?;
    Ok(())
}

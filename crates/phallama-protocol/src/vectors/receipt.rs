//! `valid/receipt.json`, `invalid/receipt.json`.

use serde_json::{Value, json};

use super::{RNG, check_committed, edits, error_name};
use crate::receipt::Receipt;
use crate::receipt::tests::{check_cases, decode_cases, signed};
use crate::testing::fixture::{domain, expectation, signer};

fn fields(r: &Receipt) -> Value {
    json!({
        "pod_id": r.pod_id,
        "identity": r.identity,
        "channel": r.channel,
        "epoch": r.epoch,
        "seq": r.seq,
        "cumulative": r.cumulative,
        "cost": r.cost,
        "request_commitment": r.request_commitment,
        "data_chain": r.data_chain,
        "data_frames": r.data_frames,
        "model_digest": r.model_digest,
        "measurement": r.measurement,
        "evidence_hash": r.evidence_hash,
        "terms_hash": r.terms_hash,
        "prompt_tokens": r.prompt_tokens,
        "completion_tokens": r.completion_tokens,
        "cached_tokens": r.cached_tokens,
        "input_price_per_mtok": r.input_price_per_mtok,
        "output_price_per_mtok": r.output_price_per_mtok,
        "block_seen": r.block_seen,
        "finish": r.finish.id(),
    })
}

#[test]
fn valid_receipt_is_committed() {
    let signed = signed();
    let receipt = &signed.receipt;
    let agreed = expectation(receipt);
    let computed = json!({
        "comment": "A receipt, its settlement digest under the domain, and what the client of it \
                    knows beside the fields themselves.",
        "generator": RNG,
        "domain": {"chain_id": domain().chain_id, "escrow": domain().escrow},
        "signer": "identity",
        "fields": fields(receipt),
        "client": {
            "reserve": agreed.reserve,
            "cap_highest": agreed.cap_highest,
            "cumulative_before": agreed.cumulative_before,
        },
        "bytes": hex::encode(signed.encode()),
        "receipt_hash": receipt.hash(),
        "settlement_digest": hex::encode(receipt.settlement().digest(&domain())),
        "signature": signed.signature,
    });
    check_committed("valid/receipt.json", &computed);
}

#[test]
fn invalid_receipts_are_committed() {
    let checks: Vec<_> = check_cases()
        .into_iter()
        .map(|(name, receipt, error)| {
            let bytes = receipt.sign(&signer("identity"), &domain()).encode();
            json!({"name": name, "bytes": hex::encode(bytes), "error": error_name(&error)})
        })
        .collect();
    let computed = json!({
        "comment": "decode: edits of the valid receipt's bytes that cannot be read. check: \
                    receipts, signed by the identity, that the client of the valid one refuses. \
                    error: variants of the Rust error, outermost first.",
        "decode": edits(&decode_cases()),
        "check": checks,
    });
    check_committed("invalid/receipt.json", &computed);
}

//! Digests and hashes that the contracts compute too.

use serde_json::Value;

use super::load;
use crate::eip712::{
    Allocation, Batch, Close, Domain, OpenAccount, Settlement, StartExit, Voucher, Withdraw,
    channel_id, pod_id, rows_hash, settle_row,
};
use crate::hash::keccak256;
use crate::ids::Digest32;
use crate::keys::{Signature, Signer, recover};
use crate::offers::{Offer, check_model_name, offers_hash};

/// A text field, parsed.
fn field<T: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value, name: &str) -> T {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).parse().unwrap()
}

fn digest(domain: &Domain, kind: &str, f: &Value) -> [u8; 32] {
    match kind {
        "OpenAccount" => {
            OpenAccount { user: field(f, "user"), owner: field(f, "owner") }.digest(domain)
        }
        "Withdraw" => Withdraw {
            user: field(f, "user"),
            amount: field(f, "amount"),
            nonce: field(f, "nonce"),
            deadline_unix_s: field(f, "deadline"),
        }
        .digest(domain),
        "Allocation" => Allocation {
            pod_id: field(f, "podId"),
            total: field(f, "total"),
            terms_hash: field(f, "termsHash"),
            epoch: field(f, "epoch"),
            deadline_unix_s: field(f, "deadline"),
        }
        .digest(domain),
        "Voucher" => Voucher {
            pod_id: field(f, "podId"),
            identity: field(f, "identity"),
            epoch: field(f, "epoch"),
            cap: field(f, "cap"),
        }
        .digest(domain),
        "StartExit" => {
            StartExit { pod_id: field(f, "podId"), epoch: field(f, "epoch") }.digest(domain)
        }
        "Settlement" => Settlement {
            channel: field(f, "channel"),
            epoch: field(f, "epoch"),
            seq: field(f, "seq"),
            cumulative: field(f, "cumulative"),
            receipt_hash: field(f, "receiptHash"),
        }
        .digest(domain),
        "Batch" => {
            Batch { pod_id: field(f, "podId"), rows_hash: field(f, "rowsHash") }.digest(domain)
        }
        "Close" => Close {
            channel: field(f, "channel"),
            epoch: field(f, "epoch"),
            cumulative: field(f, "cumulative"),
        }
        .digest(domain),
        other => panic!("signed type {other} is unknown here"),
    }
}

#[test]
fn signed_types_are_those_of_the_contracts() {
    let vectors = load("valid/eip712.json");
    let d = &vectors["domain"];
    let domain = Domain { chain_id: field(d, "chainId"), escrow: field(d, "verifyingContract") };
    assert_eq!(Digest32(domain.separator()), field(d, "separator"));
    let mut kinds = std::collections::BTreeSet::new();
    for message in vectors["messages"].as_array().unwrap() {
        let kind: String = field(message, "type");
        let computed = digest(&domain, &kind, &message["fields"]);
        assert_eq!(Digest32(computed), field(message, "digest"), "{kind}");
        let label: String = field(message, "signerLabel");
        let signer = Signer::from_bytes(&keccak256(&[label.as_bytes()])).unwrap();
        assert_eq!(signer.address(), field(message, "signer"));
        let signature: Signature = field(message, "signature");
        assert!(signer.sign(&computed) == signature, "{kind}");
        assert_eq!(recover(&computed, &signature), Ok(signer.address()));
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 8, "every signed type has a vector: {kinds:?}");
}

#[test]
fn identifiers_and_rows_are_those_of_the_contracts() {
    let vectors = load("valid/eip712.json");
    let ids = &vectors["identifiers"];
    let salt: Digest32 = field(ids, "salt");
    let pod = pod_id(field(ids, "operator"), &salt.0);
    assert_eq!(pod, field(ids, "podId"));
    assert_eq!(channel_id(field(ids, "user"), pod), field(ids, "channel"));
    let rows = &vectors["rows"];
    let packed: String = field(rows, "packed");
    let packed = hex::decode(packed.trim_start_matches("0x")).unwrap();
    let voucher_sig = Signature(*packed.last_chunk().unwrap());
    let row =
        settle_row(field(rows, "cap"), field(rows, "claimed"), field(rows, "epoch"), &voucher_sig);
    assert_eq!(row.as_slice(), packed);
    assert_eq!(rows_hash(&packed), field(rows, "rowsHash"));
}

#[test]
fn offers_hash_is_that_of_the_contracts() {
    let vectors = load("valid/offers.json");
    for case in vectors["cases"].as_array().unwrap() {
        let offers: Vec<Offer> = case["offers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| Offer {
                model: field(o, "model"),
                weights_sha256: field(o, "weightsSha256"),
                input_price_per_mtok: field(o, "inputPricePerMtok"),
                output_price_per_mtok: field(o, "outputPricePerMtok"),
                context_tokens: o["contextTokens"].as_u64().unwrap().try_into().unwrap(),
                max_output_tokens: o["maxOutputTokens"].as_u64().unwrap().try_into().unwrap(),
            })
            .collect();
        assert_eq!(offers_hash(&offers), field(case, "offersHash"));
        for offer in &offers {
            assert_eq!(check_model_name(&offer.model), Ok(()));
        }
    }
}

//! Quotes of real machines with Intel's collateral: `vectors/attestation/intel`.

use std::path::Path;
use std::sync::Arc;

use phallama_attest::Collateral;
use phallama_attest::onchain::OnChainCollateral;

use crate::case::{Case, Certificates, Changed};
use crate::field;

/// A time at which the collateral of each vector is valid, and the vector's name.
const VECTORS: [(&str, &str, u64); 5] = [
    ("sgx_quote", "sgx_quote", 1_750_400_000),
    ("tdx_quote", "tdx_quote", 1_750_400_000),
    ("tdx_quote_outdated", "tdx_quote_outdated", 1_772_000_000),
    ("tdx_quote_td15ex", "tdx_quote_td15ex", 1_792_000_000),
    ("tdx_quote", "tdx_quote_td15ex", 1_792_000_000),
];

/// All of them, brought and judged at a good time.
pub(crate) fn cases() -> Vec<Case> {
    VECTORS.iter().map(|(quote, collateral, time)| case(quote, collateral, *time)).collect()
}

fn case(quote: &str, collateral: &str, time: u64) -> Case {
    let note = format!("{quote} under the collateral of {collateral}");
    let text = read(&format!("{quote}.hex")).split_whitespace().collect::<String>();
    let quote = alloy::hex::decode(text).expect("hex");
    let collateral: Collateral =
        serde_json::from_str(&read(&format!("{collateral}_collateral.json"))).expect("collateral");
    let cut = OnChainCollateral::cut(&collateral).expect("Intel's own");
    Case {
        root: Arc::from(cut.root.der),
        quote: unpadded(quote),
        collateral: Collateral { pck_certificate_chain: None, ..collateral },
        certificates: Certificates {
            ca: cut.ca.der,
            tcb_signer: cut.tcb_info_signer.der,
            qe_signer: cut.qe_identity_signer.der,
        },
        brought_at: time,
        judged_at: time,
        changed: Changed::Nothing,
        given: None,
        original: None,
        before: None,
        note,
    }
}

/// Without the zeros that quoting services append.
fn unpadded(mut quote: Vec<u8>) -> Vec<u8> {
    let signed = field::cut(&quote).expect("a quote").signed.len();
    let length: [u8; 4] = quote[signed..signed + 4].try_into().expect("four bytes");
    quote.truncate(signed + 4 + u32::from_le_bytes(length) as usize);
    quote
}

fn read(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../vectors/attestation/intel");
    let path = Path::new(folder).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

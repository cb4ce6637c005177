//! What a pod's operator brings to the contracts: collateral and the quote.

use phallama_attest::onchain::{OnChainCollateral, OnChainQuote};
use phallama_chain::{Chain, CollateralKeys, KeyBinding, QuoteParts, Sender, TeeKind};
use phallama_protocol::ids::Digest32;
use sha3::{Digest as _, Keccak256};

use super::fixture::Fixture;

/// The id of a certificate in the contracts.
fn id(key: &[u8; 64]) -> Digest32 {
    Digest32(Keccak256::digest(key).into())
}

/// Brings the collateral of the pod's evidence, unless what is there is as new.
pub async fn bring(chain: &Chain, sender: &Sender, pod: &Fixture) {
    let cut = OnChainCollateral::cut(&pod.evidence().collateral).unwrap();
    let (ca, signer) = (id(&cut.ca.key), id(&cut.tcb_info_signer.key));
    let tee = if pod.trust_domain.is_some() { TeeKind::Tdx } else { TeeKind::Sgx };
    let keys = CollateralKeys { ca, signer, tee, fmspc: pod.platform.spec().fmspc };
    let state = chain.collateral_state(&keys).await.unwrap();
    let number = pod.collateral.tcb_evaluation_number;
    if state.tcb_info.is_some_and(|stored| stored.evaluation_number >= number) {
        return;
    }
    if state.root_crl.is_none() {
        sender.upsert_crl(id(&cut.root.key), &cut.root_crl).await.unwrap();
        sender.admit_ca(&cut.ca.der).await.unwrap();
        sender.upsert_crl(ca, &cut.pck_crl).await.unwrap();
        sender.admit_signer(&cut.tcb_info_signer.der).await.unwrap();
    }
    let (json, signature) = (&cut.tcb_info, &cut.tcb_info_signature);
    sender.upsert_tcb_info(json, signature, signer).await.unwrap();
    let (json, signature) = (&cut.qe_identity, &cut.qe_identity_signature);
    sender.upsert_qe_identity(json, signature, signer).await.unwrap();
}

/// Has the registry verify the pod's quote.
pub async fn attest(sender: &Sender, pod: &Fixture) {
    let OnChainQuote { signed, auth, leaf, .. } = OnChainQuote::cut(&pod.evidence().quote).unwrap();
    let binding: KeyBinding = pod.key_binding();
    let quote = QuoteParts { signed, auth };
    sender.attest(pod.record.pod_id, &binding, &quote, &leaf).await.unwrap();
}

//! Foreign bytes: whatever is changed, decoding and verification return, and never a false accept.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::Case;
use phallama_attest::onchain::OnChainQuote;
use phallama_attest::simulated::{TdReport, TrustDomainSpec};
use phallama_attest::{Evidence, VerifiedEvidence};
use proptest::prelude::*;
use proptest::sample::Index;

/// Bytes of a quote outside every signature: the certification data (checked as certificates), its
/// type and length. Changing them may leave a genuine report genuine.
const CERTIFICATION: usize = 48 + 384 + 4 + 64 + 64 + 384 + 64 + 2 + 32;

fn mutated(bytes: &[u8], edits: &[(Index, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, mask) in edits {
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
    }
    bytes
}

fn edits(most: usize) -> impl Strategy<Value = Vec<(Index, u8)>> {
    proptest::collection::vec((any::<Index>(), 1..=255_u8), 1..=most)
}

/// What must hold of anything that is accepted: the facts of the valid case.
fn same_facts(verified: &VerifiedEvidence, case: &Case) -> bool {
    verified.measurement() == case.enclave.mr_enclave
        && verified.report_data() == case.expected.report_data
        && Some(verified.machine_identity()) == case.expected.machine_identity
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(256)
    })]

    #[test]
    fn random_bytes_never_panic_the_decoder(
        bytes in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        prop_assert!(Evidence::from_json(&bytes).is_err());
    }

    #[test]
    fn mutated_documents_never_panic(edits in edits(3)) {
        let case = Case::valid();
        let json = mutated(&case.evidence().to_json().unwrap(), &edits);
        if let Ok(evidence) = Evidence::from_json(&json)
            && let Ok(verified) = case.verify(&evidence)
        {
            prop_assert!(same_facts(&verified, &case));
        }
    }

    #[test]
    fn a_change_in_the_signed_part_of_a_quote_is_refused(
        at in 0..CERTIFICATION,
        mask in 1..=255_u8,
    ) {
        let case = Case::valid();
        let mut evidence = case.evidence();
        evidence.quote[at] ^= mask;
        prop_assert!(case.verify(&evidence).is_err());
    }

    #[test]
    fn mutated_quotes_never_panic_the_cutter(
        report in proptest::sample::select(TdReport::ALL.to_vec()),
        length in 0..5000_usize,
        edits in edits(4),
    ) {
        let domain = TrustDomainSpec::new(report, [0x7d; 48], [0; 64]);
        let quote = Case::valid().machine().td_quote(&domain);
        let mut mutated = mutated(&quote, &edits);
        let cut = OnChainQuote::cut(&mutated);
        prop_assert!(cut.is_err() || mutated.len() == quote.len());
        mutated.truncate(length);
        prop_assert!(length >= quote.len() || OnChainQuote::cut(&mutated).is_err());
    }

    #[test]
    fn a_change_in_the_certificates_never_changes_the_facts(edits in edits(3)) {
        let case = Case::valid();
        let mut evidence = case.evidence();
        let tail = mutated(&evidence.quote[CERTIFICATION..], &edits);
        evidence.quote.truncate(CERTIFICATION);
        evidence.quote.extend(tail);
        if let Ok(verified) = case.verify(&evidence) {
            prop_assert!(same_facts(&verified, &case));
        }
    }

    #[test]
    fn a_quote_of_any_other_length_is_refused(length in 0..6000_usize) {
        let case = Case::valid();
        let mut evidence = case.evidence();
        prop_assume!(length != evidence.quote.len());
        evidence.quote.resize(length, 0);
        prop_assert!(case.verify(&evidence).is_err());
    }

    #[test]
    fn a_change_in_the_collateral_never_changes_the_facts(item in 0..6_usize, edits in edits(2)) {
        let case = Case::valid();
        let mut evidence = case.evidence();
        let collateral = &mut evidence.collateral;
        match item {
            0 => collateral.root_ca_crl = mutated(&collateral.root_ca_crl, &edits),
            1 => collateral.pck_crl = mutated(&collateral.pck_crl, &edits),
            2 => collateral.tcb_info_signature = mutated(&collateral.tcb_info_signature, &edits),
            3 => {
                collateral.qe_identity_signature =
                    mutated(&collateral.qe_identity_signature, &edits);
            }
            4 => collateral.tcb_info = text(&mutated(collateral.tcb_info.as_bytes(), &edits)),
            _ => collateral.qe_identity = text(&mutated(collateral.qe_identity.as_bytes(), &edits)),
        }
        prop_assume!(evidence != case.evidence());
        // Each of these is signed as a whole.
        prop_assert!(case.verify(&evidence).is_err());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! Evidence as a client gets it from a stranger. The first byte chooses what the rest of the input
//! replaces in evidence that is otherwise good: the whole document, the quote, or one field of the
//! collateral, of an enclave or (0x80) of a trust domain. Whatever is accepted must state the
//! facts of the good case.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use phallama_attest::onchain::{OnChainCollateral, OnChainQuote, Pck};
use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec,
    SimulatedPlatform, TdReport, TrustDomainSpec,
};
use phallama_attest::{Binding, Evidence, Expected, Policy, TrustRoot, VerifiedEvidence, verify};

/// 2026-11-18T10:40:00Z, in the certificates' validity.
const NOW_UNIX_S: u64 = 1_794_998_400;
const MEASUREMENT: [u8; 32] = [0x4e; 32];
/// In the first byte: evidence of a trust domain.
const TRUST_DOMAIN: u8 = 0x80;

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let good = &*GOOD;
    let machine = if choice & TRUST_DOMAIN == 0 { &good.enclave } else { &good.domain };
    let mut evidence = machine.clone();
    let collateral = &mut evidence.collateral;
    let text = || String::from_utf8_lossy(bytes).into_owned();
    match choice & !TRUST_DOMAIN {
        0 => return document(bytes),
        1 => evidence.quote = bytes.to_vec(),
        2 => collateral.pck_crl_issuer_chain = text(),
        3 => collateral.root_ca_crl = bytes.to_vec(),
        4 => collateral.pck_crl = bytes.to_vec(),
        5 => collateral.tcb_info_issuer_chain = text(),
        6 => collateral.tcb_info = text(),
        7 => collateral.qe_identity_issuer_chain = text(),
        8 => collateral.qe_identity = text(),
        9 => collateral.pck_certificate_chain = Some(text()),
        10 => return certificate(bytes),
        _ => return,
    }
    judge(&evidence);
});

fn document(bytes: &[u8]) {
    let Ok(evidence) = Evidence::from_json(bytes) else { return };
    let json = evidence.to_json().expect("what was read can be written");
    assert_eq!(Evidence::from_json(&json).expect("what was written can be read"), evidence);
    judge(&evidence);
}

/// The certificate inside a quote, as the host cuts it for the contract.
fn certificate(bytes: &[u8]) {
    let _ = Pck::from_der(bytes, bytes);
}

fn judge(evidence: &Evidence) {
    let good = &*GOOD;
    let _ = OnChainCollateral::cut(&evidence.collateral);
    let cut = OnChainQuote::cut(&evidence.quote);
    let Ok(verified) = verify(evidence, &good.policy, &good.expected, NOW_UNIX_S) else { return };
    assert!(good.facts.contains(&facts(&verified)), "accepted evidence of another enclave");
    if let Ok(cut) = cut {
        assert_eq!(cut.measurement(), verified.measurement());
        assert_eq!(cut.report_data(), verified.report_data());
    }
}

type Facts = ([u8; 32], [u8; 64], [u8; 16]);

fn facts(verified: &VerifiedEvidence) -> Facts {
    (verified.measurement(), verified.report_data(), verified.machine_identity())
}

/// The same pod on either kind of machine.
struct Good {
    enclave: Evidence,
    domain: Evidence,
    policy: Policy,
    expected: Expected,
    facts: Vec<Facts>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let machine = SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"machine 1"));
    let binding = Binding {
        chain_id: 31_337,
        registry: [1; 20],
        pod_id: [2; 32],
        identity: [3; 20],
        model_set_root: [4; 32],
        policy_digest: [5; 32],
    };
    let expected = Expected::new(&binding, [0x5a; 32]).on_machine(machine.machine_identity());
    let spec = CollateralSpec::fresh(NOW_UNIX_S);
    let enclave = machine.evidence(&EnclaveSpec::new(MEASUREMENT, expected.report_data), &spec);
    let domain = TrustDomainSpec::new(TdReport::V4, [0x7d; 48], expected.report_data);
    let domain = machine.td_evidence(&domain, &spec);
    let measurements = [&enclave, &domain]
        .map(|good| OnChainQuote::cut(&good.quote).expect("a good quote").measurement());
    let trust = TrustRoot::Development(root.root_der().to_vec());
    let policy = Policy::strict(trust, measurements.to_vec());
    let facts = [&enclave, &domain]
        .map(|good| facts(&verify(good, &policy, &expected, NOW_UNIX_S).expect("good evidence")));
    Good { enclave, domain, policy, expected, facts: facts.to_vec() }
});

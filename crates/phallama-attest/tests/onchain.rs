//! Quotes and collateral as the contracts take them.

// Helpers of tests may unwrap like tests.
#![allow(clippy::unwrap_used)]

mod fixture;

use fixture::{Case, MEASUREMENT, binding};
use phallama_attest::onchain::{
    CutError, OnChainCertificate, OnChainCollateral, OnChainQuote, Pck,
};
use phallama_attest::simulated::{
    Authority, PckCa, PlatformSpec, SimulatedPlatform, TdReport, TrustDomainSpec,
};
use phallama_attest::{
    Collateral, Rejection, Tee, evidence_digest, machine_digest, report_data, td_measurement,
};
use sha2::{Digest, Sha256};

fn intel(quote: &str) -> Vec<u8> {
    hex::decode(quote.split_whitespace().collect::<String>()).unwrap()
}

fn array<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

// Intel's own quotes. The expected values were read from the certificates with another program.

#[test]
fn an_sgx_quote_of_a_real_machine_is_cut() {
    let raw = intel(include_str!("../../../vectors/attestation/intel/sgx_quote.hex"));
    let cut = OnChainQuote::cut(&raw).unwrap();
    assert_eq!(cut.tee(), Tee::Sgx);
    assert_eq!(cut.signed, raw[..432]);
    assert_eq!(cut.auth[..576], raw[436..1012]);
    assert_eq!(cut.auth[576..], raw[1014..1046]);
    assert_eq!(cut.measurement(), raw[112..144]);
    assert_eq!(cut.report_data(), raw[368..432]);
    assert_eq!(cut.pck.ppid, array("d04ec06d4e6d92dc90d0ad3cf5ee2ddf"));
    assert_eq!(cut.pck.fmspc, array("00a067110000"));
    assert_eq!(cut.machine(), machine_digest(&cut.pck.ppid));
    let evidence = evidence_digest(&raw[..432], &raw[564..948], &cut.pck.tbs_hash);
    assert_eq!(cut.evidence(), evidence);
}

#[test]
fn a_trust_domains_quote_of_a_real_machine_is_cut() {
    let raw = intel(include_str!("../../../vectors/attestation/intel/tdx_quote_td15ex.hex"));
    let cut = OnChainQuote::cut(&raw).unwrap();
    assert_eq!(cut.tee(), Tee::Tdx);
    assert_eq!(cut.signed, raw[..939]);
    assert_eq!(cut.auth[..128], raw[943..1071]);
    assert_eq!(cut.auth[128..576], raw[1077..1525]);
    assert_eq!(cut.auth[576..], raw[1527..1559]);
    let registers = raw[54 + 136..54 + 520].as_chunks().0;
    assert_eq!(cut.measurement(), td_measurement(registers.try_into().unwrap()));
    assert_eq!(cut.report_data(), raw[54 + 520..54 + 584]);
    let pck = &cut.pck;
    let serial = "b1c36ba561e6e29dcae209272326a0cd2b034f6c";
    assert_eq!(pck.serial, array(&format!("{}{serial}", "00".repeat(12))));
    let key = "ef8885c2ce115d3590da35cd6ea40f58bf2839677cec1576d6471515c7db35f9\
               85c35465cdc1c07ea3103c280228a1d46de782db5223c06ad5917d481db1ab10";
    assert_eq!([pck.x, pck.y].concat(), hex::decode(key).unwrap());
    let ca = "35207feeddb595748ed82bb3a71c3be1e241ef61320c6816e6b5c2b71dad5532\
              eaea12a4eb3f948916429ea47ba6c3af82a15e4b19664e52657939a2d96633de";
    assert_eq!(pck.issuer_key.to_vec(), hex::decode(ca).unwrap());
    // 2026-08-13T10:45:37Z and 2033-08-13T10:45:37Z.
    assert_eq!((pck.not_before_unix_s, pck.not_after_unix_s), (1_786_617_937, 2_007_542_737));
    assert_eq!(cut.leaf[..2], [0x30, 0x82]);
    // The signed part is the first element: 4 bytes of header and 1175 of content.
    assert_eq!(pck.tbs_hash, Sha256::digest(&cut.leaf[4..4 + 4 + 1175])[..]);
}

// Simulated quotes: what was put in comes out.

#[test]
fn certificates_of_both_cas_are_read() {
    for (ca, has_instance) in [(PckCa::Platform, true), (PckCa::Processor, false)] {
        let root = Case::valid().root;
        let pck_serial = Some(vec![0xff; 20]);
        let spec = PlatformSpec { ca, pck_serial, pce_svn: 300, ..PlatformSpec::from_seed(b"1") };
        let machine = SimulatedPlatform::new(&root, spec.clone());
        let issuer = root.certificate(ca.authority());
        let pck = Pck::from_der(machine.pck_der(), issuer).unwrap();
        assert_eq!(pck.ppid, machine.machine_identity());
        assert_eq!(pck.instance, spec.instance().unwrap_or_default());
        assert_eq!(pck.instance != [0; 16], has_instance);
        assert_eq!((pck.cpu_svn, pck.pce_svn), (spec.cpu_svn, 300));
        assert_eq!((pck.fmspc, pck.pce_id), (spec.fmspc, spec.pce_id));
        assert_eq!((&pck.serial[..12], &pck.serial[12..]), (&[0; 12][..], &[0xff; 20][..]));
        assert_eq!([pck.x, pck.y].concat(), machine.pck_public_key());
        assert_eq!(pck.issuer_key, root.public_key(ca.authority()));
        assert_eq!(pck.not_before_unix_s, spec.pck_validity.not_before_unix_s);
        assert_eq!(pck.not_after_unix_s, spec.pck_validity.not_after_unix_s);
    }
}

#[test]
fn every_shape_of_quote_is_cut_to_the_lengths_that_the_contracts_expect() {
    let case = Case::valid();
    let machine = case.machine();
    let sgx = OnChainQuote::cut(&machine.quote(&case.enclave)).unwrap();
    assert_eq!((sgx.signed.len(), sgx.auth.len()), (432, 608));
    assert_eq!(sgx.measurement(), MEASUREMENT);
    let data = report_data(&binding(), [0; 32]);
    for (report, signed) in TdReport::ALL.into_iter().zip([632, 638, 702, 939]) {
        let domain = TrustDomainSpec::new(report, [0x7d; 48], data);
        let cut = OnChainQuote::cut(&machine.td_quote(&domain)).unwrap();
        assert_eq!((cut.signed.len(), cut.auth.len()), (signed, 608));
        assert_eq!(cut.measurement(), domain.measurement());
        assert_eq!(cut.report_data(), data);
        assert_eq!(cut.leaf, machine.pck_der());
    }
}

#[test]
fn nothing_a_third_party_can_vary_is_in_the_evidence_digest() {
    let case = Case::valid();
    let mut parts = case.machine().quote_parts(&case.enclave);
    let evidence = OnChainQuote::cut(&parts.to_bytes()).unwrap().evidence();
    // Signatures can be negated, and the text around the certificates can be anything.
    parts.signature[63] ^= 1;
    parts.qe_report_signature[63] ^= 1;
    parts.pck_chain.push('\n');
    let varied = OnChainQuote::cut(&parts.to_bytes()).unwrap();
    assert_eq!(varied.evidence(), evidence);
    parts.signed[0x40] ^= 1;
    assert_ne!(OnChainQuote::cut(&parts.to_bytes()).unwrap().evidence(), evidence);
}

// What cannot be cut.

fn refused(edit: impl FnOnce(&mut Vec<u8>)) -> CutError {
    let mut quote = Case::valid().evidence().quote;
    edit(&mut quote);
    OnChainQuote::cut(&quote).unwrap_err()
}

#[test]
fn padding_and_unknown_types_cannot_be_cut() {
    let declared = Case::valid().evidence().quote.len();
    let padded = Rejection::QuoteLength { got: declared + 1, declared };
    assert_eq!(refused(|quote| quote.push(0)), CutError::Layout(padded));
    let version_4 = Rejection::QuoteTypeUnsupported { version: 4, tee_type: 0 };
    assert_eq!(refused(|quote| quote[0] = 4), CutError::Layout(version_4));
}

#[test]
fn a_body_of_another_length_cannot_be_cut() {
    let case = Case::valid();
    let domain = TrustDomainSpec::new(TdReport::V5Td15, [0x7d; 48], [0; 64]);
    let mut parts = case.machine().td_quote_parts(&domain);
    parts.signed.push(0);
    parts.signed[50] += 1;
    let error = OnChainQuote::cut(&parts.to_bytes()).unwrap_err();
    assert_eq!(error, CutError::BodyLength { got: 703 });
}

#[test]
fn authentication_data_of_another_length_cannot_be_cut() {
    let case = Case::valid();
    let mut parts = case.machine().quote_parts(&case.enclave);
    parts.qe_authentication_data.push(0);
    let error = OnChainQuote::cut(&parts.to_bytes()).unwrap_err();
    assert_eq!(error, CutError::AuthenticationDataLength { got: 33, expected: 32 });
}

#[test]
fn a_chain_without_the_ca_cannot_be_cut() {
    let case = Case::valid();
    let mut parts = case.machine().quote_parts(&case.enclave);
    let end = parts.pck_chain.find("-----END CERTIFICATE-----\n").unwrap() + 26;
    parts.pck_chain.truncate(end);
    let error = OnChainQuote::cut(&parts.to_bytes()).unwrap_err();
    let detail = "it has 1 certificates, not two or more".to_owned();
    assert_eq!(error, CutError::Chain { of: "the quote", detail });
}

#[test]
fn a_certificate_without_the_sgx_extension_is_named() {
    let root = Case::valid().root;
    let (ca, issuer) = (root.certificate(Authority::PlatformCa), root.root_der());
    let error = Pck::from_der(ca, issuer).unwrap_err();
    let detail = "Intel extension not found".to_owned();
    assert_eq!(error, CutError::Certificate { of: "the quote (PCK)", detail });
    let leaf = Case::valid().machine().pck_der().to_vec();
    match Pck::from_der(&leaf, &[]).unwrap_err() {
        CutError::Certificate { of, .. } => assert_eq!(of, "the quote (its CA)"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_identity_of_another_length_is_named() {
    let root = Case::valid().root;
    let spec = PlatformSpec { ppid: vec![1; 17], ..PlatformSpec::from_seed(b"1") };
    let machine = SimulatedPlatform::new(&root, spec);
    let error = Pck::from_der(machine.pck_der(), root.root_der()).unwrap_err();
    let detail = "its PPID has 17 bytes, not 16".to_owned();
    assert_eq!(error, CutError::Certificate { of: "the quote (PCK)", detail });
}

// Collateral.

#[test]
fn collateral_is_cut_into_what_the_contracts_are_brought() {
    let case = Case::valid();
    let collateral = case.evidence().collateral;
    let cut = OnChainCollateral::cut(&collateral).unwrap();
    for (certificate, authority) in [
        (&cut.root, Authority::Root),
        (&cut.ca, Authority::PlatformCa),
        (&cut.tcb_info_signer, Authority::TcbSigner),
        (&cut.qe_identity_signer, Authority::TcbSigner),
    ] {
        let der = case.root.certificate(authority).to_vec();
        let key = case.root.public_key(authority);
        assert_eq!(*certificate, OnChainCertificate { der, key });
    }
    assert_eq!(cut.root_crl, collateral.root_ca_crl);
    assert_eq!(cut.pck_crl, collateral.pck_crl);
    assert_eq!(cut.tcb_info, collateral.tcb_info.as_bytes());
    assert_eq!(cut.tcb_info_signature, collateral.tcb_info_signature);
    assert_eq!(cut.qe_identity, collateral.qe_identity.as_bytes());
    assert_eq!(cut.qe_identity_signature, collateral.qe_identity_signature);
}

#[test]
fn intels_collateral_is_cut_and_ends_in_its_root() {
    let text = include_str!("../../../vectors/attestation/intel/sgx_quote_collateral.json");
    let collateral: Collateral = serde_json::from_str(text).unwrap();
    let cut = OnChainCollateral::cut(&collateral).unwrap();
    let root = phallama_attest::TrustRoot::Intel.sha256();
    assert_eq!(root, Sha256::digest(&cut.root.der)[..]);
    assert_eq!(cut.tcb_info_signer, cut.qe_identity_signer);
}

#[test]
fn a_chain_that_is_broken_or_short_is_named() {
    let collateral = Case::valid().evidence().collateral;
    let of = "the TCB information";
    for (chain, detail) in
        [("no chain", "it is not PEM of certificates"), ("", "it has fewer than two certificates")]
    {
        let tcb_info_issuer_chain = chain.to_owned();
        let broken = Collateral { tcb_info_issuer_chain, ..collateral.clone() };
        let error = OnChainCollateral::cut(&broken).unwrap_err();
        assert_eq!(error, CutError::Chain { of, detail: detail.to_owned() });
    }
}

//! Intel's own collateral, as it was published, judged at times when it was valid.

use std::path::Path;

use crate::collateral::{CollateralSet, Fault, Item, PckCa, Wanted, root_distribution_point};
use phallama_attest::{Collateral, Tee};
use x509_cert::Certificate;
use x509_cert::der::Encode as _;

fn collateral(name: &str) -> Collateral {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/attestation/intel");
    let json = std::fs::read(folder.join(format!("{name}_collateral.json"))).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn wanted(collateral: &Collateral, tee: Tee, fmspc: &str, ca: PckCa) -> Wanted {
    let chain = Certificate::load_pem_chain(collateral.tcb_info_issuer_chain.as_bytes()).unwrap();
    let root_der = chain.last().unwrap().to_der().unwrap();
    let mut wanted = Wanted { tee, fmspc: [0; 6], ca, root_der };
    hex::decode_to_slice(fmspc, &mut wanted.fmspc).unwrap();
    wanted
}

#[test]
fn every_item_is_good_in_its_time_and_expired_later() {
    // Unix times inside of the collateral's windows.
    for (name, tee, fmspc, ca, now_unix_s) in [
        ("sgx_quote", Tee::Sgx, "00a067110000", PckCa::Processor, 1_750_400_000),
        ("tdx_quote", Tee::Tdx, "b0c06f000000", PckCa::Platform, 1_750_400_000),
        ("tdx_quote_outdated", Tee::Tdx, "90c06f000000", PckCa::Platform, 1_771_500_000),
        ("tdx_quote_td15ex", Tee::Tdx, "b0c06f000000", PckCa::Platform, 1_791_500_000),
    ] {
        let collateral = collateral(name);
        let wanted = wanted(&collateral, tee, fmspc, ca);
        let set = CollateralSet::from_evidence(&collateral, &wanted, now_unix_s);
        let set = set.unwrap_or_else(|(item, fault)| panic!("{name} {item}: {fault}"));
        let repeated = Collateral { pck_certificate_chain: None, ..collateral.clone() };
        assert_eq!(set.to_evidence(), repeated, "{name}");

        let end_unix_s = set.next_update_unix_s();
        let late = CollateralSet::from_evidence(&collateral, &wanted, end_unix_s).unwrap_err();
        let (item, fault) = late;
        let what = item.as_str();
        assert_eq!(fault, Fault::Expired { what, end_unix_s, now_unix_s: end_unix_s });
        assert_ne!(item, Item::RootCrl, "Intel's root publishes once a year");
    }
}

#[test]
fn intels_root_says_where_its_list_is() {
    let collateral = collateral("sgx_quote");
    let root = wanted(&collateral, Tee::Sgx, "00a067110000", PckCa::Processor).root_der;
    assert_eq!(
        root_distribution_point(&root).as_deref(),
        Some("https://certificates.trustedservices.intel.com/IntelSGXRootCA.der")
    );
}

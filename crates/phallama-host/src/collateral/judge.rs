//! Whether a document is what was asked for, signed under the root, and valid now.

use phallama_attest::Tee;
use serde::Deserialize;
use x509_cert::crl::CertificateList;
use x509_cert::der::{DateTime, Decode, Encode};

use super::certificate::Issuer;
use super::{Document, Fault, Item, Wanted};

/// When an item is valid, and how new it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First second of validity (unix).
    pub issued_at_unix_s: u64,
    /// First second at which it is no longer valid: its next update, or the end of its signer's
    /// certificate if that is earlier.
    pub next_update_unix_s: u64,
    /// TCB evaluation data number; zero for revocation lists.
    pub evaluation_number: u32,
}

/// What the two JSON documents share.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    id: String,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    fmspc: Option<String>,
}

/// Checks `document` as the `item` of `wanted`.
///
/// The contract and every client check all of this again; a host checks it to know which service
/// to leave aside.
///
/// # Errors
/// The first [`Fault`] found; [`Fault::Expired`] only for what is good otherwise.
pub fn judge(
    item: Item,
    document: &Document,
    wanted: &Wanted,
    now_unix_s: u64,
) -> Result<Window, Fault> {
    let issuer = match item {
        Item::RootCrl => Issuer::root(&wanted.root_der)?,
        _ => Issuer::from_chain(&document.issuer_chain, &wanted.root_der, now_unix_s)?,
    };
    let mut window = match item {
        Item::RootCrl | Item::PckCrl => crl(item, document, &issuer)?,
        Item::TcbInfo | Item::QeIdentity => json(item, document, &issuer, wanted)?,
    };
    window.next_update_unix_s = window.next_update_unix_s.min(issuer.end_unix_s);
    let what = item.as_str();
    let (from_unix_s, end_unix_s) = (window.issued_at_unix_s, window.next_update_unix_s);
    if now_unix_s < from_unix_s {
        return Err(Fault::NotYetValid { what, from_unix_s, now_unix_s });
    }
    if now_unix_s >= end_unix_s {
        return Err(Fault::Expired { what, end_unix_s, now_unix_s });
    }
    Ok(window)
}

fn crl(item: Item, document: &Document, issuer: &Issuer) -> Result<Window, Fault> {
    let list: CertificateList =
        CertificateList::from_der(&document.body).map_err(Fault::malformed)?;
    let what = item.as_str();
    if list.tbs_cert_list.issuer != issuer.name {
        return Err(Fault::Other {
            what,
            expected: issuer.name.to_string(),
            got: list.tbs_cert_list.issuer.to_string(),
        });
    }
    let signed = list.tbs_cert_list.to_der().map_err(Fault::malformed)?;
    issuer.check_der(&signed, list.signature.raw_bytes(), what)?;
    let dates = list.tbs_cert_list;
    let next_update =
        dates.next_update.ok_or_else(|| Fault::malformed("a list without a next update"))?;
    Ok(Window {
        issued_at_unix_s: dates.this_update.to_unix_duration().as_secs(),
        next_update_unix_s: next_update.to_unix_duration().as_secs(),
        evaluation_number: 0,
    })
}

fn json(
    item: Item,
    document: &Document,
    issuer: &Issuer,
    wanted: &Wanted,
) -> Result<Window, Fault> {
    let what = item.as_str();
    let head: Head = serde_json::from_slice(&document.body).map_err(Fault::malformed)?;
    issuer.check(&document.body, &document.signature, what)?;
    let expected = match (item, wanted.tee) {
        (Item::QeIdentity, Tee::Sgx) => "QE",
        (Item::QeIdentity, Tee::Tdx) => "TD_QE",
        (_, Tee::Sgx) => "SGX",
        (_, Tee::Tdx) => "TDX",
    };
    if head.id != expected {
        return Err(Fault::Other { what, expected: expected.to_owned(), got: head.id });
    }
    if item == Item::TcbInfo {
        let (got, expected) = (head.fmspc.unwrap_or_default(), hex::encode_upper(wanted.fmspc));
        if !got.eq_ignore_ascii_case(&expected) {
            return Err(Fault::Other { what, expected, got });
        }
    }
    Ok(Window {
        issued_at_unix_s: unix_s(&head.issue_date)?,
        next_update_unix_s: unix_s(&head.next_update)?,
        evaluation_number: head.tcb_evaluation_data_number,
    })
}

fn unix_s(text: &str) -> Result<u64, Fault> {
    let date: DateTime = text.parse().map_err(Fault::malformed)?;
    Ok(date.unix_duration().as_secs())
}

//! Dates of the four collateral items that carry their own.
//!
//! `dcap-qvl` checks dates too, with inclusive ends and without saying which list has expired. Here
//! an item is valid from its issue date up to, and not including, its next update.

use serde::Deserialize;
use x509_cert::crl::CertificateList;
use x509_cert::der::{DateTime, Decode};

use crate::evidence::Collateral;

use super::rejection::{CollateralItem, Rejection};

/// The dates that the signed JSON documents share.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    issue_date: String,
    next_update: String,
}

/// Refuses collateral that is not valid at `now_unix_s`; returns the earliest next update.
pub(super) fn check(collateral: &Collateral, now_unix_s: u64) -> Result<u64, Rejection> {
    let windows = [
        json_window(CollateralItem::TcbInfo, &collateral.tcb_info)?,
        json_window(CollateralItem::QeIdentity, &collateral.qe_identity)?,
        crl_window(CollateralItem::RootCrl, &collateral.root_ca_crl)?,
        crl_window(CollateralItem::PckCrl, &collateral.pck_crl)?,
    ];
    let mut earliest = u64::MAX;
    for (item, issued_at_unix_s, next_update_unix_s) in windows {
        if now_unix_s < issued_at_unix_s {
            return Err(Rejection::CollateralNotYetValid { item, issued_at_unix_s, now_unix_s });
        }
        if now_unix_s >= next_update_unix_s {
            return Err(Rejection::CollateralExpired { item, next_update_unix_s, now_unix_s });
        }
        earliest = earliest.min(next_update_unix_s);
    }
    Ok(earliest)
}

fn json_window(item: CollateralItem, json: &str) -> Result<(CollateralItem, u64, u64), Rejection> {
    let dated: Dated = serde_json::from_str(json).map_err(|error| malformed(item, &error))?;
    let unix_s = |text: &str| -> Result<u64, Rejection> {
        let date: DateTime = text.parse().map_err(|error| malformed(item, &error))?;
        Ok(date.unix_duration().as_secs())
    };
    Ok((item, unix_s(&dated.issue_date)?, unix_s(&dated.next_update)?))
}

fn crl_window(item: CollateralItem, der: &[u8]) -> Result<(CollateralItem, u64, u64), Rejection> {
    let list: CertificateList =
        CertificateList::from_der(der).map_err(|error| malformed(item, &error))?;
    let dates = list.tbs_cert_list;
    let Some(next_update) = dates.next_update else {
        return Err(malformed(item, &"it has no next update"));
    };
    let issued_at = dates.this_update.to_unix_duration().as_secs();
    Ok((item, issued_at, next_update.to_unix_duration().as_secs()))
}

fn malformed(item: CollateralItem, error: &dyn std::fmt::Display) -> Rejection {
    Rejection::CollateralMalformed { item, detail: error.to_string() }
}

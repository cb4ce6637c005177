//! Identities of quoting enclaves in Intel's canonical JSON (PCS API v4, enclave identity v2).

use crate::tee::Tee;

use super::dates::iso8601;
use super::tcb_info::IsvLevelSpec;

/// The identity of the quoting enclave for one TEE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QeIdentitySpec {
    /// For which quotes it is: `QE` or `TD_QE`.
    pub tee: Tee,
    /// Version of the document, 2.
    pub version: u8,
    /// Issue date, seconds since 1970 (UTC).
    pub issued_at_unix_s: u64,
    /// Next update, seconds since 1970 (UTC).
    pub next_update_unix_s: u64,
    /// `tcbEvaluationDataNumber`.
    pub evaluation_number: u32,
    /// MISCSELECT, as in the report (little-endian).
    pub misc_select: [u8; 4],
    /// The bits of it that count.
    pub misc_select_mask: [u8; 4],
    /// ATTRIBUTES, as in the report.
    pub attributes: [u8; 16],
    /// The bits of them that count.
    pub attributes_mask: [u8; 16],
    /// Signer.
    pub mr_signer: [u8; 32],
    /// Product id under that signer.
    pub isv_prod_id: u16,
    /// Levels, highest security version first.
    pub levels: Vec<IsvLevelSpec>,
}

impl QeIdentitySpec {
    /// The document: exactly the bytes that get signed.
    pub fn to_json(&self) -> String {
        format!(
            concat!(
                r#"{{"id":"{id}","version":{version},"issueDate":"{issued}","#,
                r#""nextUpdate":"{next}","tcbEvaluationDataNumber":{number},"#,
                r#""miscselect":"{misc_select}","miscselectMask":"{misc_select_mask}","#,
                r#""attributes":"{attributes}","attributesMask":"{attributes_mask}","#,
                r#""mrsigner":"{mr_signer}","isvprodid":{isv_prod_id},"tcbLevels":[{levels}]}}"#
            ),
            id = match self.tee {
                Tee::Sgx => "QE",
                Tee::Tdx => "TD_QE",
            },
            version = self.version,
            issued = iso8601(self.issued_at_unix_s),
            next = iso8601(self.next_update_unix_s),
            number = self.evaluation_number,
            misc_select = hex::encode_upper(self.misc_select),
            misc_select_mask = hex::encode_upper(self.misc_select_mask),
            attributes = hex::encode_upper(self.attributes),
            attributes_mask = hex::encode_upper(self.attributes_mask),
            mr_signer = hex::encode_upper(self.mr_signer),
            isv_prod_id = self.isv_prod_id,
            levels = IsvLevelSpec::list_to_json(&self.levels),
        )
    }
}

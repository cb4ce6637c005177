//! TCB information in Intel's canonical JSON (PCS API v4, TCB information version 3).

use crate::tcb_status::TcbStatus;
use crate::tee::Tee;

use super::dates::iso8601;

/// What Intel calls the components, as in its own TCB information; further ones have no words.
const SGX_COMPONENTS: [&str; 8] = [
    r#","category":"BIOS","type":"Early Microcode Update""#,
    r#","category":"OS/VMM","type":"SGX Late Microcode Update""#,
    r#","category":"OS/VMM","type":"TXT SINIT""#,
    r#","category":"BIOS""#,
    r#","category":"BIOS""#,
    r#","category":"BIOS""#,
    "",
    r#","category":"OS/VMM","type":"SEAMLDR ACM""#,
];
const TDX_COMPONENTS: [&str; 3] = [
    r#","category":"OS/VMM","type":"TDX Module""#,
    r#","category":"OS/VMM","type":"TDX Module""#,
    r#","category":"OS/VMM","type":"TDX Late Microcode Update""#,
];

/// What the collateral says about one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rating {
    /// The status.
    pub status: TcbStatus,
    /// Date of the level, seconds since 1970 (UTC).
    pub date_unix_s: u64,
    /// Advisories (`INTEL-SA-…`). The field is left out if there is none, as Intel does.
    pub advisory_ids: Vec<String>,
}

impl Rating {
    /// `status` since 2024-03-13, without advisories.
    pub fn new(status: TcbStatus) -> Self {
        Self { status, date_unix_s: 1_710_288_000, advisory_ids: Vec::new() }
    }

    /// The JSON members of the rating, without braces.
    pub(super) fn to_json(&self) -> String {
        let date = iso8601(self.date_unix_s);
        let status = self.status;
        let advisories = match self.advisory_ids.as_slice() {
            [] => String::new(),
            ids => format!(r#","advisoryIDs":["{}"]"#, ids.join(r#"",""#)),
        };
        format!(r#""tcbDate":"{date}","tcbStatus":"{status}"{advisories}"#)
    }
}

/// A level that asks for one security version: of a quoting enclave or a TDX module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsvLevelSpec {
    /// Lowest security version of the level. One byte for TDX modules.
    pub isv_svn: u16,
    /// What it is rated.
    pub rating: Rating,
}

impl IsvLevelSpec {
    /// The level from `isv_svn` on.
    pub fn new(isv_svn: u16, status: TcbStatus) -> Self {
        Self { isv_svn, rating: Rating::new(status) }
    }

    pub(super) fn list_to_json(levels: &[Self]) -> String {
        let level = |level: &Self| {
            format!(r#"{{"tcb":{{"isvsvn":{}}},{}}}"#, level.isv_svn, level.rating.to_json())
        };
        levels.iter().map(level).collect::<Vec<_>>().join(",")
    }
}

/// A level of the platform's firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcbLevelSpec {
    /// Lowest versions of the 16 SGX components.
    pub sgx: [u8; 16],
    /// Lowest version of the provisioning enclave.
    pub pce_svn: u16,
    /// Lowest versions of the 16 TDX components; only in TCB information for TDX.
    pub tdx: Option<[u8; 16]>,
    /// What the level is rated.
    pub rating: Rating,
}

/// Who must have signed the TDX module, and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxModuleSpec {
    /// MRSIGNERSEAM. Zero for Intel's own modules.
    pub mr_signer: [u8; 48],
    /// SEAMATTRIBUTES.
    pub attributes: [u8; 8],
    /// The bits of them that count; all others must be zero.
    pub attributes_mask: [u8; 8],
}

impl Default for TdxModuleSpec {
    /// Intel's own module: signer and attributes zero.
    fn default() -> Self {
        Self { mr_signer: [0; 48], attributes: [0; 8], attributes_mask: [0xff; 8] }
    }
}

impl TdxModuleSpec {
    /// The JSON members of the module, without braces.
    fn to_json(&self) -> String {
        format!(
            r#""mrsigner":"{}","attributes":"{}","attributesMask":"{}""#,
            hex::encode_upper(self.mr_signer),
            hex::encode_upper(self.attributes),
            hex::encode_upper(self.attributes_mask),
        )
    }
}

/// A major version of the TDX module, with its own levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TdxModuleIdentitySpec {
    /// Module version: byte 1 of the TEE TCB SVN.
    pub version: u8,
    /// Signer and attributes of this version.
    pub module: TdxModuleSpec,
    /// Levels by the module's security version: byte 0 of the TEE TCB SVN.
    pub levels: Vec<IsvLevelSpec>,
}

impl TdxModuleIdentitySpec {
    fn to_json(&self) -> String {
        format!(
            r#"{{"id":"TDX_{:02X}",{},"tcbLevels":[{}]}}"#,
            self.version,
            self.module.to_json(),
            IsvLevelSpec::list_to_json(&self.levels),
        )
    }
}

/// TCB information, version 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcbInfoSpec {
    /// For which quotes it is.
    pub tee: Tee,
    /// Issue date, seconds since 1970 (UTC).
    pub issued_at_unix_s: u64,
    /// Next update, seconds since 1970 (UTC).
    pub next_update_unix_s: u64,
    /// Processor family.
    pub fmspc: [u8; 6],
    /// Provisioning enclave.
    pub pce_id: [u8; 2],
    /// `tcbEvaluationDataNumber`.
    pub evaluation_number: u32,
    /// TDX module without a version. Intel has it in TCB information for TDX alone.
    pub tdx_module: Option<TdxModuleSpec>,
    /// TDX modules by version; left out if empty.
    pub tdx_module_identities: Vec<TdxModuleIdentitySpec>,
    /// Levels in any order.
    pub levels: Vec<TcbLevelSpec>,
    /// Whether components carry `category` and `type`.
    pub describes_components: bool,
}

impl TcbInfoSpec {
    /// The document: exactly the bytes that get signed.
    pub fn to_json(&self) -> String {
        let levels: Vec<String> =
            self.levels.iter().map(|level| self.level_to_json(level)).collect();
        format!(
            concat!(
                r#"{{"id":"{id}","version":3,"issueDate":"{issued}","nextUpdate":"{next}","#,
                r#""fmspc":"{fmspc}","pceId":"{pce_id}","tcbType":0,"#,
                r#""tcbEvaluationDataNumber":{number},{modules}"tcbLevels":[{levels}]}}"#
            ),
            id = self.tee,
            issued = iso8601(self.issued_at_unix_s),
            next = iso8601(self.next_update_unix_s),
            fmspc = hex::encode_upper(self.fmspc),
            pce_id = hex::encode_upper(self.pce_id),
            number = self.evaluation_number,
            modules = self.modules_to_json(),
            levels = levels.join(","),
        )
    }

    fn modules_to_json(&self) -> String {
        let module = |module: &TdxModuleSpec| format!(r#""tdxModule":{{{}}},"#, module.to_json());
        let module = self.tdx_module.as_ref().map(module).unwrap_or_default();
        if self.tdx_module_identities.is_empty() {
            return module;
        }
        let identities = self.tdx_module_identities.iter().map(TdxModuleIdentitySpec::to_json);
        let identities = identities.collect::<Vec<_>>().join(",");
        format!(r#"{module}"tdxModuleIdentities":[{identities}],"#)
    }

    fn level_to_json(&self, level: &TcbLevelSpec) -> String {
        let sgx = self.components_to_json(level.sgx, &SGX_COMPONENTS);
        let tdx = level.tdx.map(|svns| self.components_to_json(svns, &TDX_COMPONENTS));
        let tdx = tdx.map(|tdx| format!(r#","tdxtcbcomponents":[{tdx}]"#)).unwrap_or_default();
        let (pce_svn, rating) = (level.pce_svn, level.rating.to_json());
        format!(r#"{{"tcb":{{"sgxtcbcomponents":[{sgx}],"pcesvn":{pce_svn}{tdx}}},{rating}}}"#)
    }

    fn components_to_json(&self, svns: [u8; 16], words: &[&str]) -> String {
        let words = if self.describes_components { words } else { &[] };
        let words = words.iter().copied().chain(std::iter::repeat(""));
        let components =
            svns.iter().zip(words).map(|(svn, words)| format!(r#"{{"svn":{svn}{words}}}"#));
        components.collect::<Vec<_>>().join(",")
    }
}

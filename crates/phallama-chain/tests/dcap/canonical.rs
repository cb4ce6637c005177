//! Intel's canonical JSON, read by `serde_json` with the members in Intel's order: what parses and
//! is the same when written back, and keeps to Intel's values, is canonical. A second opinion on
//! the contract's walk, made in another way.

use serde::{Deserialize, Serialize};

/// As in `TcbLevelsJson`, `TcbInfoJson` of the contracts.
const LEVELS_MAX: usize = 64;
const IDENTITIES_MAX: usize = 16;

const PLATFORM_STATUSES: &[&str] = &[
    "UpToDate",
    "OutOfDate",
    "ConfigurationNeeded",
    "Revoked",
    "OutOfDateConfigurationNeeded",
    "SWHardeningNeeded",
    "ConfigurationAndSWHardeningNeeded",
];
const MODULE_STATUSES: &[&str] = &["UpToDate", "OutOfDate", "Revoked"];
const QE_STATUSES: &[&str] =
    &["UpToDate", "OutOfDate", "ConfigurationNeeded", "Revoked", "OutOfDateConfigurationNeeded"];

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Info {
    id: String,
    version: u8,
    issue_date: String,
    next_update: String,
    fmspc: String,
    pce_id: String,
    tcb_type: u8,
    tcb_evaluation_data_number: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tdx_module: Option<Module>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tdx_module_identities: Option<Vec<ModuleIdentity>>,
    tcb_levels: Vec<Level<Platform>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Module {
    mrsigner: String,
    attributes: String,
    attributes_mask: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ModuleIdentity {
    id: String,
    mrsigner: String,
    attributes: String,
    attributes_mask: String,
    tcb_levels: Vec<Level<Isv<u8>>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Level<T> {
    tcb: T,
    tcb_date: String,
    tcb_status: String,
    #[serde(rename = "advisoryIDs", default, skip_serializing_if = "Option::is_none")]
    advisory_ids: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Isv<T> {
    isvsvn: T,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Platform {
    sgxtcbcomponents: Vec<Component>,
    pcesvn: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tdxtcbcomponents: Option<Vec<Component>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    svn: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    kind: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Identity {
    id: String,
    version: u8,
    issue_date: String,
    next_update: String,
    tcb_evaluation_data_number: u32,
    miscselect: String,
    miscselect_mask: String,
    attributes: String,
    attributes_mask: String,
    mrsigner: String,
    isvprodid: u16,
    tcb_levels: Vec<Level<Isv<u16>>>,
}

/// Whether a text is TCB information in Intel's form.
pub(crate) fn is_tcb_info(json: &str) -> bool {
    let Some(info) = read::<Info>(json) else { return false };
    let tdx = info.id == "TDX";
    let modules = info.tdx_module_identities.as_deref().unwrap_or_default();
    (tdx || info.id == "SGX")
        && (info.version, info.tcb_type) == (3, 0)
        && [&info.issue_date, &info.next_update].into_iter().all(|date| is_date(date))
        && is_hex(&info.fmspc, 6)
        && is_hex(&info.pce_id, 2)
        && info.tdx_module.is_some() == tdx
        && info.tdx_module.iter().all(Module::is_good)
        && (tdx || info.tdx_module_identities.is_none())
        && modules.len() <= IDENTITIES_MAX
        && modules.iter().all(ModuleIdentity::is_good)
        && are_good(&info.tcb_levels, PLATFORM_STATUSES)
        && info.tcb_levels.iter().all(|level| level.tcb.is_good(tdx))
}

/// Whether a text is the identity of a quoting enclave in Intel's form.
pub(crate) fn is_qe_identity(json: &str) -> bool {
    let Some(identity) = read::<Identity>(json) else { return false };
    let hex = [
        (&identity.miscselect, 4),
        (&identity.miscselect_mask, 4),
        (&identity.attributes, 16),
        (&identity.attributes_mask, 16),
        (&identity.mrsigner, 32),
    ];
    ["QE", "TD_QE"].contains(&identity.id.as_str())
        && identity.version == 2
        && [&identity.issue_date, &identity.next_update].into_iter().all(|date| is_date(date))
        && hex.into_iter().all(|(text, bytes)| is_hex(text, bytes))
        && are_good(&identity.tcb_levels, QE_STATUSES)
}

/// Parses what is the same when written back, and has no escapes and nothing but ASCII.
fn read<T: Serialize + for<'a> Deserialize<'a>>(json: &str) -> Option<T> {
    let plain = json.bytes().all(|byte| (0x20..0x80).contains(&byte) && byte != b'\\');
    let value: T = serde_json::from_str(json).ok().filter(|_| plain)?;
    (serde_json::to_string(&value).ok()? == json).then_some(value)
}

impl Module {
    fn is_good(&self) -> bool {
        is_hex(&self.mrsigner, 48)
            && is_hex(&self.attributes, 8)
            && is_hex(&self.attributes_mask, 8)
    }
}

impl ModuleIdentity {
    fn is_good(&self) -> bool {
        self.id.strip_prefix("TDX_").is_some_and(|version| is_hex(version, 1))
            && is_hex(&self.mrsigner, 48)
            && is_hex(&self.attributes, 8)
            && is_hex(&self.attributes_mask, 8)
            && are_good(&self.tcb_levels, MODULE_STATUSES)
    }
}

impl Platform {
    fn is_good(&self, tdx: bool) -> bool {
        self.sgxtcbcomponents.len() == 16
            && self.tdxtcbcomponents.as_ref().map(Vec::len) == tdx.then_some(16)
    }
}

fn are_good<T>(levels: &[Level<T>], statuses: &[&str]) -> bool {
    let good = |level: &Level<T>| {
        is_date(&level.tcb_date) && statuses.contains(&level.tcb_status.as_str())
    };
    (1..=LEVELS_MAX).contains(&levels.len()) && levels.iter().all(good)
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `YYYY-MM-DDThh:mm:ssZ`, a second that there is, from 1970 on.
fn is_date(text: &str) -> bool {
    let form = b"0000-00-00T00:00:00Z";
    let fits = |(got, form): (u8, &u8)| {
        if *form == b'0' { got.is_ascii_digit() } else { got == *form }
    };
    if text.len() != form.len() || !text.bytes().zip(form).all(fits) {
        return false;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap_or(u32::MAX);
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year >= 1970
        && (1..=days).contains(&day)
        && number(11, 13) < 24
        && number(14, 16) < 60
        && number(17, 19) < 60
}

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How Intel's TCB information rates a platform's firmware (`tcbStatus` of Intel's PCS API, v4).
///
/// `Display` and `FromStr` use Intel's spelling, for example `SWHardeningNeeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TcbStatus {
    /// Every known issue is mitigated. The only status a strict policy accepts.
    UpToDate,
    /// Current firmware, but the enclave's software must carry mitigations.
    SWHardeningNeeded,
    /// Current firmware, but a platform setting (often hyper-threading) leaves an issue open.
    ConfigurationNeeded,
    /// Both of the two above.
    ConfigurationAndSWHardeningNeeded,
    /// Firmware with known, fixable issues.
    OutOfDate,
    /// Old firmware and an open platform setting.
    OutOfDateConfigurationNeeded,
    /// The platform's keys must not be trusted. No policy can accept it.
    Revoked,
    /// TDX 1.5: launched under an old TCB that has since been updated in place.
    TDRelaunchAdvised,
    /// TDX 1.5: as above, with an open platform setting.
    TDRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    /// Every status, from best to worst within SGX, then the TDX-only ones.
    pub const ALL: [Self; 9] = [
        Self::UpToDate,
        Self::SWHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSWHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::Revoked,
        Self::TDRelaunchAdvised,
        Self::TDRelaunchAdvisedConfigurationNeeded,
    ];

    /// Intel's spelling, as in the signed TCB information.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SWHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSWHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::Revoked => "Revoked",
            Self::TDRelaunchAdvised => "TDRelaunchAdvised",
            Self::TDRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A TCB status that Intel does not define.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{got}` is not a TCB status; use Intel's spelling, for example `SWHardeningNeeded`")]
pub struct UnknownTcbStatus {
    /// The text that was given.
    pub got: String,
}

impl FromStr for TcbStatus {
    type Err = UnknownTcbStatus;

    fn from_str(text: &str) -> Result<Self, UnknownTcbStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| UnknownTcbStatus { got: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_parses_back_from_its_text() {
        for status in TcbStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
        }
    }

    #[test]
    fn refuses_a_status_in_another_case() {
        let got = "uptodate".to_owned();
        assert_eq!("uptodate".parse::<TcbStatus>(), Err(UnknownTcbStatus { got }));
    }
}

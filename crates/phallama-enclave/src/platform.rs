//! The machine that vouches for this program: where quotes come from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Collateral, EVIDENCE_MAX_BYTES, Evidence};
use phallama_protocol::ids::Digest32;
use sha2::{Digest as _, Sha256};

use crate::config::{GramineConfig, TeeConfig};

/// Domain tag of the simulated measurement, without its terminating zero byte.
const SIMULATED_MEASUREMENT_TAG: &[u8] = b"phallama/1 simulated measurement";
/// MRENCLAVE inside an SGX quote: 48 bytes of header, then 64 bytes into the report body
/// (Intel, *SGX ECDSA QuoteLibReference*, report body).
const MR_ENCLAVE_OFFSET: usize = 48 + 64;
/// SGX quotes begin with their version, 3, little-endian.
const SGX_QUOTE_VERSION: [u8; 2] = [3, 0];

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// A file of the platform cannot be read or written.
    #[error("cannot use {path}: {source}; does this program run under gramine-sgx?")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The collateral file is not the JSON of a collateral.
    #[error("collateral {path}: {source}")]
    Collateral {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Not an SGX v3 quote.
    #[error("the platform's quote is not an SGX quote of version 3: it has {got} bytes")]
    NotAnSgxQuote {
        /// Its length.
        got: usize,
    },
}

/// A source of evidence about this process.
pub struct Platform(Source);

enum Source {
    Simulated { platform: Box<SimulatedPlatform>, measurement: [u8; 32] },
    Gramine { config: GramineConfig, turn: Mutex<()> },
}

impl Platform {
    /// The platform of `config`. The simulated one measures the running executable.
    ///
    /// # Errors
    /// [`PlatformError::File`] when the executable cannot be read.
    pub fn new(config: &TeeConfig) -> Result<Self, PlatformError> {
        Ok(Self(match config {
            TeeConfig::Simulated(config) => {
                let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
                let spec = PlatformSpec::from_seed(config.platform_seed.as_bytes());
                Source::Simulated {
                    platform: Box::new(SimulatedPlatform::new(&root, spec)),
                    measurement: simulated_measurement()?.0,
                }
            }
            TeeConfig::Gramine(config) => {
                Source::Gramine { config: config.clone(), turn: Mutex::new(()) }
            }
        }))
    }

    /// Evidence with these 64 bytes of report data. Blocks for as long as the platform takes.
    ///
    /// # Errors
    /// [`PlatformError`].
    pub fn evidence(
        &self,
        report_data: &[u8; 64],
        now_unix_s: u64,
    ) -> Result<Evidence, PlatformError> {
        match &self.0 {
            Source::Simulated { platform, measurement } => Ok(platform.evidence(
                &EnclaveSpec::new(*measurement, *report_data),
                &CollateralSpec::fresh(now_unix_s),
            )),
            Source::Gramine { config, turn } => {
                // The two files are one state of the process: write and read belong together.
                let _turn = turn.lock().expect("nothing panics while holding the turn");
                gramine_evidence(config, report_data)
            }
        }
    }
}

/// What an appraisal of `quote` will compare: MRENCLAVE of an SGX v3 quote.
///
/// # Errors
/// [`PlatformError::NotAnSgxQuote`].
pub fn measurement_of(quote: &[u8]) -> Result<Digest32, PlatformError> {
    let error = PlatformError::NotAnSgxQuote { got: quote.len() };
    if !quote.starts_with(&SGX_QUOTE_VERSION) {
        return Err(error);
    }
    let field = quote.get(MR_ENCLAVE_OFFSET..).and_then(|rest| rest.first_chunk::<32>());
    field.map(|bytes| Digest32(*bytes)).ok_or(error)
}

/// `SHA-256("phallama/1 simulated measurement" ‖ 0 ‖ SHA-256(executable))` of this process.
///
/// # Errors
/// [`PlatformError::File`].
pub fn simulated_measurement() -> Result<Digest32, PlatformError> {
    let executable = file_sha256(Path::new("/proc/self/exe"))?;
    let hash = Sha256::new()
        .chain_update(SIMULATED_MEASUREMENT_TAG)
        .chain_update([0])
        .chain_update(executable);
    Ok(Digest32(hash.finalize().into()))
}

/// SHA-256 of a whole file.
pub(crate) fn file_sha256(path: &Path) -> Result<[u8; 32], PlatformError> {
    phallama_engine::weights_digest(path, |_, _| ())
        .map_err(|source| PlatformError::File { path: path.to_owned(), source })
}

/// Gramine's protocol: write 64 bytes, read the quote (Gramine manual, *Attestation and Secret
/// Provisioning*).
fn gramine_evidence(
    config: &GramineConfig,
    report_data: &[u8; 64],
) -> Result<Evidence, PlatformError> {
    let file = |path: &Path, source| PlatformError::File { path: path.to_owned(), source };
    let report_path = config.attestation_dir.join("user_report_data");
    let quote_path = config.attestation_dir.join("quote");
    fs::write(&report_path, report_data).map_err(|source| file(&report_path, source))?;
    let quote = fs::read(&quote_path).map_err(|source| file(&quote_path, source))?;

    let path = &config.collateral_path;
    let size = fs::metadata(path).map_err(|source| file(path, source))?.len();
    if size > EVIDENCE_MAX_BYTES as u64 {
        return Err(file(path, io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let json = fs::read(path).map_err(|source| file(path, source))?;
    let collateral: Collateral = serde_json::from_slice(&json)
        .map_err(|source| PlatformError::Collateral { path: path.clone(), source })?;
    Ok(Evidence { quote, collateral })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimulatedConfig;

    fn simulated() -> Platform {
        let config = SimulatedConfig { platform_seed: "machine".to_owned() };
        Platform::new(&TeeConfig::Simulated(config)).unwrap()
    }

    /// A directory that looks like Gramine's, with a quote made for `report_data`.
    fn fake_gramine(report_data: &[u8; 64]) -> (tempfile::TempDir, Platform) {
        let dir = tempfile::tempdir().unwrap();
        let evidence = simulated().evidence(report_data, 1_800_000_000).unwrap();
        fs::write(dir.path().join("quote"), &evidence.quote).unwrap();
        let collateral_path = dir.path().join("collateral.json");
        fs::write(&collateral_path, serde_json::to_vec(&evidence.collateral).unwrap()).unwrap();
        let config = GramineConfig { attestation_dir: dir.path().to_owned(), collateral_path };
        let platform = Platform::new(&TeeConfig::Gramine(config)).unwrap();
        (dir, platform)
    }

    #[test]
    fn simulated_quote_carries_the_measurement_of_this_executable() {
        let evidence = simulated().evidence(&[7; 64], 1_800_000_000).unwrap();
        assert_eq!(measurement_of(&evidence.quote).unwrap(), simulated_measurement().unwrap());
    }

    #[test]
    fn gramine_is_told_the_report_data_and_gives_the_quote() {
        let (dir, platform) = fake_gramine(&[7; 64]);
        let evidence = platform.evidence(&[7; 64], 0).unwrap();
        assert_eq!(fs::read(dir.path().join("user_report_data")).unwrap(), [7; 64]);
        assert_eq!(evidence, simulated().evidence(&[7; 64], 1_800_000_000).unwrap());
    }

    #[test]
    fn gramine_without_its_files_says_which_is_missing() {
        let (dir, platform) = fake_gramine(&[7; 64]);
        fs::remove_file(dir.path().join("quote")).unwrap();
        let error = platform.evidence(&[7; 64], 0).unwrap_err();
        assert!(error.to_string().contains("/quote: "), "{error}");
    }

    #[test]
    fn a_truncated_quote_has_no_measurement() {
        let evidence = simulated().evidence(&[7; 64], 1_800_000_000).unwrap();
        let cut = measurement_of(&evidence.quote[..MR_ENCLAVE_OFFSET + 31]);
        assert!(matches!(cut, Err(PlatformError::NotAnSgxQuote { got: 143 })), "{cut:?}");
    }
}

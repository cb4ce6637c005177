//! The newest collateral of the running enclave: what the registry is brought, and what clients are
//! served with its quote.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use phallama_attest::{Collateral, Evidence};
use phallama_protocol::ids::Address;

use super::quote::PlatformQuote;
use super::refusal::Refusal;
use crate::collateral::{Cache, CollateralSet, CollateralSource, Endpoint, HttpLimits, Remark};
use crate::config::{CollateralSettings, PodConfig, TeeSettings};
use crate::enclave::{EnclaveClient, EnclaveInfo};
use crate::error::PodError;
use crate::private;

/// How long a set is used before a newer one is looked for, in seconds.
const LOOK_AFTER_S: u64 = 3_600;

/// Keeps the collateral of one pod.
pub(crate) struct CollateralKeeper {
    /// Absent: what the enclave puts into its evidence is all there is.
    pub(crate) source: Option<CollateralSource>,
    pub(crate) enclave: EnclaveClient,
    /// A file that the enclave reads its collateral from, kept as new as what is served.
    pub(crate) file: Option<PathBuf>,
    pub(crate) kept: Mutex<Option<Kept>>,
}

/// Collateral for one start of the enclave.
#[derive(Clone)]
pub(crate) struct Kept {
    identity: Address,
    looked_at_unix_s: u64,
    set: Arc<CollateralSet>,
}

impl CollateralKeeper {
    /// For a pod whose collateral lies in `dir`. With services, the enclave reads it from a file of
    /// the host's.
    ///
    /// # Errors
    /// [`PodError::Config`] for a URL that is none, [`PodError::File`].
    pub(crate) fn open(
        config: &PodConfig,
        enclave: EnclaveClient,
        dir: &Path,
    ) -> Result<Self, PodError> {
        let failed = |source| PodError::File { what: "use", path: dir.to_owned(), source };
        let source = if config.collateral.pccs.is_empty() {
            None
        } else {
            Some(source(&config.collateral, Cache::open(dir).map_err(failed)?)?)
        };
        let keeper =
            Self { source, enclave, file: collateral_file(config, dir), kept: Mutex::default() };
        match &keeper.file {
            Some(path) if !path.exists() => write(path, &no_collateral()).map_err(failed)?,
            _ => {}
        }
        Ok(keeper)
    }

    /// For an enclave that listens at `socket` and brings its collateral itself.
    #[cfg(test)]
    pub(crate) fn without_services(socket: PathBuf) -> Self {
        let enclave = EnclaveClient::new(socket);
        Self { source: None, enclave, file: None, kept: Mutex::default() }
    }

    /// The newest collateral for this start of the enclave, and what the operator should hear of.
    ///
    /// # Errors
    /// [`Refusal`] when there is none that is valid.
    pub(crate) async fn newest(
        &self,
        info: &EnclaveInfo,
        quote: &PlatformQuote,
        now_unix_s: u64,
    ) -> Result<(Arc<CollateralSet>, Vec<Remark>), Refusal> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kept = kept.filter(|kept| kept.identity == info.identity);
        if let Some(kept) = &kept
            && now_unix_s < kept.looked_at_unix_s.saturating_add(LOOK_AFTER_S)
            && now_unix_s < kept.set.next_update_unix_s()
        {
            return Ok((Arc::clone(&kept.set), Vec::new()));
        }
        let (set, remarks) = match &self.source {
            Some(source) => {
                source.set(&quote.wanted, now_unix_s).await.map_err(|e| Refusal::from(&e))?
            }
            None => (self.enclaves_own(info, quote, kept.is_some(), now_unix_s).await?, Vec::new()),
        };
        let set = Arc::new(set);
        let (identity, looked_at_unix_s) = (info.identity, now_unix_s);
        let kept = Kept { identity, looked_at_unix_s, set: Arc::clone(&set) };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        self.write_file(&set);
        Ok((set, remarks))
    }

    /// What came with the enclave's quote, or what comes with it now.
    async fn enclaves_own(
        &self,
        info: &EnclaveInfo,
        quote: &PlatformQuote,
        again: bool,
        now_unix_s: u64,
    ) -> Result<CollateralSet, Refusal> {
        let mut collateral = info.evidence.collateral.clone();
        if again {
            let asked = self.enclave.evidence([0; 32]).await;
            match asked.map(|json| Evidence::from_json(&json)) {
                Ok(Ok(evidence)) => collateral = evidence.collateral,
                Ok(Err(error)) => tracing::warn!(%error, "collateral: the enclave gave none"),
                Err(error) => tracing::warn!(%error, "collateral: the enclave gave none"),
            }
        }
        let evidence = Evidence { collateral, ..Evidence::clone(&info.evidence) };
        CollateralSet::of_evidence(&evidence, &quote.wanted, now_unix_s)
    }

    /// `evidence` with the newest collateral of the enclave that made it.
    pub(crate) fn refresh(&self, identity: Address, evidence: Evidence) -> Evidence {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(kept) if kept.identity == identity => {
                Evidence { collateral: kept.set.to_evidence(), ..evidence }
            }
            _ => evidence,
        }
    }

    fn write_file(&self, set: &CollateralSet) {
        let Some(path) = &self.file else { return };
        if let Err(error) = write(path, &set.to_evidence()) {
            tracing::warn!(%error, path = %path.display(), "collateral: could not be written");
        }
    }
}

fn source(settings: &CollateralSettings, cache: Cache) -> Result<CollateralSource, PodError> {
    let mut limits = HttpLimits::default();
    if let Some(timeout_ms) = settings.timeout_ms {
        limits.within = Duration::from_millis(timeout_ms);
    }
    let endpoint = |url: &String| {
        Endpoint::new(url, limits).map_err(|problem| PodError::Config {
            field: "collateral.pccs",
            problem: format!("has `{url}`, which is no URL of a service: {problem}"),
        })
    };
    let endpoints = settings.pccs.iter().map(endpoint).collect::<Result<_, _>>()?;
    Ok(CollateralSource::new(endpoints, limits, cache))
}

/// Where the enclave reads collateral that the host has fetched into `dir`; the operator may name a
/// file of their own instead.
pub(crate) fn collateral_file(config: &PodConfig, dir: &Path) -> Option<PathBuf> {
    let fetched = !config.collateral.pccs.is_empty();
    let unnamed = matches!(config.enclave.tee, TeeSettings::Gramine { collateral_path: None, .. });
    (fetched && unnamed).then(|| dir.join("enclave.json"))
}

/// Whole or not at all: the enclave may be reading.
fn write(path: &Path, collateral: &Collateral) -> io::Result<()> {
    let partial = path.with_extension("partial");
    private::empty_file(&partial)?.write_all(&serde_json::to_vec(collateral)?)?;
    std::fs::rename(partial, path)
}

/// No item at all: what an enclave is given before its first quote says which collateral it needs.
pub fn no_collateral() -> Collateral {
    Collateral {
        pck_crl_issuer_chain: String::new(),
        root_ca_crl: Vec::new(),
        pck_crl: Vec::new(),
        tcb_info_issuer_chain: String::new(),
        tcb_info: String::new(),
        tcb_info_signature: Vec::new(),
        qe_identity_issuer_chain: String::new(),
        qe_identity: String::new(),
        qe_identity_signature: Vec::new(),
        pck_certificate_chain: None,
    }
}

//! A pod whose worker is scripted. Its host is this process; enclave and chain are children.

use std::path::Path;

use phallama_chain::Chain;
use phallama_host::config::{
    CollateralSettings, EnclaveSettings, ModelSettings, Policy, TeeSettings, WorkerSettings,
};
use phallama_host::{Pod, PodConfig};
use phallama_protocol::ids::{Amount, Digest32};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::other::Other;
use super::process;
use crate::stack::{self, Failure, LOOPBACK, OPERATOR, program, signer};

pub(crate) const MODEL: &str = "scripted";
const ENCLAVE: &str = "phallama-enclave";
const CONTEXT_TOKENS: u32 = 2_048;
/// A pod that gives this many tokens of credit and of risk never waits for a lock here.
const CREDIT: u64 = 10_000_000;

/// The measured pod.
pub(crate) struct ScriptedPod {
    _chain_process: Other,
    chain: Chain,
    pod: Pod,
    measurement: Digest32,
    enclave: u32,
    folder: TempDir,
}

impl ScriptedPod {
    /// Starts a pod that computes `slots` answers at once, and opens accounts for `users`.
    pub(crate) async fn start(users: u32, slots: u32) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("phallama-bench-").tempdir()?;
        let mut chain_process = Other::chain()?;
        let chain = stack::deploy_on(&chain_process.line().await?).await?;
        let config = config(&chain, folder.path(), slots).await?;
        let pod = Pod::start(config, |_| {}).await?;
        let record = chain.pod(pod.pod_id()).await?.ok_or("the pod is not registered")?;
        let measurement =
            Digest32(record.key.ok_or("the pod's key is not attested")?.measurement.0);
        let enclave = process::child(ENCLAVE)?;
        stack::open_accounts(&chain, users).await?;
        Ok(Self { _chain_process: chain_process, chain, pod, measurement, enclave, folder })
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    pub(crate) fn pod(&self) -> &Pod {
        &self.pod
    }

    pub(crate) fn measurement(&self) -> Digest32 {
        self.measurement
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Host, which is this process, and enclave.
    pub(crate) fn processes(&self) -> [u32; 2] {
        [std::process::id(), self.enclave]
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.pod.shutdown().await?;
        Ok(())
    }
}

async fn config(chain: &Chain, folder: &Path, slots: u32) -> Result<PodConfig, Failure> {
    let operator = signer(OPERATOR);
    let model_path = stack::given_or_set_up("PHALLAMA_MODEL", "model")?;
    let weights = tokio::fs::read(&model_path).await?;
    let model = ModelSettings {
        model: MODEL.to_owned(),
        model_path,
        weights_sha256: Digest32(Sha256::digest(weights).into()),
        input_price_per_mtok: Amount::from(1_000),
        output_price_per_mtok: Amount::from(4_000),
        context_tokens: CONTEXT_TOKENS,
        max_output_tokens: CONTEXT_TOKENS / 2,
        load: None,
        keep_alive_s: None,
        projector: None,
        draft: None,
        embeddings: None,
    };
    let worker = WorkerSettings {
        path: program("phallama-fake-worker")?,
        slots: Some(slots),
        threads: Some(1),
        // It holds no cache, however many slots it has.
        memory_budget_bytes: Some(u64::MAX),
        ..WorkerSettings::default()
    };
    let exchanges_max = slots + 64;
    Ok(PodConfig {
        listen: LOOPBACK,
        public_url: None,
        chain: chain.config().clone(),
        payout: operator.address(),
        operator,
        salt: [1; 32],
        state_dir: folder.join("pod"),
        enclave: EnclaveSettings {
            program: program(ENCLAVE)?,
            program_args: Vec::new(),
            models: vec![model],
            worker,
            tee: TeeSettings::Simulated { platform_seed: "bench".to_owned() },
            danger_accept_simulated_tee: true,
            policy: Some(serde_json::json!({
                "classes": ["std", "fast", "bulk", "unpaced"], "exchanges_max": exchanges_max,
            })),
        },
        collateral: CollateralSettings::default(),
        policy: Policy {
            credit_limit: Some(CREDIT.into()),
            risk_per_user: CREDIT.into(),
            risk_total: Amount::from(CREDIT * 1_000_000),
            ..Policy::default()
        },
    })
}

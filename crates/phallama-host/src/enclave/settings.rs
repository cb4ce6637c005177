//! The enclave's configuration file, written from the pod's configuration. The enclave checks it
//! again and binds what matters into its evidence.

use std::path::Path;

use phallama_protocol::ids::{Address, PodId};
use serde::Serialize;

use crate::config::{EnclaveSettings, ModelSettings, PodConfig, TeeSettings, WorkerSettings};

#[derive(Serialize)]
struct Document<'a> {
    chain_id: u64,
    registry: Address,
    escrow: Address,
    pod_id: PodId,
    link_socket: &'a Path,
    models: &'a [ModelSettings],
    worker: Worker<'a>,
    tee: &'a TeeSettings,
    danger_accept_simulated_tee: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a serde_json::Value>,
}

#[derive(Serialize)]
struct Worker<'a> {
    socket_dir: &'a Path,
    #[serde(flatten)]
    chosen: &'a WorkerSettings,
}

/// The file's content.
pub(crate) fn enclave_config_json(
    config: &PodConfig,
    pod_id: PodId,
    link_socket: &Path,
    worker_socket_dir: &Path,
) -> Vec<u8> {
    let EnclaveSettings { models, worker, tee, danger_accept_simulated_tee, policy, .. } =
        &config.enclave;
    let document = Document {
        chain_id: config.chain.chain_id,
        registry: config.chain.registry,
        escrow: config.chain.escrow,
        pod_id,
        link_socket,
        models,
        worker: Worker { socket_dir: worker_socket_dir, chosen: worker },
        tee,
        danger_accept_simulated_tee: *danger_accept_simulated_tee,
        policy: policy.as_ref(),
    };
    serde_json::to_vec_pretty(&document).expect("plain fields serialise")
}

#[cfg(test)]
mod tests {
    use phallama_chain::ChainConfig;
    use phallama_protocol::ids::{Amount, Digest32};
    use phallama_protocol::keys::Signer;
    use serde_json::json;

    use super::*;
    use crate::config::{CollateralSettings, Policy};

    #[test]
    fn file_has_the_keys_that_the_enclave_reads() {
        let config = PodConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            public_url: None,
            chain: ChainConfig {
                rpc_urls: vec!["http://127.0.0.1:1".to_owned()],
                chain_id: 31_337,
                registry: Address([1; 20]),
                escrow: Address([2; 20]),
                token: Address([3; 20]),
                timeout_ms: 1,
                fee_ceiling_gwei: 1,
            },
            operator: Signer::from_bytes(&[1; 32]).unwrap(),
            salt: [0; 32],
            payout: Address([4; 20]),
            state_dir: "/state".into(),
            enclave: EnclaveSettings {
                program: "/bin/enclave".into(),
                program_args: Vec::new(),
                models: vec![ModelSettings {
                    model: "tiny".to_owned(),
                    model_path: "/m.gguf".into(),
                    weights_sha256: Digest32([5; 32]),
                    input_price_per_mtok: Amount::from(10),
                    output_price_per_mtok: Amount::from(20),
                    context_tokens: 100,
                    max_output_tokens: 50,
                    load: None,
                    keep_alive_s: None,
                    projector: None,
                    draft: None,
                    embeddings: None,
                }],
                worker: WorkerSettings {
                    path: "/llama-server".into(),
                    args: Vec::new(),
                    slots: Some(2),
                    threads: None,
                    queue_max: None,
                    ..WorkerSettings::default()
                },
                tee: TeeSettings::Simulated { platform_seed: "seed".to_owned() },
                danger_accept_simulated_tee: true,
                policy: None,
            },
            collateral: CollateralSettings::default(),
            policy: Policy::default(),
        };
        let json = enclave_config_json(&config, PodId([6; 32]), Path::new("/s"), Path::new("/w"));
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let digest = |byte: &str| format!("0x{}", byte.repeat(32));
        assert_eq!(
            json,
            json!({
                "chain_id": 31_337,
                "registry": Address([1; 20]),
                "escrow": Address([2; 20]),
                "pod_id": digest("06"),
                "link_socket": "/s",
                "models": [{
                    "model": "tiny", "model_path": "/m.gguf", "weights_sha256": digest("05"),
                    "input_price_per_mtok": "10", "output_price_per_mtok": "20",
                    "context_tokens": 100, "max_output_tokens": 50
                }],
                "worker": { "path": "/llama-server", "args": [], "socket_dir": "/w", "slots": 2 },
                "tee": { "simulated": { "platform_seed": "seed" } },
                "danger_accept_simulated_tee": true
            })
        );
    }
}

//! Files and sockets of a pod, and what is written into them before it starts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use phallama_chain::ChainConfig;
use phallama_protocol::eip712;
use phallama_protocol::ids::PodId;

use crate::admin;
use crate::attestation::collateral_file;
use crate::config::{PodConfig, TeeSettings};
use crate::enclave::{ProcessSpec, enclave_config_json};
use crate::error::PodError;
use crate::private;

/// Longest path of a UNIX socket on Linux, bytes, without its terminating zero.
const SOCKET_PATH_MAX_BYTES: usize = 107;
/// What the enclave appends to its worker directory for a socket, bytes, generously.
const WORKER_SOCKET_ROOM: usize = 24;
/// The enclave lets its own exchanges finish for 30 s.
const ENCLAVE_STOP_WITHIN: Duration = Duration::from_secs(40);

/// Files and sockets of a pod.
pub(crate) struct Places {
    pub(crate) journal: PathBuf,
    pub(crate) books: PathBuf,
    pub(crate) outbox: PathBuf,
    pub(crate) enclave_config: PathBuf,
    pub(crate) enclave_log: PathBuf,
    pub(crate) link_socket: PathBuf,
    pub(crate) admin_socket: PathBuf,
    pub(crate) worker_sockets: PathBuf,
    pub(crate) collateral: PathBuf,
}

impl Places {
    pub(crate) fn create(config: &PodConfig) -> Result<Self, PodError> {
        let state_dir = config.state_dir.as_path();
        let file = |what, path: &Path| {
            let path = path.to_owned();
            move |source| PodError::File { what, path, source }
        };
        private::dir(state_dir).map_err(file("create", state_dir))?;
        let dir = state_dir.canonicalize().map_err(file("resolve", state_dir))?;
        let places = Self {
            journal: dir.join(journal_name(config)).with_extension("redb"),
            books: dir.join(journal_name(config)).with_extension("books.jsonl"),
            outbox: dir.join(outbox_name(config)),
            enclave_config: dir.join("enclave.json"),
            enclave_log: dir.join("enclave.log"),
            link_socket: dir.join("enclave.sock"),
            admin_socket: admin::socket(&dir),
            worker_sockets: dir.join("worker"),
            collateral: dir.join("collateral"),
        };
        let link = places.link_socket.as_os_str().len();
        let worker = places.worker_sockets.as_os_str().len().saturating_add(WORKER_SOCKET_ROOM);
        let got = link.max(worker);
        if got > SOCKET_PATH_MAX_BYTES {
            let problem = format!(
                "is too long: sockets in {} would have paths of {got} bytes, more than \
                 {SOCKET_PATH_MAX_BYTES}; choose a shorter directory",
                dir.display()
            );
            return Err(PodError::Config { field: "state_dir", problem });
        }
        let workers = &places.worker_sockets;
        private::dir(workers).map_err(file("create", workers))?;
        Ok(places)
    }
}

/// One journal per deployment and pod: claims of another one could never be settled here.
fn journal_name(config: &PodConfig) -> String {
    let pod = eip712::pod_id(config.operator.address(), &config.salt);
    format!("{}{}", journal_prefix(&config.chain), hex::encode(&pod.0[..8]))
}

/// One outbox per chain and account.
fn outbox_name(config: &PodConfig) -> String {
    let operator = hex::encode(config.operator.address().0);
    format!("outbox-{}-{operator}.json", config.chain.chain_id)
}

/// What the names of a deployment's journals begin with.
pub(crate) fn journal_prefix(chain: &ChainConfig) -> String {
    format!("journal-{}-{}-", chain.chain_id, hex::encode(chain.escrow.0))
}

pub(crate) fn write_enclave_config(
    config: &PodConfig,
    pod_id: PodId,
    places: &Places,
) -> Result<(), PodError> {
    let mut config = config.clone();
    let file = collateral_file(&config, &places.collateral);
    if let TeeSettings::Gramine { collateral_path, .. } = &mut config.enclave.tee {
        *collateral_path = file.or(collateral_path.take());
    }
    let json = enclave_config_json(&config, pod_id, &places.link_socket, &places.worker_sockets);
    let path = &places.enclave_config;
    let written = private::empty_file(path).and_then(|mut file| file.write_all(json.as_ref()));
    written.map_err(|source| PodError::File { what: "write", path: path.clone(), source })
}

pub(crate) fn process_spec(config: &PodConfig, pod_id: PodId, places: &Places) -> ProcessSpec {
    let mut args = config.enclave.program_args.clone();
    args.extend(["--config".to_owned(), places.enclave_config.display().to_string()]);
    ProcessSpec {
        program: config.enclave.program.clone(),
        args,
        socket: places.link_socket.clone(),
        log: places.enclave_log.clone(),
        ready_within: Duration::from_secs(config.policy.ready_timeout_s),
        stop_within: ENCLAVE_STOP_WITHIN,
        chain_id: config.chain.chain_id,
        registry: config.chain.registry,
        escrow: config.chain.escrow,
        pod_id,
    }
}

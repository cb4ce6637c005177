//! The private path: a chain, a pod with its enclave program, and a paying client.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Instant;

use phallama_attest::TrustRoot;
use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::{Chain, ChainConfig, deploy};
use phallama_client::{
    AnswerEvent, ApprovedMeasurement, AskOptions, Client, ClientConfig, Method, TrustPolicy,
};
use phallama_devchain::{ChainOptions, DevChain, dev_account, serve};
use phallama_host::config::{
    CollateralSettings, EnclaveSettings, ModelSettings, Policy, TeeSettings, WorkerSettings,
};
use phallama_host::{Pod, PodConfig};
use phallama_protocol::eip712::OpenAccount;
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::measured::Side;
use crate::prompts::Question;
use crate::setting::{CONTEXT_TOKENS, Failure, MODEL_NAME, SLOTS, Setting};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const DEPOSIT: u64 = 50_000_000;

/// Everything that runs on the private side.
pub(crate) struct Private {
    client: Client,
    pod: Pod,
    _folder: TempDir,
}

/// A key that anybody can derive.
fn signer(index: u32) -> Signer {
    Signer::from_bytes(&dev_account(index).1).expect("a development account is a valid scalar")
}

impl Private {
    pub(crate) async fn start(setting: &Setting) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("phallama-path-").tempdir()?;
        let chain = chain().await?;
        let pod_config = pod_config(setting, chain.config().clone(), folder.path())?;
        let pod = Pod::start(pod_config, |_| {}).await?;
        let client = client(&chain, &pod, folder.path()).await?;
        Ok(Self { client, pod, _folder: folder })
    }

    /// One answer, read to its accepted receipt and to the end of its padding.
    pub(crate) async fn ask(&self, question: &Question) -> Result<Side, Failure> {
        let options = AskOptions { class: Some(question.class), ..AskOptions::default() };
        let mut side = Side::default();
        let began = Instant::now();
        let asked = self.client.ask(Method::Chat, MODEL_NAME, question.body(), options).await;
        let mut answer = asked?;
        while let Some(event) = answer.next().await {
            match event? {
                AnswerEvent::Content(text) => side.read(&text, began.elapsed()),
                AnswerEvent::Finished(finished) => {
                    side.total = began.elapsed();
                    side.prompt_ms = f64::from(finished.prompt_ms);
                    side.tokens = finished.usage.completion_tokens;
                    side.prompt_tokens = finished.usage.prompt_tokens;
                    side.cached_tokens = finished.usage.cached_tokens;
                    side.up = finished.wire_bytes_up;
                    break;
                }
                _ => {}
            }
        }
        side.down = answer.drained().await?;
        Ok(side)
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        self.pod.shutdown().await?;
        Ok(())
    }
}

/// The embedded chain with a deployment, and tokens for the owner.
async fn chain() -> Result<Chain, Failure> {
    let listener = TcpListener::bind(LOOPBACK).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve(DevChain::new(ChainOptions::default()), listener));
    let deployer = signer(0);
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let deployment = deploy(&url, &deployer, root.root_der()).await?;
    let chain = Chain::connect(deployment.config(&url)).await?;
    let minted = Amount::from(2 * DEPOSIT);
    chain.sender(&deployer).mint_test_token(signer(2).address(), minted).await?;
    Ok(chain)
}

async fn client(chain: &Chain, pod: &Pod, folder: &Path) -> Result<Client, Failure> {
    let (user, owner) = (signer(1_000), chain.sender(&signer(2)));
    let opening = OpenAccount { user: user.address(), owner: owner.address() };
    let signature = user.sign(&opening.digest(&chain.domain()));
    let amount = Amount::from(DEPOSIT);
    owner.open_and_deposit(user.address(), owner.address(), &signature, amount).await?;

    let record = chain.pod(pod.pod_id()).await?.ok_or("the pod is not registered")?;
    let approved = ApprovedMeasurement {
        measurement: record.key.ok_or("the pod's key is not attested")?.measurement.0,
        label: "this build".to_owned(),
        policy: None,
    };
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let trust = TrustPolicy {
        root: TrustRoot::Development(root.root_der().to_vec()),
        accepted_tcb: Vec::new(),
        measurements: vec![approved],
    };
    let config = ClientConfig::new(chain.config().clone(), trust, folder.join("client"));
    Ok(Client::open(config, user).await?)
}

fn pod_config(setting: &Setting, chain: ChainConfig, folder: &Path) -> Result<PodConfig, Failure> {
    let operator = signer(1);
    let model = ModelSettings {
        model: MODEL_NAME.to_owned(),
        model_path: setting.model.clone(),
        weights_sha256: setting.weights_sha256,
        input_price_per_mtok: Amount::from(100_000),
        output_price_per_mtok: Amount::from(400_000),
        context_tokens: CONTEXT_TOKENS,
        max_output_tokens: CONTEXT_TOKENS / 2,
        load: None,
        keep_alive_s: None,
        projector: None,
        draft: None,
        embeddings: None,
    };
    let worker = WorkerSettings {
        path: setting.llama_server.clone(),
        args: Vec::new(),
        slots: Some(SLOTS),
        threads: setting.threads,
        queue_max: None,
        ..WorkerSettings::default()
    };
    Ok(PodConfig {
        listen: LOOPBACK,
        public_url: None,
        chain,
        payout: operator.address(),
        operator,
        salt: [1; 32],
        state_dir: folder.join("pod"),
        enclave: EnclaveSettings {
            program: enclave_program()?,
            program_args: Vec::new(),
            models: vec![model],
            worker,
            tee: TeeSettings::Simulated { platform_seed: "path bench".to_owned() },
            danger_accept_simulated_tee: true,
            // `unpaced` shows the timing of tokens, so a pod serves it only when told to.
            policy: Some(serde_json::json!({ "classes": ["std", "unpaced"] })),
        },
        collateral: CollateralSettings::default(),
        policy: Policy::default(),
    })
}

/// `target/PROFILE/phallama-enclave`; benches run in `target/PROFILE/deps`.
fn enclave_program() -> Result<PathBuf, Failure> {
    let this = std::env::current_exe()?;
    let profile = this.parent().and_then(Path::parent).ok_or("no target folder")?;
    let program = profile.join("phallama-enclave");
    if !program.exists() {
        let hint = "run `cargo build -p phallama-enclave --bins` first";
        return Err(format!("{} does not exist; {hint}", program.display()).into());
    }
    Ok(program)
}

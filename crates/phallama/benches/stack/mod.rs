//! A chain, a pod and paying users, as the benches of whole exchanges need them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use phallama_attest::TrustRoot;
use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::{Chain, ChainConfig, Sender, deploy};
use phallama_client::{ApprovedMeasurement, Client, ClientConfig, TrustPolicy};
use phallama_devchain::{ChainOptions, DevChain, dev_account, serve};
use phallama_protocol::eip712::OpenAccount;
use phallama_protocol::ids::{Amount, Digest32};
use phallama_protocol::keys::Signer;
use tokio::net::TcpListener;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A port that the system chooses.
pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Development accounts: of the deployer, the pod's operator, and who pays for everybody.
const DEPLOYER: u32 = 0;
pub(crate) const OPERATOR: u32 = 1;
const OWNER: u32 = 2;
/// The first of the users' accounts.
const USERS: u32 = 1_000;
/// What every user deposits, in the smallest token unit.
const DEPOSIT: u64 = 50_000_000;
/// Users that there is money for.
const USERS_MAX: u64 = 2_000;

/// A key that anybody can derive.
pub(crate) fn signer(index: u32) -> Signer {
    Signer::from_bytes(&dev_account(index).1).expect("a development account is a valid scalar")
}

/// The key of a user.
pub(crate) fn user(index: u32) -> Signer {
    signer(USERS + index)
}

/// An embedded chain for as long as the runtime lives; its URL.
pub(crate) async fn serve_chain() -> Result<String, Failure> {
    let listener = TcpListener::bind(LOOPBACK).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(serve(DevChain::new(ChainOptions::default()), listener));
    Ok(url)
}

/// A deployment on the chain, and tokens for the owner.
pub(crate) async fn deploy_on(url: &str) -> Result<Chain, Failure> {
    let deployer = signer(DEPLOYER);
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let deployment = deploy(url, &deployer, root.root_der()).await?;
    let chain = Chain::connect(deployment.config(url)).await?;
    let minted = Amount::from(USERS_MAX * DEPOSIT);
    chain.sender(&deployer).mint_test_token(signer(OWNER).address(), minted).await?;
    Ok(chain)
}

/// Opens the escrow accounts of the first `count` users.
pub(crate) async fn open_accounts(chain: &Chain, count: u32) -> Result<(), Failure> {
    let owner = chain.sender(&signer(OWNER));
    for index in 0..count {
        open_account(chain, &owner, &user(index)).await?;
    }
    Ok(())
}

async fn open_account(chain: &Chain, owner: &Sender, user: &Signer) -> Result<(), Failure> {
    let opening = OpenAccount { user: user.address(), owner: owner.address() };
    let signature = user.sign(&opening.digest(&chain.domain()));
    let amount = Amount::from(DEPOSIT);
    owner.open_and_deposit(user.address(), owner.address(), &signature, amount).await?;
    Ok(())
}

/// A client of a user, who approves of `measurement`.
pub(crate) async fn client(
    chain: ChainConfig,
    measurement: Digest32,
    user: Signer,
    folder: &Path,
) -> Result<Client, Failure> {
    let approved = ApprovedMeasurement {
        measurement: measurement.0,
        label: "this build".to_owned(),
        policy: None,
    };
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let trust = TrustPolicy {
        root: TrustRoot::Development(root.root_der().to_vec()),
        accepted_tcb: Vec::new(),
        measurements: vec![approved],
    };
    let config = ClientConfig::new(chain, trust, folder.to_path_buf());
    Ok(Client::open(config, user).await?)
}

/// `target/PROFILE/NAME`; benches run in `target/PROFILE/deps`.
pub(crate) fn program(name: &str) -> Result<PathBuf, Failure> {
    let this = std::env::current_exe()?;
    let profile = this.parent().and_then(Path::parent).ok_or("no target folder")?;
    let program = profile.join(name);
    if !program.exists() {
        return Err(format!(
            "{} does not exist; run `cargo build --bins` first",
            program.display()
        )
        .into());
    }
    Ok(program)
}

/// A path from the environment, else from the set-up script, which prints where its part is.
pub(crate) fn given_or_set_up(variable: &str, part: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/setup.sh");
    let output = Command::new(script).arg(part).stderr(std::process::Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("tools/setup.sh {part} failed; or set {variable}").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

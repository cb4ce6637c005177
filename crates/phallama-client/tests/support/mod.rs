//! A development chain with the real contracts, and pods that follow a script.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its own part")]

pub mod fixture;
pub mod platform;
pub mod pod;

use std::time::{SystemTime, UNIX_EPOCH};

use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_chain::{Chain, ChainConfig, Registration, Sender};
use phallama_client::{ApprovedMeasurement, Client, ClientConfig, TrustPolicy};
use phallama_devchain::{ChainOptions, DevChain, dev_account};
use phallama_protocol::eip712::{OpenAccount, pod_id};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::Amount;
use phallama_protocol::keys::Signer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::fixture::{Fixture, MEASUREMENT};
use self::pod::ScriptedPod;

/// A chain, an operator and a user with a deposit.
pub struct World {
    pub chain: Chain,
    pub operator: Sender,
    pub user: Signer,
    state: tempfile::TempDir,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl World {
    /// Deploys the contracts and deposits `deposit` units for the user.
    pub async fn new(deposit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(phallama_devchain::serve(
            DevChain::new(ChainOptions::default()),
            listener,
        ));
        let operator = Signer::from_bytes(&dev_account(0).1).unwrap();
        let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
        let deployed = phallama_chain::deploy(&url, &operator, root.root_der()).await.unwrap();
        let chain = Chain::connect(deployed.config(&url)).await.unwrap();
        let operator = chain.sender(&operator);
        let user = Signer::from_bytes(&[0x05; 32]).unwrap();
        let world = Self { chain, operator, user, state: tempfile::tempdir().unwrap(), server };
        world.deposit(deposit).await;
        world
    }

    async fn deposit(&self, units: u64) {
        let (owner, amount) = (self.operator.address(), Amount::from(units));
        let open = OpenAccount { user: self.user.address(), owner };
        let signature = self.user.sign(&open.digest(&self.chain.domain()));
        self.operator.mint_test_token(owner, amount).await.unwrap();
        let user = self.user.address();
        self.operator.open_and_deposit(user, owner, &signature, amount).await.unwrap();
    }

    /// Starts and registers a pod.
    pub async fn pod(&self, salt: u8) -> ScriptedPod {
        self.pod_with(salt, |_| {}).await
    }

    /// The same after `change`, which comes before attestation.
    pub async fn pod_with(&self, salt: u8, change: impl FnOnce(&mut Fixture)) -> ScriptedPod {
        let pod = self.listed(salt, change).await;
        self.attest(&pod.fixture()).await;
        pod
    }

    /// A pod that is registered and has no key yet.
    pub async fn listed(&self, salt: u8, change: impl FnOnce(&mut Fixture)) -> ScriptedPod {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let id = pod_id(self.operator.address(), &[salt; 32]);
        let mut fixture = Fixture::new(self.chain.config(), id, &url, now_unix_s());
        change(&mut fixture);
        let registration = Registration {
            salt: [salt; 32],
            url,
            payout: self.operator.address(),
            offers: fixture.record.offers.clone(),
        };
        self.operator.register_pod(&registration).await.unwrap();
        ScriptedPod::serve(fixture, listener)
    }

    /// Has the registry verify the quote that the pod's platform makes now.
    pub async fn attest(&self, pod: &Fixture) {
        platform::bring(&self.chain, &self.operator, pod).await;
        platform::attest(&self.operator, pod).await;
    }

    pub fn config(&self) -> ClientConfig {
        let chain: ChainConfig = self.chain.config().clone();
        let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
        let label = "release 1".to_owned();
        let approved = vec![ApprovedMeasurement { measurement: MEASUREMENT, label, policy: None }];
        let trust = TrustPolicy::danger_simulated(root.root_der().to_vec(), approved);
        let mut config = ClientConfig::new(chain, trust, self.state.path().to_owned());
        config.class = FrameClass::Unpaced;
        config.payment.lock_chunk = Amount::ZERO;
        config
    }

    pub async fn client(&self) -> Client {
        self.client_with(|_| {}).await
    }

    pub async fn client_with(&self, change: impl FnOnce(&mut ClientConfig)) -> Client {
        let mut config = self.config();
        change(&mut config);
        Client::open(config, self.user.clone()).await.unwrap()
    }
}

pub fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A chat request for at most `max_tokens`.
pub fn chat(max_tokens: u32) -> Value {
    json!({"messages": [{"role": "user", "content": "hello"}], "max_tokens": max_tokens})
}

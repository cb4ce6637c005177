//! What every command needs: the home, its configuration, the chain, the user key, the client.

use std::path::{Path, PathBuf};
use std::sync::Once;

use phallama_attest::simulated::{DEVELOPMENT_SEED, DevelopmentRoot};
use phallama_attest::{AcceptedTcb, TrustRoot};
use phallama_chain::{Chain, ChainConfig, TeeKind};
use phallama_client::{
    ApprovedMeasurement, Client, ClientConfig, ClientError, Keystore, Observer, PodPolicy,
    SpendLimits, TrustPolicy, UserKey,
};
use phallama_protocol::frames::FrameClass;
use phallama_protocol::ids::{Amount, PodId};
use phallama_protocol::keys::Signer;
use zeroize::Zeroizing;

use crate::cli::{Global, PodOptions};
use crate::error::CliError;
use crate::home::{self, AcceptedStatus, Config, Home, LimitsConfig, NO_LIMIT, PodsConfig};
use crate::settings::Settings;
use crate::{print, units};

/// File of the user key inside the home.
pub const USER_KEYSTORE: &str = "user.json";
/// Folder of the named wallets' keystores inside the home.
pub const WALLETS: &str = "wallets";
/// Of the escrow's token, while no chain says how many: enough for any.
pub const DECIMALS_MAX: u8 = 18;
/// Once a command, however often it connects.
static SIMULATED_SAID: Once = Once::new();
/// Longest name of a wallet, in bytes.
const WALLET_NAME_MAX: usize = 32;

/// A command's surroundings.
#[derive(Clone)]
pub struct Context {
    /// Options of every command.
    pub global: Global,
    /// The folder.
    pub home: Home,
    /// The configuration in force.
    pub config: Config,
}

impl Context {
    /// Finds the home and settles its configuration.
    pub fn load(global: Global) -> Result<Self, CliError> {
        let home = Home::locate(&global)?;
        let config = Settings::read(&home, std::env::vars(), &global)?.config;
        Ok(Self { global, home, config })
    }

    /// Changes `config.toml`, and the configuration in force with it. What comes from flags and the
    /// environment does not get into the file.
    pub fn change(&mut self, change: impl Fn(&mut Config)) -> Result<(), CliError> {
        let mut kept = self.home.config()?;
        change(&mut kept);
        self.home.write_config(&kept)?;
        change(&mut self.config);
        Ok(())
    }

    /// The same with options that go before `[pods]`.
    #[must_use]
    pub fn wanting(&self, options: &PodOptions) -> Self {
        let mut wanting = self.clone();
        let pods = &mut wanting.config.pods;
        for (configured, asked) in [(&mut pods.only, &options.only), (&mut pods.tee, &options.tee)]
        {
            if !asked.is_empty() {
                configured.clone_from(asked);
            }
        }
        if let Some(price) = &options.max_price {
            pods.max_input_price.clone_from(price);
            pods.max_output_price.clone_from(price);
        }
        wanting
    }

    /// The configured chain.
    pub fn chain_config(&self) -> Result<ChainConfig, CliError> {
        let path = self.home.path("config.toml");
        self.config.chain.clone().ok_or(CliError::NoChain { path })
    }

    /// Connects to the configured chain.
    pub async fn chain(&self) -> Result<Chain, CliError> {
        Ok(Chain::connect(self.chain_config()?).await?)
    }

    /// Where the keystore of the chosen wallet is, or would be.
    pub fn keystore_path(&self) -> Result<PathBuf, CliError> {
        let Some(name) = &self.global.wallet else { return Ok(self.home.path(USER_KEYSTORE)) };
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > WALLET_NAME_MAX || !name.chars().all(plain) {
            return Err(CliError::BadValue {
                what: "wallet name",
                got: name.clone(),
                expected: format!("1 to {WALLET_NAME_MAX} letters, digits, `-` and `_`"),
            });
        }
        Ok(self.home.path(WALLETS).join(format!("{name}.json")))
    }

    /// The keystore of the user key.
    pub fn keystore(&self) -> Result<Keystore, CliError> {
        let path = self.keystore_path()?;
        if !path.exists() {
            return Err(CliError::NoWallet { path });
        }
        Ok(Keystore::open(&path).map_err(ClientError::from)?)
    }

    /// Decrypts the user key.
    pub fn user(&self) -> Result<Signer, CliError> {
        let keystore = self.keystore()?;
        let password = self.password("password of the user key: ")?;
        Ok(keystore.unlock(&password).map_err(ClientError::from)?)
    }

    /// The password, from the file or typed.
    pub fn password(&self, prompt: &str) -> Result<Zeroizing<String>, CliError> {
        Self::password_from(self.global.password_file.as_deref(), prompt)
    }

    /// The same for a file that is named elsewhere.
    pub fn password_from(path: Option<&Path>, prompt: &str) -> Result<Zeroizing<String>, CliError> {
        let Some(path) = path else {
            let typed = rpassword::prompt_password(prompt);
            return typed
                .map(Zeroizing::new)
                .map_err(|source| CliError::Input { what: "password", source });
        };
        let text = read(path)?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// The client library for the user key, with the configured trust and limits.
    pub async fn client(&self) -> Result<Client, CliError> {
        let user = self.user()?;
        self.client_for(user).await
    }

    /// The same, with somebody who is told about requests that have ended.
    pub async fn observed_client(&self, observer: Option<Observer>) -> Result<Client, CliError> {
        let user = UserKey::Unlocked(self.user()?);
        self.client_told(self.chain().await?, user, observer).await
    }

    /// The same for a key that is unlocked already.
    pub async fn client_for(&self, user: Signer) -> Result<Client, CliError> {
        self.client_on(self.chain().await?, UserKey::Unlocked(user)).await
    }

    /// The client library without a key: it can list and verify.
    pub async fn reader(&self) -> Result<Client, CliError> {
        self.client_on(self.chain().await?, UserKey::None).await
    }

    /// The client library for the user key while that stays locked: it can read what is the user's.
    pub async fn accountant(&self) -> Result<Client, CliError> {
        let user = UserKey::Locked(self.keystore()?.address());
        self.client_on(self.chain().await?, user).await
    }

    /// The client library on a connection.
    pub async fn client_on(&self, chain: Chain, user: UserKey) -> Result<Client, CliError> {
        self.client_told(chain, user, None).await
    }

    async fn client_told(
        &self,
        chain: Chain,
        user: UserKey,
        observer: Option<Observer>,
    ) -> Result<Client, CliError> {
        let decimals = chain.token_meta().await?.decimals;
        let state = self.home.path("state");
        let mut config = ClientConfig::new(chain.config().clone(), self.trust_policy()?, state);
        config.class = class(&self.config.serve.class)?;
        config.observer = observer;
        let wanted = whole_ids(&self.config.pods, &chain).await?;
        config.pods = pods(&wanted, decimals)?;
        config.limits = limits(&self.config.limits, decimals)?;
        let unrecorded = &self.config.limits.unrecorded;
        config.payment.unrecorded_max = units::parse(unrecorded, decimals)?;
        Ok(Client::on(chain, config, user)?)
    }

    /// What to accept from pods. `danger_accept_simulated_tee` is said out loud.
    pub fn trust_policy(&self) -> Result<TrustPolicy, CliError> {
        let trust = &self.config.trust;
        let root = if trust.danger_accept_simulated_tee {
            SIMULATED_SAID.call_once(|| {
                print::warning(
                    "pods with a SIMULATED TEE are accepted: their operators can read every prompt",
                );
            });
            let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
            TrustRoot::Development(root.root_der().to_vec())
        } else {
            TrustRoot::Intel
        };
        Ok(TrustPolicy {
            root,
            accepted_tcb: accepted_tcb(&trust.tcb)?,
            measurements: self.measurements()?,
        })
    }

    fn measurements(&self) -> Result<Vec<ApprovedMeasurement>, CliError> {
        self.config.trust.measurements.iter().map(approved).collect()
    }
}

/// The configured limits as the client library takes them.
pub fn limits(limits: &LimitsConfig, decimals: u8) -> Result<SpendLimits, CliError> {
    Ok(SpendLimits {
        per_request: amount_or_none("limits.per_request", &limits.per_request, decimals)?,
        per_day: amount_or_none("limits.per_day", &limits.per_day, decimals)?,
        per_pod: amount_or_none("limits.per_pod", &limits.per_pod, decimals)?,
    })
}

/// An amount of the configuration, in whole tokens, or [`NO_LIMIT`].
fn amount_or_none(key: &'static str, text: &str, decimals: u8) -> Result<Option<Amount>, CliError> {
    if text == NO_LIMIT {
        return Ok(None);
    }
    units::parse(text, decimals).map(Some).map_err(|_| CliError::BadValue {
        what: key,
        got: text.to_owned(),
        expected: format!(
            "whole tokens with at most {decimals} decimals, like `5` or `0.25`, or `{NO_LIMIT}`"
        ),
    })
}

/// Whether every value means something, as far as no chain has to be asked.
///
/// # Errors
/// [`CliError::BadValue`], naming the key.
pub fn meaningful(config: &Config) -> Result<(), CliError> {
    limits(&config.limits, DECIMALS_MAX)?;
    // Beginnings of pods' ids are looked up on the chain.
    pods(&PodsConfig { only: Vec::new(), ..config.pods.clone() }, DECIMALS_MAX)?;
    class(&config.serve.class)?;
    accepted_tcb(&config.trust.tcb)?;
    config.trust.measurements.iter().try_for_each(|entry| approved(entry).map(drop))?;
    listening(&config.serve.listen).map(drop)
}

/// An address to listen on.
///
/// # Errors
/// [`CliError::BadValue`].
pub fn listening(text: &str) -> Result<std::net::SocketAddr, CliError> {
    text.parse().map_err(|_| CliError::BadValue {
        what: "serve.listen",
        got: text.to_owned(),
        expected: "an address with a port, e.g. 127.0.0.1:11434".to_owned(),
    })
}

/// The same wishes with whole pod ids in place of unique beginnings.
async fn whole_ids(wanted: &PodsConfig, chain: &Chain) -> Result<PodsConfig, CliError> {
    let is_whole = |id: &String| id.parse::<PodId>().is_ok();
    if wanted.only.iter().all(is_whole) {
        return Ok(wanted.clone());
    }
    let ids: Vec<String> = chain.pods().await?.iter().map(|pod| pod.pod_id.to_string()).collect();
    let mut only = Vec::new();
    for asked in &wanted.only {
        let mut beginning_so = ids.iter().filter(|id| id.starts_with(asked.as_str()));
        match (beginning_so.next(), beginning_so.next()) {
            (Some(id), None) => only.push(id.clone()),
            _ => {
                return Err(CliError::BadValue {
                    what: "pod",
                    got: asked.clone(),
                    expected: "the beginning of exactly one registered pod's id".to_owned(),
                });
            }
        }
    }
    Ok(PodsConfig { only, ..wanted.clone() })
}

/// The configured wishes as the client library takes them.
pub fn pods(pods: &PodsConfig, decimals: u8) -> Result<PodPolicy, CliError> {
    let (input, output) = (&pods.max_input_price, &pods.max_output_price);
    Ok(PodPolicy {
        tees: each(&pods.tee, "kind of TEE", "sgx or tdx", |name| {
            match name.to_ascii_lowercase().as_str() {
                "sgx" => Some(TeeKind::Sgx),
                "tdx" => Some(TeeKind::Tdx),
                _ => None,
            }
        })?,
        operators: each(&pods.operators, "operator", "0x and 40 hex digits", |one| {
            one.parse().ok()
        })?,
        pods: each(&pods.only, "pod", "0x and 64 hex digits", |one| one.parse().ok())?,
        input_price_max: amount_or_none("pods.max_input_price", input, decimals)?,
        output_price_max: amount_or_none("pods.max_output_price", output, decimals)?,
        share_percent: share_percent(pods.share_factor)?,
    })
}

fn each<T>(
    texts: &[String],
    what: &'static str,
    expected: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, CliError> {
    let bad =
        |got: &String| CliError::BadValue { what, got: got.clone(), expected: expected.to_owned() };
    texts.iter().map(|text| read(text).ok_or_else(|| bad(text))).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 100 and 100,000,000 when it is cast"
)]
fn share_percent(factor: f64) -> Result<u32, CliError> {
    if (1.0..=1e6).contains(&factor) {
        return Ok((factor * 100.0).round() as u32);
    }
    let expected = "a number from 1 to 1000000".to_owned();
    Err(CliError::BadValue { what: "pods.share_factor", got: factor.to_string(), expected })
}

/// An entry of the configuration as the client library takes it.
pub fn approved(entry: &home::ApprovedMeasurement) -> Result<ApprovedMeasurement, CliError> {
    let bad = |what, got: &str| CliError::BadValue {
        what,
        got: got.to_owned(),
        expected: "64 hex digits".to_owned(),
    };
    let program = ApprovedMeasurement::from_hex(&entry.label, &entry.measurement)
        .map_err(|_| bad("measurement", &entry.measurement))?;
    match &entry.policy {
        None => Ok(program),
        Some(policy) => program.with_policy_hex(policy).map_err(|_| bad("policy digest", policy)),
    }
}

fn accepted_tcb(accepted: &[AcceptedStatus]) -> Result<Vec<AcceptedTcb>, CliError> {
    let read = |entry: &AcceptedStatus| {
        let status = entry.status.parse().map_err(|_| CliError::BadValue {
            what: "TCB status",
            got: entry.status.clone(),
            expected: "one of Intel's names, e.g. SWHardeningNeeded".to_owned(),
        })?;
        Ok(AcceptedTcb { status, advisory_ids: entry.advisories.clone() })
    };
    accepted.iter().map(read).collect()
}

/// A frame class by name.
pub fn class(name: &str) -> Result<FrameClass, CliError> {
    match name {
        "std" => Ok(FrameClass::Std),
        "fast" => Ok(FrameClass::Fast),
        "bulk" => Ok(FrameClass::Bulk),
        "unpaced" => Ok(FrameClass::Unpaced),
        other => Err(CliError::BadValue {
            what: "frame class",
            got: other.to_owned(),
            expected: "std, fast, bulk or unpaced".to_owned(),
        }),
    }
}

/// Reads a secret key from a file with 64 hex digits.
pub fn key_file(path: &Path) -> Result<Signer, CliError> {
    let bad = || CliError::BadKeyFile { path: path.to_owned() };
    let text = Zeroizing::new(read(path)?);
    let digits = text.trim();
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, secret.as_mut_slice()).map_err(|_| bad())?;
    Signer::from_bytes(&secret).map_err(|_| bad())
}

/// A key file's text.
pub fn key_text(signer: &Signer) -> Zeroizing<String> {
    Zeroizing::new(hex::encode(signer.to_bytes().as_slice()))
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })
}

/// An amount with the token's symbol.
pub fn money(amount: Amount, meta: &phallama_chain::TokenMeta) -> String {
    format!("{} {}", units::show(amount, meta.decimals), meta.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_about_pods_are_read_with_their_units() {
        let wanted = PodsConfig {
            tee: vec!["TDX".to_owned()],
            operators: vec![format!("0x{}", "0a".repeat(20))],
            only: vec![format!("0x{}", "0b".repeat(32))],
            max_input_price: "0.25".to_owned(),
            share_factor: 2.0,
            ..PodsConfig::default()
        };
        let expected = PodPolicy {
            tees: vec![TeeKind::Tdx],
            operators: vec![phallama_protocol::ids::Address([10; 20])],
            pods: vec![PodId([11; 32])],
            input_price_max: Some(250_000.into()),
            output_price_max: None,
            share_percent: 200,
        };
        assert_eq!(pods(&wanted, 6).unwrap(), expected);
        assert_eq!(pods(&PodsConfig::default(), 6).unwrap(), PodPolicy::default());
    }

    #[test]
    fn wishes_that_mean_nothing_are_named() {
        let check = |wanted: PodsConfig, expected: &str| {
            assert_eq!(pods(&wanted, 6).unwrap_err().to_string(), expected);
        };
        let tee = vec!["sev".to_owned()];
        check(
            PodsConfig { tee, ..PodsConfig::default() },
            "`sev` is not a valid kind of TEE; expected sgx or tdx",
        );
        let operators = vec!["0x12".to_owned()];
        check(
            PodsConfig { operators, ..PodsConfig::default() },
            "`0x12` is not a valid operator; expected 0x and 40 hex digits",
        );
        for factor in [0.5, f64::NAN, 1e9] {
            let wanted = PodsConfig { share_factor: factor, ..PodsConfig::default() };
            check(
                wanted,
                &format!(
                    "`{factor}` is not a valid pods.share_factor; expected a number from 1 to \
                     1000000"
                ),
            );
        }
    }
}

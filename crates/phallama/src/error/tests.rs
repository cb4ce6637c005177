use std::io::{Error, ErrorKind};

use phallama_client::{KeystoreError, SpendLimit};
use phallama_protocol::ids::Amount;

use super::*;

/// The variants, and the name of each: a new one does not compile until it is here, and the test
/// fails until it has an example.
macro_rules! variants {
    ($($variant:ident,)*) => {
        const VARIANTS: &[&str] = &[$(stringify!($variant),)*];

        fn variant(error: &CliError) -> &'static str {
            match error {
                $(CliError::$variant { .. } => stringify!($variant),)*
            }
        }
    };
}

variants! {
    Client, Priced, Pod, Request, NoPrompt, Stopped, TimedOut, Admin, Interrupted, Chain, Model,
    Amount, File, AuditFile, Signed, NotConfirmed, NothingFree, NotFree, NoExit, ExitRunning,
    SavedSession,
    ReceiptFile, Receipt, Config, Variable, Editor, Unwell, AppConfig, NoPassword, NoCommand,
    NoHome, NoChain, NoWallet, WalletExists, BadKeyFile, NoKeyFile, BadValue, NotLoopback, NoToken,
    SocketTaken, Bind,
    Server, SimulatedNotAccepted, DemoRequest, Input,
}

fn denied() -> Error {
    ErrorKind::PermissionDenied.into()
}

fn path() -> PathBuf {
    PathBuf::from("/home/me/file")
}

fn client() -> Vec<CliError> {
    let token = TokenMeta { symbol: "USDC".to_owned(), decimals: 6 };
    let amount = |units: u64| Amount::from(units);
    let too_much = ClientError::LimitExceeded {
        limit: SpendLimit::PerDay,
        allowed: amount(10_000_000),
        needs: amount(40_960),
        spent: amount(9_980_000),
    };
    let unknown = ClientError::ModelUnknown {
        asked: "lama3".to_owned(),
        available: vec!["llama3:8b".to_owned(), "smollm2:135m".to_owned()],
    };
    vec![
        ClientError::KeystoreLocked.into(),
        ClientError::from(KeystoreError::WrongPassword { path: path() }).into(),
        unknown.into(),
        CliError::Priced { error: Box::new(too_much), token },
    ]
}

fn chain() -> Vec<CliError> {
    let unavailable = ChainError::Unavailable {
        url: "http://127.0.0.1:8545".to_owned(),
        what: "eth_call",
        reason: "connection refused".to_owned(),
    };
    let reverted = |what, reason: &str| ChainError::Reverted { what, reason: reason.to_owned() };
    vec![
        unavailable.into(),
        reverted("deploy AttestationVerifier", "NoP256Precompile").into(),
        reverted("collect", "UnknownPod").into(),
    ]
}

fn files() -> Vec<CliError> {
    let path = path();
    let source = toml::from_str::<toml::Table>("a = [").unwrap_err();
    let too_large = DossierError::TooLarge { got: 5, max: 4 };
    vec![
        CliError::File { path: path.clone(), source: denied() },
        CliError::AuditFile { path: path.clone(), source: too_large },
        CliError::Signed { source: RelayError::Version(9) },
        CliError::ReceiptFile { path: path.clone(), reason: "missing field".to_owned() },
        CliError::SavedSession { path: path.clone(), reason: "missing field".to_owned() },
        CliError::Config { path: path.clone(), source: Box::new(source) },
        CliError::AppConfig { path: path.clone(), reason: "it is no UTF-8 text".to_owned() },
        CliError::NoChain { path: path.clone() },
        CliError::NoWallet { path: path.clone() },
        CliError::WalletExists { path: path.clone() },
        CliError::BadKeyFile { path: path.clone() },
        PodError::NoJournal { dir: path.clone() }.into(),
        AdminError::NotRunning { socket: path.clone() }.into(),
        ModelError::Unknown { name: "m".to_owned(), known: vec!["n".to_owned()] }.into(),
    ]
}

fn money() -> Vec<CliError> {
    let pod = PodId([0x7c; 32]);
    let until = "2026-11-30T12:00:00Z".to_owned();
    vec![
        AmountError::NotANumber("five".to_owned()).into(),
        CliError::NotConfirmed { says: "deposit 5.00 USDC".to_owned() },
        CliError::NothingFree,
        CliError::NotFree { asked: "99.00 USDC".to_owned(), free: "4.00 USDC".to_owned() },
        CliError::NoExit { pod },
        CliError::ExitRunning { pod, until, left_s: 90_000 },
        CliError::Receipt { request: RequestId([0x11; 16]), source: ReceiptFault::NotHex },
    ]
}

fn usage() -> Vec<CliError> {
    let listen = SocketAddr::from(([0, 0, 0, 0], 11434));
    let bad = CliError::BadValue {
        what: "frame class",
        got: "quick".to_owned(),
        expected: "std, fast, bulk or unpaced".to_owned(),
    };
    let reason = || "status 500".to_owned();
    vec![
        CliError::Request { reason: "`think` must be true or false.".to_owned() },
        CliError::NoPrompt,
        CliError::Stopped(Stop::Interrupt),
        CliError::Stopped(Stop::Terminate),
        CliError::Interrupted(Stop::Interrupt),
        CliError::TimedOut { seconds: 30 },
        CliError::Variable { variable: "PHALLAMA_LIMITS__X".to_owned(), reason: reason() },
        CliError::Editor { editor: "vi".to_owned(), reason: reason() },
        CliError::Unwell { failed: 1, warned: 2, exit_code: 6 },
        CliError::Unwell { failed: 0, warned: 2, exit_code: 8 },
        CliError::NoPassword,
        CliError::NoCommand,
        CliError::NoHome,
        CliError::NoKeyFile { who: "owner", option: "--owner-key-file" },
        bad,
        CliError::NotLoopback { listen },
        CliError::NoToken { listen },
        CliError::SocketTaken { path: path(), source: ErrorKind::AddrInUse.into() },
        CliError::Bind { listen, source: ErrorKind::AddrInUse.into() },
        CliError::Server(denied()),
        CliError::SimulatedNotAccepted,
        CliError::DemoRequest { url: "http://127.0.0.1:1/v1".to_owned(), reason: reason() },
        CliError::Input { what: "password", source: denied() },
    ]
}

#[test]
fn every_failure_says_what_why_and_what_to_do() {
    let examples = [client(), chain(), files(), money(), usage()];
    let mut examples: Vec<CliError> = examples.into_iter().flatten().collect();
    examples.sort_by_key(|error| VARIANTS.iter().position(|name| *name == variant(error)));
    let mut text = String::new();
    for error in &examples {
        let (exit, code) = (error.exit_code(), error.code());
        let head = format!("== {} (exit {exit}, {code})\nerror: ", variant(error));
        text.extend([head.as_str(), &crate::print::told(error), "\n\n"]);
    }
    let missing: Vec<&&str> =
        VARIANTS.iter().filter(|name| !examples.iter().any(|it| variant(it) == **name)).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
    insta::assert_snapshot!(text.trim_end());
}

//! What is on this machine: folder, configuration, keys, the local server.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::Row;
use crate::cli::Global;
use crate::command::local::{self, Found};
use crate::context::{Context, USER_KEYSTORE, WALLETS};
use crate::error::CliError;
use crate::home::Home;
use crate::tokens::Tokens;

/// Bits that let others than the owner in.
const OTHERS: u32 = 0o077;

/// The folder and what is secret in it.
pub(super) fn home(home: &Home) -> Vec<Row> {
    let dir = home.dir();
    if !dir.exists() {
        let detail = format!("{} does not exist yet", dir.display());
        return vec![Row::warn("home", detail, "run `phallama init`")];
    }
    let mut open: Vec<_> = [dir.to_owned(), home.path("config.toml"), home.path(USER_KEYSTORE)]
        .into_iter()
        .filter(|path| open_to_others(path))
        .collect();
    if let Ok(wallets) = std::fs::read_dir(home.path(WALLETS)) {
        let wallets = wallets.flatten().map(|entry| entry.path());
        open.extend(wallets.filter(|path| open_to_others(path)));
    }
    if open.is_empty() {
        return vec![Row::ok("home", format!("{}, yours alone", dir.display()))];
    }
    let row = |path: &std::path::PathBuf| {
        let fix = format!("run `chmod go= {}`", path.display());
        Row::warn("home", format!("others may read {}", path.display()), fix)
    };
    open.iter().map(row).collect()
}

fn open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & OTHERS != 0)
}

/// The configuration, if it can be understood.
pub(super) fn context(global: Global) -> Result<Context, Row> {
    Context::load(global).map_err(|error| Row::fail("config", &error))
}

/// What would be accepted from pods.
pub(super) fn trust(context: &Context) -> Vec<Row> {
    let trust = &context.config.trust;
    let approved = match trust.measurements.len() {
        0 => Row::warn(
            "trust",
            "no enclave program is approved: every pod will be refused",
            "run `phallama trust approve MEASUREMENT`",
        ),
        count => Row::ok("trust", format!("approved enclave programs: {count}")),
    };
    let simulated = trust.danger_accept_simulated_tee.then(|| {
        Row::warn(
            "simulated-tee",
            "pods with a simulated TEE are accepted: their operators can read every prompt",
            "outside of development, drop `--danger-accept-simulated-tee`, its variable, and \
             `danger_accept_simulated_tee` in config.toml",
        )
    });
    std::iter::once(approved).chain(simulated).collect()
}

/// The keystore; it stays locked.
pub(super) fn wallet(context: &Context) -> Row {
    match context.keystore() {
        Ok(keystore) => Row::ok("wallet", format!("user key {}", keystore.address())),
        Err(error) => Row::fail("wallet", &error),
    }
}

/// Who has the local server's port.
pub(super) async fn server(context: &Context) -> Row {
    match local::find(context).await {
        Err(error) => Row::fail("server", &error),
        Ok(Found::Phallama { address, version }) => {
            Row::ok("server", format!("phallama {version} answers at http://{address}"))
        }
        Ok(Found::Guarded { address }) => guarded(&context.home, address),
        Ok(Found::Free { address }) => {
            Row::ok("server", format!("none runs; {address} is free for `phallama serve`"))
        }
        Ok(Found::Others { address }) => {
            let listen = CliError::Bind { listen: address, source: local::in_use() };
            let fix = listen.hint().unwrap_or_default();
            Row::warn("server", format!("another program listens on {address}"), fix)
        }
    }
}

/// A local server that wants tokens: are there any?
fn guarded(home: &Home, address: SocketAddr) -> Row {
    let at = format!("phallama answers at http://{address}");
    match Tokens::of(home).entries() {
        Err(error) => Row::fail("server", &error),
        Ok(entries) if entries.is_empty() => Row::warn(
            "server",
            format!("{at}, but only to apps with a token, and this home has none"),
            "run `phallama launch APP`, which makes one for the program, or \
             `phallama token create NAME`",
        ),
        Ok(entries) => {
            let count = entries.len();
            Row::ok("server", format!("{at} to apps with a token; this home has {count}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_server_that_lets_nobody_in_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path());
        let address = "127.0.0.1:11434".parse().unwrap();
        let row = guarded(&home, address);
        assert_eq!(row.status, Status::Warn);
        assert!(row.fix.unwrap().contains("phallama token create"));
        crate::tokens::create(&home, "app", None).unwrap();
        assert_eq!(guarded(&home, address).status, Status::Ok);
        home.write("tokens.json", b"{}").unwrap();
        assert_eq!(guarded(&home, address).status, Status::Fail);
    }

    #[test]
    fn a_home_that_others_may_read_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home"));
        assert_eq!(super::home(&home)[0].status, Status::Warn);
        home.create().unwrap();
        home.write(USER_KEYSTORE, b"{}").unwrap();
        assert_eq!(super::home(&home)[0].status, Status::Ok);
        let path = home.path(USER_KEYSTORE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let rows = super::home(&home);
        assert_eq!((rows.len(), rows[0].status), (1, Status::Warn));
        let expected = format!("run `chmod go= {}`", path.display());
        assert_eq!(rows[0].fix.as_deref(), Some(expected.as_str()));
    }
}

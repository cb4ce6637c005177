use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use phallama_protocol::ids::Amount;

use super::*;
use crate::enclave::EnclaveClient;
use crate::exchange::OpenCount;
use crate::status::StatusSource;
use crate::testing::{World, charge, user};

struct Office {
    world: World,
    status: Arc<StatusSource>,
    _server: AdminServer,
    socket: PathBuf,
}

impl Office {
    async fn open() -> Self {
        let world = World::new(0).await;
        let status = Arc::new(StatusSource {
            pod_id: world.pod,
            enclave: EnclaveClient::new(world.enclave.socket()),
            // No enclave answers in these tests.
            state: tokio::sync::watch::Sender::new(crate::enclave::EnclaveState::Down).subscribe(),
            view: Arc::clone(&world.view),
            gate: Arc::clone(&world.gate),
            open: OpenCount::default(),
            url: "http://pod".to_owned(),
            draining: Arc::new(AtomicBool::new(false)),
        });
        let mut settler = world.settler();
        settler.enclave = EnclaveClient::new("/nowhere".into());
        let settler = Arc::new(settler);
        let books = settler.books.clone();
        let drain = Duration::from_millis(50);
        let desk = Arc::new(Desk { status: Arc::clone(&status), settler, books, drain });
        let socket = socket(world.enclave.path());
        let server = AdminServer::start(&socket, desk).unwrap();
        Self { world, status, _server: server, socket }
    }

    async fn ask(&self, what: Ask) -> Answer {
        ask(&self.socket, what).await.unwrap()
    }

    /// 70 charged under a lock of 200.
    async fn earn(&self) {
        let user = user(1);
        self.world.open(&user, 500).await;
        self.world.lock(&user, 200).await;
        charge(&self.world, &user, 70).await;
    }
}

#[tokio::test]
async fn money_goes_from_unsettled_to_settled_to_collected() {
    let office = Office::open().await;
    office.earn().await;
    let planned =
        Planned { signed_by: RowsSignedBy::Enclave, rows: 1, payable: 70.into(), transactions: 1 };
    assert_eq!(office.ask(Ask::Settle { dry_run: true }).await, Answer::Planned(vec![planned]));
    let Answer::Earnings(before) = office.ask(Ask::Earnings).await else { panic!() };
    assert_eq!((before.unsettled, before.settled), (70.into(), Amount::ZERO));
    assert_eq!(before.credit, Some(Amount::ZERO), "a dry run sends nothing");

    let settled = office.ask(Ask::Settle { dry_run: false }).await;
    let Answer::Settled(settled) = settled else { panic!("{settled:?}") };
    assert_eq!((settled[0].paid, settled[0].signed_by), (70.into(), RowsSignedBy::Receipts));
    let Answer::Earnings(after) = office.ask(Ask::Earnings).await else { panic!() };
    assert_eq!((after.unsettled, after.settled), (Amount::ZERO, 70.into()));
    assert_eq!((after.credit, after.at_risk), (Some(70.into()), Some(Amount::ZERO)));
    assert_eq!(after.days.iter().map(|day| day.settled.value()).sum::<u128>(), 70);
    assert!(after.gas_wei > before.gas_wei);
    assert_eq!(after.channels.len(), 1);

    let collected = office.ask(Ask::Collect).await;
    let Answer::Collected(Some(collected)) = collected else { panic!("{collected:?}") };
    assert_eq!(collected.amount, 70.into());
    assert_eq!(office.world.chain.credit(office.world.pod).await.unwrap(), Amount::ZERO);
    assert_eq!(office.ask(Ask::Collect).await, Answer::Collected(None));
}

#[tokio::test]
async fn drain_refuses_and_settles_until_it_is_taken_back() {
    let office = Office::open().await;
    office.earn().await;
    let drained = office.ask(Ask::Drain { resume: false }).await;
    let Answer::Drained(drained) = drained else { panic!("{drained:?}") };
    assert_eq!((drained.draining, drained.open, drained.settled.len()), (true, 0, 1));
    assert!(office.status.draining.load(std::sync::atomic::Ordering::Acquire));
    let Answer::Status(status) = office.ask(Ask::Status).await else { panic!() };
    assert!(status.health.draining);
    let resumed = office.ask(Ask::Drain { resume: true }).await;
    assert_eq!(resumed, Answer::Drained(Drained { draining: false, open: 0, settled: vec![] }));
    assert!(!office.status.draining.load(std::sync::atomic::Ordering::Acquire));
}

#[tokio::test]
async fn only_the_pods_own_user_can_ask_and_only_while_it_runs() {
    let office = Office::open().await;
    let mode = std::fs::metadata(&office.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Office { world, _server: server, socket, .. } = office;
    drop(server);
    let error = ask(&socket, Ask::Status).await.unwrap_err();
    assert!(matches!(error, AdminError::NotRunning { .. }), "{error}");
    // A socket that a killed pod left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = ask(&socket, Ask::Status).await.unwrap_err();
    assert!(matches!(error, AdminError::NotRunning { .. }), "{error}");
    drop(world);
}

#[tokio::test]
async fn failure_and_nonsense_are_answered_with_the_reason() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut office = Office::open().await;
    let mut stream = tokio::net::UnixStream::connect(&office.socket).await.unwrap();
    stream.write_all(b"{\"ask\":\"everything\"}\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("failed") && answer.contains("unknown variant"), "{answer}");
    office.world.stop_chain();
    let error = ask(&office.socket, Ask::Collect).await.unwrap_err();
    assert!(matches!(error, AdminError::Failed(_)), "{error}");
}

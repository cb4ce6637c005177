use std::sync::atomic::AtomicBool;

use phallama_protocol::ids::Digest32;

use super::*;
use crate::enclave::{EnclaveClient, EnclaveState};
use crate::exchange::OpenCount;
use crate::testing::{World, charge, user};

fn exposition(world: &World) -> Exposition {
    let status = StatusSource {
        pod_id: world.pod,
        enclave: EnclaveClient::new(world.enclave.socket()),
        state: tokio::sync::watch::Sender::new(EnclaveState::Down).subscribe(),
        view: Arc::clone(&world.view),
        gate: Arc::clone(&world.gate),
        open: OpenCount::default(),
        url: "http://pod".to_owned(),
        draining: Arc::new(AtomicBool::new(false)),
    };
    Exposition { metrics: world.gate.metrics.clone(), status: Arc::new(status) }
}

#[tokio::test]
async fn names_are_stable_and_nobody_is_named() {
    let (world, user) = (World::new(0).await, user(1));
    world.open(&user, 500).await;
    world.lock(&user, 200).await;
    charge(&world, &user, 70).await;
    world.gate.admit(&world.admit(&user, 9_000, None)).await.unwrap_err();
    let metrics = &world.gate.metrics;
    metrics.settlement_sent();
    metrics.settlement_mined(1_000);
    metrics.settlement_failed();
    metrics.committed(Duration::from_millis(3));
    metrics.aborted(AbortedBy::Client);
    metrics.observe(&PodProgress::Attested { until_unix_s: 1 });
    metrics.observe(&PodProgress::EnclaveRestarting { reason: String::new(), in_ms: 1 });
    let text = exposition(&world).text().await.unwrap();
    for line in [
        "phallama_vouchers_accepted_total 1",
        "phallama_vouchers_rejected_total{reason=\"balance_too_low\"} 1",
        "phallama_value_at_risk_units 0.0",
        "phallama_unsettled_units 70.0",
        "phallama_settlement_submitted_total 1",
        "phallama_settlement_confirmed_total 1",
        "phallama_settlement_failed_total 1",
        "phallama_settlement_gas_used_total 1000",
        "phallama_attestation_ok_total 1",
        "phallama_enclave_restarts_total 1",
        "phallama_engine_restarts_total 0",
        "phallama_streams_active 0.0",
        "phallama_stream_aborts_total{by=\"client\"} 1",
        "phallama_ledger_commit_seconds_bucket{le=\"0.004\"} 1",
        "phallama_ledger_commit_seconds_count 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is missing:\n{text}");
    }
    for name in ["chain_head_lag_seconds", "attestation_age_seconds", "build_info{version="] {
        assert!(text.contains(&format!("\nphallama_{name}")), "{name} is missing:\n{text}");
    }
    let known = include_str!("../../../../deploy/grafana/metrics.txt");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        assert!(known.lines().any(|one| one == name), "{name} is not in the dashboard's list");
    }
    for somebody in [user.address().to_string(), world.pod.to_string()] {
        assert!(!text.contains(somebody.trim_start_matches("0x")), "{somebody}");
    }
    assert!(!text.contains(&Digest32([0; 32]).to_string()));
}

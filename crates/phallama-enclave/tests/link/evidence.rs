//! What the enclave says about itself.

use phallama_attest::{Binding, Evidence, NONCE_ON_CHAIN, report_data};
use phallama_enclave::platform::measurement_of;
use phallama_protocol::frames::FrameClass;
use phallama_protocol::link::{Kind, ModelStatus, Status, WorkerState};

use crate::driver::{MODEL, Pod};

/// Report data inside an SGX quote: header, then 320 bytes into the report body.
const REPORT_DATA_OFFSET: usize = 48 + 320;

async fn evidence(pod: &Pod, nonce: [u8; 32]) -> Evidence {
    let mut host = pod.connect().await;
    host.raw(Kind::Evidence, &nonce).await;
    Evidence::from_json(&host.frame().await.payload).unwrap()
}

#[tokio::test]
async fn evidence_binds_the_identity_to_pod_chain_models_policy_and_nonce() {
    let pod = Pod::start().await;
    let bundle = pod.bundle().await;
    let fields = bundle.bundle();
    let binding = Binding {
        chain_id: fields.chain_id,
        registry: fields.registry.0,
        pod_id: fields.pod_id.0,
        identity: fields.identity.0,
        model_set_root: fields.model_set_root.0,
        policy_digest: fields.policy_digest.0,
    };
    for nonce in [NONCE_ON_CHAIN, [9; 32]] {
        let evidence = evidence(&pod, nonce).await;
        let data = &evidence.quote[REPORT_DATA_OFFSET..REPORT_DATA_OFFSET + 64];
        assert_eq!(data, report_data(&binding, nonce));
        assert_eq!(measurement_of(&evidence.quote).unwrap(), fields.measurement);
    }
}

#[tokio::test]
async fn the_bundle_names_the_evidence_with_nonce_zero() {
    let pod = Pod::start().await;
    let evidence = evidence(&pod, NONCE_ON_CHAIN).await;
    assert_eq!(pod.bundle().await.bundle().evidence_hash.0, evidence.hash());
}

#[tokio::test]
async fn the_bundle_lists_the_classes_of_the_policy_alone() {
    let pod = Pod::start_with(|config| config.policy.classes = vec![FrameClass::Fast]).await;
    assert_eq!(pod.bundle().await.bundle().classes, [FrameClass::Fast]);
}

#[tokio::test]
async fn every_boot_has_its_own_identity() {
    let (first, second) = (Pod::start().await, Pod::start().await);
    assert_ne!(first.enclave.identity_address(), second.enclave.identity_address());
}

#[tokio::test]
async fn status_says_how_the_enclave_is() {
    let pod = Pod::start().await;
    let mut host = pod.connect().await;
    host.raw(Kind::Status, &[]).await;
    let status: Status = host.frame().await.control().unwrap();
    let expected = Status {
        identity: pod.enclave.identity_address(),
        measurement: pod.enclave.facts().measurement,
        in_flight: 0,
        queued: 0,
        slots: 4,
        worker: WorkerState::Ready,
        epoch_id: 1,
        models: vec![ModelStatus {
            model: MODEL.to_owned(),
            state: WorkerState::Ready,
            build: Some("b1-fake".to_owned()),
            in_flight: 0,
            queued: 0,
            restarts: 0,
            needs_bytes: status.models[0].needs_bytes,
        }],
    };
    assert_eq!(status, expected);
    // The worker, and 64 bytes for each token of four slots.
    assert!(status.models[0].needs_bytes > (128 << 20) + 64 * 32_768 * 4);
}

#[tokio::test]
async fn a_frame_that_is_no_question_ends_the_connection() {
    let pod = Pod::start().await;
    for kind in [Kind::Admitted, Kind::Out, Kind::Done] {
        let mut host = pod.connect().await;
        host.raw(kind, &[]).await;
        assert_eq!(host.next().await, None, "{kind:?}");
    }
}

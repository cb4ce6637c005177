//! What judging one pod's evidence costs a client: a simulated SGX quote with its collateral.
//!
//! `tools/bench.sh verify` prints a table, with `--json` one JSON
//! object.

mod report;

use std::hint::black_box;
use std::time::Instant;

use phallama_attest::simulated::{
    CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec, PlatformSpec, SimulatedPlatform,
};
use phallama_attest::{Binding, Expected, Policy, TrustRoot, VerifyError, verify};
use report::figure;

const RUNS: usize = 400;
/// 2026-11-18T10:40:00Z: verification never reads a clock.
const NOW_UNIX_S: u64 = 1_794_998_400;
const MEASUREMENT: [u8; 32] = [0x4e; 32];

fn main() -> Result<(), VerifyError> {
    let root = DevelopmentRoot::from_seed(DEVELOPMENT_SEED);
    let platform = SimulatedPlatform::new(&root, PlatformSpec::from_seed(b"machine 1"));
    let binding = Binding {
        chain_id: 31_337,
        registry: [1; 20],
        pod_id: [2; 32],
        identity: [3; 20],
        model_set_root: [4; 32],
        policy_digest: [5; 32],
    };
    let expected = Expected::new(&binding, [0x5a; 32]).on_machine(platform.machine_identity());
    let enclave = EnclaveSpec::new(MEASUREMENT, expected.report_data);
    let evidence = platform.evidence(&enclave, &CollateralSpec::fresh(NOW_UNIX_S));
    let trust = TrustRoot::Development(root.root_der().to_vec());
    let policy = Policy::strict(trust, vec![MEASUREMENT]);

    let mut took_ms = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let began = Instant::now();
        let verified = verify(black_box(&evidence), &policy, &expected, NOW_UNIX_S)?;
        took_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        black_box(verified);
    }
    took_ms.sort_by(f64::total_cmp);
    report::print(&[figure("verify.quote_ms", took_ms[RUNS / 2], "ms")]);
    Ok(())
}

//! Digests that client, host and chain share. `spec/attestation.md` has their exact bytes.

use sha2::{Digest, Sha256};

/// Domain tags, without their terminating zero byte.
const MACHINE_TAG: &[u8] = b"phallama/1 machine";
const TD_MEASUREMENT_TAG: &[u8] = b"phallama/1 td measurement";

/// What a chain stores of a machine: SHA-256 over the tagged PPID. One value per machine.
pub fn machine_digest(ppid: &[u8; 16]) -> [u8; 32] {
    tagged(MACHINE_TAG, ppid)
}

/// What a policy lists and a chain stores of a trust domain: SHA-256 over its tagged measurement
/// registers MRTD, MRCONFIGID, MROWNER, MROWNERCONFIG and RTMR0 to RTMR3, which are bytes 136 to
/// 519 of its report.
pub fn td_measurement(registers: &[[u8; 48]; 8]) -> [u8; 32] {
    tagged(TD_MEASUREMENT_TAG, registers.as_flattened())
}

/// Everything that hardware and Intel said in a quote, and nothing that a third party could vary:
/// SHA-256(header and body ‖ report of the quoting enclave ‖ SHA-256 of the signed part of the PCK
/// certificate).
pub fn evidence_digest(signed: &[u8], qe_report: &[u8], pck_tbs_hash: &[u8; 32]) -> [u8; 32] {
    Sha256::new()
        .chain_update(signed)
        .chain_update(qe_report)
        .chain_update(pck_tbs_hash)
        .finalize()
        .into()
}

fn tagged(tag: &[u8], content: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(tag).chain_update([0]).chain_update(content).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected values were computed with another program.

    #[test]
    fn digests_have_the_bytes_of_the_specification() {
        let machine = "72bb8c24d6511af50d1046458967cf0e8b6a12182a6457373f515c53f4df2099";
        assert_eq!(hex::encode(machine_digest(&[1; 16])), machine);
        let registers = [0, 1, 2, 3, 4, 5, 6, 7].map(|register| [register; 48]);
        let measurement = "1074da493361976b13a4410050153ad733d43b0738c493755242d24ff7c364cf";
        assert_eq!(hex::encode(td_measurement(&registers)), measurement);
        let evidence = "4c693dee610c83c5a8d92d1fde46eca65dca9468ffd6e563ee2ad4bc9ec67712";
        assert_eq!(hex::encode(evidence_digest(b"signed", b"report", &[3; 32])), evidence);
    }
}

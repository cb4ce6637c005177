//! What an opened request contains: written by anybody who can seal to the enclave, and read
//! inside it. What parses must encode to the same bytes again. The input is padded to its bucket.
#![no_main]

use libfuzzer_sys::fuzz_target;
use phallama_protocol::fuzzing::{decode_plain, encode_plain};
use phallama_protocol::request::{PLAIN_MAX_LEN, PLAIN_MIN_LEN};

fuzz_target!(|data: &[u8]| {
    let bucket = data.len().next_power_of_two().clamp(PLAIN_MIN_LEN, PLAIN_MAX_LEN);
    let mut padded = data.to_vec();
    padded.resize(bucket, 0);
    let Ok((plain, ephemeral)) = decode_plain(&padded) else { return };
    let again = encode_plain(&plain, &ephemeral).expect("a body that was read can be sent");
    // A sender may take a larger bucket than it needs; apart from that there is one form.
    assert!(padded.starts_with(&again));
    assert!(padded[again.len()..].iter().all(|byte| *byte == 0));
});

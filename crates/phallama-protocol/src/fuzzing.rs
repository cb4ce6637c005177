//! What stands behind a cipher and is foreign all the same: fuzz targets reach it here, without
//! sealing. Compiled under `cfg(fuzzing)` alone, which nothing but `fuzz/rustc.sh` sets.

use crate::bundle::XWING_PK_LEN;
use crate::frames::{self, FrameSealer};
use crate::ids::Digest32;
use crate::request::{PlainError, RequestPlain, SealError};

/// Parses what an opened request contains, padding included.
///
/// # Errors
/// [`PlainError`].
pub fn decode_plain(padded: &[u8]) -> Result<(RequestPlain, Box<[u8; XWING_PK_LEN]>), PlainError> {
    RequestPlain::decode(padded)
}

/// What a request would be sealed from, padding included.
///
/// # Errors
/// [`SealError::BodyTooLarge`].
pub fn encode_plain(
    plain: &RequestPlain,
    ephemeral: &[u8; XWING_PK_LEN],
) -> Result<Vec<u8>, SealError> {
    plain.encode(ephemeral).map(|padded| padded.to_vec())
}

/// Seals any bytes as the next frame of an answer, as an enclave that keeps no rule could.
pub fn seal_inner(sealer: &mut FrameSealer, inner: &[u8]) -> Vec<u8> {
    sealer.seal_inner(inner)
}

/// The hash chain over DATA after one more frame.
pub fn next_link(previous: &Digest32, data: &[u8]) -> Digest32 {
    Digest32(frames::next_link(&previous.0, data))
}

//! The two hash functions of the protocol, in the shapes in which it uses them.

use sha2::Digest as _;

/// SHA-256 over `tag ‖ 0 ‖ parts`, the page's `H("tag" ‖ 0 ‖ …)`.
pub(crate) fn tagged(tag: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = sha2::Sha256::new();
    hash.update(tag.as_bytes());
    hash.update([0]);
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256 over `bytes`.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

/// Keccak-256 (the EVM's, not SHA-3) over the concatenation of `parts`.
pub(crate) fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = sha3::Keccak256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// The first `N` bytes of a hash, `N` at most 32.
pub(crate) fn truncate<const N: usize>(hash: &[u8; 32]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(hash).for_each(|(slot, byte)| *slot = *byte);
    out
}

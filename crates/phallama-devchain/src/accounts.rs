//! Development accounts: keys that anybody can derive, so that none has to be committed.

use k256::SecretKey;
use k256::elliptic_curve::sec1::ToSec1Point;
use revm::primitives::{Address, keccak256};

/// What every development key is derived from.
const SEED: &[u8] = b"phallama development chain: these keys are public";

/// The `index`-th development account: its address and its 32-byte secp256k1 secret key.
///
/// The key is `keccak256(seed ‖ index as 4 big-endian bytes)`, hashed again in the (practically
/// impossible) case that it is no valid scalar. Everybody can compute it: never send anything of
/// value to these addresses on a public chain.
pub fn dev_account(index: u32) -> (Address, [u8; 32]) {
    let mut digest = keccak256([SEED, &index.to_be_bytes()].concat());
    let secret = loop {
        match SecretKey::from_slice(digest.as_slice()) {
            Ok(secret) => break secret,
            Err(_) => digest = keccak256(digest),
        }
    };
    let point = secret.public_key().to_sec1_point(false);
    // An address is the last 20 bytes of the hash of the 64 coordinate bytes (tag 0x04 left out).
    let address = Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..]);
    (address, digest.0)
}

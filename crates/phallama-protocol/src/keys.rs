//! secp256k1 keys and EIP-2098 signatures: identity keys of enclaves and keys of users.

use std::fmt;
use std::str::FromStr;

use k256::ecdsa::{RecoveryId, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::hash::keccak256;
use crate::ids::{Address, IdError, parse_hex};
use crate::rand_core::CryptoRng;

/// Why a signature proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// `r` or `s` is zero or not below the group order.
    #[error("signature scalars are out of range")]
    OutOfRange,
    /// `s` is above half the group order: the same signature has a second encoding (EIP-2).
    #[error("signature has a high s, which has a second encoding; only the low one is accepted")]
    HighS,
    /// No public key fits the signature.
    #[error("no key recovers from the signature")]
    Unrecoverable,
}

/// A 32-byte string that is not a secret key: zero, or not below the group order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these 32 bytes are not a secp256k1 secret key (zero, or not below the group order)")]
pub struct NotAKey;

/// A secp256k1 secret key that signs digests. Zeroized on drop; `Debug` shows the address only.
#[derive(Clone)]
pub struct Signer {
    key: SigningKey,
    address: Address,
}

impl Signer {
    /// A new key from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        loop {
            rng.fill_bytes(bytes.as_mut_slice());
            // All but about 2^-128 of the strings are keys.
            if let Ok(signer) = Self::from_bytes(&bytes) {
                return signer;
            }
        }
    }

    /// The key with these big-endian bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotAKey> {
        let key = SigningKey::from_slice(bytes).map_err(|_| NotAKey)?;
        let address = address_of(key.verifying_key());
        Ok(Self { key, address })
    }

    /// The secret key, 32 bytes big-endian.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes().into())
    }

    /// The account that [`recover`] names for this key's signatures.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a 32-byte digest, deterministically (RFC 6979), with a low s.
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        let (signature, recovery) = self.key.sign_prehash_recoverable(digest);
        let mut bytes: [u8; 64] = signature.to_bytes().into();
        if recovery.is_y_odd()
            && let Some(top_of_s) = bytes.get_mut(32)
        {
            *top_of_s |= 0x80;
        }
        Signature(bytes)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.address)
    }
}

/// A compact signature (EIP-2098): `r 32 | s 32`, with the parity of y in the top bit of s.
///
/// `Debug` is redacted: whoever holds a voucher's signature can draw on it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl Signature {
    /// `r 32 | s 32 | v 1` with v 27 or 28, as `ecrecover` takes it.
    pub fn to_rsv(&self) -> [u8; 65] {
        let mut rsv = [0; 65];
        rsv.iter_mut().zip(self.0).for_each(|(slot, byte)| *slot = byte);
        let odd = self.0[32] & 0x80 != 0;
        rsv[32] &= 0x7f;
        rsv[64] = if odd { 28 } else { 27 };
        rsv
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(…)")
    }
}

impl FromStr for Signature {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex("signature", text).map(Self)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("0x{}", hex::encode(self.0)))
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The account whose key signed `digest`.
///
/// # Errors
/// [`SignatureError`]; a high s is refused, so a signature has one encoding only.
pub fn recover(digest: &[u8; 32], signature: &Signature) -> Result<Address, SignatureError> {
    let [rs @ .., v] = signature.to_rsv();
    let parsed = k256::ecdsa::Signature::from_slice(&rs).map_err(|_| SignatureError::OutOfRange)?;
    if parsed.normalize_s() != parsed {
        return Err(SignatureError::HighS);
    }
    let recovery = RecoveryId::new(v == 28, false);
    VerifyingKey::recover_from_prehash(digest, &parsed, recovery)
        .map(|key| address_of(&key))
        .map_err(|_| SignatureError::Unrecoverable)
}

/// The last 20 bytes of the Keccak-256 of the uncompressed point without its tag byte.
fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_sec1_point(false);
    let coordinates = point.as_bytes().split_first().map_or(&[][..], |(_tag, rest)| rest);
    let hash = keccak256(&[coordinates]);
    let [_, _, _, _, _, _, _, _, _, _, _, _, low @ ..] = hash;
    Address(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;

    const DIGEST: [u8; 32] = [0x5a; 32];

    fn signer() -> Signer {
        Signer::generate(&mut Seeded::new("keys"))
    }

    #[test]
    fn signature_recovers_to_its_signer() {
        for label in ["a", "b", "c", "d", "e", "f"] {
            let signer = Signer::generate(&mut Seeded::new(label));
            assert_eq!(recover(&DIGEST, &signer.sign(&DIGEST)), Ok(signer.address()));
        }
    }

    #[test]
    fn address_of_the_key_one_is_the_well_known_one() {
        let mut one = [0; 32];
        one[31] = 1;
        let signer = Signer::from_bytes(&one).unwrap();
        assert_eq!(signer.address().to_string(), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
    }

    #[test]
    fn other_digest_recovers_to_somebody_else() {
        let signature = signer().sign(&DIGEST);
        assert_ne!(recover(&[0x5b; 32], &signature), Ok(signer().address()));
    }

    #[test]
    fn rsv_form_carries_27_plus_parity_and_a_clean_s() {
        for label in ["a", "b", "c", "d", "e", "f"] {
            let signature = Signer::generate(&mut Seeded::new(label)).sign(&DIGEST);
            let rsv = signature.to_rsv();
            assert_eq!(rsv[64], 27 + (signature.0[32] >> 7));
            assert_eq!(rsv[32] & 0x80, 0);
            assert_eq!(rsv[..32], signature.0[..32]);
        }
    }

    #[test]
    fn rejects_high_s() {
        // n/2 + 1: the smallest high s. Its top bit is clear, so the compact form can carry it.
        let high = "7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a1";
        let mut signature = signer().sign(&DIGEST);
        hex::decode_to_slice(high, &mut signature.0[32..]).unwrap();
        assert_eq!(recover(&DIGEST, &signature), Err(SignatureError::HighS));
        signature.0[63] -= 1;
        assert_ne!(recover(&DIGEST, &signature), Err(SignatureError::HighS));
    }

    #[test]
    fn rejects_zero_scalars() {
        assert_eq!(recover(&DIGEST, &Signature([0; 64])), Err(SignatureError::OutOfRange));
    }

    #[test]
    fn rejects_r_that_is_no_x_coordinate() {
        let mut signature = signer().sign(&DIGEST);
        // 5 is not the x coordinate of a point: 5^3 + 7 is not a square modulo p.
        signature.0[..32].fill(0);
        signature.0[31] = 5;
        assert_eq!(recover(&DIGEST, &signature), Err(SignatureError::Unrecoverable));
    }

    #[test]
    fn rejects_bytes_that_are_no_key() {
        assert_eq!(Signer::from_bytes(&[0; 32]).unwrap_err(), NotAKey);
        assert_eq!(Signer::from_bytes(&[0xff; 32]).unwrap_err(), NotAKey);
    }

    #[test]
    fn debug_forms_show_no_secret() {
        let signer = signer();
        let shown = format!("{signer:?} {:?}", signer.sign(&DIGEST));
        assert!(!shown.contains(&hex::encode(*signer.to_bytes())));
        assert!(shown.ends_with("Signature(…)"), "{shown}");
    }
}

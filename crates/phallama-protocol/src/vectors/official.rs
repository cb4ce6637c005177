//! Official vectors of X-Wing and of HPKE with X-Wing; `vectors/official/PROVENANCE.md`.

use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _};
use serde_json::Value;

use super::load;
use crate::rand_core::{TryCryptoRng, TryRng};

type Key<K> = <K as Kem>::PrivateKey;

/// Yields the bytes that a vector names as randomness, once.
struct Fixed(Vec<u8>);

impl TryRng for Fixed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("the suite draws bytes only")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("the suite draws bytes only")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.copy_from_slice(&self.0.split_off(0));
        Ok(())
    }
}

impl TryCryptoRng for Fixed {}

fn bytes(vector: &Value, name: &str) -> Vec<u8> {
    hex::decode(vector[name].as_str().unwrap_or_else(|| panic!("{name}"))).unwrap()
}

#[test]
fn xwing_of_its_draft() {
    let vector = load("official/xwing.json");
    let secret = Key::<XWing>::from_bytes(&bytes(&vector, "sk")).unwrap();
    let public = XWing::sk_to_pk(&secret);
    assert_eq!(public.to_bytes().as_slice(), bytes(&vector, "pk"));
    let mut rng = Fixed(bytes(&vector, "eseed"));
    let (shared, enc) = XWing::encap_with_rng(&public, None, &mut rng).unwrap();
    assert_eq!(enc.to_bytes().as_slice(), bytes(&vector, "ct"));
    assert_eq!(shared.0.as_slice(), bytes(&vector, "ss"));
    let again = XWing::decap(&secret, None, &enc).unwrap();
    assert_eq!(again.0.as_slice(), bytes(&vector, "ss"));
}

#[test]
fn hpke_with_xwing_and_hkdf_sha256_of_its_draft() {
    let vector = load("official/hpke_xwing.json");
    let (secret, public) = XWing::derive_keypair(&bytes(&vector, "ikmR"));
    assert_eq!(secret.to_bytes().as_slice(), bytes(&vector, "skRm"));
    assert_eq!(public.to_bytes().as_slice(), bytes(&vector, "pkRm"));
    let info = bytes(&vector, "info");
    let mut rng = Fixed(bytes(&vector, "ikmE"));
    let (enc, mut sender) = hpke::setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeS::Base,
        &public,
        &info,
        &mut rng,
    )
    .unwrap();
    assert_eq!(enc.to_bytes().as_slice(), bytes(&vector, "enc"));
    let mut receiver = hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, XWing>(
        &OpModeR::Base,
        &secret,
        &enc,
        &info,
    )
    .unwrap();
    for message in vector["encryptions"].as_array().unwrap() {
        let [aad, ct, pt] = ["aad", "ct", "pt"].map(|name| bytes(message, name));
        assert_eq!(sender.seal(&pt, &aad).unwrap(), ct);
        assert_eq!(receiver.open(&ct, &aad).unwrap(), pt);
    }
    for export in vector["exports"].as_array().unwrap() {
        let mut out = [0; 32];
        receiver.export(&bytes(export, "exporter_context"), &mut out).unwrap();
        assert_eq!(out.as_slice(), bytes(export, "exported_value"));
    }
}

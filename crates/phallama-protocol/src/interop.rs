//! Exchanges with a second HPKE implementation (hpke-rs on libcrux), both ways, base and psk mode.

use hpke::Serializable as _;
use hpke_rs::hpke_types::{AeadAlgorithm, KdfAlgorithm, KemAlgorithm};
use hpke_rs::libcrux::HpkeLibcrux;
use hpke_rs::{Hpke, HpkePrivateKey, HpkePublicKey, Mode};

use crate::bundle::SignedBundle;
use crate::frames::tests::{answer, read};
use crate::frames::{FrameClass, FrameType};
use crate::hash::sha256;
use crate::request::tests::padded;
use crate::request::{CHUNK_LEN, open_request, seal_request};
use crate::testing::Seeded;
use crate::testing::fixture::{self, BODY, bundle, epoch_key};

fn peer(mode: Mode) -> Hpke<HpkeLibcrux> {
    let (kem, kdf) = (KemAlgorithm::XWingDraft06, KdfAlgorithm::HkdfSha256);
    Hpke::new(mode, kem, kdf, AeadAlgorithm::Aes256Gcm)
}

/// `version 1 | flags 1 | key_id 8 | suite 6`, spelled out here once more on purpose.
fn header(bundle: &SignedBundle) -> Vec<u8> {
    [&[1, 0][..], &bundle.hash().0[..8], &[0x64, 0x7a, 0, 1, 0, 2]].concat()
}

fn info(label: &str, bundle: &SignedBundle) -> Vec<u8> {
    [label.as_bytes(), &[0], &header(bundle), &bundle.hash().0].concat()
}

/// A request whose plain text is taken as it is, sealed by the peer.
pub(crate) fn seal_padded(plain: &[u8]) -> Vec<u8> {
    seal_padded_to(&bundle(), plain)
}

/// The same, under another bundle of the same key.
pub(crate) fn seal_padded_to(bundle: &SignedBundle, plain: &[u8]) -> Vec<u8> {
    let pk = HpkePublicKey::new(epoch_key().public_key().to_vec());
    let (enc, mut context) = peer(Mode::Base)
        .setup_sender(&pk, &info("phallama/1 req", bundle), None, None, None)
        .unwrap();
    let mut wire = [header(bundle), enc].concat();
    let last = plain.len().div_ceil(CHUNK_LEN) - 1;
    for (i, chunk) in plain.chunks(CHUNK_LEN).enumerate() {
        let aad: &[u8] = if i == last { b"final" } else { b"" };
        wire.extend(context.seal(aad, chunk).unwrap());
    }
    wire
}

#[test]
fn opens_a_request_sealed_by_the_peer() {
    let request = seal_padded(&padded());
    let opened = open_request(&epoch_key(), &bundle(), &request).unwrap();
    assert_eq!(opened.plain, fixture::plain(FrameClass::Std, BODY));
}

#[test]
fn peer_opens_a_request_and_exports_the_same_secret() {
    let plain = fixture::plain(FrameClass::Std, &vec![b'x'; 40_000]);
    let (wire, client) = seal_request(&bundle(), &plain, &mut Seeded::new("client")).unwrap();
    let secret = HpkePrivateKey::new(epoch_key().secret().to_bytes().to_vec());
    let (enc, chunks) = wire[16..].split_at(1120);
    let mut context = peer(Mode::Base)
        .setup_receiver(enc, &secret, &info("phallama/1 req", &bundle()), None, None, None)
        .unwrap();
    let mut opened = Vec::new();
    for (i, chunk) in chunks.chunks(CHUNK_LEN + 16).enumerate() {
        let aad: &[u8] = if i == 3 { b"final" } else { b"" };
        opened.extend(context.open(aad, chunk).unwrap());
    }
    assert_eq!(opened.len(), 65_536);
    assert!(opened[1_496..41_496].iter().all(|byte| *byte == b'x'));
    let (_, psk, _) = client.parts();
    assert_eq!(context.export(b"phallama/1 chain", 32).unwrap(), psk.secret.as_slice());
    assert_eq!(psk.id, sha256(&wire));
}

#[test]
fn peer_opens_an_answer_in_psk_mode() {
    let (wire, client, server) = fixture::exchange(FrameClass::Std);
    let (enc, mut sealer) = server.respond(FrameClass::Std, &mut Seeded::new("server")).unwrap();
    let frame = sealer.seal(FrameType::Head, false, &[7; 40]).unwrap();
    let pad = sealer.seal(FrameType::Pad, false, &[]).unwrap();
    let (secret, psk, _) = client.parts();
    let secret = HpkePrivateKey::new(secret.to_bytes().to_vec());
    let info = info("phallama/1 res", &bundle());
    let mut context = peer(Mode::Psk)
        .setup_receiver(&enc, &secret, &info, Some(&*psk.secret), Some(&sha256(&wire)), None)
        .unwrap();
    let opened = context.open(b"", &frame).unwrap();
    assert_eq!(opened[..43], [&[1, 0, 40][..], &[7; 40]].concat());
    assert_eq!(context.open(b"", &pad).unwrap(), [0; 256]);
}

#[test]
fn client_reads_an_answer_sealed_by_the_peer_in_psk_mode() {
    let (wire, client, server) = fixture::exchange(FrameClass::Std);
    let (pk, psk, _) = server.parts();
    let pk = HpkePublicKey::new(pk.to_vec());
    let info = info("phallama/1 res", &bundle());
    let (mut body, mut context) = peer(Mode::Psk)
        .setup_sender(&pk, &info, Some(&*psk.secret), Some(&sha256(&wire)), None)
        .unwrap();
    for frame in answer() {
        body.extend(context.seal(b"", &frame).unwrap());
    }
    let mut opener = client.opener();
    assert_eq!(opener.push(&body), read(&answer()));
    assert_eq!(opener.finish(), Ok(()));
}

//! The one HPKE suite of the protocol (RFC 9180): X-Wing, HKDF-SHA256, AES-256-GCM.
//!
//! Nothing is negotiated: other code points are refused by both sides. The rest of the crate
//! meets HPKE only here.

use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, PskBundle, Serializable as _};
use zeroize::Zeroizing;

use crate::rand_core::CryptoRng;

type Kem = hpke::kem::XWing;
type Kdf = hpke::kdf::HkdfSha256;
type Aead = hpke::aead::AesGcm256;

pub(crate) type PrivateKey = <Kem as hpke::Kem>::PrivateKey;
pub(crate) type Sender = hpke::aead::AeadCtxS<Aead, Kdf, Kem>;
pub(crate) type Receiver = hpke::aead::AeadCtxR<Aead, Kdf, Kem>;

/// `kem 2 | kdf 2 | aead 2` of headers and bundles.
pub(crate) const IDS: [u8; 6] = [0x64, 0x7a, 0x00, 0x01, 0x00, 0x02];
/// X-Wing public key.
pub(crate) const PK_LEN: usize = 1216;
/// X-Wing encapsulated key.
pub(crate) const ENC_LEN: usize = 1120;
/// AES-GCM tag.
pub(crate) const TAG_LEN: usize = 16;

/// A key, an encapsulation or a ciphertext that the suite refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl From<hpke::HpkeError> for Refused {
    fn from(_: hpke::HpkeError) -> Self {
        Self
    }
}

/// The pre-shared key of psk mode with its id.
pub(crate) struct Psk {
    pub(crate) secret: Zeroizing<[u8; 32]>,
    pub(crate) id: [u8; 32],
}

impl Psk {
    fn bundle(&self) -> Result<PskBundle<'_>, Refused> {
        Ok(PskBundle::new(self.secret.as_slice(), &self.id)?)
    }
}

pub(crate) fn generate(rng: &mut impl CryptoRng) -> (PrivateKey, Box<[u8; PK_LEN]>) {
    let (secret, public) = Kem::gen_keypair_with_rng(rng);
    let mut bytes = Box::new([0; PK_LEN]);
    public.write_exact(bytes.as_mut_slice());
    (secret, bytes)
}

pub(crate) fn send(
    pk: &[u8; PK_LEN],
    info: &[u8],
    psk: Option<&Psk>,
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, Sender), Refused> {
    let pk = <Kem as hpke::Kem>::PublicKey::from_bytes(pk)?;
    let mode = match psk {
        Some(psk) => OpModeS::Psk(psk.bundle()?),
        None => OpModeS::Base,
    };
    let (enc, sender) = hpke::setup_sender_with_rng::<Aead, Kdf, Kem>(&mode, &pk, info, rng)?;
    Ok((enc.to_bytes().to_vec(), sender))
}

pub(crate) fn receive(
    secret: &PrivateKey,
    enc: &[u8],
    info: &[u8],
    psk: Option<&Psk>,
) -> Result<Receiver, Refused> {
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(enc)?;
    let mode = match psk {
        Some(psk) => OpModeR::Psk(psk.bundle()?),
        None => OpModeR::Base,
    };
    Ok(hpke::setup_receiver::<Aead, Kdf, Kem>(&mode, secret, &enc, info)?)
}

/// Whether the suite accepts `pk` as an encapsulation key (the coefficients are in range).
pub(crate) fn is_public_key(pk: &[u8; PK_LEN]) -> bool {
    <Kem as hpke::Kem>::PublicKey::from_bytes(pk).is_ok()
}

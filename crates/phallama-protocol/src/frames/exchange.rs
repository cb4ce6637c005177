//! What ties an answer to its request, on both sides.

use std::fmt;

use super::{FrameClass, FrameSealer, ResponseOpener, SealError};
use crate::ids::Digest32;
use crate::rand_core::CryptoRng;
use crate::receipt::request_commitment;
use crate::suite::{self, PK_LEN, PrivateKey, Psk, Receiver};

const INFO_TAG: &[u8] = b"phallama/1 res\0";

/// Secret and context of the answer, equal on both sides exactly if the request arrived unchanged.
pub(crate) struct ExchangeKeys {
    psk: Psk,
    info: Vec<u8>,
    class: FrameClass,
    commitment: Digest32,
}

impl ExchangeKeys {
    /// `header` is the request's, `psk.id` the hash of the whole request body.
    pub(crate) fn new(
        psk: Psk,
        header: &[u8],
        bundle_hash: Digest32,
        class: FrameClass,
        salt: &[u8; 32],
    ) -> Self {
        let info = [INFO_TAG, header, &bundle_hash.0].concat();
        let commitment = request_commitment(salt, &Digest32(psk.id));
        Self { psk, info, class, commitment }
    }
}

/// The client's half of an exchange: opens the answer to the request it came with.
pub struct ClientExchange {
    keys: ExchangeKeys,
    ephemeral: PrivateKey,
}

impl ClientExchange {
    pub(crate) fn new(keys: ExchangeKeys, ephemeral: PrivateKey) -> Self {
        Self { keys, ephemeral }
    }

    /// The class that the request asked for.
    pub fn class(&self) -> FrameClass {
        self.keys.class
    }

    /// SHA-256 of the request body as sent.
    pub fn request_hash(&self) -> Digest32 {
        Digest32(self.keys.psk.id)
    }

    /// What the receipt must say about the request.
    pub fn request_commitment(&self) -> Digest32 {
        self.keys.commitment
    }

    /// The reader of the answer.
    pub fn opener(self) -> ResponseOpener {
        ResponseOpener::new(self)
    }

    pub(super) fn receive(&self, enc: &[u8]) -> Result<Receiver, suite::Refused> {
        suite::receive(&self.ephemeral, enc, &self.keys.info, Some(&self.keys.psk))
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&PrivateKey, &Psk, &[u8]) {
        (&self.ephemeral, &self.keys.psk, &self.keys.info)
    }
}

impl fmt::Debug for ClientExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientExchange").field("class", &self.keys.class).finish_non_exhaustive()
    }
}

/// The enclave's half of an exchange: the way to answer one opened request, once.
pub struct ServerExchange {
    keys: ExchangeKeys,
    ephemeral_pk: Box<[u8; PK_LEN]>,
}

impl ServerExchange {
    pub(crate) fn new(keys: ExchangeKeys, ephemeral_pk: Box<[u8; PK_LEN]>) -> Self {
        Self { keys, ephemeral_pk }
    }

    /// The class that the request asked for.
    pub fn class(&self) -> FrameClass {
        self.keys.class
    }

    /// SHA-256 of the request body as received.
    pub fn request_hash(&self) -> Digest32 {
        Digest32(self.keys.psk.id)
    }

    /// What the receipt must say about the request.
    pub fn request_commitment(&self) -> Digest32 {
        self.keys.commitment
    }

    /// Starts the answer: the encapsulation to send first (1120 B), and the sealer of its frames.
    ///
    /// # Errors
    /// [`SealError::Class`] if `class` is not the request's, [`SealError::PeerKey`] if the
    /// client's ephemeral key is invalid.
    pub fn respond(
        self,
        class: FrameClass,
        rng: &mut impl CryptoRng,
    ) -> Result<(Vec<u8>, FrameSealer), SealError> {
        if class != self.keys.class {
            return Err(SealError::Class { asked: self.keys.class, got: class });
        }
        let (enc, context) =
            suite::send(&self.ephemeral_pk, &self.keys.info, Some(&self.keys.psk), rng)
                .map_err(|_| SealError::PeerKey)?;
        Ok((enc, FrameSealer::new(context, class)))
    }

    #[cfg(test)]
    pub(crate) fn parts(&self) -> (&[u8; PK_LEN], &Psk, &[u8]) {
        (&self.ephemeral_pk, &self.keys.psk, &self.keys.info)
    }
}

impl fmt::Debug for ServerExchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerExchange").field("class", &self.keys.class).finish_non_exhaustive()
    }
}

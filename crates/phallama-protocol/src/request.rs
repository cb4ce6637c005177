//! Sealing a request to an epoch key, and opening it (spec/wire.md, *Request*).

mod plain;

use std::fmt;

use zeroize::Zeroizing;

pub use plain::{
    AllocationGrant, Method, PLAIN_PREFIX_LEN, Payment, PlainError, RequestPlain, UnknownMethod,
};

use crate::bundle::{SignedBundle, XWING_PK_LEN};
use crate::frames::{ClientExchange, ExchangeKeys, FrameClass, ServerExchange};
use crate::hash::{sha256, truncate};
use crate::rand_core::CryptoRng;
use crate::suite;

/// Header in front of the encapsulation.
pub const HEADER_LEN: usize = 16;
/// Encapsulated key.
pub const ENC_LEN: usize = suite::ENC_LEN;
/// Plain text of a full chunk.
pub const CHUNK_LEN: usize = 16_384;
/// Smallest padded plain text.
pub const PLAIN_MIN_LEN: usize = 4_096;
/// Largest padded plain text.
pub const PLAIN_MAX_LEN: usize = 2_097_152;
/// Longest `body` of a [`RequestPlain`].
pub const BODY_MAX_LEN: usize = PLAIN_MAX_LEN - PLAIN_PREFIX_LEN;
/// Smallest request on the wire.
pub const REQUEST_MIN_LEN: usize = HEADER_LEN + ENC_LEN + PLAIN_MIN_LEN + suite::TAG_LEN;
/// Largest request on the wire.
pub const REQUEST_MAX_LEN: usize =
    HEADER_LEN + ENC_LEN + PLAIN_MAX_LEN + PLAIN_MAX_LEN / CHUNK_LEN * suite::TAG_LEN;

const VERSION: u8 = 1;
const INFO_TAG: &[u8] = b"phallama/1 req\0";
const FINAL_AAD: &[u8] = b"final";

/// Why a request cannot be sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The body does not fit the largest bucket.
    #[error("request body has {got} bytes, more than the {max} that fit a sealed request")]
    BodyTooLarge {
        /// Most.
        max: usize,
        /// Length of the body.
        got: usize,
    },
    /// The bundle does not offer the class.
    #[error("pod does not serve the padding class {0:?}")]
    ClassNotServed(FrameClass),
    /// The HPKE library refused the key or the calculation.
    #[error("sealing to the pod's epoch key failed")]
    Crypto,
}

impl From<suite::Refused> for SealError {
    fn from(_: suite::Refused) -> Self {
        Self::Crypto
    }
}

/// Why a request is refused. [`OpenError::code`] says with which code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// More than the largest request; checked before anything is allocated.
    #[error("request has {got} bytes, more than {max}")]
    TooLarge {
        /// [`REQUEST_MAX_LEN`].
        max: usize,
        /// Length received.
        got: usize,
    },
    /// Not the length of any bucket: cut, or with something after its end.
    #[error("request has {0} bytes, which is the length of no bucket")]
    Length(usize),
    /// A version that this program does not speak.
    #[error("request has version {0}; this program speaks version 1")]
    Version(u8),
    /// A flag is set; none is defined.
    #[error("request has flags {0:#04x}; none is defined")]
    Flags(u8),
    /// Another KEM, KDF or AEAD: nothing is negotiated.
    #[error("request names suite {0:02x?}; the only one is X-Wing, HKDF-SHA256, AES-256-GCM")]
    Suite([u8; 6]),
    /// Sealed to another bundle than the one given.
    #[error("request was sealed to key {got}, not to {expected}", got = hex::encode(.got), expected = hex::encode(.expected))]
    KeyId {
        /// Key id of the bundle at hand.
        expected: [u8; 8],
        /// Key id in the header.
        got: [u8; 8],
    },
    /// A chunk does not authenticate: changed, reordered, cut, or sealed to another key.
    #[error("chunk {0} of the request does not open")]
    Chunk(usize),
    /// The plain text breaks a rule.
    #[error(transparent)]
    Plain(#[from] PlainError),
    /// The class exists, but the bundle does not offer it.
    #[error("request asks for the padding class {0:?}, which its key bundle does not offer")]
    ClassNotServed(FrameClass),
}

impl OpenError {
    /// The refusal that the client gets.
    pub fn code(&self) -> crate::refusal::Code {
        match self {
            Self::TooLarge { .. } => crate::refusal::Code::RequestTooLarge,
            Self::KeyId { .. } => crate::refusal::Code::UnknownKey,
            Self::Length(_)
            | Self::Version(_)
            | Self::Flags(_)
            | Self::Suite(_)
            | Self::Chunk(_)
            | Self::Plain(_)
            | Self::ClassNotServed(_) => crate::refusal::Code::MalformedRequest,
        }
    }
}

/// The enclave's X-Wing key of one epoch. The secret is zeroized on drop and has no text form.
pub struct EpochKey {
    secret: suite::PrivateKey,
    public: Box<[u8; XWING_PK_LEN]>,
}

impl EpochKey {
    /// A new key from `rng`.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let (secret, public) = suite::generate(rng);
        Self { secret, public }
    }

    /// The public key, for [`crate::bundle::KeyBundle::xwing_pk`].
    pub fn public_key(&self) -> [u8; XWING_PK_LEN] {
        *self.public
    }

    #[cfg(test)]
    pub(crate) fn secret(&self) -> &suite::PrivateKey {
        &self.secret
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(…)")
    }
}

/// A request that opened completely.
#[derive(Debug)]
pub struct OpenedRequest {
    /// What the client asked.
    pub plain: RequestPlain,
    /// The way to answer.
    pub exchange: ServerExchange,
}

/// Seals a request to the bundle's epoch key, padded to its bucket. Returns the body to send and
/// what is needed to open the answer. The answer's key pair is generated here from `rng`.
///
/// The bundle is taken as checked: decoding checks the signature; the window and whose bundle it
/// is are the caller's to check.
///
/// # Errors
/// [`SealError`].
pub fn seal_request(
    bundle: &SignedBundle,
    plain: &RequestPlain,
    rng: &mut impl CryptoRng,
) -> Result<(Vec<u8>, ClientExchange), SealError> {
    if !bundle.bundle().classes.contains(&plain.class) {
        return Err(SealError::ClassNotServed(plain.class));
    }
    let (ephemeral, ephemeral_pk) = suite::generate(rng);
    let padded = plain.encode(&ephemeral_pk)?;
    let header = header(bundle);
    let info = info(&header, bundle);
    let (enc, mut context) = suite::send(&bundle.bundle().xwing_pk, &info, None, rng)?;
    let mut wire = Vec::with_capacity(wire_len(padded.len()));
    wire.extend(header);
    wire.extend(enc);
    let mut chunks = padded.chunks(CHUNK_LEN).peekable();
    while let Some(chunk) = chunks.next() {
        let aad = if chunks.peek().is_none() { FINAL_AAD } else { &[] };
        wire.extend(context.seal(chunk, aad).map_err(suite::Refused::from)?);
    }
    let keys = exchange_keys(&header, bundle, &wire, plain, |context_name, out| {
        context.export(context_name, out)
    })?;
    Ok((wire, ClientExchange::new(keys, ephemeral)))
}

/// The key id of a request, after the checks that need no key: size, version, flags, suite.
///
/// # Errors
/// [`OpenError::TooLarge`], [`OpenError::Length`], [`OpenError::Version`], [`OpenError::Flags`],
/// [`OpenError::Suite`].
pub fn peek_key_id(request: &[u8]) -> Result<[u8; 8], OpenError> {
    Parts::split(request).map(|parts| parts.key_id)
}

/// The first 16 bytes of SHA-256(enc): the entry of a request in the replay set. `request` is a
/// whole request whose size [`peek_key_id`] has accepted.
pub fn enc_fingerprint(request: &[u8]) -> [u8; 16] {
    let enc = request.get(HEADER_LEN..HEADER_LEN + ENC_LEN).unwrap_or_default();
    truncate(&sha256(enc))
}

/// Opens a whole request, the final chunk included, and parses it. Nothing of it may be acted on
/// before [`enc_fingerprint`] is in the replay set.
///
/// # Errors
/// [`OpenError`], naming the first rule that is broken.
pub fn open_request(
    key: &EpochKey,
    bundle: &SignedBundle,
    request: &[u8],
) -> Result<OpenedRequest, OpenError> {
    let parts = Parts::split(request)?;
    let expected = bundle.key_id();
    if parts.key_id != expected {
        return Err(OpenError::KeyId { expected, got: parts.key_id });
    }
    let info = info(parts.header, bundle);
    let mut context =
        suite::receive(&key.secret, parts.enc, &info, None).map_err(|_| OpenError::Chunk(0))?;
    let mut padded = Zeroizing::new(Vec::with_capacity(parts.plain_len));
    let mut chunks = parts.chunks.chunks(CHUNK_LEN + suite::TAG_LEN).enumerate().peekable();
    while let Some((index, chunk)) = chunks.next() {
        let aad = if chunks.peek().is_none() { FINAL_AAD } else { &[] };
        let opened = context.open(chunk, aad).map_err(|_| OpenError::Chunk(index))?;
        padded.extend_from_slice(&Zeroizing::new(opened));
    }
    let (plain, ephemeral_pk) = RequestPlain::decode(&padded)?;
    if !bundle.bundle().classes.contains(&plain.class) {
        return Err(OpenError::ClassNotServed(plain.class));
    }
    let keys = exchange_keys(parts.header, bundle, request, &plain, |context_name, out| {
        context.export(context_name, out)
    })
    .map_err(|_| OpenError::Chunk(0))?;
    Ok(OpenedRequest { plain, exchange: ServerExchange::new(keys, ephemeral_pk) })
}

/// Derives what the answer is sealed with: the exported secret, bound to the whole request.
fn exchange_keys(
    header: &[u8; HEADER_LEN],
    bundle: &SignedBundle,
    wire: &[u8],
    plain: &RequestPlain,
    export: impl FnOnce(&[u8], &mut [u8]) -> Result<(), hpke::HpkeError>,
) -> Result<ExchangeKeys, suite::Refused> {
    let mut secret = Zeroizing::new([0; 32]);
    export(b"phallama/1 chain", secret.as_mut_slice())?;
    let psk = suite::Psk { secret, id: sha256(wire) };
    Ok(ExchangeKeys::new(psk, header, bundle.hash(), plain.class, &plain.salt))
}

fn header(bundle: &SignedBundle) -> [u8; HEADER_LEN] {
    let fields = [VERSION, 0].into_iter().chain(bundle.key_id()).chain(suite::IDS);
    let mut header = [0; HEADER_LEN];
    header.iter_mut().zip(fields).for_each(|(slot, byte)| *slot = byte);
    header
}

fn info(header: &[u8; HEADER_LEN], bundle: &SignedBundle) -> Vec<u8> {
    [INFO_TAG, header, &bundle.hash().0].concat()
}

/// Wire length of a request whose padded plain text has `plain_len` bytes.
fn wire_len(plain_len: usize) -> usize {
    let tags = plain_len.div_ceil(CHUNK_LEN).saturating_mul(suite::TAG_LEN);
    (HEADER_LEN + ENC_LEN).saturating_add(plain_len).saturating_add(tags)
}

/// A request cut at its fixed borders, its size and header checked.
struct Parts<'a> {
    header: &'a [u8; HEADER_LEN],
    key_id: [u8; 8],
    enc: &'a [u8],
    chunks: &'a [u8],
    plain_len: usize,
}

impl<'a> Parts<'a> {
    fn split(request: &'a [u8]) -> Result<Self, OpenError> {
        let got = request.len();
        if got > REQUEST_MAX_LEN {
            return Err(OpenError::TooLarge { max: REQUEST_MAX_LEN, got });
        }
        // Buckets double, so their lengths on the wire differ and each names its chunk borders.
        let plain_len = std::iter::successors(Some(PLAIN_MIN_LEN), |len| len.checked_mul(2))
            .take_while(|len| *len <= PLAIN_MAX_LEN)
            .find(|len| wire_len(*len) == got)
            .ok_or(OpenError::Length(got))?;
        let (header, rest) =
            request.split_first_chunk::<HEADER_LEN>().ok_or(OpenError::Length(got))?;
        let (enc, chunks) = rest.split_at_checked(ENC_LEN).ok_or(OpenError::Length(got))?;
        Ok(Self { header, key_id: check_header(header)?, enc, chunks, plain_len })
    }
}

fn check_header(header: &[u8; HEADER_LEN]) -> Result<[u8; 8], OpenError> {
    let [version, flags, key_id @ .., _, _, _, _, _, _] = *header;
    let [_, _, _, _, _, _, _, _, _, _, suite @ ..] = *header;
    if version != VERSION {
        return Err(OpenError::Version(version));
    }
    if flags != 0 {
        return Err(OpenError::Flags(flags));
    }
    if suite != suite::IDS {
        return Err(OpenError::Suite(suite));
    }
    Ok(key_id)
}

#[cfg(test)]
pub(crate) mod tests;

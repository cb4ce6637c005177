//! Asking a pod for its enclave's signature on the end of a channel, and the answer
//! (spec/wire.md, closing).

use crate::codec::Reader;
use crate::eip712::{Close, Domain, StartExit, channel_id};
use crate::ids::{Address, Amount, PodId};
use crate::keys::{Signature, SignatureError, recover};

/// Where the request is posted.
pub const CLOSE_PATH: &str = "/v1/close";
/// Media type of the request and of the answer.
pub const CLOSE_MEDIA_TYPE: &str = "application/phallama-close";
/// Length of a request, bytes.
pub const CLOSE_REQUEST_LEN: usize = 4 + 4 + 64;
/// Length of an answer, bytes.
pub const CLOSE_ANSWER_LEN: usize = 4 + 16 + 64;

const REQUEST_MAGIC: [u8; 4] = *b"PHCL";
const ANSWER_MAGIC: [u8; 4] = *b"PHCA";

/// The user asks for the end of the channel. The signature is that of an exit: only somebody who
/// may end the channel anyway can have the enclave refuse further requests in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseRequest {
    /// The channel's generation.
    pub epoch: u32,
    /// The user key's signature on [`StartExit`].
    pub exit_sig: Signature,
}

/// The enclave's last word about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseAnswer {
    /// Final cumulative amount.
    pub cumulative: Amount,
    /// The identity key's signature on [`Close`].
    pub signature: Signature,
}

/// Why bytes are no request or no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClosingError {
    /// Another length.
    #[error("{got} bytes, not {expected}")]
    Size {
        /// Expected.
        expected: usize,
        /// As received.
        got: usize,
    },
    /// Another beginning.
    #[error("starts with {got:02x?}, not with {expected:02x?}")]
    Magic {
        /// Expected.
        expected: [u8; 4],
        /// As received.
        got: [u8; 4],
    },
    /// The amount is above 2^96 − 1.
    #[error("names an amount above 2^96 - 1")]
    Amount,
}

impl CloseRequest {
    /// The 72 bytes.
    pub fn encode(&self) -> Vec<u8> {
        [&REQUEST_MAGIC[..], &self.epoch.to_be_bytes(), &self.exit_sig.0].concat()
    }

    /// Parses the 72 bytes.
    ///
    /// # Errors
    /// [`ClosingError::Size`], [`ClosingError::Magic`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ClosingError> {
        let (expected, got) = (CLOSE_REQUEST_LEN, bytes.len());
        let mut input = fields(bytes, expected, REQUEST_MAGIC)?;
        let size = |_| ClosingError::Size { expected, got };
        let epoch = input.u32().map_err(size)?;
        let exit_sig = Signature(input.array().map_err(size)?);
        Ok(Self { epoch, exit_sig })
    }

    /// Whose channel is to end.
    ///
    /// # Errors
    /// [`SignatureError`]. A signature on anything else is a stranger's.
    pub fn user(&self, pod_id: PodId, domain: &Domain) -> Result<Address, SignatureError> {
        recover(&StartExit { pod_id, epoch: self.epoch }.digest(domain), &self.exit_sig)
    }
}

impl CloseAnswer {
    /// The 84 bytes.
    pub fn encode(&self) -> Vec<u8> {
        [&ANSWER_MAGIC[..], &self.cumulative.to_be_bytes(), &self.signature.0].concat()
    }

    /// Parses the 84 bytes.
    ///
    /// # Errors
    /// [`ClosingError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ClosingError> {
        let (expected, got) = (CLOSE_ANSWER_LEN, bytes.len());
        let mut input = fields(bytes, expected, ANSWER_MAGIC)?;
        let cumulative = input.amount().map_err(|_| ClosingError::Amount)?;
        let signature = input.array().map_err(|_| ClosingError::Size { expected, got })?;
        Ok(Self { cumulative, signature: Signature(signature) })
    }

    /// Who signed the end of this channel at this amount.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn identity(
        &self,
        user: Address,
        pod_id: PodId,
        epoch: u32,
        domain: &Domain,
    ) -> Result<Address, SignatureError> {
        let (channel, cumulative) = (channel_id(user, pod_id), self.cumulative);
        recover(&Close { channel, epoch, cumulative }.digest(domain), &self.signature)
    }
}

/// What comes after the magic.
fn fields(bytes: &[u8], expected: usize, magic: [u8; 4]) -> Result<Reader<'_>, ClosingError> {
    let size = ClosingError::Size { expected, got: bytes.len() };
    if bytes.len() != expected {
        return Err(size);
    }
    let mut input = Reader::new(bytes);
    let got = input.array().map_err(|_| size)?;
    if got != magic {
        return Err(ClosingError::Magic { expected: magic, got });
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Signer;
    use crate::testing::Seeded;

    const DOMAIN: Domain = Domain { chain_id: 31_337, escrow: Address([7; 20]) };
    const POD: PodId = PodId([1; 32]);

    #[test]
    fn request_names_its_signer() {
        let user = Signer::generate(&mut Seeded::new("user"));
        let exit_sig = user.sign(&StartExit { pod_id: POD, epoch: 3 }.digest(&DOMAIN));
        let request = CloseRequest { epoch: 3, exit_sig };
        let bytes = request.encode();
        assert_eq!(bytes.len(), CLOSE_REQUEST_LEN);
        let read = CloseRequest::decode(&bytes).unwrap();
        assert_eq!(read, request);
        assert_eq!(read.user(POD, &DOMAIN), Ok(user.address()));
        assert_ne!(read.user(PodId([2; 32]), &DOMAIN), Ok(user.address()));
        let later = CloseRequest { epoch: 4, ..read };
        assert_ne!(later.user(POD, &DOMAIN), Ok(user.address()));
    }

    #[test]
    fn answer_names_the_enclave_for_this_channel_and_amount_only() {
        let (enclave, user) = (Signer::generate(&mut Seeded::new("enclave")), Address([9; 20]));
        let cumulative = Amount::from(70);
        let close = Close { channel: channel_id(user, POD), epoch: 3, cumulative };
        let answer = CloseAnswer { cumulative, signature: enclave.sign(&close.digest(&DOMAIN)) };
        assert_eq!(CloseAnswer::decode(&answer.encode()), Ok(answer));
        assert_eq!(answer.identity(user, POD, 3, &DOMAIN), Ok(enclave.address()));
        let less = CloseAnswer { cumulative: 69.into(), ..answer };
        assert_ne!(less.identity(user, POD, 3, &DOMAIN), Ok(enclave.address()));
        assert_ne!(answer.identity(user, POD, 4, &DOMAIN), Ok(enclave.address()));
    }

    #[test]
    fn other_lengths_beginnings_and_amounts_are_refused() {
        let request = CloseRequest { epoch: 0, exit_sig: Signature([5; 64]) }.encode();
        for bytes in [&request[1..], &[request.as_slice(), &[0]].concat()] {
            let size = ClosingError::Size { expected: CLOSE_REQUEST_LEN, got: bytes.len() };
            assert_eq!(CloseRequest::decode(bytes), Err(size));
        }
        let mut other = request.clone();
        other[3] = b'X';
        assert!(matches!(CloseRequest::decode(&other), Err(ClosingError::Magic { .. })));
        let signature = Signature([5; 64]);
        let mut answer = CloseAnswer { cumulative: Amount::MAX, signature }.encode();
        assert!(CloseAnswer::decode(&answer).is_ok());
        answer[4] = 1;
        assert_eq!(CloseAnswer::decode(&answer), Err(ClosingError::Amount));
    }
}

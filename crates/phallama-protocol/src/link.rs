//! The host's link to its enclave: frames `kind 1 | len 4 | payload` (spec/wire.md, *Host and
//! enclave*). A codec over byte slices; sockets are the callers'.

mod messages;

pub use messages::{
    Admit, Admitted, BatchRow, BatchSigned, Claim, CloseSigned, Control, Denied, EvidenceRequest,
    Head, ModelStatus, Refused, SignBatch, SignClose, Status, WorkerState,
};

/// Bytes in front of a payload.
pub const HEADER_LEN: usize = 5;
/// Longest payload: 4 MiB.
pub const PAYLOAD_MAX_LEN: usize = 4_194_304;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Both ways. Request: empty; answer: the bundle's bytes.
    Bundle = 1,
    /// Both ways. Request: a 32-byte nonce; answer: evidence JSON.
    Evidence = 2,
    /// Host to enclave: a request body.
    Sealed = 3,
    /// Enclave to host: [`Admit`].
    Admit = 4,
    /// Host to enclave: [`Admitted`].
    Admitted = 5,
    /// Host to enclave: [`Denied`].
    Denied = 6,
    /// Enclave to host: response bytes, to be passed on as they are.
    Out = 7,
    /// Enclave to host: [`Claim`].
    Claim = 8,
    /// Host to enclave, empty: the claim is durable.
    Stored = 9,
    /// Host to enclave, empty: the claim could not be stored.
    NotStored = 10,
    /// Enclave to host, empty: the exchange is complete.
    Done = 11,
    /// Enclave to host: [`Refused`].
    Refused = 12,
    /// Host to enclave: [`SignBatch`].
    SignBatch = 13,
    /// Enclave to host: [`BatchSigned`].
    BatchSigned = 14,
    /// Host to enclave: [`SignClose`].
    SignClose = 15,
    /// Enclave to host: [`CloseSigned`].
    CloseSigned = 16,
    /// Both ways. Request: empty; answer: [`Status`].
    Status = 17,
    /// Host to enclave: [`Head`].
    Head = 18,
}

impl Kind {
    /// Every kind, ascending.
    pub const ALL: [Self; 18] = [
        Self::Bundle,
        Self::Evidence,
        Self::Sealed,
        Self::Admit,
        Self::Admitted,
        Self::Denied,
        Self::Out,
        Self::Claim,
        Self::Stored,
        Self::NotStored,
        Self::Done,
        Self::Refused,
        Self::SignBatch,
        Self::BatchSigned,
        Self::SignClose,
        Self::CloseSigned,
        Self::Status,
        Self::Head,
    ];

    /// The id on the link.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The kind with this id.
    pub fn from_u8(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }
}

/// Why a frame or its payload is refused.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A kind that does not exist.
    #[error("link frame has the unknown kind {0}")]
    UnknownKind(u8),
    /// A payload above 4 MiB; checked before anything is allocated.
    #[error("link frame {kind:?} has {got} bytes, more than {max}")]
    TooLong {
        /// What it is.
        kind: Kind,
        /// [`PAYLOAD_MAX_LEN`].
        max: usize,
        /// Length stated or given.
        got: usize,
    },
    /// The frame is not what the caller waits for.
    #[error("link frame is {got:?}, not {expected:?}")]
    Unexpected {
        /// What was due.
        expected: Kind,
        /// What came.
        got: Kind,
    },
    /// A payload that must be empty is not.
    #[error("link frame {kind:?} has {got} bytes; it has none")]
    NotEmpty {
        /// What it is.
        kind: Kind,
        /// Its length.
        got: usize,
    },
    /// A control payload is not the JSON of its message.
    #[error("link frame {kind:?} cannot be read: {source}")]
    Json {
        /// What it is.
        kind: Kind,
        /// Where and why.
        source: serde_json::Error,
    },
}

/// Kind and length of the frame that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// Payload bytes that follow, at most [`PAYLOAD_MAX_LEN`].
    pub len: usize,
}

impl Header {
    /// Parses the five bytes in front of a payload.
    ///
    /// # Errors
    /// [`LinkError::UnknownKind`], [`LinkError::TooLong`].
    pub fn parse(bytes: [u8; HEADER_LEN]) -> Result<Self, LinkError> {
        let [kind, len @ ..] = bytes;
        let kind = Kind::from_u8(kind).ok_or(LinkError::UnknownKind(kind))?;
        let got = usize::try_from(u32::from_be_bytes(len)).unwrap_or(usize::MAX);
        Self::new(kind, got)
    }

    fn new(kind: Kind, len: usize) -> Result<Self, LinkError> {
        if len > PAYLOAD_MAX_LEN {
            return Err(LinkError::TooLong { kind, max: PAYLOAD_MAX_LEN, got: len });
        }
        Ok(Self { kind, len })
    }

    /// The five bytes in front of a payload.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let [a, b, c, d] = crate::codec::len_u32(self.len);
        [self.kind.id(), a, b, c, d]
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Raw bytes, or the JSON of a control message.
    pub payload: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Frame({:?}, {} B)", self.kind, self.payload.len())
    }
}

impl Frame {
    /// Reads the control message that this frame must be.
    ///
    /// # Errors
    /// [`LinkError::Unexpected`] for another kind, [`LinkError::Json`] for another content.
    pub fn control<T: Control>(&self) -> Result<T, LinkError> {
        if self.kind != T::KIND {
            return Err(LinkError::Unexpected { expected: T::KIND, got: self.kind });
        }
        serde_json::from_slice(&self.payload)
            .map_err(|source| LinkError::Json { kind: self.kind, source })
    }

    /// Checks that this frame is an empty one of `kind`.
    ///
    /// # Errors
    /// [`LinkError::Unexpected`], [`LinkError::NotEmpty`].
    pub fn empty(&self, kind: Kind) -> Result<(), LinkError> {
        if self.kind != kind {
            return Err(LinkError::Unexpected { expected: kind, got: self.kind });
        }
        if !self.payload.is_empty() {
            return Err(LinkError::NotEmpty { kind, got: self.payload.len() });
        }
        Ok(())
    }
}

/// A frame with raw (or empty) payload, ready to be written.
///
/// # Errors
/// [`LinkError::TooLong`].
pub fn encode(kind: Kind, payload: &[u8]) -> Result<Vec<u8>, LinkError> {
    let header = Header::new(kind, payload.len())?;
    Ok([&header.encode()[..], payload].concat())
}

/// A frame with a control message, ready to be written.
///
/// # Errors
/// [`LinkError::TooLong`], [`LinkError::Json`].
pub fn encode_control<T: Control>(message: &T) -> Result<Vec<u8>, LinkError> {
    let payload =
        serde_json::to_vec(message).map_err(|source| LinkError::Json { kind: T::KIND, source })?;
    encode(T::KIND, &payload)
}

/// Reads frames from pieces of any size. Never holds more than one unfinished frame.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Takes the next bytes and returns the frames that became complete with them.
    ///
    /// # Errors
    /// [`LinkError::UnknownKind`], [`LinkError::TooLong`], as soon as the header is there.
    pub fn decode(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, LinkError> {
        self.buffer.extend_from_slice(bytes);
        let mut frames = Vec::new();
        let mut rest = self.buffer.as_slice();
        while let Some((header, after)) = rest.split_first_chunk::<HEADER_LEN>() {
            let header = Header::parse(*header)?;
            let Some((payload, after)) = after.split_at_checked(header.len) else { break };
            frames.push(Frame { kind: header.kind, payload: payload.to_vec() });
            rest = after;
        }
        let taken = self.buffer.len().saturating_sub(rest.len());
        self.buffer.drain(..taken);
        Ok(frames)
    }

    /// Whether the link may end here: no frame is begun.
    pub fn is_complete(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests;

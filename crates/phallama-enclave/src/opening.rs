//! From sealed bytes to a request that may be acted on once (spec/wire.md, enclave steps 1 to 3).

use std::sync::Arc;

use phallama_protocol::link::Refused;
use phallama_protocol::refusal::Code;
use phallama_protocol::replay::ReplayError;
use phallama_protocol::request::{
    OpenError, OpenedRequest, enc_fingerprint, open_request, peek_key_id,
};

use crate::enclave::Enclave;
use crate::epoch::AdmitOnceError;

/// Advice with a full replay set: the next epoch key comes within its life.
const REPLAY_FULL_RETRY_MS: u32 = 60_000;

/// Opens all of a request and remembers its encapsulation. Nothing has happened when it is
/// refused, and the refusal is not authenticated.
///
/// # Errors
/// The refusal.
pub(crate) fn open(enclave: &Arc<Enclave>, sealed: &[u8]) -> Result<OpenedRequest, Refused> {
    let refused = |code| Refused { code, retry_after_ms: 0 };
    let malformed = |error: OpenError| refused(error.code());
    let key_id = peek_key_id(sealed).map_err(malformed)?;
    let live = enclave.epochs().key(key_id);
    let (key, bundle) = live.ok_or(refused(Code::UnknownKey))?;
    let opened = open_request(&key, &bundle, sealed).map_err(malformed)?;
    match enclave.epochs().insert(key_id, enc_fingerprint(sealed)) {
        Ok(()) => Ok(opened),
        Err(AdmitOnceError::EpochEnded) => Err(refused(Code::UnknownKey)),
        Err(AdmitOnceError::Replay(ReplayError::Seen)) => Err(refused(Code::Replayed)),
        Err(AdmitOnceError::Replay(ReplayError::Full(_))) => {
            Err(Refused { code: Code::QueueFull, retry_after_ms: REPLAY_FULL_RETRY_MS })
        }
    }
}

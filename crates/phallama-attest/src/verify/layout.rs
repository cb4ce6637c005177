//! The outer layout of a quote: lengths and types, before anything is believed.
//!
//! `dcap-qvl` tolerates bytes after the quote and inside its length-prefixed parts. Here each part
//! must end exactly where its length says (Intel, *SGX ECDSA QuoteGenReference*, appendix A.4;
//! *TDX DCAP Quote Generation Library*, appendix A.3).

use super::rejection::Rejection;

pub(crate) const HEADER_BYTES: usize = 48;
const TEE_SGX: u32 = 0x00;
const TEE_TDX: u32 = 0x81;
const SGX_REPORT_BYTES: usize = 384;
const TD_REPORT_10_BYTES: usize = 584;
const SIGNATURE_BYTES: usize = 64;
const KEY_BYTES: usize = 64;
const PCK_CERT_CHAIN: u16 = 5;
const QE_REPORT_CERTIFICATION: u16 = 6;

/// The quote formats that `dcap-qvl` can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuoteKind {
    SgxV3,
    TdxV4,
    TdxV5,
}

impl QuoteKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::SgxV3 => "SGX v3",
            Self::TdxV4 => "TDX v4",
            Self::TdxV5 => "TDX v5",
        }
    }
}

/// The parts of a quote that its PCK chain surrounds.
pub(crate) struct Parts<'a> {
    /// Header and body.
    pub(crate) signed: &'a [u8],
    /// Signature of the attestation key, then the key.
    pub(crate) signature_and_key: &'a [u8],
    /// Report of the quoting enclave, then its signature.
    pub(crate) qe_report_and_signature: &'a [u8],
    pub(crate) qe_authentication_data: &'a [u8],
}

/// The format that the quote's header declares.
pub(crate) fn kind(quote: &[u8]) -> Result<QuoteKind, Rejection> {
    let mut header = Cursor { rest: quote };
    let fields = (|| Some((header.u16()?, header.u16()?, header.u32()?)))();
    let Some((version, _key_type, tee_type)) = fields else {
        return Err(too_short(quote, HEADER_BYTES));
    };
    match (version, tee_type) {
        (3, TEE_SGX) => Ok(QuoteKind::SgxV3),
        (4, TEE_TDX) => Ok(QuoteKind::TdxV4),
        (5, TEE_TDX) => Ok(QuoteKind::TdxV5),
        _ => Err(Rejection::QuoteTypeUnsupported { version, tee_type }),
    }
}

/// Cuts `quote`, which must have exactly the length it declares, inside and out.
pub(crate) fn parts(quote: &[u8], kind: QuoteKind) -> Result<Parts<'_>, Rejection> {
    let mut cursor = Cursor { rest: quote };
    let fixed = skip_report(&mut cursor, kind);
    let signed_bytes = quote.len().saturating_sub(cursor.rest.len());
    let Some(declared) = fixed.and_then(|()| cursor.u32()) else {
        return Err(too_short(quote, HEADER_BYTES));
    };
    let before = quote.len().saturating_sub(cursor.rest.len());
    let declared = before.saturating_add(declared as usize);
    if quote.len() != declared {
        return Err(Rejection::QuoteLength { got: quote.len(), declared });
    }
    let signed = quote.get(..signed_bytes).unwrap_or_default();
    let authentication = authentication(&mut cursor, kind, signed);
    let (parts, certification_type) = authentication.ok_or_else(|| Rejection::QuoteMalformed {
        detail: "the parts of its authentication data do not fill it exactly".to_owned(),
    })?;
    if certification_type != PCK_CERT_CHAIN {
        return Err(Rejection::NoCertificateChain { certification_type });
    }
    Ok(parts)
}

fn skip_report(cursor: &mut Cursor<'_>, kind: QuoteKind) -> Option<()> {
    cursor.take(HEADER_BYTES)?;
    let report_bytes = match kind {
        QuoteKind::SgxV3 => SGX_REPORT_BYTES,
        QuoteKind::TdxV4 => TD_REPORT_10_BYTES,
        QuoteKind::TdxV5 => {
            let _body_type = cursor.u16()?;
            usize::try_from(cursor.u32()?).ok()?
        }
    };
    cursor.take(report_bytes)?;
    Some(())
}

/// Returns the certification data type too; `None` unless the parts fill the cursor exactly.
fn authentication<'a>(
    cursor: &mut Cursor<'a>,
    kind: QuoteKind,
    signed: &'a [u8],
) -> Option<(Parts<'a>, u16)> {
    let signature_and_key = cursor.take(SIGNATURE_BYTES + KEY_BYTES)?;
    let mut inner = match kind {
        QuoteKind::SgxV3 => Cursor { rest: cursor.rest },
        QuoteKind::TdxV4 | QuoteKind::TdxV5 => certified(cursor)?,
    };
    let qe_report_and_signature = inner.take(SGX_REPORT_BYTES + SIGNATURE_BYTES)?;
    let length = usize::from(inner.u16()?);
    let qe_authentication_data = inner.take(length)?;
    let certification_type = inner.u16()?;
    let length = usize::try_from(inner.u32()?).ok()?;
    inner.take(length)?;
    inner.rest.is_empty().then_some(())?;
    let parts =
        Parts { signed, signature_and_key, qe_report_and_signature, qe_authentication_data };
    Some((parts, certification_type))
}

/// What the certification data around the QE report holds, which must be the rest of `cursor`.
fn certified<'a>(cursor: &mut Cursor<'a>) -> Option<Cursor<'a>> {
    // The outer type is outside every signature, so it must have its only meaning.
    if cursor.u16()? != QE_REPORT_CERTIFICATION {
        return None;
    }
    let length = usize::try_from(cursor.u32()?).ok()?;
    let inner = Cursor { rest: cursor.take(length)? };
    cursor.rest.is_empty().then_some(inner)
}

fn too_short(quote: &[u8], declared: usize) -> Rejection {
    Rejection::QuoteLength {
        got: quote.len(),
        declared: declared.max(quote.len().saturating_add(1)),
    }
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

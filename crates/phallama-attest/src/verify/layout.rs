//! The outer layout of a quote: lengths and types, before anything is believed.
//!
//! `dcap-qvl` tolerates bytes after the quote and inside its length-prefixed parts. Here each part
//! must end exactly where its length says (Intel, *SGX ECDSA QuoteGenReference*, appendix A.4;
//! *TDX DCAP Quote Generation Library*, appendix A.3).

use super::rejection::Rejection;

const HEADER_BYTES: usize = 48;
const TEE_SGX: u32 = 0x00;
const TEE_TDX: u32 = 0x81;
const SGX_REPORT_BYTES: usize = 384;
const TD_REPORT_10_BYTES: usize = 584;
const SIGNATURE_AND_KEY_BYTES: usize = 64 + 64;
const QE_REPORT_AND_SIGNATURE_BYTES: usize = SGX_REPORT_BYTES + 64;
const PCK_CERT_CHAIN: u16 = 5;
const QE_REPORT_CERTIFICATION: u16 = 6;

/// The quote formats that `dcap-qvl` can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuoteKind {
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

/// The format that the quote's header declares.
pub(super) fn kind(quote: &[u8]) -> Result<QuoteKind, Rejection> {
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

/// Checks that `quote` has exactly the length it declares, inside and out.
pub(super) fn exact_length(quote: &[u8], kind: QuoteKind) -> Result<(), Rejection> {
    let mut cursor = Cursor { rest: quote };
    let fixed = skip_report(&mut cursor, kind);
    let Some(declared) = fixed.and_then(|()| cursor.u32()) else {
        return Err(too_short(quote, HEADER_BYTES));
    };
    let before = quote.len().saturating_sub(cursor.rest.len());
    let declared = before.saturating_add(declared as usize);
    if quote.len() != declared {
        return Err(Rejection::QuoteLength { got: quote.len(), declared });
    }
    let authentication = match kind {
        QuoteKind::SgxV3 => authentication_v3(&mut cursor),
        QuoteKind::TdxV4 | QuoteKind::TdxV5 => authentication_v4(&mut cursor),
    };
    let certification_type = authentication.ok_or_else(|| Rejection::QuoteMalformed {
        detail: "the parts of its authentication data do not fill it exactly".to_owned(),
    })?;
    if certification_type != PCK_CERT_CHAIN {
        return Err(Rejection::NoCertificateChain { certification_type });
    }
    Ok(())
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

/// Returns the certification data type; `None` unless the parts fill the cursor exactly.
fn authentication_v3(cursor: &mut Cursor<'_>) -> Option<u16> {
    cursor.take(SIGNATURE_AND_KEY_BYTES)?;
    certification(cursor)
}

fn authentication_v4(cursor: &mut Cursor<'_>) -> Option<u16> {
    cursor.take(SIGNATURE_AND_KEY_BYTES)?;
    // The outer type is outside every signature, so it must have its only meaning.
    if cursor.u16()? != QE_REPORT_CERTIFICATION {
        return None;
    }
    let length = usize::try_from(cursor.u32()?).ok()?;
    let mut inner = Cursor { rest: cursor.take(length)? };
    cursor.rest.is_empty().then_some(())?;
    certification(&mut inner)
}

fn certification(cursor: &mut Cursor<'_>) -> Option<u16> {
    cursor.take(QE_REPORT_AND_SIGNATURE_BYTES)?;
    let length = usize::from(cursor.u16()?);
    cursor.take(length)?;
    let certification_type = cursor.u16()?;
    let length = usize::try_from(cursor.u32()?).ok()?;
    cursor.take(length)?;
    cursor.rest.is_empty().then_some(certification_type)
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

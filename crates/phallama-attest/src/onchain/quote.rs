use crate::digests::{evidence_digest, td_measurement};
use crate::tee::Tee;
use crate::verify::dcap::quote_certificates;
use crate::verify::layout::{self, HEADER_BYTES, Parts, QuoteKind};

use super::{CutError, Pck};

/// Length of the quoting enclave's authentication data that contracts and `dcap-qvl` accept.
const AUTHENTICATION_DATA_BYTES: usize = 32;
const BODY_TYPE_AND_SIZE_BYTES: usize = 6;
const SGX_REPORT_BYTES: usize = 384;
/// TD 1.0, 1.5 and 1.5ex.
const TD_REPORT_BYTES: [usize; 3] = [584, 648, 885];
/// Where MRENCLAVE and the report data are in an enclave's report.
const MR_ENCLAVE: usize = 64;
const SGX_REPORT_DATA: usize = 320;
/// Where the measurement registers and the report data are in a trust domain's report.
const TD_REGISTERS: usize = 136;
const TD_REPORT_DATA: usize = 520;

/// A quote cut into the contracts' `Quote`, with the PCK certificate it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnChainQuote {
    /// Header and body, what the attestation key signed: 432 bytes (SGX v3), 632 (TDX v4), 638,
    /// 702 or 939 (TDX v5: TD 1.0, 1.5, 1.5ex).
    pub signed: Vec<u8>,
    /// 608 bytes: signature 64 | attestation key 64 | QE report 384 | its signature 64 | QE
    /// authentication data 32.
    pub auth: Vec<u8>,
    /// PCK certificate in DER.
    pub leaf: Vec<u8>,
    /// What it says.
    pub pck: Pck,
    tee: Tee,
    /// Where the report begins in `signed`.
    report_at: usize,
}

impl OnChainQuote {
    /// Cuts a raw quote, which must end where its lengths say: no padding.
    ///
    /// # Errors
    /// [`CutError`], naming the part that is wrong.
    pub fn cut(quote: &[u8]) -> Result<Self, CutError> {
        let kind = layout::kind(quote)?;
        let parts = layout::parts(quote, kind)?;
        let (tee, report_at) = report(kind, parts.signed.len())?;
        let auth = auth(&parts)?;
        let chain = quote_certificates(quote)?;
        let [leaf, issuer, ..] = chain.as_slice() else {
            let detail = format!("it has {} certificates, not two or more", chain.len());
            return Err(CutError::Chain { of: "the quote", detail });
        };
        let pck = Pck::from_der(leaf, issuer)?;
        Ok(Self { signed: parts.signed.to_vec(), auth, leaf: leaf.clone(), pck, tee, report_at })
    }

    /// What made the quote.
    pub fn tee(&self) -> Tee {
        self.tee
    }

    /// MRENCLAVE, or [`td_measurement`] of a trust domain.
    pub fn measurement(&self) -> [u8; 32] {
        match self.tee {
            Tee::Sgx => self.field(MR_ENCLAVE),
            Tee::Tdx => {
                let mut registers = [[0; 48]; 8];
                registers
                    .as_flattened_mut()
                    .copy_from_slice(&self.field::<{ 8 * 48 }>(TD_REGISTERS));
                td_measurement(&registers)
            }
        }
    }

    /// The 64 bytes that the enclave or trust domain chose.
    pub fn report_data(&self) -> [u8; 64] {
        self.field(match self.tee {
            Tee::Sgx => SGX_REPORT_DATA,
            Tee::Tdx => TD_REPORT_DATA,
        })
    }

    /// See [`machine_digest`](crate::machine_digest).
    pub fn machine(&self) -> [u8; 32] {
        self.pck.machine
    }

    /// See [`evidence_digest`].
    pub fn evidence(&self) -> [u8; 32] {
        let from = 64 + 64;
        let qe_report = self.auth.get(from..from + SGX_REPORT_BYTES).unwrap_or_default();
        evidence_digest(&self.signed, qe_report, &self.pck.tbs_hash)
    }

    /// `N` bytes of the report, which `cut` found to be long enough.
    fn field<const N: usize>(&self, at: usize) -> [u8; N] {
        let from = self.signed.get(self.report_at.saturating_add(at)..);
        from.and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
}

/// What made a quote with `signed` bytes of header and body, and where its report begins.
fn report(kind: QuoteKind, signed: usize) -> Result<(Tee, usize), CutError> {
    let at = match kind {
        QuoteKind::SgxV3 | QuoteKind::TdxV4 => HEADER_BYTES,
        QuoteKind::TdxV5 => HEADER_BYTES + BODY_TYPE_AND_SIZE_BYTES,
    };
    if kind == QuoteKind::SgxV3 {
        return Ok((Tee::Sgx, at));
    }
    let known = signed.checked_sub(at).is_some_and(|report| TD_REPORT_BYTES.contains(&report));
    known.then_some((Tee::Tdx, at)).ok_or(CutError::BodyLength { got: signed })
}

fn auth(parts: &Parts<'_>) -> Result<Vec<u8>, CutError> {
    let data = parts.qe_authentication_data;
    if data.len() != AUTHENTICATION_DATA_BYTES {
        let expected = AUTHENTICATION_DATA_BYTES;
        return Err(CutError::AuthenticationDataLength { got: data.len(), expected });
    }
    Ok([parts.signature_and_key, parts.qe_report_and_signature, data].concat())
}

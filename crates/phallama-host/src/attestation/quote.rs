//! A raw quote as the contract takes it, and what it says about its machine.

use phallama_attest::onchain::{CutError, OnChainQuote};
use phallama_attest::{Rejection, RootKind, Tee, TrustRoot};
use phallama_chain::{Pck, QuoteParts, TeeKind, key_id};
use phallama_protocol::ids::Digest32;
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::der::Encode as _;

use super::refusal::{Refusal, RefusalKind};
use crate::collateral::{PckCa, Wanted};

/// A quote in the contract's parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlatformQuote {
    /// What made it.
    pub tee: TeeKind,
    /// Header, body and signatures.
    pub parts: QuoteParts,
    /// PCK certificate, DER.
    pub leaf: Vec<u8>,
    /// What that certificate says.
    pub pck: Pck,
    /// MRENCLAVE, or the digest of a trust domain's registers.
    pub measurement: Digest32,
    /// The evidence digest, by which the registry names the quote.
    pub evidence: Digest32,
    /// Which collateral judges it, under the root at the end of its own certificates.
    pub wanted: Wanted,
}

/// The root certificate that a registry's verifier pins, by its SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root(pub [u8; 32]);

impl PlatformQuote {
    /// Cuts a raw quote.
    ///
    /// # Errors
    /// [`Refusal`] when it lacks its certificates or is no quote of a known type.
    pub fn cut(quote: &[u8]) -> Result<Self, Refusal> {
        let cut = OnChainQuote::cut(quote).map_err(|error| refused(&error))?;
        let wanted = wanted(&cut, quote)?;
        Ok(Self {
            tee: match cut.tee() {
                Tee::Sgx => TeeKind::Sgx,
                Tee::Tdx => TeeKind::Tdx,
            },
            pck: pck(&cut),
            measurement: Digest32(cut.measurement()),
            evidence: Digest32(cut.evidence()),
            wanted,
            parts: QuoteParts { signed: cut.signed, auth: cut.auth },
            leaf: cut.leaf,
        })
    }
}

impl Root {
    /// The pinned root as a verifier takes it, if the certificates of `wanted` end in it.
    ///
    /// # Errors
    /// [`Refusal`] with both roots.
    pub fn trust(self, wanted: &Wanted) -> Result<TrustRoot, Refusal> {
        let intel = TrustRoot::Intel.sha256();
        let own: [u8; 32] = Sha256::digest(&wanted.root_der).into();
        let is_intel = self.0 == intel;
        if own != self.0 {
            let trusted = if is_intel { RootKind::Intel } else { RootKind::Development };
            let (trusted_sha256, got_sha256) = (self.0, Some(own));
            let other = Rejection::UntrustedRoot { trusted, trusted_sha256, got_sha256 };
            return Err(Refusal::from(&other));
        }
        let development = || TrustRoot::Development(wanted.root_der.clone());
        Ok(if is_intel { TrustRoot::Intel } else { development() })
    }
}

fn refused(error: &CutError) -> Refusal {
    match error {
        CutError::Layout(rejection) => Refusal::from(rejection),
        other => malformed(other),
    }
}

fn malformed(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::by_host(RefusalKind::Malformed, vec![("found", error.to_string())])
}

fn pck(cut: &OnChainQuote) -> Pck {
    let pck = &cut.pck;
    Pck {
        tbs_hash: Digest32(pck.tbs_hash),
        x: pck.x,
        y: pck.y,
        issuer: key_id(&pck.issuer_key),
        serial: pck.serial,
        machine: Digest32(pck.machine),
        instance: pck.instance,
        cpu_svn: pck.cpu_svn,
        fmspc: pck.fmspc,
        pce_id: pck.pce_id,
        pce_svn: pck.pce_svn,
        not_before_unix_s: pck.not_before_unix_s,
        not_after_unix_s: pck.not_after_unix_s,
    }
}

fn wanted(cut: &OnChainQuote, quote: &[u8]) -> Result<Wanted, Refusal> {
    let chain = certificates(quote)?;
    let [leaf, .., root] = chain.as_slice() else {
        return Err(malformed(&"the quote carries fewer than two certificates"));
    };
    let issuer = leaf.tbs_certificate().issuer().to_string();
    let ca = if issuer.contains("Processor CA") { PckCa::Processor } else { PckCa::Platform };
    let root_der = root.to_der().map_err(|error| malformed(&error))?;
    Ok(Wanted { tee: cut.tee(), fmspc: cut.pck.fmspc, ca, root_der })
}

/// The PEM chain at a quote's end.
fn certificates(quote: &[u8]) -> Result<Vec<Certificate>, Refusal> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let at = quote.windows(BEGIN.len()).position(|window| window == BEGIN);
    let pem = quote.get(at.unwrap_or(quote.len())..).unwrap_or_default().trim_ascii_end();
    let pem = pem.strip_suffix(&[0]).unwrap_or(pem).trim_ascii_end();
    Certificate::load_pem_chain(pem).map_err(|error| malformed(&error))
}

//! The call into `dcap-qvl`, and what its refusals mean.
//!
//! `dcap-qvl` is the authority: nothing here accepts what it refuses. It reports errors as text
//! with typed causes, so [`classify`] names the failed check for people and tests. The crate is
//! pinned to one version for that; a text it does not know becomes [`Rejection::Other`], still a
//! refusal.

use std::fmt::Display;

use dcap_qvl::configs::RingConfig;
use dcap_qvl::quote::{Quote, Report};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuoteCollateralV3, QuotePolicy};
use sha2::{Digest, Sha256};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode};

use crate::evidence::{Collateral, Evidence};

use super::policy::TrustRoot;
use super::rejection::{CollateralItem, Rejection};

/// How far `dcap-qvl` got: its steps in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Revocation lists, collateral signers, PCK chain: known to be complete only together.
    Chains,
    QeReport,
    QeIdentity,
    QuoteSignature,
    TcbLevel,
    Attributes,
}

/// A refusal, and the step that refused.
pub(super) struct Refusal {
    pub(super) step: Step,
    pub(super) rejection: Rejection,
}

/// Steps 4 to 6, and the TDX attributes of step 7. No TCB status is refused
/// except `Revoked`: the caller must judge it.
pub(super) fn claims(
    evidence: &Evidence,
    root: &TrustRoot,
    now_unix_s: u64,
) -> Result<QuoteClaims, Refusal> {
    let verifier = match root {
        TrustRoot::Intel => QuoteVerifier::new_prod().with_config::<RingConfig>(),
        TrustRoot::Development(der) => QuoteVerifier::<RingConfig>::new_with_config(der.clone()),
    };
    let policy = QuotePolicy::claims_only(now_unix_s);
    let collateral = without_pck_chain(&evidence.collateral);
    verifier.verify_with_policy(&evidence.quote, collateral, now_unix_s, &policy).map_err(|error| {
        let text = format!("{error:#}");
        match error.downcast_ref::<webpki::Error>() {
            Some(cause) => by_cause(cause, &text, evidence, root, now_unix_s),
            None => by_text(&text, evidence),
        }
    })
}

/// The PCK certificates that the quote carries, in DER, leaf first.
pub(crate) fn quote_certificates(quote: &[u8]) -> Result<Vec<Vec<u8>>, Rejection> {
    let malformed = |error: &dyn Display| Rejection::QuoteMalformed { detail: error.to_string() };
    let quote = Quote::parse(quote).map_err(|error| malformed(&error))?;
    dcap_qvl::intel::extract_cert_chain(&quote).map_err(|error| malformed(&error))
}

/// The collateral for `dcap-qvl`, which would prefer a PCK chain in it over the quote's own.
fn without_pck_chain(collateral: &Collateral) -> QuoteCollateralV3 {
    QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain.clone(),
        root_ca_crl: collateral.root_ca_crl.clone(),
        pck_crl: collateral.pck_crl.clone(),
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.clone(),
        tcb_info: collateral.tcb_info.clone(),
        tcb_info_signature: collateral.tcb_info_signature.clone(),
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.clone(),
        qe_identity: collateral.qe_identity.clone(),
        qe_identity_signature: collateral.qe_identity_signature.clone(),
        pck_certificate_chain: None,
    }
}

/// Refusals by the path validator, which have a typed cause.
fn by_cause(
    cause: &webpki::Error,
    text: &str,
    evidence: &Evidence,
    root: &TrustRoot,
    now_unix_s: u64,
) -> Refusal {
    let item = CollateralItem::Certificate;
    let rejection = match cause {
        webpki::Error::CertExpired { not_after, .. } => Rejection::CollateralExpired {
            item,
            next_update_unix_s: not_after.as_secs(),
            now_unix_s,
        },
        webpki::Error::CertNotValidYet { not_before, .. } => Rejection::CollateralNotYetValid {
            item,
            issued_at_unix_s: not_before.as_secs(),
            now_unix_s,
        },
        webpki::Error::CertRevoked => revoked(evidence, root),
        webpki::Error::UnknownRevocationStatus => Rejection::RevocationUnknown,
        webpki::Error::InvalidCrlSignatureForPublicKey => crl_signature(text, evidence, root),
        _ => untrusted_root(evidence, root)
            .unwrap_or_else(|| Rejection::CertificateChainInvalid { detail: text.to_owned() }),
    };
    Refusal { step: Step::Chains, rejection }
}

/// A revocation list with a wrong signature: of another root, or tampered with.
fn crl_signature(text: &str, evidence: &Evidence, root: &TrustRoot) -> Rejection {
    if let Some(untrusted) = untrusted_root(evidence, root) {
        return untrusted;
    }
    let of_root = text.contains("root CA CRL");
    let item = if of_root { CollateralItem::RootCrl } else { CollateralItem::PckCrl };
    Rejection::CollateralSignature { item }
}

/// The rejection for evidence whose own chain ends in another root.
fn untrusted_root(evidence: &Evidence, root: &TrustRoot) -> Option<Rejection> {
    let chain = quote_certificates(&evidence.quote).unwrap_or_default();
    let got_sha256 = chain.last().map(|der| Sha256::digest(der).into());
    let trusted_sha256 = root.sha256();
    (got_sha256 != Some(trusted_sha256)).then(|| Rejection::UntrustedRoot {
        trusted: root.kind(),
        trusted_sha256,
        got_sha256,
    })
}

/// Finds the revoked certificate for the message; the refusal itself is the path validator's.
fn revoked(evidence: &Evidence, root: &TrustRoot) -> Rejection {
    let collateral = &evidence.collateral;
    let lists: Vec<CertificateList> = [&collateral.root_ca_crl, &collateral.pck_crl]
        .into_iter()
        .filter_map(|der| CertificateList::from_der(der).ok())
        .collect();
    let mut certificates: Vec<Certificate> = quote_certificates(&evidence.quote)
        .unwrap_or_default()
        .iter()
        .filter_map(|der| Certificate::from_der(der).ok())
        .collect();
    for chain in [&collateral.tcb_info_issuer_chain, &collateral.qe_identity_issuer_chain] {
        certificates.extend(Certificate::load_pem_chain(chain.as_bytes()).unwrap_or_default());
    }
    if let TrustRoot::Development(der) = root {
        certificates.extend(Certificate::from_der(der).ok());
    }
    let found = certificates.iter().find(|certificate| is_listed(certificate, &lists));
    found.map_or(
        Rejection::CertificateRevoked { subject: "unknown".to_owned(), serial: vec![] },
        |c| {
            let certificate = c.tbs_certificate();
            Rejection::CertificateRevoked {
                subject: certificate.subject().to_string(),
                serial: certificate.serial_number().as_bytes().to_vec(),
            }
        },
    )
}

fn is_listed(certificate: &Certificate, lists: &[CertificateList]) -> bool {
    let certificate = certificate.tbs_certificate();
    lists.iter().map(|list| &list.tbs_cert_list).any(|list| {
        let mut serials = list.revoked_certificates.iter().flatten();
        list.issuer == *certificate.issuer()
            && serials.any(|entry| entry.serial_number == *certificate.serial_number())
    })
}

/// Refusals by `dcap-qvl` itself, which are text.
fn by_text(text: &str, evidence: &Evidence) -> Refusal {
    let detail = || text.to_owned();
    let has = |needle: &str| text.contains(needle);
    let signature = |item| Rejection::CollateralSignature { item };
    let (step, rejection) = if has("Signature is invalid for tcb_info") {
        (Step::Chains, signature(CollateralItem::TcbInfo))
    } else if has("Signature is invalid for qe_identity") {
        (Step::Chains, signature(CollateralItem::QeIdentity))
    } else if has("must be issued directly by the root CA") || has("ertificate chain is too short")
    {
        (Step::Chains, Rejection::CertificateChainInvalid { detail: detail() })
    } else if has("Unsupported QE Identity") {
        (Step::Chains, Rejection::QeIdentity { detail: detail() })
    } else if has("Signature is invalid for qe_report") {
        (Step::QeReport, Rejection::QeReportSignature)
    } else if has("QE report hash mismatch") || has("Invalid QE auth data length") {
        (Step::QeReport, Rejection::AttestationKeyNotBound)
    } else if has("ISV enclave report signature is invalid") {
        (Step::QuoteSignature, Rejection::QuoteSignature)
    } else if has("No matching TCB level found") {
        (Step::TcbLevel, Rejection::NoTcbLevel)
    } else if has("No TDX module identity with id") || has("required from TDX module TCB levels") {
        (Step::TcbLevel, Rejection::NoTdxModuleLevel { detail: detail() })
    } else if has("TDX module identity check") {
        (Step::TcbLevel, Rejection::WrongTdxModule { detail: detail() })
    } else if has("Fmspc mismatch") || has("TCB info in the collateral") {
        (Step::TcbLevel, Rejection::CollateralForOtherPlatform { detail: detail() })
    } else if has("TCB status is invalid: Revoked") {
        (Step::TcbLevel, Rejection::TcbRevoked)
    } else if text.starts_with("QE ") || has("in QE Identity") {
        (Step::QeIdentity, Rejection::QeIdentity { detail: detail() })
    } else if let Some(rejection) = attributes(text, &evidence.quote) {
        (Step::Attributes, rejection)
    } else {
        (Step::Chains, Rejection::Other { detail: detail() })
    };
    Refusal { step, rejection }
}

/// The last step of `dcap-qvl`: attributes of the enclave or trust domain.
fn attributes(text: &str, quote: &[u8]) -> Option<Rejection> {
    if text == "Debug mode is enabled" {
        let attributes = match Quote::parse(quote).ok()?.report {
            Report::SgxEnclave(report) => hex::encode(report.attributes),
            report => hex::encode(report.as_td10()?.td_attributes),
        };
        return Some(Rejection::DebugEnabled { attributes });
    }
    let td = [
        "TD profiling",
        "TD migration",
        "bits in TD attributes",
        "SERVTD_EXT",
        "SEPT_VE_DISABLE",
        "MR service TD",
    ];
    td.iter()
        .any(|needle| text.contains(needle))
        .then(|| Rejection::TdAttributes { detail: text.to_owned() })
}

/// The certificates of a PEM chain in DER, if it is one.
pub(crate) fn pem_certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    let chain = Certificate::load_pem_chain(pem.trim_end_matches(['\0', '\n']).as_bytes()).ok()?;
    chain.iter().map(|certificate| certificate.to_der().ok()).collect()
}

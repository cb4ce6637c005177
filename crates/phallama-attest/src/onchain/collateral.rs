use crate::evidence::Collateral;
use crate::verify::dcap::pem_certificates;

use super::CutError;
use super::pck::public_key;

/// A certificate that a contract admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnChainCertificate {
    /// In DER.
    pub der: Vec<u8>,
    /// Public key: x ‖ y. Its Keccak-256 is the contracts' id of the certificate.
    pub key: [u8; 64],
}

/// Collateral cut into what the contracts are brought. The texts and signatures are those of
/// [`Collateral`] as they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnChainCollateral {
    /// The root, which the verifier was deployed with.
    pub root: OnChainCertificate,
    /// CA of the PCK certificate.
    pub ca: OnChainCertificate,
    /// Signer of the TCB information.
    pub tcb_info_signer: OnChainCertificate,
    /// Signer of the QE identity; nearly always the same.
    pub qe_identity_signer: OnChainCertificate,
    /// The root's revocation list in DER.
    pub root_crl: Vec<u8>,
    /// The CA's revocation list in DER.
    pub pck_crl: Vec<u8>,
    /// Signed JSON text of the TCB information.
    pub tcb_info: Vec<u8>,
    /// r ‖ s over `tcb_info`.
    pub tcb_info_signature: Vec<u8>,
    /// Signed JSON text of the QE identity.
    pub qe_identity: Vec<u8>,
    /// r ‖ s over `qe_identity`.
    pub qe_identity_signature: Vec<u8>,
}

impl OnChainCollateral {
    /// Cuts `collateral`. Nothing is checked but that the chains have certificates.
    ///
    /// # Errors
    /// [`CutError::Chain`] or [`CutError::Certificate`], naming the item.
    pub fn cut(collateral: &Collateral) -> Result<Self, CutError> {
        let (ca, root) = ends(&collateral.pck_crl_issuer_chain, "the PCK revocation list")?;
        let (tcb_info_signer, _) = ends(&collateral.tcb_info_issuer_chain, "the TCB information")?;
        let (qe_identity_signer, _) =
            ends(&collateral.qe_identity_issuer_chain, "the quoting-enclave identity")?;
        Ok(Self {
            root,
            ca,
            tcb_info_signer,
            qe_identity_signer,
            root_crl: collateral.root_ca_crl.clone(),
            pck_crl: collateral.pck_crl.clone(),
            tcb_info: collateral.tcb_info.clone().into_bytes(),
            tcb_info_signature: collateral.tcb_info_signature.clone(),
            qe_identity: collateral.qe_identity.clone().into_bytes(),
            qe_identity_signature: collateral.qe_identity_signature.clone(),
        })
    }
}

/// First and last certificate of a chain.
fn ends(pem: &str, of: &'static str) -> Result<(OnChainCertificate, OnChainCertificate), CutError> {
    let unusable = |detail: &str| CutError::Chain { of, detail: detail.to_owned() };
    let chain = pem_certificates(pem).ok_or_else(|| unusable("it is not PEM of certificates"))?;
    let [first, .., last] = chain.as_slice() else {
        return Err(unusable("it has fewer than two certificates"));
    };
    Ok((certificate(first, of)?, certificate(last, of)?))
}

fn certificate(der: &[u8], of: &'static str) -> Result<OnChainCertificate, CutError> {
    Ok(OnChainCertificate { der: der.to_vec(), key: public_key(der, of)? })
}

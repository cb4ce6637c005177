//! The contract that verifies quotes: what it has stored, what it would say, and bringing it
//! collateral. Anyone may do all of this.

use alloy::primitives::U256;
use alloy::sol_types::SolCall;
use phallama_protocol::ids::Digest32;

use crate::attestation::{Pck, QuoteParts, Verdict};
use crate::chain::Chain;
use crate::collateral::{
    CollateralKeys, CollateralState, Stored, StoredCa, StoredCrl, StoredSigner,
};
use crate::contracts::{self, IAttestationVerifier as Verifier};
use crate::convert::{from_b256, from_u40, saturating_u128};
use crate::error::ChainError;
use crate::sender::{Sender, Tx};

impl Chain {
    async fn verifier_read<C: SolCall>(
        &self,
        what: &'static str,
        call: C,
    ) -> Result<C::Return, ChainError> {
        self.read(what, self.verifier(), call).await
    }

    /// SHA-256 of the root certificate that the verifier pins, in DER.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn root_certificate_sha256(&self) -> Result<Digest32, ChainError> {
        let call = Verifier::ROOT_CERTIFICATE_SHA256Call {};
        Ok(from_b256(self.verifier_read("ROOT_CERTIFICATE_SHA256", call).await?))
    }

    /// The issuer to name when the root's own list is brought.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn root_issuer(&self) -> Result<Digest32, ChainError> {
        Ok(from_b256(self.verifier_read("ROOT", Verifier::ROOTCall {}).await?))
    }

    /// Whether the verifier remembers a PCK certificate, field for field.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn is_known_pck(&self, pck: &Pck) -> Result<bool, ChainError> {
        let pck = contracts::verifier_pck(pck)?;
        self.verifier_read("isKnown", Verifier::isKnownCall { pck }).await
    }

    /// What the verifier has of the collateral that a quote needs.
    ///
    /// # Errors
    /// [`ChainError`].
    pub async fn collateral_state(
        &self,
        keys: &CollateralKeys,
    ) -> Result<CollateralState, ChainError> {
        let tee = contracts::tee(keys.tee);
        let ca = Verifier::caCall { id: keys.ca.0.into() };
        let signer = Verifier::signerCall { id: keys.signer.0.into() };
        let tcb_info = Verifier::tcbInfoCall { tee, fmspc: keys.fmspc.into() };
        // On the heap: five requests under way are 20 kB.
        let (root, ca, signer, tcb_info, qe_identity) = Box::pin(async {
            tokio::try_join!(
                self.verifier_read("rootCrl", Verifier::rootCrlCall {}),
                self.verifier_read("ca", ca),
                self.verifier_read("signer", signer),
                self.verifier_read("tcbInfo", tcb_info),
                self.verifier_read("qeIdentity", Verifier::qeIdentityCall { tee }),
            )
        })
        .await?;
        Ok(CollateralState {
            root_crl: stored_crl(from_u40(root.nextUpdate), root.number),
            ca: stored_ca(&ca),
            signer: stored_signer(&signer),
            tcb_info: stored(
                tcb_info.evaluationNumber,
                from_u40(tcb_info.issuedAt),
                from_u40(tcb_info.nextUpdate),
            ),
            qe_identity: stored(
                qe_identity.evaluationNumber,
                from_u40(qe_identity.issuedAt),
                from_u40(qe_identity.nextUpdate),
            ),
        })
    }

    /// What the verifier says about a quote, without sending anything. `leaf` is the PCK
    /// certificate in DER.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] with the check that failed; otherwise [`ChainError`].
    pub async fn verify_quote(
        &self,
        quote: &QuoteParts,
        leaf: &[u8],
    ) -> Result<Verdict, ChainError> {
        let call = Verifier::verifyCall {
            quote: contracts::verifier_quote(quote),
            leaf: leaf.to_vec().into(),
        };
        contracts::verdict(&self.verifier_read("verify", call).await?)
    }

    /// The same for a machine whose PCK certificate is remembered.
    ///
    /// # Errors
    /// [`ChainError::Reverted`] with the check that failed; otherwise [`ChainError`].
    pub async fn verify_known_quote(
        &self,
        quote: &QuoteParts,
        pck: &Pck,
    ) -> Result<Verdict, ChainError> {
        let (quote, pck) = (contracts::verifier_quote(quote), contracts::verifier_pck(pck)?);
        let call = Verifier::verifyKnownCall { quote, pck };
        contracts::verdict(&self.verifier_read("verifyKnown", call).await?)
    }
}

fn stored_crl(next_update_unix_s: u64, number: U256) -> Option<StoredCrl> {
    let number = saturating_u128(number);
    (next_update_unix_s > 0).then_some(StoredCrl { number, next_update_unix_s })
}

fn stored_ca(ca: &Verifier::caReturn) -> Option<StoredCa> {
    let not_after_unix_s = from_u40(ca.notAfter);
    let crl = stored_crl(from_u40(ca.crlNextUpdate), ca.crlNumber);
    (not_after_unix_s > 0).then_some(StoredCa { not_after_unix_s, crl, revoked: ca.revoked })
}

fn stored_signer(signer: &Verifier::signerReturn) -> Option<StoredSigner> {
    let not_after_unix_s = from_u40(signer.notAfter);
    (not_after_unix_s > 0).then_some(StoredSigner { not_after_unix_s, good: signer.good })
}

fn stored(
    evaluation_number: u32,
    issued_at_unix_s: u64,
    next_update_unix_s: u64,
) -> Option<Stored> {
    let stored = Stored { evaluation_number, issued_at_unix_s, next_update_unix_s };
    (next_update_unix_s > 0).then_some(stored)
}

impl Sender {
    async fn verifier<C: SolCall>(&self, what: &'static str, call: C) -> Result<Tx, ChainError> {
        self.call(what, self.chain.verifier(), call.abi_encode()).await
    }

    /// Admits a CA for PCK certificates that the root signed; `der` is its certificate.
    pub async fn admit_ca(&self, der: &[u8]) -> Result<Tx, ChainError> {
        self.verifier("admitCa", Verifier::admitCaCall { der: der.to_vec().into() }).await
    }

    /// Admits a signer of TCB information that the root signed; `der` is its certificate.
    pub async fn admit_signer(&self, der: &[u8]) -> Result<Tx, ChainError> {
        self.verifier("admitSigner", Verifier::admitSignerCall { der: der.to_vec().into() }).await
    }

    /// Replaces the revocation list of `issuer`: an admitted CA, or [`Chain::root_issuer`].
    pub async fn upsert_crl(&self, issuer: Digest32, der: &[u8]) -> Result<Tx, ChainError> {
        let call = Verifier::upsertCrlCall { issuer: issuer.0.into(), der: der.to_vec().into() };
        self.verifier("upsertCrl", call).await
    }

    /// Replaces the TCB information of a processor family. `json` is the signed text of `tcbInfo`,
    /// byte for byte; `signature` is r ‖ s.
    pub async fn upsert_tcb_info(
        &self,
        json: &[u8],
        signature: &[u8],
        signer: Digest32,
    ) -> Result<Tx, ChainError> {
        let call = Verifier::upsertTcbInfoCall {
            json: json.to_vec().into(),
            signature: signature.to_vec().into(),
            signer: signer.0.into(),
        };
        self.verifier("upsertTcbInfo", call).await
    }

    /// Replaces the identity of a quoting enclave. `json` is the signed text of
    /// `enclaveIdentity`, byte for byte; `signature` is r ‖ s.
    pub async fn upsert_qe_identity(
        &self,
        json: &[u8],
        signature: &[u8],
        signer: Digest32,
    ) -> Result<Tx, ChainError> {
        let call = Verifier::upsertQeIdentityCall {
            json: json.to_vec().into(),
            signature: signature.to_vec().into(),
            signer: signer.0.into(),
        };
        self.verifier("upsertQeIdentity", call).await
    }

    /// Verifies a PCK certificate and has it remembered; `leaf` is in DER.
    pub async fn admit_pck(&self, leaf: &[u8]) -> Result<Tx, ChainError> {
        self.verifier("admitPck", Verifier::admitPckCall { leaf: leaf.to_vec().into() }).await
    }
}

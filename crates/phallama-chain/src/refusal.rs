//! The contracts' errors by name and arguments, for people to read.

use alloy::primitives::Bytes;
use alloy::sol_types::SolInterface as _;

use self::generated::QuoteErrors::QuoteErrorsErrors as VerifierErrors;
use crate::attestation::TcbStatusCode;
use crate::contracts::Escrow::EscrowErrors;
use crate::contracts::PodRegistry::{PodRegistryErrors, StatusNotAccepted};

/// Generated code: its style is not ours.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
mod generated {
    // The errors of `IAttestationVerifier.sol` once more: ABI files do not name the values of
    // enums, and what is signed, issued or stored should have its name in an error.
    alloy::sol! {
        #[derive(Debug)]
        interface QuoteErrors {
            enum Signed {
                Root, Ca, Signer, Pck, RootCrl, PckCrl, TcbInfo, QeIdentity, QeReport, Quote
            }
            enum CertificateFault {
                NotACa, IsACa, KeyUsage, Algorithm, UnknownCriticalExtension, NoSgxExtension,
                SgxField
            }
            enum QuotePart {
                Signed, Auth, Version, KeyType, TeeType, Vendor, BodyType, BodySize
            }
            enum QeField { MrSigner, IsvProdId, MiscSelect, Attributes }

            error NoP256Precompile();
            error BadDer(uint256 offset);
            error BadCertificate(CertificateFault fault);
            error BadSignature(Signed what);
            error WrongIssuer(bytes32 expectedName, bytes32 gotName);
            error UnknownCa(bytes32 ca);
            error UnknownSigner(bytes32 signer);
            error NotValidNow(Signed what, uint256 start, uint256 end, uint256 time);
            error Revoked(Signed what, uint256 serial);
            error TooMany(Signed what, uint256 max);
            error Missing(Signed what, bytes32 key);
            error NotNewer(Signed what, uint256 stored, uint256 offered);
            error BadJson(uint256 offset);
            error BadLength(QuotePart part, uint256 got);
            error UnsupportedQuote(QuotePart part, uint256 got);
            error AttestationKeyNotBound(bytes32 expected, bytes32 got);
            error WrongQuotingEnclave(QeField field, bytes32 expected, bytes32 got);
            error NoQeLevel(uint256 isvSvn);
            error NoTcbLevel(bytes16 cpuSvn, uint16 pceSvn, bytes16 teeTcbSvn);
            error NoTdxModuleLevel(uint256 moduleVersion, uint256 isvSvn);
            error WrongTdxModule(bytes32 expected, bytes32 got);
            error TcbRevoked();
            error ForbiddenAttributes(uint256 attributes, uint256 forbidden);
            error BoundToServiceTd();
            error UnknownPck(bytes32 tbsHash);
        }
    }
}

/// A contract's error by name and arguments, or its bytes when it is none of ours.
pub(crate) fn reason(data: &Bytes) -> String {
    match ours(data) {
        Some(text) => without_wrapper(&text).to_owned(),
        None => alloy::sol_types::decode_revert_reason(data).unwrap_or_else(|| data.to_string()),
    }
}

/// As `Name(Name { … })`.
fn ours(data: &Bytes) -> Option<String> {
    let of_registry = PodRegistryErrors::abi_decode(data).map(|error| registrys(&error));
    let of_verifier = || VerifierErrors::abi_decode(data).map(|error| format!("{error:?}"));
    let of_escrow = || EscrowErrors::abi_decode(data).map(|error| format!("{error:?}"));
    of_registry.or_else(|_| of_verifier()).or_else(|_| of_escrow()).ok()
}

fn registrys(error: &PodRegistryErrors) -> String {
    if let PodRegistryErrors::StatusNotAccepted(StatusNotAccepted { status }) = error
        && let Ok(status) = TcbStatusCode::try_from(*status)
    {
        return format!("StatusNotAccepted(StatusNotAccepted {{ status: {status} }})");
    }
    format!("{error:?}")
}

/// `Name(Name { … })` as `Name { … }`.
fn without_wrapper(text: &str) -> &str {
    text.split_once('(').and_then(|(_, inner)| inner.strip_suffix(')')).unwrap_or(text)
}

/// The name in front of [`reason`]'s arguments, where it is a contract's error.
pub(crate) fn name(reason: &str) -> Option<&str> {
    let name = reason.split(" {").next().unwrap_or(reason);
    let is_name = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, U256};
    use alloy::sol_types::SolError;

    use super::generated::QuoteErrors::{self as errors, Signed};
    use super::*;
    use crate::contracts::AttestationVerifier::AttestationVerifierErrors;
    use crate::contracts::PodRegistry::MachineTaken;

    const INTERFACE: &str =
        include_str!("../../../contracts/src/interfaces/IAttestationVerifier.sol");

    fn check(error: &impl SolError, expected: &str) {
        assert_eq!(reason(&error.abi_encode().into()), expected);
    }

    #[test]
    fn an_error_has_its_name_and_arguments() {
        let (stored, offered) = (U256::from(7), U256::from(6));
        let error = errors::NotNewer { what: Signed::PckCrl, stored, offered };
        check(&error, "NotNewer { what: PckCrl, stored: 7, offered: 6 }");
        check(&errors::TcbRevoked {}, "TcbRevoked");
        check(&StatusNotAccepted { status: 4 }, "StatusNotAccepted { status: OutOfDate }");
        let (machine, holder) = (B256::repeat_byte(1), B256::repeat_byte(2));
        let taken = MachineTaken { machine, holder, until: U256::from(9) };
        check(
            &taken,
            &format!("MachineTaken {{ machine: {machine}, holder: {holder}, until: 9 }}"),
        );
    }

    #[test]
    fn the_name_of_an_error_is_found_and_no_other_text_is_one() {
        assert_eq!(name("NotNewer { what: PckCrl, stored: 7, offered: 6 }"), Some("NotNewer"));
        assert_eq!(name("TcbRevoked"), Some("TcbRevoked"));
        assert_eq!(name("execution reverted"), None);
        assert_eq!(name("0x12345678"), None);
    }

    #[test]
    fn every_error_of_the_verifier_is_known_here() {
        let mut known: Vec<_> = VerifierErrors::selectors().collect();
        let mut declared: Vec<_> = AttestationVerifierErrors::selectors().collect();
        known.sort_unstable();
        declared.sort_unstable();
        assert_eq!(known, declared);
    }

    #[test]
    fn enums_have_the_values_of_the_interface() {
        let same = |name, values: &[String]| assert_eq!(declared(name), values, "{name}");
        same("Signed", &values(|code| errors::Signed::try_from(code).ok()));
        same("CertificateFault", &values(|code| errors::CertificateFault::try_from(code).ok()));
        same("QuotePart", &values(|code| errors::QuotePart::try_from(code).ok()));
        same("QeField", &values(|code| errors::QeField::try_from(code).ok()));
        same("TcbStatus", &values(|code| TcbStatusCode::try_from(code).ok().map(Words)));
    }

    /// Shows the words that Intel and the interface use.
    struct Words(TcbStatusCode);

    impl std::fmt::Debug for Words {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{}", self.0)
        }
    }

    fn values<T: std::fmt::Debug>(value: impl Fn(u8) -> Option<T>) -> Vec<String> {
        (0..).map_while(|code| value(code).map(|value| format!("{value:?}"))).collect()
    }

    /// The values of an enum in the interface's text.
    fn declared(name: &str) -> Vec<String> {
        let (_, rest) = INTERFACE.split_once(&format!("enum {name} {{")).unwrap();
        let (values, _) = rest.split_once('}').unwrap();
        values.split(',').map(|value| value.trim().to_owned()).collect()
    }
}

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
                SgxField, NoKeyIdentifier
            }
            enum QuotePart {
                Signed, Auth, Version, KeyType, TeeType, Vendor, BodyType, BodySize
            }
            enum QeField { MrSigner, IsvProdId, MiscSelect, Attributes }

            error NoP256Precompile();
            error BadDer(uint256 offset);
            error BadCertificate(CertificateFault fault);
            error BadSignature(Signed what);
            error WrongIssuer(bytes32 expected, bytes32 got);
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
    // First, because the registry's own file has some of them, with numbers for the enums.
    let of_verifier = VerifierErrors::abi_decode(data).map(|error| format!("{error:?}"));
    let of_registry = || PodRegistryErrors::abi_decode(data).map(|error| registrys(&error));
    let of_escrow = || EscrowErrors::abi_decode(data).map(|error| format!("{error:?}"));
    of_verifier.or_else(|_| of_registry()).or_else(|_| of_escrow()).ok()
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
    use alloy::primitives::{Address, B256, FixedBytes, U256};
    use alloy::sol_types::SolError;

    use super::generated::QuoteErrors::{
        self as errors, CertificateFault, QeField, QuotePart, Signed,
    };
    use super::*;
    use crate::contracts::PodRegistry as registry;

    const INTERFACE: &str =
        include_str!("../../../contracts/src/interfaces/IAttestationVerifier.sol");

    fn check(error: &impl SolError, expected: &str) {
        assert_eq!(reason(&error.abi_encode().into()), expected);
    }

    const WORD: B256 = B256::repeat_byte(0xab);
    const OTHER: B256 = B256::repeat_byte(0xcd);

    fn number(value: u64) -> U256 {
        U256::from(value)
    }

    #[test]
    fn errors_about_certificates_have_their_names_and_arguments() {
        check(&errors::NoP256Precompile {}, "NoP256Precompile");
        check(&errors::BadDer { offset: number(9) }, "BadDer { offset: 9 }");
        let fault = CertificateFault::NoSgxExtension;
        check(&errors::BadCertificate { fault }, "BadCertificate { fault: NoSgxExtension }");
        check(&errors::BadSignature { what: Signed::QeReport }, "BadSignature { what: QeReport }");
        let error = errors::WrongIssuer { expected: WORD, got: OTHER };
        check(&error, &format!("WrongIssuer {{ expected: {WORD}, got: {OTHER} }}"));
        check(&errors::UnknownCa { ca: WORD }, &format!("UnknownCa {{ ca: {WORD} }}"));
        let error = errors::UnknownSigner { signer: WORD };
        check(&error, &format!("UnknownSigner {{ signer: {WORD} }}"));
        let (start, end, time) = (number(1), number(2), number(3));
        let error = errors::NotValidNow { what: Signed::RootCrl, start, end, time };
        check(&error, "NotValidNow { what: RootCrl, start: 1, end: 2, time: 3 }");
        let error = errors::Revoked { what: Signed::Ca, serial: number(5) };
        check(&error, "Revoked { what: Ca, serial: 5 }");
        let error = errors::TooMany { what: Signed::Signer, max: number(16) };
        check(&error, "TooMany { what: Signer, max: 16 }");
        let error = errors::UnknownPck { tbsHash: WORD };
        check(&error, &format!("UnknownPck {{ tbsHash: {WORD} }}"));
    }

    #[test]
    fn errors_about_collateral_have_their_names_and_arguments() {
        let error = errors::Missing { what: Signed::TcbInfo, key: WORD };
        check(&error, &format!("Missing {{ what: TcbInfo, key: {WORD} }}"));
        let (stored, offered) = (number(7), number(6));
        let error = errors::NotNewer { what: Signed::PckCrl, stored, offered };
        check(&error, "NotNewer { what: PckCrl, stored: 7, offered: 6 }");
        check(&errors::BadJson { offset: number(4) }, "BadJson { offset: 4 }");
        let field = QeField::MiscSelect;
        let error = errors::WrongQuotingEnclave { field, expected: WORD, got: OTHER };
        check(
            &error,
            &format!("WrongQuotingEnclave {{ field: MiscSelect, expected: {WORD}, got: {OTHER} }}"),
        );
        check(&errors::NoQeLevel { isvSvn: number(2) }, "NoQeLevel { isvSvn: 2 }");
        let svn = FixedBytes::repeat_byte(0x0b);
        let error = errors::NoTcbLevel { cpuSvn: svn, pceSvn: 13, teeTcbSvn: svn };
        check(&error, &format!("NoTcbLevel {{ cpuSvn: {svn}, pceSvn: 13, teeTcbSvn: {svn} }}"));
        let error = errors::NoTdxModuleLevel { moduleVersion: number(1), isvSvn: number(2) };
        check(&error, "NoTdxModuleLevel { moduleVersion: 1, isvSvn: 2 }");
        let error = errors::WrongTdxModule { expected: WORD, got: OTHER };
        check(&error, &format!("WrongTdxModule {{ expected: {WORD}, got: {OTHER} }}"));
        check(&errors::TcbRevoked {}, "TcbRevoked");
    }

    #[test]
    fn errors_about_quotes_have_their_names_and_arguments() {
        let error = errors::BadLength { part: QuotePart::Auth, got: number(607) };
        check(&error, "BadLength { part: Auth, got: 607 }");
        let error = errors::UnsupportedQuote { part: QuotePart::TeeType, got: number(3) };
        check(&error, "UnsupportedQuote { part: TeeType, got: 3 }");
        let error = errors::AttestationKeyNotBound { expected: WORD, got: OTHER };
        check(&error, &format!("AttestationKeyNotBound {{ expected: {WORD}, got: {OTHER} }}"));
        let (attributes, forbidden) = (number(7), number(2));
        let error = errors::ForbiddenAttributes { attributes, forbidden };
        check(&error, "ForbiddenAttributes { attributes: 7, forbidden: 2 }");
        check(&errors::BoundToServiceTd {}, "BoundToServiceTd");
    }

    #[test]
    fn errors_of_the_registry_have_their_names_and_arguments() {
        check(&StatusNotAccepted { status: 4 }, "StatusNotAccepted { status: OutOfDate }");
        let taken = registry::MachineTaken { machine: WORD, holder: OTHER, until: number(9) };
        check(&taken, &format!("MachineTaken {{ machine: {WORD}, holder: {OTHER}, until: 9 }}"));
        let error = registry::WrongReportData { expected: WORD, got: OTHER, nonce: B256::ZERO };
        let zero = B256::ZERO;
        check(
            &error,
            &format!("WrongReportData {{ expected: {WORD}, got: {OTHER}, nonce: {zero} }}"),
        );
        let error = registry::OtherEvidence { expected: WORD, got: OTHER };
        check(&error, &format!("OtherEvidence {{ expected: {WORD}, got: {OTHER} }}"));
        check(&registry::StillGood { podId: WORD }, &format!("StillGood {{ podId: {WORD} }}"));
        check(&registry::ZeroIdentity {}, "ZeroIdentity");
        let account = Address::repeat_byte(0x11);
        let error = registry::NoKey { podId: WORD, identity: account };
        check(&error, &format!("NoKey {{ podId: {WORD}, identity: {account:?} }}"));
        check(&registry::NoCode { account }, &format!("NoCode {{ account: {account:?} }}"));
    }

    #[test]
    fn what_is_no_error_of_ours_is_shown_as_it_came() {
        assert_eq!(reason(&Bytes::from_static(&[0xff, 2, 3, 4])), "0xff020304");
    }

    #[test]
    fn the_name_of_an_error_is_found_and_no_other_text_is_one() {
        assert_eq!(name("NotNewer { what: PckCrl, stored: 7, offered: 6 }"), Some("NotNewer"));
        assert_eq!(name("TcbRevoked"), Some("TcbRevoked"));
        assert_eq!(name("execution reverted"), None);
        assert_eq!(name("0x12345678"), None);
    }

    #[test]
    fn every_error_of_the_interface_is_here_word_for_word() {
        let errors = |text: &str| -> Vec<String> {
            let lines = text.lines().map(str::trim).filter(|line| line.ends_with(");"));
            lines.filter(|line| line.starts_with("error ")).map(str::to_owned).collect()
        };
        let (mut declared, mut here) = (errors(INTERFACE), errors(include_str!("refusal.rs")));
        declared.sort_unstable();
        here.sort_unstable();
        assert_eq!(here, declared);
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

//! The differences that are meant. Everything else fails the test.
//!
//! Each is tied to the contract's own error with its arguments, and to the bytes: where the
//! contract asks for a form, a second parser has to find that the bytes are not in it.

use phallama_attest::Rejection;
use phallama_attest::onchain::{CutError, OnChainQuote};

use crate::canonical;
use crate::case::{Case, Changed, Verdict};
use crate::contract::{Error, Refusal, Signed, Step};
use crate::essence;
use crate::field::{self, Cut};
use crate::profile;
use crate::scene::root;

/// What both said.
pub(crate) struct Difference<'a> {
    case: &'a Case,
    expected: &'a Result<Verdict, String>,
    got: &'a Result<Verdict, Refusal>,
}

/// A difference, and why there is one.
pub(crate) struct Intended {
    pub(crate) name: &'static str,
    pub(crate) reason: &'static str,
    holds: fn(&Difference<'_>) -> bool,
}

/// All of them. One that never occurs fails the test.
pub(crate) const ALL: &[Intended] = &[
    Intended {
        name: "last second",
        reason: "a window ends before its last second, not after it",
        holds: |difference| match difference.refused() {
            Some((_, Error::NotValidNow(e))) => e.end.to::<u64>() == difference.case.judged_at,
            _ => false,
        },
    },
    Intended {
        name: "dates of the root",
        reason: "the pinned root certificate ends too; a trust anchor has no dates for dcap-qvl",
        holds: |difference| match difference.refused() {
            Some((_, Error::NotValidNow(e))) => e.what == Signed::Root,
            _ => false,
        },
    },
    Intended {
        name: "list from the future",
        reason: "a revocation list is good from its thisUpdate on; dcap-qvl does not read that",
        holds: |difference| match difference.refused() {
            Some((Step::RootCrl | Step::PckCrl, Error::NotValidNow(e))) => {
                matches!(e.what, Signed::RootCrl | Signed::PckCrl) && e.time < e.start
            }
            _ => false,
        },
    },
    Intended {
        name: "JSON not in Intel's form",
        reason: "signed JSON is walked in Intel's canonical form, known statuses only",
        holds: |difference| match difference.refused() {
            Some((step, Error::BadJson(_))) => is_other_json(difference.case, step),
            _ => false,
        },
    },
    Intended {
        name: "QE in need of configuration",
        reason: "Intel's library calls a QE up to date, revoked or out of date; dcap-qvl has more",
        holds: |difference| match (difference.expected, difference.got) {
            (Ok(expected), Ok(got)) if !expected.is(got) => {
                let plainer = with_plainer_qe_levels(difference.case);
                field::judge(&plainer).is_ok_and(|expected| expected.is(got))
            }
            _ => false,
        },
    },
    Intended {
        name: "PCE id",
        reason: "TCB information is for one PCE id; dcap-qvl does not compare it",
        holds: |difference| match difference.refused() {
            Some((Step::Verify, Error::Missing(e))) => {
                e.what == Signed::TcbInfo && e.key[2..] == [0; 30]
            }
            _ => false,
        },
    },
    Intended {
        name: "second half of QE report data",
        reason: "it must be zero; dcap-qvl reads the first half only",
        holds: |difference| match difference.refused() {
            Some((_, Error::AttestationKeyNotBound(e))) => e.expected == e.got,
            _ => false,
        },
    },
    Intended {
        name: "SGX key attributes",
        reason: "the provisioning and launch keys are not for pods; dcap-qvl leaves them to policy",
        holds: |difference| match difference.refused() {
            Some((_, Error::ForbiddenAttributes(e))) => {
                let forbidden = e.forbidden.to::<u64>();
                field::cut(&difference.case.quote).is_some_and(|cut| cut.signed.len() == 432)
                    && forbidden & !0x30 == 0
            }
            _ => false,
        },
    },
    Intended {
        name: "certificate not in Intel's form",
        reason: "names, key identifiers, usages and DER are checked as Intel's profile has them",
        holds: |difference| {
            let Some((step, error)) = difference.refused() else { return false };
            is_about_form(error) && is_other_certificate(difference.case, step)
        },
    },
    Intended {
        name: "list not in Intel's form",
        reason: "a list names its issuer by key identifier, and its DER is strict",
        holds: |difference| {
            let Some((step, error)) = difference.refused() else { return false };
            is_about_form(error) && is_other_list(difference.case, step)
        },
    },
    Intended {
        name: "length of a raw signature",
        reason: "r and s have 32 bytes each; dcap-qvl takes an s with leading zeros",
        holds: |difference| match difference.refused() {
            Some((Step::TcbInfo, Error::BadSignature(_))) => {
                difference.case.collateral.tcb_info_signature.len() != 64
            }
            Some((Step::QeIdentity, Error::BadSignature(_))) => {
                difference.case.collateral.qe_identity_signature.len() != 64
            }
            _ => false,
        },
    },
    Intended {
        name: "PCE SVN from 32,768 on",
        reason: "an INTEGER of three bytes, for its sign: dcap-qvl takes two at most",
        holds: |difference| {
            difference.expected.as_ref().is_err_and(|error| error == "PceSvn length mismatch")
                && difference.got.is_ok()
                && field::cut(&difference.case.quote)
                    .is_some_and(|cut| essence::has_great_pce_svn(&cut.leaf))
        },
    },
    Intended {
        name: "passed over",
        reason: "what decides nothing is covered by a signature but not read: see essence.rs",
        holds: |difference| {
            difference.expected.is_err()
                && difference.got.is_ok()
                && is_passed_over(difference.case)
        },
    },
    Intended {
        name: "quote with bytes to spare",
        reason: "quotes are not sent whole: phallama-attest cuts those that end where they say",
        holds: |difference| {
            let (Ok(expected), Ok(got)) = (difference.expected, difference.got) else {
                return false;
            };
            let cut = OnChainQuote::cut(&difference.case.quote);
            let layout = |error: &Rejection| {
                matches!(error, Rejection::QuoteLength { .. } | Rejection::QuoteMalformed { .. })
            };
            expected.is(got) && matches!(cut, Err(CutError::Layout(error)) if layout(&error))
        },
    },
    Intended {
        name: "above and around the leaf",
        reason: "only the leaf is sent: the same call as before the change",
        holds: |difference| {
            let original = difference.case.original.as_deref();
            difference.expected.is_err()
                && difference.got.is_ok()
                && original.is_some_and(|original| {
                    field::cut(&difference.case.quote).as_ref() == Some(original)
                })
        },
    },
];

/// The difference that explains a case, if there is one.
pub(crate) fn find(
    case: &Case,
    expected: &Result<Verdict, String>,
    got: &Result<Verdict, Refusal>,
) -> Option<&'static Intended> {
    let difference = Difference { case, expected, got };
    ALL.iter().find(|intended| (intended.holds)(&difference))
}

/// What a second parser has against the contract's answer, whatever `dcap-qvl` says: form refused
/// that is good, or accepted that is not.
pub(crate) fn objection(
    case: &Case,
    expected: &Result<Verdict, String>,
    got: &Result<Verdict, Refusal>,
) -> Option<String> {
    let (reached, error) = match got {
        Ok(_) => (Step::Verify, None),
        Err(refusal) => (refusal.step, refusal.error.as_ref()),
    };
    if let (Ok(_), Ok(got)) = (expected, got)
        && let Some(objection) = cut_otherwise(case, got)
    {
        return Some(objection);
    }
    for step in [Step::TcbInfo, Step::QeIdentity] {
        let accepted = reached > step;
        let refused = reached == step && matches!(error, Some(Error::BadJson(_)));
        let other = is_other_json(case, step);
        if accepted && other || refused && !other {
            return Some(format!("{step:?}: canonical is {}", !other));
        }
    }
    None
}

/// What `phallama-attest`, which cuts quotes for the contract, has against one that both accept.
fn cut_otherwise(case: &Case, got: &Verdict) -> Option<String> {
    let cut = match OnChainQuote::cut(&case.quote) {
        Ok(cut) => cut,
        Err(CutError::Layout(_)) => return None,
        Err(error) => return Some(format!("the quote cannot be cut: {error}")),
    };
    let said = (cut.measurement(), cut.report_data(), cut.machine());
    let parts = Cut { signed: cut.signed, auth: cut.auth, leaf: cut.leaf };
    if Some(&parts) != field::cut(&case.quote).as_ref() {
        return Some("the quote is cut otherwise".to_owned());
    }
    let same = said == (got.measurement, got.report_data, got.machine);
    (!same).then(|| "the quote says something else when it is cut".to_owned())
}

impl<'a> Difference<'a> {
    /// The contract's step and error, where it alone refuses.
    fn refused(&self) -> Option<(Step, &'a Error)> {
        let Err(refusal) = self.got else { return None };
        self.expected.as_ref().ok()?;
        Some((refusal.step, refusal.error.as_ref()?))
    }
}

/// The case with each `OutOfDateConfigurationNeeded` of the QE identity as `OutOfDate`.
fn with_plainer_qe_levels(case: &Case) -> Case {
    let mut case = case.clone();
    let identity = &mut case.collateral.qe_identity;
    let plain = identity.replace("OutOfDateConfigurationNeeded", "OutOfDate");
    *identity = plain.replace("ConfigurationNeeded", "OutOfDate");
    case.collateral.qe_identity_signature = root().sign_collateral(identity);
    case
}

/// The JSON of a step is not canonical.
fn is_other_json(case: &Case, step: Step) -> bool {
    match step {
        Step::TcbInfo => !canonical::is_tcb_info(&case.collateral.tcb_info),
        Step::QeIdentity => !canonical::is_qe_identity(&case.collateral.qe_identity),
        _ => false,
    }
}

/// The case differs from one that both accept in parts that the contract does not read.
fn is_passed_over(case: &Case) -> bool {
    let Some(original) = case.before.as_deref() else { return false };
    let (collateral, certificates) = (&case.collateral, &case.certificates);
    let same = |of: fn(&[u8]) -> Option<Vec<Vec<u8>>>, is: &[u8]| {
        is != original && of(is).is_some_and(|parts| Some(parts) == of(original))
    };
    match case.changed {
        Changed::Leaf => {
            field::cut(&case.quote).is_some_and(|cut| same(essence::of_leaf, &cut.leaf))
        }
        Changed::Ca => same(essence::of_ca, &certificates.ca),
        Changed::Signer => same(essence::of_signer, &certificates.tcb_signer),
        Changed::RootCrl => same(essence::of_list, &collateral.root_ca_crl),
        Changed::PckCrl => same(essence::of_list, &collateral.pck_crl),
        _ => false,
    }
}

fn is_about_form(error: &Error) -> bool {
    matches!(
        error,
        Error::BadDer(_) | Error::BadCertificate(_) | Error::WrongIssuer(_) | Error::UnknownCa(_)
    )
}

fn is_other_certificate(case: &Case, step: Step) -> bool {
    let (certificates, root) = (&case.certificates, &case.root);
    match step {
        Step::Ca => !profile::is_ca(&certificates.ca, root),
        Step::TcbSigner => !profile::is_signer(&certificates.tcb_signer, root),
        Step::QeSigner => !profile::is_signer(&certificates.qe_signer, root),
        Step::Verify => field::cut(&case.quote)
            .is_some_and(|cut| !profile::is_leaf(&cut.leaf, &certificates.ca)),
        _ => false,
    }
}

fn is_other_list(case: &Case, step: Step) -> bool {
    match step {
        Step::RootCrl => !profile::is_list(&case.collateral.root_ca_crl, &case.root),
        Step::PckCrl => !profile::is_list(&case.collateral.pck_crl, &case.certificates.ca),
        _ => false,
    }
}

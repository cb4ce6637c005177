//! Simulated machines with their authorities and collateral: what cases are made of.

use std::sync::{Arc, LazyLock};

use phallama_attest::simulated::{
    Authority, CollateralItems, CollateralSpec, DEVELOPMENT_SEED, DevelopmentRoot, EnclaveSpec,
    PckCa, PlatformSpec, QuoteParts, SimulatedPlatform, TdReport, TrustDomainSpec,
};
use phallama_attest::{Collateral, Tee};

use crate::case::{Case, Certificates, Changed};
use crate::encoding::pem;

/// When simulated cases are judged, unless they say otherwise.
pub(crate) const NOW_UNIX_S: u64 = 1_800_000_000;
/// Age of simulated collateral then.
pub(crate) const AGE_S: u64 = 86_400;

static ROOT: LazyLock<DevelopmentRoot> =
    LazyLock::new(|| DevelopmentRoot::from_seed(DEVELOPMENT_SEED));

/// The authorities of every scene that does not have its own.
pub(crate) fn root() -> &'static DevelopmentRoot {
    &ROOT
}

/// The shapes of quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Sgx,
    Td(TdReport),
}

impl Shape {
    pub(crate) const ALL: [Self; 5] = [
        Self::Sgx,
        Self::Td(TdReport::V4),
        Self::Td(TdReport::V5Td10),
        Self::Td(TdReport::V5Td15),
        Self::Td(TdReport::V5Td15Ex),
    ];

    pub(crate) fn tee(self) -> Tee {
        if self == Self::Sgx { Tee::Sgx } else { Tee::Tdx }
    }
}

/// A machine, its authorities, what they say about it, and what runs on it.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) root: DevelopmentRoot,
    pub(crate) platform: SimulatedPlatform,
    pub(crate) shape: Shape,
    pub(crate) enclave: EnclaveSpec,
    pub(crate) td: TrustDomainSpec,
    pub(crate) items: CollateralItems,
}

impl Scene {
    /// A machine with current firmware and everything in order.
    pub(crate) fn new(seed: &str, shape: Shape) -> Self {
        Self::of(root(), PlatformSpec::from_seed(seed.as_bytes()), shape)
    }

    /// The same with a certificate of the Processor CA.
    pub(crate) fn with_one_processor(seed: &str, shape: Shape) -> Self {
        let spec = PlatformSpec::from_seed(seed.as_bytes());
        Self::of(root(), PlatformSpec { ca: PckCa::Processor, ..spec }, shape)
    }

    pub(crate) fn of(root: &DevelopmentRoot, spec: PlatformSpec, shape: Shape) -> Self {
        let platform = SimulatedPlatform::new(root, spec);
        let spec = CollateralSpec::issued(NOW_UNIX_S - AGE_S);
        let items = CollateralItems::new(&platform, shape.tee(), &spec);
        let Shape::Td(report) = shape else {
            return Self::with_items(root, platform, shape, TdReport::V4, items);
        };
        Self::with_items(root, platform, shape, report, items)
    }

    fn with_items(
        root: &DevelopmentRoot,
        platform: SimulatedPlatform,
        shape: Shape,
        report: TdReport,
        items: CollateralItems,
    ) -> Self {
        let mut report_data = [0x5a; 64];
        report_data[32..].fill(0);
        Self {
            root: root.clone(),
            platform,
            shape,
            enclave: EnclaveSpec::new([0x3e; 32], report_data),
            td: TrustDomainSpec::new(report, [0x7d; 48], report_data),
            items,
        }
    }

    /// The quote in its parts.
    pub(crate) fn parts(&self) -> QuoteParts {
        match self.shape {
            Shape::Sgx => self.platform.quote_parts(&self.enclave),
            Shape::Td(_) => self.platform.td_quote_parts(&self.td),
        }
    }

    pub(crate) fn collateral(&self) -> Collateral {
        self.items.sign(&self.root, self.ca())
    }

    /// Who issued the machine's certificate.
    pub(crate) fn ca(&self) -> PckCa {
        self.platform.spec().ca
    }

    pub(crate) fn certificates(&self) -> Certificates {
        let signer = self.root.certificate(Authority::TcbSigner).to_vec();
        Certificates {
            ca: self.root.certificate(self.ca().authority()).to_vec(),
            tcb_signer: signer.clone(),
            qe_signer: signer,
        }
    }

    pub(crate) fn case(&self) -> Case {
        self.case_with(&self.parts(), self.collateral())
    }

    pub(crate) fn case_with(&self, parts: &QuoteParts, collateral: Collateral) -> Case {
        Case {
            root: Arc::from(self.root.root_der()),
            quote: parts.to_bytes(),
            collateral,
            certificates: self.certificates(),
            brought_at: NOW_UNIX_S,
            judged_at: NOW_UNIX_S,
            changed: Changed::Nothing,
            given: None,
            original: None,
            before: None,
            note: String::new(),
        }
    }

    /// With these certificates, in DER, wherever they appear.
    pub(crate) fn case_under(&self, leaf: &[u8], certificates: Certificates) -> Case {
        let root = self.root.root_der();
        let mut parts = self.parts();
        parts.pck_chain = pem(&[leaf, &certificates.ca, root]);
        let mut collateral = self.collateral();
        collateral.pck_crl_issuer_chain = pem(&[&certificates.ca, root]);
        collateral.tcb_info_issuer_chain = pem(&[&certificates.tcb_signer, root]);
        collateral.qe_identity_issuer_chain = pem(&[&certificates.qe_signer, root]);
        Case { certificates, ..self.case_with(&parts, collateral) }
    }
}

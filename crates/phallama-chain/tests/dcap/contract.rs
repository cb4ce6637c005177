//! The contract: brought the collateral of a case, and asked about its quote.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use alloy::primitives::{Address, B256, Bytes, TxKind};
use alloy::sol_types::{SolCall, SolInterface, SolValue};
use phallama_chain::TcbStatusCode;
use sha2::{Digest, Sha256};

use crate::case::{Case, Verdict};
use crate::evm::{Reverted, State};
use crate::field::{self, Cut};
use crate::parsers;

/// Generated code: its style is not ours.
#[allow(missing_docs, clippy::pedantic, unreachable_pub)]
mod generated {
    alloy::sol! {
        #![sol(all_derives)]
        "../../contracts/src/interfaces/IAttestationVerifier.sol"
    }
}

pub(crate) use generated::IAttestationVerifier as V;
pub(crate) use generated::IAttestationVerifier::{IAttestationVerifierErrors as Error, Signed};

/// More prepared states than this are forgotten.
const PREPARED_MAX: usize = 400;

/// What the contract was asked to do when it refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Deploy,
    RootCrl,
    Ca,
    PckCrl,
    TcbSigner,
    QeSigner,
    TcbInfo,
    QeIdentity,
    /// The quote has no parts to give.
    Cut,
    Verify,
}

/// Why the contract does not accept a case.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) step: Step,
    /// `None` if it gave no reason that the interface knows.
    pub(crate) error: Option<Error>,
}

impl Refusal {
    /// The error's name, after the step.
    pub(crate) fn name(&self) -> String {
        let error = format!("{:?}", self.error);
        let name = error.strip_prefix("Some(").and_then(|error| error.split('(').next());
        format!("{:?}: {}", self.step, name.unwrap_or("no reason"))
    }
}

/// A deployed verifier with some collateral.
#[derive(Clone)]
struct Prepared {
    state: State,
    verifier: Address,
    root: B256,
    ca: B256,
    tcb_signer: B256,
    qe_signer: B256,
    complaints: Vec<String>,
}

/// Answers cases one after the other, and remembers common beginnings.
#[derive(Default)]
pub(crate) struct Contract {
    prepared: HashMap<[u8; 32], Arc<Result<Prepared, Refusal>>>,
}

/// The contract's answer, and where it contradicts itself or what other parsers read.
pub(crate) struct Answer {
    pub(crate) verdict: Result<Verdict, Refusal>,
    pub(crate) complaints: Vec<String>,
}

impl Contract {
    pub(crate) fn judge(&mut self, case: &Case) -> Answer {
        let prepared = self.prepare(case);
        match prepared.as_ref() {
            Ok(prepared) => prepared.judge(case),
            Err(refusal) => Answer { verdict: Err(refusal.clone()), complaints: Vec::new() },
        }
    }

    /// Deploys and brings, from the longest beginning that is known.
    fn prepare(&mut self, case: &Case) -> Arc<Result<Prepared, Refusal>> {
        if self.prepared.len() > PREPARED_MAX {
            self.prepared.clear();
        }
        let mut key = Sha256::digest(&case.root).into();
        let mut at = self.remember(key, || Prepared::deploy(&case.root));
        for step in STEPS {
            let Ok(prepared) = at.as_ref() else { break };
            let data = prepared.calldata(step, case);
            let time = case.brought_at;
            let hash = Sha256::new().chain_update(key).chain_update([step as u8]);
            let hash = hash.chain_update(time.to_be_bytes()).chain_update(&data);
            key = hash.finalize().into();
            at = self.remember(key, || prepared.clone().bring(step, data, time, case));
        }
        at
    }

    fn remember(
        &mut self,
        key: [u8; 32],
        make: impl FnOnce() -> Result<Prepared, Refusal>,
    ) -> Arc<Result<Prepared, Refusal>> {
        let entry = self.prepared.entry(key);
        Arc::clone(entry.or_insert_with(|| Arc::new(make())))
    }
}

/// In the order in which a pod's host brings collateral.
const STEPS: [Step; 7] = [
    Step::RootCrl,
    Step::Ca,
    Step::PckCrl,
    Step::TcbSigner,
    Step::QeSigner,
    Step::TcbInfo,
    Step::QeIdentity,
];

/// The verifier's creation code.
static CODE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/artifacts");
    let path = format!("{folder}/AttestationVerifier.json");
    let path = std::env::var("PHALLAMA_DCAP_ARTIFACT").unwrap_or(path);
    let json = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let code = json["bytecode"]["object"].as_str().expect("creation code");
    code.parse::<Bytes>().expect("hex").to_vec()
});

impl Prepared {
    fn deploy(root: &[u8]) -> Result<Self, Refusal> {
        let arguments = (Bytes::copy_from_slice(root),).abi_encode_params();
        let code = [CODE.as_slice(), &arguments].concat();
        let mut state = State::new();
        let refused = |reverted| refusal(Step::Deploy, reverted);
        let verifier = state.send(TxKind::Create, code.into(), 1).map_err(refused)?.created;
        let verifier = verifier.expect("a creation creates");
        let root = state.call(verifier, V::ROOTCall {}.abi_encode().into(), 1).map_err(refused)?;
        let root = B256::from_slice(&root);
        let (ca, tcb_signer, qe_signer, complaints) = Default::default();
        Ok(Self { state, verifier, root, ca, tcb_signer, qe_signer, complaints })
    }

    fn calldata(&self, step: Step, case: &Case) -> Bytes {
        let (collateral, certificates) = (&case.collateral, &case.certificates);
        let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let crl = |issuer, der: &[u8]| V::upsertCrlCall { issuer, der: bytes(der) }.abi_encode();
        let signer = |der: &[u8]| V::admitSignerCall { der: bytes(der) }.abi_encode();
        let data = match step {
            Step::RootCrl => crl(self.root, &collateral.root_ca_crl),
            Step::Ca => V::admitCaCall { der: bytes(&certificates.ca) }.abi_encode(),
            Step::PckCrl => crl(self.ca, &collateral.pck_crl),
            Step::TcbSigner => signer(&certificates.tcb_signer),
            // Admitted already, nearly always.
            Step::QeSigner if certificates.qe_signer == certificates.tcb_signer => Vec::new(),
            Step::QeSigner => signer(&certificates.qe_signer),
            Step::TcbInfo => V::upsertTcbInfoCall {
                json: bytes(collateral.tcb_info.as_bytes()),
                signature: bytes(&collateral.tcb_info_signature),
                signer: self.tcb_signer,
            }
            .abi_encode(),
            Step::QeIdentity => V::upsertQeIdentityCall {
                json: bytes(collateral.qe_identity.as_bytes()),
                signature: bytes(&collateral.qe_identity_signature),
                signer: self.qe_signer,
            }
            .abi_encode(),
            Step::Deploy | Step::Cut | Step::Verify => unreachable!("brings nothing"),
        };
        data.into()
    }

    fn bring(mut self, step: Step, data: Bytes, time: u64, case: &Case) -> Result<Self, Refusal> {
        if data.is_empty() {
            self.qe_signer = self.tcb_signer;
            return Ok(self);
        }
        let sent = self.state.send(TxKind::Call(self.verifier), data, time);
        let sent = sent.map_err(|reverted| refusal(step, reverted))?;
        match step {
            Step::Ca => self.ca = B256::from_slice(&sent.output),
            Step::TcbSigner => self.tcb_signer = B256::from_slice(&sent.output),
            Step::QeSigner => self.qe_signer = B256::from_slice(&sent.output),
            _ => {}
        }
        self.complaints.extend(parsers::complaint(step, case, &sent.logs));
        Ok(self)
    }

    fn judge(&self, case: &Case) -> Answer {
        let mut complaints = self.complaints.clone();
        let Some(cut) = case.given.clone().or_else(|| field::cut(&case.quote)) else {
            return Answer { verdict: Err(Refusal { step: Step::Cut, error: None }), complaints };
        };
        let verdict = self.verify(case, &cut).map(|(verdict, output)| {
            complaints.extend(self.known(case, &cut, &output).err());
            verdict
        });
        Answer { verdict, complaints }
    }

    /// The verdict, also as it came.
    fn verify(&self, case: &Case, cut: &Cut) -> Result<(Verdict, Bytes), Refusal> {
        let call = V::verifyCall { quote: quote(cut), leaf: cut.leaf.clone().into() };
        let output = self.state.call(self.verifier, call.abi_encode().into(), case.judged_at);
        let output = output.map_err(|reverted| refusal(Step::Verify, reverted))?;
        let said = V::verifyCall::abi_decode_returns(&output).expect("a verdict");
        let verdict = Verdict {
            status: TcbStatusCode::try_from(said.status as u8).expect("a status").to_string(),
            measurement: said.measurement.0,
            report_data: [said.reportData.0, said.nonce.0].concat().try_into().expect("64"),
            machine: said.machine.0,
            evaluation_number: said.evaluationNumber,
            expiry_unix_s: Some(said.expiry.to()),
        };
        Ok((verdict, output))
    }

    /// A remembered certificate gives the same verdict.
    fn known(&self, case: &Case, cut: &Cut, expected: &Bytes) -> Result<(), String> {
        let mut state = self.state.clone();
        let leaf = cut.leaf.clone().into();
        let admit = V::admitPckCall { leaf }.abi_encode().into();
        let told = |step: &str, Reverted(data): Reverted| format!("{step} reverts with {data}");
        let admitted = state.send(TxKind::Call(self.verifier), admit, case.judged_at);
        let admitted = admitted.map_err(|reverted| told("admitPck", reverted))?.output;
        let pck = V::admitPckCall::abi_decode_returns(&admitted).expect("a PCK");
        let call = V::verifyKnownCall { quote: quote(cut), pck }.abi_encode().into();
        let got = state.call(self.verifier, call, case.judged_at);
        let got = got.map_err(|reverted| told("verifyKnown", reverted))?;
        (got == *expected).then_some(()).ok_or(format!("verifyKnown gives {got}"))
    }
}

fn quote(cut: &Cut) -> generated::Quote {
    generated::Quote { signed: cut.signed.clone().into(), auth: cut.auth.clone().into() }
}

fn refusal(step: Step, Reverted(data): Reverted) -> Refusal {
    Refusal { step, error: Error::abi_decode(&data).ok() }
}

//! Which pods may be asked at all: what the user wants of a pod, held against its chain record.
//!
//! This comes before anything is sent to a pod. It proves nothing: what a record claims about TEE
//! and measurement is proven by the verification that follows, against the same policy.

use std::fmt;

use phallama_chain::{AttestedKey, PodRecord, TeeKind};
use phallama_protocol::ids::{Address, Amount, Digest32, PodId};
use phallama_protocol::offers::Offer;
use serde::Serialize;

use crate::config::TrustPolicy;

/// What a user wants of a pod beside the trust policy. An empty list allows everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPolicy {
    /// Kinds of TEE.
    pub tees: Vec<TeeKind>,
    /// Operators, by the address that registered the pod.
    pub operators: Vec<Address>,
    /// Pods, by id.
    pub pods: Vec<PodId>,
    /// Most per 1,000,000 prompt tokens, in the smallest token unit.
    pub input_price_max: Option<Amount>,
    /// Most per 1,000,000 completion tokens.
    pub output_price_max: Option<Amount>,
    /// Pods up to this many percent of the cheapest one's price share the requests. At least 100.
    pub share_percent: u32,
}

impl Default for PodPolicy {
    fn default() -> Self {
        Self {
            tees: Vec::new(),
            operators: Vec::new(),
            pods: Vec::new(),
            input_price_max: None,
            output_price_max: None,
            share_percent: 150,
        }
    }
}

/// Why a pod is not asked, with what was found and what was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Unsuitable {
    /// No key is attested.
    NoKey,
    /// The key has expired.
    KeyExpired {
        /// Its last second, unix time.
        got: u64,
        /// Now.
        expected: u64,
    },
    /// Not one of the pods that were named.
    Pod {
        /// How many were named.
        named: usize,
    },
    /// Another kind of TEE.
    Tee {
        /// What the record says.
        got: TeeKind,
        /// Wanted kinds.
        expected: Vec<TeeKind>,
    },
    /// An operator that is not on the list.
    Operator {
        /// Who registered it.
        got: Address,
        /// How many are on the list.
        listed: usize,
    },
    /// A program that nobody has approved.
    Measurement {
        /// What the record says.
        got: Digest32,
        /// How many are approved.
        approved: usize,
    },
    /// Prompt tokens are too dear.
    InputPrice {
        /// Per 1,000,000 tokens.
        got: Amount,
        /// Most.
        expected: Amount,
    },
    /// Completion tokens are too dear.
    OutputPrice {
        /// Per 1,000,000 tokens.
        got: Amount,
        /// Most.
        expected: Amount,
    },
}

impl Unsuitable {
    /// Stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::KeyExpired { .. } => "key_expired",
            Self::Pod { .. } => "pod_not_named",
            Self::Tee { .. } => "tee",
            Self::Operator { .. } => "operator",
            Self::Measurement { .. } => "measurement",
            Self::InputPrice { .. } => "input_price",
            Self::OutputPrice { .. } => "output_price",
        }
    }

    /// What was found; `money` tells an amount.
    pub fn got(&self, money: impl Fn(Amount) -> String) -> String {
        match self {
            Self::NoKey => "no attested key".to_owned(),
            Self::KeyExpired { got, .. } => format!("good until unix time {got}"),
            Self::Pod { .. } => "another pod".to_owned(),
            Self::Tee { got, .. } => got.to_string(),
            Self::Operator { got, .. } => got.to_string(),
            Self::Measurement { got, .. } => got.to_string(),
            Self::InputPrice { got, .. } => format!("{} per 1M prompt tokens", money(*got)),
            Self::OutputPrice { got, .. } => format!("{} per 1M completion tokens", money(*got)),
        }
    }

    /// What was wanted.
    pub fn expected(&self, money: impl Fn(Amount) -> String) -> String {
        match self {
            Self::NoKey => "a key with a verified quote".to_owned(),
            Self::KeyExpired { expected, .. } => format!("after unix time {expected}"),
            Self::Pod { named } => format!("one of {named} named pods"),
            Self::Tee { expected, .. } => {
                let names: Vec<String> = expected.iter().map(TeeKind::to_string).collect();
                names.join(" or ")
            }
            Self::Operator { listed, .. } => format!("one of {listed} listed operators"),
            Self::Measurement { approved, .. } => format!("one of {approved} approved"),
            Self::InputPrice { expected, .. } | Self::OutputPrice { expected, .. } => {
                format!("{} at most", money(*expected))
            }
        }
    }
}

impl fmt::Display for Unsuitable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = |amount: Amount| format!("{amount} units");
        write!(f, "{}: got {}, expected {}", self.code(), self.got(units), self.expected(units))
    }
}

impl PodPolicy {
    /// Why the pod of `record` is not asked for what it offers, or `None`.
    pub fn unsuitable(
        &self,
        record: &PodRecord,
        offer: &Offer,
        trust: &TrustPolicy,
        now_unix_s: u64,
    ) -> Option<Unsuitable> {
        let Some(key) = &record.key else { return Some(Unsuitable::NoKey) };
        self.names(record)
            .or_else(|| Self::program(key, trust))
            .or_else(|| {
                let expired = now_unix_s >= key.expiry_unix_s;
                let (got, expected) = (key.expiry_unix_s, now_unix_s);
                expired.then_some(Unsuitable::KeyExpired { got, expected })
            })
            .or_else(|| self.tee(key))
            .or_else(|| self.price(offer))
    }

    fn names(&self, record: &PodRecord) -> Option<Unsuitable> {
        if !self.pods.is_empty() && !self.pods.contains(&record.pod_id) {
            return Some(Unsuitable::Pod { named: self.pods.len() });
        }
        let (got, listed) = (record.operator, self.operators.len());
        let foreign = listed > 0 && !self.operators.contains(&got);
        foreign.then_some(Unsuitable::Operator { got, listed })
    }

    fn program(key: &AttestedKey, trust: &TrustPolicy) -> Option<Unsuitable> {
        let (got, approved) = (key.measurement, trust.measurements.len());
        trust.label(&got.0).is_none().then_some(Unsuitable::Measurement { got, approved })
    }

    fn tee(&self, key: &AttestedKey) -> Option<Unsuitable> {
        let other = !self.tees.is_empty() && !self.tees.contains(&key.tee);
        other.then(|| Unsuitable::Tee { got: key.tee, expected: self.tees.clone() })
    }

    fn price(&self, offer: &Offer) -> Option<Unsuitable> {
        let (input, output) = (offer.input_price_per_mtok, offer.output_price_per_mtok);
        if let Some(expected) = self.input_price_max.filter(|max| input > *max) {
            return Some(Unsuitable::InputPrice { got: input, expected });
        }
        let expected = self.output_price_max.filter(|max| output > *max)?;
        Some(Unsuitable::OutputPrice { got: output, expected })
    }
}

//! The body of a request: the app's JSON, made to state what the enclave needs to be told.

use phallama_protocol::demand::Demand;
use phallama_protocol::ids::Amount;
use phallama_protocol::offers::Offer;
use phallama_protocol::request::{BODY_MAX_LEN, Method};
use serde_json::{Map, Value};

use crate::error::ClientError;

/// Fewest tokens that are worth asking for when the app does not say how many it wants.
const DEFAULT_TOKENS_MIN: u32 = 16;

/// An app's request, independent of the pod that will answer it.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    body: Map<String, Value>,
    max_tokens: Option<u32>,
}

/// A question cut for one offer.
#[derive(Clone, Debug)]
pub(crate) struct SizedQuestion {
    /// The JSON to seal.
    pub(crate) body: Vec<u8>,
    /// `max_tokens` as stated in it; 0 where nothing is generated.
    pub(crate) max_tokens: u32,
    /// Most tokens of all choices together.
    pub(crate) completion_tokens_max: u32,
    /// The most the answer can cost.
    pub(crate) reserve: Amount,
}

impl Question {
    /// Takes the request of a method.
    ///
    /// `max_completion_tokens` becomes `max_tokens`; fields about streaming are dropped, because
    /// a sealed answer always streams.
    pub(crate) fn new(method: Method, model: &str, body: Value) -> Result<Self, ClientError> {
        let Value::Object(mut body) = body else {
            return Err(invalid("the body must be a JSON object", None));
        };
        for dropped in ["stream", "stream_options"] {
            body.remove(dropped);
        }
        let newer = body.remove("max_completion_tokens");
        let max_tokens = stated(newer.or_else(|| body.remove("max_tokens")))?;
        body.remove("max_tokens");
        body.insert("model".to_owned(), Value::from(model));
        let required = subject_field(method);
        if !body.contains_key(required) {
            return Err(invalid(format!("`{required}` is missing"), Some(required)));
        }
        if method == Method::Chat {
            check_messages(&body)?;
        }
        Ok(Self { method, body, max_tokens })
    }

    /// What is asked about: messages, prompt, input.
    pub(crate) fn subject(&self) -> Option<&Value> {
        self.body.get(subject_field(self.method))
    }

    /// Whether tokens are generated, so that their number must be bounded.
    fn generates(&self) -> bool {
        matches!(self.method, Method::Chat | Method::Completion)
    }

    /// Whether the app said how many tokens it wants at most.
    pub(crate) fn states_max_tokens(&self) -> bool {
        self.max_tokens.is_some()
    }

    /// The question for `offer`, with as many tokens as the app asked for and the offer allows.
    pub(crate) fn sized(&self, offer: &Offer) -> Result<SizedQuestion, ClientError> {
        let most = offer.max_output_tokens;
        self.with_max_tokens(offer, self.max_tokens.map_or(most, |asked| asked.min(most)))
    }

    /// The question with the most tokens whose reserve fits `budget`, or `None` when fewer than
    /// the least useful number would. Only for questions that leave the number open.
    pub(crate) fn within(
        &self,
        offer: &Offer,
        budget: u128,
    ) -> Result<Option<SizedQuestion>, ClientError> {
        if self.states_max_tokens() || !self.generates() {
            return Ok(None);
        }
        let (mut low, mut high) = (0, offer.max_output_tokens);
        while low < high {
            let middle = high - (high - low) / 2;
            if self.with_max_tokens(offer, middle)?.reserve.value() <= budget {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        if low < DEFAULT_TOKENS_MIN.min(offer.max_output_tokens) {
            return Ok(None);
        }
        self.with_max_tokens(offer, low).map(Some)
    }

    fn with_max_tokens(
        &self,
        offer: &Offer,
        max_tokens: u32,
    ) -> Result<SizedQuestion, ClientError> {
        let max_tokens = if self.generates() { max_tokens } else { 0 };
        let mut body = self.body.clone();
        if self.generates() {
            body.insert("max_tokens".to_owned(), Value::from(max_tokens));
        }
        let body = serde_json::to_vec(&body).expect("JSON values serialise");
        if body.len() > BODY_MAX_LEN {
            let reason =
                format!("the request has {} bytes, the limit is {BODY_MAX_LEN}", body.len());
            return Err(invalid(reason, None));
        }
        let demand =
            Demand::of(self.method, &body).map_err(|error| invalid(error.to_string(), None))?;
        let reserve = offer
            .reserve(&demand)
            .map_err(|error| invalid(format!("the reserve is no amount: {error}"), None))?;
        let completion_tokens_max = u32::try_from(demand.completion_tokens).unwrap_or(u32::MAX);
        Ok(SizedQuestion { body, max_tokens, completion_tokens_max, reserve })
    }
}

/// The one field that each method cannot do without.
fn subject_field(method: Method) -> &'static str {
    match method {
        Method::Chat => "messages",
        Method::Completion => "prompt",
        Method::Embeddings => "input",
        Method::Tokenise => "content",
        Method::Detokenise => "tokens",
    }
}

fn stated(value: Option<Value>) -> Result<Option<u32>, ClientError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let number = value.as_u64().filter(|number| *number > 0);
            let tokens = number.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
            tokens.map(Some).ok_or_else(|| {
                let reason = format!("`max_tokens` must be a whole number above 0, got {value}");
                invalid(reason, Some("max_tokens"))
            })
        }
    }
}

fn check_messages(body: &Map<String, Value>) -> Result<(), ClientError> {
    match body.get("messages") {
        Some(Value::Array(messages)) if !messages.is_empty() => Ok(()),
        _ => {
            Err(invalid("`messages` must be an array with at least one message", Some("messages")))
        }
    }
}

fn invalid(reason: impl Into<String>, field: Option<&'static str>) -> ClientError {
    ClientError::InvalidRequest { reason: reason.into(), field }
}

#[cfg(test)]
mod tests {
    use phallama_protocol::ids::Digest32;
    use serde_json::json;

    use super::*;

    fn offer() -> Offer {
        Offer {
            model: "m".to_owned(),
            weights_sha256: Digest32([0; 32]),
            input_price_per_mtok: Amount::from(1_000_000),
            output_price_per_mtok: Amount::from(2_000_000),
            context_tokens: 2048,
            max_output_tokens: 512,
        }
    }

    fn chat(extra: Value) -> Result<Question, ClientError> {
        let mut body = json!({"model": "other", "messages": [{"role": "user", "content": "hi"}]});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Question::new(Method::Chat, "m", body)
    }

    fn sealed(sized: &SizedQuestion) -> Value {
        serde_json::from_slice(&sized.body).unwrap()
    }

    #[test]
    fn states_model_and_tokens_and_drops_streaming() {
        let question =
            chat(json!({"stream": true, "stream_options": {}, "max_tokens": 7})).unwrap();
        let sized = question.sized(&offer()).unwrap();
        let expected = json!({
            "model": "m", "max_tokens": 7, "messages": [{"role": "user", "content": "hi"}],
        });
        assert_eq!(sealed(&sized), expected);
        // Prices of 1 and 2 per token: bytes, 64 for the request, 16 for its message, 7 tokens out.
        assert_eq!(sized.reserve.value(), sized.body.len() as u128 + 64 + 16 + 7 * 2);
    }

    #[test]
    fn every_choice_is_reserved_for() {
        let one = chat(json!({"max_tokens": 7, "n": 1})).unwrap().sized(&offer()).unwrap();
        let three = chat(json!({"max_tokens": 7, "n": 3})).unwrap().sized(&offer()).unwrap();
        assert_eq!(three.reserve.value(), one.reserve.value() + 2 * 7 * 2);
        assert_eq!((three.max_tokens, three.completion_tokens_max), (7, 21));
    }

    #[test]
    fn what_generates_nothing_states_no_tokens() {
        for (method, body) in [
            (Method::Embeddings, json!({"input": "a"})),
            (Method::Tokenise, json!({"content": "a"})),
            (Method::Detokenise, json!({"tokens": [1]})),
        ] {
            let question = Question::new(method, "m", body.clone()).unwrap();
            let sized = question.sized(&offer()).unwrap();
            assert_eq!(sealed(&sized).get("max_tokens"), None);
            assert_eq!(
                (sized.max_tokens, sized.reserve.value()),
                (0, sized.body.len() as u128 + 64)
            );
            assert!(question.within(&offer(), 1).unwrap().is_none());
            assert!(Question::new(method, "m", json!({})).is_err(), "{body}");
        }
    }

    #[test]
    fn the_newer_name_of_max_tokens_wins() {
        let both = json!({"max_tokens": 7, "max_completion_tokens": 9});
        assert_eq!(chat(both).unwrap().sized(&offer()).unwrap().max_tokens, 9);
    }

    #[test]
    fn asks_for_no_more_than_the_offer_allows() {
        for extra in [json!({}), json!({"max_tokens": null}), json!({"max_tokens": u64::MAX})] {
            assert_eq!(chat(extra).unwrap().sized(&offer()).unwrap().max_tokens, 512);
        }
    }

    #[test]
    fn an_open_number_of_tokens_shrinks_to_the_budget() {
        let question = chat(json!({})).unwrap();
        let full = question.sized(&offer()).unwrap().reserve.value();
        let half = question.within(&offer(), full - 400).unwrap().unwrap();
        assert!((311..=312).contains(&half.max_tokens), "{}", half.max_tokens);
        assert!(half.reserve.value() <= full - 400);
        assert_eq!(question.within(&offer(), full).unwrap().unwrap().max_tokens, 512);
        assert!(question.within(&offer(), full - 2 * 500).unwrap().is_none());
        let fixed = chat(json!({"max_tokens": 512})).unwrap();
        assert!(fixed.within(&offer(), full).unwrap().is_none());
    }

    #[test]
    fn names_the_field_at_fault() {
        for (extra, field) in [
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"max_tokens": "7"}), "max_tokens"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": "hi"}), "messages"),
        ] {
            match chat(extra.clone()) {
                Err(ClientError::InvalidRequest { field: Some(got), .. }) => assert_eq!(got, field),
                other => panic!("{extra}: {other:?}"),
            }
        }
        let bare = Question::new(Method::Completion, "m", json!({})).unwrap_err();
        assert!(bare.to_string().contains("`prompt` is missing"), "{bare}");
    }
}

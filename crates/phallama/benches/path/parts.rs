//! What is measured, part by part.

use futures::future::try_join;
use phallama_protocol::frames::FrameClass;

use crate::measured::{Name, Round, Rounds, Side};
use crate::note;
use crate::prompts::Prompts;
use crate::setting::{Budget, Failure};
use crate::sides::Sides;

/// The private side and what it is held against.
const BOTH: [Name; 2] = [Name::Direct, Name::Private];
/// Answers that are computed while others begin, and their length.
const LOAD_STREAMS: usize = 4;
const LOAD_TOKENS: u32 = 160;
/// Answers that begin meanwhile; the first, which still meets the others' prompts, is not counted.
const PROBES: usize = 6;
const PROBE_TOKENS: u32 = 4;
/// Remarks in a prompt that takes about half of the context, and most of it.
const REMARKS_HALF: usize = 24;
const REMARKS_LONG: usize = 44;
/// A second turn that has to find at least so many tokens of the first one.
const FOUND_TOKENS_MIN: u32 = 200;

/// So many answers at once, from every side that `names` says.
pub(crate) async fn streams(
    sides: &Sides,
    prompts: &mut Prompts,
    (streams, class): (usize, FrameClass),
    names: &[Name],
    budget: Budget,
) -> Result<Rounds, Failure> {
    let mut rounds = Rounds::default();
    for number in budget {
        let questions = prompts.several(streams);
        let questions: Vec<_> = questions.into_iter().map(|it| it.of_class(class)).collect();
        let round = sides.round(names.to_vec(), number, &questions).await?;
        note(&format!("path: {streams} {class:?} {number}: {round}"));
        rounds.push(round);
    }
    Ok(rounds)
}

/// The time to the first token of a long prompt, which the cache knows nothing of.
pub(crate) async fn prefill(
    sides: &Sides,
    prompts: &mut Prompts,
    budget: Budget,
) -> Result<Rounds, Failure> {
    let mut rounds = Rounds::default();
    for number in budget {
        let question = prompts.long(REMARKS_LONG).of_tokens(1);
        let round = sides.round(BOTH.to_vec(), number, &[question]).await?;
        note(&format!("path: long prompt {number}: {round}"));
        rounds.push(round);
    }
    Ok(rounds)
}

/// Answers that begin while others are computed.
pub(crate) async fn loaded(
    sides: &Sides,
    prompts: &mut Prompts,
    budget: Budget,
) -> Result<Rounds, Failure> {
    let mut rounds = Rounds::default();
    for number in budget {
        let load: Vec<_> =
            prompts.several(LOAD_STREAMS).into_iter().map(|it| it.of_tokens(LOAD_TOKENS)).collect();
        let probes: Vec<_> =
            prompts.several(PROBES).into_iter().map(|it| it.of_tokens(PROBE_TOKENS)).collect();
        let mut found = vec![Round::default(); PROBES];
        for name in Sides::in_turns(BOTH.to_vec(), number) {
            let probing = async {
                for (probe, round) in probes.iter().zip(&mut found) {
                    round.put(name, sides.ask(name, probe).await?);
                }
                Ok(())
            };
            try_join(sides.ask_all(name, &load), probing).await?;
        }
        for round in found.into_iter().skip(1) {
            note(&format!("path: beside {LOAD_STREAMS} others {number}: {round}"));
            rounds.push(round);
        }
    }
    Ok(rounds)
}

/// The second turn of a conversation whose first turn is in a slot of the same account.
pub(crate) async fn second_turns(
    sides: &Sides,
    prompts: &mut Prompts,
    budget: Budget,
) -> Result<Rounds, Failure> {
    let mut rounds = Rounds::default();
    for number in budget {
        let first = prompts.long(REMARKS_HALF).of_tokens(16);
        let mut round = Round::default();
        for name in Sides::in_turns(BOTH.to_vec(), number) {
            let answered = sides.ask(name, &first).await?;
            let second = first.followed_by(&answered.text, "Why? Answer in one sentence.");
            let side: Side = match name {
                Name::Direct => sides.direct.ask(&second, Some(answered.slot)).await?,
                _ => sides.ask(name, &second).await?,
            };
            if side.cached_tokens < FOUND_TOKENS_MIN {
                let found = side.cached_tokens;
                return Err(format!("{name:?}: turn 2 found {found} tokens of turn 1").into());
            }
            round.put(name, side);
        }
        note(&format!("path: second turn {number}: {round}"));
        rounds.push(round);
    }
    Ok(rounds)
}

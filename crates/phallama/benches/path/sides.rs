//! All sides, and whose turn it is.

use futures::future::try_join_all;

use crate::direct::Direct;
use crate::measured::{Name, Round, Side};
use crate::ollama::Ollama;
use crate::private::Private;
use crate::prompts::{Prompts, Question};
use crate::setting::{Failure, SLOTS, Setting};
use crate::{note, processes};

/// Everybody who is asked.
pub(crate) struct Sides {
    pub(crate) direct: Direct,
    pub(crate) private: Private,
    ollama: Option<Ollama>,
}

impl Sides {
    pub(crate) async fn start(setting: &Setting) -> Result<Self, Failure> {
        note("path: starting a chain, a pod, and llama-server as the pod runs it");
        let private = Private::start(setting).await?;
        let worker = processes::worker()?;
        note(&format!("path: {} {}", worker.program.display(), worker.text()));
        let direct = Direct::start(&worker).await?;
        let ollama = match &setting.ollama {
            Some(program) => Some(Ollama::start(setting, program).await?),
            None => None,
        };
        Ok(Self { direct, private, ollama })
    }

    /// Leaves in every slot what a server finds there that has been running for a while: another
    /// prompt, which begins with the same chat template. One after the other: what was computed
    /// beside other prompts differs in its last bits, and an answer that goes on from it may too.
    pub(crate) async fn warm_up(&self, prompts: &mut Prompts) -> Result<(), Failure> {
        note("path: filling every slot once");
        for _ in 0..SLOTS {
            let question = prompts.next().of_tokens(4);
            for name in self.names() {
                self.ask(name, &question).await?;
            }
        }
        Ok(())
    }

    /// The two sides, and a real Ollama where it is there.
    pub(crate) fn names(&self) -> Vec<Name> {
        let ollama = self.ollama.as_ref().map(|_| Name::Ollama);
        [Name::Direct, Name::Private].into_iter().chain(ollama).collect()
    }

    /// These names in the order of this round: each is first as often as the others.
    pub(crate) fn in_turns(mut names: Vec<Name>, round: usize) -> Vec<Name> {
        let turn = round % names.len();
        names.rotate_left(turn);
        names
    }

    pub(crate) async fn ask(&self, name: Name, question: &Question) -> Result<Side, Failure> {
        match (name, &self.ollama) {
            (Name::Direct, _) => self.direct.ask(question, None).await,
            (Name::Private, _) => self.private.ask(question).await,
            (Name::Ollama, Some(ollama)) => ollama.ask(question).await,
            (Name::Ollama, None) => Err("no Ollama was started".into()),
        }
    }

    /// Several at once.
    pub(crate) async fn ask_all(
        &self,
        name: Name,
        questions: &[Question],
    ) -> Result<Vec<Side>, Failure> {
        try_join_all(questions.iter().map(|question| self.ask(name, question))).await
    }

    /// The same questions to each of `names`, one side after the other.
    pub(crate) async fn round(
        &self,
        names: Vec<Name>,
        number: usize,
        questions: &[Question],
    ) -> Result<Round, Failure> {
        let mut round = Round::default();
        for name in Self::in_turns(names, number) {
            round.put(name, Side::together(&self.ask_all(name, questions).await?));
        }
        Ok(round)
    }
}

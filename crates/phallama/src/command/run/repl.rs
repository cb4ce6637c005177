//! A conversation at a terminal.

use phallama_chain::TokenMeta;
use phallama_client::Client;

use super::editor::{Editor, Typed};
use super::reply::{self, Ended, Shown};
use super::saved;
use super::session::Session;
use super::slash::{self, Part, Setting, Slash};
use crate::command::show;
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::signal::Interrupts;

struct Repl<'a> {
    context: &'a Context,
    client: Client,
    token: TokenMeta,
    session: Session,
    shown: Shown,
    interrupts: Interrupts,
}

/// Talks until the user leaves.
pub(super) async fn run(context: &Context, session: Session, shown: Shown) -> Result<(), CliError> {
    let client = context.client().await?;
    let token = client.token().await?.clone();
    // A name that nobody offers is said at once, not after the first message.
    show::offered(&client, &session.model).await?;
    let mut editor = Editor::new(&context.home)?;
    if context.config.run.history {
        editor.keep(true)?;
    }
    let interrupts = Interrupts::watch_ctrl_c();
    let mut repl = Repl { context, client, token, session, shown, interrupts };
    loop {
        // The editor waits for keys; the runtime must not.
        let (back, typed) = tokio::task::spawn_blocking(move || {
            let typed = editor.read();
            (editor, typed)
        })
        .await
        .expect("reading a line does not panic");
        editor = back;
        match typed? {
            Typed::End => return Ok(()),
            Typed::Dropped => print::note("Ctrl-D or /bye leaves."),
            Typed::Text(text) if text.trim().is_empty() => {}
            Typed::Text(text) if is_command(&text) => match slash::parse(&text) {
                Ok(Slash::Bye) => return Ok(()),
                Ok(slash) => repl.obey(slash, &mut editor).await,
                Err(said) => print::note(said),
            },
            Typed::Text(text) => repl.say(slash::unquote(&text)).await,
        }
    }
}

/// A path of an image also begins with a slash.
fn is_command(text: &str) -> bool {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.starts_with('/') && !std::path::Path::new(word).is_file()
}

impl Repl<'_> {
    /// Asks, shows the answer, and remembers both. A failure leaves the conversation as it was.
    async fn say(&mut self, text: &str) {
        if let Err(error) = self.session.ask(text) {
            return print::error(&error);
        }
        let body = match self.session.body() {
            Ok(body) => body,
            Err(error) => {
                self.session.answered("");
                return print::error(&error);
            }
        };
        let (model, shown) = (&self.session.model, Some(self.shown));
        match reply::read(&self.client, model, body, shown, &mut self.interrupts).await {
            Ok(Ended::Whole(reply)) => {
                self.session.answered(&reply.text);
                print::line("");
                if self.shown.verbose {
                    print::note(format!("{}\n", reply.summary(&self.token)));
                }
            }
            Ok(Ended::Stopped { text, .. }) => {
                self.session.answered(&text);
                print::note("stopped; what had been answered is charged");
            }
            Err(error) => {
                self.session.answered("");
                let token = self.token.clone();
                print::error(&CliError::Priced { error: Box::new(error), token });
            }
        }
    }

    async fn obey(&mut self, slash: Slash, editor: &mut Editor) {
        let done = match slash {
            Slash::Bye => Ok(()),
            Slash::Help(text) => {
                print::line(text);
                Ok(())
            }
            Slash::Clear => {
                self.session.messages.clear();
                print::note("forgotten");
                Ok(())
            }
            Slash::Set(setting) => self.set(setting, editor),
            Slash::Show(part) => self.show(part).await,
            Slash::Save(name) => {
                saved::save(&self.context.home, &name, &self.session).map(|path| {
                    print::note(format!(
                        "saved to {}: the whole conversation, unencrypted, readable by you alone",
                        path.display()
                    ));
                })
            }
            Slash::Load(name) => self.load(&name).await,
        };
        if let Err(error) = done {
            print::error(&error);
        }
    }

    fn set(&mut self, setting: Setting, editor: &mut Editor) -> Result<(), CliError> {
        let said = match setting {
            Setting::Parameter(name, value) => {
                let said = format!("set {name} to {value}");
                self.session.options.insert(name, value);
                said
            }
            Setting::System(text) => {
                self.session.system = Some(text);
                "set the system message".to_owned()
            }
            Setting::History(keep) => {
                let path = editor.keep(keep)?.display();
                if keep {
                    format!("what you type is kept in {path}, unencrypted, readable by you alone")
                } else {
                    format!("what you type stays in memory; delete {path} to forget what was kept")
                }
            }
            Setting::Wordwrap(wrap) => {
                self.shown.wordwrap = wrap;
                format!("lines are {}broken between words", if wrap { "" } else { "not " })
            }
            Setting::Format(format) => {
                let said = format.as_ref().map_or_else(
                    || "answers have no set shape".to_owned(),
                    |format| format!("answers have the shape {format}"),
                );
                self.session.format = format;
                said
            }
            Setting::Verbose(on) => {
                self.shown.verbose = on;
                format!("{} after each answer", if on { "times, pod and cost" } else { "nothing" })
            }
            Setting::Think(think) => {
                let level = think.clone().unwrap_or_default();
                self.session.think = think;
                format!("set think to {level}")
            }
        };
        print::note(said);
        Ok(())
    }

    async fn show(&self, part: Part) -> Result<(), CliError> {
        match part {
            Part::Info => {
                show::print(&self.client, &self.session.model).await?;
            }
            Part::Parameters if self.session.options.is_empty() => {
                print::line("nothing is set; the pod's own parameters hold");
            }
            Part::Parameters => {
                for (name, value) in &self.session.options {
                    print::line(format!("{name:<20}{value}"));
                }
            }
            Part::System => {
                print::line(self.session.system.as_deref().unwrap_or("no system message is set"));
            }
            Part::Untold(what) => print::line(format!("pods do not tell a model's {what}")),
        }
        Ok(())
    }

    /// A saved conversation of this name, else a model.
    async fn load(&mut self, name: &str) -> Result<(), CliError> {
        if let Some(session) = saved::load(&self.context.home, name)? {
            let said = session.messages.len();
            self.session = session;
            print::note(format!("loaded {name}: {said} messages with {}", self.session.model));
            return Ok(());
        }
        self.session.model = show::offered(&self.client, name).await?.model;
        self.session.messages.clear();
        print::note(format!("now with {}; nothing was said yet", self.session.model));
        Ok(())
    }
}

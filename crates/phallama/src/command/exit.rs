//! `phallama exit`

use phallama_chain::Channel;
use phallama_client::Client;
use phallama_protocol::ids::{Amount, PodId};
use serde_json::{Value, json};

use super::pods;
use super::sending::{By, call_of, carry_out, report, sign_into};
use crate::cli::Exit;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

pub(super) async fn run(context: &Context, options: &Exit) -> Result<(), CliError> {
    if options.start {
        return start(context, options).await;
    }
    if options.finish {
        return finish(context, options).await;
    }
    let client = context.accountant().await?;
    let pod = pods::of_wallet(&client, &options.pod).await?;
    let state = State::read(&client, pod).await?;
    if context.global.json {
        print::json(Schema::Exit, state.json());
        return Ok(());
    }
    let meta = client.token().await?;
    print::line(format!("pod          {pod}"));
    print::line(format!("locked       {}", money(state.channel.locked, meta)));
    print::line(format!("paid         {}", money(state.channel.claimed, meta)));
    print::line(format!("unclaimed    {}", money(state.unclaimed(), meta)));
    print::line(format!("exit         {}", state.words()));
    if let Some(next) = state.next(pod) {
        print::note(format!("\nhint: {next}"));
    }
    Ok(())
}

async fn start(context: &Context, options: &Exit) -> Result<(), CliError> {
    if let Some(path) = &options.sign.sign_only {
        let client = context.client().await?;
        let pod = pods::of_wallet(&client, &options.pod).await?;
        return sign_into(context, path, &client.signed_exit(pod).await?);
    }
    let by = By::of(context, &options.sending)?;
    let client = by.client(context).await?;
    let (chain, pod) = (client.chain(), pods::of_wallet(&client, &options.pod).await?);
    let user = client.user().expect("an exit is the wallet's");
    let call = match &by {
        By::Owner(_) => chain.start_exit_call(user, pod),
        By::Gas(_) => call_of(&client.signed_exit(pod).await?, chain)?,
    };
    let says = format!("start the exit of {user} from pod {pod}");
    let sent = carry_out(context, &by.sender(chain), &says, &[call], &options.sending).await?;
    let Some(mined) = sent else { return Ok(()) };
    let state = State::read(&client, pod).await?;
    report(context, &[("exit", state.words())], state.json(), &mined);
    Ok(())
}

async fn finish(context: &Context, options: &Exit) -> Result<(), CliError> {
    let by = By::of(context, &options.sending)?;
    let client = context.accountant().await?;
    let (chain, pod) = (client.chain(), pods::of_wallet(&client, &options.pod).await?);
    let user = client.user().expect("an exit is the wallet's");
    let before = State::read(&client, pod).await?;
    match before.channel.exit_at_unix_s {
        0 => return Err(CliError::NoExit { pod }),
        at if at > before.now_unix_s => {
            let left_s = at - before.now_unix_s;
            return Err(CliError::ExitRunning { pod, until: clock::rfc3339(at), left_s });
        }
        _ => {}
    }
    let says = format!("finish the exit of {user} from pod {pod}");
    let calls = [chain.finish_exit_call(user, pod)];
    let sent = carry_out(context, &by.sender(chain), &says, &calls, &options.sending).await?;
    let Some(mined) = sent else { return Ok(()) };
    let (meta, free) = (client.token().await?, chain.account(user).await?.free);
    let state = State::read(&client, pod).await?;
    let returned = before.unclaimed();
    let mut json = state.json();
    json["returned"] = json!(returned);
    json["free"] = json!(free);
    let facts = [("returned", money(returned, meta)), ("free", money(free, meta))];
    report(context, &facts, json, &mined);
    Ok(())
}

/// A channel, and the chain's own time.
struct State {
    pod: PodId,
    channel: Channel,
    now_unix_s: u64,
}

impl State {
    async fn read(client: &Client, pod: PodId) -> Result<Self, CliError> {
        let channel = client.channel(pod).await?;
        let head = client.chain().head(phallama_chain::BlockTag::Latest).await?;
        Ok(Self { pod, channel, now_unix_s: head.timestamp_unix_s })
    }

    fn unclaimed(&self) -> Amount {
        self.channel.locked.checked_sub(self.channel.claimed).unwrap_or_default()
    }

    /// Seconds until the exit can be finished; `None` when there is none.
    fn left_s(&self) -> Option<u64> {
        let at = self.channel.exit_at_unix_s;
        (at > 0).then(|| at.saturating_sub(self.now_unix_s))
    }

    fn words(&self) -> String {
        match self.left_s() {
            None => "none".to_owned(),
            Some(0) => "over: it can be finished".to_owned(),
            Some(left_s) => {
                let until = clock::rfc3339(self.channel.exit_at_unix_s);
                format!("until {until}, {} left", clock::duration(left_s))
            }
        }
    }

    fn next(&self, pod: PodId) -> Option<String> {
        match self.left_s() {
            None if self.unclaimed() == Amount::ZERO => None,
            None => Some(format!(
                "To get back what the pod has not earned, run `phallama close {pod}` (at once, if \
                 its enclave agrees) or `phallama exit {pod} --start` (48 hours)"
            )),
            Some(0) => Some(format!("Run `phallama exit {pod} --finish`")),
            Some(_) => Some(format!("When it is over, run `phallama exit {pod} --finish`")),
        }
    }

    fn json(&self) -> Value {
        let Channel { locked, claimed, exit_at_unix_s, epoch } = self.channel;
        let state = match self.left_s() {
            None => "none",
            Some(0) => "over",
            Some(_) => "running",
        };
        json!({
            "pod": self.pod, "exit": state, "exit_at_unix_s": exit_at_unix_s,
            "left_s": self.left_s(), "locked": locked, "claimed": claimed,
            "unclaimed": self.unclaimed(), "epoch": epoch,
        })
    }
}

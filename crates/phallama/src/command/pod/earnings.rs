//! `phallama pod earnings`

use phallama_host::admin::{AdminError, Answer, Ask};
use phallama_host::books::Day;
use phallama_host::earnings::{ChannelEarnings, Earnings};
use serde_json::json;

use super::admin::{Unit, ask, ether, state_dir, unexpected};
use crate::context::Context;
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

pub(in crate::command) async fn run(context: &Context) -> Result<(), CliError> {
    let earnings = match ask(context, Ask::Earnings).await {
        Ok(Answer::Earnings(earnings)) => earnings,
        Ok(answer) => return Err(unexpected(context, &answer)),
        Err(AdminError::NotRunning { .. }) => of_files(context)?,
        Err(error) => return Err(error.into()),
    };
    if context.global.json {
        print::json(Schema::Earnings, json!(earnings));
        return Ok(());
    }
    show(&earnings, &Unit::of(context).await);
    Ok(())
}

fn of_files(context: &Context) -> Result<Earnings, CliError> {
    let dir = state_dir(context);
    let earnings = Earnings::read(&dir, context.config.chain.as_ref())?;
    let dir = dir.display();
    print::note(format!(
        "no pod runs here: this is what the journal in {dir} says; credit and risk are not in it"
    ));
    Ok(earnings)
}

fn show(earnings: &Earnings, unit: &Unit) {
    let open = earnings.channels.iter().filter(|it| it.unsettled_since_unix_s != 0).count();
    print::line(format!("settled    {}", unit.show(earnings.settled)));
    print::line(format!("unsettled  {} (channels: {open})", unit.show(earnings.unsettled)));
    if let Some(at_risk) = earnings.at_risk {
        print::line(format!("at risk    {}", unit.show(at_risk)));
    }
    if let Some(credit) = earnings.credit {
        print::line(format!("credit     {}", unit.show(credit)));
    }
    print::line(format!("gas        {}", ether(earnings.gas_wei)));
    if !earnings.days.is_empty() {
        let header = ["day", "settled", "collected", "transactions", "gas"];
        let rows: Vec<_> = earnings.days.iter().map(|it| day(it, unit)).collect();
        print::line(format!("\n{}", print::table(&header, &rows, &[1, 2, 3, 4])));
    }
    if !earnings.channels.is_empty() {
        let header = ["user", "epoch", "charged", "settled", "unsettled", "tokens"];
        let rows: Vec<_> = earnings.channels.iter().map(|it| channel(it, unit)).collect();
        print::line(format!("\n{}", print::table(&header, &rows, &[1, 2, 3, 4, 5])));
    }
}

fn day(day: &Day, unit: &Unit) -> Vec<String> {
    let date = clock::rfc3339(day.begins_unix_s);
    vec![
        date.split('T').next().unwrap_or_default().to_owned(),
        unit.show(day.settled),
        unit.show(day.collected),
        day.transactions.to_string(),
        ether(day.gas_wei),
    ]
}

fn channel(channel: &ChannelEarnings, unit: &Unit) -> Vec<String> {
    let tokens = channel.prompt_tokens.saturating_add(channel.completion_tokens);
    vec![
        channel.user.to_string(),
        channel.epoch.to_string(),
        unit.show(channel.charged),
        unit.show(channel.settled),
        unit.show(channel.unsettled),
        tokens.to_string(),
    ]
}

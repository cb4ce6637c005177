//! The demo's tables: what was agreed, what was signed, what the contract paid.

use phallama_chain::{Chain, TokenMeta};
use phallama_protocol::ids::{Address, PodId};

use super::Stage;
use super::ask::Asked;
use crate::context::money;
use crate::error::CliError;
use crate::{print, units};

/// Everybody's money at one moment, in smallest units.
#[derive(Clone, Copy)]
pub(super) struct Balances {
    owner: u128,
    free: u128,
    locked: u128,
    pod_credit: u128,
    escrow: u128,
}

impl Balances {
    pub(super) async fn read(
        chain: &Chain,
        user: Address,
        owner: Address,
        pod: PodId,
    ) -> Result<Self, CliError> {
        let channel = chain.channel(user, pod).await?;
        Ok(Self {
            owner: chain.token_balance(owner).await?,
            free: chain.account(user).await?.free.value(),
            locked: channel.locked.value().saturating_sub(channel.claimed.value()),
            pod_credit: chain.credit(pod).await?.value(),
            escrow: chain.token_balance(chain.config().escrow).await?,
        })
    }

    fn rows(&self, after: &Self, meta: &TokenMeta) -> Vec<Vec<String>> {
        let row = |name: &str, before: u128, after: u128| {
            let shown = |units| units::show_units(units, meta.decimals);
            vec![name.to_owned(), shown(before), shown(after)]
        };
        vec![
            row("owner's wallet", self.owner, after.owner),
            row("user, free in escrow", self.free, after.free),
            row("user, locked for the pod", self.locked, after.locked),
            row("pod, credit in escrow", self.pod_credit, after.pod_credit),
            row("escrow's token balance", self.escrow, after.escrow),
        ]
    }
}

/// Settles and shows everything.
pub(super) async fn show(stage: &Stage, answers: &[Asked]) -> Result<(), CliError> {
    let chain = stage.context.chain().await?;
    let meta = chain.token_meta().await?;
    let settled = stage.pod.settle_now().await?;
    print::line("");
    let record = chain.pod(stage.pod.pod_id()).await?;
    for offer in record.iter().flat_map(|record| &record.offers) {
        print::line(format!(
            "{} per million tokens: {} in, {} out\n",
            offer.model,
            money(offer.input_price_per_mtok, &meta),
            money(offer.output_price_per_mtok, &meta)
        ));
    }
    print::line(answer_table(answers, &meta));
    print::line("");

    let paid: u128 = settled.iter().map(|settlement| settlement.paid.value()).sum();
    let gas: u64 = settled.iter().map(|settlement| settlement.gas_used).sum();
    let signed = answers.last().map(|last| amount(last, "cumulative")).unwrap_or_default();
    let shown = |units| format!("{} {}", units::show_units(units, meta.decimals), meta.symbol);
    let rows = vec![
        vec!["the enclave signed for, in total".to_owned(), shown(signed)],
        vec!["the contract paid the pod".to_owned(), shown(paid)],
        vec!["gas of the settlement".to_owned(), gas.to_string()],
    ];
    print::line(print::table(&["settlement", ""], &rows, &[1]));
    print::line("");

    let owner = super::developer(super::Developer::Owner).address();
    let after = Balances::read(&chain, stage.user.address(), owner, stage.pod.pod_id()).await?;
    let header = ["balance", "before", "after"];
    print::line(print::table(&header, &stage.before.rows(&after, &meta), &[1, 2]));
    Ok(())
}

fn answer_table(answers: &[Asked], meta: &TokenMeta) -> String {
    let told = |asked: &Asked, name: &str| {
        format!("{} {}", units::show_units(amount(asked, name), meta.decimals), meta.symbol)
    };
    let plain = |asked: &Asked, name: &str| asked.proof[name].to_string();
    let row = |name: &str, value: &dyn Fn(&Asked) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(answers.iter().map(value));
        row
    };
    let rows = vec![
        row("tokens in", &|a| a.prompt_tokens.to_string()),
        row("tokens out", &|a| a.completion_tokens.to_string()),
        row("the voucher allowed, in total", &|a| told(a, "allowed")),
        row("the receipt says: cost", &|a| told(a, "cost")),
        row("the receipt says: in total", &|a| told(a, "cumulative")),
        row("receipt", &|a| short(&a.proof["receipt"])),
        row("bytes sent to the pod", &|a| plain(a, "bytes_up")),
        row("bytes received from the pod", &|a| plain(a, "bytes_down")),
        row("the same answer in plain text for the app", &|a| a.plain_bytes.to_string()),
    ];
    let mut header = vec!["answer"];
    header.extend(answers.iter().map(|asked| asked.api));
    print::table(&header, &rows, &[1, 2])
}

/// Amounts travel as decimal strings.
fn amount(asked: &Asked, name: &str) -> u128 {
    asked.proof[name].as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn short(text: &serde_json::Value) -> String {
    super::super::pods::short(text.as_str().unwrap_or_default())
}

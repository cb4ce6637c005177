//! `phallama limits`

use phallama_chain::TokenMeta;
use phallama_client::{Spending, UserKey};
use phallama_protocol::ids::Amount;
use serde_json::{Value, json};

use super::pods::short;
use crate::cli::{LimitAmounts, LimitNames, LimitsChange};
use crate::context::{self, Context, money};
use crate::error::CliError;
use crate::home::{LimitsConfig, NO_LIMIT};
use crate::print;
use crate::schema::Schema;

pub(super) async fn run(
    context: &mut Context,
    change: Option<LimitsChange>,
) -> Result<(), CliError> {
    let user = UserKey::Locked(context.keystore()?.address());
    let chain = context.chain().await?;
    let meta = chain.token_meta().await?;
    if let Some(change) = change {
        let apply = |limits: &mut LimitsConfig| match &change {
            LimitsChange::Set(amounts) => set(limits, amounts),
            LimitsChange::Clear(names) => clear(limits, names),
        };
        let mut limits = context.config.limits.clone();
        apply(&mut limits);
        context::limits(&limits, meta.decimals)?;
        context.change(|config| apply(&mut config.limits))?;
    }
    let client = context.client_on(chain, user).await?;
    show(context, &client.spending().await?, &meta);
    Ok(())
}

fn set(limits: &mut LimitsConfig, amounts: &LimitAmounts) {
    let LimitAmounts { per_request, per_day, per_pod } = amounts;
    let set = |limit: &mut String, amount: &Option<String>| {
        if let Some(amount) = amount {
            limit.clone_from(amount);
        }
    };
    set(&mut limits.per_request, per_request);
    set(&mut limits.per_day, per_day);
    set(&mut limits.per_pod, per_pod);
}

fn clear(limits: &mut LimitsConfig, names: &LimitNames) {
    let LimitNames { per_request, per_day, per_pod } = *names;
    let all = !(per_request || per_day || per_pod);
    let clear = |limit: &mut String, named: bool| {
        if named || all {
            NO_LIMIT.clone_into(limit);
        }
    };
    clear(&mut limits.per_request, per_request);
    clear(&mut limits.per_day, per_day);
    clear(&mut limits.per_pod, per_pod);
}

fn left(limit: Option<Amount>, used: Amount) -> Option<Amount> {
    limit.map(|limit| limit.checked_sub(used).unwrap_or_default())
}

fn show(context: &Context, spending: &Spending, meta: &TokenMeta) {
    let Spending { limits, today, pods } = spending;
    if context.global.json {
        print::json(Schema::Limits, as_json(spending, meta));
        return;
    }
    let amount = |limit: Option<Amount>, otherwise: &str| {
        limit.map_or_else(|| otherwise.to_owned(), |limit| money(limit, meta))
    };
    let row = |name: &str, limit, used: Option<Amount>| {
        let rest = used.and_then(|used| left(limit, used));
        vec![name.to_owned(), amount(limit, "none"), amount(used, "–"), amount(rest, "–")]
    };
    let mut rows = vec![
        row("per request", limits.per_request, None),
        row("per day", limits.per_day, Some(*today)),
        row("per pod", limits.per_pod, None),
    ];
    for (pod, used) in pods {
        let rest = amount(left(limits.per_pod, *used), "–");
        let name = format!("  {}", short(&pod.to_string()));
        rows.push(vec![name, String::new(), money(*used, meta), rest]);
    }
    print::line(print::table(&["limit", "allowed", "used", "left"], &rows, &[1, 2, 3]));
}

fn as_json(spending: &Spending, meta: &TokenMeta) -> Value {
    let Spending { limits, today, .. } = spending;
    json!({
        "token": meta.symbol, "decimals": meta.decimals,
        "per_request": {"limit": limits.per_request},
        "per_day": {
            "limit": limits.per_day, "used": today, "left": left(limits.per_day, *today),
        },
        "per_pod": {"limit": limits.per_pod, "pods": pods_json(spending)},
    })
}

fn pods_json(spending: &Spending) -> Vec<Value> {
    let limit = spending.limits.per_pod;
    let pod =
        |(pod, used): &(_, Amount)| json!({"pod": pod, "used": used, "left": left(limit, *used)});
    spending.pods.iter().map(pod).collect::<Vec<Value>>()
}

//! `phallama disputes`

use phallama_client::{Accusation, Dispute};
use phallama_protocol::ids::{Address, Amount};
use serde_json::{Value, json};

use super::pods::{self, short};
use crate::cli::DisputesAction;
use crate::context::{Context, money};
use crate::error::CliError;
use crate::schema::Schema;
use crate::{clock, print};

pub(super) async fn run(context: &Context, action: Option<DisputesAction>) -> Result<(), CliError> {
    let client = context.accountant().await?;
    if let Some(DisputesAction::Forgive { pod }) = &action {
        let pod = pods::of_wallet(&client, pod).await?;
        client.forgive(pod).await?;
        said(context, json!({"forgiven": pod}), &format!("pod {pod} may be asked again"));
        return Ok(());
    }
    let (disputes, meta) = (client.disputes().await?, client.token().await?);
    let amount = |amount: Amount| money(amount, meta);
    match action {
        Some(DisputesAction::Show { number }) => {
            let dispute = number.checked_sub(1).and_then(|index| disputes.get(index));
            let dispute = dispute.ok_or_else(|| CliError::BadValue {
                what: "number of a dispute",
                got: number.to_string(),
                expected: format!("1 to {}", disputes.len()),
            })?;
            show(context, dispute, &amount);
        }
        Some(DisputesAction::Export) => {
            print::json(Schema::Disputes, json!({"disputes": disputes}));
        }
        _ if context.global.json => {
            print::json(Schema::Disputes, json!({"disputes": disputes}));
        }
        _ => list(&disputes, &amount),
    }
    Ok(())
}

fn said(context: &Context, json: Value, text: &str) {
    if context.global.json {
        print::json(Schema::Forgiven, json);
    } else {
        print::line(text);
    }
}

fn what(accusation: &Accusation, money: &impl Fn(Amount) -> String) -> String {
    match accusation {
        Accusation::Receipt { fault } => fault.clone(),
        Accusation::Claim { claimed, allowed } => {
            format!("claims {}, possible {}", money(*claimed), money(*allowed))
        }
        Accusation::Chain { claimed, allowed } => {
            format!("was paid {} on chain, possible {}", money(*claimed), money(*allowed))
        }
    }
}

fn list(disputes: &[Dispute], money: &impl Fn(Amount) -> String) {
    if disputes.is_empty() {
        print::note("no pod has claimed what cannot be");
        return;
    }
    let row = |(index, dispute): (usize, &Dispute)| {
        vec![
            (index + 1).to_string(),
            clock::rfc3339(dispute.at_unix_ms / 1000),
            short(&dispute.pod.to_string()),
            if dispute.evidence.is_some() { "signed" } else { "none" }.to_owned(),
            what(&dispute.accusation, money),
        ]
    };
    let rows: Vec<_> = disputes.iter().enumerate().map(row).collect();
    print::line(print::table(&["", "noticed", "pod", "evidence", "what it did"], &rows, &[0]));
    print::note(
        "\nhint: To take back what is locked for a pod, run `phallama exit POD --start`; to let it \
         be asked again, `phallama disputes forgive POD`",
    );
}

fn show(context: &Context, dispute: &Dispute, money: &impl Fn(Amount) -> String) {
    let shown = dispute.shown();
    if context.global.json {
        let mut json = json!(dispute);
        if let Some(Ok(shown)) = shown {
            json["receipt_signed_by"] = json!(shown.enclave);
            json["voucher_signed_by"] = json!(shown.user);
            json["receipt_hash"] = json!(shown.receipt_hash);
        }
        print::json(Schema::Dispute, json);
        return;
    }
    let mut facts = vec![
        ("noticed", clock::rfc3339(dispute.at_unix_ms / 1000)),
        ("pod", dispute.pod.to_string()),
        ("what it did", what(&dispute.accusation, money)),
        ("escrow", format!("{} on chain {}", dispute.escrow, dispute.chain_id)),
    ];
    if let Some(evidence) = &dispute.evidence {
        let agreement = &evidence.agreement;
        facts.extend([
            ("request", evidence.request_id.to_string()),
            ("build", evidence.release_label.clone()),
            ("model", agreement.offer.model.clone()),
            (
                "delivered",
                format!(
                    "{} bytes in {} frames, hash chain {}",
                    evidence.delivered_bytes, agreement.data_frames, agreement.data_chain
                ),
            ),
            ("reserve", money(agreement.reserve)),
            ("voucher", format!("cap {}", money(agreement.voucher_cap))),
        ]);
    }
    match shown {
        Some(Ok(shown)) => {
            let receipt = format!("{} signed by {}", shown.receipt_hash, signer(shown.enclave));
            facts.push(("receipt", receipt));
            facts.push(("voucher by", signer(shown.user)));
        }
        Some(Err(fault)) => facts.push(("receipt", fault.to_string())),
        None => facts.push(("evidence", "none: nothing signed shows it".to_owned())),
    }
    for (name, value) in facts {
        print::line(format!("{name:12} {value}"));
    }
}

fn signer(address: Option<Address>) -> String {
    address.map_or_else(|| "nobody".to_owned(), |address| address.to_string())
}

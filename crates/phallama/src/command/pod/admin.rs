//! What the commands share that ask a running pod.

use std::path::PathBuf;

use phallama_chain::TokenMeta;
use phallama_host::admin::{self, AdminError, Answer, Ask};
use phallama_host::settlement::{RowsSignedBy, Settlement};
use phallama_protocol::ids::Amount;

use crate::context::{Context, money};
use crate::error::CliError;
use crate::{print, units};

/// Where the pod of this home keeps its state.
pub(super) fn state_dir(context: &Context) -> PathBuf {
    context.home.path("pod")
}

pub(in crate::command) async fn ask(context: &Context, what: Ask) -> Result<Answer, AdminError> {
    admin::ask(&admin::socket(&state_dir(context)), what).await
}

/// An answer to another question.
pub(super) fn unexpected(context: &Context, answer: &Answer) -> CliError {
    let socket = admin::socket(&state_dir(context));
    let reason = format!("unexpected answer {answer:?}");
    AdminError::Malformed { socket, reason }.into()
}

/// How amounts are written: in whole tokens, or in smallest units when the chain does not answer.
pub(super) struct Unit(Option<TokenMeta>);

impl Unit {
    pub(super) async fn of(context: &Context) -> Self {
        let Ok(chain) = context.chain().await else { return Self(None) };
        Self(chain.token_meta().await.ok())
    }

    pub(super) fn show(&self, amount: Amount) -> String {
        match &self.0 {
            Some(meta) => money(amount, meta),
            None => format!("{amount} units"),
        }
    }
}

/// Ether, from wei.
pub(super) fn ether(wei: u128) -> String {
    format!("{} ETH", units::show_units(wei, 18))
}

pub(super) fn signers(signed_by: RowsSignedBy) -> &'static str {
    match signed_by {
        RowsSignedBy::Enclave => "one signature of the enclave",
        RowsSignedBy::Receipts => "their own receipts",
    }
}

pub(super) fn show_settled(settled: &[Settlement], unit: &Unit) {
    if settled.is_empty() {
        print::line("nothing to settle");
    }
    for one in settled {
        print::line(format!(
            "settled {} in {} rows under {} ({} gas, transaction {})",
            unit.show(one.paid),
            one.rows,
            signers(one.signed_by),
            one.gas_used,
            one.tx_hash,
        ));
        if one.skipped > 0 {
            print::note(format!("{} of the rows were passed over by the contract", one.skipped));
        }
    }
}

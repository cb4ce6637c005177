//! `phallama pod share-machine`

use phallama_chain::Chain;
use phallama_protocol::ids::{Digest32, PodId};
use serde_json::json;

use crate::cli::ShareMachine;
use crate::context::Context;
use crate::error::CliError;
use crate::print;
use crate::schema::Schema;

pub(in crate::command) async fn run(
    context: &Context,
    options: &ShareMachine,
) -> Result<(), CliError> {
    let (machine, pod) = (bytes32("machine", &options.machine)?, bytes32("pod id", &options.pod)?);
    let (machine, pod) = (Digest32(machine), PodId(pod));
    let operator = super::operator(context, options.operator_key_file.as_deref())?;
    let chain = context.chain().await?;
    let sender = chain.sender(&operator);
    let tx = sender.set_sharing(pod, machine, !options.stop).await?;
    let agreed = others(&chain, machine, pod).await?;
    if context.global.json {
        let holder = agreed.map(|(holder, shares)| json!({"pod": holder, "shares": shares}));
        let (shares, gas) = (!options.stop, tx.gas_used);
        let shared = json!({"pod": pod, "machine": machine, "shares": shares, "holder": holder,
            "gas_used": gas});
        print::json(Schema::SharedMachine, shared);
        return Ok(());
    }
    let verb = if options.stop { "no longer shares" } else { "agrees to share" };
    print::line(format!("pod {pod} {verb} machine {machine} ({} gas)", tx.gas_used));
    if let Some((holder, false)) = agreed.filter(|_| !options.stop) {
        print::note(format!("pod {holder} holds the machine and has not agreed yet"));
    }
    Ok(())
}

/// The other pod that the machine backs, and whether it agreed.
async fn others(
    chain: &Chain,
    machine: Digest32,
    pod: PodId,
) -> Result<Option<(PodId, bool)>, CliError> {
    let Some(holder) = chain.machine_holder(machine).await? else { return Ok(None) };
    let pods = chain.pods().await?;
    let mut ids = pods.iter().map(|pod| pod.pod_id);
    match ids.find(|id| *id != pod && id.0.starts_with(&holder.pod_prefix)) {
        Some(other) => Ok(Some((other, chain.sharing(other, machine).await?))),
        None => Ok(None),
    }
}

fn bytes32(what: &'static str, text: &str) -> Result<[u8; 32], CliError> {
    let mut bytes = [0; 32];
    let digits = text.strip_prefix("0x").unwrap_or(text);
    hex::decode_to_slice(digits, &mut bytes).map_err(|_| CliError::BadValue {
        what,
        got: text.to_owned(),
        expected: "64 hex digits".to_owned(),
    })?;
    Ok(bytes)
}

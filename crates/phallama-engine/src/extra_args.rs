//! Which arguments an operator may add to the worker's command line.

use std::ffi::OsStr;

use crate::EngineError;

/// Names that we set ourselves, or that share a beginning with tuning options.
const OURS: &[&str] = &[
    "--host",
    "--port",
    "--threads",
    "--batch-size",
    "-a",
    "-b",
    "-c",
    "-cram",
    "-ctxcp",
    "-dr",
    "-hf",
    "-hfd",
    "-hff",
    "-hfr",
    "-hfrd",
    "-hft",
    "-kvu",
    "-lcd",
    "-lcs",
    "-lv",
    "-m",
    "-md",
    "-mm",
    "-mmu",
    "-mu",
    "-no-kvu",
    "-np",
    "-sps",
    "-t",
    "-v",
];

/// Beginnings of long options, without a `no-`: what we set, what writes prompts or answers to a
/// log or a file, what lets others reach the worker, and what loads other weights than those that
/// were checked.
const OURS_BEGIN: &[&str] = &[
    "alias",
    "api-",
    "cache-idle-slots",
    "cache-ram",
    "context-shift",
    "control-vector",
    "ctx-",
    "docker-repo",
    "embd-normalize",
    "embedding",
    "hf-",
    "jinja",
    "kv-unified",
    "log-",
    "lookup-cache",
    "lora",
    "media-path",
    "metrics",
    "mmproj",
    "model",
    "offline",
    "parallel",
    "path",
    "pooling",
    "props",
    "rerank",
    "reuse-port",
    "rpc",
    "slot",
    "spec-draft-hf",
    "spec-draft-model",
    "sse-",
    "ssl-",
    "swa-checkpoints",
    "tools",
    "ui",
    "verbos",
    "webui",
];

/// Checks that no argument overrides what the engine sets, makes the worker log, or opens it to
/// others. The worker takes the last of two equal options, and takes `_` for `-` in long ones.
///
/// # Errors
/// [`EngineError::ExtraArgument`] with the first argument that is not the operator's to set.
pub fn check_extra_args<S: AsRef<OsStr>>(args: &[S]) -> Result<(), EngineError> {
    match args.iter().map(AsRef::as_ref).find(|argument| is_ours(argument)) {
        None => Ok(()),
        Some(ours) => {
            Err(EngineError::ExtraArgument { argument: ours.to_string_lossy().into_owned() })
        }
    }
}

fn is_ours(argument: &OsStr) -> bool {
    let text = argument.to_string_lossy();
    let name = text.split('=').next().unwrap_or_default();
    let Some(long) = name.strip_prefix("--") else { return OURS.contains(&name) };
    let long = long.replace('_', "-");
    if OURS.iter().any(|ours| ours.strip_prefix("--") == Some(&long)) {
        return true;
    }
    let positive = long.strip_prefix("no-").unwrap_or(&long);
    OURS_BEGIN.iter().any(|begin| positive.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_would_undo_ours_are_refused() {
        for argument in [
            "--host",
            "--host=0.0.0.0",
            "--port",
            "-m",
            "--model",
            "--model_url",
            "--log-file",
            "--log_verbosity",
            "--log-disable",
            "-v",
            "-lv",
            "--verbose",
            "--slots",
            "--slot-save-path",
            "--slot_prompt_similarity",
            "--api-key",
            "--api-key-file",
            "--ssl-key-file",
            "--path",
            "--props",
            "--metrics",
            "--rpc",
            "--cache-idle-slots",
            "--kv-unified",
            "--no-jinja",
            "--lora",
            "-np",
            "-c",
            "--threads",
            "--embeddings",
            "--pooling",
            "--spec-draft-model",
            "--reranking",
        ] {
            let error = check_extra_args(&["--prio", "2", argument]).unwrap_err();
            assert!(error.to_string().contains(argument), "{argument}: {error}");
            assert_eq!(error.fault(), crate::Fault::Operator);
        }
    }

    #[test]
    fn tuning_stays_the_operator_s() {
        let args =
            ["--prio", "2", "--poll", "0", "--threads-batch", "4", "-ngl", "99", "--no-host"];
        check_extra_args(&args).unwrap();
        check_extra_args(&["--flash-attn", "on", "--cache-type-k", "q8_0", "--mlock"]).unwrap();
    }
}

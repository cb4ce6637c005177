#!/usr/bin/env bash
# Cargo calls this in place of rustc for our own crates (RUSTC_WORKSPACE_WRAPPER, see tools/fuzz.sh): they get
# coverage counters, line numbers and `cfg(fuzzing)`. Foreign crates are those of every build. Stable rustc is
# enough.
set -euo pipefail

# What is fuzzed for its parsers is fast; the rest of a pod takes long to compile.
case ${CARGO_PKG_NAME-} in
  phallama-chain | phallama-client | phallama-enclave | phallama-host) level=1 ;;
  *) level=2 ;;
esac

# A test has no libFuzzer that the counters could report to.
case "${CARGO_PKG_NAME-} $*" in
  phallama-*' --test '*) exec "$@" ;;
  phallama-*)
    exec "$@" --cfg fuzzing -Ccodegen-units=1 -Copt-level=$level -Cdebuginfo=line-tables-only -Cstrip=none \
      -Cpasses=sancov-module \
      -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
      -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
  *) exec "$@" ;;
esac

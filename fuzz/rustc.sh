#!/usr/bin/env bash
# Cargo calls this in place of rustc (RUSTC_WRAPPER, see tools/fuzz.sh): our own crates get coverage counters
# and `cfg(fuzzing)`, foreign crates are compiled as they are. Stable rustc is enough.
set -euo pipefail

case ${CARGO_PKG_NAME-} in
  phallama-*)
    exec "$@" --cfg fuzzing -Ccodegen-units=1 \
      -Cpasses=sancov-module \
      -Cllvm-args=-sanitizer-coverage-level=4 \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
      -Cllvm-args=-sanitizer-coverage-pc-table \
      -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
  *) exec "$@" ;;
esac

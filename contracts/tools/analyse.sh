#!/usr/bin/env bash
# What is shown for all inputs and not by example: slither over src/, and halmos over the proofs
# (test/**/*Proof.t.sol). `tools/setup.sh contracts analysis` must have run before.
#
# Works on a copy without the other tests: slither deletes build output, and compiling less is quicker.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PHALLAMA_ANALYSIS_PYTHON:-$(../tools/setup.sh analysis)}
forge=$PWD/node_modules/@foundry-rs/forge-linux-amd64/bin
export PATH=$forge:$(dirname "$python"):$PATH

copy=$(mktemp -d "${TMPDIR:-/tmp}/phallama-analysis-XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp -r src foundry.toml slither.config.json tools "$copy"
ln -s "$PWD/node_modules" "$copy/node_modules"
cd "$copy"

# Leaves with an error when it finds anything.
slither . 2>slither.log || { cat slither.log >&2; exit 1; }
! grep -q '^ERROR:' slither.log || { cat slither.log >&2; exit 1; }
tail -1 slither.log >&2

cd - >/dev/null
cp -r test "$copy/test"
cd "$copy"
find test -name '*.t.sol' ! -name '*Proof.t.sol' -delete
# No limit on the solver's time per assertion: each takes seconds, and a time-out proves nothing.
prove() {
  halmos --solver-timeout-assertion 0 "$@" >halmos.log 2>&1 || { cat halmos.log >&2; exit 1; }
  grep -E 'check_|Symbolic' halmos.log
}
prove --contract EscrowProof
prove --contract '(Tcb|Json)Proof' --loop 256

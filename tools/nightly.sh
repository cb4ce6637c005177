#!/usr/bin/env bash
# What is too long for every change: deep contract fuzzing, many more random cases, end-to-end runs again
# and again. Goes through all parts and says at the end which failed.
#
#   tools/nightly.sh                       everything
#   tools/nightly.sh contracts properties  the parts named; --list names them
#
# PHALLAMA_NIGHTLY_CASES (20000) random cases per property, PHALLAMA_NIGHTLY_RUNS (10) end-to-end runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

cases=${PHALLAMA_NIGHTLY_CASES:-20000}
runs=${PHALLAMA_NIGHTLY_RUNS:-10}
parts=(contracts mutants properties dcap model fuzz chain registry scale end_to_end kill demo clients)

say() { printf '\033[1mnightly:\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 2; }

# Fuzz and invariant runs as [profile.nightly.*] of contracts/foundry.toml sets them.
part_contracts() {
  tools/setup.sh contracts
  FOUNDRY_PROFILE=nightly contracts/tools/check.sh
}

# Whether the escrow's tests find what is wrong with it, one fault at a time.
part_mutants() {
  tools/setup.sh contracts
  contracts/tools/mutants.sh
}

# Every crate with properties. A property that fixes its own number of cases keeps it.
part_properties() {
  PROPTEST_CASES=$cases cargo test --quiet --locked \
    -p phallama-protocol -p phallama-attest -p phallama-engine -p phallama-client
}

# The on-chain verifier against dcap-qvl: a million cases.
part_dcap() {
  PHALLAMA_DCAP_CASES=10 cargo test --quiet --locked -p phallama-chain --test dcap
}

# The escrow beside its model, and the ledger under adversaries: a hundred times as many.
part_model() {
  PHALLAMA_ESCROW_SEQUENCES=100 PHALLAMA_LEDGER_RUNS=150000 \
    cargo test --quiet --locked -p phallama-model
}

# Every fuzz target, thirty times as long as in every change.
part_fuzz() {
  tools/fuzz.sh 600
}

# Nodes, processes and restarts: what a race would break.
part_chain() {
  tools/setup.sh contracts
  repeat cargo test --quiet --locked -p phallama-devchain -p phallama-chain
}

# A list of 10,000 pods within 30 s, dust rows and all.
part_registry() {
  tools/bench.sh registry --json | python3 -c '
import json, sys
took = json.load(sys.stdin)["registry.first_list_s"]
print(f"first list of 10,000 pods: {took:.1f} s, at most 30 s", file=sys.stderr)
sys.exit(took > 30)'
}

# The pages say what a run gives.
part_scale() { tools/scale.sh --check; }

part_end_to_end() {
  set_up_end_to_end
  cargo build --quiet --locked --workspace --bins
  PHALLAMA_KILL_RUNS=20 repeat cargo test --quiet --locked \
    -p phallama -p phallama-host -p phallama-enclave
}

# Ten times the kills of every change, at other moments each night.
part_kill() {
  cargo build --quiet --locked --workspace --bins
  PHALLAMA_KILL_RUNS=2000 PHALLAMA_KILL_SEED=$(date +%Y%m%d) \
    cargo test --quiet --locked -p phallama --test kill
}

part_demo() {
  set_up_end_to_end
  repeat ./demo --once
}

# Clients that are too large for every change.
part_clients() {
  cargo build --quiet --locked --workspace --bins
  clients/extra.py
}

set_up_end_to_end() {
  PHALLAMA_MODEL=$(tools/setup.sh model) || return
  PHALLAMA_LLAMA_SERVER=$(tools/setup.sh llama-server) || return
  tools/setup.sh contracts || return
  PHALLAMA_CLIENTS_PYTHON=$(tools/setup.sh clients) || return
  export PHALLAMA_MODEL PHALLAMA_LLAMA_SERVER PHALLAMA_CLIENTS_PYTHON
}

# Stops at the first failure, and says in which run it was.
repeat() {
  local run
  for ((run = 1; run <= runs; run++)); do
    say "run $run of $runs: $*"
    "$@" || { say "FAILED in run $run of $runs: $*"; return 1; }
  done
}

if [ "${1:-}" = --list ]; then printf '%s\n' "${parts[@]}"; exit; fi
[ $# -eq 0 ] || parts=("$@")
for part in "${parts[@]}"; do
  declare -F "part_$part" >/dev/null || die "no part \`$part\`; see tools/nightly.sh --list"
done

failed=()
for part in "${parts[@]}"; do
  say "part $part"
  began=$SECONDS
  # A shell of its own: `set -e` does not hold inside a function that is tested.
  if bash -c 'set -euo pipefail; '"$(declare -p cases runs)"'; '"$(declare -f)"'; part_'"$part"; then
    say "part $part: ok, $((SECONDS - began)) s"
  else
    failed+=("$part")
    say "part $part: FAILED after $((SECONDS - began)) s"
  fi
done
[ ${#failed[@]} -eq 0 ] || { say "failed: ${failed[*]}"; exit 1; }
say "all parts passed"

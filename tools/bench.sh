#!/usr/bin/env bash
# Runs a bench, and what it starts, with our own crates optimised (tools/optimised.toml):
#
#   tools/bench.sh front                      a table
#   tools/bench.sh front --json --part rps    JSON, of one part
#
# The benches are in crates/*/benches/, each with what it needs and takes in its first lines.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -gt 0 ] || { printf 'usage: tools/bench.sh NAME [ARGUMENT ...]\n' >&2; exit 2; }

# The whole workspace and a test are named so that foreign crates have the features of every build.
optimised=(--quiet --locked --config tools/optimised.toml --workspace)
cargo build "${optimised[@]}" --bins --test targets
exec cargo bench "${optimised[@]}" --profile dev --bench "$1" -- "${@:2}"

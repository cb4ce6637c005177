#!/usr/bin/env bash
# What somebody does who is new here: the commands of the README, typed into a terminal in an empty home, with
# the time of each until the first private answer is there. Builds the programs first.
#
#   tools/newcomer.sh             the walk, as a table; writes target/newcomer.json
#   tools/newcomer.sh --record    the same, and what was seen goes into docs/guides/first-answer.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools/setup.sh debs
tools/setup.sh model llama-server >/dev/null
# As in `demo`: `./check` has built them, with what its tests want besides.
[ -n "${PHALLAMA_BUILT:-}" ] || cargo build --quiet --locked --package phallama --package phallama-enclave --bins
export PHALLAMA_CACHE=${PHALLAMA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/phallama}
exec python3 tools/newcomer.py "$@"

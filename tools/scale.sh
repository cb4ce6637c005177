#!/usr/bin/env bash
# A day of 10,000 pods and 1,000,000 users under the real policies: writes the tables of docs/scale.md and the
# plots of docs/scale/. Takes some minutes and about 1 GiB of memory.
#
#   tools/scale.sh           writes
#   tools/scale.sh --check   writes nothing; fails when a run gives anything else
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec tools/bench.sh scale "$@"

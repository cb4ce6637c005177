#!/usr/bin/env bash
# Everything that CI runs for the contracts: format, lints, all tests (with vectors and gas snapshots)
# and the committed artifacts. `tools/setup.sh contracts` must have run before.
#
#   check.sh            checks; changes nothing
#   check.sh --accept   writes the vectors, snapshots and artifacts that the sources now give
#
# FOUNDRY_PROFILE=nightly makes the fuzz and invariant runs long.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
forge=${FORGE:-$PWD/node_modules/@foundry-rs/forge-linux-amd64/bin/forge}

[ -x "$forge" ] || {
  printf 'error: no forge at %s\n\nhint: Run `tools/setup.sh contracts`, or name one in FORGE.\n' "$forge" >&2
  exit 1
}

case ${1-} in
  '')
    tools/trees.js
    "$forge" fmt --check
    "$forge" build
    "$forge" test
    FOUNDRY_NETWORK=optimism "$forge" test --match-contract AttestationGasTest
    tools/artifacts.js --check
    tools/gas-table.js --check
    ;;
  --accept)
    "$forge" fmt
    "$forge" build
    WRITE_VECTORS=true "$forge" test --match-contract VectorsTest
    export FORGE_SNAPSHOT_CHECK=false FORGE_SNAPSHOT_EMIT=true
    "$forge" test --match-contract GasTest
    FOUNDRY_NETWORK=optimism "$forge" test --match-contract AttestationGasTest
    tools/artifacts.js
    tools/gas-table.js
    ;;
  *)
    printf 'error: unknown option `%s`\n\nusage: check.sh [--accept]\n' "$1" >&2
    exit 2
    ;;
esac

# `just` is a convenience; every recipe is a plain command.

# list the recipes
default:
    @just --list

# a local chain, a pod, and a private, attested, paid chat
demo *options:
    ./demo {{options}}

# exactly what CI runs
ci:
    .ci/run

# measure every figure the repository claims and write docs/figures.json
figures:
    tools/figures.sh

# long fuzzing, deep invariants, soaks
nightly:
    tools/nightly.sh

# a day of 10,000 pods and 1,000,000 users: docs/scale.md and its plots
scale:
    tools/scale.sh

# format everything
fmt:
    cargo fmt --all
    contracts/node_modules/@foundry-rs/forge-linux-amd64/bin/forge fmt --root contracts

# frameworks and command lines that are too large for every check
clients-extra *names:
    clients/extra.py {{names}}

#!/usr/bin/env bash
# Fuzzes what reads foreign bytes, and the ledger: libFuzzer with stable Rust, nothing else to install.
#
#   tools/fuzz.sh                       every target for 20 s
#   tools/fuzz.sh 600 wire evidence     the targets named, 600 s each
#   tools/fuzz.sh --replay wire FILE    one input, with the backtrace of what it breaks
#   tools/fuzz.sh --list                the targets
#
# A target is a file in fuzz/src/bin/; its seeds are in fuzz/seeds/TARGET/. As many run at once as there are
# cores. Fails on a crash, an input that takes more than 3 s, or more than 2 GiB of memory. What was found
# on the way stays in target/fuzz/corpus/TARGET/ and is where the next run begins.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../fuzz"

target_dir=${CARGO_TARGET_DIR:-$(realpath ..)/target}
out=$target_dir/fuzz
programs=$target_dir/debug
limits=(-timeout=3 -rss_limit_mb=2048)

die() { printf 'error: %s\n' "$*" >&2; exit 2; }

targets() { basename -s .rs src/bin/*.rs; }

# The whole workspace and a test are named so that foreign crates have the features that they have in
# `cargo build --workspace --bins --tests`: then they need not be compiled again.
build() {
  RUSTC_WORKSPACE_WRAPPER=$PWD/rustc.sh CARGO_INCREMENTAL=0 cargo build --quiet --locked --workspace \
    --features phallama-fuzz/targets "${@/#/--bin=}" --test=targets
}

# fuzz TARGET SECONDS: one line on what was done, or how it failed.
fuzz() {
  local target=$1 seconds=$2 log=$out/$1.log
  mkdir -p "$out/corpus/$target" "$out/crashes/$target" "seeds/$target"
  if "$programs/$target" "${limits[@]}" -max_total_time="$seconds" -print_final_stats=1 \
    -artifact_prefix="$out/crashes/$target/" "$out/corpus/$target" "seeds/$target" >"$log" 2>&1
  then
    awk -v target="$target" '
      /DONE  *cov:/ { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1) }
      /^stat::number_of_executed_units:/ { runs = $2 }
      /^stat::peak_rss_mb:/ { rss = $2 }
      END { printf "%-20s %12d executions   coverage %6d   %5d MiB\n", target, runs, cov, rss }' "$log"
    return
  fi
  local input
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -1)
  {
    grep -vE '^#[0-9]|^INFO:|NEW_FUNC|^stat::' "$log" | tail -40
    printf 'error: target `%s` failed, see above\n\nhint: To see it again, run `tools/fuzz.sh --replay %s %s`\n' \
      "$target" "$target" "${input:-INPUT}"
  } >&2
  return 1
}

case ${1-} in
  --list) targets; exit ;;
  --replay)
    [ $# -eq 3 ] || die 'usage: tools/fuzz.sh --replay TARGET FILE'
    input=$(cd "$OLDPWD" && realpath "$3")
    build "$2"
    RUST_BACKTRACE=1 exec "$programs/$2" "${limits[@]}" "$input"
    ;;
esac

seconds=20
if [[ ${1-} =~ ^[0-9]+$ ]]; then seconds=$1; shift; fi
chosen=("$@")
[ $# -gt 0 ] || mapfile -t chosen < <(targets)
for target in "${chosen[@]}"; do
  [ -f "src/bin/$target.rs" ] || die "no target \`$target\`; see tools/fuzz.sh --list"
done

build "${chosen[@]}"
failed=0 running=0
for target in "${chosen[@]}"; do
  if [ "$running" -ge "$(nproc)" ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz "$target" "$seconds" &
  running=$((running + 1))
done
for ((; running > 0; running--)); do wait -n || failed=1; done
exit $failed

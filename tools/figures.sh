#!/usr/bin/env bash
# Measures every figure that the repository claims, and records each with its unit and conditions in
# docs/figures.json, from where the pages quote them.
#
#   tools/figures.sh             everything; the clean build and the private path take longest
#   tools/figures.sh gas seal    the parts named; --list names them
#
# One profile for everything: what is measured is what the demo and the tests run. Timings want a machine
# that does nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
repo=$PWD
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

parts=(gas attestation dcap model kill seal ledger verify path front local registry clients newcomer deps size ci build)

say() { printf '\033[1mfigures:\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

machine="$(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1 | tr -s ' ' || true)"

# about NAME: its unit and conditions, separated by a tab.
about() {
  local cold='whole transaction, cold slots, distinct users, embedded chain'
  local quoted='cold, P-256 precompile at 6,900 gas; forge, contracts/snapshots/attestation.json'
  local clients='64 clients at once, each waiting for its claim, 9,600 channels, group commit'
  local asking='small requests of 64 clients at once, class unpaced, five rounds of 8 s, medians'
  local held='1,000 streams of class std, a word a second, 10 minutes, scripted worker, load on the same machine, recorded at real-time priority beside other work'
  local words='64 words, one each 37 ms, scripted worker, 10 rounds, recorded at real-time priority beside other work'
  local turns='SmolLM2-135M Q4_1, greedy, ~64-token prompts, 64-token answers, 16 slots, sides in turns, medians'
  local beside='40 small requests a second for 60 s, every second one through the local server, the others by the client library alone, both unpaced, scripted worker and load on the same machine'
  local burst='5,000 small requests over 200 connections, each its next when it is answered, scripted worker and load on the same machine'
  local heard='200 streams at once, a word every 50 ms, 400 words, unpaced, two turns through the local server and two without, scripted worker and load on the same machine'
  local churn='10,000 connections at 200/s, every second one asks, and 500 half-open heads, half of them with a byte a second'
  local over='64 requests at once to a pod with a queue of 32 (16 for one account) and all 4 slots busy, then 20 more one after the other'
  case $1 in
    gas.register_tx) echo "gas	register: one offer; $cold" ;;
    gas.attest_tx) echo "gas	attest: simulated SGX quote, first key, with its PCK certificate; $cold" ;;
    gas.attest_known_tx) echo "gas	attestKnown after a restart, another key; $cold" ;;
    gas.dcap_verify_sgx_v3_exec) echo "gas	verify of a simulated SGX v3 quote with its PCK certificate, execution alone; $quoted" ;;
    gas.dcap_verify_tdx_v4_exec) echo "gas	verify of a simulated TDX v4 quote with its PCK certificate, execution alone; $quoted" ;;
    gas.dcap_verify_tdx_v5_exec) echo "gas	verify of a simulated TDX v5 quote (TD 1.5ex) with its PCK certificate, execution alone; $quoted" ;;
    gas.dcap_verify_real_sgx_exec) echo "gas	verify of Intel's own SGX v3 quote, 11 TCB levels, execution alone; $quoted" ;;
    gas.dcap_verify_real_tdx_exec) echo "gas	verify of Intel's own TDX v5 quote (TD 1.5ex), execution alone; $quoted" ;;
    gas.register_attested_tx) echo "gas	attest: first key of a pod, SGX v3, first quote of the machine, whole transaction; $quoted" ;;
    gas.register_attested_tdx_tx) echo "gas	the same, TDX v4; $quoted" ;;
    gas.reattest_tx) echo "gas	attestKnown: the same key again, SGX v3, whole transaction; $quoted" ;;
    gas.reattest_new_key_tx) echo "gas	attestKnown after a restart: another key, SGX v3, whole transaction; $quoted" ;;
    gas.tcb_upsert_tx) echo "gas	upsertTcbInfo of Intel's largest sample (TDX, 5,524 bytes), whole transaction; $quoted" ;;
    gas.tcb_upsert_sgx_tx) echo "gas	upsertTcbInfo of Intel's SGX sample (4,520 bytes), whole transaction; $quoted" ;;
    gas.crl_upsert_per_serial) echo "gas/serial	upsertCrl: slope between 100 and 1,000 serials, whole transactions; $quoted" ;;
    gas.settle_slope) echo "gas/row	settle: slope between 100 and 500 rows, distinct users, whole transactions, cold; forge" ;;
    invariant.runs) echo "runs	stateful invariants of the escrow in every check, depth 8, fail_on_revert; contracts/test/EscrowInvariant.t.sol" ;;
    dcap.differential_cases) echo "cases	contract against dcap-qvl 0.7.1, same root and time: real, generated and mutated; cargo test -p phallama-chain --test dcap" ;;
    dcap.differential_unexplained) echo "cases	verdicts that differ and are not on the list of intended differences; the same run" ;;
    kill.runs) echo "kills	kill -9 of pod and local server under load, among them the five moments of a settlement; cargo test -p phallama --test kill" ;;
    kill.lost_above_one_increment) echo "kills	after which a user had lost more than one reserve for each open request; the same run" ;;
    kill.pod_restart_ms_median) echo "ms	from the start of a killed pod's successor until it serves, enclave and attestation included; the same run; $machine" ;;
    escrow.differential_calls) echo "calls	contract beside the model of spec/billing.md, same answers, reverts, events and storage; cargo test -p phallama-model --test escrow" ;;
    ledger.runs) echo "runs	client, host and enclave arithmetic under random adversaries; cargo test -p phallama-model --test ledger_consistency" ;;
    ledger.steps) echo "steps	things that happened in those runs" ;;
    contracts.mutants_killed) echo "mutants	faults put into the escrow one at a time, each found by a test; contracts/tools/mutants.sh" ;;
    gas.deposit_open_tx) echo "gas	openAndDeposit of a new user; $cold" ;;
    gas.deposit_tx) echo "gas	deposit to an open account; $cold" ;;
    gas.withdraw_tx) echo "gas	withdraw; $cold" ;;
    gas.lock_per_row_1) echo "gas/row	lock with 1 row; $cold" ;;
    gas.lock_per_row_100) echo "gas/row	lock with 100 rows; $cold" ;;
    gas.settle_per_row_1) echo "gas/row	settle with 1 row; $cold" ;;
    gas.settle_per_row_100) echo "gas/row	settle with 100 rows; $cold" ;;
    gas.settle_receipts_per_row_100) echo "gas/row	settleReceipts with 100 rows; $cold" ;;
    gas.start_exit_tx) echo "gas	startExit by the owner; $cold" ;;
    gas.finish_exit_tx) echo "gas	finishExit; $cold" ;;
    gas.close_tx) echo "gas	close by the owner; $cold" ;;
    gas.collect_tx) echo "gas	collect to a payout address without tokens; $cold" ;;
    seal.client_us) echo "µs	seal a 4,096-byte request and open the answer's first frame; $machine" ;;
    seal.server_us) echo "µs	open a 4,096-byte request and begin its answer; $machine" ;;
    seal.frame_us) echo "µs	seal one 272-byte frame; $machine" ;;
    seal.sign_us) echo "µs	one secp256k1 signature; $machine" ;;
    seal.recover_us) echo "µs	one secp256k1 key recovery; $machine" ;;
    verify.quote_ms) echo "ms	simulated SGX quote with its collateral, median of 400; $machine" ;;
    ledger.verified_per_s) echo "vouchers/s	EIP-712 digest and recovered signer as in the enclave, all cores; $machine" ;;
    ledger.durable_per_s) echo "claims/s	stored by the pod's journal, $clients; $machine" ;;
    ledger.ack_p50_ms) echo "ms	from a claim to its being durable, median, $clients; $machine" ;;
    ledger.ack_p99_ms) echo "ms	from a claim to its being durable, 99th percentile, $clients; $machine" ;;
    ledger.claims_per_commit) echo "claims	of one commit of the journal, $clients" ;;
    ledger.bytes_per_claim) echo "B	that the journal writes, $clients" ;;
    ledger.serial_per_s) echo "claims/s	stored by the pod's journal for one client that waits for each; $machine" ;;
    ledger.disk_durable_per_s) echo "claims/s	the disk's limit: the same bytes, in the journal's portions, written and fdatasync'ed by nothing else, same run and file system; $machine" ;;
    ledger.disk_commit_p50_ms) echo "ms	one such portion, median; $machine" ;;
    ledger.disk_commit_p99_ms) echo "ms	one such portion, 99th percentile; $machine" ;;
    ledger.disk_serial_per_s) echo "claims/s	the disk's limit for one claim's record at a time; $machine" ;;
    registry.first_list_s) echo "s	a client that knows nothing reads 10,000 pods, 9,000 of them dust, from the embedded chain over HTTP, median of 3; $machine" ;;
    path.direct_tokens_per_s) echo "tokens/s	llama-server asked directly, 1 stream; $turns; $machine" ;;
    path.tokens_per_s) echo "tokens/s	private path, class unpaced, 1 stream; $turns; $machine" ;;
    path.tokens_per_s_4) echo "tokens/s	private path, unpaced, 4 streams at once; $turns; $machine" ;;
    path.tokens_per_s_8) echo "tokens/s	private path, unpaced, 8 streams at once; $turns; $machine" ;;
    path.tokens_per_s_16) echo "tokens/s	private path, unpaced, 16 streams at once; $turns; $machine" ;;
    path.throughput_ratio_1) echo "ratio	private ÷ direct, from call to accepted receipt, unpaced, 1 stream; $turns" ;;
    path.throughput_ratio_4) echo "ratio	private ÷ direct, unpaced, 4 streams at once, until the last is complete; $turns" ;;
    path.throughput_ratio_8) echo "ratio	private ÷ direct, unpaced, 8 streams at once, until the last is complete; $turns" ;;
    path.throughput_ratio_16) echo "ratio	private ÷ direct, unpaced, 16 streams at once, until the last is complete; $turns" ;;
    path.direct_ttft_ms) echo "ms	llama-server asked directly, call to first text; $turns; $machine" ;;
    path.ttft_added_ms) echo "ms	private − direct, call to first text without the prompt's computation, unpaced; $turns; $machine" ;;
    path.ttft_loaded_added_ms) echo "ms	the same, while 4 other answers are computed; $turns; $machine" ;;
    path.turn2_ttft_ratio) echo "ratio	private ÷ direct, call to first text of a second turn whose first is in the slot; $turns" ;;
    path.prefill_ratio) echo "ratio	private ÷ direct, tokens/s of a prompt of ~800 tokens until its first text; $turns" ;;
    path.prefill_per_s) echo "tokens/s	private path, prompt of ~800 tokens until its first text; $turns; $machine" ;;
    path.peak_mib) echo "MiB	most resident memory of phallama-enclave, and of the process with host, client, embedded chain and bench, added; without workers; after the path bench" ;;
    path.same_text) echo "ratio	of the prompts whose answers are the same, private and direct, 1 stream; $turns" ;;
    ollama.throughput_ratio_1) echo "ratio	private ÷ a real Ollama v0.34.0 (native API, OLLAMA_NUM_PARALLEL=16), unpaced, 1 stream; $turns" ;;
    ollama.throughput_ratio_4) echo "ratio	the same, 4 streams at once; $turns" ;;
    ollama.throughput_ratio_8) echo "ratio	the same, 8 streams at once; $turns" ;;
    ollama.ttft_ratio) echo "ratio	a real Ollama's call to first text ÷ the private path's, unpaced, 1 stream; $turns" ;;
    path.std_ttft_added_ms) echo "ms	the same, class std (a frame every 100 ms); $turns" ;;
    path.std_last_token_added_ms) echo "ms	private − direct, call to last text, class std; $turns" ;;
    path.std_total_added_ms) echo "ms	private − direct, call to accepted receipt, class std; $turns" ;;
    wire.bytes_ratio_to_sse) echo "ratio	answer's bytes to the end of its padding ÷ direct SSE bytes, class std; $turns" ;;
    wire.unpaced_bytes_ratio_to_sse) echo "ratio	the same, class unpaced; $turns" ;;
    wire.sse_bytes) echo "B	body of the direct SSE answer; $turns" ;;
    wire.bytes_down) echo "B	body of the sealed answer, padding included, class std; $turns" ;;
    wire.bytes_up) echo "B	body of the sealed request, smallest bucket; $turns" ;;
    host.sealed_rps) echo "requests/s	per second of the pod's processor time (host and enclave), scripted worker, $asking; $machine" ;;
    host.sealed_rps_crypto_limit) echo "requests/s	what the same requests' cryptography alone allows, every core at it, same run; $machine" ;;
    host.sealed_rps_ratio_to_crypto) echo "ratio	sealed_rps ÷ sealed_rps_crypto_limit, scripted worker, $asking" ;;
    host.streams) echo "streams	held open together, $held" ;;
    host.stream_kib) echo "KiB	resident memory of host and enclave per stream: peak, less what both had before; $held" ;;
    host.stream_frames) echo "frames	of those streams; $held" ;;
    host.stream_frames_lost) echo "frames	missing at a stream's end; $held" ;;
    host.stream_frames_late) echo "frames	that came more than a tick after they were due; $held" ;;
    host.stream_longest_gap_ms) echo "ms	between two frames of any stream, tick 100 ms; $held" ;;
    host.stream_cores) echo "cores	of processor time of host and enclave for all streams; $held; $machine" ;;
    local.added_p50_ms) echo "ms	that the local server adds to a request, median with it − median without; $beside; $machine" ;;
    local.added_p99_ms) echo "ms	the same of the 99th percentiles; $beside; $machine" ;;
    local.p50_ms) echo "ms	a request through the local server, to its receipt, median; $beside; $machine" ;;
    local.p99_ms) echo "ms	the same, 99th percentile; $beside; $machine" ;;
    local.failed) echo "requests	without an answer, of both; $beside" ;;
    local.burst_per_s) echo "requests/s	through the local server; $burst; $machine" ;;
    local.burst_ratio) echo "ratio	requests/s through the local server ÷ by the client library alone, in turns; $burst" ;;
    local.burst_failed) echo "requests	through the local server without an answer; $burst" ;;
    local.rss_mib) echo "MiB	resident memory of \`phallama serve\` after the burst; $burst" ;;
    local.streams) echo "streams	at once; $heard" ;;
    local.streams_lost) echo "words	that did not come; $heard" ;;
    local.streams_duplicated) echo "words	that came twice; $heard" ;;
    local.streams_reordered) echo "words	that came after a later one; $heard" ;;
    local.streams_added_ttft_p99_ms) echo "ms	call to first word, 99th percentile through the local server − the same without; $heard; $machine" ;;
    local.streams_added_gap_p99_ms) echo "ms	between two parts, 99th percentile through the local server − the same without; $heard; $machine" ;;
    local.stream_kib) echo "KiB	resident memory of \`phallama serve\` per stream: peak, less what it had before; $heard" ;;
    local.churn_failed) echo "connections	that were not answered as they should; $churn" ;;
    local.churn_files_left) echo "files	open in \`phallama serve\` after it, less those before; $churn" ;;
    local.half_open_s) echo "s	until the last half-open head was closed; $churn" ;;
    local.half_open_left) echo "connections	with a half-open head that stayed open for 30 s; $churn" ;;
    local.churn_others_failed) echo "requests	of others, 10 a second, without an answer; $churn" ;;
    local.churn_others_p99_ratio) echo "ratio	99th percentile of those requests ÷ the same in the 30 s before; $churn; $machine" ;;
    local.overload_refused) echo "requests	answered 429 or 503 with Retry-After; $over" ;;
    local.overload_answered) echo "requests	answered to the end, with a receipt; $over" ;;
    local.overload_failed) echo "requests	that ended in any other way; $over" ;;
    local.overload_burst_refusal_max_ms) echo "ms	until the last of the requests that came at once was refused; $over; $machine" ;;
    local.overload_refusal_max_ms) echo "ms	the longest refusal of those that came one after the other; $over; $machine" ;;
    local.overload_charged) echo "units	of the token that the contract paid beyond what answers with a receipt cost; $over" ;;
    pacing.added_ms_mean) echo "ms	a word later than in class unpaced, class std; $words" ;;
    pacing.added_ms_p95) echo "ms	the same, 95th percentile; $words" ;;
    pacing.bytes) echo "B	of the answer's body, class std; $words" ;;
    pacing.fast_added_ms_mean) echo "ms	a word later than in class unpaced, class fast; $words" ;;
    pacing.fast_added_ms_p95) echo "ms	the same, 95th percentile; $words" ;;
    pacing.fast_bytes) echo "B	of the answer's body, class fast; $words" ;;
    pacing.bulk_added_ms_mean) echo "ms	a word later than in class unpaced, class bulk, which gives everything at the end; $words" ;;
    pacing.bulk_added_ms_p95) echo "ms	the same, 95th percentile; $words" ;;
    pacing.bulk_bytes) echo "B	of the answer's body, class bulk; $words" ;;
    pacing.unpaced_bytes) echo "B	of the answer's body, class unpaced, a frame for every word; $words" ;;
    memory.enclave_mib) echo "MiB	resident memory of phallama-enclave without its worker, after the path bench" ;;
    clients.suites_passed) echo "suites	of real clients in their pinned versions, without a failure that is not on their lists; embedded chain, two pods, SmolLM2-135M and the scripted worker; clients/run.py" ;;
    clients.allowed_failures) echo "tests	of those suites that fail and are on their lists with a reason (clients/allowed); the same run" ;;
    newcomer.seconds_to_first_answer) echo "s	from the first of the README's commands to the end of the first answer's text, empty home, everything built, chain and pod made on the way, SmolLM2-135M; tools/newcomer.sh; $machine" ;;
    newcomer.commands) echo "commands	of that walk" ;;
    newcomer.joining_seconds) echo "s	the same for somebody who joins a network that is there, from init to the end of the first answer's text; the same run; $machine" ;;
    newcomer.joining_commands) echo "commands	of that walk" ;;
    deps.workspace) echo "crates	unique third-party crates of cargo tree --workspace -e normal" ;;
    deps.enclave) echo "crates	unique third-party crates of cargo tree -p phallama-enclave -e normal" ;;
    size.page_gzip_kib) echo "KiB	the web page, all files in gzip" ;;
    size.phallama_mib) echo "MiB	binary phallama, optimised as for all figures" ;;
    size.enclave_mib) echo "MiB	binary phallama-enclave, optimised as for all figures" ;;
    ci.total_s) echo "s	./check, all parts, model and llama-server in the cache; $machine" ;;
    build.clean_s) echo "s	fresh clone, both binaries, crates already downloaded; $machine" ;;
    *) return 1 ;;
  esac
}

# record NAME VALUE
record() {
  local text unit conditions
  text=$(about "$1") || die "no unit and conditions for \`$1\`; add them to \`about\` in tools/figures.sh"
  unit=${text%%$'\t'*} conditions=${text#*$'\t'}
  cargo xtask figures set "$1" "$2" "$unit" "$conditions"
  say "$1 = $2 $unit"
}

# Reads one JSON object, name to value, and records each with four significant digits.
record_json() {
  local name value
  while IFS=$'\t' read -r name value; do
    record "$name" "$value"
  done < <(python3 -c '
import json, sys
for name, value in json.load(sys.stdin).items():
    digits = value if float(value).is_integer() else float("%.4g" % value)
    print(name, f"{digits:.10g}", sep="\t")')
}

# Counts and gas: every digit.
record_exact() {
  local name value
  while IFS=$'\t' read -r name value; do
    record "$name" "$value"
  done < <(python3 -c '
import json, sys
for name, value in json.load(sys.stdin).items():
    print(name, f"{value:.10g}", sep="\t")')
}

bench() { tools/bench.sh "$1" --json; }

part_gas() { bench gas | record_json; }
# What forge measured, as the tests hold it; `contracts/tools/check.sh --accept` measures anew.
part_attestation() {
  python3 -c '
import json, re
gas = json.load(open("contracts/snapshots/attestation.json"))
invariants = open("contracts/test/EscrowInvariant.t.sol").read()
rows = json.load(open("contracts/snapshots/gas.json"))
print(json.dumps({
    "gas.dcap_verify_sgx_v3_exec": int(gas["verify_sgx_v3_execution"]),
    "gas.dcap_verify_tdx_v4_exec": int(gas["verify_tdx_v4_execution"]),
    "gas.dcap_verify_tdx_v5_exec": int(gas["verify_tdx_v5_td15ex_execution"]),
    "gas.dcap_verify_real_sgx_exec": int(gas["verify_real_sgx_quote_execution"]),
    "gas.dcap_verify_real_tdx_exec": int(gas["verify_real_tdx_quote_td15ex_execution"]),
    "gas.register_attested_tx": int(gas["attest_first_sgx"]),
    "gas.register_attested_tdx_tx": int(gas["attest_first_tdx_v4"]),
    "gas.reattest_tx": int(gas["attest_again_same_key"]),
    "gas.reattest_new_key_tx": int(gas["attest_again_new_key"]),
    "gas.tcb_upsert_tx": int(gas["upsertTcbInfo_tdx"]),
    "gas.tcb_upsert_sgx_tx": int(gas["upsertTcbInfo_sgx"]),
    "gas.crl_upsert_per_serial": int(gas["upsertCrl_slope"]),
    "invariant.runs": int(re.search(r"invariant.runs = (\d+)", invariants)[1])
    * len(re.findall("function invariant_", invariants)),
    "gas.settle_slope": (int(rows["settle_500"]) - int(rows["settle_100"])) / 400,
}))' | record_exact
}

part_dcap() {
  cargo test --quiet --locked --package phallama-chain --test dcap
  record_exact <target/dcap-differential.json
}

part_kill() {
  cargo build --quiet --locked --workspace --bins
  cargo test --quiet --locked --package phallama --test kill kills_at_any_moment
  python3 -c '
import json
kill = json.load(open("target/kill.json"))
names = ("runs", "lost_above_one_increment", "pod_restart_ms_median")
print(json.dumps({f"kill.{name}": kill[name] for name in names}))' | record_exact
}

part_ledger() { bench ledger | record_json; }
part_clients() {
  cargo build --quiet --locked --workspace --bins
  clients/run.py
  record_exact <target/clients.json
}
part_newcomer() {
  tools/newcomer.sh
  record_exact <target/newcomer.json
}
part_registry() { bench registry | record_json; }

# A test that fails leaves no totals; a mutant that lives ends the run.
part_model() {
  cargo test --quiet --locked --package phallama-model
  record_exact <target/escrow-differential.json
  record_exact <target/ledger-consistency.json
  record contracts.mutants_killed "$(contracts/tools/mutants.sh | sed -n 's/ mutants killed$//p')"
}

# The last part of it holds its streams for ten minutes.
part_front() {
  PHALLAMA_MODEL=${PHALLAMA_MODEL:-$(tools/setup.sh model)}
  export PHALLAMA_MODEL
  bench front | record_json
}

# About six minutes.
part_local() {
  PHALLAMA_MODEL=${PHALLAMA_MODEL:-$(tools/setup.sh model)}
  export PHALLAMA_MODEL
  bench local | record_json
}

part_verify() { bench verify | record_json; }

# The bench speaks of single steps; a client's share of a request is two of them.
part_seal() {
  bench seal | python3 -c '
import json, sys
us = json.load(sys.stdin)
print(json.dumps({
    "seal.client_us": us["client_seal_us"] + us["client_open_first_frame_us"],
    "seal.server_us": us["server_open_respond_us"],
    "seal.frame_us": us["frame_seal_us"],
    "seal.sign_us": us["sign_us"],
    "seal.recover_us": us["recover_us"],
}))' | record_json
}

part_path() {
  PHALLAMA_MODEL=${PHALLAMA_MODEL:-$(tools/setup.sh model)}
  PHALLAMA_LLAMA_SERVER=${PHALLAMA_LLAMA_SERVER:-$(tools/setup.sh llama-server)}
  export PHALLAMA_MODEL PHALLAMA_LLAMA_SERVER
  # About 9 minutes; without PHALLAMA_OLLAMA the bench says that no Ollama was asked.
  bench path | record_json
}

# Packages from a registry, each version once. Ours carry their path in parentheses.
count_crates() {
  cargo tree --locked --edges normal --prefix none --format '{p}' "$@" |
    sed -e '/ (\//d' -e 's/ (.*//' -e '/^$/d' | sort -u | wc -l
}
part_deps() {
  record deps.workspace "$(count_crates --workspace)"
  record deps.enclave "$(count_crates --package phallama-enclave)"
}

part_size() {
  cargo build --quiet --locked --config tools/optimised.toml --workspace --bins --test targets
  local target=${CARGO_TARGET_DIR:-target}
  mib() { python3 -c 'import os, sys; print("%.1f" % (os.stat(sys.argv[1]).st_size / 2**20))' "$1"; }
  record size.page_gzip_kib "$(find crates/phallama/page -type f ! -name files.in -exec gzip -9c {} + | wc -c | awk '{ print $1 / 1024 }')"
  record size.phallama_mib "$(mib "$target/debug/phallama")"
  record size.enclave_mib "$(mib "$target/debug/phallama-enclave")"
}

part_ci() {
  local file=target/check-seconds
  if [ ! -s "$file" ]; then
    say "NOT MEASURED: ci.total_s, because $file does not exist; run ./check (all parts) first"
    return
  fi
  record ci.total_s "$(cat "$file")"
}

# A clone and a target folder of its own; nothing of either is kept.
part_build() {
  local folder began took
  folder=$(mktemp -d "${TMPDIR:-/tmp}/phallama-clean-XXXXXX")
  # shellcheck disable=SC2064  # the folder is known now
  trap "rm -rf '$folder'" EXIT
  git clone --quiet --no-hardlinks "$repo" "$folder/clone"
  say "building a fresh clone of $(git rev-parse --short HEAD)"
  began=$(date +%s)
  (cd "$folder/clone" &&
    CARGO_TARGET_DIR="$folder/target" cargo build --quiet --locked -p phallama -p phallama-enclave --bins)
  took=$(($(date +%s) - began))
  rm -rf "$folder"
  trap - EXIT
  record build.clean_s "$took"
}

if [ "${1:-}" = --list ]; then printf '%s\n' "${parts[@]}"; exit; fi
[ $# -eq 0 ] || parts=("$@")
for part in "${parts[@]}"; do
  declare -F "part_$part" >/dev/null || die "no part \`$part\`; see tools/figures.sh --list"
done
load=$(cut -d' ' -f1 /proc/loadavg)
python3 -c 'import sys; sys.exit(float(sys.argv[1]) > 0.7)' "$load" ||
  say "THE MACHINE IS BUSY (load $load): timings measured now are noise"
for part in "${parts[@]}"; do
  say "part $part"
  "part_$part"
done

#!/usr/bin/env node
// Writes the gas tables of docs/reference/attestation-gas.md and billing-gas.md from snapshots/. `--check` writes
// nothing and fails when a page has other figures.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const read = (name) => JSON.parse(fs.readFileSync(path.join(root, "snapshots", `${name}.json`), "utf8"));
const [ethereum, opStack, billing] = [read("attestation"), read("attestation_optimism"), read("gas")];

const ATTESTATION = [
  ["`verify`, SGX v3", "verify_sgx_v3"],
  ["`verify`, TDX v4", "verify_tdx_v4"],
  ["`verify`, TDX v5, TD 1.0", "verify_tdx_v5_td10"],
  ["`verify`, TDX v5, TD 1.5", "verify_tdx_v5_td15"],
  ["`verify`, TDX v5, TD 1.5ex", "verify_tdx_v5_td15ex"],
  ["`verify`, Intel's SGX v3 sample (11 levels)", "verify_real_sgx_quote"],
  ["`verify`, Intel's TDX v4 sample", "verify_real_tdx_quote"],
  ["`verify`, Intel's TDX v5 sample", "verify_real_tdx_quote_td15ex"],
  ["`verifyKnown`, SGX v3", "verifyKnown_sgx_v3"],
  ["`verifyKnown`, TDX v4", "verifyKnown_tdx_v4"],
  ["`attest`, first key of a pod, SGX v3", "attest_first_sgx"],
  ["`attest`, first key of a pod, TDX v4", "attest_first_tdx_v4"],
  ["`attest`, first key of a pod, TDX v5, TD 1.5ex", "attest_first_tdx_v5_td15ex"],
  ["`attestKnown`, the same key again", "attest_again_same_key"],
  ["`attestKnown`, another key after a restart", "attest_again_new_key"],
  ["`invalidate`", "invalidate"],
  ["`admitPck`", "admitPck"],
  ["`admitCa`", "admitCa"],
  ["`admitSigner`", "admitSigner"],
  ["`upsertTcbInfo`, Intel's SGX sample, 4,520 bytes", "upsertTcbInfo_sgx"],
  ["`upsertTcbInfo`, Intel's TDX sample, 5,524 bytes", "upsertTcbInfo_tdx"],
  ["`upsertQeIdentity`, Intel's SGX sample", "upsertQeIdentity_sgx"],
  ["`upsertQeIdentity`, Intel's TDX sample", "upsertQeIdentity_tdx"],
  ["`upsertCrl`, no serials", "upsertCrl_0"],
  ["`upsertCrl`, 100 serials", "upsertCrl_100"],
  ["`upsertCrl`, 1,000 serials", "upsertCrl_1000"],
];

// What grows with its rows, and for how many rows it is measured.
const BATCHES = [
  ["`settle`", "settle", [1, 10, 100, 500]],
  ["`settleReceipts`", "settleReceipts", [1, 10, 100, 500]],
  ["`lock`", "lock", [1, 10, 100, 400]],
];

const OPERATIONS = [
  ["`open`", "open"],
  ["`openAndDeposit`", "openAndDeposit"],
  ["`openAndDepositWithAuthorization`", "openAndDepositWithAuthorization"],
  ["`deposit`", "deposit_again"],
  ["`depositWithPermit`", "depositWithPermit"],
  ["`depositWithAuthorization`", "depositWithAuthorization"],
  ["`withdraw`", "withdraw"],
  ["`withdrawFor`, the first of an account", "withdrawFor_first"],
  ["`withdrawFor`, later", "withdrawFor_again"],
  ["`startExit`", "startExit"],
  ["`startExitFor`", "startExitFor"],
  ["`finishExit`", "finishExit"],
  ["`close`", "close"],
  ["`closeFor`", "closeFor"],
  ["`lock` of 100 rows that find nothing left to lock", "lock_skipped_100"],
  ["`collect`, to an address that has none of the token", "collect"],
  ["`PodRegistry.register`, one offer", "register_1_offer"],
];

const PEERS = [
  ["allowance and `transferFrom` per row", "peer_allowances", [1, 10, 100]],
  ["an EIP-3009 authorization per row", "peer_authorizations", [1, 10, 100]],
  ["**`settle`, here**", "settle", [1, 10, 100]],
];

// Gas of a transaction and of a block of the target chain.
const HALF_BLOCK = 15_000_000;

const number = (value) => Math.round(value).toLocaleString("en-US");
const lines = (rows) => rows.map((row) => `| ${row.join(" | ")} |`).join("\n");
const gas = (snapshot, name) => {
  if (!(name in snapshot)) throw new Error(`no snapshot ${name}`);
  return Number(snapshot[name]);
};

// Least squares through [rows, gas]: what a row takes, and how much of the variance that explains.
function line(points) {
  const mean = (of) => points.reduce((sum, point) => sum + of(point), 0) / points.length;
  const [x, y] = [mean((p) => p[0]), mean((p) => p[1])];
  const sum = (of) => points.reduce((total, [a, b]) => total + of(a - x, b - y), 0);
  const slope = sum((a, b) => a * b) / sum((a) => a * a);
  const rest = sum((a, b) => (b - slope * a) ** 2);
  return {slope, r2: 1 - rest / sum((_, b) => b * b)};
}

function attestation() {
  const columns = (name) => [ethereum, opStack].flatMap((of) => [gas(of, `${name}_execution`), gas(of, name)]);
  return lines(ATTESTATION.map(([label, name]) => [label, ...columns(name).map(number)]));
}

function batches() {
  return lines(BATCHES.map(([label, name, counts]) => {
    const points = counts.map((count) => [count, gas(billing, `${name}_${count}`)]);
    const {slope, r2} = line(points);
    if (r2 < 0.99) throw new Error(`${name} is not linear: R² ${r2}`);
    const perRow = points.map(([count, used]) => number(used / count));
    if (!counts.includes(500)) perRow[3] += ` (${counts[3]} rows)`;
    const share = ((100 * gas(billing, `${name}_100`)) / HALF_BLOCK).toFixed(0);
    return [label, ...perRow, number(slope), r2.toFixed(6), `${share} %`];
  }));
}

const operations = () => lines(OPERATIONS.map(([label, name]) => [label, number(gas(billing, name))]));

function peers() {
  return lines(PEERS.map(([label, name, counts]) => {
    return [label, ...counts.map((count) => number(gas(billing, `${name}_${count}`) / count))];
  }));
}

// [page, the rule under a table's head, its rows]. Each table ends at the marker after it.
const TABLES = [
  ["attestation-gas.md", "|---|--:|--:|--:|--:|\n", attestation()],
  ["billing-gas.md", "|---|--:|--:|--:|--:|--:|--:|--:|\n", batches()],
  ["billing-gas.md", "|---|--:|\n", operations()],
  ["billing-gas.md", "|---|--:|--:|--:|\n", peers()],
];
const END = "\n\n<!-- end of the table -->";

let stale = false;
for (const [page, begin, rows] of TABLES) {
  const file = path.join(root, "..", "docs", "reference", page);
  const text = fs.readFileSync(file, "utf8");
  const from = text.indexOf(`\n${begin}`) + 1 + begin.length;
  const to = text.indexOf(END, from - 1);
  if (from === begin.length || to < 0) throw new Error(`${page} has no table under ${begin.trim()}`);
  const written = text.slice(0, from) + rows + text.slice(to);
  if (written === text) continue;
  if (process.argv.includes("--check")) {
    console.error(`error: docs/reference/${page} has other figures than snapshots/`);
    stale = true;
  } else {
    fs.writeFileSync(file, written);
  }
}
if (stale) {
  console.error("\nhint: Run `contracts/tools/gas-table.js` and commit the result.");
  process.exit(1);
}

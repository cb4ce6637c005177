#!/usr/bin/env node
// Writes the gas table of docs/reference/attestation-gas.md from snapshots/. `--check` writes nothing and fails
// when the page has other figures.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const page = path.join(root, "..", "docs", "reference", "attestation-gas.md");
const read = (name) => JSON.parse(fs.readFileSync(path.join(root, "snapshots", `${name}.json`), "utf8"));
const [ethereum, opStack] = [read("attestation"), read("attestation_optimism")];

const ROWS = [
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

const gas = (snapshot, name) => Number(snapshot[name]).toLocaleString("en-US");
const columns = (name) => [ethereum, opStack].flatMap((of) => [gas(of, `${name}_execution`), gas(of, name)]);
const table = ROWS.map(([label, name]) => `| ${[label, ...columns(name)].join(" | ")} |`).join("\n");

const [begin, end] = ["|---|--:|--:|--:|--:|\n", "\n\n<!-- end of the table -->"];
const text = fs.readFileSync(page, "utf8");
const written = text.slice(0, text.indexOf(begin) + begin.length) + table + text.slice(text.indexOf(end));
if (written === text) process.exit(0);
if (process.argv.includes("--check")) {
  console.error("error: docs/reference/attestation-gas.md has other figures than snapshots/\n");
  console.error("hint: Run `contracts/tools/gas-table.js` and commit the result.");
  process.exit(1);
}
fs.writeFileSync(page, written);

#!/usr/bin/env node
// Writes artifacts/{AttestationVerifier,PodRegistry,Escrow,TestToken}.json from forge's output: ABI and creation code,
// the two things that the Rust crates read, so that `cargo build` needs neither Node nor Foundry.
// `--check` writes nothing and fails when a committed file differs. Run `forge build` before.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const check = process.argv.includes("--check");
let stale = 0;

// A contract need not name arguments that it only passes on; the ABI has the names of the interface.
function named(abi, name) {
  const declared = path.join(root, "out", `I${name}.sol`, `I${name}.json`);
  if (!fs.existsSync(declared)) return abi;
  const types = (item) => JSON.stringify([item.name, (item.inputs ?? []).map((input) => input.type)]);
  const items = JSON.parse(fs.readFileSync(declared, "utf8")).abi.filter((item) => item.type === "function");
  const inputs = new Map(items.map((item) => [types(item), item.inputs]));
  return abi.map((item) => (item.type === "function" && inputs.has(types(item)) ? { ...item, inputs: inputs.get(types(item)) } : item));
}

for (const name of ["AttestationVerifier", "PodRegistry", "Escrow", "TestToken"]) {
  const built = path.join(root, "out", `${name}.sol`, `${name}.json`);
  if (!fs.existsSync(built)) {
    console.error(`error: ${path.relative(root, built)} is missing\n\nhint: Run \`forge build\` in contracts/.`);
    process.exit(1);
  }
  const { abi: compiled, bytecode } = JSON.parse(fs.readFileSync(built, "utf8"));
  const abi = named(compiled, name);
  const text = `${JSON.stringify({ abi, bytecode: { object: bytecode.object } }, null, 1)}\n`;
  const committed = path.join(root, "artifacts", `${name}.json`);
  if (!check) {
    fs.writeFileSync(committed, text);
  } else if (!fs.existsSync(committed) || fs.readFileSync(committed, "utf8") !== text) {
    console.error(`error: artifacts/${name}.json is not what src/ compiles to`);
    stale += 1;
  }
}

if (stale > 0) {
  console.error("\nhint: Run `contracts/tools/artifacts.js` and commit the result.");
  process.exit(1);
}

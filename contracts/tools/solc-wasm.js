#!/usr/bin/env node
// Lets forge use the npm build of solc (WebAssembly) where it expects a native compiler:
// it answers `--version`, and `--standard-json` from standard input to standard output.
"use strict";

const fs = require("node:fs");
const solc = require("solc");

const version = solc.version().replace(/\.Emscripten.*$/, "");

if (process.argv.includes("--version")) {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}.Linux.g++\n`);
} else if (process.argv.includes("--standard-json")) {
  const output = solc.compile(fs.readFileSync(0, "utf8"));
  process.stdout.write(output);
} else {
  process.stderr.write("error: solc-wasm.js answers only --version and --standard-json\n");
  process.exitCode = 1;
}

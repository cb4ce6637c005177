#!/usr/bin/env node
// Compares test/escrow.tree with the tests of the escrow: each test that the tree names exists, each
// test is named, and so is each function and each error of IEscrow.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const root = path.join(__dirname, "..");
const read = (file) => fs.readFileSync(path.join(root, file), "utf8");
const all = (text, pattern) => new Set([...text.matchAll(pattern)].map((match) => match[1]));

const tree = read("test/escrow.tree");
const tests = fs.readdirSync(path.join(root, "test"))
  .filter((name) => /^(Escrow.*|OddTokens)\.t\.sol$/.test(name))
  .map((name) => read(path.join("test", name)))
  .join("\n");
const source = read("src/interfaces/IEscrow.sol");

const written = all(tests, /function ((?:test|testFuzz|invariant|check)_\w+)\(/g);
const named = all(tree, /\b((?:test|testFuzz|invariant|check)_\w+)/g);
const words = all(tree, /\b(\w+)\b/g);
const problems = [
  ...[...named].filter((name) => !written.has(name)).map((name) => `no test ${name}`),
  ...[...written].filter((name) => !named.has(name)).map((name) => `${name} is in no tree`),
  ...[...all(source, /^ {4}(?:function|error) (\w+)\(/gm)]
    .filter((name) => !words.has(name) && !/^[A-Z_]+$/.test(name))
    .map((name) => `${name} of IEscrow is in no tree`),
];

for (const problem of problems) console.error(`error: test/escrow.tree: ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);

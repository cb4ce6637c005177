// A browser with the page in it. Whatever it complains about, or asks of anybody else, is a fault.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';

export const PAGE = process.env.PHALLAMA_PAGE ?? assert.fail('PHALLAMA_PAGE names no local server');
export const MODEL = process.env.PHALLAMA_TEST_MODEL ?? 'test-model';
export const PASSWORD = 'demo';
const FLAGS = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-sync'],
];

/** Launches Chromium; `flags` are added. */
export async function browser(flags = []) {
  const executablePath = process.env.PHALLAMA_CHROMIUM ?? '/usr/bin/chromium';
  return chromium.launch({ executablePath, args: [...FLAGS, ...flags] });
}

/**
 * Runs `work` with the page at `path`, then holds it to have complained about nothing; `before`
 * runs in the page ahead of its own scripts.
 */
export async function withPage(path, work, options = {}) {
  const { flags = [], expected = [], before = () => {}, ...context } = options;
  const opened = await browser(flags);
  try {
    const inside = await opened.newContext({ viewport: { width: 1280, height: 800 }, ...context });
    const page = await inside.newPage();
    page.setDefaultTimeout(90_000);
    const faults = watch(page, expected);
    await page.addInitScript(before);
    await page.goto(PAGE + path);
    await work(page);
    assert.deepEqual(faults, []);
  } finally {
    await opened.close();
  }
}

/** Collects errors, complaints about the policy, and requests to anybody else. */
export function watch(page, expected = []) {
  const faults = [];
  const note = (text) => {
    if (!expected.some((pattern) => pattern.test(text))) faults.push(text);
  };
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) note(message.text());
  });
  page.on('pageerror', (error) => note(String(error)));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(`${PAGE}/`) && !url.startsWith('blob:')) note(`asked ${url}`);
  });
  return faults;
}

/** Asks and waits for the whole answer. */
export async function ask(page, text) {
  await page.getByLabel('Your question').fill(text);
  await page.keyboard.press('Enter');
  await page.locator('.turn.assistant').last().locator('.shield').waitFor();
}

/** One request of the page's own, as the page makes it. */
export function read(page, path) {
  return page.evaluate(async (path) => {
    const headers = { 'x-phallama-page': '1' };
    return (await fetch(`/phallama/v1/${path}`, { headers })).json();
  }, path);
}

/** Moves the clock of the development chain. */
export async function advance(seconds) {
  for (const [method, params] of [
    ['evm_increaseTime', [seconds]],
    ['evm_mine', []],
  ]) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params });
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(process.env.PHALLAMA_RPC_URL, { method: 'POST', headers, body });
    assert.equal(answer.status, 200);
  }
}

export const VIEWS = ['chat', 'verification', 'pods', 'balance', 'receipts'];

/** Goes to a view and waits until it shows what it has read. */
export async function visit(page, view) {
  const settled = {
    chat: '.picker option',
    verification: '.page .verdict:not(.pending)',
    pods: '.pod dd:has-text("answered in")',
    balance: '.sum-value',
    receipts: '.rows, .empty',
  };
  await page.evaluate((view) => (location.hash = `#/${view}`), view);
  await page.locator(settled[view]).first().waitFor({ state: 'attached' });
}

const axe = await readFile(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

/** Holds what is shown to axe's rules. */
export async function accessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document));
  const told = violations.map(
    (one) => `${one.id}: ${one.nodes.map((node) => node.target.join(' ')).join(', ')}`,
  );
  assert.deepEqual(told, [], where);
}

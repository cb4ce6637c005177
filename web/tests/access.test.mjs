// Who else might want in: rebound names, pages of other origins, frames.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { browser, MODEL, PAGE, read, withPage } from './stage.mjs';

const PORT = new URL(PAGE).port;

test('a rebound name gets nothing', async () => {
  const opened = await browser(['--host-resolver-rules=MAP rebound.example 127.0.0.1']);
  try {
    const page = await opened.newPage();
    for (const path of ['/ui/', '/', '/v1/models', '/phallama/v1/status']) {
      const answer = await page.goto(`http://rebound.example:${PORT}${path}`);
      assert.equal(answer.status(), 403, path);
      assert.match(await answer.text(), /answers only by its own names/);
    }
    assert.deepEqual(await page.context().cookies(), []);
  } finally {
    await opened.close();
  }
});

/** Free and ever locked: pods may lock meanwhile, which moves no money out. */
async function held(page) {
  const { free, channels } = await read(page, 'balance');
  return channels.reduce((sum, channel) => sum + BigInt(channel.locked), BigInt(free));
}

/** A page of somebody else, at another port of this machine and under another name. */
async function stranger() {
  const server = createServer((_, answer) => {
    answer.setHeader('content-type', 'text/html');
    answer.end('<!doctype html><title>stranger</title>');
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return server;
}

/** Everything that such a page could try, in the browser that has the page open. */
async function attempts({ page: target, model }) {
  const told = {};
  const attempt = async (name, path, init) => {
    try {
      const answer = await fetch(target + path, { credentials: 'include', ...init });
      told[name] = answer.type === 'opaque' ? 'opaque' : `${answer.status} ${await answer.text()}`;
    } catch (error) {
      told[name] = error.name;
    }
  };
  const own = { 'x-phallama-page': '1' };
  const body = JSON.stringify({ amount: '1', password: 'demo' });
  await attempt('read', '/phallama/v1/balance', {});
  await attempt('read with the header', '/phallama/v1/balance', { headers: own });
  await attempt('read the page', '/ui/', {});
  await attempt('withdraw', '/phallama/v1/withdraw', { method: 'POST', headers: own, body });
  await attempt('withdraw blindly', '/phallama/v1/withdraw', {
    method: 'POST',
    mode: 'no-cors',
    body,
  });
  const messages = [{ role: 'user', content: 'say spent' }];
  const spend = JSON.stringify({ model, messages, max_tokens: 8 });
  await attempt('ask blindly', '/v1/chat/completions', {
    method: 'POST',
    mode: 'no-cors',
    body: spend,
  });
  return told;
}

for (const [who, host] of [
  ['another site', 'evil.example'],
  ['another port of this machine', '127.0.0.1'],
]) {
  test(`a page of ${who} reads nothing and moves no money`, async () => {
    const server = await stranger();
    const opened = await browser(['--host-resolver-rules=MAP evil.example 127.0.0.1']);
    try {
      const context = await opened.newContext();
      const own = await context.newPage();
      await own.goto(`${PAGE}/ui/`);
      const before = await held(own);
      const answers = (await read(own, 'receipts')).found;
      const page = await context.newPage();
      await page.goto(`http://${host}:${server.address().port}/`);
      const told = await page.evaluate(attempts, { page: PAGE, model: MODEL });
      for (const name of ['read', 'read with the header', 'withdraw', 'read the page']) {
        assert.equal(told[name], 'TypeError', name);
      }
      assert.equal(await held(own), before);
      if (host === 'evil.example') {
        assert.equal(
          (await read(own, 'receipts')).found,
          answers,
          'nothing was asked on the user’s money',
        );
      }
    } finally {
      await opened.close();
      server.close();
    }
  });
}

test('nobody frames the page', async () => {
  const server = await stranger();
  const opened = await browser();
  try {
    const page = await opened.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    const refused = page.waitForEvent('console', (message) =>
      /frame-ancestors|X-Frame-Options/.test(message.text()),
    );
    await page.evaluate((url) => {
      const frame = document.createElement('iframe');
      frame.src = url;
      document.body.append(frame);
    }, `${PAGE}/ui/`);
    await refused;
  } finally {
    await opened.close();
    server.close();
  }
});

test('a page of an earlier start is told to load again', () =>
  withPage(
    '/ui/#/pods',
    async (page) => {
      await page.context().clearCookies();
      await page.evaluate(() => (location.hash = '#/receipts'));
      // The chat, which is hidden now, may have been refused too.
      const told = page.getByText('an earlier start of the server').filter({ visible: true });
      await told.first().waitFor();
      await page.reload();
      await page.locator('.rows, .empty').first().waitFor();
    },
    { expected: [/status of 401/] },
  ));

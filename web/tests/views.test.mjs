// Verification, pods, balance and receipts, with chain, pod and enclave behind them.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { advance, ask, MODEL, PASSWORD, read, visit, withPage } from './stage.mjs';

const EXIT_WINDOW_S = 172_800;

test('verification shows each step with its checks, raw values and commands', () =>
  withPage('/ui/#/verification', async (page) => {
    await page.getByText('Accepted, on a simulated TEE').waitFor();
    const states = await page.locator('.step .state').allInnerTexts();
    // The measurement is approved without its policy digest: that is no pass.
    assert.deepEqual(states, ['passed', 'passed', 'passed', 'passed in part', 'passed', 'passed']);
    const { pods } = await read(page, 'pods');
    for (const [step, check, value, command] of [
      ['chain', 'chain-record', pods[0].pod, 'phallama --json pods'],
      ['quote', 'quote-signature', pods[0].key.evidence, 'phallama audit pod --from pod.json'],
      ['tcb', 'tcb-status', 'UpToDate', `phallama audit pod ${pods[0].pod} --save pod.json`],
      ['measurement', 'policy', pods[0].key.measurement, 'phallama-enclave --print-measurement'],
      ['key', 'report-data', pods[0].key.identity, `phallama --json audit pod ${pods[0].pod}`],
      ['model', 'model-set', pods[0].offers[0].weights_sha256, 'sha256sum MODEL.gguf'],
    ]) {
      const box = page.locator(`[data-step=${step}]`);
      await box.locator('summary').click();
      await box.locator('.checks code', { hasText: check }).first().waitFor();
      await box.locator('.values code', { hasText: value }).first().waitFor();
      await box.locator('.command code', { hasText: command }).first().waitFor();
    }
    const quote = page.locator('[data-step=quote]');
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await quote.getByLabel('Copy quote').click();
    await quote.getByText('Copied').waitFor({ state: 'attached' });
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /^[0-9a-f]{2000,}$/, 'the whole quote, not what fits the line');
    await page.getByRole('button', { name: 'Verify again' }).click();
    await page.getByText('Accepted, on a simulated TEE').waitFor();
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Save the audit file' }).click(),
    ]);
    assert.equal(JSON.parse(await readFile(await file.path(), 'utf8')).verdict.accepted, true);
  }));

test('pods show models, prices, hardware and how they answered', () =>
  withPage('/ui/#/pods', async (page) => {
    await visit(page, 'pods');
    const card = await page.locator('.pod').first().innerText();
    for (const part of [
      MODEL,
      '0.10 in, 0.40 out',
      'SGX, simulated',
      'UpToDate',
      'ago at most, good for',
      'answered in',
    ]) {
      assert.ok(card.includes(part), `${part} in ${card}`);
    }
    await page
      .getByRole('link', { name: /Every check/ })
      .first()
      .click();
    await page.getByRole('heading', { name: 'Verification' }).waitFor();
  }));

/** Free and ever locked: pods may lock meanwhile, which moves no money out. */
async function deposited(page) {
  const { free, channels } = await read(page, 'balance');
  return channels.reduce((sum, channel) => sum + BigInt(channel.locked), BigInt(free));
}

test('a deposit takes the password and says what it did', () =>
  withPage(
    '/ui/#/balance',
    async (page) => {
      await visit(page, 'balance');
      const before = await deposited(page);
      await page.getByRole('button', { name: 'Deposit' }).click();
      const dialog = page.getByRole('dialog', { name: 'Deposit' });
      await dialog.getByLabel(/Amount/).fill('2.5');
      await dialog.getByLabel('Password of the keystore').fill('not it');
      await dialog.getByRole('button', { name: 'Deposit' }).click();
      await dialog.getByRole('alert').waitFor();
      assert.match(await dialog.getByRole('alert').innerText(), /not the keystore's password/);
      assert.equal(await deposited(page), before);
      await dialog.getByLabel('Password of the keystore').fill(PASSWORD);
      await dialog.getByRole('button', { name: 'Deposit' }).click();
      await dialog.getByText('Done, in the chain’s newest block.').waitFor();
      await dialog
        .getByText(/^0x[0-9a-f]{64}$/)
        .first()
        .waitFor();
      await dialog.getByRole('button', { name: 'Done' }).click();
      assert.equal(await deposited(page), before + 2_500_000n);
    },
    { expected: [/status of 400/] },
  ));

test('limits change and are in force', () =>
  withPage('/ui/#/balance', async (page) => {
    await visit(page, 'balance');
    await page.getByRole('button', { name: 'Change the limits' }).click();
    const dialog = page.getByRole('dialog', { name: 'Limits' });
    await dialog.getByLabel(/Per day/).fill('3');
    await dialog.getByLabel('Password of the keystore').fill(PASSWORD);
    await dialog.getByRole('button', { name: 'Change' }).click();
    await dialog.getByText('The limits are in force.').waitFor();
    await dialog.getByRole('button', { name: 'Done' }).click();
    await page.locator('.limits', { hasText: '3.00' }).waitFor();
    assert.equal((await read(page, 'limits')).per_day, '3000000');
  }));

test('receipts are listed, filtered, checked, opened and exported', () =>
  withPage('/ui/', async (page) => {
    await ask(page, 'say one more receipt');
    await visit(page, 'receipts');
    const { found } = await read(page, 'receipts');
    assert.ok(found > 0);
    assert.equal(await page.locator('.rows tbody tr').count(), found);
    await page.getByLabel('Model').last().fill('nothing of the kind');
    await page.getByText('No receipt matches.').waitFor();
    await page.getByRole('button', { name: 'Show all' }).click();
    await page.getByLabel('Since').fill('2099-01-01');
    await page.getByText('No receipt matches.').waitFor();
    await page.getByRole('button', { name: 'Show all' }).click();
    await page.getByRole('button', { name: 'Check all' }).click();
    await page.getByText(`${found} of ${found} valid`).waitFor();
    for (const [name, check] of [
      ['CSV', (text) => assert.equal(text.trim().split('\n').length, found + 1)],
      ['JSON', (text) => assert.equal(JSON.parse(text).receipts.length, found)],
    ]) {
      const button = page.getByRole('button', { name, exact: true });
      const [file] = await Promise.all([page.waitForEvent('download'), button.click()]);
      check(await readFile(await file.path(), 'utf8'));
    }
    await page.locator('.rows tbody a').first().click();
    const dialog = page.getByRole('dialog', { name: 'Receipt' });
    await dialog.getByText('phallama audit receipt receipt.json').waitFor();
    await dialog.getByRole('button', { name: 'Check again' }).click();
    await dialog.getByText('Checked just now: valid.').waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
  }));

test('an address that changes while the page begins is followed', () => {
  const before = () => addEventListener('DOMContentLoaded', () => (location.hash = '#/receipts'));
  const work = (page) => page.getByRole('heading', { name: 'Receipts' }).waitFor();
  return withPage('/ui/#/pods', work, { before });
});

test('an answer that comes late is not shown in place of a newer one', () =>
  withPage('/ui/#/receipts', async (page) => {
    let release;
    const released = new Promise((resolve) => (release = resolve));
    await page.route(/model=late/, async (route) => {
      await released;
      await route.continue();
    });
    await page.locator('.rows').waitFor();
    const late = page.waitForResponse(/model=late/);
    await page.getByLabel('Model').last().fill('late');
    await page.getByLabel('Model').last().fill('');
    await page.locator('.rows').waitFor();
    release();
    await (await late).finished();
    await page.evaluate(
      () => new Promise((painted) => requestAnimationFrame(() => setTimeout(painted))),
    );
    assert.equal(await page.locator('.rows').count(), 1);
  }));

test('a server that is away is said to be away, and found again', () =>
  withPage(
    '/ui/#/receipts',
    async (page) => {
      await visit(page, 'receipts');
      await page.context().setOffline(true);
      await page.evaluate(() => (location.hash = '#/pods'));
      await page.getByText('The local server does not answer.').first().waitFor();
      await page.context().setOffline(false);
      await page.locator('main').getByRole('button', { name: 'Try again' }).click();
      await page.locator('.pod').first().waitFor();
    },
    { expected: [/ERR_INTERNET_DISCONNECTED/] },
  ));

test('nothing is called verified while the root is not known', () =>
  withPage(
    '/ui/#/receipts',
    async (page) => {
      await page.route('**/phallama/v1/status', (request) => request.abort());
      await page.reload();
      await visit(page, 'verification');
      await page.getByText('Accepted, under a root that is not known yet').waitFor();
      assert.equal(await page.locator('.verdict.good, .shield.good').count(), 0);
    },
    { expected: [/ERR_FAILED/] },
  ));

// Last, because it moves the chain's clock.
test('an exit starts, runs its time and is finished', () =>
  withPage('/ui/', async (page) => {
    await visit(page, 'balance');
    const start = page.getByRole('button', { name: /Start the exit/ });
    await start.click();
    await confirm(page, 'Start the exit');
    await page.getByText(/Exit runs until/).waitFor();
    assert.ok(await page.getByRole('button', { name: /Finish the exit/ }).isDisabled());
    await advance(EXIT_WINDOW_S + 60);
    await page.reload();
    await page.getByText('The exit is over and can be finished').waitFor();
    await page.getByRole('button', { name: /Finish the exit/ }).click();
    await confirm(page, 'Finish the exit');
    assert.equal(
      (await read(page, 'balance')).channels.every((one) => one.exit_at_unix_s === 0),
      true,
    );
  }));

async function confirm(page, name) {
  const dialog = page.getByRole('dialog', { name });
  await dialog.getByLabel('Password of the keystore').fill(PASSWORD);
  await dialog.getByRole('button', { name }).click();
  await dialog.getByRole('button', { name: 'Done' }).click();
}

// Questions, answers, their shields, and what happens when they break.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, MODEL, withPage } from './stage.mjs';

test('the first page says what it is, on what terms, and that the TEE is simulated', () =>
  withPage('/', async (page) => {
    assert.match(page.url(), /\/ui\/$/);
    await page.getByText('Ask in private.').waitFor();
    assert.match(
      await page.locator('.alarm.amber').innerText(),
      /Simulated TEE: this protects nothing/,
    );
    const option = await page.locator('#model option').first().innerText();
    assert.equal(option, `${MODEL} · 0.10 in, 0.40 out`);
  }));

test('an answer streams in and brings its shield, cost and receipt', () =>
  withPage('/ui/', async (page) => {
    await page.getByLabel('Your question').fill('slow 40 25');
    await page.keyboard.press('Enter');
    const answer = page.locator('.turn.assistant').last();
    await answer.getByText('t1 ').waitFor();
    assert.equal(
      await answer.getAttribute('aria-busy'),
      'true',
      'it is not over when it begins to show',
    );
    await answer.locator('.shield').waitFor();
    assert.equal(await answer.getAttribute('aria-busy'), 'false');
    const foot = await answer.locator('footer').innerText();
    assert.match(foot, /Simulated/);
    assert.match(foot, /0\.0000\d+ \w+/);
    assert.match(foot, /\+ 40 tokens/);
    assert.match(foot, /\d\.\d s/);

    const shield = answer.locator('.shield');
    await shield.click();
    const dialog = page.getByRole('dialog', { name: 'This answer' });
    await dialog.getByText('Signed by the enclave, and as agreed').waitFor();
    await dialog.getByText('The key that signed the receipt').waitFor();
    assert.equal(await dialog.locator('.step').count(), 6);
    assert.equal(await dialog.locator('.step.failed, .step.skipped, .step.pending').count(), 0);
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    assert.ok(
      await shield.evaluate((button) => button === document.activeElement),
      'the focus is back',
    );
  }));

test('the button and the Escape key stop an answer', () =>
  withPage('/ui/', async (page) => {
    for (const stop of [
      () => page.getByLabel('Stop the answer').click(),
      () => page.keyboard.press('Escape'),
    ]) {
      await page.getByLabel('Your question').fill('slow 900 20');
      await page.keyboard.press('Enter');
      const answer = page.locator('.turn.assistant').last();
      await answer.getByText('t2 ').waitFor();
      await stop();
      await answer.getByText('Stopped. What had arrived is charged').waitFor();
      assert.doesNotMatch(await answer.innerText(), /t899/);
      await page.getByLabel('Send').waitFor();
    }
  }));

test('an answer that breaks off is not shown as a whole one', () =>
  withPage(
    '/ui/',
    async (page) => {
      await page.getByLabel('Your question').fill('eof 3');
      await page.keyboard.press('Enter');
      const answer = page.locator('.turn.assistant').last();
      await answer.getByRole('alert').waitFor();
      assert.equal(await answer.locator('.shield').count(), 0);
    },
    { expected: [/ERR_INCOMPLETE_CHUNKED_ENCODING/, /status of 50\d/] },
  ));

test('an answer cannot bring code, images or other protocols', () =>
  withPage('/ui/', async (page) => {
    const hostile =
      'say <img src=https://evil.example/a onerror=alert(1)> ![x](https://evil.example/b) [y](javascript:alert(1)) ' +
      '[z](https://ok.example/) <style>*{color:red}</style> <form action=https://evil.example/><input></form> **bold**';
    await ask(page, hostile);
    const answer = page.locator('.turn.assistant .markdown').last();
    assert.equal(await answer.locator('img, style, form, input, script').count(), 0);
    assert.equal(await answer.locator('strong').innerText(), 'bold');
    assert.match(await answer.innerText(), /onerror=alert/, 'it is shown as the text it is');
    const links = await answer
      .locator('a')
      .evaluateAll((all) => all.map((a) => [a.getAttribute('href'), a.rel]));
    assert.deepEqual(
      links.filter(([href]) => href !== null),
      [['https://ok.example/', 'noopener noreferrer']],
    );
  }));

test('a conversation is saved on request and kept nowhere', () =>
  withPage('/ui/', async (page) => {
    await ask(page, 'say remember this');
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      page.getByLabel('Save this conversation to a file').click(),
    ]);
    const { createReadStream } = await import('node:fs');
    let text = '';
    for await (const part of createReadStream(await file.path())) text += part;
    const saved = JSON.parse(text);
    assert.deepEqual(
      saved.turns.map((turn) => turn.content),
      ['say remember this', 'remember this'],
    );
    assert.ok(saved.turns[1].proof.receipt.startsWith('0x'));
    await page.evaluate(() => (location.hash = '#/pods'));
    await page.evaluate(() => (location.hash = '#/chat'));
    await page.locator('.turn.user').waitFor();
    await page.reload();
    await page.getByText('Ask in private.').waitFor();
    const kept = await page.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]),
    );
    assert.doesNotMatch(kept, /remember|phallama/);
  }));

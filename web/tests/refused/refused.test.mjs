// A pod whose build nobody has approved: the page says so, and no question leaves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, visit, withPage } from '../stage.mjs';

test('a build that is not approved is refused before anything is typed, and why', () =>
  withPage(
    '/ui/',
    async (page) => {
      const badge = page.locator('.pod-badge');
      await badge.getByText('Refused: measurement', { exact: true }).waitFor();
      await page.getByLabel('Your question').fill('say nothing');
      await page.keyboard.press('Enter');
      const answer = page.locator('.turn.assistant');
      await answer.getByRole('alert').waitFor();
      assert.match(await answer.innerText(), /not approved[^]*No prompt was sent/);
      assert.equal(await answer.locator('.shield').count(), 0);

      await badge.click();
      await page.getByText('Refused: measurement').last().waitFor();
      const step = page.locator('[data-step=measurement]');
      assert.match(await step.getAttribute('class'), /failed/);
      assert.ok(await step.locator('details').evaluate((one) => one.open), 'it is open by itself');
      assert.equal(await step.locator('.checks .fail code').innerText(), 'measurement');
      assert.equal(await page.locator('.verdict.good, .verdict.amber').count(), 0);
      await accessible(page, 'refused');
      await page.evaluate(() => (location.hash = '#/pods'));
      await page.locator('.pod').getByText('refused: measurement').waitFor();
    },
    { expected: [/status of [45]\d\d/] },
  ));

test('nothing has been asked or paid yet, and the page says what would bring something', () =>
  withPage('/ui/', async (page) => {
    await visit(page, 'receipts');
    await page.getByText('No receipts yet.').waitFor();
    assert.ok(await page.getByRole('button', { name: 'Check all' }).isDisabled());
    await visit(page, 'balance');
    await page.getByText('Nothing is locked for any pod.').waitFor();
    await page.getByText('nothing spent').waitFor();
    await accessible(page, 'empty');
  }));

// A server that lets nobody ask without a token: the page asks for one, and keeps it in its tab.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, PAGE, withPage } from '../stage.mjs';

const TOKEN = process.env.PHALLAMA_TEST_TOKEN ?? assert.fail('PHALLAMA_TEST_TOKEN is not set');
// What the browser says about each request that was refused.
const expected = [/status of 401/];

async function give(page, token) {
  await page.getByLabel(/asks for a token/).fill(token);
  await page.getByRole('button', { name: 'Use it' }).click();
}

test('a token is asked for once, and everything works with it', async () => {
  const work = async (page) => {
    await page.getByLabel(/asks for a token/).waitFor();
    await page.waitForLoadState('networkidle');
    assert.equal(await page.locator('.notice.bad').count(), 0, 'it is said once');
    await give(page, TOKEN);
    await page.getByText(/Chain 31337, block/).waitFor();
    await ask(page, 'say hello there');
    assert.equal(await page.getByLabel(/asks for a token/).count(), 0);
    await page.reload();
    await page.getByText(/Chain 31337, block/).waitFor();
    assert.equal(await page.getByLabel(/asks for a token/).count(), 0, 'the tab keeps it');
    const kept = await page.evaluate(() => JSON.stringify({ ...localStorage }));
    assert.ok(!kept.includes('phallama_'), 'and nothing else does');
    assert.ok(!(await page.context().cookies()).some(({ value }) => value.includes('phallama_')));
    const other = await page.context().newPage();
    await other.goto(`${PAGE}/ui/`);
    await other.getByLabel(/asks for a token/).waitFor();
  };
  await withPage('/ui/', work, { expected });
});

test('a wrong token is refused in words, and another can be given', async () => {
  const work = async (page) => {
    await give(page, 'phallama_00');
    const notices = page.getByLabel('Notices');
    await notices.getByRole('alert').filter({ hasText: 'none of' }).waitFor();
    await give(page, TOKEN);
    await page.getByText(/Chain 31337, block/).waitFor();
  };
  await withPage('/', work, { expected });
});

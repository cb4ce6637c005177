// Pictures of every view of a running local server, to look at: node shots.mjs URL FOLDER
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

const [url, folder] = process.argv.slice(2);
process.env.PHALLAMA_PAGE = url;
const { browser, VIEWS, visit } = await import('./tests/stage.mjs');
const SIZES = [
  [360, 740],
  [768, 1024],
  [1280, 800],
];
const QUESTION = 'What is the capital of France? Answer in one sentence.';

await mkdir(folder, { recursive: true });
const opened = await browser();
for (const colorScheme of ['light', 'dark']) {
  for (const [width, height] of SIZES) {
    const context = await opened.newContext({
      viewport: { width, height },
      colorScheme,
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    const shot = (name) =>
      page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`) });
    await page.goto(`${url}/ui/`);
    await page.getByText('Ask in private.').waitFor();
    await shot('welcome');
    await page.getByLabel('Your question').fill(QUESTION);
    await page.keyboard.press('Enter');
    await page.locator('.turn .shield').last().waitFor();
    for (const view of VIEWS) {
      await visit(page, view);
      await shot(view);
      if (view === 'chat') {
        await page.locator('.turn .shield').last().click();
        await page.getByText('The key that signed the receipt').waitFor();
        await shot('shield');
        await page.keyboard.press('Escape');
      }
      if (view === 'verification') {
        await page.locator('.step summary').nth(3).click();
        await page.locator('.step').nth(3).scrollIntoViewIfNeeded();
        await shot('verification-step');
      }
      if (view === 'balance') {
        await page.getByRole('button', { name: 'Deposit' }).click();
        await shot('deposit');
        await page.keyboard.press('Escape');
      }
      if (view === 'receipts') {
        await page.locator('.rows a').first().click();
        await page.getByText('phallama audit receipt receipt.json').waitFor();
        await shot('receipt');
        await page.keyboard.press('Escape');
      }
    }
    await context.close();
  }
}
await opened.close();

// For everybody: contrast and names, keyboard alone, small screens, little motion.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { accessible, ask, visit, VIEWS, withPage } from './stage.mjs';

for (const colorScheme of ['light', 'dark']) {
  for (const width of [360, 1280]) {
    test(`every view is accessible and fits, ${colorScheme}, ${width} px`, () =>
      withPage(
        '/ui/',
        async (page) => {
          await accessible(page, 'welcome');
          await ask(page, 'say a `wide` answer: | a | b |');
          for (const view of VIEWS) {
            await visit(page, view);
            if (view === 'verification') {
              for (const step of await page.locator('.step summary').all()) await step.click();
            }
            await accessible(page, view);
            const [inner, outer] = await page.evaluate(() => {
              const all = [
                document.documentElement,
                ...document.querySelectorAll('main, .chat-log, .stage'),
              ];
              return [
                Math.max(...all.map((one) => one.scrollWidth)),
                document.documentElement.clientWidth,
              ];
            });
            assert.ok(inner <= outer, `${view}: ${inner} px in ${outer}`);
          }
          await visit(page, 'chat');
          await page.locator('.turn .shield').last().click();
          await page.getByText('The key that signed the receipt').waitFor();
          await accessible(page, 'shield');
          await page.keyboard.press('Escape');
          await visit(page, 'balance');
          await page.getByRole('button', { name: 'Deposit' }).click();
          await accessible(page, 'deposit');
        },
        { colorScheme, viewport: { width, height: 760 }, reducedMotion: 'reduce' },
      ));
  }
}

test('everything can be reached and done with the keyboard alone', () =>
  withPage('/ui/', async (page) => {
    await page.getByText('Ask in private.').waitFor();
    const focused = () =>
      page.evaluate(() => {
        const at = document.activeElement;
        if (!at?.matches('a, button, input, select, summary, textarea')) return '';
        return at.getAttribute('aria-label') ?? at.textContent.trim();
      });
    const tabTo = async (name) => {
      for (let presses = 0; presses < 40; presses += 1) {
        if (name.test(await focused())) return;
        await page.keyboard.press('Tab');
      }
      assert.fail(`${name} was not reached; the focus is on ${await focused()}`);
    };
    await page.keyboard.press('Tab');
    assert.equal(await focused(), 'Skip to content', 'it comes first');
    await page.keyboard.press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'main');

    await page.evaluate(() => document.activeElement?.blur());
    await tabTo(/^Balance$/);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Balance', level: 1 }).waitFor();
    assert.equal(
      await page.evaluate(() => document.activeElement?.id),
      'main',
      'the focus follows',
    );
    await tabTo(/^Deposit$/);
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Deposit' });
    await dialog.waitFor();
    for (let presses = 0; presses < 12; presses += 1) {
      await page.keyboard.press('Tab');
      const inside = await page.evaluate(() => {
        const at = document.activeElement;
        return at === document.body || at?.closest('dialog') !== null;
      });
      assert.ok(inside, 'the focus stays in the dialog');
    }
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'detached' });
    assert.match(await focused(), /Deposit/);

    await tabTo(/^Chat$/);
    await page.keyboard.press('Enter');
    for (
      let presses = 0;
      (await page.evaluate(() => document.activeElement?.id)) !== 'prompt';
      presses += 1
    ) {
      assert.ok(presses < 40, 'the question can be reached');
      await page.keyboard.press('Tab');
    }
    await page.keyboard.type('say by keyboard');
    await page.keyboard.press('Enter');
    await page.locator('.turn .shield').waitFor();
    await page.keyboard.press('Shift+Tab');
    await tabTo(/verification and receipt of this answer/);
    await page.keyboard.press('Enter');
    await page.getByRole('dialog', { name: 'This answer' }).waitFor();
  }));

test('who wants little motion gets none', () =>
  withPage(
    '/ui/#/verification',
    async (page) => {
      const seconds = await page.evaluate(() => {
        const spinner = document.createElement('span');
        spinner.className = 'spinner';
        document.body.append(spinner);
        return getComputedStyle(spinner).animationDuration;
      });
      assert.ok(Number.parseFloat(seconds) < 0.001, seconds);
    },
    { reducedMotion: 'reduce' },
  ));

test('colours follow the system until somebody chooses', () =>
  withPage(
    '/ui/',
    async (page) => {
      const paper = () =>
        page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
      const dark = await paper();
      await page.emulateMedia({ colorScheme: 'light' });
      const light = await paper();
      assert.notEqual(light, dark);
      const button = page.locator('.theme');
      await button.click();
      await page.locator('html[data-theme=light]').waitFor();
      await button.click();
      await page.locator('html[data-theme=dark]').waitFor();
      assert.equal(await paper(), dark);
      await page.reload();
      await page.locator('html[data-theme=dark]').waitFor();
      assert.equal(await paper(), dark, 'the choice stays');
    },
    { colorScheme: 'dark' },
  ));

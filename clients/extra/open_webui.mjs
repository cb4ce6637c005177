// A person in front of Open WebUI: the model is in the list, and answers in a chat.

import { browser } from '../../web/tests/stage.mjs';

const [url, model] = process.argv.slice(2);
const chromium = await browser();
try {
  const page = await chromium.newPage();
  page.setDefaultTimeout(60_000);
  await page.goto(url);
  await page.getByRole('button', { name: "Okay, Let's Go!" }).click();
  await page.getByRole('button', { name: /^Selected model: / }).click();
  await page.getByRole('option', { name: model }).first().click();
  await page.getByRole('button', { name: `Selected model: ${model}` }).waitFor();
  await page.locator('#chat-input').click();
  await page.keyboard.type('say hello there');
  await page.keyboard.press('Enter');
  const answer = page.locator('#response-content-container');
  await answer.getByText('hello there', { exact: true }).waitFor();
  console.log('the model appears, and answers in a chat');
} finally {
  await chromium.close();
}

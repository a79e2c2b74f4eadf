// The demo in a browser: its three tabs, a visit without a network, the keyboard. With `SHOTS=FOLDER` it
// leaves screenshots there, to be looked at.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { assemble } from '../demo/serve.mjs';
import { launch } from './browser.mjs';
import { serve } from './server.mjs';

const own = fileURLToPath(new URL('.', import.meta.url));
const shots = process.env.SHOTS;
let server, browser;

before(async () => {
  const site = join(own, 'site');
  await assemble({
    site,
    packed: join(own, '../node_modules/mobilebert'),
    models: join(process.env.ROOT, 'models'),
  });
  server = await serve({ '/': site });
  browser = await launch();
  if (shots) await mkdir(shots, { recursive: true });
});

after(async () => {
  await browser?.close();
  server?.close();
});

async function open(t, { width = 1200, height = 860, scheme = 'light' } = {}) {
  const page = await browser.context.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => message.type() === 'error' && problems.push(message.text()));
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: scheme });
  await page.goto(`http://localhost:${server.port}/`);
  t.after(async () => {
    await page.close();
    assert.deepEqual(problems, []);
  });
  return page;
}

const shoot = async (page, name) =>
  shots && page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
const settled = (page) =>
  page.waitForFunction(() => !document.querySelector('progress'), undefined, { timeout: 60_000 });

test('a question is answered, and the answer is marked in the text', async (t) => {
  const page = await open(t);
  await page.waitForSelector('mark');
  assert.equal(await page.textContent('mark'), '3 October 1874');
  assert.match(await page.textContent('#answer'), /^3 October 1874score \d+\.\d %$/);
  await settled(page);
  await shoot(page, 'ask-light');
  await page.click('text=Who was the last keeper?');
  await page.waitForFunction(() => document.querySelector('mark')?.textContent === 'Einar Dahl');
  // A text of one's own, with characters that take two units.
  await page.click('#edit');
  await page.fill('#context', '😀 It was built by Ada.');
  await page.fill('#question', 'Who built it?');
  await page.click('#edit');
  await page.waitForFunction(() => document.querySelector('mark')?.textContent === 'Ada');
  await page.fill('#question', ' ');
  await page.press('#question', 'Enter');
  await page.waitForSelector('.wrong');
  assert.match(await page.textContent('#answer'), /^the question is empty/);
});

test('a sentence is weighed while it is typed', async (t) => {
  const page = await open(t);
  await page.click('#tab-feel');
  await page.waitForSelector('.verdict.positive');
  await page.fill('#sentence', '');
  await page
    .locator('#sentence')
    .pressSequentially('The worst film of the year, and I left early.', { delay: 30 });
  await page.waitForSelector('.verdict.negative');
  assert.match(await page.textContent('#latency'), /the median of \d+: \d/);
  await settled(page);
  await shoot(page, 'feel-light');
});

test('paragraphs are found by meaning', async (t) => {
  const page = await open(t);
  await page.click('#tab-find');
  await page.waitForSelector('#hits li .meter');
  assert.match(await page.textContent('#hits li:first-child'), /Peel the potatoes/);
  await page.fill('#query', 'why will my car not run');
  await page.press('#query', 'Enter');
  await page.waitForFunction(() => document.querySelector('#hits li')?.textContent.includes('battery'));
  await settled(page);
  await shoot(page, 'find-light');
});

test('tabs are used by the keyboard', async (t) => {
  const page = await open(t);
  await page.focus('#tab-ask');
  await page.keyboard.press('ArrowRight');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-feel');
  assert.equal(await page.getAttribute('#tab-feel', 'aria-selected'), 'true');
  assert.ok(await page.isVisible('#feel'));
  assert.ok(!(await page.isVisible('#ask')));
  await page.keyboard.press('End');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-find');
  // Every control has a name for those who do not see it.
  const nameless = await page.$$eval(
    'input, textarea, button, svg[role=img], [role=tabpanel], article',
    (all) =>
      all
        .filter(
          (one) =>
            !one.labels?.length &&
            !one.getAttribute('aria-label') &&
            !one.getAttribute('aria-labelledby') &&
            !one.textContent.trim(),
        )
        .map((one) => one.outerHTML),
  );
  assert.deepEqual(nameless, []);
});

test('a phone shows everything in its width, dark too', async (t) => {
  const page = await open(t, { width: 360, height: 740, scheme: 'dark' });
  await page.waitForSelector('mark');
  await settled(page);
  for (const tab of ['ask', 'feel', 'find']) {
    await page.click(`#tab-${tab}`);
    if (tab === 'feel') await page.waitForSelector('.verdict.positive, .verdict.negative');
    if (tab === 'find') await page.waitForSelector('#hits li .meter');
    await settled(page);
    const { scrollWidth, clientWidth } = await page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      return { scrollWidth, clientWidth };
    });
    assert.ok(scrollWidth <= clientWidth, `${tab}: ${scrollWidth} of ${clientWidth}`);
    await shoot(page, `${tab}-phone-dark`);
  }
});

test('a second visit needs no network at all', async (t) => {
  const first = await open(t);
  await first.waitForSelector('mark');
  await first.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await browser.context.setOffline(true);
  t.after(() => browser.context.setOffline(false));
  server.requests.length = 0;
  // Chromium's switch does not reach every worker; this one does.
  server.change = () => 'cut';
  t.after(() => (server.change = () => undefined));
  const second = await open(t);
  await second.waitForSelector('mark');
  assert.equal(await second.textContent('mark'), '3 October 1874');
  assert.equal(await second.textContent('#offline'), 'Offline');
  assert.match(await second.textContent('#models'), /from this browser/);
  await settled(second);
  await shoot(second, 'offline');
});

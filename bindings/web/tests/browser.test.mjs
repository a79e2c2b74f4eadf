// The installed package in a browser, under a strict policy. `ROOT` is the checkout, which has the models and
// the vectors.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { launch } from './browser.mjs';
import { serve } from './server.mjs';

const root = process.env.ROOT;
const own = fileURLToPath(new URL('.', import.meta.url));
const ANSWER = { answer: 'Ada', start: 19, end: 22 };
let server, browser;

before(async () => {
  const served = join(own, 'served');
  await cp(join(root, 'models/qa'), join(served, 'qa'), { recursive: true });
  execFileSync('npx', ['--no-install', 'mobilebert-manifest', join(served, 'qa')]);
  server = await serve({
    '/package/': join(own, '../node_modules/mobilebert'),
    '/tests/': own,
    '/served/': served,
    '/copy/': join(served, 'qa'),
    '/models/': join(root, 'models'),
    '/bindings/vectors/models/': join(root, 'bindings/vectors/models'),
  });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  server?.close();
});

/** Opens the page of the tests. Errors in the console fail the test, but for missing files. */
async function open(t, host = 'localhost', { context } = browser) {
  server.requests.length = 0;
  server.change = () => undefined;
  const page = await context.newPage();
  const problems = [];
  page.on('pageerror', (error) => problems.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      problems.push(message.text());
  });
  await page.goto(`http://${host}:${server.port}/tests/page.html`);
  await page.waitForSelector('html[data-ready]', { state: 'attached' });
  t.after(async () => {
    await page.close();
    assert.deepEqual(problems, []);
  });
  return page;
}

const ask = (page, source, options) =>
  page.evaluate(([source, options]) => window.ask(source, options), [source, options]);
const short = ({ answer, start, end }) => ({ answer, start, end });
const of = (events, status) => events.filter((event) => event.status === status);

const files = {};
for (const name of readdirSync(join(root, 'bindings/vectors'))) {
  if (name.endsWith('.json'))
    files[name.slice(0, -5)] = JSON.parse(readFileSync(join(root, 'bindings/vectors', name)));
}

/** Runs the vectors, and returns the kernels that did. */
async function vectors(t, name, from) {
  const page = await open(t, 'localhost', from);
  const run = ([files, wasm]) => window.vectors(files, wasm);
  const wasm = `/package/dist/module/${name}.wasm`;
  const { passed, wrong, kernels } = await page.evaluate(run, [files, wasm]);
  assert.deepEqual(wrong, []);
  assert.equal(passed, Object.values(files).flatMap(({ cases }) => cases).length);
  t.diagnostic(`${passed} vectors on ${kernels}`);
  return kernels;
}

for (const name of ['relaxed', 'simd', 'plain']) {
  test(`vectors of the module ${name} in a page's worker`, (t) => vectors(t, name));
}

// Relaxed instructions compute something else where the processor lacks the instruction that they stand for.
for (const [flags, tier] of [
  ['--no-enable-avx-vnni --no-enable-avx-vnni-int8', 'wasm-fma'],
  ['--no-enable-avx-vnni --no-enable-avx-vnni-int8 --no-enable-fma3', 'wasm-simd128'],
]) {
  const skip = process.arch === 'x64' ? false : 'the flags are of x86-64';
  test(`vectors of the module relaxed with ${flags}`, { skip }, async (t) => {
    const other = await launch({ flags });
    try {
      assert.deepEqual(await vectors(t, 'relaxed', other), [tier]);
    } finally {
      await other.close();
    }
  });
}

test('a pipeline opens in a worker, by absolute and by relative URLs', async (t) => {
  const page = await open(t);
  for (const source of [`http://localhost:${server.port}/models/qa`, '/models/qa', '../models/qa']) {
    const { answer, error } = await page.evaluate((source) => window.askInWorker(source), source);
    assert.deepEqual([error, answer && short(answer)], [undefined, ANSWER], source);
  }
});

test('the first visit loads, the second needs no network for the model', async (t) => {
  const first = await open(t);
  await first.evaluate(() => window.clear_cache());
  const { answer, events, error } = await ask(first, '/served/qa');
  assert.deepEqual(error, undefined);
  assert.deepEqual(short(answer), ANSWER);
  const modules = server.requests.filter((path) => path.endsWith('.wasm'));
  assert.deepEqual(modules, ['/package/dist/module/relaxed.wasm'], 'not the fastest module was asked for');
  const progress = of(events, 'progress').filter(({ file }) => file === 'model.safetensors');
  assert.ok(
    progress.length > 1 && progress.every(({ loaded }, i) => i === 0 || loaded > progress[i - 1].loaded),
  );
  assert.equal(progress.at(-1).loaded, progress.at(-1).total);
  assert.deepEqual(
    of(events, 'done').map(({ cached }) => cached),
    [false, false, false, false],
  );
  assert.deepEqual(of(events, 'not_cached'), []);

  const second = await open(t);
  server.change = (path) => (path.startsWith('/served/') ? 'cut' : undefined);
  const again = await ask(second, '/served/qa');
  assert.deepEqual(again.error, undefined);
  assert.deepEqual(again.answer, answer);
  assert.deepEqual(
    of(again.events, 'done').map(({ cached }) => cached),
    [true, true, true, true],
  );
  assert.deepEqual(of(again.events, 'download'), []);

  // A copy under another address is the same files, so nothing is loaded but the list.
  server.change = () => undefined;
  server.requests.length = 0;
  const { events: elsewhere } = await ask(second, '/copy/');
  assert.deepEqual(
    server.requests.filter((path) => /^\/(served|copy)\//.test(path)),
    ['/copy/mobilebert.json'],
  );
  assert.ok(of(elsewhere, 'done').every(({ cached }) => cached));
});

test('without a list of files the network is asked first, and the cache if there is none', async (t) => {
  const page = await open(t);
  await page.evaluate(() => window.clear_cache());
  const { answer } = await ask(page, '/models/qa');
  assert.deepEqual(short(answer), ANSWER);
  server.change = (path) => (path.startsWith('/models/') ? 'cut' : undefined);
  const again = await ask(page, '/models/qa');
  assert.deepEqual(again.answer, answer);
  server.change = (path) => (path.startsWith('/models/') ? 503 : undefined);
  assert.deepEqual((await ask(page, '/models/qa')).answer, answer);
  const { error } = await ask(page, '/models/qa', { cache: false });
  assert.deepEqual([error.code, error.place], ['io', 'config.json']);
});

test('a connection that is cut within a file counts as no network', async (t) => {
  const page = await open(t);
  await page.evaluate(() => window.clear_cache());
  const half = (path) => (path === '/models/qa/model.safetensors' ? 'half' : undefined);
  server.change = half;
  const { error } = await ask(page, '/models/qa');
  assert.deepEqual([error.code, error.place], ['io', 'model.safetensors']);
  assert.match(
    error.message,
    /^model\.safetensors: http:\S+\/model\.safetensors cannot be read beyond \d+ bytes/,
  );
  // What came is not taken for the file.
  const isKept = () =>
    page.evaluate(() => window.kept().then((all) => all.includes('/models/qa/model.safetensors')));
  assert.equal(await isKept(), false);
  server.change = () => undefined;
  const { answer } = await ask(page, '/models/qa');
  // The copy of that visit serves those after it.
  for (const change of [half, half, (path) => (path.startsWith('/models/') ? 'cut' : undefined)]) {
    server.change = change;
    const again = await ask(page, '/models/qa');
    assert.deepEqual([again.error, again.answer], [undefined, answer]);
    assert.equal(await isKept(), true);
  }
});

test('a list of files that cannot be had does not leave the files unchecked', async (t) => {
  const page = await open(t);
  await page.evaluate(() => window.clear_cache());
  const change = (answer) => (path, bytes) => {
    if (path.endsWith('mobilebert.json')) return answer;
    // This is not the file of the list.
    return path.endsWith('vocab.txt') ? Buffer.concat([bytes, Buffer.from('more\n')]) : undefined;
  };
  for (const answer of [401, 500, 'half']) {
    server.change = change(answer);
    const { error } = await ask(page, '/served/qa');
    assert.equal(error.code, 'io', `${answer}`);
  }
  server.change = () => undefined;
  const { answer } = await ask(page, '/served/qa');
  for (const other of [400, 401, 403, 500, 'page', 'half', 'cut']) {
    server.change = change(other);
    const again = await ask(page, '/served/qa');
    assert.deepEqual([again.error, again.answer], [undefined, answer], `${other}`);
    assert.deepEqual(of(again.events, 'download'), []);
  }
  // Nothing is kept of the file, and the list still says what it has to be.
  await page.evaluate(async () => {
    const cache = await caches.open('mobilebert');
    for (const request of await cache.keys())
      if (request.url.includes('/sha256/')) await cache.delete(request);
  });
  server.change = change('page');
  assert.equal((await ask(page, '/served/qa')).error.code, 'verification');
});

test('a file that is not what the list says is refused, and not kept', async (t) => {
  const page = await open(t);
  await page.evaluate(() => window.clear_cache());
  server.change = (path, bytes) => {
    if (!path.endsWith('vocab.txt')) return undefined;
    const other = Buffer.from(bytes);
    other[1000] ^= 1;
    return other;
  };
  const { error } = await ask(page, '/served/qa');
  assert.deepEqual([error.code, error.place], ['verification', 'vocab.txt']);
  assert.match(
    error.message,
    /^vocab\.txt: its \d+ bytes have the SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}: the file is damaged/,
  );
  server.change = () => undefined;
  assert.deepEqual(short((await ask(page, '/served/qa')).answer), ANSWER);
});

test('a copy that was damaged in the cache is loaded again', async (t) => {
  const page = await open(t);
  await page.evaluate(() => window.clear_cache());
  await ask(page, '/served/qa');
  await page.evaluate(async () => {
    const cache = await caches.open('mobilebert');
    for (const request of await cache.keys()) {
      if (request.url.includes('/sha256/')) await cache.put(request, new Response('damaged'));
    }
  });
  const { answer, events } = await ask(page, '/served/qa');
  assert.deepEqual(short(answer), ANSWER);
  assert.deepEqual(
    of(events, 'done').map(({ cached }) => cached),
    [false, false, false, false],
  );
  const { events: third } = await ask(page, '/served/qa');
  assert.ok(of(third, 'done').every(({ cached }) => cached));
});

test('files of an older version are dropped from the cache', async (t) => {
  const page = await open(t);
  await page.evaluate(() => window.clear_cache());
  await ask(page, '/served/qa');
  const old = await page.evaluate(() => window.kept());
  const list = JSON.parse(readFileSync(join(own, 'served/qa/mobilebert.json'), 'utf8'));
  delete list.files['tokenizer_config.json'];
  server.change = (path) =>
    path.endsWith('mobilebert.json') ? Buffer.from(JSON.stringify(list)) : undefined;
  await ask(page, '/served/qa');
  const kept = await page.evaluate(() => window.kept());
  assert.deepEqual([old.length, kept.length], [5, 4]);
  // The same hashes in other letters are the same files.
  for (const listed of Object.values(list.files)) listed.sha256 = listed.sha256.toUpperCase();
  await ask(page, '/served/qa');
  assert.equal((await page.evaluate(() => window.kept())).length, 4);
});

test('where storage does not exist, the model is loaded each time', async (t) => {
  const page = await open(t, 'insecure.test');
  assert.equal(await page.evaluate(() => 'caches' in window), false);
  for (let visit = 0; visit < 2; visit++) {
    const { answer, events } = await ask(page, '/served/qa');
    assert.deepEqual(short(answer), ANSWER);
    assert.ok(of(events, 'done').every(({ cached }) => !cached));
  }
});

test('where storage is refused, the model works and says that it was not kept', async (t) => {
  const page = await open(t);
  const { answer, events } = await page.evaluate(async () => {
    await window.clear_cache();
    return window.ask('/served/qa', { create_worker: window.refusing });
  });
  assert.deepEqual(short(answer), ANSWER);
  const refused = of(events, 'not_cached');
  assert.equal(refused.length, 4);
  assert.match(refused[0].reason, /QuotaExceededError: there is no room/);
  assert.deepEqual(await page.evaluate(() => window.kept()), []);
});

test('the size of a compressed body is not taken for that of the file', async (t) => {
  const page = await open(t);
  await page.evaluate(() => window.clear_cache());
  server.change = (path, bytes) => (path.endsWith('vocab.txt') && bytes ? 'gzip' : undefined);
  const { answer, events } = await ask(page, '/models/qa');
  assert.deepEqual(short(answer), ANSWER);
  const vocab = of(events, 'progress').filter(({ file }) => file === 'vocab.txt');
  assert.ok(vocab.length > 0 && vocab.every((event) => !('total' in event)));
  const { events: listed } = await ask(page, '/served/qa');
  assert.equal(of(listed, 'progress').find(({ file }) => file === 'vocab.txt').total, 231508);
});

test('a page instead of a file is a missing file', async (t) => {
  const page = await open(t);
  server.change = (path) => (path.startsWith('/nowhere/') ? 'page' : undefined);
  const { error } = await ask(page, '/nowhere');
  assert.equal(error.code, 'missing_file');
  assert.ok(server.requests.includes('/nowhere/config.json'));
});

test('a worker that fails is replaced', async (t) => {
  const page = await open(t);
  const found = await page.evaluate(() => window.fail());
  assert.deepEqual(found, { outcome: 'internal', same: true, workers: 2 });
});

test('the page goes on while the engine works', async (t) => {
  const page = await open(t);
  const { busy, idle } = await page.evaluate(() => window.turns());
  const shown = `${Math.round(busy)} turns of the page a second, ${Math.round(idle)} while nothing runs`;
  t.diagnostic(shown);
  // A page that waits for the engine has none. The machine does other things too.
  assert.ok(busy > idle / 10, shown);
});

test('a fault in the function that is told of the progress is none of loading', async (t) => {
  const page = await open(t);
  const [sync, later] = await page.evaluate(() => window.careless());
  assert.ok(sync > 0 && sync === later);
});

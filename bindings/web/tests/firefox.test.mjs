// The vectors in Firefox, if there is one: that of the system, or the one that FIREFOX names. `ROOT` is the
// checkout.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { serve } from './server.mjs';

const root = process.env.ROOT;
const own = fileURLToPath(new URL('.', import.meta.url));
const firefox =
  process.env.FIREFOX ?? ['/usr/bin/firefox-esr', '/usr/bin/firefox'].find((path) => existsSync(path));
const MODULES = ['relaxed', 'simd', 'plain'];
/** The milliseconds that all of them may take on a busy machine. */
const LONGEST = 600_000;

test('vectors of all modules in Firefox', { skip: firefox ? false : 'there is no Firefox' }, async (t) => {
  const server = await serve({
    '/package/': join(own, '../node_modules/mobilebert'),
    '/tests/': own,
    '/models/': join(root, 'models'),
    '/bindings/vectors/': join(root, 'bindings/vectors'),
  });
  const names = readdirSync(join(root, 'bindings/vectors'))
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.slice(0, -5));
  const count = names.flatMap(
    (name) => JSON.parse(readFileSync(join(root, `bindings/vectors/${name}.json`))).cases,
  ).length;
  const page = `http://localhost:${server.port}/tests/firefox.html?files=${names}&modules=${MODULES}`;
  const profile = await mkdtemp(join(tmpdir(), 'mobilebert-firefox-'));
  const args = ['--headless', '--no-remote', '--profile', profile, page];
  // Its own messages are about the machine.
  const browser = spawn(firefox, args, { stdio: 'ignore', env: { ...process.env, HOME: profile } });
  const ended = new Promise((resolve) => browser.on('exit', resolve).on('error', resolve));
  let hasEnded = false;
  void ended.then(() => (hasEnded = true));
  const reports = () => server.requests.filter((path) => path.startsWith('/report/'));
  try {
    const end = Date.now() + LONGEST;
    while (reports().length < MODULES.length && !hasEnded && Date.now() < end) await setTimeout(200);
  } finally {
    browser.kill();
    await ended;
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
  const found = reports().map((path) => JSON.parse(path.slice('/report/'.length)));
  assert.deepEqual(
    found.map(({ name, passed, wrong }) => ({ name, passed, wrong })),
    MODULES.map((name) => ({ name, passed: count, wrong: [] })),
  );
  for (const { name, passed, kernels } of found) t.diagnostic(`${name}: ${passed} vectors on ${kernels}`);
});

// Starts the browser of the tests: Chromium of the system, or the one that CHROMIUM names.

import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const PATHS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** Returns the path of a browser, if there is one. */
export function findBrowser() {
  return process.env.CHROMIUM ?? PATHS.find((path) => existsSync(path));
}

/** Starts a browser with an empty profile, and with these flags of its JavaScript engine. */
export async function launch({ flags = '', ...options } = {}) {
  const profile = await mkdtemp(join(tmpdir(), 'mobilebert-profile-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: findBrowser(),
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      // A name that is not localhost makes a page that browsers do not trust with storage.
      '--host-resolver-rules=MAP insecure.test 127.0.0.1',
      `--js-flags=${flags}`,
    ],
    ...options,
  });
  const close = async () => {
    await context.close();
    await rm(profile, { recursive: true, force: true });
  };
  return { context, close };
}

// `node browser.mjs` says whether there is a browser.
if (process.argv[1] === fileURLToPath(import.meta.url)) process.exit(findBrowser() === undefined ? 1 : 0);

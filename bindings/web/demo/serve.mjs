// Serves the demo: `node bindings/web/demo/serve.mjs [PORT]`, after `bindings/web/build`.
//
// The site is put together in target/bindings/web/site: these files, the package, and the models with lists
// of their files. Any server of static files can serve that folder.

import { execFileSync } from 'node:child_process';
import { cp, mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { serve } from '../tests/server.mjs';

const own = fileURLToPath(new URL('.', import.meta.url));

/** Puts the site together from the package and the folder of models. */
export async function assemble({ site, packed, models }) {
  await rm(site, { recursive: true, force: true });
  await mkdir(join(site, 'models'), { recursive: true });
  const files = (await readdir(own)).filter((name) => !name.endsWith('.mjs'));
  for (const name of files) await cp(join(own, name), join(site, name));
  await cp(join(packed, 'dist'), join(site, 'mobilebert/dist'), { recursive: true });
  for (const name of ['qa', 'sentiment', 'embed']) {
    await cp(join(models, name), join(site, 'models', name), { recursive: true });
    execFileSync(process.execPath, [join(packed, 'manifest.mjs'), join(site, 'models', name)]);
  }
  // What the page needs without a network. Other browsers keep their module when they ask for it.
  const dist = await readdir(join(packed, 'dist'), { recursive: true });
  const parts = dist
    .filter((name) => /\.js$|relaxed\.wasm$/.test(name))
    .map((name) => `mobilebert/dist/${name}`);
  const own_parts = files.filter((name) => name !== 'sw.js' && name !== 'index.html');
  await writeFile(join(site, 'assets.json'), JSON.stringify(['./', ...own_parts, ...parts]));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const root = join(own, '../../..');
  const work = join(root, 'target/bindings/web');
  const site = join(work, 'site');
  await assemble({ site, packed: join(work, 'package'), models: join(root, 'models') });
  const { port } = await serve({ '/': site }, Number(process.argv[2] ?? 8080));
  console.log(`http://localhost:${port}/`);
}

// Vectors of texts in a browser, side by side: this engine's npm package and transformers.js, both in int8 on
// one thread, by turns.
//
//     node eval/peers/web.mjs MODULES MODEL ONNX [ROUNDS]
//
// `MODULES` is a folder of npm packages with mobilebert, @huggingface/transformers, onnxruntime-web and
// playwright-core. `MODEL` is a model folder of this engine, such as models/embed, and `ONNX` the same
// weights in the layout of transformers.js, with onnx/model_quantized.onnx. The shortest call is the figure,
// because other work on the machine only ever adds time.

import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

import { serve } from '../../bindings/web/tests/server.mjs';

const [modules, model, onnx] = process.argv.slice(2, 5).map((folder) => resolve(folder));
const rounds = Number(process.argv[5] ?? 5);
/** The milliseconds that an engine runs in a turn. */
const TURN = 1500;
const WORDS = 'the keeper of the old harbour lit a lamp each night and wrote down who came and went ';
/** Numbers of tokens, with the two special ones. Each word of the text is one. */
const LENGTHS = [8, 32, 128];
const NAMES = ['mobilebert', 'transformers.js'];

if (onnx === undefined) {
  console.error('usage: node eval/peers/web.mjs MODULES MODEL ONNX [ROUNDS]');
  process.exit(2);
}
const { chromium } = createRequire(join(modules, 'x.js'))('playwright-core');
const server = await serve(
  {
    '/': new URL('web', import.meta.url).pathname,
    '/ours/': join(modules, 'mobilebert'),
    '/theirs/': join(modules, '@huggingface/transformers/dist'),
    '/ort/': join(modules, 'onnxruntime-web/dist'),
    '/model/': model,
    '/onnx/model/': onnx,
  },
  0,
  // transformers.js makes workers and modules of blobs.
  "default-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:",
);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu'],
});
const page = await browser.newPage();
page.on('pageerror', (error) => console.error(String(error)));
await page.goto(`http://localhost:${server.port}/page.html`);
await page.waitForSelector('html[data-ready]', { state: 'attached' });

const text = (tokens) =>
  WORDS.repeat(10)
    .split(' ')
    .slice(0, tokens - 2)
    .join(' ');
const first = {};
for (const name of NAMES) {
  first[name] = await page.evaluate(([name, text]) => window.start(name, text), [name, text(32)]);
}
const [ours, theirs] = NAMES.map((name) => first[name].vector);
const cosine = ours.reduce((sum, value, i) => sum + value * theirs[i], 0);
const times = {};
for (let round = 0; round < rounds; round++) {
  for (const tokens of LENGTHS) {
    for (const name of round % 2 === 0 ? NAMES : [...NAMES].reverse()) {
      const found = await page.evaluate(
        ([name, text, most]) => window.run(name, text, most),
        [name, text(tokens), TURN],
      );
      (times[`${tokens} ${name}`] ??= []).push(...found);
    }
  }
}
console.log(`Chromium ${browser.version()}, ${rounds} rounds, cosine of both vectors ${cosine.toFixed(4)}\n`);
console.log('| | mobilebert ms | transformers.js ms | theirs / ours |\n|---|---|---|---|');
const row = (name, [a, b]) =>
  console.log(`| ${name} | ${a.toFixed(1)} | ${b.toFixed(1)} | ${(b / a).toFixed(2)} |`);
row(
  'from nothing to the first vector',
  NAMES.map((name) => first[name].elapsed),
);
for (const tokens of LENGTHS) {
  const all = NAMES.map((name) => times[`${tokens} ${name}`].sort((a, b) => a - b));
  row(
    `${tokens} tokens, shortest call`,
    all.map((times) => times[0]),
  );
  row(
    `${tokens} tokens, median`,
    all.map((times) => times[times.length >> 1]),
  );
}
await browser.close();
server.close();

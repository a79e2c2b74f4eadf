// What browser.test.mjs calls in a page.

import { clear_cache, pipeline } from '/package/dist/browser.js';
import { cases } from './vectors.mjs';

/** Runs all vectors, and returns the number that passed, what was wrong with the others, and the kernels. */
async function vectors(files, wasm) {
  const kernels = new Set();
  const { list, dispose } = cases(files, async (task, model) => {
    const opened = await pipeline(task, `/${model}`, { wasm });
    kernels.add(opened.engine.model.kernel);
    return opened;
  });
  const wrong = [];
  for (const { name, run } of list) {
    try {
      await run();
    } catch (error) {
      wrong.push(`${name}: ${error.message}`);
    }
  }
  await dispose();
  return { passed: list.length - wrong.length, wrong, kernels: [...kernels] };
}

/** Asks a question, and returns the answer, the events, and what went wrong. */
async function ask(source, options = {}) {
  const events = [];
  try {
    const progress_callback = (event) => events.push(event);
    const qa = await pipeline('question-answering', source, { progress_callback, ...options });
    const answer = await qa('Who built it?', '😀 It was built by Ada.');
    await qa.dispose();
    return { answer, events };
  } catch ({ code, message, place }) {
    return { error: { code, message, place }, events };
  }
}

/** A worker in which the cache cannot keep anything. */
const refusing = () => new Worker(new URL('refusing-worker.mjs', import.meta.url), { type: 'module' });

/** Asks the same question in a worker of the page's own. */
async function askInWorker(source) {
  const worker = new Worker(new URL('in-worker.mjs', import.meta.url), { type: 'module' });
  const next = () => new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
  await next();
  worker.postMessage(source);
  const found = await next();
  worker.terminate();
  return found;
}

/** Lets the worker fail in the middle of a call, and calls again. */
async function fail() {
  const workers = [];
  const create_worker = () => {
    const worker = new Worker('/package/dist/worker.js', { type: 'module' });
    workers.push(worker);
    return worker;
  };
  const tag = await pipeline('ner', '/bindings/vectors/models/ner', { create_worker });
  const before = await tag('Ada lives in London');
  // The answer must not come before the failure.
  const call = tag('Ada lives in London. '.repeat(5000)).then(
    () => 'it answered',
    (error) => error.code,
  );
  await new Promise((resolve) => setTimeout(resolve));
  workers[0].dispatchEvent(new ErrorEvent('error', { message: 'test' }));
  const outcome = await call;
  const after = await tag('Ada lives in London');
  await tag.dispose();
  return { outcome, same: JSON.stringify(before) === JSON.stringify(after), workers: workers.length };
}

/** Counts how often the page itself runs in a second while something goes on. */
async function rate(something) {
  let count = 0;
  const timer = setInterval(() => count++, 10);
  const start = performance.now();
  await something();
  const elapsed = performance.now() - start;
  clearInterval(timer);
  return (1000 * count) / elapsed;
}

/** Counts how often the page itself runs while a long call works, and while nothing does. */
async function turns() {
  const qa = await pipeline('question-answering', '/models/qa');
  const busy = await rate(() => qa('Who built it?', 'It was built by Ada in a long year. '.repeat(100)));
  await qa.dispose();
  const idle = await rate(() => new Promise((resolve) => setTimeout(resolve, 2000)));
  return { busy, idle };
}

/** Loads a model with a callback that throws, or that returns a promise that is rejected. */
async function careless() {
  const found = [];
  for (const progress_callback of [() => fault(), async () => fault()]) {
    const tag = await pipeline('ner', '/bindings/vectors/models/ner', { progress_callback });
    found.push((await tag('Ada lives in London')).length);
    await tag.dispose();
  }
  return found;
}

function fault() {
  throw new Error('of the caller');
}

async function kept() {
  const cache = await caches.open('mobilebert');
  return (await cache.keys()).map(({ url }) => new URL(url).pathname);
}

Object.assign(window, { ask, askInWorker, careless, clear_cache, fail, kept });
Object.assign(window, { pipeline, refusing, turns, vectors });
document.documentElement.dataset.ready = 'true';

// The installed package in Node. `ROOT` is the checkout, which has the models and the vectors.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { MobileBertError, pipeline, Tensor } from 'mobilebert';

import { cases } from './vectors.mjs';

const root = process.env.ROOT;
const path = (...parts) => join(root, ...parts);
const wasm = (name) => fileURLToPath(import.meta.resolve(`mobilebert/${name}.wasm`));

const files = {};
for (const name of readdirSync(path('bindings/vectors'))) {
  if (name.endsWith('.json'))
    files[name.slice(0, -5)] = JSON.parse(readFileSync(path('bindings/vectors', name), 'utf8'));
}

const MODULES = ['relaxed', 'simd', 'plain'];
const runs = (name) => WebAssembly.validate(readFileSync(wasm(name)));

for (const name of MODULES) {
  test(`vectors of the module ${name}`, async (t) => {
    if (!runs(name)) return t.skip(`Node ${process.version} does not run it`);
    const { list, dispose } = cases(files, (task, model) =>
      pipeline(task, path(model), { wasm: wasm(name) }),
    );
    for (const { name: title, run } of list) await t.test(`${name} ${title}`, run);
    await dispose();
  });
}

test('the fastest module that runs here is chosen', async () => {
  const tag = await pipeline('ner', path('bindings/vectors/models/ner'));
  // Of the relaxed instructions, the runtime and the processor decide which are used.
  const expected = runs('relaxed') ? ['wasm-dot', 'wasm-fma', 'wasm-simd128'] : ['wasm-simd128'];
  assert.ok(expected.includes(tag.engine.model.kernel), tag.engine.model.kernel);
  await tag.dispose();
  const plain = await pipeline('ner', path('bindings/vectors/models/ner'), {
    wasm: readFileSync(wasm('plain')),
  });
  assert.equal(plain.engine.model.kernel, 'scalar');
  await plain.dispose();
});

test('answers have the shapes of transformers.js, and places', async () => {
  const qa = await pipeline('question-answering', path('models/qa'), { workers: 2 });
  const context = '😀 It was built by Ada.';
  const best = await qa('Who built it?', context);
  assert.deepEqual(Object.keys(best), ['answer', 'score', 'start', 'end']);
  assert.equal(context.slice(best.start, best.end), 'Ada');
  assert.equal((await qa('Who built it?', context, { top_k: 2 })).length, 2);
  const two = await qa(['Who built it?', 'What was built?'], context);
  assert.deepEqual(two[0], best);
  const each = await qa(['Who built it?', 'Who?'], [context, 'Eve.'], { top_k: 2 });
  assert.deepEqual(
    each.map((answers) => answers.length),
    [2, 2],
  );
  assert.deepEqual(await qa('Who built it?', [context, context, context]), [best, best, best]);
  assert.deepEqual(await qa([], context), []);
  assert.deepEqual(await qa([], ''), []);
  await qa.dispose();
});

test('labels have the shapes of transformers.js', async () => {
  const classify = await pipeline('sentiment-analysis', path('models/sentiment'), { workers: 3 });
  assert.equal(classify.task, 'text-classification');
  const [label] = await classify('a joy to watch');
  assert.deepEqual([label.label, Math.round(label.score * 1e4)], ['positive', 9883]);
  assert.deepEqual(
    (await classify(['a joy', 'a bore'])).map(({ label }) => label),
    ['positive', 'negative'],
  );
  assert.deepEqual(
    (await classify(['a joy', 'a bore'], { top_k: 2 })).map((all) => all.length),
    [2, 2],
  );
  assert.equal((await classify('a joy', { top_k: null })).length, 2);
  assert.equal((await classify([{ text: 'a joy', text_pair: 'a bore' }])).length, 1);
  await assert.rejects(classify(['a', { text: 'a', text_pair: 'b' }]), { code: 'input', place: 'text_pair' });
  // Spread over workers, an error still names the place in the caller's list.
  await assert.rejects(classify(['a', 'b', 'c', ' ', '']), {
    code: 'empty_text',
    index: 3,
    place: 'text 4: text',
  });
  await assert.rejects(classify(['a', 'b', 'c\ud800']), { code: 'invalid_text', index: 2, position: 1 });
  await classify.dispose();
});

test('tags and fills have the shapes of transformers.js', async () => {
  const tag = await pipeline('ner', path('bindings/vectors/models/ner'));
  const text = '😀 Ada lives in London';
  const tokens = await tag(text, { ignore_labels: [] });
  for (const { word, start, end } of tokens) assert.equal(text.slice(start, end), word);
  assert.ok(tokens.every((token) => 'entity' in token && !('entity_group' in token)));
  const groups = await tag([text], { aggregation_strategy: 'simple' });
  assert.ok(groups[0].every((group) => 'entity_group' in group));
  await tag.dispose();
  const fill = await pipeline('fill-mask', path('bindings/vectors/models/mlm'));
  assert.deepEqual(Object.keys((await fill('the [MASK]', { top_k: 2 }))[1]), [
    'sequence',
    'score',
    'token',
    'token_str',
  ]);
  assert.deepEqual(
    (await fill(['the [MASK] of [MASK]', 'a [MASK]'])).map((found) => found.length),
    [2, 5],
  );
  await fill.dispose();
});

test('features are tensors', async () => {
  const extract = await pipeline('feature-extraction', path('bindings/vectors/models/ner'));
  const states = await extract(['how old are you?', 'a']);
  assert.ok(states instanceof Tensor);
  assert.deepEqual(states.dims, [2, 7, 16]);
  assert.deepEqual(states.tolist()[1][6], new Array(16).fill(0));
  const mean = await extract(['how old are you?', 'a'], { pooling: 'mean', normalize: true });
  assert.deepEqual(mean.dims, [2, 16]);
  const length = Math.hypot(...mean.tolist()[1]);
  assert.ok(Math.abs(length - 1) < 1e-6, `${length}`);
  assert.deepEqual(
    (await extract('a', { pooling: 'eos' })).data,
    (await extract('a', { pooling: 'last_token' })).data,
  );
  assert.deepEqual((await extract([], { pooling: 'mean' })).dims, [0, 16]);
  await assert.rejects(extract('a', { normalize: true }), { code: 'option', place: 'normalize' });
  await extract.dispose();
});

test('what cannot be used is an error that says so', async () => {
  const folder = path('bindings/vectors/models/ner');
  for (const [task, source, options, expected] of [
    ['summarization', folder, {}, { code: 'option', place: 'task' }],
    ['ner', folder, { revision: 'main' }, { code: 'unknown_option', place: 'revision' }],
    ['ner', folder, { dtype: 'q4' }, { code: 'option', place: 'dtype' }],
    ['ner', folder, { device: 'webgpu' }, { code: 'option', place: 'device' }],
    ['ner', folder, { workers: 0 }, { code: 'option', place: 'workers' }],
    ['ner', 3, {}, { code: 'input', place: 'source' }],
    ['ner', { 'config.json': 3 }, {}, { code: 'input', place: 'source: config.json' }],
    ['ner', path('nowhere'), {}, { code: 'missing_file' }],
    ['ner', { 'config.json': '{' }, {}, { code: 'json', place: 'config.json' }],
  ]) {
    await assert.rejects(pipeline(task, source, options), (error) => {
      assert.ok(error instanceof MobileBertError, `${error}`);
      for (const [name, value] of Object.entries(expected)) assert.equal(error[name], value, `${error}`);
      return true;
    });
  }
  const tag = await pipeline('ner', folder);
  await assert.rejects(tag(3), {
    code: 'input',
    message: /it is a number; expected a string or an array of strings/,
  });
  await assert.rejects(tag(['a', null]), { code: 'input', message: 'text 2: it is null; expected a string' });
  await assert.rejects(tag('a', { top_k: 1 }), { code: 'unknown_option' });
  await tag.dispose();
  await assert.rejects(tag('a'), { code: 'input', place: 'pipeline' });
});

test('files in memory, in this thread, and with hashes', async () => {
  const folder = path('bindings/vectors/models/ner');
  const source = {};
  for (const name of ['config.json', 'vocab.txt', 'tokenizer_config.json'])
    source[name] = readFileSync(join(folder, name), 'utf8');
  source['model.safetensors'] = new Blob([readFileSync(join(folder, 'model.safetensors'))]);
  const [there, here] = [await pipeline('ner', folder), await pipeline('ner', source, { worker: false })];
  assert.deepEqual(await here('Ada lives in London'), await there('Ada lives in London'));
  await there.dispose();
  await here.dispose();
  await assert.rejects(here('a'), { code: 'input', place: 'pipeline' });
  const hashes = { 'vocab.txt': '0'.repeat(64) };
  await assert.rejects(pipeline('ner', folder, { hashes }), { code: 'verification', place: 'vocab.txt' });
});

test('precision is that of dtype', async () => {
  const tag = await pipeline('ner', path('bindings/vectors/models/ner'), { dtype: 'fp32' });
  assert.equal(tag.engine.model.precision, 'f32');
  await tag.dispose();
});

test('a disposed pipeline ends its calls', async () => {
  const classify = await pipeline('text-classification', path('models/sentiment'));
  const call = classify(new Array(100).fill('a joy '.repeat(100)));
  setTimeout(() => classify.dispose(), 20);
  await assert.rejects(call, { code: 'cancelled', message: /disposed of/ });
});

test('a search ends at its time with what it has found', async () => {
  for (const worker of [true, false]) {
    const qa = await pipeline('question-answering', path('models/qa'), { worker });
    const question = 'Who built the bridge?';
    const context = 'Trees grow slowly in the north – 🌲. '.repeat(800) + 'The bridge was built by Ada.';
    // The shortest time in which a busy machine finishes the first pass is far too short for all of them.
    let found;
    for (let timeout = 20; found === undefined; timeout *= 2) {
      try {
        found = await qa.engine.answersWithin(question, context, { timeout });
      } catch (error) {
        assert.equal(error.code, 'deadline_exceeded');
      }
    }
    assert.ok(found.windows_read > 0 && found.windows_read < found.windows, JSON.stringify(found));
    assert.equal(found.answers[0].answer, 'Ada');
    for (const { start, end } of found.unread) assert.ok(context.slice(start, end).includes('Trees grow'));
    const most_windows = found.windows_read;
    assert.deepEqual(await qa.engine.answersWithin(question, context, { most_windows }), found);
    const wrong = { code: 'option', place: 'most_windows' };
    for (const most_windows of [0, -1, 1.5, '1'])
      await assert.rejects(qa.engine.answersWithin(question, context, { most_windows }), wrong);
    const input = { code: 'input', place: 'context' };
    await assert.rejects(qa.engine.answersWithin(question, [context]), input);
    const signal = AbortSignal.abort();
    await assert.rejects(qa.engine.answersWithin(question, context, { signal }), { code: 'cancelled' });
    const lone = { code: 'invalid_text', place: 'question' };
    await assert.rejects(qa.engine.answersWithin('\ud83d', context), lone);
    await qa.dispose();
  }
});

test('an engine that has trapped says so and is left', async () => {
  const installed = join(fileURLToPath(import.meta.resolve('mobilebert/package.json')), '../dist');
  const { Engine } = await import(join(installed, 'engine.js'));
  const { platform } = await import(join(installed, 'node-platform.js'));
  const module = await import(join(installed, 'module/mobilebert.js'));
  const engine = new Engine(platform);
  const source = { url: `file://${path('bindings/vectors/models/ner')}/` };
  await engine.handle(
    { kind: 'open', task: 'token-classification', source, name: 'x', hashes: {}, cache: null },
    () => {},
  );
  const { run } = module.Pipeline.prototype;
  module.Pipeline.prototype.run = () => {
    throw new WebAssembly.RuntimeError('unreachable');
  };
  const request = { kind: 'run', texts: { what: 'text', texts: ['a'] }, unit: 'text', first: 0, options: {} };
  await assert.rejects(
    engine.handle(request, () => {}),
    { code: 'internal', message: /starts again.*unreachable/ },
  );
  module.Pipeline.prototype.run = run;
  assert.ok(engine.broken);
});

test('folders on a server, with and without a list of files', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mobilebert-'));
  await cp(path('bindings/vectors/models/ner'), folder, { recursive: true });
  const server = createServer(async (request, response) => {
    const content = await readFile(join(folder, request.url)).catch(() => undefined);
    response.statusCode = content === undefined ? 404 : 200;
    response.end(content);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  const open = async () => {
    const events = [];
    const tag = await pipeline('ner', url, { progress_callback: (event) => events.push(event) });
    const found = await tag('Ada lives in London');
    await tag.dispose();
    return { events, found };
  };
  const plain = await open();
  const { bin } = JSON.parse(
    await readFile(fileURLToPath(import.meta.resolve('mobilebert/package.json')), 'utf8'),
  );
  execFileSync('npx', ['--no-install', Object.keys(bin)[0], folder]);
  const listed = await open();
  assert.deepEqual(plain.found, listed.found);
  const weights = listed.events.filter(({ file }) => file === 'model.safetensors');
  assert.deepEqual(
    [...new Set(weights.map(({ status }) => status))],
    ['initiate', 'download', 'progress', 'done'],
  );
  const last = weights.filter(({ status }) => status === 'progress').at(-1);
  assert.deepEqual([last.loaded, last.total, last.progress], [18492, 18492, 100]);
  assert.equal(listed.events.at(-1).status, 'ready');
  // A file that is not what the list says.
  const vocab = await readFile(join(folder, 'vocab.txt'));
  await writeFile(join(folder, 'vocab.txt'), Buffer.concat([vocab, Buffer.from('more\n')]));
  await assert.rejects(open(), {
    code: 'verification',
    place: 'vocab.txt',
    message: /SHA-256 [0-9a-f]{64}; expected/,
  });
  await rm(join(folder, 'vocab.txt'));
  await assert.rejects(open(), { code: 'io', place: 'vocab.txt' });
  await writeFile(join(folder, 'mobilebert.json'), '{"files": {"../secret": {}}}');
  await assert.rejects(open(), { code: 'json', place: 'mobilebert.json' });
  server.close();
  await assert.rejects(open(), { code: 'io' });
  await rm(folder, { recursive: true });
});

test('a method of another task is refused, whatever it is given', async () => {
  const models = {
    'question-answering': 'models/qa',
    'text-classification': 'models/sentiment',
    'token-classification': 'bindings/vectors/models/ner',
    'fill-mask': 'bindings/vectors/models/mlm',
    'feature-extraction': 'bindings/vectors/models/ner',
  };
  const methods = {
    answers: 'question-answering',
    answersWithin: 'question-answering',
    classify: 'text-classification',
    tag: 'token-classification',
    fill: 'fill-mask',
    vectors: 'feature-extraction',
    states: 'feature-extraction',
  };
  for (const [task, model] of Object.entries(models)) {
    const { engine, dispose } = await pipeline(task, path(model));
    const all = Object.getOwnPropertyNames(Object.getPrototypeOf(engine));
    assert.deepEqual(all.filter((name) => name !== 'constructor').sort(), Object.keys(methods).sort());
    for (const [method, needed] of Object.entries(methods)) {
      if (needed === task) {
        const second = ['answers', 'answersWithin', 'classify'].includes(method) ? 'Ada.' : {};
        await assert.doesNotReject(engine[method]('the [MASK]', second), method);
        continue;
      }
      const expected = { name: 'MobileBertError', code: 'wrong_task', place: method };
      const given = [['a [MASK]'], ['Who?', 'Ada.'], [['Who?', 'b'], 'Ada.'], [[]], [[], []], [5], []];
      for (const args of given) await assert.rejects(engine[method](...args), expected, `${task} ${method}`);
      const { message } = await engine[method]('a').catch((error) => error);
      assert.ok(message.includes(needed) && message.includes(task), message);
    }
    await dispose();
  }
});

test('a second text has one name in all errors', async () => {
  const classify = await pipeline('text-classification', path('models/sentiment'));
  const { engine } = classify;
  for (const [code, second] of [
    ['empty_text', ''],
    ['invalid_text', '\ud83d'],
  ]) {
    await assert.rejects(engine.classify('a', second), { code, place: 'second text' });
    await assert.rejects(engine.classify(['a', 'a'], ['a', second]), {
      code,
      index: 1,
      place: 'pair 2: second text',
    });
  }
  await assert.rejects(engine.classify('a', 5), { code: 'input', place: 'second text' });
  await classify.dispose();
});

test('a model tells its labels', async () => {
  const classify = await pipeline('text-classification', path('models/sentiment'));
  assert.deepEqual(classify.engine.model.labels, ['negative', 'positive']);
  await classify.dispose();
});


test('a call ends by its signal or after its time', async () => {
  const tag = await pipeline('ner', path('bindings/vectors/models/ner'));
  const before = await tag('Ada lives in London');
  const long = 'Ada lives in London. '.repeat(3000);
  const time = async (call) => {
    const start = performance.now();
    await call();
    return performance.now() - start;
  };
  const alone = await time(() => tag(long));
  const controller = new AbortController();
  const { signal } = controller;
  const calls = Array.from({ length: 12 }, () => tag(long, { signal }));
  setTimeout(() => controller.abort('enough'), 1);
  for (const call of calls) {
    await assert.rejects(call, (error) => error.code === 'cancelled' && error.cause === 'enough');
  }
  // The first call runs to its end, and the others never begin.
  assert.ok((await time(() => tag('Ada'))) < 4 * alone, 'calls that were cancelled still ran');
  await assert.rejects(tag(long, { timeout: 1 }), { code: 'deadline_exceeded' });
  await assert.rejects(tag('Ada', { signal: AbortSignal.abort() }), { code: 'cancelled' });
  await assert.rejects(tag('Ada', { signal: 'no' }), { code: 'option', place: 'signal' });
  await assert.rejects(tag('Ada', { timeout: -1 }), { code: 'option', place: 'timeout' });
  const patient = { timeout: 1e9, signal: new AbortController().signal };
  assert.deepEqual(await tag('Ada lives in London', patient), before);
  assert.deepEqual(await tag('Ada lives in London', { timeout: null, signal: null }), before);
  await tag.dispose();
});

test('the package has the version of the engine', () => {
  const { version } = JSON.parse(readFileSync(fileURLToPath(import.meta.resolve('mobilebert/package.json'))));
  assert.ok(readFileSync(path('Cargo.toml'), 'utf8').includes(`\nversion = "${version}"\n`), version);
});

test('the package holds the licences of what is linked into it, and no folder of the builder', async () => {
  const installed = fileURLToPath(new URL('.', import.meta.resolve('mobilebert/package.json')));
  const notices = await readFile(join(installed, 'THIRD-PARTY-NOTICES.txt'), 'utf8');
  const crates = ['mobilebert 0.', 'tokenizers 0.', 'wasm-bindgen 0.', 'serde_json 1.'];
  for (const crate of [...crates, 'the standard library of Rust'])
    assert.ok(notices.includes(`\n${crate}`), crate);
  for (const name of MODULES) {
    const module = readFileSync(wasm(name));
    assert.ok(module.includes('/cargo/registry/'), 'the module holds no places of panics any more');
    for (const folder of [root, homedir()]) assert.ok(!module.includes(`${folder}/`), `${name}: ${folder}`);
  }
});

test('the package is small', (t) => {
  const limit = 1.5e6;
  for (const name of MODULES) {
    const bytes = readFileSync(wasm(name));
    const gzip = gzipSync(bytes, { level: 9 }).length;
    t.diagnostic(`${name}.wasm: ${bytes.length} bytes, in gzip ${gzip}`);
    assert.ok(gzip <= limit, `${name}.wasm has ${gzip} bytes in gzip; at most ${limit} are allowed`);
  }
});

test('a program ends although it has not disposed of its pipelines', () => {
  const program = `
    import { pipeline } from 'mobilebert';
    const tag = await pipeline('ner', ${JSON.stringify(path('bindings/vectors/models/ner'))});
    await tag('Ada');
  `;
  execFileSync('node', ['--input-type=module', '-e', program], { timeout: 60_000 });
});

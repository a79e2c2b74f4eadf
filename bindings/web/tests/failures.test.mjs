// What goes wrong outside of the installed package, in Node: servers, files, options, and the engine in this
// thread. `ROOT` is the checkout, which has the models.

import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import vm from 'node:vm';
import { MobileBertError, pipeline } from 'mobilebert';

import { serve } from './server.mjs';

const ner = join(process.env.ROOT, 'bindings/vectors/models/ner');
const installed = fileURLToPath(new URL('.', import.meta.resolve('mobilebert/package.json')));
const manifest = join(installed, 'manifest.mjs');
const text = 'Ada lives in London';

/** Makes a copy of a model folder that is gone after the test. */
async function copy(t, name = 'model') {
  const folder = await mkdtemp(join(tmpdir(), 'mobilebert-'));
  t.after(() => rm(folder, { recursive: true }));
  await cp(ner, join(folder, name), { recursive: true });
  return join(folder, name);
}

async function served(t, folder) {
  const server = await serve({ '/': folder });
  t.after(() => server.close());
  return Object.assign(server, { url: `http://127.0.0.1:${server.port}/` });
}

/** Opens a model, runs it, and returns what it found. */
async function run(source, options) {
  const tag = await pipeline('ner', source, options);
  const found = await tag(text);
  await tag.dispose();
  return found;
}

async function refused(call, expected) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof MobileBertError, `${error}`);
    const { message, ...fields } = expected;
    for (const [name, value] of Object.entries(fields)) assert.equal(error[name], value, `${error}`);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });
}

test('a connection that is cut within a file is an error that names the address', async (t) => {
  const folder = await copy(t);
  const server = await served(t, folder);
  const cut = (name) => (server.change = (path) => (path === `/${name}` ? 'half' : undefined));
  cut('model.safetensors');
  const broken = {
    code: 'io',
    place: 'model.safetensors',
    message: /http:\S+\/model\.safetensors cannot be/,
  };
  await refused(run(server.url), broken);
  execFileSync('node', [manifest, folder]);
  await refused(run(server.url), broken);
  cut('mobilebert.json');
  await refused(run(server.url), { code: 'io', message: /list of files http:\S+\/mobilebert\.json cannot/ });
});

test('a query of a folder is that of its files', async (t) => {
  const folder = await copy(t);
  const server = await served(t, join(folder, '..'));
  const expected = await run(ner);
  for (const listed of [false, true]) {
    if (listed) execFileSync('node', [manifest, folder]);
    for (const end of ['', '/', '?v=3', '/?v=3&sig=a%2Fb', '#part', '?v=3#part']) {
      server.requests.length = server.queries.length = 0;
      const url = `${server.url}model${end}`;
      assert.deepEqual(await run(url), expected, end);
      assert.ok(server.requests.length > 3, end);
      for (const path of server.requests) assert.ok(path.startsWith('/model/'), `${end} asks for ${path}`);
      assert.deepEqual([...new Set(server.queries)], [new URL(url).search], end);
    }
  }
});

test('a folder has no list of files only if the server says so', async (t) => {
  const folder = await copy(t);
  execFileSync('node', [manifest, folder]);
  const server = await served(t, folder);
  const expected = await run(ner);
  for (const answer of [404, 410, 403, 'page']) {
    server.change = (path) => (path === '/mobilebert.json' ? answer : undefined);
    assert.deepEqual(await run(server.url), expected, `${answer}`);
  }
  for (const answer of [400, 401, 429, 500, 'cut', 'half']) {
    server.change = (path) => (path === '/mobilebert.json' ? answer : undefined);
    server.requests.length = 0;
    await refused(run(server.url), { code: 'io', message: /mobilebert\.json cannot be loaded/ });
    assert.deepEqual(server.requests, ['/mobilebert.json'], `${answer}`);
  }
});

test('a file of the disk that cannot be read is an error that names it', async (t) => {
  const folder = await copy(t);
  await rm(join(folder, 'vocab.txt'));
  await mkdir(join(folder, 'vocab.txt'));
  await refused(run(folder), {
    code: 'io',
    place: 'vocab.txt',
    message: /vocab\.txt cannot be read.*EISDIR/,
  });
});

test('every file that has a hash of its own must be loaded', async (t) => {
  const hashes = {};
  for (const name of ['config.json', 'vocab.txt', 'model.safetensors'])
    hashes[name] = createHash('sha256')
      .update(await readFile(join(ner, name)))
      .digest('hex')
      .toUpperCase();
  const expected = await run(ner);
  assert.deepEqual(await run(ner, { hashes }), expected);
  const server = await served(t, await copy(t));
  assert.deepEqual(await run(server.url, { hashes }), expected);
  const files = { 'pytorch_model.bin': hashes['vocab.txt'] };
  for (const source of [ner, server.url]) {
    await refused(run(source, { hashes: { ...hashes, ...files } }), {
      code: 'verification',
      place: 'pytorch_model.bin',
      message: /not among the files of the model, which are config\.json, .*vocab\.txt, model\.safetensors/,
    });
  }
  for (const hash of ['', 'abc', 3, null, `${'0'.repeat(64)} `])
    await refused(run(ner, { hashes: { 'vocab.txt': hash } }), {
      code: 'option',
      place: 'hashes: vocab.txt',
    });
  await refused(run(ner, { hashes: ['a'] }), { code: 'option', place: 'hashes' });
});

test('a module that cannot be loaded is an error that says which', async (t) => {
  const server = await served(t, await copy(t));
  for (const [wasm, message] of [
    [`${server.url}none.wasm`, /none\.wasm answers with status 404/],
    [join(installed, 'none.wasm'), /none\.wasm cannot be loaded: ENOENT/],
    [new Uint8Array(8), /cannot be loaded/],
  ])
    await refused(run(ner, { wasm }), { code: 'io', place: 'wasm', message });
  await refused(run(ner, { wasm: 'http://[' }), { code: 'option', place: 'wasm' });
});

test('values that JSON does not have are refused with the name of the option', async () => {
  const tag = await pipeline('ner', ner);
  for (const value of [NaN, Infinity, -Infinity, 1n, () => 1, Symbol('a'), {}])
    await refused(tag(text, { max_seq_len: value }), { code: 'option', place: 'max_seq_len' });
  await refused(tag(text, { max_seq_len: NaN }), {
    message: /`max_seq_len` is NaN; expected a finite number/,
  });
  await refused(tag(text, { max_seq_len: 1n }), { message: /`max_seq_len` is 1; expected a number/ });
  for (const value of [['O', NaN], [undefined], ['\ud800'], [['O']]])
    await refused(tag(text, { ignore_labels: value }), { code: 'option', place: 'ignore_labels' });
  for (const options of [3, 'top_k', ['top_k']])
    await refused(tag(text, options), { code: 'input', place: 'options' });
  assert.deepEqual(await tag(text, null), await tag(text, { max_seq_len: undefined }));
  await tag.dispose();
});

test('whatever a pipeline is opened with, errors are of the class of errors', async () => {
  const expected = await run(ner);
  assert.deepEqual(await run(ner, null), expected);
  await refused(run(ner, 3), { code: 'input', place: 'options' });
  await refused(run('http://['), { code: 'input', place: 'source', message: /"http:\/\/\["/ });
  await refused(run(ner, { workers: 2n }), { code: 'option', place: 'workers' });
  await refused(run(ner, { dtype: 'toString' }), { code: 'option', place: 'dtype' });
  await refused(pipeline('toString', ner), { code: 'option', place: 'task' });
  await refused(run(ner, { progress_callback: 'a' }), { code: 'option', place: 'progress_callback' });
  // A rejection that nobody handles would end this process.
  for (const worker of [true, false]) {
    let calls = 0;
    const throwing = () => {
      calls += 1;
      throw new Error('of the caller');
    };
    assert.deepEqual(await run(ner, { worker, progress_callback: throwing }), expected);
    assert.ok(calls > 1);
    assert.deepEqual(await run(ner, { worker, progress_callback: async () => throwing() }), expected);
  }
});

test('pipelines in the calling thread share one instance, and say so when it has failed', () => {
  const program = `
    import { pipeline } from 'mobilebert';
    const open = (options) => pipeline('ner', ${JSON.stringify(ner)}, { worker: false, ...options });
    const failed = ({ code, place, message }) => [code, place, message];
    const said = (promise) => promise.then(() => 'fine', failed);
    const [one, two] = await Promise.all([open(), open()]);
    const found = [await said(open({ wasm: new Uint8Array(8) }))];
    found.push(await said(one('Ada')), await said(two('Ada')));
    const { Pipeline } = await import(${JSON.stringify(join(installed, 'dist/module/mobilebert.js'))});
    const { run } = Pipeline.prototype;
    Pipeline.prototype.run = () => { throw new WebAssembly.RuntimeError('unreachable'); };
    found.push(await said(one('Ada')));
    Pipeline.prototype.run = run;
    found.push(await said(one('Ada')), await said(two('Ada')), await said(open()));
    await Promise.all([one.dispose(), two.dispose()]);
    const tag = await pipeline('ner', ${JSON.stringify(ner)});
    found.push(await said(tag('Ada')));
    console.log(JSON.stringify(found));
  `;
  const found = JSON.parse(execFileSync('node', ['--input-type=module', '-e', program], { timeout: 60_000 }));
  assert.deepEqual(found[0].slice(0, 2), ['option', 'wasm']);
  assert.deepEqual([found[1], found[2], found[7]], ['fine', 'fine', 'fine']);
  for (const [code, , message] of found.slice(3, 7)) {
    assert.equal(code, 'internal');
    assert.match(message, /cannot start again in this thread.*leave out `worker: false`.*unreachable/);
  }
});

test('the list of files is written wherever the script and the folder lie', async (t) => {
  const folder = await copy(t, 'a möbel model');
  const script = join(folder, '../manifest é.mjs');
  await cp(manifest, script);
  const output = execFileSync('node', [script, folder], { encoding: 'utf8' });
  assert.match(output, /mobilebert\.json: \d+ files, \d+ bytes\n$/);
  const { files } = JSON.parse(await readFile(join(folder, 'mobilebert.json'), 'utf8'));
  assert.ok(files['vocab.txt'].size > 0);
  assert.deepEqual(await run(folder), await run(ner));
  await writeFile(join(folder, 'model.safetensors.index.json'), '{}');
  await rm(join(folder, 'model.safetensors'));
  for (const [given, status, message] of [
    [
      [join(folder, 'none')],
      1,
      /^mobilebert-manifest: .*none holds no config\.json; expected a model folder\n$/,
    ],
    [[folder], 1, /^mobilebert-manifest: .*index\.json: expected an object `weight_map` of files.*\n$/],
    [[], 2, /^usage: /],
  ]) {
    const { status: code, stderr } = spawnSync('node', [script, ...given], { encoding: 'utf8' });
    assert.equal(code, status, stderr);
    assert.match(stderr, message);
  }
});

test('the demo answers although nothing can be kept', async () => {
  const script = await readFile(new URL('../demo/sw.js', import.meta.url), 'utf8');
  const refuse = () => Promise.reject(new Error('there is no room'));
  for (const open of [refuse, async () => ({ put: refuse, match: async () => undefined })]) {
    const listeners = {};
    const addEventListener = (name, listener) => (listeners[name] = listener);
    vm.runInNewContext(script, {
      addEventListener,
      caches: { open },
      fetch: async () => new Response('a'),
      URL,
    });
    let answer;
    const request = new Request('http://localhost/demo.js');
    listeners.fetch({ request, respondWith: (given) => (answer = given) });
    assert.equal(await (await answer).text(), 'a');
  }
});

#!/usr/bin/env node
// Writes `mobilebert.json` into model folders: the files that a page loads, with their sizes and SHA-256.
//
//     npx mobilebert-manifest FOLDER...

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const SMALL = ['config.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'];
const SENTENCES = ['modules.json', 'sentence_bert_config.json', '1_Pooling/config.json'];
// The first that is there is the one that is read.
const TOKENIZERS = ['tokenizer.json', 'vocab.txt'];
const WEIGHTS = ['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin'];

/** Returns the size of a file, or nothing if it does not exist. */
async function sizeOf(path) {
  return stat(path).then(
    (found) => found.size,
    (error) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    },
  );
}

/** Returns the names of the files over which weights are spread. */
async function shards(path) {
  const expected = `${path}: expected an object \`weight_map\` of files by the names of weights`;
  let map;
  try {
    map = JSON.parse(await readFile(path, 'utf8')).weight_map;
  } catch (error) {
    throw new Error(`${expected}: ${error.message}`);
  }
  const names = Object.values(typeof map === 'object' && map !== null ? map : {});
  if (names.length === 0 || !names.every((name) => typeof name === 'string')) throw new Error(expected);
  return [...new Set(names)];
}

async function listed(folder, name) {
  const [path, hash] = [join(folder, name), createHash('sha256')];
  for await (const piece of createReadStream(path)) hash.update(piece);
  return { size: await sizeOf(path), sha256: hash.digest('hex') };
}

async function writeManifest(folder) {
  const exists = async (name) => (await sizeOf(join(folder, name))) !== undefined;
  const names = [];
  for (const name of [...SMALL, ...SENTENCES]) if (await exists(name)) names.push(name);
  for (const kind of [TOKENIZERS, WEIGHTS]) {
    for (const name of kind) {
      if (!(await exists(name))) continue;
      names.push(name);
      if (name.endsWith('.index.json')) names.push(...(await shards(join(folder, name))));
      break;
    }
  }
  if (!names.includes('config.json'))
    throw new Error(`${folder} holds no config.json; expected a model folder`);
  const files = {};
  for (const name of names) files[name] = await listed(folder, name);
  await writeFile(join(folder, 'mobilebert.json'), `${JSON.stringify({ files }, null, 2)}\n`);
  return files;
}

const folders = process.argv.slice(2);
if (folders.length === 0) {
  console.error('usage: mobilebert-manifest FOLDER...');
  process.exit(2);
}
try {
  for (const folder of folders) {
    const files = Object.values(await writeManifest(folder));
    const bytes = files.reduce((sum, { size }) => sum + size, 0);
    console.log(`${join(folder, 'mobilebert.json')}: ${files.length} files, ${bytes} bytes`);
  }
} catch (error) {
  console.error(`mobilebert-manifest: ${error.message}`);
  process.exit(1);
}

import { type Cached, openCache } from './cache.js';
import { MobileBertError, reasonOf } from './errors.js';
import type { Files } from './module/mobilebert.js';
import type { OpenRequest } from './protocol.js';
import type { FileContent, ProgressEvent } from './types.js';

/** The bytes of a file in pieces. */
export type Pieces = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** What a browser and Node do differently. */
export interface Platform {
  /** Finds the module of this name, unless the caller gave one. */
  module(
    given: OpenRequest['wasm'],
    name: string,
  ): Promise<WebAssembly.Module | Response | Uint8Array | ArrayBuffer>;
  /** Reads a file of the local disk, or returns nothing if it does not exist. */
  readLocal(url: URL): Promise<{ size: number; pieces: Pieces } | undefined>;
}

/** The file that lists a folder's files with their sizes and hashes. */
export const MANIFEST = 'mobilebert.json';

/** A line of the manifest. */
export interface Listed {
  size?: number;
  sha256?: string;
}

/** The files of a folder without a manifest. Of the first kind one is needed, the others may be missing. */
const WEIGHTS = ['model.safetensors', 'pytorch_model.bin'];
const SMALL = ['config.json', 'tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'];
const TOKENIZERS = ['tokenizer.json', 'vocab.txt'];
const SENTENCES = ['modules.json', 'sentence_bert_config.json', '1_Pooling/config.json'];

/** Loads the files of a model into the module. */
export class Loader {
  #platform: Platform;
  #request: OpenRequest;
  #files: Files;
  #tell: (event: ProgressEvent) => void;
  #cache: Cached | undefined;
  #bytes = 0;
  /** True once a file came from the cache because there was no network. */
  #isOffline = false;
  /** Why it is not known which files the folder lists. Then nothing is loaded that could not be checked. */
  #unlisted: string | undefined;
  #loaded = new Set<string>();

  constructor(platform: Platform, request: OpenRequest, files: Files, tell: (event: ProgressEvent) => void) {
    this.#platform = platform;
    this.#request = request;
    this.#files = files;
    this.#tell = tell;
  }

  /** Returns the number of bytes of all files. */
  async load(): Promise<number> {
    await this.#all();
    // A name that is mistyped, or a server that offers other files, must not leave the model unchecked.
    for (const name of Object.keys(this.#request.hashes)) {
      if (this.#loaded.has(name)) continue;
      const message =
        `${name}: \`hashes\` names it, and it is not among the files of the model, which are ` +
        `${[...this.#loaded].join(', ')}; correct the name, or leave it out`;
      throw new MobileBertError({ code: 'verification', message, place: name });
    }
    return this.#bytes;
  }

  async #all(): Promise<void> {
    const { source } = this.#request;
    if ('files' in source) {
      for (const [name, content] of Object.entries(source.files)) {
        const { size, pieces } = contentOf(content);
        await this.#take(name, { size, ...this.#pinned(name) }, pieces, 'memory', false);
      }
      return;
    }
    const folder = new URL(source.url);
    if (folder.protocol === 'file:') {
      await this.#each((name) => this.#local(folder, name));
      return;
    }
    this.#cache = await openCache(this.#request.cache);
    const list = await this.#manifest(folder);
    if (list === undefined) {
      await this.#each((name) => this.#remote(folder, name, this.#pinned(name), true));
      return;
    }
    for (const [name, listed] of Object.entries(list.files)) {
      const found = await this.#remote(folder, name, { ...listed, ...this.#pinned(name) });
      if (!found) throw this.#io(name, `it is listed in ${MANIFEST} and is not there`);
    }
    // The list is kept once its files are there, so that a visit without a network finds both.
    await this.#cache?.keepText(fileIn(folder, MANIFEST).href, list.text);
    await this.#cache?.forgetUnlisted(list.replaced);
  }

  /** Looks for the files that a folder may hold. */
  async #each(take: (name: string) => Promise<boolean>): Promise<void> {
    const sentences = this.#request.task === 'feature-extraction' ? SENTENCES : [];
    for (const name of [...SMALL, ...sentences]) await take(name);
    // The first of each wins, as in `transformers`.
    for (const names of [TOKENIZERS, WEIGHTS]) {
      let found = false;
      for (const name of names) found ||= await take(name);
      if (!found && this.#isOffline)
        throw this.#io(names.join(' or '), 'the network fails, and it is not in the cache');
    }
  }

  #pinned(name: string): Listed {
    const { hashes } = this.#request;
    return Object.hasOwn(hashes, name) ? { sha256: hashes[name] } : {};
  }

  /**
   * Reads the list of files, from the network if there is one, since it says which versions are current.
   * `replaced` are the hashes in the list of an earlier visit.
   *
   * A folder has no list only if the server says so. If the server fails or something else answers in its
   * place, the list of an earlier visit counts. Without one, the files must come from the cache too.
   */
  async #manifest(
    folder: URL,
  ): Promise<{ files: Record<string, Listed>; text: string; replaced: string[] } | undefined> {
    const url = fileIn(folder, MANIFEST);
    const old = await this.#cache?.text(url.href);
    const asked = await this.#ask(url, old !== undefined);
    if (asked === 'absent') return undefined;
    const text = 'text' in asked ? asked.text : old;
    if (text === undefined) {
      this.#unlisted = 'problem' in asked ? asked.problem : undefined;
      return undefined;
    }
    const files = parseManifest(text);
    if (files === undefined) {
      throw new MobileBertError({
        code: 'json',
        message:
          `${url.href} is not a list of files; ` +
          'expected {"files": {"config.json": {"size": 1, "sha256": "..."}}}',
        place: MANIFEST,
      });
    }
    return { files, text, replaced: old === undefined || old === text ? [] : hashesOf(old) };
  }

  /** Asks the server for the list of files. */
  async #ask(url: URL, isKept: boolean): Promise<{ text: string } | { problem: string } | 'absent'> {
    try {
      const response = await fetch(url, { cache: 'no-cache' });
      if (exists(response)) return { text: await response.text() };
      await response.body?.cancel();
      const { status } = response;
      // Stores of objects answer 403 for what they do not have, and servers of single-page applications
      // answer with a page. The sign-in page of a network does too, so neither outweighs a list that is kept.
      const isUnclear = status === 403 || response.ok;
      if (status === 404 || status === 410 || (isUnclear && !isKept)) return 'absent';
      return { problem: `the list of files ${url.href} cannot be loaded: status ${status}` };
    } catch (cause) {
      return { problem: `the list of files ${url.href} cannot be loaded: ${reasonOf(cause)}` };
    }
  }

  async #local(folder: URL, name: string): Promise<boolean> {
    const url = fileIn(folder, name);
    let found: Awaited<ReturnType<Platform['readLocal']>>;
    try {
      found = await this.#platform.readLocal(url);
    } catch (cause) {
      throw this.#io(name, `${url.href} cannot be read: ${reasonOf(cause)}`, cause);
    }
    if (found === undefined) return false;
    await this.#take(name, { size: found.size, ...this.#pinned(name) }, found.pieces, url.href, false);
    return true;
  }

  /**
   * Reads a file from the cache or the network, and returns false if there is none. A file of a known hash
   * that is kept needs no network. `mayBeMissing` says that nobody knows whether the file exists.
   */
  async #remote(folder: URL, name: string, listed: Listed, mayBeMissing = false): Promise<boolean> {
    const url = fileIn(folder, name).href;
    const key = this.#cache?.key(url, listed.sha256);
    this.#tell({ status: 'initiate', name: this.#request.name, file: name });
    if (key !== undefined && listed.sha256 !== undefined && (await this.#kept(key, name, listed)))
      return true;
    const instead = async (error: MobileBertError, isThere = false): Promise<boolean> => {
      if (key !== undefined && (await this.#kept(key, name, listed))) return (this.#isOffline = true);
      // It was not there either when the others were kept.
      if (mayBeMissing && this.#isOffline && !isThere) return false;
      throw error;
    };
    if (this.#unlisted !== undefined) return instead(this.#io(name, this.#unlisted));
    let response: Response;
    try {
      // What the cache keeps need not be kept a second time by the browser.
      response = await fetch(url, { cache: key === undefined ? 'default' : 'no-store' });
    } catch (cause) {
      return instead(this.#io(name, `it cannot be loaded from ${url}: ${reasonOf(cause)}`, cause));
    }
    const answered = this.#io(name, `${url} answers with status ${response.status}`);
    if (response.status >= 500) return instead(answered);
    if (!exists(response)) {
      await response.body?.cancel().catch(() => undefined);
      // Stores of objects answer 403 for what they do not have.
      const isRefused = response.status === 403 && !(mayBeMissing && name !== 'config.json');
      if (response.status < 400 || ([403, 404, 410].includes(response.status) && !isRefused)) return false;
      throw answered;
    }
    this.#tell({ status: 'download', name: this.#request.name, file: name });
    const sized = { size: sizeOf(response), ...listed };
    if (this.#cache === undefined || key === undefined || response.body === null) {
      await this.#take(name, sized, piecesOf(response), url, false);
      return true;
    }
    const [own, other] = response.body.tee();
    const kept = this.#cache.keep(
      key,
      new Response(other, { headers: { 'Content-Type': 'application/octet-stream' } }),
    );
    try {
      await this.#take(name, sized, streamed(own), url, false);
    } catch (thrown) {
      await kept;
      if (!(thrown instanceof MobileBertError)) throw thrown;
      // A connection that was cut is a network that fails. It keeps nothing, and what was kept stays.
      if (thrown.code === 'io') return instead(thrown, true);
      if (thrown.code === 'verification') await this.#cache.forget(key);
      throw thrown;
    }
    const problem = await kept;
    if (problem !== undefined) {
      this.#tell({ status: 'not_cached', name: this.#request.name, file: name, reason: problem });
    }
    return true;
  }

  /**
   * Reads a file from the cache. One that is damaged there is dropped and counts as absent, and so does one
   * that cannot be read.
   */
  async #kept(key: string, name: string, listed: Listed): Promise<boolean> {
    const kept = await this.#cache?.match(key);
    if (kept === undefined) return false;
    try {
      await this.#take(name, listed, piecesOf(kept), 'the cache', true);
      return true;
    } catch (thrown) {
      if (!(thrown instanceof MobileBertError) || !['verification', 'io'].includes(thrown.code)) throw thrown;
      if (thrown.code === 'verification') await this.#cache?.forget(key);
      return false;
    }
  }

  /**
   * Takes a file into the module, piece by piece, and checks its hash. If the pieces end before the file
   * does, that is an error `io`; `from` says in it where they come from.
   */
  async #take(name: string, listed: Listed, pieces: Pieces, from: string, cached: boolean): Promise<void> {
    const event = { name: this.#request.name, file: name };
    const { size } = listed;
    let loaded = 0;
    const failed = (cause: unknown): MobileBertError =>
      this.#io(name, `${from} cannot be read beyond ${loaded} bytes: ${reasonOf(cause)}`, cause);
    this.#files.begin(name, size ?? 0, listed.sha256 !== undefined);
    for await (const piece of guarded(pieces, failed)) {
      this.#files.push(piece);
      loaded += piece.length;
      // A size that turns out wrong is no size.
      const known = size !== undefined && size > 0 && loaded <= size;
      const share = known ? { total: size, progress: (100 * loaded) / size } : {};
      this.#tell({ status: 'progress', ...event, loaded, ...share });
    }
    const hash = this.#files.end();
    if (listed.sha256 !== undefined && hash !== listed.sha256.toLowerCase()) {
      const message =
        `${name}: its ${loaded} bytes have the SHA-256 ${hash}; expected ${listed.sha256}: ` +
        'the file is damaged, or ' +
        `${MANIFEST} or the given hash is of another version of the model`;
      throw new MobileBertError({ code: 'verification', message, place: name });
    }
    this.#bytes += loaded;
    this.#loaded.add(name);
    this.#tell({ status: 'done', ...event, cached });
  }

  #io(name: string, problem: string, cause?: unknown): MobileBertError {
    return new MobileBertError({ code: 'io', message: `${name}: ${problem}`, place: name }, { cause });
  }
}

/** Returns the address of a file in a folder. It has the folder's query, such as a version or a signature. */
function fileIn(folder: URL, name: string): URL {
  const url = new URL(name, folder);
  url.search = folder.search;
  return url;
}

/** Reads the text of a manifest. Names that leave the folder are refused. */
export function parseManifest(text: string): Record<string, Listed> | undefined {
  let files: unknown;
  try {
    files = (JSON.parse(text) as { files?: unknown }).files;
  } catch {
    return undefined;
  }
  if (typeof files !== 'object' || files === null || Array.isArray(files)) return undefined;
  const isListed = ([name, listed]: [string, unknown]): boolean => {
    if (typeof listed !== 'object' || listed === null || !/^[\w.-]+(\/[\w.-]+)*$/.test(name)) return false;
    const { size, sha256 } = listed as { size?: unknown; sha256?: unknown };
    const isSize =
      size === undefined || (typeof size === 'number' && Number.isSafeInteger(size) && size >= 0);
    const isHash = sha256 === undefined || (typeof sha256 === 'string' && /^[0-9a-f]{64}$/i.test(sha256));
    return isSize && isHash && !name.split('/').includes('..');
  };
  return Object.entries(files).every(isListed) ? (files as Record<string, Listed>) : undefined;
}

/** Returns the hashes in a list of files, in lower case. */
export function hashesOf(text: string): string[] {
  return Object.values(parseManifest(text) ?? {}).flatMap(({ sha256 }) => sha256?.toLowerCase() ?? []);
}

/** True if a response is the file. Servers of single-page applications answer with a page for any address. */
function exists(response: Response): boolean {
  return response.ok && !(response.headers.get('Content-Type') ?? '').startsWith('text/html');
}

/**
 * Returns the size of a response's body, unless the header may be that of a compressed one. A server of
 * another origin does not show whether it compressed.
 */
function sizeOf(response: Response): number | undefined {
  const size = Number(response.headers.get('Content-Length') ?? NaN);
  const isPlain = response.type !== 'cors' && !response.headers.has('Content-Encoding');
  return isPlain && Number.isSafeInteger(size) ? size : undefined;
}

function piecesOf(response: Response): Pieces {
  return response.body === null ? [] : streamed(response.body);
}

/** Returns the pieces, and throws what `failed` makes if they fail. Faults of who reads them are not meant. */
async function* guarded(
  pieces: Pieces,
  failed: (cause: unknown) => MobileBertError,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of pieces) yield piece;
  } catch (cause) {
    throw failed(cause);
  }
}

async function* streamed(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  let isWhole = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    isWhole = true;
  } finally {
    if (!isWhole) await reader.cancel().catch(() => undefined);
  }
}

/** Large arrays are copied into the module in pieces, so that no second whole copy is made on the way. */
const PIECE = 1 << 20;

function contentOf(content: FileContent): { size: number; pieces: Pieces } {
  if (content instanceof Blob) return { size: content.size, pieces: streamed(content.stream()) };
  const bytes =
    typeof content === 'string'
      ? new TextEncoder().encode(content)
      : content instanceof ArrayBuffer
        ? new Uint8Array(content)
        : content;
  const pieces = function* (): Generator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += PIECE) yield bytes.subarray(at, at + PIECE);
  };
  return { size: bytes.length, pieces: pieces() };
}

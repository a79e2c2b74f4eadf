import { Engine } from './client.js';
import { kindOf, optionsOf, reasonOf, unknownOption, wrongInput, wrongOption } from './errors.js';
import { CALLS, type PipelineBase, type Pipelines } from './pipelines.js';
import type { OpenRequest, SentSource } from './protocol.js';
import type { Runner } from './remote.js';
import type { ModelInfo, PipelineOptions, ProgressEvent, Source, TaskAlias, TaskName } from './types.js';

const ALIASES: Record<TaskAlias, TaskName> = {
  'sentiment-analysis': 'text-classification',
  ner: 'token-classification',
  embeddings: 'feature-extraction',
};

/** The names of the precisions that transformers.js uses, and those of the engine. */
const PRECISIONS: Record<string, string | undefined> = {
  auto: undefined,
  int8: 'int8',
  q8: 'int8',
  bf16: 'bf16',
  f32: 'f32',
  fp32: 'f32',
};

const OPTIONS = [
  'progress_callback',
  'dtype',
  'device',
  'special_tokens_in_text',
  'cache',
  'cache_name',
  'hashes',
  'wasm',
  'workers',
] as const satisfies readonly (keyof PipelineOptions)[];

/** What a browser and Node do differently when a pipeline is opened. */
export interface Host {
  /** Options that exist here only. */
  options: readonly string[];
  /** Makes a string or a URL the absolute URL of a folder or file. */
  resolve(given: string | URL): URL;
  /** Makes what runs a model. */
  runner(opening: OpenRequest, options: PipelineOptions): Runner;
}

/** Opens a pipeline; see the `pipeline` of the package. */
export async function open<T extends keyof Pipelines>(
  host: Host,
  task: T,
  source: Source,
  given: PipelineOptions | null | undefined,
): Promise<Pipelines[T]> {
  const options: PipelineOptions = optionsOf(given);
  const opening = request(host, task, source, options);
  const count = options.workers ?? 1;
  if (!Number.isInteger(count) || count < 1) throw wrongOption('workers', 'a whole number, 1 or more', count);
  const tell = teller(options.progress_callback);
  const runners: Runner[] = [];
  try {
    const first = host.runner(opening, options);
    runners.push(first);
    const model = await first.open(tell);
    // The others find the files in the cache, and would tell the same a second time.
    for (let i = 1; i < count; i++) runners.push(host.runner(opening, options));
    await Promise.all(runners.slice(1).map((runner) => runner.open(() => undefined)));
    tell({ status: 'ready', task: opening.task, model: opening.name });
    return finished(opening.task, runners, model) as Pipelines[T];
  } catch (thrown) {
    for (const runner of runners) runner.dispose();
    throw thrown;
  }
}

/**
 * Makes what tells the caller how far loading is. A fault of the caller's function is none of loading: what
 * it throws, or what a promise that it returns is rejected with, is dropped.
 */
function teller(callback: PipelineOptions['progress_callback']): (event: ProgressEvent) => void {
  if (callback === undefined || callback === null) return () => undefined;
  if (typeof callback !== 'function') throw wrongOption('progress_callback', 'a function', callback);
  return (event) => {
    try {
      const returned: unknown = callback(event);
      if (returned instanceof Promise) returned.catch(() => undefined);
    } catch {
      // See above.
    }
  };
}

function finished(task: TaskName, runners: readonly Runner[], model: ModelInfo): PipelineBase {
  const engine = new Engine(runners, model);
  const dispose = async (): Promise<void> => {
    for (const runner of runners) runner.dispose();
  };
  const call = CALLS[task](engine);
  return Object.assign(call, { task, engine, dispose }) as unknown as PipelineBase;
}

function request(host: Host, name: string, source: Source, options: PipelineOptions): OpenRequest {
  const known = [...OPTIONS, ...host.options];
  for (const option of Object.keys(options)) {
    if (!known.includes(option)) throw unknownOption(option, known);
  }
  const task = Object.hasOwn(ALIASES, name) ? ALIASES[name as TaskAlias] : name;
  if (!Object.hasOwn(CALLS, task)) {
    throw wrongOption('task', `one of ${[...Object.keys(CALLS), ...Object.keys(ALIASES)].join(', ')}`, name);
  }
  const dtype = options.dtype ?? 'auto';
  if (!Object.hasOwn(PRECISIONS, dtype))
    throw wrongOption('dtype', `one of ${Object.keys(PRECISIONS).join(', ')}`, dtype);
  const { device } = options;
  if (device !== undefined && device !== null && device !== 'wasm' && device !== 'cpu') {
    throw wrongOption('device', '`wasm`, the only one there is', device);
  }
  const sent = sentSource(host, source);
  const { wasm } = options;
  return {
    kind: 'open',
    task: task as TaskName,
    source: sent,
    name: 'url' in sent ? sent.url : 'model in memory',
    precision: PRECISIONS[dtype],
    specialTokensInText: options.special_tokens_in_text,
    cache: options.cache === false ? null : (options.cache_name ?? 'mobilebert'),
    hashes: hashes(options.hashes),
    wasm:
      typeof wasm === 'string' || wasm instanceof URL
        ? resolved(host, wasm, (problem) => wrongOption('wasm', `a URL (${problem})`, String(wasm))).href
        : wasm,
  };
}

/** Checks the hashes of files. One that cannot be a hash would never fit, or never be compared. */
function hashes(given: unknown): Record<string, string> {
  if (given === undefined || given === null) return {};
  if (typeof given !== 'object' || Array.isArray(given))
    throw wrongOption('hashes', 'an object of SHA-256 by name', given);
  for (const [name, hash] of Object.entries(given)) {
    if (typeof hash !== 'string' || !/^[0-9a-f]{64}$/i.test(hash))
      throw wrongOption(`hashes: ${name}`, 'a SHA-256 of 64 hexadecimal digits', hash);
  }
  return { ...given };
}

function resolved(host: Host, given: string | URL, failed: (problem: string) => Error): URL {
  try {
    return host.resolve(given);
  } catch (thrown) {
    throw failed(reasonOf(thrown));
  }
}

function sentSource(host: Host, source: Source): SentSource {
  if (typeof source === 'string' || source instanceof URL) {
    const folder = resolved(host, source, (problem) =>
      wrongInput('source', `${JSON.stringify(String(source))} cannot be read as a URL: ${problem}`),
    );
    // A query, such as that of a signed address, belongs to the files too; see `fileIn`.
    if (!folder.pathname.endsWith('/')) folder.pathname += '/';
    folder.hash = '';
    return { url: folder.href };
  }
  const isFiles = typeof source === 'object' && source !== null && !Array.isArray(source);
  if (!isFiles)
    throw wrongInput('source', `it is ${kindOf(source)}; expected a URL, or an object of files by name`);
  for (const [name, content] of Object.entries(source)) {
    const isContent =
      typeof content === 'string' ||
      content instanceof Uint8Array ||
      content instanceof ArrayBuffer ||
      content instanceof Blob;
    if (!isContent) {
      throw wrongInput(
        `source: ${name}`,
        `it is ${kindOf(content)}; expected a Uint8Array, ArrayBuffer, Blob or string`,
      );
    }
  }
  return { files: { ...source } };
}

import { Engine } from './client.js';
import { kindOf, unknownOption, wrongInput, wrongOption } from './errors.js';
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
  options: PipelineOptions,
): Promise<Pipelines[T]> {
  const opening = request(host, task, source, options);
  const count = options.workers ?? 1;
  if (!Number.isInteger(count) || count < 1) throw wrongOption('workers', 'a whole number, 1 or more', count);
  const tell = (event: ProgressEvent): void => options.progress_callback?.(event);
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
  const task = name in ALIASES ? ALIASES[name as TaskAlias] : name;
  if (!(task in CALLS)) {
    throw wrongOption('task', `one of ${[...Object.keys(CALLS), ...Object.keys(ALIASES)].join(', ')}`, name);
  }
  const dtype = options.dtype ?? 'auto';
  if (!(dtype in PRECISIONS))
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
    hashes: { ...options.hashes },
    wasm: typeof wasm === 'string' || wasm instanceof URL ? host.resolve(wasm).href : wasm,
  };
}

function sentSource(host: Host, source: Source): SentSource {
  if (typeof source === 'string' || source instanceof URL) {
    const { href } = host.resolve(source);
    return { url: href.endsWith('/') ? href : `${href}/` };
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

import { MobileBertError, reasonOf, recordOf } from './errors.js';
import { Loader, type Platform } from './load.js';
import init, * as module from './module/mobilebert.js';
import {
  moment,
  type OpenRequest,
  type Reply,
  type Request,
  type RunRequest,
  type Texts,
  type VectorsReply,
  type VectorsRequest,
  type WithinRequest,
} from './protocol.js';
import type { ModelInfo, ProgressEvent } from './types.js';

/**
 * A module with 128-bit instructions, to ask whether they are there: one function, of which the body is
 * `i32.const 0`, `i8x16.splat`, `i8x16.popcnt`, `drop`.
 */
const SIMD_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 11, 1, 9, 0, 65, 0, 253, 15, 253, 98, 26,
  11,
]);

/** The same for relaxed SIMD. The instruction is `i32x4.relaxed_dot_i8x16_i7x16_add_s`, of three vectors. */
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 10, 20, 1, 18, 0, 65, 0, 253, 15, 65, 0, 253,
  15, 65, 0, 253, 15, 253, 147, 2, 26, 11,
]);

/** Returns the name of the fastest module that runs here. */
export function moduleName(): 'relaxed.wasm' | 'simd.wasm' | 'plain.wasm' {
  if (WebAssembly.validate(RELAXED_PROBE)) return 'relaxed.wasm';
  return WebAssembly.validate(SIMD_PROBE) ? 'simd.wasm' : 'plain.wasm';
}

/** True if a text holds half of a surrogate pair, which strings lose on their way into the module. */
function hasLoneSurrogate(text: string): boolean {
  return /\p{Surrogate}/u.test(text);
}

/** The instance of the module. There is one in a thread, which all engines of the thread share. */
let instance: { wasm: OpenRequest['wasm']; ready: Promise<void> } | undefined;

/** The reason why the instance has trapped, after which nothing in it can be trusted. */
let trapped: string | undefined;

/** The engine in this thread, with one open model. */
export class Engine {
  #platform: Platform;
  #pipeline: module.Pipeline | undefined;
  #isReplaced: boolean;

  /** @param isReplaced true if the thread is a worker that is replaced by another one after a trap. */
  constructor(platform: Platform, isReplaced = true) {
    this.#platform = platform;
    this.#isReplaced = isReplaced;
  }

  /** True if the instance has trapped. */
  get broken(): boolean {
    return trapped !== undefined;
  }

  /**
   * Does what a request says.
   *
   * @throws a {@link MobileBertError}
   */
  async handle(request: Request, tell: (event: ProgressEvent) => void): Promise<Reply> {
    try {
      if (trapped !== undefined) throw this.#failed(trapped);
      switch (request.kind) {
        case 'open':
          return await this.#open(request, tell);
        case 'run':
          return this.#run(request);
        case 'vectors':
          return this.#vectors(request);
        case 'within':
          return this.#within(request);
      }
    } catch (thrown) {
      if (!(thrown instanceof WebAssembly.RuntimeError))
        throw new MobileBertError(recordOf(thrown), { cause: thrown });
      trapped = panicMessage() ?? thrown.message;
      throw this.#failed(trapped, thrown);
    }
  }

  #failed(reason: string, cause?: unknown): MobileBertError {
    const next = this.#isReplaced
      ? 'starts again at the next call'
      : 'cannot start again in this thread, nor can its other pipelines; start the program anew, or leave ' +
        'out `worker: false`, so that a worker that fails is replaced';
    return new MobileBertError(
      { code: 'internal', message: `the engine has failed and ${next}: ${reason}` },
      { cause },
    );
  }

  async #open(request: OpenRequest, tell: (event: ProgressEvent) => void): Promise<ModelInfo> {
    await start(this.#platform, request.wasm);
    const files = new module.Files(request.name);
    let bytes: number;
    try {
      bytes = await new Loader(this.#platform, request, files, tell).load();
    } catch (thrown) {
      try {
        files.free();
      } catch {
        // After a trap the files cannot be freed, and the trap is what has to be told.
      }
      throw thrown;
    }
    // This takes the files, also if it fails.
    this.#pipeline = module.open(request.task, files, request.precision, request.specialTokensInText);
    return { ...(JSON.parse(this.#pipeline.about()) as Omit<ModelInfo, 'bytes'>), bytes };
  }

  /** Frees the model. */
  close(): void {
    if (!this.broken) this.#pipeline?.free();
    this.#pipeline = undefined;
  }

  #opened(): module.Pipeline {
    if (this.#pipeline === undefined)
      throw new MobileBertError({ code: 'internal', message: 'no model is open' });
    return this.#pipeline;
  }

  #run({ texts, second, shared, unit, isList, first, options }: RunRequest): unknown[] {
    check(texts, isList ? unit : undefined, first);
    if (second !== undefined) check(second, isList && !shared ? unit : undefined, first);
    const given = JSON.stringify(options);
    return JSON.parse(
      this.#opened().run(texts.texts, second?.texts, shared, isList, first, given),
    ) as unknown[];
  }

  #within({ texts, context, mostWindows, until, options }: WithinRequest): unknown[] {
    check(texts, undefined, 0);
    check(context, undefined, 0);
    const [question, text] = [texts.texts[0] as string, context.texts[0] as string];
    const left = until === undefined ? undefined : until - moment();
    const given = JSON.stringify(options);
    return [JSON.parse(this.#opened().answers_within(question, text, mostWindows, left, given))];
  }

  #vectors({ texts, unit, isList, first, states, options }: VectorsRequest): VectorsReply {
    check(texts, isList ? unit : undefined, first);
    const found = this.#opened().vectors(texts.texts, states, isList, first, JSON.stringify(options));
    const reply = {
      values: found.take_values(),
      columns: found.columns(),
      rows: Array.from(found.rows()),
      truncated: Array.from(found.truncated(), (flag) => flag === 1),
    };
    found.free();
    return reply;
  }
}

/** Makes the instance of the module, unless there is one. */
async function start(platform: Platform, wasm: OpenRequest['wasm']): Promise<void> {
  if (instance !== undefined && instance.wasm !== wasm) {
    const message =
      '`wasm` is another module than that of the first pipeline in this thread, and all of them share one; ' +
      'give the same `wasm`, or leave out `worker: false`';
    throw new MobileBertError({ code: 'option', message, place: 'wasm' });
  }
  const started = (instance ??= { wasm, ready: instantiate(platform, wasm) });
  try {
    await started.ready;
  } catch (thrown) {
    // The next one may try again.
    if (instance === started) instance = undefined;
    throw thrown;
  }
}

async function instantiate(platform: Platform, wasm: OpenRequest['wasm']): Promise<void> {
  try {
    await init({ module_or_path: await platform.module(wasm, moduleName()) });
  } catch (cause) {
    if (cause instanceof WebAssembly.RuntimeError) throw cause;
    const which = typeof wasm === 'string' ? wasm : moduleName();
    const message =
      `the WebAssembly module ${which} cannot be loaded: ${reasonOf(cause)}; expected a module of this ` +
      'version of the package, which the option `wasm` may name';
    throw new MobileBertError({ code: 'io', message, place: 'wasm' }, { cause });
  }
}

/** Refuses texts that are not Unicode. */
function check({ what, texts }: Texts, unit: string | undefined, first: number): void {
  texts.forEach((text, index) => {
    if (!hasLoneSurrogate(text)) return;
    const units = Uint16Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
    const failure = module.lone_surrogate(what, units, unit, first + index);
    if (failure !== undefined) throw failure;
  });
}

function panicMessage(): string | undefined {
  try {
    return module.last_panic();
  } catch {
    // The instance may not even be able to say so.
    return undefined;
  }
}

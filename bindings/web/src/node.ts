import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';

import { Engine } from './engine.js';
import { MobileBertError } from './errors.js';
import { platform } from './node-platform.js';
import { type Host, open } from './open.js';
import type { Pipelines } from './pipelines.js';
import type { CallRequest, FromWorker, OpenRequest, Reply } from './protocol.js';
import { type Port, Remote, type Runner } from './remote.js';
import type { ModelInfo, PipelineOptions, ProgressEvent, Source } from './types.js';

export * from './common.js';

/** How a model is loaded and run in Node. */
export interface NodeOptions extends Omit<PipelineOptions, 'create_worker'> {
  /**
   * False if the model runs in the calling thread, which waits for each call. Default: true, which means a
   * worker of `node:worker_threads`.
   *
   * All pipelines in the calling thread share one instance of the module. They need the same `wasm`, and if
   * the engine fails in one of them, all calls of all of them fail until the program starts anew.
   */
  worker?: boolean;
}

/** A model in this thread. An engine that has failed cannot be started again here. */
class Direct implements Runner {
  #engine: Engine | undefined = new Engine(platform, false);
  #opening: OpenRequest;

  constructor(opening: OpenRequest) {
    this.#opening = opening;
  }

  async open(tell: (event: ProgressEvent) => void): Promise<ModelInfo> {
    return (await this.#use().handle(this.#opening, tell)) as ModelInfo;
  }

  async call(request: CallRequest, stopped?: AbortSignal): Promise<Reply> {
    stopped?.throwIfAborted();
    return this.#use().handle(request, () => undefined);
  }

  dispose(): void {
    this.#engine?.close();
    this.#engine = undefined;
  }

  #use(): Engine {
    if (this.#engine !== undefined) return this.#engine;
    throw new MobileBertError({
      code: 'input',
      message: 'the pipeline was disposed of; open another one',
      place: 'pipeline',
    });
  }
}

const host: Host = {
  options: ['worker'],
  resolve(given) {
    // A path, unless it has the form of a URL. One letter and a colon are a drive of Windows.
    if (given instanceof URL || /^[a-z][a-z0-9+.-]+:/i.test(given)) return new URL(given);
    return pathToFileURL(given);
  },
  runner(opening, options: NodeOptions) {
    if (options.worker === false) return new Direct(opening);
    return new Remote((onMessage, onFailure): Port => {
      // Flags of the program, such as `--input-type`, are about its own script.
      const worker = new Worker(new URL('./node-worker.js', import.meta.url), { execArgv: [] });
      worker.on('message', (message: FromWorker) => onMessage(message));
      worker.on('messageerror', () => onFailure('a message could not be read'));
      worker.on('error', (error) => onFailure(String(error)));
      worker.on('exit', (code) => onFailure(`it ended with code ${code}`));
      return {
        post: (message) => worker.postMessage(message),
        // A program ends although it has not disposed of its pipelines.
        hold: (isBusy) => (isBusy ? worker.ref() : worker.unref()),
        end: () => void worker.terminate(),
      };
    }, opening);
  },
};

/**
 * Loads a model and returns a function that runs it.
 *
 * @example
 * const qa = await pipeline('question-answering', 'models/qa');
 * const { answer, start, end } = await qa('Who built it?', 'It was built by Ada.');
 *
 * @param source the path or URL of a model folder, or its files by name
 * @throws a {@link MobileBertError}
 */
export function pipeline<T extends keyof Pipelines>(
  task: T,
  source: Source,
  options?: NodeOptions | null,
): Promise<Pipelines[T]> {
  return open(host, task, source, options as PipelineOptions | null | undefined);
}

/** Drops nothing: Node has no cache. It is here so that programs run in both. */
export async function clear_cache(_cache_name?: string): Promise<boolean> {
  return false;
}

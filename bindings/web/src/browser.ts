import { type Host, open } from './open.js';
import type { Pipelines } from './pipelines.js';
import type { FromWorker } from './protocol.js';
import { type Port, Remote } from './remote.js';
import type { PipelineOptions, Source } from './types.js';

export * from './common.js';

const host: Host = {
  options: ['create_worker'],
  // Workers have no document, and count from the address of their script.
  resolve: (given) => new URL(given, globalThis.document?.baseURI ?? location.href),
  runner: (opening, { create_worker }) =>
    new Remote((onMessage, onFailure): Port => {
      // Bundlers look for this expression as it stands.
      const worker =
        create_worker?.() ?? new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
      worker.onmessage = ({ data }: MessageEvent<FromWorker>) => onMessage(data);
      worker.onmessageerror = () => onFailure('a message could not be read');
      worker.onerror = (event) => {
        event.preventDefault();
        onFailure(
          event.message ?? 'its script could not be loaded; see the console, and the policy of the page',
        );
      };
      return {
        post: (message) => worker.postMessage(message),
        hold: () => undefined,
        end: () => worker.terminate(),
      };
    }, opening),
};

/**
 * Loads a model in a worker and returns a function that runs it.
 *
 * @example
 * const qa = await pipeline('question-answering', '/models/qa');
 * const { answer, start, end } = await qa('Who built it?', 'It was built by Ada.');
 *
 * @param source the URL of a model folder, or its files by name
 * @throws a {@link MobileBertError}
 */
export function pipeline<T extends keyof Pipelines>(
  task: T,
  source: Source,
  options?: PipelineOptions | null,
): Promise<Pipelines[T]> {
  return open(host, task, source, options);
}

/** Drops all models that are kept in the browser, and returns whether there were any. */
export async function clear_cache(cache_name = 'mobilebert'): Promise<boolean> {
  return typeof caches === 'undefined' ? false : caches.delete(cache_name).catch(() => false);
}

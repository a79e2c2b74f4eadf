import type { Engine } from './engine.js';
import { recordOf } from './errors.js';
import type { FromWorker, Request, ToWorker } from './protocol.js';

/** Makes the function that answers the messages of a worker, one after another. */
export function serve(
  engine: Engine,
  post: (message: FromWorker, transfer: ArrayBuffer[]) => void,
): (message: ToWorker) => void {
  let queue: { id: number; request: Request }[] = [];
  let isBusy = false;
  const answerAll = async (): Promise<void> => {
    isBusy = true;
    for (;;) {
      // Messages that came meanwhile may drop the next request.
      await messages();
      const next = queue.shift();
      if (next === undefined) break;
      const { id, request } = next;
      try {
        const value = await engine.handle(request, (progress) => post({ progress }, []));
        const transfer = 'columns' in value ? [value.values.buffer as ArrayBuffer] : [];
        post({ id, value }, transfer);
      } catch (thrown) {
        post({ id, failure: recordOf(thrown), broken: engine.broken }, []);
      }
    }
    isBusy = false;
  };
  return (message) => {
    if ('dropped' in message) {
      queue = queue.filter(({ id }) => id !== message.id);
      return;
    }
    queue.push(message);
    if (!isBusy) void answerAll();
  };
}

/** Lets the messages in that have arrived. */
function messages(): Promise<void> {
  return new Promise((resolve) => {
    // Node may take a message of the channel below before older ones of the worker's own port. Browsers have
    // no `setImmediate`, and their timers wait for some milliseconds.
    const { setImmediate } = globalThis as { setImmediate?: (then: () => void) => void };
    if (setImmediate !== undefined) {
      setImmediate(resolve);
      return;
    }
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

import type { Engine } from './engine.js';
import { recordOf } from './errors.js';
import type { FromWorker, ToWorker } from './protocol.js';

/** Makes the function that answers the messages of a worker, one after another. */
export function serve(
  engine: Engine,
  post: (message: FromWorker, transfer: ArrayBuffer[]) => void,
): (message: ToWorker) => void {
  let last: Promise<void> = Promise.resolve();
  return ({ id, request }) => {
    last = last.then(async () => {
      try {
        const value = await engine.handle(request, (progress) => post({ progress }, []));
        const transfer = 'columns' in value ? [value.values.buffer as ArrayBuffer] : [];
        post({ id, value }, transfer);
      } catch (thrown) {
        post({ id, failure: recordOf(thrown), broken: engine.broken }, []);
      }
    });
  };
}

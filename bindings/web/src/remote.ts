import { type FailureRecord, MobileBertError } from './errors.js';
import type { CallRequest, FromWorker, OpenRequest, Reply, Request, ToWorker } from './protocol.js';
import type { ModelInfo, ProgressEvent } from './types.js';

/** A worker, as a browser's and Node's have it in common. */
export interface Port {
  post(message: ToWorker): void;
  /** Says whether the process should wait for the worker; without effect in browsers. */
  hold(isBusy: boolean): void;
  end(): void;
}

/** Makes a worker. */
export type Spawn = (onMessage: (message: FromWorker) => void, onFailure: (message: string) => void) => Port;

/** One open model, wherever it runs. */
export interface Runner {
  open(tell: (event: ProgressEvent) => void): Promise<ModelInfo>;
  /** Does what a request says, unless `stopped` says before that nobody waits for it. */
  call(request: CallRequest, stopped?: AbortSignal): Promise<Reply>;
  dispose(): void;
}

interface Waiting {
  resolve(value: Reply): void;
  reject(error: MobileBertError): void;
  tell: ((event: ProgressEvent) => void) | undefined;
}

/**
 * A model in a worker. Memory of WebAssembly never shrinks, so the worker ends with the model. If the engine
 * fails there, the next call starts another worker, which loads the model again.
 */
export class Remote implements Runner {
  #spawn: Spawn;
  #opening: OpenRequest;
  #port: Port | undefined;
  #opened: Promise<Reply> | undefined;
  #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #isDisposed = false;

  constructor(spawn: Spawn, opening: OpenRequest) {
    this.#spawn = spawn;
    this.#opening = opening;
  }

  open(tell?: (event: ProgressEvent) => void): Promise<ModelInfo> {
    if (this.#opened === undefined) {
      const opened = this.#send(this.#opening, tell).catch((error: unknown) => {
        // A worker without a model is of no use.
        if (this.#opened === opened) this.#end('the model was not opened');
        throw error;
      });
      this.#opened = opened;
    }
    return this.#opened as Promise<ModelInfo>;
  }

  async call(request: CallRequest, stopped?: AbortSignal): Promise<Reply> {
    if (this.#isDisposed) throw disposed();
    await this.open();
    if (this.#isDisposed) throw disposed();
    stopped?.throwIfAborted();
    return this.#send(request, undefined, stopped);
  }

  dispose(): void {
    this.#isDisposed = true;
    this.#end('the pipeline was disposed of while it worked', 'cancelled');
  }

  #send(request: Request, tell: Waiting['tell'], stopped?: AbortSignal): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let port: Port;
      try {
        port = this.#port ??= this.#start();
      } catch (thrown) {
        reject(new MobileBertError({ code: 'internal', message: `no worker can be started: ${thrown}` }));
        return;
      }
      const id = ++this.#lastId;
      this.#waiting.set(id, { resolve, reject, tell });
      port.hold(true);
      try {
        port.post({ id, request });
      } catch (thrown) {
        // What cannot be sent to a worker, such as a function among the files.
        this.#settle(id, { code: 'input', message: String(thrown) });
      }
      const drop = (): void => {
        if (!this.#waiting.has(id)) return;
        port.post({ id, dropped: true });
        this.#settle(id, { code: 'cancelled', message: 'nobody waits for the call' });
      };
      stopped?.addEventListener('abort', drop, { once: true });
    });
  }

  #start(): Port {
    // A worker that has ended may still be heard, and must not end the next one.
    let port: Port | undefined;
    const isCurrent = (): boolean => port !== undefined && this.#port === port;
    port = this.#spawn(
      (message) => {
        if (isCurrent()) this.#receive(message);
      },
      (problem) => {
        if (isCurrent()) this.#end(`the worker has failed: ${problem}`);
      },
    );
    return port;
  }

  #receive(message: FromWorker): void {
    if ('progress' in message) {
      for (const { tell } of this.#waiting.values()) tell?.(message.progress);
    } else if ('value' in message) {
      this.#settle(message.id, message.value);
    } else {
      this.#settle(message.id, message.failure);
      if (message.broken) this.#end('the engine failed in an earlier call');
    }
  }

  #settle(id: number, outcome: Reply | FailureRecord): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    this.#port?.hold(this.#waiting.size > 0);
    if (isFailure(outcome)) waiting?.reject(new MobileBertError(outcome));
    else waiting?.resolve(outcome);
  }

  /** Ends the worker. Calls that wait for it fail. */
  #end(message: string, code = 'internal'): void {
    const waiting = [...this.#waiting.values()];
    this.#port?.end();
    this.#port = undefined;
    this.#opened = undefined;
    this.#waiting.clear();
    for (const { reject } of waiting) reject(new MobileBertError({ code, message }));
  }
}

function isFailure(outcome: Reply | FailureRecord): outcome is FailureRecord {
  return 'code' in outcome;
}

function disposed(): MobileBertError {
  const message = 'the pipeline was disposed of; open another one';
  return new MobileBertError({ code: 'input', message, place: 'pipeline' });
}

import { MobileBertError, wrongOption } from './errors.js';
import type { CallOptions } from './types.js';

/** The longest delay of a timer, 24 days. */
const LONGEST = 2 ** 31 - 1;

/** The calls that a signal ends. Each signal has one listener, because Node warns of more than ten. */
const ended = new WeakMap<AbortSignal, Set<() => void>>();

/** Separates what ends a call early from the options that the engine knows. */
export function limitsOf(options: Record<string, unknown>): [CallOptions, Record<string, unknown>] {
  const { signal, timeout, ...rest } = options;
  const limits: CallOptions = {};
  if (signal !== undefined && signal !== null) {
    if (!(signal instanceof AbortSignal)) throw wrongOption('signal', 'an AbortSignal', signal);
    limits.signal = signal;
  }
  if (timeout !== undefined && timeout !== null) {
    if (typeof timeout !== 'number' || !(timeout >= 0))
      throw wrongOption('timeout', 'a number of milliseconds, 0 or more', timeout);
    limits.timeout = timeout;
  }
  return [limits, rest];
}

/**
 * Runs a call, and does not wait for it any longer once its signal or its time says so. `call` gets a signal
 * that says the same.
 */
export function within<T>(
  { signal, timeout }: CallOptions,
  call: (stopped?: AbortSignal) => Promise<T>,
): Promise<T> {
  if (!signal && typeof timeout !== 'number') return call();
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    const end = (code: string, message: string, cause?: unknown): void => {
      const error = new MobileBertError({ code, message }, { cause });
      stop.abort(error);
      reject(error);
    };
    const onAbort = (): void => end('cancelled', 'the call was cancelled by its signal', signal?.reason);
    if (signal?.aborted === true) {
      onAbort();
      return;
    }
    const others = signal ? callsOf(signal) : undefined;
    others?.add(onAbort);
    const late = (): void => end('deadline_exceeded', `the call was not done after ${timeout} ms`);
    const timer =
      typeof timeout === 'number' && timeout < Infinity
        ? setTimeout(late, Math.min(timeout, LONGEST))
        : undefined;
    const clear = (): void => {
      clearTimeout(timer);
      others?.delete(onAbort);
    };
    call(stop.signal).then(resolve, reject).finally(clear);
  });
}

function callsOf(signal: AbortSignal): Set<() => void> {
  let calls = ended.get(signal);
  if (calls === undefined) {
    const all = (calls = new Set<() => void>());
    signal.addEventListener('abort', () => all.forEach((end) => end()), { once: true });
    ended.set(signal, all);
  }
  return calls;
}

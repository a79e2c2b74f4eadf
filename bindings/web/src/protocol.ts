import type { FailureRecord } from './errors.js';
import type { FileContent, ModelInfo, ProgressEvent, TaskName } from './types.js';

/** A source that can be sent to a worker: the URL of a folder with a `/` at the end of its path, or files. */
export type SentSource = { url: string } | { files: Readonly<Record<string, FileContent>> };

/** What opens a model. */
export interface OpenRequest {
  kind: 'open';
  task: TaskName;
  source: SentSource;
  /** The name of the model in messages and events. */
  name: string;
  precision: string | undefined;
  specialTokensInText: boolean | undefined;
  /** The name of the cache, or null if there is to be none. */
  cache: string | null;
  hashes: Readonly<Record<string, string>>;
  wasm: string | Uint8Array | ArrayBuffer | WebAssembly.Module | undefined;
}

/** Texts of one role, such as "question". */
export interface Texts {
  what: string;
  texts: string[];
}

/** What all calls have. */
interface Call {
  texts: Texts;
  /** What a list holds, as in "pair"; for messages. */
  unit: string;
  isList: boolean;
  /** The place of the first text in the caller's list. */
  first: number;
  options: Record<string, unknown>;
}

/** A call that returns JSON. */
export interface RunRequest extends Call {
  kind: 'run';
  second: Texts | undefined;
  /** True if the first of the second texts belongs to all texts. */
  shared: boolean;
}

/** A search of one context that may leave a part of it unread. */
export interface WithinRequest extends Call {
  kind: 'within';
  context: Texts;
  mostWindows: number | undefined;
  /** The end of its time, as {@link moment} counts. */
  until: number | undefined;
}

/** Returns the milliseconds since a moment that all threads have in common. */
export function moment(): number {
  return performance.timeOrigin + performance.now();
}

/** A call that returns vectors, or with `states` a row for each token. */
export interface VectorsRequest extends Call {
  kind: 'vectors';
  states: boolean;
}

/** What `vectors` returns. */
export interface VectorsReply {
  values: Float32Array;
  columns: number;
  rows: number[];
  truncated: boolean[];
}

export type CallRequest = RunRequest | VectorsRequest | WithinRequest;
export type Request = OpenRequest | CallRequest;
export type Reply = ModelInfo | unknown[] | VectorsReply;

/** A message to a worker: a request, or that nobody waits any longer for the answer to one. */
export type ToWorker = { id: number; request: Request } | { id: number; dropped: true };

/** A message from a worker. After `broken`, the instance in the worker cannot be used any more. */
export type FromWorker =
  | { id: number; value: Reply }
  | { id: number; failure: FailureRecord; broken: boolean }
  | { progress: ProgressEvent };

// The browser's worker: an engine that answers messages.

import { Engine } from './engine.js';
import type { Platform } from './load.js';
import { serve } from './serve.js';

/** The part of a worker's global scope that is used here; the types of pages do not have it. */
interface Scope {
  onmessage: ((event: MessageEvent) => void) | null;
  postMessage(message: unknown, transfer?: Transferable[]): void;
}

const platform: Platform = {
  async module(given, name) {
    if (given !== undefined && typeof given !== 'string') return given;
    // Bundlers look for these expressions as they stand.
    const modules: Record<string, URL> = {
      'relaxed.wasm': new URL('./module/relaxed.wasm', import.meta.url),
      'simd.wasm': new URL('./module/simd.wasm', import.meta.url),
    };
    const plain = new URL('./module/plain.wasm', import.meta.url);
    const url = given ?? modules[name] ?? plain;
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} answers with status ${response.status}`);
    return response;
  },
  readLocal(url) {
    throw new Error(
      `${url.href} is a file of the local disk, which pages cannot read; pass its bytes or a File`,
    );
  },
};

const scope = self as unknown as Scope;
const answer = serve(new Engine(platform), (message, transfer) => scope.postMessage(message, transfer));
scope.onmessage = ({ data }) => answer(data);

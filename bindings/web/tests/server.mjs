// A server of static files for the tests and the demo, which can misbehave.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { gzipSync } from 'node:zlib';

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
  '.onnx': 'application/octet-stream',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/** Without `unsafe-eval`, without inline scripts, and with nothing from elsewhere. */
export const POLICY =
  "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; " +
  "style-src 'self'; " +
  "img-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'none'";

/**
 * Serves folders, `{'/prefix/': folder}`. `requests` lists the paths that were asked for, and `queries` what
 * followed them. `change` may answer
 * itself: given a path and the file's bytes, it returns other bytes, a status, `'gzip'`, `'cut'`, `'half'` of
 * the file, or a `'page'` that is not the file.
 */
export async function serve(folders, port = 0, policy = POLICY) {
  const state = { requests: [], queries: [], change: () => undefined };
  const server = createServer(async (request, response) => {
    const { pathname, search } = new URL(request.url, 'http://x');
    const path = decodeURIComponent(pathname);
    state.requests.push(path);
    state.queries.push(search);
    const prefix = Object.keys(folders)
      .sort((a, b) => b.length - a.length)
      .find((prefix) => path.startsWith(prefix));
    const rest = prefix === undefined ? '' : normalize(path.slice(prefix.length) || 'index.html');
    const file = rest.startsWith('..') || prefix === undefined ? undefined : join(folders[prefix], rest);
    let bytes = file && (await readFile(file).catch(() => undefined));
    const changed = state.change(path, bytes);
    if (changed === 'cut') return response.destroy();
    if (Buffer.isBuffer(changed)) bytes = changed;
    if (changed === 'page') bytes = Buffer.from('<!doctype html><title>A page</title>');
    const headers = { 'Content-Security-Policy': policy, 'X-Content-Type-Options': 'nosniff' };
    const status = typeof changed === 'number' ? changed : bytes === undefined ? 404 : 200;
    if (status !== 200) return response.writeHead(status, headers).end();
    headers['Content-Type'] =
      TYPES[changed === 'page' ? '.html' : extname(rest)] ?? 'application/octet-stream';
    if (changed === 'gzip') {
      headers['Content-Encoding'] = 'gzip';
      bytes = gzipSync(bytes);
    }
    response.writeHead(200, { ...headers, 'Content-Length': bytes.length });
    if (changed !== 'half') return response.end(bytes);
    // The half has to arrive before the connection ends.
    response.write(bytes.subarray(0, bytes.length / 2), () => setTimeout(() => response.destroy(), 50));
  });
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  return Object.assign(state, { port: server.address().port, close: () => server.close() });
}

import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import type { Platform } from './load.js';

/** Node, where files are read from the disk. */
export const platform: Platform = {
  async module(given, name) {
    if (given !== undefined && typeof given !== 'string') return given;
    const url = new URL(given ?? `./module/${name}`, import.meta.url);
    if (url.protocol === 'file:') return readFile(url);
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url} answers with status ${response.status}`);
    return response;
  },
  async readLocal(url) {
    const path = fileURLToPath(url);
    const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    });
    if (found === undefined) return undefined;
    return { size: found.size, pieces: createReadStream(path, { highWaterMark: 1 << 20 }) };
  },
};

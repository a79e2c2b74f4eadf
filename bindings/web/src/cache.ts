import { hashesOf, MANIFEST } from './load.js';

/** The path under which files of a known hash are kept. No server has it. */
const BY_HASH = '/.mobilebert/sha256/';

/** Opens the browser's cache, or returns nothing where there is none or it is refused. */
export async function openCache(name: string | null): Promise<Cached | undefined> {
  if (name === null || typeof caches === 'undefined') return undefined;
  try {
    return new Cached(await caches.open(name));
  } catch {
    // Private windows and settings of the user refuse storage; then every visit loads from the network.
    return undefined;
  }
}

/** Files in the browser's cache. No failure of it is one of loading. */
export class Cached {
  #cache: Cache;

  constructor(cache: Cache) {
    this.#cache = cache;
  }

  /** Returns the key of a file: its hash, so that equal files are kept once, or else its address. */
  key(url: string, sha256: string | undefined): string {
    return sha256 === undefined ? url : new URL(BY_HASH + sha256.toLowerCase(), location.origin).href;
  }

  async match(key: string): Promise<Response | undefined> {
    return this.#cache.match(key).catch(() => undefined);
  }

  /** Returns the text of a file, if it is kept and can be read. */
  async text(key: string): Promise<string | undefined> {
    return this.match(key).then((kept) => kept?.text().catch(() => undefined));
  }

  /** Keeps a file, and returns why it could not if it could not. */
  async keep(key: string, response: Response): Promise<string | undefined> {
    try {
      await this.#cache.put(key, response);
      return undefined;
    } catch (thrown) {
      // The other half of the stream goes on only if this one is not waited for.
      await response.body?.cancel().catch(() => undefined);
      return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
    }
  }

  async keepText(key: string, text: string): Promise<void> {
    await this.keep(key, new Response(text));
  }

  async forget(key: string): Promise<void> {
    await this.#cache.delete(key).catch(() => false);
  }

  /** Drops the files of these hashes, unless a list of files that is kept names them still. */
  async forgetUnlisted(hashes: readonly string[]): Promise<void> {
    if (hashes.length === 0) return;
    try {
      const lists = (await this.#cache.keys()).filter(({ url }) => url.endsWith(`/${MANIFEST}`));
      const texts = await Promise.all(lists.map(({ url }) => this.text(url)));
      const listed = new Set(texts.flatMap((text) => hashesOf(text ?? '')));
      for (const hash of hashes) if (!listed.has(hash)) await this.forget(this.key('', hash));
    } catch {
      // What stays takes space and does no harm.
    }
  }
}

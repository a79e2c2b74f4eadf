// Keeps the page itself for visits without a network. The package keeps the models.

const NAME = 'mobilebert-demo';

addEventListener('install', (event) => {
  const keep = async () => {
    const [cache, assets] = await Promise.all([
      caches.open(NAME),
      fetch('assets.json', { cache: 'no-cache' }),
    ]);
    await cache.addAll(await assets.json());
    await skipWaiting();
  };
  event.waitUntil(keep());
});

addEventListener('activate', (event) => event.waitUntil(clients.claim()));

addEventListener('fetch', (event) => {
  const { pathname } = new URL(event.request.url);
  if (event.request.method !== 'GET' || pathname.includes('/models/')) return;
  const answer = async () => {
    // What is kept helps a later visit. Storage that is full or refused must not harm this one.
    const cache = await caches.open(NAME).catch(() => undefined);
    let response;
    try {
      response = await fetch(event.request);
    } catch (error) {
      const kept = await cache?.match(event.request, { ignoreSearch: true });
      if (kept === undefined) throw error;
      return kept;
    }
    if (response.ok) await cache?.put(event.request, response.clone()).catch(() => undefined);
    return response;
  };
  event.respondWith(answer());
});

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
    const cache = await caches.open(NAME);
    try {
      const response = await fetch(event.request);
      if (response.ok) await cache.put(event.request, response.clone());
      return response;
    } catch (error) {
      const kept = await cache.match(event.request, { ignoreSearch: true });
      if (kept === undefined) throw error;
      return kept;
    }
  };
  event.respondWith(answer());
});

// The tabs, and what makes the page work offline.

import * as ask from './ask.js';
import * as feel from './feel.js';
import * as find from './find.js';

const starts = { 'tab-ask': ask.start, 'tab-feel': feel.start, 'tab-find': find.start };
const tabs = [...document.querySelectorAll('[role=tab]')];

function choose(tab) {
  for (const other of tabs) {
    const isChosen = other === tab;
    other.setAttribute('aria-selected', String(isChosen));
    other.tabIndex = isChosen ? 0 : -1;
    document.getElementById(other.getAttribute('aria-controls')).hidden = !isChosen;
  }
  // A model is loaded when its tab is first seen.
  starts[tab.id]?.();
  delete starts[tab.id];
}

tabs.forEach((tab, i) => {
  tab.addEventListener('click', () => choose(tab));
  tab.addEventListener('keydown', ({ key }) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[key];
    if (to === undefined) return;
    const next = tabs[(to + tabs.length) % tabs.length];
    choose(next);
    next.focus();
  });
});
choose(tabs[0]);

const badge = document.getElementById('offline');
function tell() {
  const isReady = navigator.serviceWorker?.controller != null;
  badge.classList.toggle('ready', isReady);
  badge.textContent = navigator.onLine ? (isReady ? 'Works offline' : 'Online') : 'Offline';
}
addEventListener('online', tell);
addEventListener('offline', tell);
// Where storage is refused, the page works with a network only.
navigator.serviceWorker?.addEventListener('controllerchange', tell);
navigator.serviceWorker?.register('sw.js').catch(() => undefined);
tell();

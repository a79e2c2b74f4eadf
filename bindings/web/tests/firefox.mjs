// Runs the vectors in a page that nobody drives. The files of vectors and the modules are named in its address,
// and what it found is told in the addresses that it asks for.

import './page.mjs';

const named = new URLSearchParams(location.search);
const files = {};
for (const name of named.get('files').split(',')) {
  files[name] = await (await fetch(`/bindings/vectors/${name}.json`)).json();
}
const tell = (what) => fetch(`/report/${encodeURIComponent(JSON.stringify(what))}`);
for (const name of named.get('modules').split(',')) {
  try {
    const { wrong, ...found } = await window.vectors(files, `/package/dist/module/${name}.wasm`);
    await tell({ name, ...found, wrong: wrong.slice(0, 3) });
  } catch (error) {
    await tell({ name, wrong: [String(error)] });
  }
}

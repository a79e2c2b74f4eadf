// Search by meaning: paragraphs and the query become vectors, and the closest come first.

import { element, meter, Model, wrong } from './model.js';
import { PARAGRAPHS } from './samples.js';

const model = new Model('feature-extraction', 'embed', 'Semantic search');
const [form, query, hits, paragraphs] = ['find-form', 'query', 'hits', 'paragraphs'].map((id) =>
  document.getElementById(id),
);
const SHOWN = 3;
/** Vectors of paragraphs that were read before. */
const known = new Map();
let latest = 0;

async function find() {
  const call = ++latest;
  const texts = [
    ...new Set(
      paragraphs.value
        .split(/\n\s*\n/)
        .map((text) => text.trim())
        .filter(Boolean),
    ),
  ];
  try {
    const added = texts.filter((text) => !known.has(text));
    const { found } = await model.call([query.value, ...added], { pooling: 'model' });
    const columns = found.dims[1];
    const row = (i) => found.data.subarray(i * columns, (i + 1) * columns);
    added.forEach((text, i) => known.set(text, row(i + 1)));
    if (call !== latest) return;
    const scored = texts.map((text) => ({ text, score: cosine(row(0), known.get(text)) }));
    scored.sort((a, b) => b.score - a.score);
    hits.replaceChildren(...scored.slice(0, SHOWN).map(hit));
  } catch (error) {
    if (call !== latest) return;
    const item = element('li');
    item.append(wrong(error));
    hits.replaceChildren(item);
  }
}

function cosine(a, b) {
  let [dot, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    dot += value * b[i];
    aa += value * value;
    bb += b[i] * b[i];
  });
  return dot / Math.sqrt(aa * bb);
}

function hit({ text, score }) {
  const [item, left] = [element('li'), element('div')];
  left.append(element('span', `cosine ${score.toFixed(2)}`, 'score'), meter(score));
  item.append(left, element('span', text));
  return item;
}

/** Prepares the tab, and runs the query that stands there. */
export function start() {
  paragraphs.value = PARAGRAPHS;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    find();
  });
  const item = element('li');
  item.append(element('span', 'Reading …', 'quiet'));
  hits.replaceChildren(item);
  find();
}

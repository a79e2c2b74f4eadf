// Sentiment at each letter, with a graph of how long the calls took.

import { element, Model, wrong } from './model.js';

const SVG = 'http://www.w3.org/2000/svg';
const SHOWN = 60;
const model = new Model('text-classification', 'sentiment', 'Sentiment');
const [sentence, scale, needle, verdict] = ['sentence', 'scale', 'needle', 'verdict'].map((id) =>
  document.getElementById(id),
);
const [graph, latency] = ['graph', 'latency'].map((id) => document.getElementById(id));
const times = [];
let isBusy = false;
let isStale = false;

async function weigh() {
  // One call at a time; what was typed meanwhile is weighed behind it.
  if (isBusy) {
    isStale = true;
    return;
  }
  isBusy = true;
  do {
    isStale = false;
    await once(sentence.value);
  } while (isStale);
  isBusy = false;
}

async function once(text) {
  if (text.trim() === '') {
    verdict.replaceChildren('Type something');
    return;
  }
  try {
    const { found, elapsed } = await model.call(text, { top_k: null });
    const positive = found.find(({ label }) => label === 'positive').score;
    const [best] = found;
    needle.style.left = `${100 * positive}%`;
    scale.setAttribute('aria-label', `${Math.round(100 * positive)} percent positive`);
    verdict.textContent = `${best.label}, ${(100 * best.score).toFixed(1)} %`;
    verdict.className = `verdict ${best.label}`;
    times.push(elapsed);
    if (times.length > SHOWN) times.shift();
    draw();
  } catch (error) {
    verdict.replaceChildren(wrong(error));
  }
}

function draw() {
  const middle = [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
  const most = Math.max(...times, 1) * 1.1;
  const bars = times.map((time, i) =>
    shape('rect', { x: i * 10 + 1, width: 8, y: 120 - (120 * time) / most, height: (120 * time) / most }),
  );
  const at = 120 - (120 * middle) / most;
  graph.replaceChildren(...bars, shape('line', { x1: 0, x2: 600, y1: at, y2: at }));
  const median = `the median of ${times.length}: ${middle.toFixed(1)} ms`;
  latency.textContent = `Last call ${times.at(-1).toFixed(1)} ms; dashed, ${median}`;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Prepares the tab, and weighs the sentence that stands there. */
export function start() {
  sentence.addEventListener('input', weigh);
  verdict.replaceChildren(element('span', 'Loading …', 'quiet'));
  weigh();
}

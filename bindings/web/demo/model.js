// A model that is loaded when it is first needed, and its lines in the panel.

import { pipeline } from './mobilebert/dist/browser.js';

const panel = document.getElementById('models');

/** Makes an element with text. */
export function element(name, text = '', className = '') {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** A model in `models/NAME` for a task. */
export class Model {
  #task;
  #name;
  #title;
  #opened;
  #card = element('div', '', 'model');
  #lines = new Map();
  #list = element('dl');

  constructor(task, name, title) {
    this.#task = task;
    this.#name = name;
    this.#title = title;
  }

  /** Loads the model, once. */
  open() {
    this.#opened ??= this.#open().catch((error) => {
      this.#opened = undefined;
      this.#line('state', error.message);
      throw error;
    });
    return this.#opened;
  }

  /** Calls the pipeline, and returns what it found and how long it took. */
  async call(...given) {
    const run = await this.open();
    const start = performance.now();
    const found = await run(...given);
    const elapsed = performance.now() - start;
    this.#line('last call', milliseconds(elapsed));
    return { found, elapsed };
  }

  async #open() {
    const bar = element('progress');
    bar.max = 100;
    bar.setAttribute('aria-label', `Loading the model ${this.#name}`);
    this.#card.replaceChildren(element('h3', this.#title), bar, this.#list);
    panel.append(this.#card);
    let downloaded = 0;
    const start = performance.now();
    const run = await pipeline(this.#task, `models/${this.#name}`, {
      progress_callback: (event) => {
        if (event.status === 'progress' && event.progress !== undefined) bar.value = event.progress;
        if (event.status === 'progress' && event.file === 'model.safetensors') {
          this.#line('loaded', megabytes(event.loaded));
        }
        if (event.status === 'done' && !event.cached) downloaded++;
      },
    });
    bar.remove();
    this.#line('loaded', downloaded > 0 ? 'from the network' : 'from this browser');
    const { bytes, kernel, precision } = run.engine.model;
    this.#line('size', megabytes(bytes));
    this.#line('numbers', precision);
    this.#line('kernels', kernel);
    this.#line('start', milliseconds(performance.now() - start));
    return run;
  }

  #line(name, value) {
    if (!this.#lines.has(name)) {
      const line = element('dd');
      this.#list.append(element('dt', name), line);
      this.#lines.set(name, line);
    }
    this.#lines.get(name).textContent = value;
  }
}

/** A bar from 0 to 1. */
export function meter(share) {
  const outer = element('div', '', 'meter');
  const inner = element('div');
  inner.style.width = `${Math.round(100 * Math.max(0, Math.min(1, share)))}%`;
  outer.append(inner);
  return outer;
}

/** Shows an error where a result would be. */
export function wrong(error) {
  return element('span', error.message, 'wrong');
}

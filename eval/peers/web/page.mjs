// The engines in a page, by name: each opens a model and returns a function from a text to its vector.

const ENGINES = {
  async mobilebert() {
    const { pipeline } = await import('/ours/dist/browser.js');
    const extract = await pipeline('feature-extraction', '/model', { cache: false });
    return async (text) => (await extract(text, { pooling: 'mean', normalize: true })).data;
  },
  async 'transformers.js'() {
    const { env, pipeline } = await import('/theirs/transformers.min.js');
    env.allowRemoteModels = false;
    env.allowLocalModels = true;
    env.localModelPath = '/onnx/';
    env.useBrowserCache = false;
    env.backends.onnx.wasm.wasmPaths = '/ort/';
    env.backends.onnx.wasm.numThreads = 1;
    const extract = await pipeline('feature-extraction', 'model', { dtype: 'q8', device: 'wasm' });
    return async (text) => (await extract(text, { pooling: 'mean', normalize: true })).data;
  },
};

const open = {};

/** Opens an engine, and returns the milliseconds to its first vector. */
window.start = async (name, text) => {
  const start = performance.now();
  open[name] = await ENGINES[name]();
  const vector = await open[name](text);
  return { elapsed: performance.now() - start, vector: Array.from(vector) };
};

/** Runs a text for some time, and returns the milliseconds of each call. */
window.run = async (name, text, most) => {
  const times = [];
  const end = performance.now() + most;
  do {
    const start = performance.now();
    await open[name](text);
    times.push(performance.now() - start);
  } while (performance.now() < end);
  return times;
};

document.documentElement.dataset.ready = 'true';

// A program's own worker that opens a pipeline: it has no document.

import { pipeline } from '/package/dist/browser.js';

self.onmessage = async ({ data: source }) => {
  try {
    const qa = await pipeline('question-answering', source);
    const answer = await qa('Who built it?', '😀 It was built by Ada.');
    await qa.dispose();
    self.postMessage({ answer });
  } catch ({ code, message }) {
    self.postMessage({ error: { code, message } });
  }
};
self.postMessage('ready');

// Node's worker: an engine that answers messages.

import { parentPort } from 'node:worker_threads';

import { Engine } from './engine.js';
import { platform } from './node-platform.js';
import type { ToWorker } from './protocol.js';
import { serve } from './serve.js';

const answer = serve(new Engine(platform), (message, transfer) => parentPort?.postMessage(message, transfer));
parentPort?.on('message', (message: ToWorker) => answer(message));

// The package's worker where the browser keeps no more files.

import './refuse.mjs';
import '/package/dist/worker.js';

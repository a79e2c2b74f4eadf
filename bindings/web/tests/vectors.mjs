// The vectors of `bindings/vectors`: results that every binding must give, floats to the bit. This file runs
// in Node and in pages.

/** The operations, with the task that a model is opened for. */
const TASKS = {
  answers: 'question-answering',
  answers_within: 'question-answering',
  classify: 'text-classification',
  tag: 'token-classification',
  fill: 'fill-mask',
  embed: 'feature-extraction',
  states: 'feature-extraction',
};
/** The model that takes the texts of `text`, which names none. */
const ANY_MODEL = 'models/sentiment';
const KNOWN = ['answers', 'classify', 'embed', 'errors', 'fill', 'tag', 'text', 'within'];

/**
 * Lists the cases of all files, `{name: content}`, as `{name, run}`. `open(task, model)` opens a pipeline.
 *
 * A file or an operation that is not known here is an error: somebody added it and it is not tested.
 */
export function cases(files, open) {
  const names = Object.keys(files).sort();
  if (names.join() !== KNOWN.join()) throw new Error(`the files are ${names}; expected ${KNOWN}`);
  const opened = new Map();
  const pipeline = (op, model) => {
    const key = `${TASKS[op]} ${model}`;
    if (!opened.has(key)) opened.set(key, open(TASKS[op], model));
    return opened.get(key);
  };
  const list = names.flatMap((name) =>
    files[name].cases.map((one, number) => ({
      name: `${name}-${number}-${one.op}`,
      run: () => check(pipeline, files[name].model, one),
    })),
  );
  // Some models do not open, which is what the vectors expect.
  const dispose = () =>
    Promise.all(
      [...opened.values()].map((p) =>
        p.then(
          (p) => p.dispose(),
          () => undefined,
        ),
      ),
    );
  return { list, dispose };
}

async function check(pipeline, model, { op, options, input, expect }) {
  if (op === 'offsets') return offsets(input, expect);
  if (op === 'text') {
    const text = String.fromCharCode(...input.utf16);
    if ('error' in expect)
      return failure(async () => (await pipeline('classify', ANY_MODEL)).engine.classify(text), expect);
    same(text, expect.text);
    const { engine } = await pipeline('classify', ANY_MODEL);
    return same([await engine.classify(text)], await engine.classify([text]));
  }
  if (!(op in TASKS)) throw new Error(`the operation ${op} is not known`);
  const call = async () => run((await pipeline(op, model)).engine, op, input, options);
  if ('error' in expect) return failure(call, expect);
  const found = await call();
  if ('results' in expect)
    same(
      found.map((one) => written(op, one)),
      expect.results,
    );
  else same(written(op, found), expect.result);
}

function run(engine, op, input, options) {
  const text = input.text ?? input.texts;
  switch (op) {
    case 'answers':
      return engine.answers(input.question ?? input.questions, input.context ?? input.contexts, options);
    case 'answers_within': {
      const { question, context, ...most } = input;
      return engine.answersWithin(question, context, { ...most, ...options });
    }
    case 'classify':
      return engine.classify(text, input.text_pair ?? input.text_pairs, options);
    case 'tag':
      return engine.tag(text, options);
    case 'fill':
      return engine.fill(text, options);
    case 'embed':
      return engine.vectors(text, options);
    default:
      return engine.states(text, options);
  }
}

function bits(value) {
  if (Math.fround(value) !== value) throw new Error(`${value} is not a number of 32 bits`);
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, value);
  return view.getUint32(0).toString(16).padStart(8, '0');
}

const number = (value) => ({ bits: bits(value) });
const numbers = (values) => ({ bits: Array.from(values, bits) });

/** Writes a result as the vectors do, without the decimals, which are for readers. */
function written(op, found) {
  switch (op) {
    case 'answers':
      return found.map(({ answer, score, place, others }) => ({
        answer,
        score: number(score),
        place,
        others: others.map((other) => ({ score: number(other.score), place: other.place })),
      }));
    case 'answers_within':
      return {
        answers: written('answers', found.answers),
        windows: found.windows,
        windows_read: found.windows_read,
        unread: found.unread.map(({ place }) => place),
      };
    case 'classify':
      return {
        labels: found.labels.map(({ label, score }) => ({ label, score: number(score) })),
        truncated: found.truncated,
      };
    case 'tag':
      return found.map(({ label, grouped, score, word, place }) => ({
        label,
        grouped,
        score: number(score),
        word,
        place,
      }));
    case 'fill':
      return found.map((mask) => mask.map((fill) => ({ ...fill, score: number(fill.score) })));
    case 'embed':
      return { embedding: numbers(found.embedding), truncated: found.truncated };
    default: {
      const row = (_, i) => numbers(found.values.subarray(i * found.columns, (i + 1) * found.columns));
      return { states: Array.from({ length: found.rows }, row), truncated: found.truncated };
    }
  }
}

async function failure(call, { error }) {
  let thrown;
  try {
    await call();
  } catch (caught) {
    thrown = caught;
  }
  if (thrown?.name !== 'MobileBertError')
    throw new Error(`expected ${error.code}, and got ${thrown ?? 'no error'}`);
  const { code, message, place, index, positions } = thrown;
  same(
    { code, message, place, index, position: positions },
    { index: undefined, position: undefined, ...error },
  );
  same(thrown.position, error.position?.utf16);
}

function offsets({ text, byte }, expect) {
  // Callers here never pass offsets in.
  if ('error' in expect) return;
  const before = byte.map((end) =>
    new TextDecoder('utf-8', { ignoreBOM: true }).decode(new TextEncoder().encode(text).subarray(0, end)),
  );
  same(
    before.map((part) => Array.from(part).length),
    expect.char,
  );
  same(
    before.map((part) => part.length),
    expect.utf16,
  );
}

/** Compares two values, and says where they differ. Decimals beside bits are not compared. */
export function same(found, expected, at = '') {
  if (Array.isArray(expected) && Array.isArray(found)) {
    if (found.length !== expected.length)
      throw new Error(`${at}: ${found.length} items; expected ${expected.length}`);
    expected.forEach((item, i) => same(found[i], item, `${at}[${i}]`));
  } else if (
    typeof expected === 'object' &&
    expected !== null &&
    typeof found === 'object' &&
    found !== null
  ) {
    const keys = (value) =>
      Object.keys(value)
        .filter((key) => key !== 'decimal')
        .sort();
    if (keys(found).join() !== keys(expected).join())
      throw new Error(`${at}: ${keys(found)}; expected ${keys(expected)}`);
    for (const key of keys(expected)) same(found[key], expected[key], `${at}.${key}`);
  } else if (!Object.is(found, expected)) {
    throw new Error(`${at}: ${JSON.stringify(found)}; expected ${JSON.stringify(expected)}`);
  }
}

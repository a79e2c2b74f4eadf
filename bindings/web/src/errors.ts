/** What the module, a worker and the loader say about a failure. It can be sent between threads. */
export interface FailureRecord {
  code: string;
  message: string;
  place?: string | null;
  index?: number;
  position?: { byte: number; char: number; utf16: number };
}

/**
 * The error of every function here.
 *
 * `code` is a stable name of the kind of error, the same in all languages (`empty_text`, `too_long`,
 * `wrong_task`, `invalid_text`, `option`, `unknown_option`, `input`, `io`, `verification`, ...). `internal`
 * means that the engine has failed; the next call starts it again, unless the message says that it cannot.
 */
export class MobileBertError extends Error {
  /** The stable name of the kind of error. */
  readonly code: string;
  /** Where it happened, such as an option's name, a file, or "text 3: question". */
  readonly place: string | null;
  /** The index in the list of inputs, if one of them is at fault. */
  readonly index: number | undefined;
  /** The UTF-16 units before the character that is at fault, if one is. */
  readonly position: number | undefined;
  /** The same position in bytes of UTF-8, in code points and in UTF-16 units. */
  readonly positions: FailureRecord['position'];

  constructor(failure: FailureRecord, options?: { cause?: unknown }) {
    super(failure.message, options);
    this.name = 'MobileBertError';
    this.code = failure.code;
    this.place = failure.place ?? null;
    this.index = failure.index;
    this.position = failure.position?.utf16;
    this.positions = failure.position;
  }
}

/** Makes the error of an input that cannot be used. */
export function wrongInput(place: string, problem: string): MobileBertError {
  return new MobileBertError({ code: 'input', message: `${place}: ${problem}`, place });
}

/** Makes the error of an option's value. */
export function wrongOption(option: string, expected: string, found: unknown): MobileBertError {
  // JSON has no number that is not finite, and no whole number of any size.
  const isShown = ['number', 'bigint', 'boolean'].includes(typeof found);
  const shown = typeof found === 'string' ? JSON.stringify(found) : isShown ? String(found) : kindOf(found);
  const message = `\`${option}\` is ${shown}; expected ${expected}`;
  return new MobileBertError({ code: 'option', message, place: option });
}

/** Makes the error of a method that a pipeline of this task does not have. */
export function wrongTask(method: string, needed: string, found: string): MobileBertError {
  const message =
    `\`${method}\` is a method of ${needed}, and the pipeline was opened for ${found}; ` +
    `open one for ${needed}`;
  return new MobileBertError({ code: 'wrong_task', message, place: method });
}

/** Makes the error of an option that does not exist. */
export function unknownOption(option: string, known: readonly string[]): MobileBertError {
  const message = `there is no option \`${option}\`; expected some of ${known.join(', ')}`;
  return new MobileBertError({ code: 'unknown_option', message, place: option });
}

/** Names the kind of a value for a message. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'undefined';
  if (Array.isArray(value)) return 'an array';
  const kind = typeof value;
  return kind === 'object' ? 'an object' : `a ${kind}`;
}

/** Returns the options of a call, which may be left out. */
export function optionsOf(given: unknown): Record<string, unknown> {
  if (given === undefined || given === null) return {};
  if (typeof given !== 'object' || Array.isArray(given))
    throw wrongInput('options', `it is ${kindOf(given)}; expected an object of names and values`);
  return { ...given };
}

/** Says in a few words what was thrown. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  // What `fetch` throws in Node says why only in its cause.
  const { cause } = thrown;
  return cause instanceof Error ? `${thrown.message}: ${cause.message}` : thrown.message;
}

/** Turns whatever was thrown into a record that can be sent to another thread. */
export function recordOf(thrown: unknown): FailureRecord {
  if (thrown instanceof MobileBertError) {
    const { code, message, place, index, positions } = thrown;
    const record: FailureRecord = { code, message, place };
    if (index !== undefined) record.index = index;
    if (positions !== undefined) record.position = positions;
    return record;
  }
  if (typeof thrown === 'string' && thrown.startsWith('{')) return JSON.parse(thrown) as FailureRecord;
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return { code: 'internal', message };
}

import { kindOf, optionsOf, wrongInput, wrongOption, wrongTask } from './errors.js';
import { limitsOf, within } from './limits.js';
import {
  moment,
  type CallRequest,
  type Reply,
  type RunRequest,
  type Texts,
  type VectorsReply,
  type VectorsRequest,
  type WithinRequest,
} from './protocol.js';
import type { Runner } from './remote.js';
import type {
  AnswerDetails,
  AnswerOptions,
  AnswersWithin,
  Classification,
  ClassifyOptions,
  EmbedOptions,
  Embedding,
  EntityDetails,
  Fill,
  FillOptions,
  ModelInfo,
  Place,
  States,
  TagOptions,
  TaskName,
  WithinOptions,
} from './types.js';

/** A result for one input, and a list of results for a list. */
type Many<Input, Result> = Input extends readonly string[] ? Result[] : Result;
type TextOrTexts = string | readonly string[];

/** What a call needs beside its options. */
type Given<R extends CallRequest> = Omit<R, 'kind' | 'first' | 'options'>;
type Unset<R extends CallRequest> = Omit<R, 'options'>;

/**
 * The engine's own interface, with all that it knows about a result, and with its own defaults.
 *
 * A string gives a result, a list of strings a list of results. A pipeline has the methods of its task, and
 * the others fail with `wrong_task`.
 */
export class Engine {
  #runners: readonly Runner[];
  /** What is known about the model. */
  readonly model: ModelInfo;

  constructor(runners: readonly Runner[], model: ModelInfo) {
    this.#runners = runners;
    this.model = model;
  }

  /**
   * Finds the best answers. One context serves all questions, and one question may be asked of a list of
   * contexts.
   */
  async answers<Q extends TextOrTexts, C extends TextOrTexts>(
    question: Q,
    context: C,
    options: AnswerOptions = {},
  ): Promise<Many<Q | C, AnswerDetails[]>> {
    this.#needs('answers', 'question-answering');
    const questions = texts('question', question);
    const contexts = texts('context', context);
    const isList = Array.isArray(question) || Array.isArray(context);
    const shared = Array.isArray(question) && !Array.isArray(context);
    if (!Array.isArray(question) && Array.isArray(context)) {
      questions.texts = contexts.texts.map(() => question as string);
    }
    const unit = shared ? 'question' : 'pair';
    const found = await this.#run({ texts: questions, second: contexts, shared, unit, isList }, options);
    const answers = (found as RawAnswer[][]).map((list) => list.map(answer));
    return one(isList, answers) as Many<Q | C, AnswerDetails[]>;
  }

  /**
   * Finds the best answers without reading the whole context, and says what was left unread. The windows of the
   * context that have most words in common with the question are read first.
   *
   * `most_windows` gives the same result on every machine, and `timeout` what this one finds in time. If all
   * windows are read, the answers are those of {@link answers}.
   */
  async answersWithin(
    question: string,
    context: string,
    options: WithinOptions = {},
  ): Promise<AnswersWithin> {
    this.#needs('answersWithin', 'question-answering');
    const { most_windows: most, ...others } = optionsOf(options) as WithinOptions;
    if (most !== undefined && most !== null && !(Number.isInteger(most) && most >= 1))
      throw wrongOption('most_windows', 'a whole number, 1 or more, or null for all', most);
    const [limits, rest] = limitsOf(others as Record<string, unknown>);
    const { timeout, signal } = limits;
    const request: WithinRequest = {
      kind: 'within',
      texts: single('question', question),
      context: single('context', context),
      mostWindows: most ?? undefined,
      until: typeof timeout === 'number' ? moment() + timeout : undefined,
      unit: 'text',
      isList: false,
      first: 0,
      options: sendable(rest),
    };
    const [found] = await within({ signal: signal ?? null }, (stopped) => this.#spread(request, stopped));
    const [{ answers, unread, ...counts }] = found as [RawWithin];
    const parts = unread.map((place) => placed({ place }));
    return { answers: answers.map(answer), ...counts, unread: parts };
  }

  /** Labels texts, or pairs of texts. */
  async classify<T extends TextOrTexts>(
    text: T,
    textPair?: TextOrTexts | null,
    options: ClassifyOptions = {},
  ): Promise<Many<T, Classification>> {
    this.#needs('classify', 'text-classification');
    const second = textPair === undefined || textPair === null ? undefined : texts('second text', textPair);
    const isList = Array.isArray(text);
    const unit = second === undefined ? 'text' : 'pair';
    const found = await this.#run(
      { texts: texts('text', text), second, shared: false, unit, isList },
      options,
    );
    return one(isList, found) as Many<T, Classification>;
  }

  /** Finds labelled pieces of texts. */
  async tag<T extends TextOrTexts>(text: T, options: TagOptions = {}): Promise<Many<T, EntityDetails[]>> {
    this.#needs('tag', 'token-classification');
    const found = (await this.#plain(text, options)) as Omit<EntityDetails, 'start' | 'end'>[][];
    return one(
      Array.isArray(text),
      found.map((list) => list.map(placed)),
    ) as Many<T, EntityDetails[]>;
  }

  /** Finds words for masks: a list for each mask of a text. */
  async fill<T extends TextOrTexts>(text: T, options: FillOptions = {}): Promise<Many<T, Fill[][]>> {
    this.#needs('fill', 'fill-mask');
    return one(Array.isArray(text), await this.#plain(text, options)) as Many<T, Fill[][]>;
  }

  /** Computes the vectors of texts. */
  async vectors<T extends TextOrTexts>(text: T, options: EmbedOptions = {}): Promise<Many<T, Embedding>> {
    this.#needs('vectors', 'feature-extraction');
    const parts = await this.#vectors(text, false, options);
    const found = parts.flatMap(({ values, columns, truncated }) =>
      truncated.map((cut, i) => ({
        embedding: values.slice(i * columns, (i + 1) * columns),
        truncated: cut,
      })),
    );
    return one(Array.isArray(text), found) as Many<T, Embedding>;
  }

  /** Computes the hidden states of the tokens of texts. */
  async states<T extends TextOrTexts>(text: T, options: EmbedOptions = {}): Promise<Many<T, States>> {
    this.#needs('states', 'feature-extraction');
    const parts = await this.#vectors(text, true, options);
    const found = parts.flatMap(({ values, columns, rows, truncated }) => {
      let at = 0;
      return rows.map((count, i): States => {
        const own = values.slice(at, at + count * columns);
        at += own.length;
        return { values: own, rows: count, columns, truncated: truncated[i] === true };
      });
    });
    return one(Array.isArray(text), found) as Many<T, States>;
  }

  /** Refuses a method of another task, whatever its arguments are. */
  #needs(method: string, task: TaskName): void {
    if (this.model.task !== task) throw wrongTask(method, task, this.model.task);
  }

  #plain(text: TextOrTexts, options: object): Promise<unknown[]> {
    const isList = Array.isArray(text);
    return this.#run(
      { texts: texts('text', text), second: undefined, shared: false, unit: 'text', isList },
      options,
    );
  }

  async #run(given: Given<RunRequest>, options: object): Promise<unknown[]> {
    const request = { ...given, kind: 'run' as const, first: 0 };
    return ((await this.#call(request, options)) as unknown[][]).flat();
  }

  async #vectors(text: TextOrTexts, states: boolean, options: object): Promise<VectorsReply[]> {
    const isList = Array.isArray(text);
    const given: Given<VectorsRequest> = { texts: texts('text', text), states, unit: 'text', isList };
    return (await this.#call({ ...given, kind: 'vectors', first: 0 }, options)) as VectorsReply[];
  }

  async #call(given: Unset<RunRequest> | Unset<VectorsRequest>, options: object): Promise<Reply[]> {
    const [limits, rest] = limitsOf(optionsOf(options));
    const request: CallRequest = { ...given, options: sendable(rest) };
    return within(limits, (stopped) => this.#spread(request, stopped));
  }

  /** Gives each worker a part of a list. If several fail, the error is that of the first input. */
  async #spread(request: CallRequest, stopped: AbortSignal | undefined): Promise<Reply[]> {
    const count = request.texts.texts.length;
    const second = request.kind === 'run' && !request.shared ? request.second : undefined;
    // Lists that do not fit each other are refused by the engine as they are.
    const isUneven = second !== undefined && second.texts.length !== count;
    const parts = isUneven ? 1 : Math.max(1, Math.min(this.#runners.length, count));
    const calls = Array.from({ length: parts }, (_, part) => {
      const [from, to] = [Math.floor((part * count) / parts), Math.floor(((part + 1) * count) / parts)];
      return (this.#runners[part] as Runner).call(parts === 1 ? request : partOf(request, from, to), stopped);
    });
    const outcomes = await Promise.allSettled(calls);
    return outcomes.map((outcome) => {
      if (outcome.status === 'rejected') throw outcome.reason;
      return outcome.value;
    });
  }
}

function partOf(request: CallRequest, from: number, to: number): CallRequest {
  const cut = ({ what, texts }: Texts): Texts => ({ what, texts: texts.slice(from, to) });
  const part = { ...request, first: from, texts: cut(request.texts) };
  if (part.kind === 'run' && part.second !== undefined && !part.shared) part.second = cut(part.second);
  return part;
}

interface RawAnswer {
  answer: string;
  score: number;
  place: Place;
  others: { score: number; place: Place }[];
}

interface RawWithin extends Omit<AnswersWithin, 'answers' | 'unread'> {
  answers: RawAnswer[];
  unread: Place[];
}

function answer({ others, ...found }: RawAnswer): AnswerDetails {
  return { ...placed(found), others: others.map(placed) };
}

/** Adds the place in the units of JavaScript's strings. */
function placed<T extends { place: Place }>(found: T): T & { start: number; end: number } {
  const [start, end] = found.place.utf16;
  return { ...found, start, end };
}

function one<T>(isList: boolean, found: T[]): T | T[] {
  return isList ? found : (found[0] as T);
}

/** Returns the options of a call. Values that JSON would drop or replace by others are refused. */
function sendable(options: Record<string, unknown>): Record<string, unknown> {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? [...(value as unknown[])] : [value]) check(name, one);
  }
  return options;
}

function check(name: string, value: unknown): void {
  if (value === null || typeof value === 'boolean') return;
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw wrongOption(name, 'a finite number', value);
  } else if (typeof value === 'string') {
    if (/\p{Surrogate}/u.test(value))
      throw wrongOption(name, 'a string without half of a surrogate pair', value);
  } else {
    throw wrongOption(name, 'a number, a string, a boolean, null, or an array of those', value);
  }
}

/** Reads one text. */
function single(what: string, given: unknown): Texts {
  if (typeof given !== 'string') throw wrongInput(what, `it is ${kindOf(given)}; expected a string`);
  return { what, texts: [given] };
}

/** Reads one text or a list of them. */
function texts(what: string, given: unknown): Texts {
  if (typeof given === 'string') return { what, texts: [given] };
  if (!Array.isArray(given))
    throw wrongInput(what, `it is ${kindOf(given)}; expected a string or an array of strings`);
  given.forEach((text: unknown, index) => {
    if (typeof text !== 'string') {
      throw wrongInput(`${what} ${index + 1}`, `it is ${kindOf(text)}; expected a string`);
    }
  });
  return { what, texts: [...(given as string[])] };
}

import type { Engine } from './client.js';
import { kindOf, optionsOf, wrongInput, wrongOption } from './errors.js';
import { Tensor } from './tensor.js';
import type {
  Answer,
  AnswerOptions,
  CallOptions,
  ClassifyOptions,
  EmbedOptions,
  EntityDetails,
  Fill,
  FillOptions,
  GroupedEntity,
  LabelScore,
  TagOptions,
  TaskName,
  TextPair,
  TokenEntity,
} from './types.js';

/** What all pipelines have beside being called. */
export interface PipelineBase {
  readonly task: TaskName;
  /** The engine's own interface, with all that it knows about a result. */
  readonly engine: Engine;
  /** Ends the workers and frees the model. */
  dispose(): Promise<void>;
}

/** Finds answers to questions in contexts. A list of questions gives a list. */
export interface QuestionAnsweringPipeline extends PipelineBase {
  (question: string, context: string, options?: AnswerOptions & { top_k?: 1 }): Promise<Answer>;
  (question: string, context: string, options: AnswerOptions): Promise<Answer | Answer[]>;
  (
    question: string[],
    context: string | string[],
    options?: AnswerOptions & { top_k?: 1 },
  ): Promise<Answer[]>;
  (question: string[], context: string | string[], options: AnswerOptions): Promise<Answer[] | Answer[][]>;
  (question: string, context: string[], options?: AnswerOptions & { top_k?: 1 }): Promise<Answer[]>;
  (question: string, context: string[], options: AnswerOptions): Promise<Answer[] | Answer[][]>;
}

/**
 * Labels texts. A text gives a list of its labels, of which there is one unless `top_k` says otherwise. A
 * list gives a label for each text, or with `top_k` a list for each.
 */
export interface TextClassificationPipeline extends PipelineBase {
  (text: string | TextPair, options?: ClassifyOptions): Promise<LabelScore[]>;
  (texts: (string | TextPair)[], options?: ClassifyOptions & { top_k?: 1 }): Promise<LabelScore[]>;
  (texts: (string | TextPair)[], options: ClassifyOptions): Promise<LabelScore[] | LabelScore[][]>;
}

/** Labels tokens, or with an `aggregation_strategy` entities. A list of texts gives a list of lists. */
export interface TokenClassificationPipeline extends PipelineBase {
  (text: string, options?: TagOptions & { aggregation_strategy?: 'none' }): Promise<TokenEntity[]>;
  (text: string, options: TagOptions): Promise<TokenEntity[] | GroupedEntity[]>;
  (texts: string[], options?: TagOptions & { aggregation_strategy?: 'none' }): Promise<TokenEntity[][]>;
  (texts: string[], options: TagOptions): Promise<TokenEntity[][] | GroupedEntity[][]>;
}

/** Finds words for the mask of a text, or a list of words for each if there are several. */
export interface FillMaskPipeline extends PipelineBase {
  (text: string, options?: FillOptions): Promise<Fill[] | Fill[][]>;
  (texts: string[], options?: FillOptions): Promise<(Fill[] | Fill[][])[]>;
}

/** Options of a call for feature extraction. */
export interface FeatureOptions extends CallOptions {
  /**
   * `none`, the default, gives a row for each token, and any other pooling a row for each text. `model` is
   * the pooling that the model was trained for, with its own `normalize`.
   */
  pooling?: 'none' | 'model' | 'first_token' | 'eos' | Exclude<EmbedOptions['pooling'], null | undefined>;
  /** True if rows are scaled to length 1. Default: false, and for `model` what the model says. */
  normalize?: boolean;
  max_seq_len?: number | null;
}

/**
 * Computes vectors: a tensor `[texts, columns]`, or without pooling `[texts, tokens, columns]`, in which the
 * rows behind the end of a shorter text are zeros.
 */
export interface FeatureExtractionPipeline extends PipelineBase {
  (texts: string | string[], options?: FeatureOptions): Promise<Tensor>;
}

/** The pipeline of each task. */
export interface Pipelines {
  'question-answering': QuestionAnsweringPipeline;
  'text-classification': TextClassificationPipeline;
  'sentiment-analysis': TextClassificationPipeline;
  'token-classification': TokenClassificationPipeline;
  ner: TokenClassificationPipeline;
  'fill-mask': FillMaskPipeline;
  'feature-extraction': FeatureExtractionPipeline;
  embeddings: FeatureExtractionPipeline;
}

/** The pipelines as they are called, before the engine is known. */
export const CALLS: Record<TaskName, (engine: Engine) => (...args: never[]) => Promise<unknown>> = {
  'question-answering': (engine) => async (question: string, context: string, options: unknown) =>
    answer(engine, question, context, optionsOf(options)),
  'text-classification': (engine) => async (texts: string | TextPair, options: unknown) =>
    classify(engine, texts, optionsOf(options)),
  'token-classification': (engine) => async (texts: string, options: unknown) =>
    tag(engine, texts, optionsOf(options)),
  'fill-mask': (engine) => async (texts: string, options: unknown) => fill(engine, texts, optionsOf(options)),
  'feature-extraction': (engine) => async (texts: string, options: unknown) =>
    extract(engine, texts, optionsOf(options)),
};

/** Where these differ from the engine's defaults, they are what transformers.js does. */
const ANSWERS: AnswerOptions = { null_competes: true, merge_equal_texts: false };

async function answer(
  engine: Engine,
  question: string | string[],
  context: string | string[],
  options: AnswerOptions,
): Promise<unknown> {
  const shaped = (found: Answer[]): Answer | Answer[] => {
    const answers = found.map(({ answer, score, start, end }) => ({ answer, score, start, end }));
    return (options.top_k ?? 1) === 1 && options.top_k !== null && answers[0] !== undefined
      ? answers[0]
      : answers;
  };
  const found = await engine.answers(question, context, { ...ANSWERS, ...options });
  const isList = Array.isArray(question) || Array.isArray(context);
  return isList ? (found as Answer[][]).map(shaped) : shaped(found as Answer[]);
}

async function classify(
  engine: Engine,
  given: string | TextPair | (string | TextPair)[],
  options: ClassifyOptions,
): Promise<unknown> {
  const items = Array.isArray(given) ? given : [given];
  const pairs = items.map((item, index) => pairOf(item, Array.isArray(given) ? `text ${index + 1}` : 'text'));
  const second = pairs.flatMap(([, pair]) => (pair === undefined ? [] : [pair]));
  if (second.length !== 0 && second.length !== pairs.length) {
    throw wrongInput('text_pair', 'some inputs have one and others have none; call once for each kind');
  }
  const first = pairs.map(([text]) => text);
  const isOne = (options.top_k ?? 1) === 1 && options.top_k !== null;
  if (!Array.isArray(given)) {
    return (await engine.classify(first[0] as string, second[0], options)).labels;
  }
  const found = await engine.classify(first, second.length === 0 ? null : second, options);
  // A threshold may leave no label.
  return found.map(({ labels }) => (isOne && labels[0] !== undefined ? labels[0] : labels));
}

function pairOf(item: unknown, place: string): [string, string | undefined] {
  if (typeof item === 'string') return [item, undefined];
  if (typeof item === 'object' && item !== null && 'text' in item && 'text_pair' in item) {
    return [item.text as string, item.text_pair as string];
  }
  throw wrongInput(
    place,
    `it is ${kindOf(item)}; expected a string, or an object with \`text\` and \`text_pair\``,
  );
}

async function tag(engine: Engine, texts: string | string[], options: TagOptions): Promise<unknown> {
  const shaped = (found: EntityDetails[]): (TokenEntity | GroupedEntity)[] =>
    found.map(({ label, grouped, score, word, start, end }) =>
      grouped ? { entity_group: label, score, word, start, end } : { entity: label, score, word, start, end },
    );
  const found = await engine.tag(texts, { aggregation_strategy: 'none', ...options });
  return Array.isArray(texts) ? (found as EntityDetails[][]).map(shaped) : shaped(found as EntityDetails[]);
}

async function fill(engine: Engine, texts: string | string[], options: FillOptions): Promise<unknown> {
  const shaped = (masks: Fill[][]): Fill[] | Fill[][] => (masks.length === 1 ? (masks[0] as Fill[]) : masks);
  const found = await engine.fill(texts, options);
  return Array.isArray(texts) ? (found as Fill[][][]).map(shaped) : shaped(found as Fill[][]);
}

/** Other names of poolings. */
const POOLINGS: Record<string, EmbedOptions['pooling']> = { first_token: 'cls', eos: 'last_token' };

async function extract(
  engine: Engine,
  given: string | string[],
  { pooling = 'none', normalize, ...options }: FeatureOptions,
): Promise<Tensor> {
  const texts = typeof given === 'string' ? [given] : given;
  if (pooling === 'none') {
    if (normalize === true) throw wrongOption('normalize', 'false without pooling, or a `pooling`', true);
    const found = await engine.states(texts, options);
    const [rows, columns] = [Math.max(0, ...found.map(({ rows }) => rows)), found[0]?.columns ?? 0];
    const data = new Float32Array(found.length * rows * columns);
    found.forEach(({ values }, i) => data.set(values, i * rows * columns));
    return new Tensor(
      data,
      [found.length, rows, columns],
      found.map(({ truncated }) => truncated),
    );
  }
  const named: EmbedOptions =
    pooling === 'model'
      ? {}
      : { pooling: POOLINGS[pooling] ?? (pooling as EmbedOptions['pooling']), normalize: false };
  if (normalize !== undefined) named.normalize = normalize;
  const found = await engine.vectors(texts, { ...named, ...options });
  const columns = found[0]?.embedding.length ?? engine.model.dimensions ?? 0;
  const data = new Float32Array(found.length * columns);
  found.forEach(({ embedding }, i) => data.set(embedding, i * columns));
  return new Tensor(
    data,
    [found.length, columns],
    found.map(({ truncated }) => truncated),
  );
}

/** The start and the end of a piece of a text. */
export type Span = [start: number, end: number];

/** A piece of a text, counted in bytes of UTF-8, in code points, and in UTF-16 units. */
export interface Place {
  byte: Span;
  char: Span;
  utf16: Span;
}

/** The tasks, by the names of transformers.js. */
export type TaskName =
  'question-answering' | 'text-classification' | 'token-classification' | 'fill-mask' | 'feature-extraction';

/** Other names of tasks. */
export type TaskAlias = 'sentiment-analysis' | 'ner' | 'embeddings';

/** A file of a model in memory. A `Blob` or `File` is read in pieces, without a copy of the whole. */
export type FileContent = Uint8Array | ArrayBuffer | Blob | string;

/**
 * Where a model comes from: the URL of its folder (in Node also a path), or its files by name, as in
 * `{'config.json': bytes, 'vocab.txt': bytes, 'model.safetensors': bytes}`.
 */
export type Source = string | URL | Readonly<Record<string, FileContent>>;

/** How far loading is. The fields are those of transformers.js. */
export type ProgressEvent =
  | { status: 'initiate' | 'download'; name: string; file: string }
  | {
      status: 'progress';
      name: string;
      file: string;
      loaded: number;
      /** The size of the file. It is absent if nothing says it. */
      total?: number;
      /** From 0 to 100; absent without `total`. */
      progress?: number;
    }
  | {
      status: 'done';
      name: string;
      file: string;
      /** True if the file came from the cache. */
      cached: boolean;
    }
  | {
      /** The file is used but could not be kept, so it will be downloaded again. */
      status: 'not_cached';
      name: string;
      file: string;
      reason: string;
    }
  | { status: 'ready'; task: TaskName; model: string };

/** The precision of the arithmetic. `auto`, the default, is that of the stored weights. */
export type DataType = 'auto' | 'int8' | 'q8' | 'bf16' | 'f32' | 'fp32';

/** How a model is loaded and run. */
export interface PipelineOptions {
  /** A function that is told how far loading is. What it throws is dropped, and loading goes on. */
  progress_callback?: ((event: ProgressEvent) => void) | null;
  /** The precision. `q8` means `int8`, and `fp32` means `f32`. */
  dtype?: DataType | null;
  /** There is one: `wasm`, which is also called `cpu` here. */
  device?: 'wasm' | 'cpu' | null;
  /** False if `[SEP]` and the like in a text are plain characters. Default: they are special tokens. */
  special_tokens_in_text?: boolean;
  /** False if nothing is read from the browser's cache and nothing kept there. Node has no cache. */
  cache?: boolean;
  /** The name of the cache. Default: `mobilebert`. */
  cache_name?: string;
  /**
   * The SHA-256 of files by name, in hexadecimal. They replace those in the folder's `mobilebert.json`. A
   * name that is not among the files of the model is the error `verification`.
   */
  hashes?: Readonly<Record<string, string>>;
  /** The WebAssembly module, if it is not beside the package's own files: a URL, its bytes, or a module. */
  wasm?: string | URL | Uint8Array | ArrayBuffer | WebAssembly.Module;
  /** The number of workers over which lists are spread. Each has its own copy of the model. Default: 1. */
  workers?: number;
  /** Makes a worker, where a bundler or a policy needs its own way. It has to run the package's `worker`. */
  create_worker?: () => Worker;
}

/** What is known about a loaded model. */
export interface ModelInfo {
  task: TaskName;
  /** The precision of the arithmetic. */
  precision: string;
  /** The kernels that run: `wasm-dot`, `wasm-fma`, `wasm-simd128` or `scalar`, fastest first. */
  kernel: string;
  /** The tokens that the model reads at once. */
  max_length: number;
  /** The labels that the model knows, in its order; empty for models without any. */
  labels: string[];
  /** The numbers in a vector; for feature extraction. */
  dimensions?: number;
  /** The bytes of all files. */
  bytes: number;
  /** The options of a call and their values if it does not say otherwise. */
  options: Record<string, unknown>;
}

/** Options of every call. */
export interface CallOptions {
  /**
   * Cancels the call, which then fails with `cancelled`. A call that waits for others never begins. One that
   * runs goes on in its worker, and its result is dropped.
   */
  signal?: AbortSignal | null;
  /** The milliseconds after which the call fails with `deadline_exceeded`, in the same way. */
  timeout?: number | null;
}

/** Options of a call for question answering. */
export interface AnswerOptions extends CallOptions {
  /** The number of answers. `null` means all. */
  top_k?: number | null;
  doc_stride?: number | null;
  max_seq_len?: number | null;
  max_question_len?: number;
  max_answer_len?: number;
  handle_impossible_answer?: boolean;
  null_threshold?: number | null;
  merge_equal_texts?: boolean;
  null_competes?: boolean;
}

/** Options of a search that may leave a part of the context unread. */
export interface WithinOptions extends Omit<AnswerOptions, 'timeout'> {
  /** The most windows of the context that are read. Default: all. */
  most_windows?: number | null;
  /**
   * The milliseconds after which no pass begins. The search ends then with what it has found; it is the error
   * `deadline_exceeded` if there was no pass.
   */
  timeout?: number | null;
}

/** Options of a call for text classification. */
export interface ClassifyOptions extends CallOptions {
  /** The number of labels. `null` means all. */
  top_k?: number | null;
  threshold?: number | null;
  function_to_apply?: 'auto' | 'softmax' | 'sigmoid' | 'none';
  long_text?: 'truncate' | 'windows-mean' | 'windows-max' | 'refuse';
  max_seq_len?: number | null;
  doc_stride?: number | null;
  labels?: string[] | null;
}

/** Options of a call for token classification. */
export interface TagOptions extends CallOptions {
  aggregation_strategy?: 'none' | 'simple' | 'first' | 'average' | 'max';
  ignore_labels?: string[];
  max_seq_len?: number | null;
  doc_stride?: number | null;
}

/** Options of a call for filling masks. */
export interface FillOptions extends CallOptions {
  top_k?: number;
  targets?: string[];
}

/** Options of a call for vectors. */
export interface EmbedOptions extends CallOptions {
  pooling?: 'mean' | 'cls' | 'max' | 'mean_sqrt_len' | 'weighted_mean' | 'last_token' | null;
  normalize?: boolean | null;
  max_seq_len?: number | null;
}

/** An answer, in the shape of transformers.js, with its place in the context in UTF-16 units. */
export interface Answer {
  answer: string;
  score: number;
  start: number;
  end: number;
}

/** An answer with all that the engine knows. */
export interface AnswerDetails extends Answer {
  place: Place;
  /** The other places with the same text, best first, with their parts of the score. */
  others: { score: number; start: number; end: number; place: Place }[];
}

/** The answers in the part of a context that was read. */
export interface AnswersWithin {
  /** The best answers, best first. Their scores are shares among the windows that were read. */
  answers: AnswerDetails[];
  /** The number of windows of the context. */
  windows: number;
  /** The number of windows that were read. */
  windows_read: number;
  /** The parts of the context that no window that was read holds, in their order. */
  unread: { start: number; end: number; place: Place }[];
}

/** A label and its score. */
export interface LabelScore {
  label: string;
  score: number;
}

/** The labels of a text, best first. */
export interface Classification {
  labels: LabelScore[];
  /** True if the end of the text was not read. */
  truncated: boolean;
}

/** A labelled token, in the shape of transformers.js, with its place in UTF-16 units. */
export interface TokenEntity {
  entity: string;
  score: number;
  word: string;
  start: number;
  end: number;
}

/** Several tokens of one entity. */
export interface GroupedEntity {
  entity_group: string;
  score: number;
  word: string;
  start: number;
  end: number;
}

/** A labelled piece of a text with all that the engine knows. */
export interface EntityDetails {
  label: string;
  grouped: boolean;
  score: number;
  word: string;
  start: number;
  end: number;
  place: Place;
}

/** A word for a mask. */
export interface Fill {
  sequence: string;
  score: number;
  token: number;
  token_str: string;
}

/** The vector of a text. */
export interface Embedding {
  embedding: Float32Array;
  /** True if the end of the text was not read. */
  truncated: boolean;
}

/** The hidden states of a text's tokens, special tokens included: `rows` times `columns` numbers. */
export interface States {
  values: Float32Array;
  rows: number;
  columns: number;
  truncated: boolean;
}

/** A pair of texts that are classified together. */
export interface TextPair {
  text: string;
  text_pair: string;
}

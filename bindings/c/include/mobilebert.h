/*
 * The C interface of mobilebert: questions answered, texts classified, tagged and embedded, words for masks.
 *
 * In short, without a look at "error" behind each call that may return NULL (examples/c/answer.c has it):
 *
 *     MobilebertError *error = NULL;
 *     MobilebertModel *model = mobilebert_open("models/qa", NULL, &error);
 *     MobilebertAnswers *answers = mobilebert_answer(model, mobilebert_text("Who built it?"),
 *                                                    mobilebert_text("It was built by Ada."), NULL, &error);
 *     printf("%s\n", mobilebert_answers_at(answers, 0, 0)->text.data);
 *     mobilebert_answers_free(answers);
 *     mobilebert_model_free(model);
 *
 * Memory: what a function returns as a pointer that is not `const`, the caller frees with the function whose
 * name ends with _free. What it returns as a pointer to `const` belongs to the object that it was asked of and
 * lives as long as that. The library keeps no pointer to a caller's memory behind the end of a call; the one
 * exception says so (mobilebert_files_add_static).
 *
 * NULL: an argument may be NULL if its description says so.
 *
 * Errors: functions that can fail have a last parameter `error`; see MobilebertError. Nothing is written to
 * errno. A fault of the library is the error "panic" and not the end of the program; the library's runtime
 * writes its place to the standard error stream.
 *
 * Threads: any number of threads may call all functions at the same time, also with the same objects. Only a
 * function whose name ends with _free needs to be alone with its object, and an error, a result or a set of
 * files may move from thread to thread. What models share is one pool of threads, which starts with the first
 * model that has no `threads` of its own, and environment variables, which are read when a model is opened or a
 * pool starts. A forked child may use models that its parent opened.
 *
 * This file is written by a program from the sources of the library. Do not edit it.
 */

#ifndef MOBILEBERT_H
#define MOBILEBERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * The version of the binary interface that this header describes. A program that was compiled with this
 * header works with this or any later library that returns the same number from `mobilebert_abi_version`.
 * The number is also part of the shared library's name.
 */
#define MOBILEBERT_ABI_VERSION 0

/* A number that is not known: the index or the position of an error that has none. */
#define MOBILEBERT_NONE SIZE_MAX

/* A number of results that means all of them. */
#define MOBILEBERT_ALL SIZE_MAX

/* Bytes of UTF-8. */
#define MOBILEBERT_UNIT_BYTE 0

/* Code points, which Python counts. */
#define MOBILEBERT_UNIT_CODE_POINT 1

/* UTF-16 units, which Java, JavaScript, Qt and Windows count. */
#define MOBILEBERT_UNIT_UTF16 2

/* What the model or the library does without a choice. */
#define MOBILEBERT_DEFAULT 0

/* The option is on. */
#define MOBILEBERT_ON 1

/* The option is off. */
#define MOBILEBERT_OFF 2

/* The answers to one or several questions. */
typedef struct MobilebertAnswers MobilebertAnswers;

/* A flag by which one thread stops the calls of others. The options of each task have a field for it. */
typedef struct MobilebertCancel MobilebertCancel;

/* The vectors of one or several texts: a matrix with a row for each. */
typedef struct MobilebertEmbeddings MobilebertEmbeddings;

/* The labelled pieces of one or several texts, in the order of each text. */
typedef struct MobilebertEntities MobilebertEntities;

/*
 * What went wrong.
 *
 * Every function that can fail has a last parameter `MobilebertError **error`. It may be NULL. Otherwise the
 * function writes NULL there if it succeeds, and a new error if it fails; what is there before does not
 * matter and is not freed. The caller frees the error with `mobilebert_error_free`.
 */
typedef struct MobilebertError MobilebertError;

/*
 * The files of a model that is not in a folder, under the names that they have in one: "config.json",
 * "vocab.txt" or "tokenizer.json", "model.safetensors", "tokenizer_config.json" and so on.
 */
typedef struct MobilebertFiles MobilebertFiles;

/* The words for the masks of one or several texts. */
typedef struct MobilebertFills MobilebertFills;

/* The labels of one or several texts. */
typedef struct MobilebertLabels MobilebertLabels;

/*
 * A loaded model. Any number of threads may call functions with one model at the same time; only
 * `mobilebert_model_free` needs to be alone with it.
 */
typedef struct MobilebertModel MobilebertModel;

/* The states of the tokens of one or several texts: a matrix for each text, with a row for each token. */
typedef struct MobilebertStates MobilebertStates;

/* A text that this library made. */
typedef struct MobilebertUtf8 MobilebertUtf8;

/* What offsets count: one of the constants MOBILEBERT_UNIT_... */
typedef uint32_t MobilebertUnit;

/*
 * A text: `size` bytes of UTF-8 at `data`. A NUL is a character as any other and does not end it. `data` may
 * be NULL if `size` is 0.
 *
 * Texts that a program passes in need not end with NUL, and have to stay as they are until the call returns.
 * Texts in results have a NUL behind them, which `size` does not count, and live as long as their result.
 * `mobilebert_text` makes one of a string.
 */
typedef struct MobilebertText {
  /* The first byte. */
  const char *data;
  /* The number of bytes. */
  size_t size;
} MobilebertText;

/* A choice between the default, on and off: one of MOBILEBERT_DEFAULT, MOBILEBERT_ON and MOBILEBERT_OFF. */
typedef int32_t MobilebertSwitch;

/*
 * How to open a model. `mobilebert_open_options` makes the defaults; every field that is zero means the
 * default.
 */
typedef struct MobilebertOpenOptions {
  /* The size of this struct, so that later versions can add fields. */
  size_t struct_size;
  /*
   * The task that the model is opened for: "question-answering", "text-classification",
   * "token-classification", "fill-mask" or "feature-extraction". A model that was not trained for it is an
   * error when it is opened, instead of when it is called. Default: the model's own. Embeddings need no
   * choice; "feature-extraction" leaves out the weights that other tasks need.
   */
  const char *task;
  /*
   * The number of threads for each pass. With 1, calls run on the calling thread, so that several threads
   * of the program run side by side. Default: one for each processor that the process may use, shared by
   * all models. Results do not depend on it.
   */
  size_t threads;
  /* "int8", "bf16" or "f32". Default: that of the stored weights. */
  const char *precision;
  /* Off if "[SEP]" and the like in a text are plain characters. Default: they are special tokens. */
  MobilebertSwitch special_tokens_in_text;
  /*
   * Who computes. Default: "native", the only one of this library. A library of a product's own may have
   * others, see docs/extending.md.
   */
  const char *backend;
} MobilebertOpenOptions;

/*
 * Options of question answering. `mobilebert_answer_options` makes the defaults; every field that is zero
 * means the default.
 */
typedef struct MobilebertAnswerOptions {
  /* The size of this struct, so that later versions can add fields. */
  size_t struct_size;
  /* The largest number of answers to a question, or MOBILEBERT_ALL. Default: 1. */
  size_t top_k;
  /*
   * The longest sequence of question, window of the context and special tokens, in tokens. Default: 384 or
   * the model's limit.
   */
  size_t max_seq_len;
  /*
   * The number of tokens that neighbouring windows of a long context share. Default: 128, or half of
   * `max_seq_len` if that is less.
   */
  size_t doc_stride;
  /* The longest question in tokens; a longer one is an error. Default: 64. */
  size_t max_question_len;
  /* The longest answer in tokens. Default: 30. */
  size_t max_answer_len;
  /*
   * On if "the context does not say" may be an answer, which is an empty one at 0..0. It is meant for
   * models trained on SQuAD 2.0. Default: off.
   */
  MobilebertSwitch handle_impossible_answer;
  /*
   * On if places of the context with the same text are one answer with the sum of their scores. Default:
   * on.
   */
  MobilebertSwitch merge_equal_texts;
  /*
   * On if the score of "no answer" takes part in the sums that scores are shares of. Default: off, unless
   * `handle_impossible_answer` is on.
   */
  MobilebertSwitch null_competes;
  /*
   * The odds of "no answer" above which it comes first, with `handle_impossible_answer`, or NULL. Default:
   * the model's, or 0.
   */
  const float *null_threshold;
  /*
   * The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
   * Default: there is no limit.
   */
  uint64_t timeout_ms;
  /* A flag that cancels the call, or NULL. */
  const MobilebertCancel *cancel;
  /*
   * More options by name, as a JSON object in a string, or NULL. They win over the fields. The names are
   * those of the fields above up to `null_threshold`, and of options that this struct does not have.
   */
  const char *json;
} MobilebertAnswerOptions;

/* A piece of a text, from `start` to the unit before `end`. */
typedef struct MobilebertSpan {
  /* The number of units before the piece. */
  size_t start;
  /* The number of units before what follows the piece. */
  size_t end;
} MobilebertSpan;

/*
 * The place of a piece of the caller's text, in each unit. Its size is the same in all versions with one
 * MOBILEBERT_ABI_VERSION.
 */
typedef struct MobilebertPlace {
  /* In bytes: `context.data + bytes.start` is the first of them. */
  MobilebertSpan bytes;
  /* In code points. */
  MobilebertSpan code_points;
  /* In UTF-16 units. */
  MobilebertSpan utf16;
} MobilebertPlace;

/*
 * Another place of the context with the text of an answer. Its size is the same in all versions with one
 * MOBILEBERT_ABI_VERSION.
 */
typedef struct MobilebertAnswerPlace {
  /* The part of the answer's score. */
  float score;
  /* The place in the context. */
  MobilebertPlace place;
} MobilebertAnswerPlace;

/* An answer: a piece of its context. Later versions may add fields at the end. */
typedef struct MobilebertAnswer {
  /* The text of the answer; empty if the context does not say. */
  MobilebertText text;
  /* The score, from 0 to 1. */
  float score;
  /* The place in the context. */
  MobilebertPlace place;
  /* The other places with the same text, best first. */
  const MobilebertAnswerPlace *others;
  /* The number of other places. */
  size_t other_count;
} MobilebertAnswer;

/*
 * Options of text classification. `mobilebert_classify_options` makes the defaults; every field that is zero
 * means the default.
 */
typedef struct MobilebertClassifyOptions {
  /* The size of this struct, so that later versions can add fields. */
  size_t struct_size;
  /* The largest number of labels, or MOBILEBERT_ALL. Default: 1. */
  size_t top_k;
  /* The lowest score of a label that is reported, or NULL. Default: there is none. */
  const float *threshold;
  /*
   * The function that turns the model's numbers into scores: "auto", "softmax", "sigmoid" or "none".
   * Default: "auto", the one that fits the model.
   */
  const char *function_to_apply;
  /*
   * What happens to texts that are longer than the model allows: "truncate", "refuse", "windows-mean" or
   * "windows-max". Default: "truncate".
   */
  const char *long_text;
  /* The longest sequence in tokens. Default: the model's limit. */
  size_t max_seq_len;
  /*
   * The number of tokens that neighbouring windows of a long text share. Default: 128, or half of
   * `max_seq_len` if that is less.
   */
  size_t doc_stride;
  /* The only labels to report, or NULL. Default: all. */
  const MobilebertText *labels;
  /* The number of such labels. */
  size_t label_count;
  /*
   * The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
   * Default: there is no limit.
   */
  uint64_t timeout_ms;
  /* A flag that cancels the call, or NULL. */
  const MobilebertCancel *cancel;
  /* More options by name, as a JSON object in a string, or NULL. They win over the fields. */
  const char *json;
} MobilebertClassifyOptions;

/* A label of a text. Later versions may add fields at the end. */
typedef struct MobilebertLabel {
  /* The label. */
  MobilebertText label;
  /* The score. */
  float score;
} MobilebertLabel;

/*
 * Options of tagging. `mobilebert_tag_options` makes the defaults; every field that is zero means the
 * default.
 */
typedef struct MobilebertTagOptions {
  /* The size of this struct, so that later versions can add fields. */
  size_t struct_size;
  /*
   * How the labels of tokens become entities: "none", "simple", "first", "average" or "max". Default:
   * "simple".
   */
  const char *aggregation_strategy;
  /*
   * The labels that are left out of the results. NULL is the default: "O". To leave none out, point to
   * anything and set `ignore_label_count` to 0.
   */
  const MobilebertText *ignore_labels;
  /* The number of such labels. */
  size_t ignore_label_count;
  /* The longest window in tokens. Default: the model's limit. */
  size_t max_seq_len;
  /*
   * The number of tokens that neighbouring windows of a long text share. Default: 128, or half of
   * `max_seq_len` if that is less.
   */
  size_t doc_stride;
  /*
   * The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
   * Default: there is no limit.
   */
  uint64_t timeout_ms;
  /* A flag that cancels the call, or NULL. */
  const MobilebertCancel *cancel;
  /* More options by name, as a JSON object in a string, or NULL. They win over the fields. */
  const char *json;
} MobilebertTagOptions;

/* A labelled piece of a text. Later versions may add fields at the end. */
typedef struct MobilebertEntity {
  /* The label, without a mark such as "B-" if tokens were joined. */
  MobilebertText label;
  /* The piece of the text. */
  MobilebertText word;
  /* The mean score of the parts. */
  float score;
  /* True if tokens were joined. */
  bool grouped;
  /* The place in the text. */
  MobilebertPlace place;
} MobilebertEntity;

/*
 * Options of filling masks. `mobilebert_fill_options` makes the defaults; every field that is zero means the
 * default.
 */
typedef struct MobilebertFillOptions {
  /* The size of this struct, so that later versions can add fields. */
  size_t struct_size;
  /* The largest number of words for a mask, or MOBILEBERT_ALL. Default: 5. */
  size_t top_k;
  /*
   * The only words to rank, each of which has to be one entry of the vocabulary, or NULL. Default: the
   * whole vocabulary.
   */
  const MobilebertText *targets;
  /* The number of such words. */
  size_t target_count;
  /*
   * The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
   * Default: there is no limit.
   */
  uint64_t timeout_ms;
  /* A flag that cancels the call, or NULL. */
  const MobilebertCancel *cancel;
  /* More options by name, as a JSON object in a string, or NULL. They win over the fields. */
  const char *json;
} MobilebertFillOptions;

/* A word for a mask. Later versions may add fields at the end. */
typedef struct MobilebertFill {
  /* The text with this word in place of the mask. Other masks stay. */
  MobilebertText sequence;
  /* The word, as it stands in the vocabulary. */
  MobilebertText token_text;
  /* The number of the word in the vocabulary. */
  uint32_t token;
  /* The score, from 0 to 1. */
  float score;
} MobilebertFill;

/*
 * Options of embeddings and token states. `mobilebert_embed_options` makes the defaults; every field that is
 * zero means the default.
 */
typedef struct MobilebertEmbedOptions {
  /* The size of this struct, so that later versions can add fields. */
  size_t struct_size;
  /*
   * How the states of tokens become one vector: "mean", "cls", "max", "mean_sqrt_len", "weighted_mean" or
   * "last_token". Default: the model's, or "mean".
   */
  const char *pooling;
  /* On if vectors have length 1, so that their dot product is the cosine. Default: the model's, or on. */
  MobilebertSwitch normalize;
  /* The longest sequence in tokens. Default: the model's limit. */
  size_t max_seq_len;
  /*
   * The milliseconds after which no further pass begins and the call fails with "deadline_exceeded".
   * Default: there is no limit.
   */
  uint64_t timeout_ms;
  /* A flag that cancels the call, or NULL. */
  const MobilebertCancel *cancel;
  /* More options by name, as a JSON object in a string, or NULL. They win over the fields. */
  const char *json;
} MobilebertEmbedOptions;

/* Makes a text of a string that ends with NUL. NULL becomes an empty text. */
static inline MobilebertText mobilebert_text(const char *string) {
  MobilebertText text;
  text.data = string;
  text.size = string == NULL ? 0 : strlen(string);
  return text;
}

/* Makes default options. */
static inline MobilebertOpenOptions mobilebert_open_options(void) {
  MobilebertOpenOptions options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/* Makes default options. */
static inline MobilebertAnswerOptions mobilebert_answer_options(void) {
  MobilebertAnswerOptions options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/* Makes default options. */
static inline MobilebertClassifyOptions mobilebert_classify_options(void) {
  MobilebertClassifyOptions options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/* Makes default options. */
static inline MobilebertTagOptions mobilebert_tag_options(void) {
  MobilebertTagOptions options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/* Makes default options. */
static inline MobilebertFillOptions mobilebert_fill_options(void) {
  MobilebertFillOptions options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

/* Makes default options. */
static inline MobilebertEmbedOptions mobilebert_embed_options(void) {
  MobilebertEmbedOptions options;
  memset(&options, 0, sizeof options);
  options.struct_size = sizeof options;
  return options;
}

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/* ---- Versions --------------------------------------------------------------------------------------------- */

/* Returns the version of the library's binary interface, to be compared with `MOBILEBERT_ABI_VERSION`. */
uint32_t mobilebert_abi_version(void);

/* Returns the version of the library, such as "0.1.0". The string is never freed. */
const char *mobilebert_version(void);

/* ---- Errors ----------------------------------------------------------------------------------------------- */

/*
 * Returns the kind of error as a short name that stays the same from release to release, for programs to
 * compare: "unknown_model", "missing_file", "empty_text", "too_long", "invalid_text", "option",
 * "unknown_option", "input", "wrong_task", "cancelled", "deadline_exceeded", "null_argument", and others
 * that a program will rather show than handle. "panic" is a fault of the library; the handles can still be
 * used.
 *
 * The string belongs to the error. It is NULL if `error` is NULL.
 */
const char *mobilebert_error_code(const MobilebertError *error);

/*
 * Returns a sentence for people: what happened, where, what was expected and what to do. It is UTF-8 and may
 * change from release to release.
 *
 * The string belongs to the error. It is NULL if `error` is NULL.
 */
const char *mobilebert_error_message(const MobilebertError *error);

/*
 * Returns the place of the error, such as the name of an option, a file, or "text 3: question". It is NULL
 * if there is none, or if `error` is NULL.
 *
 * The string belongs to the error.
 */
const char *mobilebert_error_place(const MobilebertError *error);

/*
 * Returns the index, from 0, of the input that failed, for a call with several inputs. It is MOBILEBERT_NONE
 * if there is none, or if `error` is NULL.
 */
size_t mobilebert_error_index(const MobilebertError *error);

/*
 * Returns the position in the text, from 0, of the character that is at fault, for errors of kind
 * "invalid_text". It is MOBILEBERT_NONE if there is none, if `unit` is none of the constants
 * MOBILEBERT_UNIT_..., or if `error` is NULL.
 */
size_t mobilebert_error_position(const MobilebertError *error, MobilebertUnit unit);

/* Frees an error and its strings. NULL is allowed. */
void mobilebert_error_free(MobilebertError *error);

/* ---- Offsets, and texts in UTF-16 ------------------------------------------------------------------------- */

/*
 * Converts offsets into a text from bytes to another unit, in place and in any order.
 *
 * Errors: "invalid_text"; "input" for an offset that is behind the end or inside a character, and then no
 * offset is changed; "option" for an unknown unit; "null_argument" if `offsets` is NULL and `count` is not
 * 0. Returns true if it succeeds. `error` may be NULL.
 */
bool mobilebert_convert_offsets(MobilebertText text,
                                MobilebertUnit unit,
                                size_t *offsets,
                                size_t count,
                                MobilebertError **error);

/*
 * Makes UTF-8 of `count` UTF-16 units, the form in which Java, JavaScript, Qt and Windows keep texts.
 *
 * Errors: "invalid_text" with the position of the first half of a surrogate pair that has no other half;
 * "null_argument" if `units` is NULL and `count` is not 0. Returns NULL if it fails. The caller frees the
 * result with `mobilebert_utf8_free`. `error` may be NULL.
 */
MobilebertUtf8 *mobilebert_utf8_from_utf16(const uint16_t *units, size_t count, MobilebertError **error);

/* Returns the text, which belongs to `utf8`. It is empty if `utf8` is NULL. */
MobilebertText mobilebert_utf8_text(const MobilebertUtf8 *utf8);

/* Frees a text. NULL is allowed. */
void mobilebert_utf8_free(MobilebertUtf8 *utf8);

/* ---- Cancellation ----------------------------------------------------------------------------------------- */

/* Makes a flag. The caller frees it with `mobilebert_cancel_free` when no call uses it any more. */
MobilebertCancel *mobilebert_cancel_new(void);

/*
 * Asks all calls with this flag to stop, those to come too. A call looks at it before it begins and between
 * two forward passes, each of a few milliseconds, and then fails with "cancelled". Any thread and any signal
 * handler may call this. NULL is allowed.
 */
void mobilebert_cancel_request(const MobilebertCancel *cancel);

/* Takes the request back, so that the flag can be used again. NULL is allowed. */
void mobilebert_cancel_reset(const MobilebertCancel *cancel);

/* Frees a flag. NULL is allowed. */
void mobilebert_cancel_free(MobilebertCancel *cancel);

/* ---- Models ----------------------------------------------------------------------------------------------- */

/*
 * Opens a model by the path of its folder or by a name. A name such as "qa" is a folder in one of those that
 * the environment variable MOBILEBERT_MODELS lists, separated by colons (semicolons on Windows), or a model
 * in the local cache of the Hugging Face hub, such as "org/name". Nothing is downloaded.
 *
 * `options` and `error` may be NULL. Errors: "unknown_model", "missing_file", "config", "tensor" and others
 * of the model's files; "wrong_task"; "option"; "null_argument" if `model` is NULL. Returns NULL if it
 * fails. The caller frees the model with `mobilebert_model_free`.
 */
MobilebertModel *mobilebert_open(const char *model, const MobilebertOpenOptions *options, MobilebertError **error);

/*
 * Returns the task of a model, such as "question-answering". It is NULL if the model has a head that no
 * function here uses, or if `model` is NULL. The string belongs to the model.
 */
const char *mobilebert_model_task(const MobilebertModel *model);

/*
 * Returns the precision that a model computes in: "int8", "bf16" or "f32". It is NULL if `model` is NULL.
 * The string belongs to the model.
 */
const char *mobilebert_model_precision(const MobilebertModel *model);

/*
 * Returns the name of the instruction set that a model computes with, such as "avx2". It is NULL if `model`
 * is NULL. The string belongs to the model.
 */
const char *mobilebert_model_kernel(const MobilebertModel *model);

/* Returns the number of threads of a pass, or 0 if `model` is NULL. */
size_t mobilebert_model_threads(const MobilebertModel *model);

/*
 * Returns the length of the longest sequence in tokens, or 0 if `model` is NULL. Longer texts are read in
 * overlapping windows or cut, as each task says.
 */
size_t mobilebert_model_max_length(const MobilebertModel *model);

/* Returns the number of labels of a model, or 0 if `model` is NULL. */
size_t mobilebert_model_label_count(const MobilebertModel *model);

/*
 * Returns a label of a model, in the order of its configuration. It is NULL if there is none of this index,
 * or if `model` is NULL. The string belongs to the model.
 */
const char *mobilebert_model_label(const MobilebertModel *model, size_t index);

/* Frees a model. No other thread may use it then or later. Results that it gave stay valid. NULL is allowed. */
void mobilebert_model_free(MobilebertModel *model);

/* ---- Models that are not in a folder ---------------------------------------------------------------------- */

/*
 * Makes an empty set of files. Error messages call the model by `label`, which may be NULL. The caller frees
 * the set with `mobilebert_files_free`. `error` may be NULL. Errors: "invalid_text" for a label that is not
 * UTF-8. Returns NULL if it fails.
 */
MobilebertFiles *mobilebert_files_new(const char *label, MobilebertError **error);

/*
 * Adds a copy of `size` bytes as the file `name`. It replaces a file of the same name.
 *
 * Errors: "null_argument" if `files`, `name`, or `data` with a `size` that is not 0, are NULL. Returns true
 * if it succeeds. `error` may be NULL.
 */
bool mobilebert_files_add(const MobilebertFiles *files,
                          const char *name,
                          const void *data,
                          size_t size,
                          MobilebertError **error);

/*
 * Adds `size` bytes as the file `name` without a copy. They have to stay where and as they are until the
 * program ends, as constants that are compiled into it do. `mobilebert_files_add` says the rest.
 */
bool mobilebert_files_add_static(const MobilebertFiles *files,
                                 const char *name,
                                 const void *data,
                                 size_t size,
                                 MobilebertError **error);

/*
 * Adds a part of an open file as the file `name`: `size` bytes from `offset`, which need not be a multiple
 * of anything. This is how a model inside of an archive is read where it lies, such as an uncompressed asset
 * of an Android package.
 *
 * The part is mapped and not copied. The descriptor is duplicated, so the caller may close it afterwards.
 * The file must not be shortened or written to before the models that use it are opened and `files` is
 * freed.
 *
 * Errors: "io" if the descriptor is not open or not that of a regular file, and if the file ends before the
 * part does; "null_argument" if `files` or `name` are NULL; "input" on Windows, where there is no such
 * function. Returns true if it succeeds. `error` may be NULL.
 */
bool mobilebert_files_add_descriptor(const MobilebertFiles *files,
                                     const char *name,
                                     int32_t descriptor,
                                     uint64_t offset,
                                     uint64_t size,
                                     MobilebertError **error);

/*
 * Opens a model from files. The same files can be opened any number of times, and freed afterwards: an open
 * model does not use them. `mobilebert_open` says the rest.
 */
MobilebertModel *mobilebert_open_files(const MobilebertFiles *files,
                                       const MobilebertOpenOptions *options,
                                       MobilebertError **error);

/* Frees a set of files. NULL is allowed. */
void mobilebert_files_free(MobilebertFiles *files);

/* ---- Question answering ----------------------------------------------------------------------------------- */

/*
 * Answers a question from a context of any length.
 *
 * `options` and `error` may be NULL. Errors: "empty_text", "too_long" for the question, "invalid_text",
 * "option", "unknown_option", "wrong_task" if the model is not for question answering, "cancelled",
 * "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller frees the
 * result with `mobilebert_answers_free`.
 */
MobilebertAnswers *mobilebert_answer(const MobilebertModel *model,
                                     MobilebertText question,
                                     MobilebertText context,
                                     const MobilebertAnswerOptions *options,
                                     MobilebertError **error);

/*
 * Answers several questions from one context, which is tokenised once. The first question that fails ends
 * the call, and its index is that of the error. `questions` may be NULL if `count` is 0. `mobilebert_answer`
 * says the rest.
 */
MobilebertAnswers *mobilebert_answer_questions(const MobilebertModel *model,
                                               const MobilebertText *questions,
                                               size_t count,
                                               MobilebertText context,
                                               const MobilebertAnswerOptions *options,
                                               MobilebertError **error);

/*
 * Answers several questions, each from a context of its own. `context_count` has to equal `count`; another
 * number is the error "input". The first pair that fails ends the call, and its index is that of the error.
 * Arrays may be NULL if they are empty. `mobilebert_answer` says the rest.
 */
MobilebertAnswers *mobilebert_answer_pairs(const MobilebertModel *model,
                                           const MobilebertText *questions,
                                           size_t count,
                                           const MobilebertText *contexts,
                                           size_t context_count,
                                           const MobilebertAnswerOptions *options,
                                           MobilebertError **error);

/*
 * Answers a question without reading the whole context, and says what was left unread. The windows of the
 * context that have most words in common with the question are read first.
 *
 * It reads `most_windows` windows, or all of them if that is 0. `timeout_ms` of the options ends the search
 * with what was found by then, and is an error only if it is over before the first pass. The first limit gives
 * the same result on every machine. Scores are shares among the windows that were read. If all were read, the
 * answers are those of `mobilebert_answer`, which says the rest.
 */
MobilebertAnswers *mobilebert_answers_within(const MobilebertModel *model,
                                             MobilebertText question,
                                             MobilebertText context,
                                             size_t most_windows,
                                             const MobilebertAnswerOptions *options,
                                             MobilebertError **error);

/* Returns the number of questions, or 0 if `answers` is NULL. */
size_t mobilebert_answers_inputs(const MobilebertAnswers *answers);

/* Returns the number of answers to a question. It is 0 if there is no question of this index. */
size_t mobilebert_answers_count(const MobilebertAnswers *answers, size_t input);

/*
 * Returns an answer to the question `input`, of which `rank` 0 is the best. It belongs to `answers`. It is
 * NULL if there is none.
 */
const MobilebertAnswer *mobilebert_answers_at(const MobilebertAnswers *answers, size_t input, size_t rank);

/*
 * Returns the number of windows of the context of `mobilebert_answers_within`. It is 0 for answers of another
 * function.
 */
size_t mobilebert_answers_windows(const MobilebertAnswers *answers);

/* Returns the number of windows that `mobilebert_answers_within` read. It is 0 for answers of another function. */
size_t mobilebert_answers_windows_read(const MobilebertAnswers *answers);

/* Returns the number of parts of the context that `mobilebert_answers_within` left unread. */
size_t mobilebert_answers_unread_count(const MobilebertAnswers *answers);

/*
 * Returns a part of the context that was left unread, in their order. It belongs to `answers`. It is NULL if
 * there is none of this index.
 */
const MobilebertPlace *mobilebert_answers_unread_at(const MobilebertAnswers *answers, size_t index);

/* Frees answers with their texts. NULL is allowed. */
void mobilebert_answers_free(MobilebertAnswers *answers);

/* ---- Text classification ---------------------------------------------------------------------------------- */

/*
 * Labels a text.
 *
 * `options` and `error` may be NULL. Errors: "empty_text", "too_long", "invalid_text", "option",
 * "unknown_option", "wrong_task" if the model is not for text classification, "cancelled",
 * "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller frees the
 * result with `mobilebert_labels_free`.
 */
MobilebertLabels *mobilebert_classify(const MobilebertModel *model,
                                      MobilebertText text,
                                      const MobilebertClassifyOptions *options,
                                      MobilebertError **error);

/*
 * Labels a pair of texts, such as a sentence and what may follow from it. `mobilebert_classify` says the
 * rest.
 */
MobilebertLabels *mobilebert_classify_pair(const MobilebertModel *model,
                                           MobilebertText text,
                                           MobilebertText second,
                                           const MobilebertClassifyOptions *options,
                                           MobilebertError **error);

/*
 * Labels several texts, or several pairs if `seconds` is not NULL. Then `second_count` has to equal `count`;
 * another number is the error "input". The first text that fails ends the call, and its index is that of the
 * error. `texts` may be NULL if `count` is 0. `mobilebert_classify` says the rest.
 */
MobilebertLabels *mobilebert_classify_batch(const MobilebertModel *model,
                                            const MobilebertText *texts,
                                            size_t count,
                                            const MobilebertText *seconds,
                                            size_t second_count,
                                            const MobilebertClassifyOptions *options,
                                            MobilebertError **error);

/* Returns the number of texts, or 0 if `labels` is NULL. */
size_t mobilebert_labels_inputs(const MobilebertLabels *labels);

/* Returns the number of labels of a text. It is 0 if there is no text of this index. */
size_t mobilebert_labels_count(const MobilebertLabels *labels, size_t input);

/*
 * Returns a label of the text `input`, of which `rank` 0 is the best. It belongs to `labels`. It is NULL if
 * there is none.
 */
const MobilebertLabel *mobilebert_labels_at(const MobilebertLabels *labels, size_t input, size_t rank);

/* Returns true if the end of the text `input` was not read because it did not fit the model. */
bool mobilebert_labels_truncated(const MobilebertLabels *labels, size_t input);

/* Frees labels with their texts. NULL is allowed. */
void mobilebert_labels_free(MobilebertLabels *labels);

/* ---- Token classification --------------------------------------------------------------------------------- */

/*
 * Finds the labelled pieces of a text of any length, such as names of people and places.
 *
 * `options` and `error` may be NULL. Errors: "empty_text", "invalid_text", "option", "unknown_option",
 * "wrong_task" if the model is not for token classification, "cancelled", "deadline_exceeded",
 * "null_argument" if `model` is NULL. Returns NULL if it fails. The caller frees the result with
 * `mobilebert_entities_free`.
 */
MobilebertEntities *mobilebert_tag(const MobilebertModel *model,
                                   MobilebertText text,
                                   const MobilebertTagOptions *options,
                                   MobilebertError **error);

/*
 * Finds the labelled pieces of several texts. The first text that fails ends the call, and its index is that
 * of the error. `texts` may be NULL if `count` is 0. `mobilebert_tag` says the rest.
 */
MobilebertEntities *mobilebert_tag_batch(const MobilebertModel *model,
                                         const MobilebertText *texts,
                                         size_t count,
                                         const MobilebertTagOptions *options,
                                         MobilebertError **error);

/* Returns the number of texts, or 0 if `entities` is NULL. */
size_t mobilebert_entities_inputs(const MobilebertEntities *entities);

/* Returns the number of labelled pieces of a text. It is 0 if there is no text of this index. */
size_t mobilebert_entities_count(const MobilebertEntities *entities, size_t input);

/*
 * Returns a labelled piece of the text `input`, in the order of the text. It belongs to `entities`. It is
 * NULL if there is none.
 */
const MobilebertEntity *mobilebert_entities_at(const MobilebertEntities *entities,
                                               size_t input,
                                               size_t index);

/* Frees entities with their texts. NULL is allowed. */
void mobilebert_entities_free(MobilebertEntities *entities);

/* ---- Words for masks -------------------------------------------------------------------------------------- */

/*
 * Finds the best words for each "[MASK]" of a text.
 *
 * `options` and `error` may be NULL. Errors: "empty_text", "too_long", "input" for a text without a mask,
 * "invalid_text", "option", "unknown_option", "wrong_task" if the model is not for filling masks,
 * "cancelled", "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller
 * frees the result with `mobilebert_fills_free`.
 */
MobilebertFills *mobilebert_fill(const MobilebertModel *model,
                                 MobilebertText text,
                                 const MobilebertFillOptions *options,
                                 MobilebertError **error);

/*
 * Finds the best words for the masks of several texts. The first text that fails ends the call, and its
 * index is that of the error. `texts` may be NULL if `count` is 0. `mobilebert_fill` says the rest.
 */
MobilebertFills *mobilebert_fill_batch(const MobilebertModel *model,
                                       const MobilebertText *texts,
                                       size_t count,
                                       const MobilebertFillOptions *options,
                                       MobilebertError **error);

/* Returns the number of texts, or 0 if `fills` is NULL. */
size_t mobilebert_fills_inputs(const MobilebertFills *fills);

/* Returns the number of masks of a text. It is 0 if there is no text of this index. */
size_t mobilebert_fills_masks(const MobilebertFills *fills, size_t input);

/* Returns the number of words for a mask. It is 0 if there is no such mask. */
size_t mobilebert_fills_count(const MobilebertFills *fills, size_t input, size_t mask);

/*
 * Returns a word for the mask `mask` of the text `input`, of which `rank` 0 is the best. It belongs to
 * `fills`. It is NULL if there is none.
 */
const MobilebertFill *mobilebert_fills_at(const MobilebertFills *fills,
                                          size_t input,
                                          size_t mask,
                                          size_t rank);

/* Frees words with their texts. NULL is allowed. */
void mobilebert_fills_free(MobilebertFills *fills);

/* ---- Embeddings and token states -------------------------------------------------------------------------- */

/*
 * Computes the vector of a text. Any model can, but only one that was trained for it gives similar texts
 * similar vectors.
 *
 * `options` and `error` may be NULL. Errors: "empty_text", "invalid_text", "option", "unknown_option",
 * "cancelled", "deadline_exceeded", "null_argument" if `model` is NULL. Returns NULL if it fails. The caller
 * frees the result with `mobilebert_embeddings_free`.
 */
MobilebertEmbeddings *mobilebert_embed(const MobilebertModel *model,
                                       MobilebertText text,
                                       const MobilebertEmbedOptions *options,
                                       MobilebertError **error);

/*
 * Computes the vectors of several texts. The first text that fails ends the call, and its index is that of
 * the error. `texts` may be NULL if `count` is 0. `mobilebert_embed` says the rest.
 */
MobilebertEmbeddings *mobilebert_embed_batch(const MobilebertModel *model,
                                             const MobilebertText *texts,
                                             size_t count,
                                             const MobilebertEmbedOptions *options,
                                             MobilebertError **error);

/* Returns the number of texts, which is that of the matrix's rows, or 0 if `embeddings` is NULL. */
size_t mobilebert_embeddings_rows(const MobilebertEmbeddings *embeddings);

/* Returns the number of numbers in a vector, or 0 if `embeddings` is NULL. */
size_t mobilebert_embeddings_columns(const MobilebertEmbeddings *embeddings);

/*
 * Returns the rows of the matrix, one behind the other: `values[row * columns + column]`. They belong to
 * `embeddings`. It is NULL if `embeddings` is NULL or has no rows.
 */
const float *mobilebert_embeddings_values(const MobilebertEmbeddings *embeddings);

/* Returns true if the end of the text `input` was not read because it did not fit the model. */
bool mobilebert_embeddings_truncated(const MobilebertEmbeddings *embeddings, size_t input);

/* Frees vectors. NULL is allowed. */
void mobilebert_embeddings_free(MobilebertEmbeddings *embeddings);

/*
 * Computes the states of the tokens of a text, special tokens included. The caller frees the result with
 * `mobilebert_states_free`. `mobilebert_embed` says the rest.
 */
MobilebertStates *mobilebert_token_states(const MobilebertModel *model,
                                          MobilebertText text,
                                          const MobilebertEmbedOptions *options,
                                          MobilebertError **error);

/*
 * Computes the states of the tokens of several texts. The first text that fails ends the call, and its index
 * is that of the error. `texts` may be NULL if `count` is 0. `mobilebert_token_states` says the rest.
 */
MobilebertStates *mobilebert_token_states_batch(const MobilebertModel *model,
                                                const MobilebertText *texts,
                                                size_t count,
                                                const MobilebertEmbedOptions *options,
                                                MobilebertError **error);

/* Returns the number of texts, or 0 if `states` is NULL. */
size_t mobilebert_states_inputs(const MobilebertStates *states);

/* Returns the number of tokens of a text. It is 0 if there is no text of this index. */
size_t mobilebert_states_rows(const MobilebertStates *states, size_t input);

/* Returns the number of numbers in the state of a token. It is 0 if there is no text of this index. */
size_t mobilebert_states_columns(const MobilebertStates *states, size_t input);

/*
 * Returns the states of the tokens of a text, one behind the other. They belong to `states`. It is NULL if
 * there is no text of this index.
 */
const float *mobilebert_states_values(const MobilebertStates *states, size_t input);

/* Returns true if the end of the text `input` was not read because it did not fit the model. */
bool mobilebert_states_truncated(const MobilebertStates *states, size_t input);

/* Frees states. NULL is allowed. */
void mobilebert_states_free(MobilebertStates *states);

#ifdef __cplusplus
} /* extern "C" */
#endif /* __cplusplus */

#endif  /* MOBILEBERT_H */

/* What the header promises: `contract ROOT`, where ROOT is the repository. */

#define _POSIX_C_SOURCE 200809L

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

static char root[3000];
static char path[4096];

/* Returns the path of a file of the repository. */
static const char *in_root(const char *name) {
  snprintf(path, sizeof path, "%s/%s", root, name);
  return path;
}

static MobilebertModel *open_model(const char *name) {
  MobilebertError *error = NULL;
  MobilebertModel *model = mobilebert_open(in_root(name), NULL, &error);
  if (model == NULL) {
    show_error(error);
    exit(EXIT_FAILURE);
  }
  return model;
}

/* Returns true if the error has this code and this place, which may be NULL, and frees it. */
static bool is_error(MobilebertError *error, const char *code, const char *place) {
  bool same = error != NULL && strcmp(mobilebert_error_code(error), code) == 0;
  const char *found = mobilebert_error_place(error);
  same = same && (place == NULL ? found == NULL : found != NULL && strcmp(found, place) == 0);
  if (!same && error != NULL)
    fprintf(stderr, "found the error %s at %s: %s\n", mobilebert_error_code(error),
            found == NULL ? "-" : found, mobilebert_error_message(error));
  mobilebert_error_free(error);
  return same;
}

static const char QUESTION[] = "Who built it?";
static const char CONTEXT[] = "It was built by Ada.";

/* Returns true if the answers are the one to the question above. */
static bool is_ada(const MobilebertAnswers *answers) {
  const MobilebertAnswer *answer = mobilebert_answers_at(answers, 0, 0);
  return answer != NULL && strcmp(answer->text.data, "Ada") == 0 && answer->place.bytes.start == 16 &&
         answer->place.bytes.end == 19;
}

static bool answers_ada(const MobilebertModel *model) {
  MobilebertError *error = NULL;
  MobilebertAnswers *answers =
      mobilebert_answer(model, mobilebert_text(QUESTION), mobilebert_text(CONTEXT), NULL, &error);
  bool same = is_ada(answers) && error == NULL;
  mobilebert_answers_free(answers);
  show_error(error);
  return same;
}

static void versions(void) {
  CHECK(mobilebert_abi_version() == MOBILEBERT_ABI_VERSION);
  CHECK(strcmp(mobilebert_version(), PACKAGE_VERSION) == 0);
}

static void a_model_describes_itself(void) {
  MobilebertModel *model = open_model("models/sentiment");
  CHECK(strcmp(mobilebert_model_task(model), "text-classification") == 0);
  CHECK(strcmp(mobilebert_model_precision(model), "int8") == 0);
  CHECK(strlen(mobilebert_model_kernel(model)) > 0);
  CHECK(mobilebert_model_threads(model) > 0);
  CHECK(mobilebert_model_max_length(model) == 512);
  CHECK(mobilebert_model_label_count(model) == 2);
  CHECK(strcmp(mobilebert_model_label(model, 1), "positive") == 0);
  CHECK(mobilebert_model_label(model, 2) == NULL);
  mobilebert_model_free(model);
}

static void a_wrong_model_is_refused(void) {
  MobilebertError *error = NULL;
  CHECK(mobilebert_open("/nowhere/at/all", NULL, &error) == NULL);
  CHECK(is_error(error, "unknown_model", "/nowhere/at/all"));
  CHECK(mobilebert_open("qa", NULL, &error) == NULL);
  CHECK(is_error(error, "unknown_model", "qa"));
  CHECK(mobilebert_open(NULL, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_open("/\xFF", NULL, &error) == NULL);
  CHECK(error != NULL && strcmp(mobilebert_error_code(error), "unknown_model") == 0);
  mobilebert_error_free(error);

  MobilebertOpenOptions options = mobilebert_open_options();
  options.task = "question-answering";
  CHECK(mobilebert_open(in_root("models/sentiment"), &options, &error) == NULL);
  CHECK(is_error(error, "wrong_task", NULL));
  options.task = "summarization";
  CHECK(mobilebert_open(in_root("models/qa"), &options, &error) == NULL);
  CHECK(is_error(error, "option", "task"));
  options = mobilebert_open_options();
  options.backend = "nnapi";
  CHECK(mobilebert_open(in_root("models/qa"), &options, &error) == NULL);
  CHECK(is_error(error, "option", "backend"));
  options.backend = "native";
  options.precision = "int3";
  CHECK(mobilebert_open(in_root("models/qa"), &options, &error) == NULL);
  CHECK(is_error(error, "option", "precision"));
  options.precision = NULL;
  options.threads = 1000000;
  CHECK(mobilebert_open(in_root("models/qa"), &options, &error) == NULL);
  CHECK(is_error(error, "option", "threads"));
}

static void a_name_is_found_in_the_folders_of_the_variable(void) {
  MobilebertError *error = NULL;
  setenv("MOBILEBERT_MODELS", in_root("models"), 1);
  MobilebertModel *model = mobilebert_open("qa", NULL, &error);
  CHECK(model != NULL && answers_ada(model));
  show_error(error);
  mobilebert_model_free(model);
  unsetenv("MOBILEBERT_MODELS");
}

static void options_of_opening_are_followed(void) {
  MobilebertError *error = NULL;
  MobilebertOpenOptions options = mobilebert_open_options();
  options.task = "question-answering";
  options.threads = 1;
  options.precision = "f32";
  options.special_tokens_in_text = MOBILEBERT_OFF;
  options.backend = "native";
  MobilebertModel *model = mobilebert_open(in_root("models/qa"), &options, &error);
  CHECK(model != NULL && answers_ada(model));
  CHECK(model != NULL && strcmp(mobilebert_model_precision(model), "f32") == 0);
  CHECK(mobilebert_model_threads(model) == 1);
  show_error(error);
  mobilebert_model_free(model);
}

static void texts_that_are_not_utf8_are_refused(void) {
  MobilebertModel *model = open_model("models/qa");
  MobilebertError *error = NULL;
  MobilebertText question = mobilebert_text("\xF0\x9F\x98\x80 wh\xFF?");
  CHECK(mobilebert_answer(model, question, mobilebert_text(CONTEXT), NULL, &error) == NULL);
  CHECK(mobilebert_error_position(error, MOBILEBERT_UNIT_BYTE) == 7);
  CHECK(mobilebert_error_position(error, MOBILEBERT_UNIT_CODE_POINT) == 4);
  CHECK(mobilebert_error_position(error, MOBILEBERT_UNIT_UTF16) == 5);
  CHECK(mobilebert_error_position(error, 3) == MOBILEBERT_NONE);
  CHECK(is_error(error, "invalid_text", "question"));

  MobilebertText questions[] = {mobilebert_text(QUESTION), mobilebert_text("wh\xC3")};
  CHECK(mobilebert_answer_questions(model, questions, 2, mobilebert_text(CONTEXT), NULL, &error) == NULL);
  CHECK(mobilebert_error_index(error) == 1);
  CHECK(mobilebert_error_position(error, MOBILEBERT_UNIT_BYTE) == 2);
  CHECK(is_error(error, "invalid_text", "question 2: question"));
  mobilebert_model_free(model);
}

static void empty_texts_are_refused(void) {
  MobilebertModel *model = open_model("models/qa");
  MobilebertError *error = NULL;
  MobilebertText nothing = {NULL, 0};
  CHECK(mobilebert_answer(model, nothing, mobilebert_text(CONTEXT), NULL, &error) == NULL);
  CHECK(is_error(error, "empty_text", "question"));
  CHECK(mobilebert_answer(model, mobilebert_text(NULL), mobilebert_text(CONTEXT), NULL, &error) == NULL);
  CHECK(is_error(error, "empty_text", "question"));
  CHECK(mobilebert_answer(model, mobilebert_text(QUESTION), nothing, NULL, &error) == NULL);
  CHECK(is_error(error, "empty_text", "context"));
  MobilebertText lost = {NULL, 5};
  CHECK(mobilebert_answer(model, lost, mobilebert_text(CONTEXT), NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "question"));
  mobilebert_model_free(model);
}

static void the_error_pointer_may_be_null(void) {
  MobilebertModel *model = open_model("models/qa");
  MobilebertText nothing = {NULL, 0};
  CHECK(mobilebert_open("/nowhere/at/all", NULL, NULL) == NULL);
  CHECK(mobilebert_answer(model, nothing, nothing, NULL, NULL) == NULL);
  CHECK(mobilebert_answer(NULL, nothing, nothing, NULL, NULL) == NULL);
  MobilebertAnswers *answers =
      mobilebert_answer(model, mobilebert_text(QUESTION), mobilebert_text(CONTEXT), NULL, NULL);
  CHECK(is_ada(answers));
  mobilebert_answers_free(answers);
  mobilebert_model_free(model);
}

/* What stands at the error pointer before a call does not matter. */
static void the_error_pointer_is_written(void) {
  MobilebertModel *model = open_model("models/qa");
  char garbage = 0;
  MobilebertError *error = (MobilebertError *)(void *)&garbage;
  MobilebertAnswers *answers =
      mobilebert_answer(model, mobilebert_text(QUESTION), mobilebert_text(CONTEXT), NULL, &error);
  CHECK(answers != NULL && error == NULL);
  mobilebert_answers_free(answers);
  error = (MobilebertError *)(void *)&garbage;
  CHECK(mobilebert_answer(NULL, mobilebert_text(QUESTION), mobilebert_text(CONTEXT), NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  mobilebert_model_free(model);
}

static void handles_may_be_null(void) {
  MobilebertError *error = NULL;
  MobilebertText text = mobilebert_text("a");
  CHECK(mobilebert_answer_questions(NULL, &text, 1, text, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_answer_pairs(NULL, &text, 1, &text, 1, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_classify(NULL, text, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_classify_pair(NULL, text, text, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_classify_batch(NULL, &text, 1, NULL, 0, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_tag(NULL, text, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_tag_batch(NULL, &text, 1, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_fill(NULL, text, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_fill_batch(NULL, &text, 1, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_embed(NULL, text, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_embed_batch(NULL, &text, 1, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_token_states(NULL, text, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_token_states_batch(NULL, &text, 1, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_open_files(NULL, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "files"));
  CHECK(!mobilebert_files_add(NULL, "a", "b", 1, &error));
  CHECK(is_error(error, "null_argument", "files"));
  CHECK(!mobilebert_files_add_static(NULL, "a", "b", 1, &error));
  CHECK(is_error(error, "null_argument", "files"));
  CHECK(!mobilebert_files_add_descriptor(NULL, "a", 0, 0, 1, &error));
  CHECK(is_error(error, "null_argument", "files"));

  CHECK(mobilebert_error_code(NULL) == NULL && mobilebert_error_message(NULL) == NULL);
  CHECK(mobilebert_error_place(NULL) == NULL && mobilebert_error_index(NULL) == MOBILEBERT_NONE);
  CHECK(mobilebert_error_position(NULL, MOBILEBERT_UNIT_BYTE) == MOBILEBERT_NONE);
  CHECK(mobilebert_model_task(NULL) == NULL && mobilebert_model_precision(NULL) == NULL);
  CHECK(mobilebert_model_kernel(NULL) == NULL && mobilebert_model_label(NULL, 0) == NULL);
  CHECK(mobilebert_model_threads(NULL) == 0 && mobilebert_model_max_length(NULL) == 0);
  CHECK(mobilebert_model_label_count(NULL) == 0);
  CHECK(mobilebert_answers_inputs(NULL) == 0 && mobilebert_answers_count(NULL, 0) == 0);
  CHECK(mobilebert_answers_at(NULL, 0, 0) == NULL && mobilebert_labels_at(NULL, 0, 0) == NULL);
  CHECK(mobilebert_labels_inputs(NULL) == 0 && mobilebert_labels_count(NULL, 0) == 0);
  CHECK(!mobilebert_labels_truncated(NULL, 0) && !mobilebert_embeddings_truncated(NULL, 0));
  CHECK(mobilebert_entities_inputs(NULL) == 0 && mobilebert_entities_count(NULL, 0) == 0);
  CHECK(mobilebert_entities_at(NULL, 0, 0) == NULL && mobilebert_fills_at(NULL, 0, 0, 0) == NULL);
  CHECK(mobilebert_fills_inputs(NULL) == 0 && mobilebert_fills_masks(NULL, 0) == 0);
  CHECK(mobilebert_fills_count(NULL, 0, 0) == 0 && mobilebert_embeddings_rows(NULL) == 0);
  CHECK(mobilebert_embeddings_columns(NULL) == 0 && mobilebert_embeddings_values(NULL) == NULL);
  CHECK(mobilebert_states_inputs(NULL) == 0 && mobilebert_states_rows(NULL, 0) == 0);
  CHECK(mobilebert_states_columns(NULL, 0) == 0 && mobilebert_states_values(NULL, 0) == NULL);
  CHECK(!mobilebert_states_truncated(NULL, 0) && mobilebert_utf8_text(NULL).size == 0);
  mobilebert_error_free(NULL);
  mobilebert_model_free(NULL);
  mobilebert_files_free(NULL);
  mobilebert_cancel_request(NULL);
  mobilebert_cancel_reset(NULL);
  mobilebert_cancel_free(NULL);
  mobilebert_answers_free(NULL);
  mobilebert_labels_free(NULL);
  mobilebert_entities_free(NULL);
  mobilebert_fills_free(NULL);
  mobilebert_embeddings_free(NULL);
  mobilebert_states_free(NULL);
  mobilebert_utf8_free(NULL);
}

static void places_behind_the_results_are_empty(void) {
  MobilebertModel *model = open_model("bindings/vectors/models/ner");
  MobilebertText texts[] = {mobilebert_text("Ada"), mobilebert_text("London is old")};
  MobilebertEntities *found = mobilebert_tag_batch(model, texts, 2, NULL, NULL);
  CHECK(mobilebert_entities_inputs(found) == 2);
  CHECK(mobilebert_entities_count(found, 2) == 0 && mobilebert_entities_count(found, SIZE_MAX) == 0);
  CHECK(mobilebert_entities_at(found, 2, 0) == NULL && mobilebert_entities_at(found, 0, 1000) == NULL);
  mobilebert_entities_free(found);
  CHECK(mobilebert_fill(model, texts[0], NULL, NULL) == NULL);
  mobilebert_model_free(model);

  model = open_model("bindings/vectors/models/mlm");
  MobilebertText masks[] = {mobilebert_text("the [MASK]"), mobilebert_text("a [MASK] [MASK]")};
  MobilebertFills *fills = mobilebert_fill_batch(model, masks, 2, NULL, NULL);
  CHECK(mobilebert_fills_inputs(fills) == 2);
  CHECK(mobilebert_fills_masks(fills, 0) == 1 && mobilebert_fills_masks(fills, 1) == 2);
  CHECK(mobilebert_fills_masks(fills, 2) == 0 && mobilebert_fills_masks(fills, SIZE_MAX) == 0);
  CHECK(mobilebert_fills_count(fills, 0, 1) == 0 && mobilebert_fills_count(fills, 1, 1) == 5);
  CHECK(mobilebert_fills_at(fills, 0, 1, 0) == NULL && mobilebert_fills_at(fills, 1, 1, 5) == NULL);
  CHECK(mobilebert_fills_at(fills, SIZE_MAX, SIZE_MAX, SIZE_MAX) == NULL);
  mobilebert_fills_free(fills);
  mobilebert_model_free(model);
}

/* Options as a later version of the header may have them. */
typedef struct {
  MobilebertAnswerOptions known;
  size_t added;
} Later;

static void sizes_of_options_are_checked(void) {
  MobilebertModel *model = open_model("models/qa");
  MobilebertText question = mobilebert_text(QUESTION), context = mobilebert_text(CONTEXT);
  MobilebertError *error = NULL;
  Later later;
  memset(&later, 0, sizeof later);
  later.known.struct_size = sizeof later;
  later.known.top_k = 2;
  MobilebertAnswers *answers = mobilebert_answer(model, question, context, &later.known, &error);
  CHECK(mobilebert_answers_count(answers, 0) == 2);
  mobilebert_answers_free(answers);
  later.added = 1;
  CHECK(mobilebert_answer(model, question, context, &later.known, &error) == NULL);
  CHECK(is_error(error, "option", "struct_size"));

  MobilebertAnswerOptions options = mobilebert_answer_options();
  static const size_t WRONG[] = {0,       1,       sizeof options - 1, sizeof options - sizeof(size_t),
                                 1000000, SIZE_MAX};
  for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
    options.struct_size = WRONG[i];
    CHECK(mobilebert_answer(model, question, context, &options, &error) == NULL);
    CHECK(is_error(error, "option", "struct_size"));
  }
  MobilebertOpenOptions opening = mobilebert_open_options();
  opening.struct_size = 8;
  CHECK(mobilebert_open(in_root("models/qa"), &opening, &error) == NULL);
  CHECK(is_error(error, "option", "struct_size"));
  mobilebert_model_free(model);
}

static void wrong_values_of_options_are_refused(void) {
  MobilebertModel *model = open_model("models/qa");
  MobilebertText question = mobilebert_text(QUESTION), context = mobilebert_text(CONTEXT);
  MobilebertError *error = NULL;
  MobilebertAnswerOptions options = mobilebert_answer_options();
  options.merge_equal_texts = 7;
  CHECK(mobilebert_answer(model, question, context, &options, &error) == NULL);
  CHECK(is_error(error, "option", "merge_equal_texts"));
  options = mobilebert_answer_options();
  float zero = 0, nothing = zero / zero;
  options.null_threshold = &nothing;
  CHECK(mobilebert_answer(model, question, context, &options, &error) == NULL);
  CHECK(is_error(error, "option", "null_threshold"));
  options = mobilebert_answer_options();
  static const char *const WRONG[] = {"", "[]", "{\"top_k\": 1", "top_k=1", "\xFF"};
  for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
    options.json = WRONG[i];
    CHECK(mobilebert_answer(model, question, context, &options, &error) == NULL);
    CHECK(is_error(error, i < 4 ? "option" : "invalid_text", "json"));
  }
  /* JSON wins over fields. */
  options.top_k = 1;
  options.json = "{\"top_k\": 3}";
  MobilebertAnswers *answers = mobilebert_answer(model, question, context, &options, &error);
  CHECK(mobilebert_answers_count(answers, 0) == 3);
  mobilebert_answers_free(answers);
  mobilebert_model_free(model);
}

static void calls_are_cancelled_and_timed_out(void) {
  MobilebertModel *model = open_model("bindings/vectors/models/ner");
  MobilebertError *error = NULL;
  MobilebertText texts[2000];
  for (size_t i = 0; i < 2000; i++)
    texts[i] = mobilebert_text("Ada lives in London, and Zoe lives in a small town in the north of it.");
  MobilebertCancel *cancel = mobilebert_cancel_new();
  MobilebertTagOptions options = mobilebert_tag_options();
  options.cancel = cancel;
  mobilebert_cancel_request(cancel);
  CHECK(mobilebert_tag_batch(model, texts, 2000, &options, &error) == NULL);
  CHECK(is_error(error, "cancelled", NULL));
  CHECK(mobilebert_tag(model, texts[0], &options, &error) == NULL);
  CHECK(is_error(error, "cancelled", NULL));
  mobilebert_cancel_reset(cancel);
  MobilebertEntities *found = mobilebert_tag(model, texts[0], &options, &error);
  CHECK(found != NULL && error == NULL);
  mobilebert_entities_free(found);
  options = mobilebert_tag_options();
  options.timeout_ms = 1;
  CHECK(mobilebert_tag_batch(model, texts, 2000, &options, &error) == NULL);
  CHECK(is_error(error, "deadline_exceeded", NULL));
  options.timeout_ms = 1000000;
  found = mobilebert_tag(model, texts[0], &options, &error);
  CHECK(found != NULL && error == NULL);
  mobilebert_entities_free(found);
  mobilebert_cancel_free(cancel);
  mobilebert_model_free(model);
}

static void a_search_ends_at_its_time(void) {
  static const char SENTENCE[] = "Trees grow slowly in the north. ", FACT[] = "The bridge was built by Ada.";
  enum { TIMES = 3000 };
  MobilebertModel *model = open_model("models/qa");
  MobilebertError *error = NULL;
  size_t size = TIMES * (sizeof SENTENCE - 1) + sizeof FACT - 1;
  char *bytes = (char *)malloc(size);
  for (size_t i = 0; i < TIMES; i++)
    memcpy(bytes + i * (sizeof SENTENCE - 1), SENTENCE, sizeof SENTENCE - 1);
  memcpy(bytes + size - (sizeof FACT - 1), FACT, sizeof FACT - 1);
  MobilebertText context = {bytes, size}, question = mobilebert_text("Who built the bridge?");
  MobilebertAnswerOptions options = mobilebert_answer_options();
  MobilebertAnswers *found = NULL;
  /* The shortest time in which a busy machine finishes the first pass is far too short for all of them. */
  for (options.timeout_ms = 20; found == NULL; options.timeout_ms *= 2) {
    found = mobilebert_answers_within(model, question, context, 0, &options, &error);
    if (found == NULL && !is_error(error, "deadline_exceeded", NULL)) {
      CHECK(found != NULL);
      return;
    }
  }
  size_t read = mobilebert_answers_windows_read(found);
  CHECK(read > 0 && read < mobilebert_answers_windows(found) && mobilebert_answers_unread_count(found) > 0);
  CHECK(strcmp(mobilebert_answers_at(found, 0, 0)->text.data, "Ada") == 0);
  mobilebert_answers_free(found);
  found = mobilebert_answers_within(model, question, context, 1, NULL, NULL);
  CHECK(mobilebert_answers_windows_read(found) == 1 && mobilebert_answers_inputs(found) == 1);
  mobilebert_answers_free(found);
  CHECK(mobilebert_answers_within(NULL, question, context, 1, NULL, &error) == NULL);
  CHECK(is_error(error, "null_argument", "model"));
  CHECK(mobilebert_answers_windows(NULL) == 0 && mobilebert_answers_windows_read(NULL) == 0);
  CHECK(mobilebert_answers_unread_count(NULL) == 0 && mobilebert_answers_unread_at(NULL, 0) == NULL);
  free(bytes);
  mobilebert_model_free(model);
}

static MobilebertCancel *shared_cancel;

static void *request_soon(void *unused) {
  (void)unused;
  struct timespec pause = {0, 20000000};
  nanosleep(&pause, NULL);
  mobilebert_cancel_request(shared_cancel);
  return NULL;
}

/* A call that would take far longer ends when another thread asks for it. */
static void another_thread_cancels(void) {
  MobilebertModel *model = open_model("models/qa");
  MobilebertError *error = NULL;
  enum { COUNT = 5000 };
  MobilebertText *questions = (MobilebertText *)malloc(COUNT * sizeof *questions);
  for (size_t i = 0; i < COUNT; i++)
    questions[i] = mobilebert_text(QUESTION);
  shared_cancel = mobilebert_cancel_new();
  MobilebertAnswerOptions options = mobilebert_answer_options();
  options.cancel = shared_cancel;
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, request_soon, NULL) == 0);
  CHECK(mobilebert_answer_questions(model, questions, COUNT, mobilebert_text(CONTEXT), &options, &error) ==
        NULL);
  CHECK(is_error(error, "cancelled", NULL));
  pthread_join(thread, NULL);
  mobilebert_cancel_free(shared_cancel);
  free(questions);
  CHECK(answers_ada(model));
  mobilebert_model_free(model);
}

static const char *const FILES[] = {"config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"};
enum { FILE_COUNT = 4 };

/* The bytes of mobilebert_files_add_static, which stay until the program ends. */
static char *constant;

static void a_model_is_opened_from_memory(void) {
  MobilebertError *error = NULL;
  MobilebertFiles *files = mobilebert_files_new("my model", &error);
  for (size_t i = 0; i < FILE_COUNT; i++) {
    char name[64];
    size_t size;
    snprintf(name, sizeof name, "models/qa/%s", FILES[i]);
    char *bytes = read_file(in_root(name), &size);
    /* One of them without a copy, as a constant of a program would be. */
    if (i == 3) {
      constant = bytes;
      CHECK(mobilebert_files_add_static(files, FILES[i], constant, size, &error));
    } else {
      CHECK(mobilebert_files_add(files, FILES[i], bytes, size, &error));
      free(bytes);
    }
  }
  MobilebertModel *first = mobilebert_open_files(files, NULL, &error);
  MobilebertModel *second = mobilebert_open_files(files, NULL, &error);
  mobilebert_files_free(files);
  show_error(error);
  CHECK(first != NULL && answers_ada(first));
  mobilebert_model_free(first);
  CHECK(second != NULL && answers_ada(second));
  mobilebert_model_free(second);

  files = mobilebert_files_new(NULL, &error);
  CHECK(mobilebert_open_files(files, NULL, &error) == NULL);
  CHECK(is_error(error, "missing_file", "model in memory"));
  CHECK(!mobilebert_files_add(files, NULL, "", 0, &error));
  CHECK(is_error(error, "null_argument", "name"));
  CHECK(!mobilebert_files_add(files, "config.json", NULL, 1, &error));
  CHECK(is_error(error, "null_argument", "data"));
  CHECK(mobilebert_files_add(files, "config.json", NULL, 0, &error));
  CHECK(mobilebert_open_files(files, NULL, &error) == NULL);
  CHECK(error != NULL && strcmp(mobilebert_error_code(error), "json") == 0);
  mobilebert_error_free(error);
  mobilebert_files_free(files);
  CHECK(mobilebert_files_new("\xFF", &error) == NULL);
  CHECK(is_error(error, "invalid_text", "label"));
}

/* The model lies in one file, behind 4099 bytes of something else, as in an archive. */
static void a_model_is_opened_from_a_descriptor(void) {
  MobilebertError *error = NULL;
  char archive[] = "/tmp/mobilebert-archive-XXXXXX";
  int descriptor = mkstemp(archive);
  CHECK(descriptor >= 0);
  char padding[4099];
  memset(padding, 'x', sizeof padding);
  uint64_t offset = sizeof padding, offsets[FILE_COUNT], sizes[FILE_COUNT];
  CHECK(write(descriptor, padding, sizeof padding) == (ssize_t)sizeof padding);
  for (size_t i = 0; i < FILE_COUNT; i++) {
    char name[64];
    size_t size;
    snprintf(name, sizeof name, "models/qa/%s", FILES[i]);
    char *bytes = read_file(in_root(name), &size);
    CHECK(write(descriptor, bytes, size) == (ssize_t)size);
    free(bytes);
    offsets[i] = offset;
    sizes[i] = size;
    offset += size;
  }
  MobilebertFiles *files = mobilebert_files_new("archive", &error);
  for (size_t i = 0; i < FILE_COUNT; i++)
    CHECK(mobilebert_files_add_descriptor(files, FILES[i], descriptor, offsets[i], sizes[i], &error));
  CHECK(offsets[3] % 4096 != 0);
  CHECK(!mobilebert_files_add_descriptor(files, "behind", descriptor, offset, 1, &error));
  CHECK(is_error(error, "io", "behind"));
  CHECK(!mobilebert_files_add_descriptor(files, "huge", descriptor, 1, UINT64_MAX, &error));
  CHECK(is_error(error, "io", "huge"));
  CHECK(!mobilebert_files_add_descriptor(files, "negative", -1, 0, 1, &error));
  CHECK(is_error(error, "io", "negative"));
  CHECK(!mobilebert_files_add_descriptor(files, "closed", 987, 0, 1, &error));
  CHECK(is_error(error, "io", "closed"));
  /* The descriptor is still the caller's, and not needed any more. */
  CHECK(close(descriptor) == 0);
  CHECK(unlink(archive) == 0);
  MobilebertModel *model = mobilebert_open_files(files, NULL, &error);
  mobilebert_files_free(files);
  show_error(error);
  CHECK(model != NULL && answers_ada(model));
  mobilebert_model_free(model);
}

static void *ask_often(void *model) {
  for (int i = 0; i < 10; i++)
    if (!answers_ada((const MobilebertModel *)model))
      return model;
  return NULL;
}

static void many_threads(size_t count, size_t threads_of_model) {
  MobilebertOpenOptions options = mobilebert_open_options();
  options.threads = threads_of_model;
  MobilebertModel *model = mobilebert_open(in_root("models/qa"), &options, NULL);
  CHECK(model != NULL);
  pthread_t threads[8];
  for (size_t i = 0; i < count; i++)
    CHECK(pthread_create(&threads[i], NULL, ask_often, model) == 0);
  for (size_t i = 0; i < count; i++) {
    void *failed = NULL;
    CHECK(pthread_join(threads[i], &failed) == 0 && failed == NULL);
  }
  mobilebert_model_free(model);
}

static void two_threads_share_a_model(void) { many_threads(2, 0); }

static void eight_threads_share_a_model(void) { many_threads(8, 1); }

static void *embed_first(void *model) {
  MobilebertEmbeddings *found =
      mobilebert_embed((const MobilebertModel *)model, mobilebert_text("a"), NULL, NULL);
  size_t rows = mobilebert_embeddings_rows(found);
  mobilebert_embeddings_free(found);
  return rows == 1 ? NULL : model;
}

/* The first calls for vectors may come at the same time: what they make for later ones, several may make. */
static void first_calls_meet(void) {
  MobilebertModel *model = open_model("bindings/vectors/models/ner");
  pthread_t threads[8];
  for (size_t i = 0; i < 8; i++)
    CHECK(pthread_create(&threads[i], NULL, embed_first, model) == 0);
  for (size_t i = 0; i < 8; i++) {
    void *failed = NULL;
    CHECK(pthread_join(threads[i], &failed) == 0 && failed == NULL);
  }
  mobilebert_model_free(model);
}

static void results_outlive_their_model(void) {
  MobilebertModel *model = open_model("models/qa");
  MobilebertAnswers *answers =
      mobilebert_answer(model, mobilebert_text(QUESTION), mobilebert_text(CONTEXT), NULL, NULL);
  mobilebert_model_free(model);
  CHECK(is_ada(answers));
  mobilebert_answers_free(answers);
}

#ifdef __linux__
/* Returns the memory of the process that is in use, in kB. */
static long memory_in_use(void) {
  FILE *file = fopen("/proc/self/statm", "r");
  long all = 0, resident = 0;
  CHECK(file != NULL && fscanf(file, "%ld %ld", &all, &resident) == 2);
  fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Each model has threads of its own, and 300 of them would hold far more than the limit. */
static void opens_and_closes_leave_nothing(void) {
  enum { LIMIT = 4096 };
  long before = 0;
  MobilebertOpenOptions options = mobilebert_open_options();
  options.threads = 2;
  for (int i = 0; i < 400; i++) {
    MobilebertModel *model = mobilebert_open(in_root("bindings/vectors/models/ner"), &options, NULL);
    MobilebertEntities *found = mobilebert_tag(model, mobilebert_text("Ada lives in London"), NULL, NULL);
    CHECK(mobilebert_entities_count(found, 0) > 0);
    mobilebert_entities_free(found);
    mobilebert_model_free(model);
    if (i == 100)
      before = memory_in_use();
  }
  long grown = memory_in_use() - before;
  if (grown > LIMIT)
    fprintf(stderr, "300 opens and closes left %ld kB\n", grown);
  CHECK(grown <= LIMIT);
}
#endif

static void offsets_are_converted_or_left(void) {
  MobilebertError *error = NULL;
  size_t offsets[] = {5, 0, 4};
  MobilebertText text = mobilebert_text("\xF0\x9F\x98\x80"
                                        "a");
  CHECK(mobilebert_convert_offsets(text, MOBILEBERT_UNIT_BYTE, offsets, 3, &error));
  CHECK(offsets[0] == 5 && offsets[2] == 4);
  CHECK(!mobilebert_convert_offsets(text, 3, offsets, 3, &error));
  CHECK(is_error(error, "option", "unit"));
  CHECK(!mobilebert_convert_offsets(text, MOBILEBERT_UNIT_UTF16, NULL, 3, &error));
  CHECK(is_error(error, "null_argument", "offsets"));
  CHECK(mobilebert_convert_offsets(text, MOBILEBERT_UNIT_UTF16, NULL, 0, &error));
  offsets[1] = 2;
  CHECK(!mobilebert_convert_offsets(text, MOBILEBERT_UNIT_UTF16, offsets, 3, &error));
  CHECK(is_error(error, "input", "offset 2"));
  CHECK(offsets[0] == 5 && offsets[1] == 2 && offsets[2] == 4);
  offsets[1] = 0;
  CHECK(mobilebert_convert_offsets(text, MOBILEBERT_UNIT_UTF16, offsets, 3, NULL));
  CHECK(offsets[0] == 3 && offsets[1] == 0 && offsets[2] == 2);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: contract ROOT\n");
    return 2;
  }
  snprintf(root, sizeof root, "%s", argv[1]);
  unsetenv("MOBILEBERT_MODELS");
  TEST(versions);
  TEST(a_model_describes_itself);
  TEST(a_wrong_model_is_refused);
  TEST(a_name_is_found_in_the_folders_of_the_variable);
  TEST(options_of_opening_are_followed);
  TEST(texts_that_are_not_utf8_are_refused);
  TEST(empty_texts_are_refused);
  TEST(the_error_pointer_may_be_null);
  TEST(the_error_pointer_is_written);
  TEST(handles_may_be_null);
  TEST(places_behind_the_results_are_empty);
  TEST(sizes_of_options_are_checked);
  TEST(wrong_values_of_options_are_refused);
  TEST(calls_are_cancelled_and_timed_out);
  TEST(a_search_ends_at_its_time);
  TEST(another_thread_cancels);
  TEST(a_model_is_opened_from_memory);
  TEST(a_model_is_opened_from_a_descriptor);
  TEST(two_threads_share_a_model);
  TEST(eight_threads_share_a_model);
  TEST(first_calls_meet);
  TEST(results_outlive_their_model);
  TEST(offsets_are_converted_or_left);
#ifdef __linux__
  TEST(opens_and_closes_leave_nothing);
#endif
  return check_end();
}

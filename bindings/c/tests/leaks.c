/* Calls every function, for valgrind: `leaks ROOT`, where ROOT is the repository. The models are tiny where
 * there is a tiny one for the task. `check.sh` compares the functions here with those of the header. */

#define _POSIX_C_SOURCE 200809L

#include <fcntl.h>
#include <unistd.h>

#include "check.h"

static char root[3000];
static char path[4096];

static const char *in_root(const char *name) {
  snprintf(path, sizeof path, "%s/%s", root, name);
  return path;
}

/* Reads all bytes of a text and the NUL behind them, so that valgrind sees whether they are there. */
static bool reads_text(MobilebertText text) {
  return strlen(text.data) == text.size && text.size > 0;
}

/* Opens a model without the pool of threads, which stays until the program ends. */
static MobilebertModel *open_alone(const char *name) {
  MobilebertOpenOptions options = mobilebert_open_options();
  options.threads = 1;
  return mobilebert_open(in_root(name), &options, NULL);
}

static void questions_are_answered(void) {
  MobilebertText questions[] = {mobilebert_text("Who built it?"), mobilebert_text("Who built the lamp?")};
  MobilebertText contexts[] = {mobilebert_text("Ada built it. It was Ada."),
                               mobilebert_text("Zo\xC3\xAB did.")};
  MobilebertAnswerOptions options = mobilebert_answer_options();
  options.top_k = MOBILEBERT_ALL;
  options.max_seq_len = 32;
  options.json = "{\"max_answer_len\": 2}";
  MobilebertModel *model = open_alone("models/qa");
  MobilebertAnswers *one = mobilebert_answer(model, questions[0], contexts[0], &options, NULL);
  size_t others = 0;
  for (size_t rank = 0; rank < mobilebert_answers_count(one, 0); rank++) {
    const MobilebertAnswer *answer = mobilebert_answers_at(one, 0, rank);
    CHECK(reads_text(answer->text));
    for (size_t i = 0; i < answer->other_count; i++)
      others += answer->others[i].place.bytes.end <= contexts[0].size;
  }
  CHECK(others > 0);
  mobilebert_answers_free(one);
  MobilebertAnswers *shared = mobilebert_answer_questions(model, questions, 2, contexts[0], NULL, NULL);
  CHECK(mobilebert_answers_inputs(shared) == 2 && reads_text(mobilebert_answers_at(shared, 1, 0)->text));
  mobilebert_answers_free(shared);
  MobilebertAnswers *pairs = mobilebert_answer_pairs(model, questions, 2, contexts, 2, NULL, NULL);
  CHECK(mobilebert_answers_inputs(pairs) == 2 && reads_text(mobilebert_answers_at(pairs, 1, 0)->text));
  mobilebert_answers_free(pairs);
  options.doc_stride = 4;
  char long_context[] = "Ada built it. It was Ada. Trees grow slowly in the north, and slowly in the south as well. "
                        "The snow is deep there, and nobody builds anything before the summer.";
  MobilebertAnswers *part =
      mobilebert_answers_within(model, questions[0], mobilebert_text(long_context), 1, &options, NULL);
  CHECK(mobilebert_answers_windows_read(part) == 1 && mobilebert_answers_windows(part) > 1);
  size_t unread = 0;
  for (size_t i = 0; i < mobilebert_answers_unread_count(part); i++)
    unread += mobilebert_answers_unread_at(part, i)->bytes.end - mobilebert_answers_unread_at(part, i)->bytes.start;
  CHECK(unread > 0 && unread < sizeof long_context && reads_text(mobilebert_answers_at(part, 0, 0)->text));
  mobilebert_answers_free(part);
  mobilebert_model_free(model);
}

static void texts_are_classified(void) {
  MobilebertText texts[] = {mobilebert_text("a joy"), mobilebert_text("dull")};
  MobilebertText label = mobilebert_text("negative");
  MobilebertClassifyOptions options = mobilebert_classify_options();
  float threshold = 0;
  options.labels = &label;
  options.label_count = 1;
  options.threshold = &threshold;
  MobilebertModel *model = open_alone("models/sentiment");
  MobilebertLabels *one = mobilebert_classify(model, texts[0], &options, NULL);
  CHECK(mobilebert_labels_count(one, 0) == 1 && reads_text(mobilebert_labels_at(one, 0, 0)->label));
  mobilebert_labels_free(one);
  MobilebertLabels *pair = mobilebert_classify_pair(model, texts[0], texts[1], NULL, NULL);
  CHECK(mobilebert_labels_count(pair, 0) == 1 && !mobilebert_labels_truncated(pair, 0));
  mobilebert_labels_free(pair);
  MobilebertLabels *many = mobilebert_classify_batch(model, texts, 2, texts, 2, NULL, NULL);
  CHECK(mobilebert_labels_inputs(many) == 2 && reads_text(mobilebert_labels_at(many, 1, 0)->label));
  mobilebert_labels_free(many);
  mobilebert_model_free(model);
}

/* The bytes of mobilebert_files_add_static, which stay until the program ends. The compiler has to keep the
 * pointer in memory, where valgrind finds it, although nothing here reads it. */
static char *volatile constant;

static void opened_from_a_folder(void) {
  MobilebertOpenOptions options = mobilebert_open_options();
  MobilebertText texts[] = {mobilebert_text("Ada lives in London"), mobilebert_text("Zo\xC3\xAB")};
  options.threads = 1;
  MobilebertModel *model = mobilebert_open(in_root("bindings/vectors/models/ner"), &options, NULL);
  MobilebertEntities *one = mobilebert_tag(model, texts[0], NULL, NULL);
  MobilebertEntities *many = mobilebert_tag_batch(model, texts, 2, NULL, NULL);
  CHECK(mobilebert_entities_count(one, 0) > 0 && mobilebert_entities_inputs(many) == 2);
  CHECK(reads_text(mobilebert_entities_at(one, 0, 0)->word));
  mobilebert_entities_free(one);
  mobilebert_entities_free(many);
  MobilebertEmbeddings *vectors = mobilebert_embed_batch(model, texts, 2, NULL, NULL);
  const float *values = mobilebert_embeddings_values(vectors);
  CHECK(mobilebert_embeddings_rows(vectors) == 2 && values[0] > -2 && values[0] < 2);
  mobilebert_embeddings_free(vectors);
  vectors = mobilebert_embed(model, texts[0], NULL, NULL);
  CHECK(mobilebert_embeddings_columns(vectors) > 0 && !mobilebert_embeddings_truncated(vectors, 0));
  mobilebert_embeddings_free(vectors);
  MobilebertStates *states = mobilebert_token_states(model, texts[1], NULL, NULL);
  CHECK(mobilebert_states_rows(states, 0) > 0);
  mobilebert_states_free(states);
  states = mobilebert_token_states_batch(model, texts, 2, NULL, NULL);
  size_t last = mobilebert_states_rows(states, 1) * mobilebert_states_columns(states, 1) - 1;
  CHECK(mobilebert_states_inputs(states) == 2 && !mobilebert_states_truncated(states, 1));
  CHECK(mobilebert_states_values(states, 1)[last] < 1000);
  mobilebert_states_free(states);
  CHECK(strcmp(mobilebert_model_task(model), "token-classification") == 0);
  CHECK(strlen(mobilebert_model_precision(model)) > 0 && strlen(mobilebert_model_kernel(model)) > 0);
  CHECK(mobilebert_model_threads(model) == 1 && mobilebert_model_max_length(model) == 24);
  CHECK(mobilebert_model_label_count(model) == 5 && strcmp(mobilebert_model_label(model, 0), "O") == 0);
  CHECK(mobilebert_abi_version() == MOBILEBERT_ABI_VERSION && strlen(mobilebert_version()) > 0);
  mobilebert_model_free(model);
}

static void opened_from_files(void) {
  static const char *const FILES[] = {"config.json", "vocab.txt", "tokenizer_config.json",
                                      "model.safetensors"};
  MobilebertFiles *files = mobilebert_files_new("mlm", NULL);
  MobilebertOpenOptions options = mobilebert_open_options();
  options.threads = 2;
  for (size_t i = 0; i < 4; i++) {
    char name[100];
    size_t size;
    snprintf(name, sizeof name, "bindings/vectors/models/mlm/%s", FILES[i]);
    char *bytes = read_file(in_root(name), &size);
    if (i == 3) {
      int descriptor = open(path, O_RDONLY);
      CHECK(mobilebert_files_add_descriptor(files, FILES[i], descriptor, 0, size, NULL));
      close(descriptor);
    } else if (i == 1) {
      constant = bytes;
      CHECK(mobilebert_files_add_static(files, FILES[i], constant, size, NULL));
      bytes = NULL;
    } else {
      CHECK(mobilebert_files_add(files, FILES[i], bytes, size, NULL));
    }
    free(bytes);
  }
  MobilebertModel *model = mobilebert_open_files(files, &options, NULL);
  mobilebert_files_free(files);
  MobilebertFillOptions fill = mobilebert_fill_options();
  MobilebertText target = mobilebert_text("of");
  MobilebertCancel *cancel = mobilebert_cancel_new();
  fill.targets = &target;
  fill.target_count = 1;
  fill.cancel = cancel;
  fill.timeout_ms = 600000;
  MobilebertFills *fills = mobilebert_fill(model, mobilebert_text("paris is [MASK]"), &fill, NULL);
  CHECK(mobilebert_fills_count(fills, 0, 0) == 1);
  mobilebert_fills_free(fills);
  MobilebertText texts[] = {mobilebert_text("paris is [MASK]"), mobilebert_text("[MASK] [MASK]")};
  fills = mobilebert_fill_batch(model, texts, 2, NULL, NULL);
  CHECK(mobilebert_fills_inputs(fills) == 2 && mobilebert_fills_masks(fills, 1) == 2);
  CHECK(reads_text(mobilebert_fills_at(fills, 1, 1, 0)->sequence));
  mobilebert_fills_free(fills);
  mobilebert_cancel_request(cancel);
  CHECK(mobilebert_fill(model, texts[0], &fill, NULL) == NULL);
  mobilebert_cancel_reset(cancel);
  mobilebert_cancel_free(cancel);
  mobilebert_model_free(model);
}

static void errors_are_freed(void) {
  MobilebertError *error = NULL;
  MobilebertModel *model = mobilebert_open(in_root("bindings/vectors/models/ner"), NULL, NULL);
  CHECK(mobilebert_open("/nowhere/at/all", NULL, &error) == NULL && error != NULL);
  mobilebert_error_free(error);
  CHECK(mobilebert_tag(model, mobilebert_text("\xFF"), NULL, &error) == NULL && error != NULL);
  CHECK(strcmp(mobilebert_error_code(error), "invalid_text") == 0);
  CHECK(strlen(mobilebert_error_message(error)) > 0 && strcmp(mobilebert_error_place(error), "text") == 0);
  CHECK(mobilebert_error_index(error) == MOBILEBERT_NONE);
  CHECK(mobilebert_error_position(error, MOBILEBERT_UNIT_BYTE) == 0);
  mobilebert_error_free(error);
  CHECK(mobilebert_answer(model, mobilebert_text("a"), mobilebert_text("b"), NULL, &error) == NULL &&
        error != NULL);
  mobilebert_error_free(error);
  MobilebertText texts[] = {mobilebert_text("Ada"), mobilebert_text("")};
  CHECK(mobilebert_tag_batch(model, texts, 2, NULL, &error) == NULL && error != NULL);
  mobilebert_error_free(error);
  CHECK(mobilebert_embed(model, texts[1], NULL, NULL) == NULL);
  mobilebert_model_free(model);
}

static void texts_are_converted(void) {
  static const uint16_t UNITS[] = {0xE9, 0xD83D, 0xDE00, 0};
  MobilebertUtf8 *utf8 = mobilebert_utf8_from_utf16(UNITS, 4, NULL);
  MobilebertText text = mobilebert_utf8_text(utf8);
  size_t offsets[] = {6, 2};
  CHECK(text.size == 7 && mobilebert_convert_offsets(text, MOBILEBERT_UNIT_UTF16, offsets, 2, NULL));
  CHECK(offsets[0] == 3 && offsets[1] == 1);
  mobilebert_utf8_free(utf8);
  CHECK(mobilebert_utf8_from_utf16(UNITS, 2, NULL) == NULL);
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: leaks ROOT\n");
    return 2;
  }
  snprintf(root, sizeof root, "%s", argv[1]);
  TEST(opened_from_a_folder);
  TEST(opened_from_files);
  TEST(questions_are_answered);
  TEST(texts_are_classified);
  TEST(errors_are_freed);
  TEST(texts_are_converted);
  return check_end();
}

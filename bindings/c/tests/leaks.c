/* Calls every function on tiny models, for valgrind: `leaks ROOT`, where ROOT is the repository. */

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

static void opened_from_a_folder(void) {
  MobilebertOpenOptions options = mobilebert_open_options();
  MobilebertText texts[] = {mobilebert_text("Ada lives in London"), mobilebert_text("Zo\xC3\xAB")};
  options.threads = 1;
  MobilebertModel *model = mobilebert_open(in_root("bindings/vectors/models/ner"), &options, NULL);
  MobilebertEntities *one = mobilebert_tag(model, texts[0], NULL, NULL);
  MobilebertEntities *many = mobilebert_tag_batch(model, texts, 2, NULL, NULL);
  CHECK(mobilebert_entities_count(one, 0) > 0 && mobilebert_entities_inputs(many) == 2);
  mobilebert_entities_free(one);
  mobilebert_entities_free(many);
  MobilebertEmbeddings *vectors = mobilebert_embed_batch(model, texts, 2, NULL, NULL);
  const float *values = mobilebert_embeddings_values(vectors);
  CHECK(mobilebert_embeddings_rows(vectors) == 2 && values[0] > -2 && values[0] < 2);
  mobilebert_embeddings_free(vectors);
  MobilebertStates *states = mobilebert_token_states(model, texts[1], NULL, NULL);
  CHECK(mobilebert_states_rows(states, 0) > 0);
  mobilebert_states_free(states);
  CHECK(strcmp(mobilebert_model_task(model), "token-classification") == 0);
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
  mobilebert_cancel_free(cancel);
  mobilebert_model_free(model);
}

static void errors_are_freed(void) {
  MobilebertError *error = NULL;
  MobilebertModel *model = mobilebert_open(in_root("bindings/vectors/models/ner"), NULL, NULL);
  CHECK(mobilebert_open("/nowhere/at/all", NULL, &error) == NULL && error != NULL);
  mobilebert_error_free(error);
  CHECK(mobilebert_tag(model, mobilebert_text("\xFF"), NULL, &error) == NULL && error != NULL);
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
  TEST(errors_are_freed);
  TEST(texts_are_converted);
  return check_end();
}

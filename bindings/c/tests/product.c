/* A library that brings a backend of its own, examples/product: `product ROOT`, where ROOT is the repository. */

#include <stdbool.h>

#include "check.h"
#include "example_product.h"

static char folder[4096];

static MobilebertModel *open_with(const char *backend, MobilebertError **error) {
  MobilebertOpenOptions options = mobilebert_open_options();
  options.backend = backend;
  return mobilebert_open(folder, &options, error);
}

/* Returns true if no model opens with a backend, because it is unknown; the message says which are known. */
static bool is_unknown(const char *backend, const char *known) {
  MobilebertError *error = NULL;
  MobilebertModel *model = open_with(backend, &error);
  bool same = model == NULL && error != NULL && strcmp(mobilebert_error_code(error), "option") == 0 &&
              strcmp(mobilebert_error_place(error), "backend") == 0 &&
              strstr(mobilebert_error_message(error), known) != NULL;
  mobilebert_model_free(model);
  if (!same)
    show_error(error);
  else
    mobilebert_error_free(error);
  return same;
}

/* Asks a question, and returns the score of its answer, or 0 for another answer than the right one. */
static float score_with(const char *backend) {
  MobilebertError *error = NULL;
  MobilebertModel *model = open_with(backend, &error);
  MobilebertAnswers *answers = mobilebert_answer(model, mobilebert_text("Who built it?"),
                                                 mobilebert_text("It was built by Ada."), NULL, &error);
  const MobilebertAnswer *answer = mobilebert_answers_at(answers, 0, 0);
  float score = answer != NULL && strcmp(answer->text.data, "Ada") == 0 ? answer->score : 0;
  mobilebert_answers_free(answers);
  mobilebert_model_free(model);
  show_error(error);
  return score;
}

static void a_backend_is_unknown_before_it_is_registered(void) {
  CHECK(is_unknown("timed", "`backend` is `timed`; expected `native`; "));
  CHECK(example_passes() == 0);
}

static void a_backend_computes_once_it_is_registered(void) {
  CHECK(example_register_backends());
  CHECK(!example_register_backends());
  float native = score_with(NULL);
  CHECK(native > 0 && example_passes() == 0);
  CHECK(score_with("timed") == native);
  CHECK(example_passes() == 1);
  CHECK(score_with("native") == native);
  CHECK(example_passes() == 1);
  CHECK(is_unknown("other", "expected `native`, `timed`; "));
}

int main(int argc, char **argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s ROOT\n", argv[0]);
    return EXIT_FAILURE;
  }
  snprintf(folder, sizeof folder, "%s/models/qa", argv[1]);
  TEST(a_backend_is_unknown_before_it_is_registered);
  TEST(a_backend_computes_once_it_is_registered);
  return check_end();
}

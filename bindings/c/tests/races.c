/* Threads that use the same objects at the same time, for ThreadSanitizer: `races ROOT`, where ROOT is the repository.
 *
 * `races ROOT broken` breaks the promise that a `_free` is alone with its object, to show that the tool sees what the
 * library reads. */

#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#include "check.h"

enum { THREADS = 8, ROUNDS = 3 };

static char root[3000];

static MobilebertModel *open_model(const char *name, size_t threads) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", root, name);
  MobilebertOpenOptions options = mobilebert_open_options();
  options.threads = threads;
  MobilebertError *error = NULL;
  MobilebertModel *model = mobilebert_open(path, &options, &error);
  if (model == NULL) {
    show_error(error);
    exit(EXIT_FAILURE);
  }
  return model;
}

static void sleep_milliseconds(long milliseconds) {
  struct timespec pause = {0, milliseconds * 1000000};
  nanosleep(&pause, NULL);
}

/* Runs a function in many threads, each of which gets the same object, and returns how many found a fault: those that
 * did not return NULL. */
static size_t in_threads(void *(*function)(void *), void *object) {
  pthread_t threads[THREADS];
  size_t faults = 0;
  for (size_t i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, function, object) != 0)
      exit(EXIT_FAILURE);
  for (size_t i = 0; i < THREADS; i++) {
    void *fault = NULL;
    pthread_join(threads[i], &fault);
    faults += fault != NULL;
  }
  return faults;
}

static bool answers_ada(const MobilebertModel *model) {
  MobilebertAnswers *answers = mobilebert_answer(model, mobilebert_text("Who built it?"),
                                                 mobilebert_text("It was built by Ada."), NULL, NULL);
  const MobilebertAnswer *answer = mobilebert_answers_at(answers, 0, 0);
  bool same = answer != NULL && strcmp(answer->text.data, "Ada") == 0;
  mobilebert_answers_free(answers);
  return same;
}

static void *ask(void *model) {
  for (int i = 0; i < ROUNDS; i++)
    if (!answers_ada((const MobilebertModel *)model))
      return model;
  return NULL;
}

/* Each call computes on the thread that made it. */
static void threads_share_a_model(void) {
  MobilebertModel *model = open_model("models/qa", 1);
  CHECK(in_threads(ask, model) == 0);
  mobilebert_model_free(model);
}

/* Calls share the threads of the model with each other. */
static void threads_share_a_pool(void) {
  MobilebertModel *model = open_model("models/qa", 3);
  CHECK(in_threads(ask, model) == 0);
  mobilebert_model_free(model);
}

/* Two models share the threads of the process, which the first call makes. */
static void threads_share_the_pool_of_the_process(void) {
  MobilebertModel *model = open_model("models/qa", 0), *other = open_model("models/qa", 0);
  CHECK(in_threads(ask, model) == 0);
  mobilebert_model_free(model);
  CHECK(in_threads(ask, other) == 0);
  mobilebert_model_free(other);
}

/* All that a tagger offers, with tasks that are made by the first call that needs them. */
static void *do_everything(void *object) {
  const MobilebertModel *model = (const MobilebertModel *)object;
  MobilebertText texts[] = {mobilebert_text("Ada lives in London"), mobilebert_text("Zo\xC3\xAB")};
  bool fault = mobilebert_model_threads(model) == 0 || mobilebert_model_label(model, 0) == NULL ||
               mobilebert_model_task(model) == NULL || mobilebert_model_kernel(model) == NULL;
  for (int i = 0; i < ROUNDS && !fault; i++) {
    MobilebertEmbeddings *vectors = mobilebert_embed_batch(model, texts, 2, NULL, NULL);
    fault = fault || mobilebert_embeddings_rows(vectors) != 2;
    mobilebert_embeddings_free(vectors);
    MobilebertStates *states = mobilebert_token_states(model, texts[1], NULL, NULL);
    fault = fault || mobilebert_states_rows(states, 0) == 0;
    mobilebert_states_free(states);
    MobilebertEntities *entities = mobilebert_tag_batch(model, texts, 2, NULL, NULL);
    fault = fault || mobilebert_entities_inputs(entities) != 2;
    mobilebert_entities_free(entities);
    /* An error of a call belongs to that call. */
    MobilebertError *error = NULL;
    fault = fault || mobilebert_answer(model, texts[0], texts[1], NULL, &error) != NULL;
    fault = fault || error == NULL || strcmp(mobilebert_error_code(error), "wrong_task") != 0;
    mobilebert_error_free(error);
  }
  return fault ? object : NULL;
}

static void first_calls_meet(void) {
  for (size_t threads = 1; threads <= 2; threads++) {
    MobilebertModel *model = open_model("bindings/vectors/models/ner", threads);
    CHECK(in_threads(do_everything, model) == 0);
    mobilebert_model_free(model);
  }
}

static void *open_and_close(void *unused) {
  (void)unused;
  for (int i = 0; i < ROUNDS; i++) {
    MobilebertModel *model = open_model("bindings/vectors/models/ner", 2);
    void *fault = do_everything(model);
    mobilebert_model_free(model);
    if (fault != NULL)
      return root;
  }
  return NULL;
}

static void models_are_opened_at_the_same_time(void) { CHECK(in_threads(open_and_close, NULL) == 0); }

/* Files are added to one object, whose bytes are then a model of each thread. */
static void *add_and_open(void *object) {
  const MobilebertFiles *files = (const MobilebertFiles *)object;
  char path[4096], name[32];
  snprintf(path, sizeof path, "%s/bindings/vectors/models/ner/config.json", root);
  size_t size;
  char *bytes = read_file(path, &size);
  /* No two threads add the same name: the bytes lie on stacks of their own. */
  snprintf(name, sizeof name, "%p", (void *)name);
  bool added = mobilebert_files_add(files, name, bytes, size, NULL);
  free(bytes);
  MobilebertModel *model = mobilebert_open_files(files, NULL, NULL);
  bool opened = model != NULL;
  mobilebert_model_free(model);
  return added && opened ? NULL : root;
}

static void files_are_shared(void) {
  static const char *const FILES[] = {"config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"};
  MobilebertFiles *files = mobilebert_files_new("ner", NULL);
  for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/bindings/vectors/models/ner/%s", root, FILES[i]);
    size_t size;
    char *bytes = read_file(path, &size);
    CHECK(mobilebert_files_add(files, FILES[i], bytes, size, NULL));
    free(bytes);
  }
  CHECK(in_threads(add_and_open, files) == 0);
  mobilebert_files_free(files);
}

typedef struct Shared {
  const MobilebertModel *model;
  const MobilebertCancel *cancel;
} Shared;

/* Asks many questions with a signal that the other threads share, and takes part in giving it. */
static void *ask_until_cancelled(void *object) {
  const Shared *shared = (const Shared *)object;
  enum { COUNT = 2000 };
  static const char QUESTION[] = "Who built it?";
  MobilebertText *questions = (MobilebertText *)malloc(COUNT * sizeof *questions);
  if (questions == NULL)
    return object;
  for (size_t i = 0; i < COUNT; i++)
    questions[i] = mobilebert_text(QUESTION);
  MobilebertAnswerOptions options = mobilebert_answer_options();
  options.cancel = shared->cancel;
  MobilebertError *error = NULL;
  MobilebertAnswers *answers = mobilebert_answer_questions(
      shared->model, questions, COUNT, mobilebert_text("It was built by Ada."), &options, &error);
  bool cancelled = answers == NULL && error != NULL && strcmp(mobilebert_error_code(error), "cancelled") == 0;
  mobilebert_answers_free(answers);
  mobilebert_error_free(error);
  mobilebert_cancel_request(shared->cancel);
  free(questions);
  return cancelled ? NULL : object;
}

static void *request_soon(void *cancel) {
  sleep_milliseconds(100);
  mobilebert_cancel_request((const MobilebertCancel *)cancel);
  return NULL;
}

static void a_signal_is_shared(void) {
  MobilebertModel *model = open_model("models/qa", 2);
  MobilebertCancel *cancel = mobilebert_cancel_new();
  Shared shared = {model, cancel};
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, request_soon, cancel) == 0);
  CHECK(in_threads(ask_until_cancelled, &shared) == 0);
  pthread_join(thread, NULL);
  mobilebert_cancel_reset(cancel);
  CHECK(answers_ada(model));
  mobilebert_cancel_free(cancel);
  mobilebert_model_free(model);
}

/* Reads a model and nothing that orders the threads, which the count of a model's users would do. */
static void *look(void *model) {
  return mobilebert_model_max_length((const MobilebertModel *)model) == 0 ? model : NULL;
}

/* Frees a model after a call of another thread, whose end nothing but the clock tells. */
static int broken(void) {
  MobilebertModel *model = open_model("bindings/vectors/models/ner", 1);
  pthread_t thread;
  if (pthread_create(&thread, NULL, look, model) != 0)
    return EXIT_FAILURE;
  for (int i = 0; i < 4; i++)
    sleep_milliseconds(500);
  mobilebert_model_free(model);
  pthread_join(thread, NULL);
  printf("the tool did not see that a model was freed under a thread\n");
  return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
  if (argc != 2 && !(argc == 3 && strcmp(argv[2], "broken") == 0)) {
    fprintf(stderr, "usage: races ROOT [broken]\n");
    return 2;
  }
  snprintf(root, sizeof root, "%s", argv[1]);
  if (argc == 3)
    return broken();
  TEST(threads_share_a_model);
  TEST(threads_share_a_pool);
  TEST(threads_share_the_pool_of_the_process);
  TEST(first_calls_meet);
  TEST(models_are_opened_at_the_same_time);
  TEST(files_are_shared);
  TEST(a_signal_is_shared);
  return check_end();
}

/* Runs all files of bindings/vectors: `vectors ROOT`, where ROOT is the repository.
 *
 * Each case runs twice: with its options as JSON, and as fields of the struct if they have a field's type.
 * Fields that no case sets have tests of their own here, and a field without either fails. */

#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <stdbool.h>

#include "check.h"
#include "json.h"

static const char *const KNOWN[] = {"answers.json", "classify.json", "embed.json", "errors.json",
                                    "fill.json",    "tag.json",      "text.json",  "within.json"};
enum { KNOWN_COUNT = sizeof KNOWN / sizeof *KNOWN };

/* How the options of a case are passed. */
typedef enum { AS_JSON, AS_FIELDS } Way;

static char place_of_case[200];

#define EXPECT(condition)                                                                        \
  do {                                                                                           \
    if (!(condition)) {                                                                          \
      fprintf(stderr, "%s: does not hold (line %d): %s\n", place_of_case, __LINE__, #condition); \
      return false;                                                                              \
    }                                                                                            \
  } while (0)

static MobilebertText text_of(const Json *value) {
  MobilebertText text = {value->text, value->size};
  if (value->kind != JSON_STRING)
    json_fail(value->start, "a string");
  return text;
}

/* The texts of a case: one, or a list. */
typedef struct {
  MobilebertText *texts;
  size_t count;
  bool is_given, is_list;
} Texts;

static Texts texts_of(const Json *input, const char *one, const char *many) {
  Texts found = {NULL, 0, false, false};
  const Json *single = json_get(input, one), *list = json_get(input, many);
  if (single == NULL && list == NULL)
    return found;
  found.is_given = true;
  found.is_list = single == NULL;
  found.count = single != NULL ? 1 : list->count;
  found.texts = (MobilebertText *)malloc((found.count + 1) * sizeof(MobilebertText));
  for (size_t i = 0; i < found.count; i++)
    found.texts[i] = text_of(single != NULL ? single : &list->items[i]);
  return found;
}

/* ---- Comparison ---- */

static bool same_text(MobilebertText text, const Json *expected) {
  return text.size == expected->size && memcmp(text.data, expected->text, text.size) == 0 &&
         text.data[text.size] == '\0';
}

static bool same_bits(float value, const Json *bits) {
  unsigned found;
  char written[16];
  memcpy(&found, &value, sizeof found);
  snprintf(written, sizeof written, "%08x", found);
  return strcmp(written, bits->text) == 0;
}

static bool same_score(float value, const Json *object) {
  return same_bits(value, json_need(json_need(object, "score"), "bits"));
}

static bool same_row(const float *values, size_t columns, const Json *numbers) {
  const Json *bits = json_need(numbers, "bits");
  bool same = bits->count == columns;
  for (size_t i = 0; same && i < columns; i++)
    same = same_bits(values[i], &bits->items[i]);
  return same;
}

static bool same_span(MobilebertSpan span, const Json *pair) {
  return pair->count == 2 && (double)span.start == pair->items[0].number &&
         (double)span.end == pair->items[1].number;
}

static bool same_place(MobilebertPlace place, const Json *expected) {
  return same_span(place.bytes, json_need(expected, "byte")) &&
         same_span(place.code_points, json_need(expected, "char")) &&
         same_span(place.utf16, json_need(expected, "utf16"));
}

static bool same_string(const char *found, const Json *expected) {
  return expected->kind == JSON_NULL ? found == NULL : found != NULL && strcmp(found, expected->text) == 0;
}

/* Compares an error with what a case expects, and frees it. */
static bool same_error(MobilebertError *error, const Json *expected) {
  const Json *index = json_get(expected, "index"), *position = json_get(expected, "position");
  EXPECT(error != NULL);
  EXPECT(same_string(mobilebert_error_code(error), json_need(expected, "code")));
  EXPECT(same_string(mobilebert_error_message(error), json_need(expected, "message")));
  EXPECT(same_string(mobilebert_error_place(error), json_need(expected, "place")));
  size_t found = mobilebert_error_index(error);
  EXPECT(index == NULL ? found == MOBILEBERT_NONE : (double)found == index->number);
  static const char *const UNITS[] = {"byte", "char", "utf16"};
  for (MobilebertUnit unit = 0; unit < 3; unit++) {
    found = mobilebert_error_position(error, unit);
    EXPECT(position == NULL ? found == MOBILEBERT_NONE
                            : (double)found == json_need(position, UNITS[unit])->number);
  }
  mobilebert_error_free(error);
  return true;
}

/* ---- Options ---- */

/* Strings and lists that fields point to, freed behind the call. */
static void *kept[64];
static size_t kept_count = 0;

static void *keep(void *memory) {
  if (memory == NULL || kept_count == sizeof kept / sizeof *kept)
    json_fail("", "memory for options");
  return kept[kept_count++] = memory;
}

static void free_kept(void) {
  while (kept_count > 0)
    free(kept[--kept_count]);
}

/* Returns the options of a case as a string of JSON. */
static const char *as_json(const Json *options) {
  size_t size = (size_t)(options->end - options->start);
  char *copy = (char *)keep(malloc(size + 1));
  memcpy(copy, options->start, size);
  copy[size] = '\0';
  return copy;
}

static bool set_count(const Json *value, size_t *field) {
  *field = value->kind == JSON_NULL ? MOBILEBERT_ALL : (size_t)value->number;
  /* Zero means the default in a field, and is an error in JSON. */
  return value->kind == JSON_NULL || (value->kind == JSON_NUMBER && value->number > 0);
}

static bool set_switch(const Json *value, MobilebertSwitch *field) {
  *field = value->number != 0 ? MOBILEBERT_ON : MOBILEBERT_OFF;
  return value->kind == JSON_BOOL;
}

static bool set_number(const Json *value, const float **field) {
  float *number = (float *)keep(malloc(sizeof(float)));
  *number = (float)value->number;
  *field = number;
  return value->kind == JSON_NUMBER;
}

static bool set_name(const Json *value, const char **field) {
  *field = value->text;
  return value->kind == JSON_STRING;
}

static bool set_list(const Json *value, const MobilebertText **field, size_t *count) {
  MobilebertText *list = (MobilebertText *)keep(malloc((value->count + 1) * sizeof(MobilebertText)));
  for (size_t i = 0; value->kind == JSON_ARRAY && i < value->count; i++)
    list[i] = text_of(&value->items[i]);
  *field = list;
  *count = value->count;
  return value->kind == JSON_ARRAY;
}

/* The fields that options of JSON have by the same name, and whether a test has set them. */
static struct {
  const char *of, *name;
  bool is_set;
} fields[] = {{"answer_options", "top_k", false},
              {"answer_options", "max_seq_len", false},
              {"answer_options", "doc_stride", false},
              {"answer_options", "max_question_len", false},
              {"answer_options", "max_answer_len", false},
              {"answer_options", "handle_impossible_answer", false},
              {"answer_options", "merge_equal_texts", false},
              {"answer_options", "null_competes", false},
              {"answer_options", "null_threshold", false},
              {"classify_options", "top_k", false},
              {"classify_options", "threshold", false},
              {"classify_options", "function_to_apply", false},
              {"classify_options", "long_text", false},
              {"classify_options", "max_seq_len", false},
              {"classify_options", "doc_stride", false},
              {"classify_options", "labels", false},
              {"tag_options", "aggregation_strategy", false},
              {"tag_options", "ignore_labels", false},
              {"tag_options", "max_seq_len", false},
              {"tag_options", "doc_stride", false},
              {"fill_options", "top_k", false},
              {"fill_options", "targets", false},
              {"embed_options", "pooling", false},
              {"embed_options", "normalize", false},
              {"embed_options", "max_seq_len", false}};
enum { FIELD_COUNT = sizeof fields / sizeof *fields };

static void mark_field(const char *of, const char *name) {
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    if (strcmp(fields[i].of, of) == 0 && strcmp(fields[i].name, name) == 0) {
      fields[i].is_set = true;
      return;
    }
  }
  json_fail(name, "a field that the list of fields has");
}

static void all_fields_were_set(void) {
  for (size_t i = 0; i < FIELD_COUNT; i++) {
    if (!fields[i].is_set)
      fprintf(stderr, "no test sets the field %s of %s\n", fields[i].name, fields[i].of);
    CHECK(fields[i].is_set);
  }
}

#define FIELD(known, call)                 \
  if (strcmp(option->name, #known) == 0) { \
    if (!(call))                           \
      return false;                        \
    mark_field(__func__, #known);          \
    continue;                              \
  }

/* The functions below return false for options that have no field, or another type than its field. */

static bool answer_options(const Json *given, Way way, MobilebertAnswerOptions *to) {
  if (way == AS_JSON)
    return to->json = as_json(given), true;
  for (const Json *option = given->items; option < given->items + given->count; option++) {
    FIELD(top_k, set_count(option, &to->top_k))
    FIELD(max_seq_len, set_count(option, &to->max_seq_len))
    FIELD(doc_stride, set_count(option, &to->doc_stride))
    FIELD(max_question_len, set_count(option, &to->max_question_len))
    FIELD(max_answer_len, set_count(option, &to->max_answer_len))
    FIELD(handle_impossible_answer, set_switch(option, &to->handle_impossible_answer))
    FIELD(merge_equal_texts, set_switch(option, &to->merge_equal_texts))
    FIELD(null_competes, set_switch(option, &to->null_competes))
    FIELD(null_threshold, set_number(option, &to->null_threshold))
    return false;
  }
  return true;
}

static bool classify_options(const Json *given, Way way, MobilebertClassifyOptions *to) {
  if (way == AS_JSON)
    return to->json = as_json(given), true;
  for (const Json *option = given->items; option < given->items + given->count; option++) {
    FIELD(top_k, set_count(option, &to->top_k))
    FIELD(threshold, set_number(option, &to->threshold))
    FIELD(function_to_apply, set_name(option, &to->function_to_apply))
    FIELD(long_text, set_name(option, &to->long_text))
    FIELD(max_seq_len, set_count(option, &to->max_seq_len))
    FIELD(doc_stride, set_count(option, &to->doc_stride))
    FIELD(labels, set_list(option, &to->labels, &to->label_count))
    return false;
  }
  return true;
}

static bool tag_options(const Json *given, Way way, MobilebertTagOptions *to) {
  if (way == AS_JSON)
    return to->json = as_json(given), true;
  for (const Json *option = given->items; option < given->items + given->count; option++) {
    FIELD(aggregation_strategy, set_name(option, &to->aggregation_strategy))
    FIELD(ignore_labels, set_list(option, &to->ignore_labels, &to->ignore_label_count))
    FIELD(max_seq_len, set_count(option, &to->max_seq_len))
    FIELD(doc_stride, set_count(option, &to->doc_stride))
    return false;
  }
  return true;
}

static bool fill_options(const Json *given, Way way, MobilebertFillOptions *to) {
  if (way == AS_JSON)
    return to->json = as_json(given), true;
  for (const Json *option = given->items; option < given->items + given->count; option++) {
    FIELD(top_k, set_count(option, &to->top_k))
    FIELD(targets, set_list(option, &to->targets, &to->target_count))
    return false;
  }
  return true;
}

static bool embed_options(const Json *given, Way way, MobilebertEmbedOptions *to) {
  if (way == AS_JSON)
    return to->json = as_json(given), true;
  for (const Json *option = given->items; option < given->items + given->count; option++) {
    FIELD(pooling, set_name(option, &to->pooling))
    FIELD(normalize, set_switch(option, &to->normalize))
    FIELD(max_seq_len, set_count(option, &to->max_seq_len))
    return false;
  }
  return true;
}

/* ---- Operations ---- */

/* Returns what is expected for the input `index`, or NULL if there is none. `count` is the number of results.
 */
static const Json *expected_of(const Json *expect, size_t count, size_t index) {
  const Json *one = json_get(expect, "result"), *many = json_get(expect, "results");
  if (one != NULL)
    return count == 1 ? one : NULL;
  return many != NULL && many->count == count && index < count ? &many->items[index] : NULL;
}

/* Returns true if the number of results is the expected one. */
static bool same_count(const Json *expect, size_t count) {
  const Json *many = json_get(expect, "results");
  return many == NULL ? count == 1 : many->count == count;
}

/* Compares the answers to the question `input` with a list, and frees nothing. */
static bool same_answers(const MobilebertAnswers *found, size_t input, const Json *answers) {
  EXPECT(answers != NULL && answers->count == mobilebert_answers_count(found, input));
  for (size_t rank = 0; rank < answers->count; rank++) {
    const MobilebertAnswer *answer = mobilebert_answers_at(found, input, rank);
    const Json *one = &answers->items[rank], *others = json_need(one, "others");
    EXPECT(same_text(answer->text, json_need(one, "answer")) && same_score(answer->score, one));
    EXPECT(same_place(answer->place, json_need(one, "place")) && answer->other_count == others->count);
    for (size_t other = 0; other < others->count; other++) {
      EXPECT(same_place(answer->others[other].place, json_need(&others->items[other], "place")));
      EXPECT(same_score(answer->others[other].score, &others->items[other]));
    }
  }
  return true;
}

static bool run_answers(const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  MobilebertAnswerOptions options = mobilebert_answer_options();
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  *skipped = !answer_options(json_need(test, "options"), way, &options);
  if (*skipped)
    return true;
  Texts questions = texts_of(input, "question", "questions"),
        contexts = texts_of(input, "context", "contexts");
  MobilebertError *error = NULL;
  MobilebertAnswers *found;
  if (!questions.is_list)
    found = mobilebert_answer(model, questions.texts[0], contexts.texts[0], &options, &error);
  else if (!contexts.is_list)
    found = mobilebert_answer_questions(model, questions.texts, questions.count, contexts.texts[0], &options,
                                        &error);
  else
    found = mobilebert_answer_pairs(model, questions.texts, questions.count, contexts.texts, contexts.count,
                                    &options, &error);
  free(questions.texts);
  free(contexts.texts);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  EXPECT(found != NULL && same_count(expect, mobilebert_answers_inputs(found)));
  EXPECT(mobilebert_answers_windows(found) == 0 && mobilebert_answers_unread_at(found, 0) == NULL);
  for (size_t i = 0; i < mobilebert_answers_inputs(found); i++)
    EXPECT(same_answers(found, i, expected_of(expect, mobilebert_answers_inputs(found), i)));
  mobilebert_answers_free(found);
  return true;
}

static bool run_answers_within(const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  MobilebertAnswerOptions options = mobilebert_answer_options();
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  *skipped = !answer_options(json_need(test, "options"), way, &options);
  if (*skipped)
    return true;
  const Json *most = json_get(input, "most_windows");
  MobilebertError *error = NULL;
  MobilebertAnswers *found = mobilebert_answers_within(
      model, text_of(json_need(input, "question")), text_of(json_need(input, "context")),
      most == NULL ? 0 : (size_t)most->number, &options, &error);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  const Json *result = json_need(expect, "result"), *unread = json_need(result, "unread");
  EXPECT(mobilebert_answers_inputs(found) == 1 &&
         same_answers(found, 0, json_need(result, "answers")));
  EXPECT((double)mobilebert_answers_windows(found) == json_need(result, "windows")->number);
  EXPECT((double)mobilebert_answers_windows_read(found) == json_need(result, "windows_read")->number);
  EXPECT(mobilebert_answers_unread_count(found) == unread->count);
  for (size_t i = 0; i < unread->count; i++)
    EXPECT(same_place(*mobilebert_answers_unread_at(found, i), &unread->items[i]));
  EXPECT(mobilebert_answers_unread_at(found, unread->count) == NULL);
  mobilebert_answers_free(found);
  return true;
}

static bool run_classify(const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  MobilebertClassifyOptions options = mobilebert_classify_options();
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  *skipped = !classify_options(json_need(test, "options"), way, &options);
  if (*skipped)
    return true;
  Texts texts = texts_of(input, "text", "texts"), pairs = texts_of(input, "text_pair", "text_pairs");
  MobilebertError *error = NULL;
  MobilebertLabels *found;
  if (texts.is_list)
    found = mobilebert_classify_batch(model, texts.texts, texts.count, pairs.texts, pairs.count, &options,
                                      &error);
  else if (pairs.is_given)
    found = mobilebert_classify_pair(model, texts.texts[0], pairs.texts[0], &options, &error);
  else
    found = mobilebert_classify(model, texts.texts[0], &options, &error);
  free(texts.texts);
  free(pairs.texts);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  EXPECT(found != NULL && same_count(expect, mobilebert_labels_inputs(found)));
  for (size_t i = 0; i < mobilebert_labels_inputs(found); i++) {
    const Json *one = expected_of(expect, mobilebert_labels_inputs(found), i);
    const Json *labels = json_need(one, "labels");
    EXPECT(labels->count == mobilebert_labels_count(found, i));
    EXPECT(mobilebert_labels_truncated(found, i) == (json_need(one, "truncated")->number != 0));
    for (size_t rank = 0; rank < labels->count; rank++) {
      const MobilebertLabel *label = mobilebert_labels_at(found, i, rank);
      EXPECT(same_text(label->label, json_need(&labels->items[rank], "label")));
      EXPECT(same_score(label->score, &labels->items[rank]));
    }
  }
  mobilebert_labels_free(found);
  return true;
}

static bool run_tag(const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  MobilebertTagOptions options = mobilebert_tag_options();
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  *skipped = !tag_options(json_need(test, "options"), way, &options);
  if (*skipped)
    return true;
  Texts texts = texts_of(input, "text", "texts");
  MobilebertError *error = NULL;
  MobilebertEntities *found = texts.is_list
                                  ? mobilebert_tag_batch(model, texts.texts, texts.count, &options, &error)
                                  : mobilebert_tag(model, texts.texts[0], &options, &error);
  free(texts.texts);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  EXPECT(found != NULL && same_count(expect, mobilebert_entities_inputs(found)));
  for (size_t i = 0; i < mobilebert_entities_inputs(found); i++) {
    const Json *entities = expected_of(expect, mobilebert_entities_inputs(found), i);
    EXPECT(entities->count == mobilebert_entities_count(found, i));
    for (size_t index = 0; index < entities->count; index++) {
      const MobilebertEntity *entity = mobilebert_entities_at(found, i, index);
      const Json *one = &entities->items[index];
      EXPECT(same_text(entity->label, json_need(one, "label")) &&
             same_text(entity->word, json_need(one, "word")));
      EXPECT(same_score(entity->score, one) && same_place(entity->place, json_need(one, "place")));
      EXPECT(entity->grouped == (json_need(one, "grouped")->number != 0));
    }
  }
  mobilebert_entities_free(found);
  return true;
}

static bool run_fill(const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  MobilebertFillOptions options = mobilebert_fill_options();
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  *skipped = !fill_options(json_need(test, "options"), way, &options);
  if (*skipped)
    return true;
  Texts texts = texts_of(input, "text", "texts");
  MobilebertError *error = NULL;
  MobilebertFills *found = texts.is_list
                               ? mobilebert_fill_batch(model, texts.texts, texts.count, &options, &error)
                               : mobilebert_fill(model, texts.texts[0], &options, &error);
  free(texts.texts);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  EXPECT(found != NULL && same_count(expect, mobilebert_fills_inputs(found)));
  for (size_t i = 0; i < mobilebert_fills_inputs(found); i++) {
    const Json *masks = expected_of(expect, mobilebert_fills_inputs(found), i);
    EXPECT(masks->count == mobilebert_fills_masks(found, i));
    for (size_t mask = 0; mask < masks->count; mask++) {
      const Json *words = &masks->items[mask];
      EXPECT(words->count == mobilebert_fills_count(found, i, mask));
      for (size_t rank = 0; rank < words->count; rank++) {
        const MobilebertFill *fill = mobilebert_fills_at(found, i, mask, rank);
        const Json *one = &words->items[rank];
        EXPECT(same_text(fill->sequence, json_need(one, "sequence")) && same_score(fill->score, one));
        EXPECT(same_text(fill->token_text, json_need(one, "token_str")));
        EXPECT((double)fill->token == json_need(one, "token")->number);
      }
    }
  }
  mobilebert_fills_free(found);
  return true;
}

static bool run_embed(const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  MobilebertEmbedOptions options = mobilebert_embed_options();
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  *skipped = !embed_options(json_need(test, "options"), way, &options);
  if (*skipped)
    return true;
  Texts texts = texts_of(input, "text", "texts");
  MobilebertError *error = NULL;
  MobilebertEmbeddings *found =
      texts.is_list ? mobilebert_embed_batch(model, texts.texts, texts.count, &options, &error)
                    : mobilebert_embed(model, texts.texts[0], &options, &error);
  free(texts.texts);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  EXPECT(found != NULL && same_count(expect, mobilebert_embeddings_rows(found)));
  size_t columns = mobilebert_embeddings_columns(found);
  for (size_t i = 0; i < mobilebert_embeddings_rows(found); i++) {
    const Json *one = expected_of(expect, mobilebert_embeddings_rows(found), i);
    const float *row = mobilebert_embeddings_values(found) + i * columns;
    EXPECT(same_row(row, columns, json_need(one, "embedding")));
    EXPECT(mobilebert_embeddings_truncated(found, i) == (json_need(one, "truncated")->number != 0));
  }
  mobilebert_embeddings_free(found);
  return true;
}

static bool run_states(const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  MobilebertEmbedOptions options = mobilebert_embed_options();
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  *skipped = !embed_options(json_need(test, "options"), way, &options);
  if (*skipped)
    return true;
  Texts texts = texts_of(input, "text", "texts");
  MobilebertError *error = NULL;
  MobilebertStates *found =
      texts.is_list ? mobilebert_token_states_batch(model, texts.texts, texts.count, &options, &error)
                    : mobilebert_token_states(model, texts.texts[0], &options, &error);
  free(texts.texts);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  EXPECT(found != NULL && same_count(expect, mobilebert_states_inputs(found)));
  for (size_t i = 0; i < mobilebert_states_inputs(found); i++) {
    const Json *one = expected_of(expect, mobilebert_states_inputs(found), i),
               *rows = json_need(one, "states");
    size_t columns = mobilebert_states_columns(found, i);
    EXPECT(rows->count == mobilebert_states_rows(found, i));
    EXPECT(mobilebert_states_truncated(found, i) == (json_need(one, "truncated")->number != 0));
    for (size_t row = 0; row < rows->count; row++)
      EXPECT(same_row(mobilebert_states_values(found, i) + row * columns, columns, &rows->items[row]));
  }
  mobilebert_states_free(found);
  return true;
}

static bool run_text(const Json *test) {
  const Json *units = json_need(json_need(test, "input"), "utf16"), *expect = json_need(test, "expect");
  uint16_t *copy = (uint16_t *)keep(malloc((units->count + 1) * sizeof(uint16_t)));
  for (size_t i = 0; i < units->count; i++)
    copy[i] = (uint16_t)units->items[i].number;
  MobilebertError *error = NULL;
  MobilebertUtf8 *found = mobilebert_utf8_from_utf16(copy, units->count, &error);
  EXPECT((found == NULL) == (error != NULL));
  if (json_get(expect, "error") != NULL)
    return same_error(error, json_get(expect, "error"));
  EXPECT(same_text(mobilebert_utf8_text(found), json_need(expect, "text")));
  mobilebert_utf8_free(found);
  return true;
}

static bool run_offsets(const Json *test) {
  static const char *const UNITS[] = {"byte", "char", "utf16"};
  const Json *input = json_need(test, "input"), *expect = json_need(test, "expect");
  const Json *bytes = json_need(input, "byte");
  size_t *offsets = (size_t *)keep(malloc((bytes->count + 1) * sizeof(size_t)));
  for (MobilebertUnit unit = MOBILEBERT_UNIT_CODE_POINT; unit <= MOBILEBERT_UNIT_UTF16; unit++) {
    for (size_t i = 0; i < bytes->count; i++)
      offsets[i] = (size_t)bytes->items[i].number;
    MobilebertError *error = NULL;
    bool converted =
        mobilebert_convert_offsets(text_of(json_need(input, "text")), unit, offsets, bytes->count, &error);
    EXPECT(converted == (error == NULL));
    if (json_get(expect, "error") != NULL) {
      EXPECT(same_error(error, json_get(expect, "error")));
      continue;
    }
    const Json *expected = json_need(expect, UNITS[unit]);
    EXPECT(converted && expected->count == bytes->count);
    for (size_t i = 0; i < bytes->count; i++)
      EXPECT((double)offsets[i] == expected->items[i].number);
  }
  return true;
}

static bool run(const char *op, const MobilebertModel *model, const Json *test, Way way, bool *skipped) {
  static const struct {
    const char *op;
    bool (*run)(const MobilebertModel *, const Json *, Way, bool *);
  } OPS[] = {{"answers", run_answers}, {"answers_within", run_answers_within},
             {"classify", run_classify}, {"tag", run_tag},
             {"fill", run_fill},       {"embed", run_embed},       {"states", run_states}};
  for (size_t i = 0; i < sizeof OPS / sizeof *OPS; i++)
    if (strcmp(OPS[i].op, op) == 0)
      return OPS[i].run(model, test, way, skipped);
  if (strcmp(op, "text") == 0)
    return way == AS_FIELDS || run_text(test);
  if (strcmp(op, "offsets") == 0)
    return way == AS_FIELDS || run_offsets(test);
  fprintf(stderr, "%s: nothing here knows the operation %s\n", place_of_case, op);
  return false;
}

/* ---- Fields that no case sets ---- */

static char *in_root(const char *root, const char *name) {
  char *path = (char *)keep(malloc(4096));
  snprintf(path, 4096, "%s/%s", root, name);
  return path;
}

static Json options_of(const char *written) {
  const char *at = written;
  return json_value(&at);
}

static const char LONG_TEXT[] =
    "Ada lives in London, and Zoe lives in a small town in the dull and lovely north of it";

/* What a call gave, as a text to compare: its error, or scores and places of its first results. */
typedef char Outcome[1000];

static void add_outcome(char *to, float score, MobilebertText text, size_t start) {
  size_t size = strlen(to);
  snprintf(to + size, sizeof(Outcome) - size, "%a %.*s %zu;", score, (int)text.size, text.data, start);
}

static void error_outcome(char *to, MobilebertError *error) {
  if (error != NULL)
    snprintf(to, sizeof(Outcome), "%s %s", mobilebert_error_code(error), mobilebert_error_message(error));
  mobilebert_error_free(error);
}

static void answer_outcome(const MobilebertModel *model, const Json *given, Way way, char *to) {
  MobilebertAnswerOptions options = mobilebert_answer_options();
  MobilebertError *error = NULL;
  CHECK(answer_options(given, way, &options));
  MobilebertAnswers *found = mobilebert_answer(
      model, mobilebert_text("Who built it?"), mobilebert_text("It was built by Ada."), &options, &error);
  for (size_t i = 0; i < mobilebert_answers_count(found, 0); i++) {
    const MobilebertAnswer *answer = mobilebert_answers_at(found, 0, i);
    add_outcome(to, answer->score, answer->text, answer->place.bytes.start);
  }
  error_outcome(to, error);
  mobilebert_answers_free(found);
}

static void classify_outcome(const MobilebertModel *model, const Json *given, Way way, char *to) {
  MobilebertClassifyOptions options = mobilebert_classify_options();
  MobilebertError *error = NULL;
  CHECK(classify_options(given, way, &options));
  MobilebertLabels *found =
      mobilebert_classify(model, mobilebert_text(LONG_TEXT), &options, &error);
  for (size_t i = 0; i < mobilebert_labels_count(found, 0); i++) {
    const MobilebertLabel *label = mobilebert_labels_at(found, 0, i);
    add_outcome(to, label->score, label->label, mobilebert_labels_truncated(found, 0));
  }
  error_outcome(to, error);
  mobilebert_labels_free(found);
}

static void tag_outcome(const MobilebertModel *model, const Json *given, Way way, char *to) {
  MobilebertTagOptions options = mobilebert_tag_options();
  MobilebertError *error = NULL;
  CHECK(tag_options(given, way, &options));
  MobilebertEntities *found = mobilebert_tag(model, mobilebert_text(LONG_TEXT), &options, &error);
  for (size_t i = 0; i < mobilebert_entities_count(found, 0); i++) {
    const MobilebertEntity *entity = mobilebert_entities_at(found, 0, i);
    add_outcome(to, entity->score, entity->label, entity->place.bytes.start);
  }
  error_outcome(to, error);
  mobilebert_entities_free(found);
}

/* Each of these options changes what comes out, as a field as much as in JSON. */
static void other_fields_do_what_json_does(const char *root) {
  static const struct {
    const char *model;
    void (*outcome)(const MobilebertModel *, const Json *, Way, char *);
    const char *without, *with;
  } CASES[] = {
      {"models/qa", answer_outcome, "{}", "{\"max_question_len\": 2}"},
      {"models/qa", answer_outcome, "{\"handle_impossible_answer\": true}",
       "{\"handle_impossible_answer\": true, \"null_threshold\": -1000}"},
      {"models/sentiment", classify_outcome, "{}", "{\"max_seq_len\": 6}"},
      {"models/sentiment", classify_outcome, "{\"long_text\": \"windows-mean\", \"max_seq_len\": 10}",
       "{\"long_text\": \"windows-mean\", \"max_seq_len\": 10, \"doc_stride\": 1}"},
      {"bindings/vectors/models/ner", tag_outcome, "{}", "{\"max_seq_len\": 8}"},
      {"bindings/vectors/models/ner", tag_outcome, "{\"max_seq_len\": 8}",
       "{\"max_seq_len\": 8, \"doc_stride\": 1}"},
  };
  for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
    MobilebertModel *model = mobilebert_open(in_root(root, CASES[i].model), NULL, NULL);
    Json without = options_of(CASES[i].without), with = options_of(CASES[i].with);
    Outcome before = "", json = "", field = "";
    CASES[i].outcome(model, &without, AS_JSON, before);
    CASES[i].outcome(model, &with, AS_JSON, json);
    CASES[i].outcome(model, &with, AS_FIELDS, field);
    if (strcmp(json, field) != 0 || strcmp(json, before) == 0)
      fprintf(stderr, "%s: without it: %s\n  in JSON: %s\n  as a field: %s\n", CASES[i].with, before, json,
              field);
    CHECK(strcmp(json, field) == 0 && strcmp(json, before) != 0);
    json_free(&without);
    json_free(&with);
    mobilebert_model_free(model);
    free_kept();
  }
}

/* The number of cases whose options have no field, or another type than its field. */
static size_t json_only = 0;

static void run_file(const char *root, const char *name) {
  char path[4096];
  size_t size;
  snprintf(path, sizeof path, "%s/bindings/vectors/%s", root, name);
  char *content = read_file(path, &size);
  const char *at = content;
  Json file = json_value(&at);
  const Json *folder = json_need(&file, "model"), *cases = json_need(&file, "cases");
  MobilebertModel *model = NULL;
  if (folder->kind == JSON_STRING) {
    MobilebertError *error = NULL;
    snprintf(path, sizeof path, "%s/%s", root, folder->text);
    model = mobilebert_open(path, NULL, &error);
    if (model == NULL) {
      show_error(error);
      exit(EXIT_FAILURE);
    }
  }
  for (size_t i = 0; i < cases->count; i++) {
    const Json *test = &cases->items[i];
    const char *op = json_need(test, "op")->text;
    bool passed = true;
    for (int way = AS_JSON; way <= AS_FIELDS; way++) {
      bool skipped = false;
      snprintf(place_of_case, sizeof place_of_case, "%s, case %zu, %s with options as %s", name, i, op,
               way == AS_JSON ? "JSON" : "fields");
      passed = run(op, model, test, (Way)way, &skipped) && passed;
      json_only += skipped;
      free_kept();
    }
    if (passed)
      check_passed++;
    else
      check_failures++;
  }
  mobilebert_model_free(model);
  json_free(&file);
  free(content);
}

int main(int argc, char **argv) {
  char path[4096];
  if (argc != 2) {
    fprintf(stderr, "usage: vectors ROOT\n");
    return 2;
  }
  snprintf(path, sizeof path, "%s/bindings/vectors", argv[1]);
  DIR *folder = opendir(path);
  size_t found = 0;
  for (struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
    const char *end = strrchr(entry->d_name, '.');
    if (end == NULL || strcmp(end, ".json") != 0)
      continue;
    bool is_known = false;
    for (size_t i = 0; i < KNOWN_COUNT; i++)
      is_known = is_known || strcmp(KNOWN[i], entry->d_name) == 0;
    if (!is_known) {
      fprintf(stderr, "nothing here knows the vectors %s\n", entry->d_name);
      check_failures++;
    }
    found++;
  }
  if (folder != NULL)
    closedir(folder);
  if (found < KNOWN_COUNT) {
    fprintf(stderr, "%s has %zu files; expected %d\n", path, found, (int)KNOWN_COUNT);
    return EXIT_FAILURE;
  }
  for (size_t i = 0; i < KNOWN_COUNT; i++)
    run_file(argv[1], KNOWN[i]);
  fprintf(stderr, "%zu cases ran with their options as JSON only\n", json_only);
  int before = check_failures;
  other_fields_do_what_json_does(argv[1]);
  check_passed += check_failures == before;
  TEST(all_fields_were_set);
  return check_end();
}

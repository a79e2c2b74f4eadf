/* Answers a question from a text: `answer MODEL QUESTION TEXT`. */

#include <stdio.h>
#include <stdlib.h>

#include <mobilebert.h>

/* Prints an error, frees it, and returns the status of a program that failed. */
static int failed(MobilebertError *error) {
  fprintf(stderr, "%s: %s\n", mobilebert_error_code(error), mobilebert_error_message(error));
  mobilebert_error_free(error);
  return EXIT_FAILURE;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: answer MODEL QUESTION TEXT\n");
    return 2;
  }
  MobilebertError *error;
  MobilebertModel *model = mobilebert_open(argv[1], NULL, &error);
  if (model == NULL)
    return failed(error);
  MobilebertAnswers *answers =
      mobilebert_answer(model, mobilebert_text(argv[2]), mobilebert_text(argv[3]), NULL, &error);
  if (answers == NULL) {
    mobilebert_model_free(model);
    return failed(error);
  }
  const MobilebertAnswer *answer = mobilebert_answers_at(answers, 0, 0);
  printf("%s  (bytes %zu to %zu, score %.2f)\n", answer->text.data, answer->place.bytes.start,
         answer->place.bytes.end, answer->score);
  mobilebert_answers_free(answers);
  mobilebert_model_free(model);
  return EXIT_SUCCESS;
}

/* What the tests share: checks that are counted, and files. */

#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mobilebert.h>

static int check_failures = 0;
static int check_passed = 0;

/* Reports a check that does not hold, and goes on. */
#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      check_failures++;                                                              \
    }                                                                                \
  } while (0)

/* Runs a test and counts it. */
#define TEST(function)                            \
  do {                                            \
    int before = check_failures;                  \
    function();                                   \
    if (check_failures == before)                 \
      check_passed++;                             \
    else                                          \
      fprintf(stderr, "FAILED: %s\n", #function); \
  } while (0)

/* Prints the number of tests that passed, and returns the status of the program. */
static inline int check_end(void) {
  printf("%d passed\n", check_passed);
  return check_failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Reads a file, with a NUL behind it. */
static inline char *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  long length = -1;
  char *bytes = NULL;
  if (file != NULL && fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) >= 0 &&
      fseek(file, 0, SEEK_SET) == 0 && (bytes = (char *)malloc((size_t)length + 1)) != NULL &&
      fread(bytes, 1, (size_t)length, file) == (size_t)length) {
    bytes[length] = '\0';
    *size = (size_t)length;
  } else {
    fprintf(stderr, "%s cannot be read\n", path);
    exit(EXIT_FAILURE);
  }
  fclose(file);
  return bytes;
}

/* Shows an error that nothing expected, and frees it. */
static inline void show_error(MobilebertError *error) {
  if (error != NULL)
    fprintf(stderr, "%s: %s\n", mobilebert_error_code(error), mobilebert_error_message(error));
  mobilebert_error_free(error);
}

#endif

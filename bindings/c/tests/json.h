/* A reader of JSON for tests: enough for the vectors, and no more. It ends the program at anything else. */

#ifndef JSON_H
#define JSON_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonKind;

typedef struct Json {
  JsonKind kind;
  /* The name of a field, which ends with NUL. */
  char *name;
  double number;
  /* A string, which may hold NUL, and has one behind it. */
  char *text;
  size_t size;
  /* The items of an array or an object. */
  struct Json *items;
  size_t count;
  /* Where the value stands in the file. */
  const char *start, *end;
} Json;

static inline void json_fail(const char *at, const char *expected) {
  fprintf(stderr, "the JSON has \"%.20s\"; expected %s\n", at, expected);
  exit(EXIT_FAILURE);
}

static inline void json_space(const char **at) {
  while (isspace((unsigned char)**at))
    (*at)++;
}

static inline unsigned json_hex(const char **at) {
  unsigned value = 0;
  for (int digit = 0; digit < 4; digit++, (*at)++) {
    if (!isxdigit((unsigned char)**at))
      json_fail(*at, "four hexadecimal digits");
    value = value * 16 + (unsigned)(isdigit((unsigned char)**at) ? **at - '0' : tolower(**at) - 'a' + 10);
  }
  return value;
}

static inline char *json_string(const char **at, size_t *size) {
  const char *end = *at + 1;
  while (*end != '"' && *end != '\0')
    end += *end == '\\' ? 2 : 1;
  char *text = (char *)malloc((size_t)(end - *at) + 1), *to = text;
  if (text == NULL || *end == '\0')
    json_fail(*at, "a string");
  for ((*at)++; **at != '"';) {
    if (**at != '\\') {
      *to++ = *(*at)++;
      continue;
    }
    (*at)++;
    char escaped = *(*at)++;
    const char *known = "nrtbf\"\\/", *place = strchr(known, escaped);
    if (escaped == 'u') {
      unsigned code = json_hex(at);
      if (code >= 0x80)
        json_fail(*at, "an escape only for a control character");
      *to++ = (char)code;
    } else if (place != NULL) {
      *to++ = "\n\r\t\b\f\"\\/"[place - known];
    } else {
      json_fail(*at, "an escape");
    }
  }
  (*at)++;
  *to = '\0';
  *size = (size_t)(to - text);
  return text;
}

static inline Json json_value(const char **at) {
  Json value;
  memset(&value, 0, sizeof value);
  json_space(at);
  value.start = *at;
  if (**at == '{' || **at == '[') {
    char close = **at == '{' ? '}' : ']';
    value.kind = **at == '{' ? JSON_OBJECT : JSON_ARRAY;
    (*at)++;
    json_space(at);
    while (**at != close) {
      char *name = NULL;
      size_t size;
      if (value.kind == JSON_OBJECT) {
        if (**at != '"')
          json_fail(*at, "a name");
        name = json_string(at, &size);
        json_space(at);
        if (*(*at)++ != ':')
          json_fail(*at, "a colon in front of this");
      }
      value.items = (Json *)realloc(value.items, (value.count + 1) * sizeof(Json));
      if (value.items == NULL)
        json_fail(*at, "memory");
      Json item = json_value(at);
      item.name = name;
      value.items[value.count++] = item;
      json_space(at);
      if (**at == ',') {
        (*at)++;
        json_space(at);
      } else if (**at != close) {
        json_fail(*at, "a comma or an end");
      }
    }
    (*at)++;
  } else if (**at == '"') {
    value.kind = JSON_STRING;
    value.text = json_string(at, &value.size);
  } else if (strncmp(*at, "true", 4) == 0 || strncmp(*at, "false", 5) == 0) {
    value.kind = JSON_BOOL;
    value.number = **at == 't';
    *at += **at == 't' ? 4 : 5;
  } else if (strncmp(*at, "null", 4) == 0) {
    *at += 4;
  } else {
    char *end;
    value.kind = JSON_NUMBER;
    value.number = strtod(*at, &end);
    if (end == *at)
      json_fail(*at, "a value");
    *at = end;
  }
  value.end = *at;
  return value;
}

/* Returns the field of an object, or NULL. */
static inline const Json *json_get(const Json *object, const char *name) {
  for (size_t i = 0; object != NULL && object->kind == JSON_OBJECT && i < object->count; i++)
    if (strcmp(object->items[i].name, name) == 0)
      return &object->items[i];
  return NULL;
}

/* Returns the field of an object that has to have it. */
static inline const Json *json_need(const Json *object, const char *name) {
  const Json *field = json_get(object, name);
  if (field == NULL)
    json_fail(object == NULL ? "" : object->start, name);
  return field;
}

static inline void json_free(Json *value) {
  for (size_t i = 0; i < value->count; i++)
    json_free(&value->items[i]);
  free(value->items);
  free(value->text);
  free(value->name);
}

#endif

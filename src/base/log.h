/* Log lines to stderr: one line each, never the text of documents or prompts. Thread-safe. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format {
    LOG_TEXT, /* "inline: warning: the message" */
    LOG_JSON  /* {"time":"2026-11-23T23:41:00.123Z","level":"warning","message":"..."}, then an event's fields
               */
};

/* The mutable globals of the program: lines above this level are dropped; how lines look. Set at start-up and
 * when the configuration is read again. */
void log_set_level(enum log_level level);
void log_set_format(enum log_format format);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Something that happened, with its figures (empty strings are left out): in text "inline: info: request
 * id=17 outcome=ok total_ms=4.200". A field that does not fit the line (4 KB) is left out. */
struct log_field {
    const char *key;
    enum { LOG_STR, LOG_INT, LOG_NUM } kind;
    const char *str; /* LOG_STR */
    int64_t integer; /* LOG_INT */
    double number;   /* LOG_NUM, told to 3 decimals */
};
void log_event(enum log_level level, const char *event, const struct log_field *fields, int n);

#endif

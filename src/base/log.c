/* Log lines to stderr: see log.h.
 *
 * A line is made on the stack (logging allocates nothing, so that decoding may log) and handed over by one
 * write, which the system does not mix with other threads' or processes'. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/utf8.h"

#define LINE_MAX_BYTES 4096 /* what Linux writes to a pipe as one piece (PIPE_BUF, pipe(7)) */
#define END_BYTES      2    /* kept free for "}\n" */
/* Of a message or a value, with its NUL. A byte becomes three at most in JSON (U+FFFD for one that is not
 * UTF-8), so that a message always fits the line. */
#define TEXT_MAX 1024

static atomic_int max_level = LOG_WARN;
static atomic_int line_format = LOG_TEXT;

static const char *const level_names[] = {"error", "warning", "info", "debug"};

struct line {
    bool is_json; /* all of it, whoever changes the format meanwhile */
    char bytes[LINE_MAX_BYTES + 1];
    struct buf buf; /* over `bytes`: its limit is below its capacity, so that it never grows into the heap */
    struct json json;
};

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

void log_set_format(enum log_format format)
{
    atomic_store_explicit(&line_format, (int)format, memory_order_relaxed);
}

static bool is_wanted(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

/* Messages may quote what files and clients hold: nothing in them ends the line or moves a terminal's
 * cursor. */
static void make_printable(char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        int32_t code;
        size_t n = utf8_decode(text + i, len - i, &code);
        bool is_control = (code >= 0 && code < 0x20) || (code >= 0x7f && code < 0xa0);
        if (is_control) memset(text + i, '?', n);
        i += n;
    }
}

/* RFC 3339, UTC, milliseconds. */
static void add_time(struct json *j)
{
    struct timespec now;
    struct tm utc;
    char day[32], text[48];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, sizeof text, "%s.%03ldZ", day, now.tv_nsec / 1000000);
    json_str(j, "time", text);
}

static void begin(struct line *l, enum log_level level, const char *message)
{
    l->buf = (struct buf){.data = l->bytes, .cap = sizeof l->bytes, .max = LINE_MAX_BYTES - END_BYTES};
    json_init(&l->json, &l->buf);
    l->is_json = atomic_load_explicit(&line_format, memory_order_relaxed) == LOG_JSON;
    if (l->is_json) {
        json_begin_object(&l->json, NULL);
        add_time(&l->json);
        json_str(&l->json, "level", level_names[level]);
        json_str(&l->json, "message", message);
    } else {
        buf_printf(&l->buf, "inline: %s: %s", level_names[level], message);
    }
}

static void end(struct line *l)
{
    int kept = errno; /* callers log between a failure and its report */
    l->buf.max = LINE_MAX_BYTES;
    if (l->is_json) json_end_object(&l->json);
    buf_add_char(&l->buf, '\n');
    const char *from = l->buf.data;
    size_t left = l->buf.len;
    while (left > 0) {
        ssize_t n = write(STDERR_FILENO, from, left);
        if (n < 0 && errno != EINTR) break; /* nobody is left to be told */
        if (n > 0) from += n, left -= (size_t)n;
    }
    errno = kept;
}

void log_line(enum log_level level, const char *fmt, ...)
{
    struct line line;
    char text[TEXT_MAX];
    va_list args;
    if (!is_wanted(level)) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    make_printable(text);
    begin(&line, level, text);
    end(&line);
}

/* --- Events ------------------------------------------------------------------------------------------- */

/* In text, a value that could be taken for several is quoted as in JSON. */
static bool needs_quotes(const char *value)
{
    return *value == '\0' || strpbrk(value, " \"=\\") != NULL;
}

static void add_value(struct line *l, const struct log_field *f, const char *key)
{
    char text[TEXT_MAX];
    switch (f->kind) {
    case LOG_STR:
        snprintf(text, sizeof text, "%s", f->str ? f->str : "");
        make_printable(text);
        if (key || needs_quotes(text)) {
            json_str(&l->json, key, text);
        } else {
            buf_add_str(&l->buf, text);
        }
        break;
    case LOG_INT:
        json_int(&l->json, key, f->integer);
        break;
    case LOG_NUM:
        json_num(&l->json, key, f->number, 3);
        break;
    }
}

/* A field that does not fit the line any more is left out as a whole. */
static void add_field(struct line *l, const struct log_field *f)
{
    size_t before = l->buf.len;
    bool needed_comma = l->json.needs_comma;
    if (l->is_json) {
        add_value(l, f, f->key);
    } else {
        buf_printf(&l->buf, " %s=", f->key);
        l->json.needs_comma = false; /* no JSON but its way of writing values */
        add_value(l, f, NULL);
    }
    if (l->buf.err) {
        l->buf.err = OK;
        buf_truncate(&l->buf, before);
        l->json.needs_comma = needed_comma;
    }
}

void log_event(enum log_level level, const char *event, const struct log_field *fields, int n)
{
    struct line line;
    if (!is_wanted(level)) return;
    begin(&line, level, event);
    for (int i = 0; i < n; i++) {
        bool is_empty = fields[i].kind == LOG_STR && !(fields[i].str && *fields[i].str);
        if (!is_empty) add_field(&line, &fields[i]);
    }
    end(&line);
}

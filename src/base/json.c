/* JSON output, written straight into a buffer. */
#include "base/json.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/utf8.h"

void json_init(struct json *j, struct buf *out)
{
    *j = (struct json){.out = out};
}

/* How many of the first bytes are ASCII that stands for itself: of prompts, nearly all. */
static size_t plain_len(const char *s, size_t len)
{
    size_t n = 0;
    while (n < len && s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\') n++;
    return n;
}

static void add_string(struct buf *out, const char *s, size_t len)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < len;) {
        size_t plain = plain_len(s + i, len - i);
        buf_add(out, s + i, plain);
        i += plain;
        if (i == len) break;
        int32_t code;
        size_t n = utf8_decode(s + i, len - i, &code);
        if (code < 0) {
            buf_add_str(out, "\xef\xbf\xbd");
        } else if (code == '"' || code == '\\') {
            buf_add_char(out, '\\');
            buf_add_char(out, (char)code);
        } else if (code == '\n') {
            buf_add_str(out, "\\n");
        } else if (code == '\t') {
            buf_add_str(out, "\\t");
        } else if (code < 0x20 || code == 0x7f) {
            buf_printf(out, "\\u%04x", (unsigned)code);
        } else {
            buf_add(out, s + i, n);
        }
        i += n;
    }
    buf_add_char(out, '"');
}

static void begin_value(struct json *j, const char *key)
{
    if (j->needs_comma) buf_add_char(j->out, ',');
    j->needs_comma = true;
    if (!key) return;
    add_string(j->out, key, strlen(key));
    buf_add_char(j->out, ':');
}

static void begin_nested(struct json *j, const char *key, char open)
{
    begin_value(j, key);
    buf_add_char(j->out, open);
    j->needs_comma = false;
}

static void end_nested(struct json *j, char close)
{
    buf_add_char(j->out, close);
    j->needs_comma = true;
}

void json_begin_object(struct json *j, const char *key)
{
    begin_nested(j, key, '{');
}

void json_end_object(struct json *j)
{
    end_nested(j, '}');
}

void json_begin_array(struct json *j, const char *key)
{
    begin_nested(j, key, '[');
}

void json_end_array(struct json *j)
{
    end_nested(j, ']');
}

void json_str_len(struct json *j, const char *key, const char *value, size_t len)
{
    begin_value(j, key);
    add_string(j->out, value, len);
}

void json_str(struct json *j, const char *key, const char *value)
{
    if (value) {
        json_str_len(j, key, value, strlen(value));
        return;
    }
    begin_value(j, key);
    buf_add_str(j->out, "null");
}

void json_int(struct json *j, const char *key, int64_t value)
{
    begin_value(j, key);
    buf_printf(j->out, "%" PRId64, value);
}

void json_num(struct json *j, const char *key, double value, int decimals)
{
    begin_value(j, key);
    buf_printf(j->out, "%.*f", decimals, isfinite(value) ? value : 0.0);
}

void json_flag(struct json *j, const char *key, bool value)
{
    begin_value(j, key);
    buf_add_str(j->out, value ? "true" : "false");
}

void json_raw(struct json *j, const char *key, const char *value, size_t len)
{
    begin_value(j, key);
    buf_add(j->out, value, len);
}

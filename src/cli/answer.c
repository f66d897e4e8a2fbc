/* See answer.h. */
#include "cli/answer.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/json_read.h"
#include "base/size.h"
#include "base/utf8.h"

int64_t answer_int(const struct json_value *object, const char *key)
{
    int64_t n = 0;
    (void)json_get_int(json_get(object, key), &n);
    return n;
}

double answer_num(const struct json_value *object, const char *key)
{
    double n = 0;
    (void)json_get_num(json_get(object, key), &n);
    return n;
}

const char *answer_text(const struct json_value *object, const char *key)
{
    const char *s = json_get_str(json_get(object, key), NULL);
    return s ? s : "";
}

bool answer_flag(const struct json_value *object, const char *key)
{
    bool is_on = false;
    (void)json_get_flag(json_get(object, key), &is_on);
    return is_on;
}

void answer_add_time(struct buf *out, double seconds)
{
    int64_t s = seconds > 0 && seconds < 1e15 ? (int64_t)(seconds + 0.5) : 0;
    if (s < 60)
        buf_printf(out, "%" PRId64 " s", s);
    else if (s < 3600)
        buf_printf(out, "%" PRId64 " min", s / 60);
    else if (s < 86400)
        buf_printf(out, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
    else
        buf_printf(out, "%" PRId64 " d %" PRId64 " h", s / 86400, s % 86400 / 3600);
}

void answer_add_size(struct buf *out, int64_t bytes)
{
    char size[SIZE_TEXT_MAX];
    buf_add_str(out, size_text(bytes, size));
}

/* Scripts that are certainly drawn one column a character: printable ASCII; Latin, Greek and Cyrillic
 * (U+00A1 to U+052F) but for the soft hyphen and the combining accents; and a few marks of punctuation. */
static bool is_narrow(int32_t code, bool is_utf8)
{
    if (code >= 0x20 && code < 0x7f) return true;
    if (!is_utf8) return false;
    if (code >= 0xa1 && code <= 0x52f)
        return code != 0xad && !(code >= 0x300 && code <= 0x36f) && !(code >= 0x483 && code <= 0x489);
    return (code >= 0x2013 && code <= 0x2014) || (code >= 0x2018 && code <= 0x201e) || code == 0x2026 ||
           code == 0x2264 || code == 0x2265;
}

int32_t answer_add_safe(struct buf *out, const char *text, int32_t max_columns, bool is_utf8)
{
    size_t len = strlen(text);
    int32_t n = 0;
    while (len > 0 && n < max_columns) {
        int32_t code;
        size_t used = utf8_decode(text, len, &code);
        if (is_narrow(code, is_utf8))
            buf_add(out, text, used);
        else
            buf_add_char(out, '?');
        text += used;
        len -= used;
        n++;
    }
    return n;
}

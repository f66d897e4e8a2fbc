/* Error messages: formatting and making foreign bytes safe to print. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Replace what could break a terminal or a log line; copies whole valid UTF-8 sequences. */
static void sanitize(char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len;) {
        int32_t code;
        size_t n = utf8_decode(text + i, len - i, &code);
        if (code < 0x20 || code == 0x7f || (code >= 0x80 && code < 0xa0)) memset(text + i, '?', n);
        i += n;
    }
}

enum err err_set(struct errmsg *msg, enum err code, const char *fmt, ...)
{
    if (!msg) return code;
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg->text, sizeof msg->text, fmt, args);
    va_end(args);
    sanitize(msg->text);
    return code;
}

const char *err_text(enum err code)
{
    static const char *const texts[] = {
#define X(code, text) [code] = text,
        ERR_LIST(X)
#undef X
    };
    return (unsigned)code < sizeof texts / sizeof *texts ? texts[code] : "unknown error";
}

/* Base64 as PEM (RFC 7468) and OpenPGP (RFC 4880, 6) break it: lines of 64, 70 or 76 characters, the last one
 * shorter. Three of them in a row are no program; whether they are a key only the lines around would tell, so
 * without these they count as one. Hexadecimal tables are told by their alphabet. */
#include "context/secret_block.h"

#include <ctype.h>
#include <string.h>

#define LINE_MIN  ((size_t)60) /* what the programs that write keys break at, and a little less */
#define LINE_MAX  ((size_t)80)
#define LINES_MIN 3
#define LAST_MIN  ((size_t)12) /* of the line before the END line; less is worth nothing */

struct line {
    size_t start, end; /* without its ending and without quotation marks and space around it */
    size_t next;
};

static bool is_base64(char c)
{
    return isalnum((unsigned char)c) || c == '+' || c == '/' || c == '=';
}

/* What surrounds a line of a key that is written as strings of a program. */
static bool is_wrapping(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '"' || c == '\'' || c == ',';
}

static struct line line_at(const char *text, size_t len, size_t at)
{
    const char *end = memchr(text + at, '\n', len - at);
    struct line l = {.start = at, .end = end ? (size_t)(end - text) : len};
    l.next = end ? l.end + 1 : len;
    while (l.start < l.end && is_wrapping(text[l.start])) l.start++;
    while (l.end > l.start && is_wrapping(text[l.end - 1])) l.end--;
    if (l.end >= l.start + 2 && memcmp(text + l.end - 2, "\\n", 2) == 0) l.end -= 2;
    return l;
}

static bool is_all_base64(const char *text, const struct line *l)
{
    for (size_t i = l->start; i < l->end; i++) {
        if (!is_base64(text[i])) return false;
    }
    return l->end > l->start;
}

/* A full line of base64 with letters of both cases and beyond those of hexadecimal digits. */
static bool is_key_line(const char *text, const struct line *l)
{
    bool lower = false, upper = false;
    if (l->end - l->start < LINE_MIN || l->end - l->start > LINE_MAX || !is_all_base64(text, l)) return false;
    for (size_t i = l->start; i < l->end; i++) {
        lower |= text[i] > 'f' && text[i] <= 'z';
        upper |= text[i] > 'F' && text[i] <= 'Z';
    }
    return lower && upper;
}

/* The line before begins something that is not private. */
static bool is_public(const char *text, size_t start)
{
    size_t end = start > 0 ? start - 1 : 0, line = end;
    while (line > 0 && text[line - 1] != '\n') line--;
    const char *begin = memmem(text + line, end - line, "-----BEGIN ", 11);
    return begin && !memmem(text + line, end - line, "PRIVATE KEY", 11);
}

static bool ends_private_key(const char *text, const struct line *l)
{
    size_t len = l->end - l->start;
    return len > 9 && memcmp(text + l->start, "-----END ", 9) == 0 &&
           memmem(text + l->start, len, "PRIVATE KEY", 11) != NULL;
}

/* The block that begins with the line `first`: full lines, then a shorter one. False: it is none. */
static bool read_block(const char *text, size_t len, const struct line *first, size_t *end, size_t *next)
{
    struct line l = *first;
    size_t width = first->end - first->start;
    int n = 0;
    for (; is_key_line(text, &l) && l.end - l.start == width; n++) {
        *end = l.end;
        *next = l.next;
        if (l.next == len) return n + 1 >= LINES_MIN;
        l = line_at(text, len, l.next);
    }
    if ((n == 0 || l.end - l.start < width) && is_all_base64(text, &l)) {
        *end = l.end;
        *next = l.next;
        if (l.next < len) l = line_at(text, len, l.next);
    }
    return n >= LINES_MIN || (*end > first->start && ends_private_key(text, &l));
}

bool secret_block_find(const char *text, size_t len, size_t from, size_t to, size_t *start, size_t *end)
{
    for (size_t at = from; at < to;) {
        struct line l = line_at(text, len, at);
        size_t block_end = 0, next = l.next;
        if (l.end - l.start >= LAST_MIN && is_all_base64(text, &l) &&
            read_block(text, len, &l, &block_end, &next) && !is_public(text, at)) {
            *start = l.start;
            *end = block_end;
            return *start < to;
        }
        at = next;
    }
    return false;
}

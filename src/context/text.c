/* Text under incremental edits.
 *
 * The text is one block of bytes without an index of lines: a place is found by a pass over what stands
 * before it, which for source files costs less than keeping an index true under edits. The bytes are always
 * valid UTF-8, because what comes in is repaired and cuts are made between characters only; so everything
 * here may step by characters without checking. */
#include "context/text.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "context/document.h"

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */
#define REPLACEMENT_LEN (sizeof REPLACEMENT - 1)

size_t text_repaired_len(const char *bytes, size_t len)
{
    size_t total = 0;
    for (size_t i = 0; i < len;) {
        int32_t code;
        size_t n = utf8_decode(bytes + i, len - i, &code);
        total += code < 0 ? REPLACEMENT_LEN : n;
        i += n;
    }
    return total;
}

/* n_out is text_repaired_len of them: equal to len only if nothing was to be repaired. */
static void copy_repaired(char *out, size_t n_out, const char *bytes, size_t len)
{
    if (n_out == len) {
        if (len) memcpy(out, bytes, len);
        return;
    }
    for (size_t i = 0; i < len;) {
        int32_t code;
        size_t n = utf8_decode(bytes + i, len - i, &code);
        size_t n_piece = code < 0 ? REPLACEMENT_LEN : n;
        memcpy(out, code < 0 ? REPLACEMENT : bytes + i, n_piece);
        out += n_piece;
        i += n;
    }
}

enum err text_init(struct text *t, const char *bytes, size_t len)
{
    struct text fresh = {0};
    enum err err = text_splice(&fresh, 0, 0, bytes, len);
    if (!err) *t = fresh;
    return err;
}

void text_clear(struct text *t)
{
    mem_free(t->bytes);
    *t = (struct text){0};
}

/* --- Places ------------------------------------------------------------------------------------------ */

size_t text_char_start(const struct text *t, size_t at)
{
    if (at >= t->len) return t->len;
    while (at > 0 && ((unsigned char)t->bytes[at] & 0xc0) == 0x80) at--;
    return at;
}

/* Where the line that holds `at` ends: before its line ending. */
static size_t line_end(const struct text *t, size_t at)
{
    while (at < t->len && t->bytes[at] != '\n' && t->bytes[at] != '\r') at++;
    return at;
}

/* Where the line after the one that ends at `end` starts; the text's length if there is none. */
static size_t line_after(const struct text *t, size_t end)
{
    if (end >= t->len) return t->len;
    bool is_crlf = t->bytes[end] == '\r' && end + 1 < t->len && t->bytes[end + 1] == '\n';
    return end + (is_crlf ? 2 : 1);
}

/* The length of the character at `at`, in bytes and in units. */
static size_t char_len(const struct text *t, size_t at, enum text_encoding unit, int64_t *n_units)
{
    int32_t code;
    size_t n = utf8_decode(t->bytes + at, t->len - at, &code);
    *n_units = unit == TEXT_UTF8 ? (int64_t)n : unit == TEXT_UTF16 && code > 0xffff ? 2 : 1;
    return n;
}

size_t text_offset(const struct text *t, struct text_position p, enum text_encoding unit)
{
    size_t at = 0;
    if (p.line < 0) return 0;
    for (int64_t line = 0; line < p.line; line++) {
        size_t end = line_end(t, at);
        if (end == t->len) return t->len;
        at = line_after(t, end);
    }
    size_t end = line_end(t, at);
    for (int64_t left = p.character; at < end;) {
        int64_t n_units;
        size_t n = char_len(t, at, unit, &n_units);
        if (n_units > left) break;
        left -= n_units;
        at += n;
    }
    return at;
}

struct text_position text_position_of(const struct text *t, size_t offset, enum text_encoding unit)
{
    struct text_position p = {0};
    size_t start = 0, end = line_end(t, 0);
    offset = text_char_start(t, offset);
    for (size_t next; end < t->len && (next = line_after(t, end)) <= offset; p.line++) {
        start = next;
        end = line_end(t, start);
    }
    while (start < offset && start < end) {
        int64_t n_units;
        start += char_len(t, start, unit, &n_units);
        p.character += n_units;
    }
    return p;
}

/* --- Edits ------------------------------------------------------------------------------------------- */

/* Room for len bytes and the NUL. Grows by half, so that typing rarely copies. */
static enum err reserve(struct text *t, size_t len)
{
    if (len < t->cap) return OK;
    size_t cap = len + len / 2 + 1;
    char *bytes = mem_try_resize(t->bytes, cap, 1);
    if (!bytes) return ERR_NOMEM;
    t->bytes = bytes;
    t->cap = cap;
    return OK;
}

enum err text_splice(struct text *t, size_t from, size_t to, const char *bytes, size_t len)
{
    from = text_char_start(t, from);
    to = text_char_start(t, to);
    if (from > to) {
        size_t first = to;
        to = from;
        from = first;
    }
    if (len > DOCUMENT_MAX_BYTES) return ERR_LIMIT;
    size_t n_new = text_repaired_len(bytes, len), n_kept = t->len - (to - from);
    if (n_new > DOCUMENT_MAX_BYTES - n_kept) return ERR_LIMIT;
    enum err err = reserve(t, n_kept + n_new);
    if (err) return err;
    memmove(t->bytes + from + n_new, t->bytes + to, t->len - to);
    copy_repaired(t->bytes + from, n_new, bytes, len);
    t->len = n_kept + n_new;
    t->bytes[t->len] = '\0';
    return OK;
}

/* --- Comparing --------------------------------------------------------------------------------------- */

#define WORD sizeof(uint64_t)

static bool is_same_word(const char *a, const char *b)
{
    uint64_t x, y;
    memcpy(&x, a, WORD);
    memcpy(&y, b, WORD);
    return x == y;
}

size_t text_common_prefix(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t n = 0, most = n_a < n_b ? n_a : n_b;
    while (most - n >= WORD && is_same_word(a + n, b + n)) n += WORD;
    while (n < most && a[n] == b[n]) n++;
    return n;
}

size_t text_common_suffix(const char *a, size_t n_a, const char *b, size_t n_b)
{
    size_t n = 0, most = n_a < n_b ? n_a : n_b;
    while (most - n >= WORD && is_same_word(a + n_a - n - WORD, b + n_b - n - WORD)) n += WORD;
    while (n < most && a[n_a - n - 1] == b[n_b - n - 1]) n++;
    return n;
}

/* Telling documents by their windows.
 *
 * Between two keystrokes a window slides by lines at its far ends, and text comes or goes at the cursor. So
 * the prefixes are of one document if the end of one is found near the end of the other, as far before it as
 * somebody may have typed, and the suffixes are if they begin alike. Short windows (a new file, the last line
 * of one) prove little: of those both sides must agree, and hold a few words. A raw prompt says nothing about
 * where its text is from; only one that continues the other counts, as typing at the end does. */
#include "complete/likeness.h"

#include <string.h>

#define TAIL_BYTES  ((size_t)64)  /* of the prefix: a line or two, which rarely occur twice */
#define HEAD_BYTES  ((size_t)128) /* of the suffix: longer, for files end alike more often */
#define TYPED_BYTES ((size_t)256) /* an accepted suggestion and what was typed after it */
#define BOTH_BYTES  ((size_t)32)  /* of prefix and suffix together, where both agree */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Bytes at the end of `shorter` that are found near the end of `longer`; 0: they are not. */
static size_t continued(const char *shorter, size_t shorter_len, const char *longer, size_t longer_len)
{
    size_t tail = min_size(shorter_len, TAIL_BYTES);
    size_t near = min_size(longer_len, tail + TYPED_BYTES);
    if (tail == 0 || near < tail) return 0;
    bool is_found = memmem(longer + longer_len - near, near, shorter + shorter_len - tail, tail) != NULL;
    return is_found ? tail : 0;
}

static bool is_same_path(const char *a, const char *b)
{
    return !a || !b || strcmp(a, b) == 0;
}

static bool is_same_raw(const struct prompt_input *a, const struct prompt_input *b)
{
    if (!a->text || !b->text) return false;
    size_t len = min_size(a->text_len, b->text_len);
    size_t more = a->text_len + b->text_len - 2 * len;
    return len >= BOTH_BYTES && more <= TYPED_BYTES && memcmp(a->text, b->text, len) == 0;
}

bool likeness_is_same_document(const struct prompt_input *older, const struct prompt_input *newer)
{
    if (older->is_raw != newer->is_raw) return false;
    if (older->is_raw) return is_same_raw(older, newer);
    if (!is_same_path(older->path, newer->path)) return false;

    size_t prefix = continued(older->before, older->before_len, newer->before, newer->before_len);
    if (prefix == 0) prefix = continued(newer->before, newer->before_len, older->before, older->before_len);
    size_t suffix = min_size(min_size(older->after_len, newer->after_len), HEAD_BYTES);
    bool is_same_suffix = memcmp(older->after, newer->after, suffix) == 0;
    if (!is_same_suffix) suffix = 0;
    if (prefix == TAIL_BYTES || suffix == HEAD_BYTES) return true;
    return prefix > 0 && is_same_suffix && prefix + suffix >= BOTH_BYTES;
}

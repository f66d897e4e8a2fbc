/* Cutting a window. */
#include "context/fim_window.h"

#include <string.h>

#include "base/utf8.h"

/* Rounded down to a power of two, because `keep` itself changes with each edit. */
size_t fim_step_start(size_t len, size_t keep)
{
    size_t step = 1;
    if (len <= keep) return 0;
    while (step <= keep / 8) step *= 2;
    return (len - keep + step - 1) / step * step;
}

size_t fim_span_start(struct fim_span s, size_t keep)
{
    size_t least = s.len > keep ? s.len - keep : 0, rounded = fim_step_start(s.len, keep);
    if (rounded > 0 && rounded < s.len) {
        const char *newline = memchr(s.text + rounded - 1, '\n', s.len - rounded + 1);
        size_t line = newline ? (size_t)(newline - s.text) + 1 : s.len;
        if (s.len - line >= keep / 2 && line < s.len) return line;
    }
    while (least < s.len && utf8_is_continuation(s.text[least])) least++;
    return least;
}

size_t fim_span_end(struct fim_span s, size_t keep)
{
    const char *newline = keep > 0 ? memrchr(s.text, '\n', keep) : NULL;
    size_t line = newline ? (size_t)(newline - s.text) + 1 : 0;
    if (line > keep / 2) return line;
    while (keep > 0 && utf8_is_continuation(s.text[keep])) keep--;
    return keep;
}

size_t fim_suffix_share(size_t room, size_t prefix)
{
    size_t quarter = room / 4;
    size_t n_taken = quarter > 0 ? (prefix + quarter - 1) / quarter : 4;
    return n_taken < 3 ? room - n_taken * quarter : quarter;
}

size_t fim_room_left(size_t room, size_t prefix, size_t suffix, bool is_suffix_cut)
{
    size_t left = prefix + suffix < room ? room - prefix - suffix : 0, quarter = room / 4;
    size_t to_quarter = quarter > 0 ? (quarter - prefix % quarter) % quarter : 0;
    return is_suffix_cut && to_quarter < left ? to_quarter : left;
}

void fim_cut_bytes(enum fim_order order, const struct fim_input *in, size_t max_bytes, struct fim_window *out)
{
    struct fim_span before = {in->prefix, in->prefix_len}, after = {in->suffix, in->suffix_len};
    *out = (struct fim_window){.prefix = before.text, .suffix = after.text};
    if (order != FIM_PREFIX_ONLY) {
        size_t left = max_bytes > before.len ? max_bytes - before.len : 0;
        size_t keep = after.len <= left ? left : fim_suffix_share(max_bytes, before.len);
        out->suffix_len = after.len > keep ? fim_span_end(after, keep) : after.len;
    }
    size_t start = 0, keep = max_bytes - out->suffix_len;
    if (before.len > keep) start = fim_span_start(before, keep);
    out->prefix = before.text + start;
    out->prefix_len = before.len - start;
    bool is_suffix_cut = order != FIM_PREFIX_ONLY && out->suffix_len < after.len;
    size_t room = fim_room_left(max_bytes, before.len, out->suffix_len, is_suffix_cut);
    out->room = start > 0 ? 0 : room < INT32_MAX ? (int32_t)room : INT32_MAX;
}

/* Anchoring the window.
 *
 * What is chosen depends on the text, the cursor and the limits alone, not on where the window was before. A
 * window just chosen satisfies `holds`, so that it is not chosen again at the next key. */
#include "context/view.h"

#include <string.h>

#include "base/utf8.h"

void view_edit(struct view *v, size_t from, size_t old_to, size_t new_to)
{
    if (!v->is_set || from > v->end) return;
    if (old_to < v->start) {
        v->start = v->start - old_to + new_to;
        v->end = v->end - old_to + new_to;
    } else if (from < v->start || old_to > v->end) {
        v->is_set = false; /* an end of the window was overwritten */
    } else {
        v->is_loose = v->is_loose || old_to == v->end;
        v->end = v->end - old_to + new_to;
    }
}

/* How well a window may begin or end at the line that starts here: best where a definition is likely to
 * start, after an empty line and not indented. */
static int line_rank(const char *text, size_t len, size_t at)
{
    size_t i = at - 1; /* the newline of the line before */
    while (i > 0 && (text[i - 1] == ' ' || text[i - 1] == '\t' || text[i - 1] == '\r')) i--;
    bool is_after_empty = i == 0 || text[i - 1] == '\n';
    if (!is_after_empty) return 0;
    return at < len && text[at] != ' ' && text[at] != '\t' ? 2 : 1;
}

/* The best start of a line in from..to, of equals the one nearest to `from` or to `to`. False: none. */
static bool find_line(const char *text, size_t len, size_t from, size_t to, bool is_nearest_to, size_t *out)
{
    int best = -1;
    size_t at = from > 0 ? from - 1 : 0;
    for (;;) {
        const char *newline = at < to ? memchr(text + at, '\n', to - at) : NULL;
        if (!newline) break;
        at = (size_t)(newline - text) + 1;
        int rank = line_rank(text, len, at);
        if (rank < best || (rank == best && !is_nearest_to)) continue;
        best = rank;
        *out = at;
    }
    return best >= 0;
}

/* The text's start if that leaves half of the window to grow; else between 3/4 of `before` and all of it; for
 * the sake of a line's start up to half as much again. */
static size_t choose_start(const char *text, size_t len, size_t cursor, const struct view_limits *l)
{
    size_t start;
    if (cursor <= l->before || cursor <= l->max_before / 2) return 0;
    size_t far = cursor - l->before;
    if (find_line(text, len, far, cursor - l->before / 4 * 3, false, &start)) return start;
    size_t most = l->before + l->before / 2;
    if (most > l->max_before) most = l->max_before;
    if (cursor <= most) return 0;
    if (find_line(text, len, cursor - most, far, true, &start)) return start;
    while (far < cursor && utf8_is_continuation(text[far])) far++;
    return far;
}

/* Between 5/8 of `after` (a little more than has to be there) and all of it; for the sake of a line's start
 * up to max_after. */
static size_t choose_end(const char *text, size_t len, size_t cursor, const struct view_limits *l)
{
    size_t end, left = len - cursor;
    if (left <= l->after) return len;
    size_t near = cursor + l->after / 8 * 5, far = cursor + l->after;
    if (find_line(text, len, near, far, true, &end)) return end;
    if (left <= l->max_after) return len;
    if (find_line(text, len, far, cursor + l->max_after, false, &end)) return end;
    while (far > cursor && utf8_is_continuation(text[far])) far--;
    return far;
}

/* After edits right at the end, the line that begins outside of the window belongs to it. */
static void fasten_end(struct view *v, const char *text, size_t len, size_t cursor,
                       const struct view_limits *l)
{
    v->is_loose = false;
    if (v->end >= len || v->end == 0 || text[v->end - 1] == '\n') return;
    size_t most = l->max_after < len && cursor < len - l->max_after ? cursor + l->max_after : len;
    const char *newline = v->end < most ? memchr(text + v->end, '\n', most - v->end) : NULL;
    if (newline)
        v->end = (size_t)(newline - text) + 1;
    else if (most == len)
        v->end = len;
    else
        v->is_set = false;
}

static bool holds(const struct view *v, size_t len, size_t cursor, const struct view_limits *l)
{
    if (!v->is_set || v->end > len || cursor < v->start || cursor > v->end) return false;
    size_t before = cursor - v->start, after = v->end - cursor;
    if (before > l->max_before || after > l->max_after) return false;
    if (v->start > 0 && before < l->before / 4) return false;
    return v->end == len || after >= l->after / 2;
}

bool view_update(struct view *v, const char *text, size_t len, size_t cursor, const struct view_limits *l)
{
    if (v->is_set && v->is_loose && v->end <= len) fasten_end(v, text, len, cursor, l);
    if (holds(v, len, cursor, l)) return false;
    *v = (struct view){
        .start = choose_start(text, len, cursor, l), .end = choose_end(text, len, cursor, l), .is_set = true};
    return true;
}

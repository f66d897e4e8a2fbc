/* Finding a window in the one before it.
 *
 * The beginning of one occurs in the other; from there on they agree up to an edit, and after it again. Where
 * an edit ends is told by the text that follows the cursor, because windows slide at their ends too; failing
 * that by what the ends have in common. A wrong guess costs a longer edit, never a wrong text. The searches
 * pass over each text a few times, and usually stop within its first lines. */
#include "context/slide.h"

#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "context/text.h"

#define HEAD_BYTES  ((size_t)64)  /* looked for: a line or two, which rarely occur twice */
#define TYPED_BYTES ((size_t)256) /* an edit that needs no more evidence: a suggestion taken, a few words */
#define TRIES_MAX   16            /* of places where the head occurs: text that repeats itself */

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* --- What was edited, once the starts are known ------------------------------------------------------ */

struct side {
    const char *text;
    size_t len;
};

/* Where the line after the one that holds `at` starts. */
static size_t next_line(const struct side *t, size_t at)
{
    const char *end = at < t->len ? memchr(t->text + at, '\n', t->len - at) : NULL;
    return end ? (size_t)(end + 1 - t->text) : t->len;
}

/* Whether both go on alike from these places until one of them ends. */
static bool is_same_to_end(const struct side *a, size_t in_a, const struct side *b, size_t in_b)
{
    size_t n = min_size(a->len - in_a, b->len - in_b);
    return memcmp(a->text + in_a, b->text + in_b, n) == 0;
}

/* Find, after their n_same first bytes, where both go on alike until one of them ends: the text after the
 * cursor's line is looked for in the older one. */
static bool meet_after_cursor(const struct side *a, const struct side *b, size_t n_same, size_t cursor,
                              size_t *in_a, size_t *in_b)
{
    size_t at = next_line(b, cursor > n_same ? cursor : n_same), from = n_same;
    if (b->len - at < HEAD_BYTES) return false;
    for (int i = 0; i < TRIES_MAX; i++) {
        const char *found = memmem(a->text + from, a->len - from, b->text + at, HEAD_BYTES);
        if (!found) return false;
        from = (size_t)(found - a->text);
        if (is_same_to_end(a, from, b, at)) {
            size_t back = text_common_suffix(a->text + n_same, from - n_same, b->text + n_same, at - n_same);
            *in_a = from - back;
            *in_b = at - back;
            return true;
        }
        from++;
    }
    return false;
}

/* Whether text that only came or only went could also have done so `by` bytes before: "\n" and an indentation
 * put in after a line, or the indentation and "\n" at the beginning of the next one. */
static bool could_be_before(const struct side *longer, size_t from, size_t to, size_t by)
{
    return by > 0 && by <= from && !utf8_is_continuation(longer->text[from - by]) &&
           memcmp(longer->text + from - by, longer->text + to - by, by) == 0;
}

static void find_edit(const struct side *a, const struct side *b, size_t cursor, struct slide *out)
{
    size_t same = text_common_prefix(a->text, a->len, b->text, b->len);
    while (same > 0 && same < a->len && utf8_is_continuation(a->text[same])) same--;
    size_t in_a = same, in_b = same;
    if (same < a->len && same < b->len) {
        size_t tail = text_common_suffix(a->text + same, a->len - same, b->text + same, b->len - same);
        bool is_end_clear = tail >= HEAD_BYTES || tail == min_size(a->len, b->len) - same;
        if (is_end_clear || !meet_after_cursor(a, b, same, cursor, &in_a, &in_b)) {
            in_a = a->len - tail;
            in_b = b->len - tail;
        }
        while (in_a < a->len && in_b < b->len && utf8_is_continuation(a->text[in_a])) in_a++, in_b++;
    }
    bool is_one_sided = in_a == same || in_b == same;
    size_t by = is_one_sided && in_b > cursor ? in_b - cursor : 0; /* edits end at the cursor, if they can */
    if (could_be_before(in_a > same ? a : b, same, in_a > same ? in_a : in_b, by)) {
        same -= by;
        in_a -= by;
        in_b -= by;
    }
    size_t after = min_size(a->len - in_a, b->len - in_b);
    while (after > 0 && in_a + after < a->len && utf8_is_continuation(a->text[in_a + after])) after--;
    out->n_same = same;
    out->old_edit_end = out->old_start + in_a;
    out->new_edit_end = out->new_start + in_b;
    out->n_same_after = after;
}

size_t slide_n_edited(const struct slide *s)
{
    return s->old_edit_end - s->old_start + s->new_edit_end - s->new_start - 2 * s->n_same;
}

/* --- Where they start -------------------------------------------------------------------------------- */

/* The two texts, and the likeliest explanation so far. */
struct search {
    struct side older, newer;
    size_t cursor;
    struct slide best;
    size_t least; /* cost of the best; SIZE_MAX: there is none */
};

/* Whether at least half of what could agree does. Little that agrees proves nothing, unless little was edited
 * too. */
static bool is_plausible(const struct search *s, const struct slide *slide)
{
    size_t n_older = s->older.len - slide->old_start, n_newer = s->newer.len - slide->new_start;
    size_t agreed = slide->n_same + slide->n_same_after;
    if (2 * agreed < min_size(n_older, n_newer)) return false;
    if (slide->old_start || slide->new_start) return agreed >= 2 * HEAD_BYTES;
    return agreed >= HEAD_BYTES || n_older + n_newer - 2 * agreed <= TYPED_BYTES;
}

/* What was edited, and more if that is not where the cursor is: there is hardly any reason for that. */
static size_t cost_of(const struct search *s, const struct slide *slide)
{
    size_t n = slide_n_edited(slide), start = slide->new_start + slide->n_same;
    bool is_far = s->cursor + TYPED_BYTES < start || s->cursor > slide->new_edit_end + TYPED_BYTES;
    return n > 0 && is_far ? n + TYPED_BYTES : n;
}

/* Work out what was edited if the texts began there. True: so little that nothing else need be tried. */
static bool try_starts(struct search *s, size_t old_start, size_t new_start)
{
    struct side a = {s->older.text + old_start, s->older.len - old_start};
    struct side b = {s->newer.text + new_start, s->newer.len - new_start};
    struct slide slide = {.old_start = old_start, .new_start = new_start};
    find_edit(&a, &b, s->cursor > new_start ? s->cursor - new_start : 0, &slide);
    size_t cost = cost_of(s, &slide);
    if (cost < s->least && is_plausible(s, &slide)) {
        s->best = slide;
        s->least = cost;
    }
    return s->least <= TYPED_BYTES;
}

/* Where the beginning of one text occurs in the other: the older slid down, or up. */
static bool try_slides(struct search *s, bool is_down)
{
    const struct side *earlier = is_down ? &s->older : &s->newer, *later = is_down ? &s->newer : &s->older;
    size_t from = 0;
    if (later->len < HEAD_BYTES) return false;
    for (int i = 0; i < TRIES_MAX && from + HEAD_BYTES <= earlier->len; i++) {
        const char *found = memmem(earlier->text + from, earlier->len - from, later->text, HEAD_BYTES);
        if (!found) return false;
        size_t by = (size_t)(found - earlier->text);
        bool is_cut = utf8_is_continuation(*found); /* the window began within a character */
        if (!is_cut && try_starts(s, is_down ? by : 0, is_down ? 0 : by)) return true;
        from = by + 1;
    }
    return false;
}

bool slide_find(const char *older, size_t n_older, const char *newer, size_t n_newer, size_t cursor,
                bool is_window, struct slide *out)
{
    struct search s = {{older, n_older}, {newer, n_newer}, .cursor = cursor, .least = SIZE_MAX};
    /* Text that came or went near a window's start is an edit if the cursor is there, for windows begin many
     * lines before their cursor, but in the first lines of a document. */
    size_t same = text_common_prefix(older, min_size(n_older, HEAD_BYTES), newer, n_newer);
    bool is_start_likely = !is_window || same == HEAD_BYTES || cursor <= same + TYPED_BYTES;
    bool is_found = is_start_likely && try_starts(&s, 0, 0);
    if (!is_found && is_window) is_found = try_slides(&s, true) || try_slides(&s, false);
    if (!is_found && !is_start_likely) (void)try_starts(&s, 0, 0);
    *out = s.best;
    return s.least != SIZE_MAX;
}

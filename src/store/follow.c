/* Texts, the ranges of them that were shown, and the windows that these ranges belong to.
 *
 * A text is an open document, or what a closed file held when it was shown. It has a list of ranges: each is
 * a part of it that one window shows, be it the window's own or another source. The window owns its ranges,
 * and lives as long as it has followers; a text lives as long as it has ranges.
 *
 * An edit first passes over the document's ranges, moves those behind it and collects the windows that it
 * touches; then each of these sheds followers. So nothing is freed while a list is being passed. */
#include "store/follow.h"

#include <string.h>

#include "base/mem.h"
#include "store/radix.h"

#define TEXT_KEY_BYTES (2 * sizeof(uint64_t))

struct follow_text {
    uint64_t file, hash; /* the hash only of what is not open */
    bool is_open;
    struct range *ranges;
    struct follow_text *next, *previous; /* closed ones */
};

struct range {
    struct range *next, *previous; /* of the same text */
    struct follow_text *text;
    struct follow_window *window;
    size_t from, to; /* bytes of an open document */
};

struct follow_window {
    struct follower *followers;
    struct follow_window *next_touched;
    int32_t n_followers, n_ranges;
    bool is_touched;       /* is in a list of those; never outside of the functions that collect them */
    bool is_lost;          /* what its followers share was touched */
    struct range ranges[]; /* the first is the window's own, up to the last of its followers' ends */
};

struct edit {
    size_t from, old_to, new_to;
};

void follow_init(struct follow *f)
{
    *f = (struct follow){.texts = radix_new()};
}

void follow_clear(struct follow *f)
{
    radix_free(&f->texts);
}

size_t follow_bytes(const struct follow *f)
{
    return f->n_bytes + radix_bytes(f->texts);
}

/* ---- Texts ---- */

/* The tree's key of a text: its file, and its hash if it is not open. Returns its length. */
static size_t text_key(uint64_t file, uint64_t hash, bool is_open, char out[TEXT_KEY_BYTES])
{
    memcpy(out, &file, sizeof file);
    memcpy(out + sizeof file, &hash, sizeof hash);
    return is_open ? sizeof file : TEXT_KEY_BYTES;
}

/* The text, made if it is not there yet; null: no memory. */
static struct follow_text *text_get(struct follow *f, uint64_t file, uint64_t hash, bool is_open)
{
    char key[TEXT_KEY_BYTES];
    size_t len = text_key(file, hash, is_open, key);
    void **place = radix_add(f->texts, key, len);
    if (!place || *place) return place ? *place : NULL;
    struct follow_text *t = mem_try(1, sizeof *t);
    if (!t) {
        radix_remove(f->texts, key, len);
        return NULL;
    }
    *t = (struct follow_text){.file = file, .hash = hash, .is_open = is_open};
    f->n_bytes += sizeof *t;
    if (!is_open) {
        t->next = f->closed;
        if (t->next) t->next->previous = t;
        f->closed = t;
    }
    *place = t;
    return t;
}

static void text_free(struct follow *f, struct follow_text *t)
{
    char key[TEXT_KEY_BYTES];
    radix_remove(f->texts, key, text_key(t->file, t->hash, t->is_open, key));
    if (t->next) t->next->previous = t->previous;
    if (t->previous) t->previous->next = t->next;
    if (f->closed == t) f->closed = t->next;
    f->n_bytes -= sizeof *t;
    mem_free(t);
}

/* ---- Windows ---- */

/* Whether a source can be touched at all: no edit changes the text of an open document's empty part. */
static bool is_shown(const struct memory_source *s)
{
    return !s->is_open || s->from < s->to;
}

static int32_t count_shown(const struct memory_place *place)
{
    int32_t n = 0;
    for (int32_t i = 0; i < place->n_sources; i++) n += is_shown(&place->sources[i]);
    return n;
}

static size_t window_bytes(int32_t n_ranges)
{
    return sizeof(struct follow_window) + (size_t)n_ranges * sizeof(struct range);
}

static bool range_init(struct range *r, struct follow_text *text, size_t from, size_t to)
{
    if (!text) return false;
    r->text = text;
    r->from = from;
    r->to = to;
    r->next = text->ranges;
    if (r->next) r->next->previous = r;
    text->ranges = r;
    return true;
}

static void range_clear(struct follow *f, struct range *r)
{
    struct follow_text *t = r->text;
    if (!t) return;
    if (r->next) r->next->previous = r->previous;
    if (r->previous) r->previous->next = r->next;
    if (t->ranges == r) t->ranges = r->next;
    if (!t->ranges) text_free(f, t);
}

static void window_free(struct follow *f, struct follow_window *w)
{
    for (int32_t i = 0; i < w->n_ranges; i++) range_clear(f, &w->ranges[i]);
    f->n_bytes -= window_bytes(w->n_ranges);
    mem_free(w);
}

static struct follow_window *window_new(struct follow *f, const struct memory_place *place)
{
    int32_t n_ranges = 1 + count_shown(place);
    struct follow_window *w = mem_try(1, window_bytes(n_ranges));
    if (!w) return NULL;
    f->n_bytes += window_bytes(n_ranges);
    w->n_ranges = n_ranges;
    struct range *r = w->ranges;
    for (int32_t i = 0; i < n_ranges; i++) r[i].window = w;
    bool is_made = range_init(r++, text_get(f, place->file, 0, true), place->from, place->to);
    for (int32_t i = 0; i < place->n_sources && is_made; i++) {
        const struct memory_source *s = &place->sources[i];
        if (!is_shown(s)) continue;
        is_made = range_init(r++, text_get(f, s->file, s->hash, s->is_open), s->from, s->to);
    }
    if (!is_made) {
        window_free(f, w);
        return NULL;
    }
    return w;
}

static bool range_is(const struct range *r, const struct memory_source *s)
{
    if (r->text->file != s->file || r->text->is_open != s->is_open) return false;
    return s->is_open ? r->from == s->from && r->to == s->to : r->text->hash == s->hash;
}

static bool window_suits(const struct follow_window *w, const struct memory_place *place)
{
    const struct range *r = w->ranges + 1, *end = w->ranges + w->n_ranges;
    for (int32_t i = 0; i < place->n_sources; i++) {
        if (!is_shown(&place->sources[i])) continue;
        if (r == end || !range_is(r++, &place->sources[i])) return false;
    }
    return r == end;
}

static bool is_own(const struct range *r)
{
    return r == r->window->ranges;
}

static struct follow_window *window_find(const struct follow *f, const struct memory_place *place)
{
    const struct follow_text *text = radix_find(f->texts, (const char *)&place->file, sizeof place->file);
    for (const struct range *r = text ? text->ranges : NULL; r; r = r->next)
        if (is_own(r) && r->from == place->from && window_suits(r->window, place)) return r->window;
    return NULL;
}

/* ---- Followers ---- */

bool follow_add(struct follow *f, struct follower *e, const struct memory_place *place)
{
    *e = (struct follower){0};
    if (place->file == 0) return true;
    if (place->to - place->from > UINT32_MAX) return false;
    struct follow_window *w = window_find(f, place);
    if (!w) w = window_new(f, place);
    if (!w) return false;
    e->window = w;
    e->gap_from = e->gap_to = (uint32_t)(place->cursor - place->from);
    e->end = (uint32_t)(place->to - place->from);
    e->next = w->followers;
    if (e->next) e->next->previous = e;
    w->followers = e;
    w->n_followers++;
    if (w->ranges->to < place->to) w->ranges->to = place->to;
    return true;
}

/* Take a follower from its window, which may be left without any. */
static void detach(struct follower *e)
{
    struct follow_window *w = e->window;
    if (e->next) e->next->previous = e->previous;
    if (e->previous) e->previous->next = e->next;
    if (w->followers == e) w->followers = e->next;
    w->n_followers--;
    *e = (struct follower){0};
}

void follow_remove(struct follow *f, struct follower *e)
{
    struct follow_window *w = e->window;
    if (!w) return;
    detach(e);
    if (!w->followers) window_free(f, w);
}

void follow_relocate(const struct follower *from, struct follower *to)
{
    *to = *from;
    if (to->next) to->next->previous = to;
    if (to->previous) to->previous->next = to;
    if (to->window && to->window->followers == from) to->window->followers = to;
}

/* ---- Edits ---- */

static void touch(struct follow_window *w, bool is_lost, struct follow_window **touched)
{
    w->is_lost |= is_lost;
    if (w->is_touched) return;
    w->is_touched = true;
    w->next_touched = *touched;
    *touched = w;
}

/* Whether an edit leaves a follower's own part of the window, which begins at `start`, as it was; its gap
 * grows or shrinks with what happens there. */
static bool survives(struct follower *e, size_t start, const struct edit *edit)
{
    if (e->end == 0) return true; /* it shows nothing of the window, wherever that is now */
    if (edit->from < start) return false;
    size_t from = edit->from - start, old_to = edit->old_to - start, new_to = edit->new_to - start;
    if (from >= e->end) return true;
    if (from < e->gap_from || old_to > e->gap_to || new_to > UINT32_MAX - (e->end - old_to)) return false;
    e->gap_to = (uint32_t)(e->gap_to - old_to + new_to);
    e->end = (uint32_t)(e->end - old_to + new_to);
    return true;
}

/* Let go of a window's followers that the edit touched, of all if it is lost (edit may be null then). They go
 * into the list. */
static void shed(struct follow *f, struct follow_window *w, const struct edit *edit, struct follower **lost)
{
    struct range *own = w->ranges;
    size_t end = 0;
    for (struct follower *e = w->followers, *next; e; e = next) {
        next = e->next;
        if (!w->is_lost && survives(e, own->from, edit)) {
            if (e->end > end) end = e->end;
            continue;
        }
        detach(e);
        e->next = *lost;
        *lost = e;
    }
    if (!w->followers) {
        window_free(f, w);
        return;
    }
    w->is_touched = false;
    own->to = own->from + end;
}

static struct follower *shed_all(struct follow *f, struct follow_window *touched, const struct edit *edit)
{
    struct follower *lost = NULL;
    while (touched) {
        struct follow_window *next = touched->next_touched;
        shed(f, touched, edit, &lost);
        touched = next;
    }
    return lost;
}

struct follower *follow_edit(struct follow *f, uint64_t file, size_t from, size_t old_to, size_t new_to)
{
    struct follow_text *text = radix_find(f->texts, (const char *)&file, sizeof file);
    struct follow_window *touched = NULL;
    for (struct range *r = text ? text->ranges : NULL; r; r = r->next) {
        if (old_to <= r->from) {
            r->from = r->from - old_to + new_to;
            r->to = r->to - old_to + new_to;
            if (is_own(r)) f->n_shifted += r->window->n_followers;
        } else if (from < r->to) {
            touch(r->window, !is_own(r), &touched);
        }
    }
    return shed_all(f, touched, &(struct edit){from, old_to, new_to});
}

struct follower *follow_recheck(struct follow *f, bool (*holds)(void *ctx, uint64_t file, uint64_t hash),
                                void *ctx)
{
    struct follow_window *touched = NULL;
    for (struct follow_text *t = f->closed; t; t = t->next) {
        if (holds(ctx, t->file, t->hash)) continue;
        for (struct range *r = t->ranges; r; r = r->next) touch(r->window, true, &touched);
    }
    return shed_all(f, touched, NULL);
}

/* The memory cache: what is found and in which order, what goes to make room, and how much it holds; the
 * lives of entries under edits are in test_follow.c.
 *
 * With INLINE_TIMES in the environment it also prints how long its calls take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "base/mem.h"
#include "store/memory_cache.h"
#include "support/counted_mem.h"

#define MEGABYTE ((size_t)1 << 20)

static uint32_t random_below(uint32_t n)
{
    static uint64_t x = 5; /* xorshift (Marsaglia 2003) */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 32) % n;
}

/* ---- Asking and finding ---- */

static struct memory_key key_at(uint64_t line, const char *typed, size_t n_typed)
{
    return (struct memory_key){.key = {.line = {line, line * 3}, .typed = typed, .typed_len = strlen(typed)},
                               .n_typed = n_typed};
}

/* Fill an entry with a record of this text; `maker` tells it from others. */
static void fill(struct memory_cache *m, struct memory_entry **e, const struct memory_key *keys,
                 int32_t n_keys, const char *text, uint64_t maker)
{
    struct record r = {.maker = maker, .n_candidates = 1};
    memcpy(r.line, keys[0].key.line, sizeof r.line);
    r.typed = keys[0].key.typed;
    r.typed_len = keys[0].key.typed_len;
    r.candidates[0] = (struct record_candidate){.text = text, .len = strlen(text)};
    struct buf bytes;
    buf_init(&bytes, RECORD_BYTES_MAX);
    assert_int_equal(record_write(&r, &bytes), OK);
    memory_cache_fill(m, e, keys, n_keys, bytes.data, bytes.len);
    assert_null(*e);
    buf_clear(&bytes);
}

static const struct memory_place nowhere;

static void put(struct memory_cache *m, const struct memory_key *keys, int32_t n_keys, const char *text,
                uint64_t maker)
{
    struct memory_entry *e = memory_cache_expect(m, &nowhere);
    fill(m, &e, keys, n_keys, text, maker);
}

static void put_one(struct memory_cache *m, uint64_t line, const char *typed, const char *text,
                    uint64_t maker)
{
    struct memory_key key = key_at(line, typed, 0);
    put(m, &key, 1, text, maker);
}

#define OFFERS_MAX 64

struct offers {
    uint64_t makers[OFFERS_MAX];
    char rests[OFFERS_MAX][32]; /* what is left of the text */
    int n, take;                /* the how-manieth is taken; -1: none */
};

static bool on_offer(void *ctx, const struct record *r, size_t n_typed)
{
    struct offers *o = ctx;
    assert_true(o->n < OFFERS_MAX && n_typed <= r->candidates[0].len);
    o->makers[o->n] = r->maker;
    snprintf(o->rests[o->n], sizeof o->rests[0], "%.*s", (int)(r->candidates[0].len - n_typed),
             r->candidates[0].text + n_typed);
    return o->n++ == o->take;
}

static enum memory_outcome find(struct memory_cache *m, uint64_t line, const char *typed, int take,
                                struct offers *o)
{
    struct memory_key key = key_at(line, typed, 0);
    *o = (struct offers){.take = take};
    return memory_cache_find(m, &key.key, on_offer, o);
}

static void assert_found(struct memory_cache *m, uint64_t line, const char *typed, const char *rest)
{
    struct offers o;
    assert_int_equal(find(m, line, typed, 0, &o), MEMORY_FOUND);
    assert_string_equal(o.rests[0], rest);
}

static void assert_miss(struct memory_cache *m, uint64_t line, const char *typed, enum memory_outcome why)
{
    struct offers o;
    assert_int_equal(find(m, line, typed, 0, &o), why);
    assert_int_equal(o.n, 0);
}

static struct memory_stats stats_of(const struct memory_cache *m)
{
    struct memory_stats s;
    memory_cache_stats(m, &s);
    assert_int_equal(s.n_bytes, counted_mem_bytes());
    return s;
}

static void end(struct memory_cache *m)
{
    memory_cache_free(&m);
    assert_null(m);
    assert_int_equal(counted_mem_bytes(), 0);
}

/* ---- By hand ---- */

static void test_typed_through(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(MEGABYTE);
    assert_miss(m, 1, "int ", MEMORY_NEW);
    put_one(m, 1, "int ", "main(void)", 1);
    assert_found(m, 1, "int ", "main(void)");
    assert_found(m, 1, "int ma", "in(void)");
    assert_found(m, 1, "int main(void)", "");
    assert_miss(m, 1, "int main(void);", MEMORY_OTHER);
    assert_miss(m, 1, "int mo", MEMORY_OTHER);
    assert_found(m, 1, "int m", "ain(void)"); /* the other letter was deleted */
    assert_miss(m, 1, "int", MEMORY_NEW);
    assert_miss(m, 2, "int ma", MEMORY_NEW);
    put_one(m, 1, "int mo", "re", 2);
    assert_found(m, 1, "int mor", "e");
    assert_found(m, 1, "int ma", "in(void)");
    put_one(m, 3, "", "", 3); /* that there is nothing to suggest is an answer */
    assert_found(m, 3, "", "");
    assert_miss(m, 3, "x", MEMORY_OTHER);
    end(m);
}

static void test_short(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(MEGABYTE);
    struct offers o;
    put_one(m, 1, "", "abcdef", 1);
    put_one(m, 1, "abc", "def ghi", 2);
    put_one(m, 1, "ab", "nothing", 3);
    put_one(m, 1, "abcd", "ef", 4);
    assert_int_equal(find(m, 1, "abcd", -1, &o), MEMORY_SHORT);
    assert_int_equal(o.n, 3);
    assert_int_equal(o.makers[0], 4); /* asked right there */
    assert_int_equal(o.makers[1], 2);
    assert_string_equal(o.rests[1], "ef ghi");
    assert_int_equal(o.makers[2], 1);
    assert_int_equal(find(m, 1, "abcd", 1, &o), MEMORY_FOUND);
    assert_int_equal(o.n, 2);
    assert_int_equal(find(m, 1, "abcdef ", -1, &o), MEMORY_SHORT);
    assert_int_equal(o.n, 1);
    assert_string_equal(o.rests[0], "ghi");
    end(m);
}

/* A long row of answers that suit is not offered whole. */
static void test_bounded_offers(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(MEGABYTE);
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    char typed[sizeof text];
    struct offers o;
    for (int i = 0; i < 20; i++) {
        snprintf(typed, sizeof typed, "%.*s", i, text);
        put_one(m, 1, typed, text, 100 + (uint64_t)i);
    }
    assert_int_equal(find(m, 1, typed, -1, &o), MEMORY_SHORT);
    assert_int_equal(o.n, 16);
    for (int i = 0; i < 16; i++) assert_int_equal(o.makers[i], 119 - i);
    end(m);
}

/* An answer of three lines: found at the beginnings of the later ones when these come to be the cursor's. */
static void test_lines(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(MEGABYTE);
    const char *text = "if (x)\n    y();\n    z();";
    struct memory_key keys[] = {key_at(1, "  ", 0), key_at(2, "", 7), key_at(3, "", 16), key_at(4, "", 24),
                                key_at(5, "", 25)};
    put(m, keys, 5, text, 1);
    assert_int_equal(stats_of(m).n_entries, 1);
    assert_found(m, 1, "  if (x", ")\n    y();\n    z();");
    assert_found(m, 2, "    y", "();\n    z();");
    assert_found(m, 2, "", text + 7);
    assert_found(m, 3, "    ", "z();");
    assert_miss(m, 3, "   y", MEMORY_OTHER);
    assert_miss(m, 4, "", MEMORY_NEW); /* nothing is left of the text there, or less */
    assert_miss(m, 5, "", MEMORY_NEW);

    put_one(m, 2, "", "newer", 2); /* takes the second line's place only */
    assert_found(m, 2, "", "newer");
    assert_found(m, 3, "    z", "();");
    assert_int_equal(stats_of(m).n_entries, 2);
    struct memory_key others[] = {key_at(3, "", 0), key_at(1, "  ", 0)};
    put(m, others, 2, "last", 3); /* takes what was left of the first */
    assert_int_equal(stats_of(m).n_entries, 2);
    assert_found(m, 1, "  la", "st");
    put_one(m, 9, "typed that the record does not hold", "text", 4);
    assert_found(m, 9, "typed that the record does not holdte", "xt");
    end(m);
}

static void test_keys_that_others_hold(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(MEGABYTE);
    struct memory_key keys[MEMORY_KEYS_MAX + 4];
    char typed[MEMORY_KEYS_MAX + 4][16];
    for (int i = 0; i < MEMORY_KEYS_MAX + 4; i++) {
        snprintf(typed[i], sizeof typed[i], "key %d", i);
        keys[i] = key_at(1, typed[i], 1);
    }
    keys[1] = keys[0]; /* twice the same */
    put(m, keys, MEMORY_KEYS_MAX + 4, "a text", 1);
    assert_found(m, 1, "key 0", " text");
    assert_found(m, 1, "key 15", " text");
    assert_miss(m, 1, "key 16", MEMORY_NEW);
    put(m, keys, MEMORY_KEYS_MAX, "b text", 2);
    assert_int_equal(stats_of(m).n_entries, 1);
    put(m, keys, 0, "no key", 3);
    assert_int_equal(stats_of(m).n_entries, 1);
    end(m);
}

static void test_edits(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(MEGABYTE);
    struct memory_source sources[] = {{.file = 8, .from = 10, .to = 20, .is_open = true},
                                      {.file = 9, .hash = 5}};
    struct memory_place place = {
        .file = 7, .from = 100, .cursor = 150, .to = 200, .sources = sources, .n_sources = 2};
    struct memory_key key = key_at(1, "x", 0);
    struct memory_entry *e = memory_cache_expect(m, &place), *late = memory_cache_expect(m, &place);
    memory_cache_edit(m, 7, 150, 150, 151); /* typed on meanwhile */
    fill(m, &e, &key, 1, "yz", 1);
    assert_found(m, 1, "xy", "z");
    memory_cache_edit(m, 7, 151, 151, 155);
    memory_cache_edit(m, 7, 150, 153, 150); /* and deleted, some of it */
    memory_cache_edit(m, 7, 0, 10, 90);     /* moves the window to 180..282 */
    memory_cache_edit(m, 7, 282, 300, 282);
    memory_cache_edit(m, 7, 170, 180, 180);
    memory_cache_edit(m, 8, 0, 0, 5); /* moves the source to 15..25 */
    memory_cache_edit(m, 8, 5, 15, 15);
    memory_cache_edit(m, 8, 25, 26, 40);
    memory_cache_edit(m, 9, 0, 1000, 0); /* not open: nothing is known of its bytes */
    assert_found(m, 1, "xy", "z");
    assert_int_equal(stats_of(m).n_edited, 0);
    assert_int_equal(stats_of(m).n_shifted, 4);
    memory_cache_edit(m, 8, 24, 25, 25);
    assert_miss(m, 1, "x", MEMORY_EDITED);
    assert_miss(m, 1, "xy", MEMORY_NEW);
    assert_int_equal(stats_of(m).n_edited, 2);
    fill(m, &late, &key, 1, "stale", 2); /* was expected, and dropped with the other */
    assert_miss(m, 1, "x", MEMORY_EDITED);

    put_one(m, 2, "", "no file", 3);
    memory_cache_edit(m, 0, 0, 1000, 0);
    assert_found(m, 2, "", "no file");
    place.to = place.from + ((size_t)1 << 32);
    assert_null(memory_cache_expect(m, &place));
    end(m);
}

/* A window's beginning and end: who asks at the document's end, or at its beginning, types outside of it. */
static void test_edges(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(MEGABYTE);
    char typed[] = "0123456789";
    for (size_t i = 0; i < 10; i++) {
        struct memory_place at_end = {.file = 1, .from = 0, .cursor = 50 + i, .to = 50 + i};
        struct memory_place at_begin = {.file = 2, .from = i, .cursor = i, .to = 50 + i};
        struct memory_key key = key_at(i, typed + i, 0), other = key_at(100 + i, typed + i, 0);
        struct memory_entry *e = memory_cache_expect(m, &at_end), *o = memory_cache_expect(m, &at_begin);
        fill(m, &e, &key, 1, "x", 1);
        fill(m, &o, &other, 1, "x", 1);
        memory_cache_edit(m, 1, 50 + i, 50 + i, 51 + i);
        memory_cache_edit(m, 2, i, i, i + 1);
    }
    assert_int_equal(stats_of(m).n_edited, 0);
    memory_cache_edit(m, 1, 55, 60, 55); /* back to after the fifth */
    for (size_t i = 0; i < 10; i++) {
        if (i <= 5)
            assert_found(m, i, typed + i, "x");
        else
            assert_miss(m, i, typed + i, MEMORY_EDITED);
    }
    memory_cache_edit(m, 2, 0, 10, 0);
    for (size_t i = 0; i < 10; i++) assert_found(m, 100 + i, typed + i, "x");
    assert_int_equal(stats_of(m).n_edited, 4);
    end(m);
}

static void test_off(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(0);
    struct memory_entry *e = memory_cache_expect(m, &nowhere);
    struct memory_key key = key_at(1, "", 0);
    assert_null(e);
    memory_cache_give_up(m, &e);
    memory_cache_fill(m, &e, &key, 1, "", 0);
    assert_miss(m, 1, "", MEMORY_OFF);
    memory_cache_set_max(m, MEGABYTE);
    put_one(m, 1, "", "now", 1);
    assert_found(m, 1, "", "now");
    struct memory_entry *pending = memory_cache_expect(m, &nowhere),
                        *unanswered = memory_cache_expect(m, &nowhere);
    assert_non_null(unanswered); /* left to memory_cache_free */
    memory_cache_set_max(m, 0);
    assert_miss(m, 1, "", MEMORY_OFF);
    memory_cache_set_max(m, MEGABYTE);
    assert_miss(m, 1, "", MEMORY_EVICTED);
    fill(m, &pending, &key, 1, "late", 2);
    assert_miss(m, 1, "", MEMORY_EVICTED);

    e = memory_cache_expect(m, &nowhere);
    memory_cache_fill(m, &e, &key, 1, "no record", 9);
    assert_null(e);
    assert_int_equal(stats_of(m).n_entries, 0);
    put_one(m, 1, "", "again", 3);
    memory_cache_clear(m);
    assert_miss(m, 1, "", MEMORY_NEW);
    end(m);
}

/* ---- Against a model ---- */

#define LINES   3
#define TYPED   5 /* letters, at most */
#define N_TYPED (1 + 2 + 4 + 8 + 16 + 32)

/* The latest answer at each key; by line, and by typed text as a binary number behind a leading one. */
struct known {
    uint64_t maker;
    char text[12];
    size_t n_typed;
};
static struct known known[LINES][1 + N_TYPED];

static size_t index_of(const char *typed, size_t len)
{
    size_t index = 1;
    for (size_t i = 0; i < len; i++) index = 2 * index + (typed[i] == 'b');
    return index;
}

static void random_letters(char *out, size_t max)
{
    size_t len = random_below((uint32_t)max + 1);
    for (size_t i = 0; i < len; i++) out[i] = "ab"[random_below(2)];
    out[len] = '\0';
}

static void check_find(struct memory_cache *m)
{
    uint64_t line = random_below(LINES);
    char typed[TYPED + 1];
    random_letters(typed, TYPED);
    struct offers o, want = {.n = 0};
    int n_keys = 0;
    for (size_t len = strlen(typed) + 1; len-- > 0;) {
        const struct known *k = &known[line][index_of(typed, len)];
        const char *rest = typed + len, *text = k->text + k->n_typed;
        if (k->maker == 0) continue;
        n_keys++;
        if (strncmp(text, rest, strlen(rest)) != 0) continue;
        want.makers[want.n] = k->maker;
        snprintf(want.rests[want.n++], sizeof want.rests[0], "%s", text + strlen(rest));
    }
    int take = (int)random_below(4);
    enum memory_outcome got = find(m, line, typed, take, &o);
    assert_int_equal(got, want.n > take ? MEMORY_FOUND
                          : want.n > 0  ? MEMORY_SHORT
                          : n_keys > 0  ? MEMORY_OTHER
                                        : MEMORY_NEW);
    assert_int_equal(o.n, want.n > take ? take + 1 : want.n);
    for (int i = 0; i < o.n; i++) {
        assert_int_equal(o.makers[i], want.makers[i]);
        assert_string_equal(o.rests[i], want.rests[i]);
    }
}

static void test_finding(void **state)
{
    (void)state;
    struct memory_cache *m = memory_cache_new(4 * MEGABYTE);
    memset(known, 0, sizeof known);
    for (uint64_t maker = 1; maker <= 60000; maker++) {
        struct memory_key keys[3];
        char typed[3][TYPED + 1], text[12];
        int32_t n_keys = 1 + (int32_t)random_below(3);
        random_letters(text, sizeof text - 1);
        for (int32_t i = 0; i < n_keys; i++) {
            size_t n_typed = i == 0 ? 0 : random_below((uint32_t)strlen(text) + 2);
            random_letters(typed[i], TYPED);
            keys[i] = key_at(random_below(LINES), typed[i], n_typed);
            if (n_typed > 0 && n_typed >= strlen(text)) continue; /* leads to nothing */
            struct known *k = &known[keys[i].key.line[0]][index_of(typed[i], keys[i].key.typed_len)];
            if (k->maker && k->n_typed == 0 && n_typed > 0) continue; /* asked right there */
            *k = (struct known){.maker = maker, .n_typed = n_typed};
            memcpy(k->text, text, sizeof text);
        }
        put(m, keys, n_keys, text, maker);
        for (int i = 0; i < 3; i++) check_find(m);
        if (maker % 500 == 0) memory_cache_clear(m);
        if (maker % 500 == 0) memset(known, 0, sizeof known);
        stats_of(m);
    }
    end(m);
}

/* The used last stay, as many as fit: nobody is gone who was used later than one who is still there. */
static void test_eviction(void **state)
{
    (void)state;
    enum { N = 400 };
    uint64_t used_at[N] = {0}, now = 0;
    size_t max = MEGABYTE / 16;
    struct memory_cache *m = memory_cache_new(max);
    char text[2000];
    for (int step = 0; step < 20000; step++) {
        uint64_t line = random_below(N);
        struct offers o;
        if (random_below(3) == 0) {
            if (find(m, line, "", 0, &o) == MEMORY_FOUND) used_at[line] = ++now;
        } else {
            size_t len = random_below(random_below(50) == 0 ? sizeof text : 60);
            memset(text, 't', len);
            text[len] = '\0';
            struct memory_key keys[] = {key_at(line, "", 0), key_at(line, "other", 0)};
            put(m, keys, 2, text, 1);
            used_at[line] = ++now;
        }
        if (step % 1000 == 999) {
            max = MEGABYTE / 16 + random_below(MEGABYTE / 16);
            memory_cache_set_max(m, max);
        }
        assert_true((size_t)stats_of(m).n_bytes <= max);
        if (step % 50 != 0) continue;
        uint64_t oldest_there = UINT64_MAX, newest_gone = 0;
        int n_there = 0, n_gone = 0, n_evicted = 0;
        for (uint64_t i = 0; i < N; i++) {
            bool is_there = find(m, i, "", -1, &o) == MEMORY_SHORT;
            enum memory_outcome other = find(m, i, "other", -1, &o);
            assert_int_equal(other == MEMORY_SHORT, is_there);
            n_evicted += other == MEMORY_EVICTED;
            n_gone += !is_there && used_at[i] > 0;
            n_there += is_there;
            if (is_there && used_at[i] < oldest_there) oldest_there = used_at[i];
            if (!is_there && used_at[i] > newest_gone) newest_gone = used_at[i];
        }
        assert_true(newest_gone < oldest_there);
        assert_int_equal(stats_of(m).n_entries, n_there);
        assert_true(n_there > 20 || step < 1000);
        assert_in_range(n_evicted, n_gone * 3 / 4, n_gone); /* of some the reason is forgotten */
    }
    end(m);
}

/* Handles for what is expected count too, and are refused when there is no room. */
static void test_expected_in_bounds(void **state)
{
    (void)state;
    enum { N = 1000 };
    struct memory_cache *m = memory_cache_new(64 << 10);
    struct memory_entry *e[N];
    int n = 0;
    put_one(m, 1, "", "text", 1);
    for (size_t i = 0; i < N; i++) {
        struct memory_place place = {.file = i % 7, .from = i, .cursor = i + 1, .to = i + 2};
        e[i] = memory_cache_expect(m, &place);
        n += e[i] != NULL;
        assert_true(stats_of(m).n_bytes <= 64 << 10);
    }
    assert_in_range(n, 100, N - 1);
    assert_miss(m, 1, "", MEMORY_EVICTED);
    memory_cache_edit(m, 3, 0, 2000, 0);
    for (int i = 0; i < N; i++) {
        struct memory_key key = key_at((uint64_t)i, "", 0);
        fill(m, &e[i], &key, 1, "answer", 1);
        assert_true(stats_of(m).n_bytes <= 64 << 10);
    }
    assert_miss(m, 3, "", MEMORY_NEW);
    assert_true(stats_of(m).n_entries > 0);
    end(m);
}

/* ---- At size ---- */

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare_times(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what, double *us, int n)
{
    qsort(us, (size_t)n, sizeof *us, compare_times);
    if (getenv("INLINE_TIMES"))
        printf("%-28s p50 %.2f us, p99 %.2f us, max %.2f us\n", what, us[n / 2], us[n * 99 / 100], us[n - 1]);
}

/* A hundred thousand answers of one line, a dozen at places of each line, some sixty bytes long. */
static void test_many(void **state)
{
    (void)state;
    enum { N = 100000, N_FINDS = 20000 };
    static double us[N_FINDS];
    static const char line[] = "    const char *name = document_name(project_file(index), options);";
    static const char text[] = "document_name_of_the_project(file, index, options->length, 0);";
    struct memory_cache *m = memory_cache_new(64 * MEGABYTE);
    char typed[sizeof line + sizeof text];
    for (int i = 0; i < N; i++) {
        snprintf(typed, sizeof typed, "%.*s", 4 + 5 * (i % 12), line);
        put_one(m, (uint64_t)(i / 12) * 0x9e3779b97f4a7c15u, typed, text, 1);
    }
    struct memory_stats s = stats_of(m);
    assert_int_equal(s.n_entries, N);
    assert_true(s.n_bytes < (int64_t)(40 * MEGABYTE));
    struct offers o;
    for (int i = 0; i < N_FINDS; i++) {
        uint64_t which = random_below(N / 12);
        snprintf(typed, sizeof typed, "%.*s%.*s", 4 + 5 * (int)random_below(12), line, (int)random_below(9),
                 text);
        double start = now_us();
        enum memory_outcome got = find(m, which * 0x9e3779b97f4a7c15u, typed, 0, &o);
        us[i] = now_us() - start;
        assert_int_equal(got, MEMORY_FOUND);
    }
    if (getenv("INLINE_TIMES")) printf("%.1f MB\n", (double)s.n_bytes / (double)MEGABYTE);
    report("find among 100,000", us, N_FINDS);
    end(m);
}

/* Ten thousand answers in fifty windows of one document, with six other sources each. */
static void test_many_edits(void **state)
{
    (void)state;
    enum { N = 10000, WINDOWS = 50, BYTES = 8000, N_EDITS = 2000 };
    static double us[N_EDITS], dropping_us[WINDOWS];
    struct memory_cache *m = memory_cache_new(64 * MEGABYTE);
    for (size_t i = 0; i < N; i++) {
        struct memory_source sources[6];
        size_t w = i % WINDOWS, from = w * BYTES;
        for (size_t k = 0; k < 6; k++)
            sources[k] = (struct memory_source){
                .file = 2 + k, .hash = w, .is_open = k < 3, .from = from, .to = from + 9};
        struct memory_place place = {.file = 1,
                                     .from = from,
                                     .cursor = from + 2000 + i / WINDOWS,
                                     .to = from + 6000,
                                     .sources = sources,
                                     .n_sources = 6};
        struct memory_key key = key_at(i, "", 0);
        struct memory_entry *e = memory_cache_expect(m, &place);
        fill(m, &e, &key, 1, "text", 1);
    }
    struct memory_stats s = stats_of(m);
    for (int i = 0; i < N_EDITS; i++) { /* before all windows */
        double start = now_us();
        memory_cache_edit(m, 1, 0, 0, 1);
        us[i] = now_us() - start;
    }
    report("edit that moves 50 windows", us, N_EDITS);
    assert_int_equal(stats_of(m).n_entries, N);
    for (size_t i = 0; i < WINDOWS; i++) { /* at one cursor of each, where one of 200 answers stays */
        size_t at = N_EDITS + i + i * BYTES + 2000;
        double start = now_us();
        memory_cache_edit(m, 1, at, at, at + 1);
        dropping_us[i] = now_us() - start;
    }
    report("edit that drops 199 answers", dropping_us, WINDOWS);
    assert_int_equal(stats_of(m).n_entries, WINDOWS);
    assert_int_equal(stats_of(m).n_edited, N - WINDOWS);
    if (getenv("INLINE_TIMES")) printf("%.2f MB\n", (double)s.n_bytes / (double)MEGABYTE);
    end(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_typed_through),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_bounded_offers),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_keys_that_others_hold),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_finding),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_expected_in_bounds),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_many_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

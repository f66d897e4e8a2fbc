/* Records: what was written is read, nothing else is, and where an answer suits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "store/record.h"

#define CHECKSUM_BYTES 8

static struct record usual(void)
{
    return (struct record){.maker = UINT64_C(0xfedcba9876543210),
                           .line = {UINT64_C(0x0123456789abcdef), UINT64_MAX},
                           .typed = "    return ",
                           .typed_len = 11,
                           .candidates = {{"a + b;\n}\n", 9, RECORD_RULE, 5, -0.25F}},
                           .n_candidates = 1,
                           .sources = {{7, 1, 40, UINT64_C(0x8000000000000000)}},
                           .n_sources = 1};
}

static void assert_same(const struct record *a, const struct record *b)
{
    assert_true(a->maker == b->maker && a->line[0] == b->line[0] && a->line[1] == b->line[1]);
    assert_int_equal(a->is_private, b->is_private);
    assert_int_equal(a->typed_len, b->typed_len);
    if (a->typed_len > 0) assert_memory_equal(a->typed, b->typed, a->typed_len);
    assert_int_equal(a->n_candidates, b->n_candidates);
    for (int32_t i = 0; i < a->n_candidates; i++) {
        const struct record_candidate *c = &a->candidates[i], *d = &b->candidates[i];
        assert_int_equal(c->len, d->len);
        if (c->len > 0) assert_memory_equal(c->text, d->text, c->len);
        assert_int_equal(c->end, d->end);
        assert_int_equal(c->n_tokens, d->n_tokens);
        assert_true(c->mean_logprob == d->mean_logprob);
    }
    assert_int_equal(a->n_sources, b->n_sources);
    for (int32_t i = 0; i < a->n_sources; i++) {
        const struct record_source *s = &a->sources[i], *t = &b->sources[i];
        assert_true(s->file == t->file && s->hash == t->hash && s->line == t->line &&
                    s->n_lines == t->n_lines);
    }
}

/* The same bytes come out of what was read from them. */
static void assert_round_trip(const struct record *r)
{
    struct buf out, again;
    struct record back;
    buf_init(&out, RECORD_BYTES_MAX);
    buf_init(&again, RECORD_BYTES_MAX);
    assert_int_equal(record_write(r, &out), OK);
    assert_int_equal(record_read(out.data, out.len, &back), OK);
    assert_same(r, &back);
    assert_int_equal(record_write(&back, &again), OK);
    assert_int_equal(again.len, out.len);
    assert_memory_equal(again.data, out.data, out.len);
    buf_clear(&out);
    buf_clear(&again);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct record r = usual();
    assert_round_trip(&r);
    r.is_private = true;
    r.typed = NULL;
    r.typed_len = 0;
    r.n_sources = 0;
    r.candidates[0] = (struct record_candidate){.text = "", .end = RECORD_EOG};
    assert_round_trip(&r);
    r.candidates[1] = (struct record_candidate){"\xf0\x9f\x98\x80\0x", 6, RECORD_LIMIT, INT32_MAX, -1e30F};
    r.n_candidates = 2;
    assert_round_trip(&r);
}

/* Each number at the edges where it takes another byte. */
static void test_numbers(void **state)
{
    (void)state;
    static const uint32_t values[] = {0,         1,          0x7f,      0x80,      0x3fff,
                                      0x4000,    0x1fffff,   0x200000,  0xfffffff, 0x10000000,
                                      INT32_MAX, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct record r = usual();
        r.sources[0].line = values[i];
        r.sources[0].n_lines = UINT32_MAX - values[i];
        if (values[i] <= INT32_MAX) r.candidates[0].n_tokens = (int32_t)values[i];
        assert_round_trip(&r);
    }
}

static void test_usual_size(void **state)
{
    (void)state;
    struct buf out;
    struct record r = usual();
    buf_init(&out, RECORD_BYTES_MAX);
    r.candidates[0].text = "for (size_t i = 0; i < n; i++) sum += values[i];\n";
    r.candidates[0].len = strlen(r.candidates[0].text);
    assert_int_equal(record_write(&r, &out), OK);
    assert_in_range(out.len, 100, 150);
    buf_clear(&out);
}

static void test_largest(void **state)
{
    (void)state;
    char *text = malloc(RECORD_TEXT_MAX + 1);
    memset(text, 'x', RECORD_TEXT_MAX + 1);
    struct record r = usual();
    r.typed = text;
    r.typed_len = RECORD_TYPED_MAX;
    r.n_candidates = RECORD_CANDIDATES_MAX;
    r.n_sources = RECORD_SOURCES_MAX;
    for (int32_t i = 0; i < RECORD_CANDIDATES_MAX; i++) {
        r.candidates[i] = (struct record_candidate){text, RECORD_TEXT_MAX, RECORD_LIMIT, INT32_MAX, -1};
    }
    for (int32_t i = 0; i < RECORD_SOURCES_MAX; i++) {
        r.sources[i] = (struct record_source){UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX};
    }
    assert_round_trip(&r);
    free(text);
}

/* What cannot be written leaves the buffer as it was. */
static void assert_refused(const struct record *r, enum err err)
{
    struct buf out;
    buf_init(&out, RECORD_BYTES_MAX);
    buf_add_str(&out, "before");
    assert_int_equal(record_write(r, &out), err);
    assert_string_equal(buf_str(&out), "before");
    buf_clear(&out);
}

static void test_refuses_to_write(void **state)
{
    (void)state;
    char *text = malloc(RECORD_TEXT_MAX + 1);
    memset(text, 'x', RECORD_TEXT_MAX + 1);
    struct record r = usual();
    r.typed = text;
    r.typed_len = RECORD_TYPED_MAX + 1;
    assert_refused(&r, ERR_LIMIT);
    r = usual();
    r.candidates[0].text = text;
    r.candidates[0].len = RECORD_TEXT_MAX + 1;
    assert_refused(&r, ERR_LIMIT);
    r = usual();
    r.n_candidates = RECORD_CANDIDATES_MAX + 1;
    assert_refused(&r, ERR_LIMIT);
    r.n_candidates = 0;
    assert_refused(&r, ERR_FORMAT);
    r = usual();
    r.n_sources = RECORD_SOURCES_MAX + 1;
    assert_refused(&r, ERR_LIMIT);
    r = usual();
    r.candidates[0].len = 1;
    r.candidates[0].text = "\xc3"; /* the first half of a character */
    assert_refused(&r, ERR_FORMAT);
    r = usual();
    r.candidates[0].mean_logprob = NAN;
    assert_refused(&r, ERR_FORMAT);
    r = usual();
    r.candidates[0].n_tokens = -1;
    assert_refused(&r, ERR_FORMAT);
    free(text);
}

static void test_full_buffer(void **state)
{
    (void)state;
    struct record r = usual();
    struct buf out;
    buf_init(&out, 60);
    buf_add_str(&out, "before");
    assert_int_equal(record_write(&r, &out), ERR_LIMIT);
    assert_string_equal(buf_str(&out), "before");
    buf_clear(&out);
}

static void sign(char *bytes, size_t len)
{
    uint64_t sum = XXH3_64bits(bytes, len - CHECKSUM_BYTES);
    for (int i = 0; i < CHECKSUM_BYTES; i++) bytes[len - CHECKSUM_BYTES + (size_t)i] = (char)(sum >> 8 * i);
}

/* Any one bit, any length: never read, never read past the end (the copies are as long as they say). */
static void test_changed_bytes(void **state)
{
    (void)state;
    struct record r = usual(), back;
    struct buf out;
    buf_init(&out, RECORD_BYTES_MAX);
    assert_int_equal(record_write(&r, &out), OK);
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.data[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(record_read(out.data, out.len, &back), ERR_FORMAT);
        out.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t len = 0; len < out.len; len++) {
        char *cut = malloc(len ? len : 1);
        memcpy(cut, out.data, len);
        assert_int_equal(record_read(cut, len, &back), ERR_FORMAT);
        if (len >= CHECKSUM_BYTES) sign(cut, len); /* as if it had been written so */
        assert_int_equal(record_read(cut, len, &back), ERR_FORMAT);
        free(cut);
    }
    buf_clear(&out);
}

/* Changed by somebody who knows the checksum: each of these bytes has one meaning, or none. */
static void test_forged(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        char value;
    } cases[] = {
        {0, 2},           /* another version */
        {1, 2},           /* a flag that we do not know */
        {26, (char)0x80}, /* a length written with a needless byte, or too long a one */
        {26, 127},        /* text that is longer than the rest */
        {38, 0},          /* no candidate */
        {38, 5},          /* too many */
        {39, 3},          /* another end */
        {44, (char)0xff}, /* not a number: the exponent's upper bits, the lower ones are below */
        {46, (char)0xc3}, /* text that is not UTF-8 */
        {55, 65},         /* too many sources */
        {55, 0},          /* something behind the end */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct record r = usual(), back;
        struct buf out;
        buf_init(&out, RECORD_BYTES_MAX);
        assert_int_equal(record_write(&r, &out), OK);
        assert_int_equal(out.data[38], 1);
        assert_int_equal(out.data[46], 'a');
        assert_int_equal(out.data[55], 1);
        out.data[cases[i].at] = cases[i].value;
        if (cases[i].at == 44) out.data[43] = (char)0xff;
        sign(out.data, out.len);
        assert_int_equal(record_read(out.data, out.len, &back), ERR_FORMAT);
        buf_clear(&out);
    }
}

static void test_suits(void **state)
{
    (void)state;
    static const struct {
        const char *typed;
        int n_typed; /* -1: does not suit */
    } cases[] = {
        {"    return ", 0},
        {"    return a", 1},
        {"    return a + b;", 6},
        {"    return a + b;\n}\n", 9},
        {"    return a + b;\n}\n ", -1},
        {"    return b", -1},
        {"    return", -1},
        {"", -1},
        {"\treturn a", -1},
    };
    struct record r = usual();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct store_key key = {{r.line[0], r.line[1]}, cases[i].typed, strlen(cases[i].typed)};
        size_t n_typed = 77;
        assert_int_equal(record_suits(&r, &key, &n_typed), cases[i].n_typed >= 0);
        assert_int_equal(n_typed, cases[i].n_typed >= 0 ? cases[i].n_typed : 77);
        for (int half = 0; half < 2; half++) {
            struct store_key other = key;
            other.line[half]++;
            assert_false(record_suits(&r, &other, &n_typed));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_usual_size),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_refuses_to_write),
        cmocka_unit_test(test_full_buffer),
        cmocka_unit_test(test_changed_bytes),
        cmocka_unit_test(test_forged),
        cmocka_unit_test(test_suits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

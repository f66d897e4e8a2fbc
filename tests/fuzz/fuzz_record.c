/* Fuzz target: any bytes as a record.
 *
 * The first byte chooses: if it is odd, the rest gets a right checksum, so that mutations reach what is
 * behind it. What reads must be within the limits, suit its own key, and be written as the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "store/record.h"

#define CHECKSUM_BYTES 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds) abort();
}

static void sign(char *bytes, size_t len)
{
    uint64_t sum = XXH3_64bits(bytes, len - CHECKSUM_BYTES);
    for (int i = 0; i < CHECKSUM_BYTES; i++) bytes[len - CHECKSUM_BYTES + (size_t)i] = (char)(sum >> 8 * i);
}

static void check_limits(const struct record *r)
{
    check(r->n_candidates >= 1 && r->n_candidates <= RECORD_CANDIDATES_MAX);
    check(r->n_sources >= 0 && r->n_sources <= RECORD_SOURCES_MAX && r->typed_len <= RECORD_TYPED_MAX);
    for (int32_t i = 0; i < r->n_candidates; i++) {
        const struct record_candidate *c = &r->candidates[i];
        check(c->len <= RECORD_TEXT_MAX && utf8_valid_len(c->text, c->len) == c->len && c->n_tokens >= 0);
        check(c->end <= RECORD_RULE && c->mean_logprob - c->mean_logprob == 0); /* finite */
    }
}

/* At its own place, and where its first candidate was typed whole. */
static void check_suits(const struct record *r)
{
    size_t n_typed = 1, whole_len = r->typed_len + r->candidates[0].len;
    struct store_key key = {{r->line[0], r->line[1]}, r->typed, r->typed_len};
    check(record_suits(r, &key, &n_typed) && n_typed == 0);
    char *whole = mem_new(whole_len + 1);
    memcpy(whole, r->typed, r->typed_len);
    memcpy(whole + r->typed_len, r->candidates[0].text, r->candidates[0].len);
    key.typed = whole;
    key.typed_len = whole_len;
    check(record_suits(r, &key, &n_typed) && n_typed == r->candidates[0].len);
    key.typed_len = whole_len + 1;
    check(!record_suits(r, &key, &n_typed));
    mem_free(whole);
}

static void check_same_bytes(const struct record *r, const char *bytes, size_t len)
{
    struct buf again;
    buf_init(&again, RECORD_BYTES_MAX);
    check(record_write(r, &again) == OK && again.len == len && memcmp(again.data, bytes, len) == 0);
    buf_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record r;
    if (size < 1) return 0;
    size_t len = size - 1;
    char *bytes = mem_new(len ? len : 1);
    memcpy(bytes, data + 1, len);
    if (data[0] & 1 && len >= CHECKSUM_BYTES) sign(bytes, len);
    if (record_read(bytes, len, &r) == OK) {
        check_limits(&r);
        check_suits(&r);
        check_same_bytes(&r, bytes, len);
    }
    mem_free(bytes);
    return 0;
}

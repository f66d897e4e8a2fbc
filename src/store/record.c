/* The bytes of a record, in this order:
 *
 *   version, flags             one byte each
 *   maker, line[0], line[1]    hashes: 8 bytes, the lowest first
 *   typed                      a length and its bytes
 *   candidates                 a count; each: end, n_tokens, mean_logprob (an IEEE single), length, bytes
 *   sources                    a count; each: file, line, n_lines, hash
 *   room                       a number
 *   checksum                   XXH3 of all that stands before it
 *
 * Lengths, counts and small numbers are LEB128 without needless bytes, so that a record has one form only.
 * The checksum finds accidents. It does not stop anybody from making records, so nothing is trusted for it.
 */
#include "store/record.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "base/utf8.h"

#define VERSION        1
#define FLAG_PRIVATE   1
#define CHECKSUM_BYTES 8
/* Of a number below 2^32: seven bits in each byte. */
#define NUMBER_BYTES_MAX 5

_Static_assert(RECORD_TYPED_MAX + RECORD_CANDIDATES_MAX * (RECORD_TEXT_MAX + 32) + RECORD_SOURCES_MAX * 32 +
                       64 <=
                   RECORD_BYTES_MAX,
               "what is within the other limits is within this one");

/* ---- Writing ---- */

static void write_fixed(struct buf *out, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++) buf_add_char(out, (char)(value >> 8 * i & 0xff));
}

static void write_number(struct buf *out, uint32_t value)
{
    for (; value >= 0x80; value >>= 7) buf_add_char(out, (char)((value & 0x7f) | 0x80));
    buf_add_char(out, (char)value);
}

static void write_string(struct buf *out, const char *bytes, size_t len)
{
    write_number(out, (uint32_t)len);
    buf_add(out, bytes, len);
}

static bool is_candidate(const struct record_candidate *c)
{
    return c->n_tokens >= 0 && c->end <= RECORD_RULE && isfinite(c->mean_logprob) &&
           utf8_valid_len(c->text, c->len) == c->len;
}

static void write_candidate(struct buf *out, const struct record_candidate *c)
{
    uint32_t bits;
    memcpy(&bits, &c->mean_logprob, sizeof bits);
    write_number(out, (uint32_t)c->end);
    write_number(out, (uint32_t)c->n_tokens);
    write_fixed(out, bits, 4);
    write_string(out, c->text, c->len);
}

static void write_source(struct buf *out, const struct record_source *s)
{
    write_fixed(out, s->file, 8);
    write_number(out, s->line);
    write_number(out, s->n_lines);
    write_fixed(out, s->hash, 8);
}

static enum err check(const struct record *r)
{
    if (r->typed_len > RECORD_TYPED_MAX || r->n_candidates > RECORD_CANDIDATES_MAX ||
        r->n_sources > RECORD_SOURCES_MAX) {
        return ERR_LIMIT;
    }
    if (r->n_candidates < 1 || r->n_sources < 0) return ERR_FORMAT;
    for (int32_t i = 0; i < r->n_candidates; i++) {
        if (r->candidates[i].len > RECORD_TEXT_MAX) return ERR_LIMIT;
        if (!is_candidate(&r->candidates[i])) return ERR_FORMAT;
    }
    return OK;
}

enum err record_write(const struct record *r, struct buf *out)
{
    size_t start = out->len;
    enum err err = check(r);
    if (err) return err;
    buf_add_char(out, VERSION);
    buf_add_char(out, r->is_private ? FLAG_PRIVATE : 0);
    write_fixed(out, r->maker, 8);
    write_fixed(out, r->line[0], 8);
    write_fixed(out, r->line[1], 8);
    write_string(out, r->typed, r->typed_len);
    write_number(out, (uint32_t)r->n_candidates);
    for (int32_t i = 0; i < r->n_candidates; i++) write_candidate(out, &r->candidates[i]);
    write_number(out, (uint32_t)r->n_sources);
    for (int32_t i = 0; i < r->n_sources; i++) write_source(out, &r->sources[i]);
    write_number(out, r->room);
    if (!out->err) write_fixed(out, XXH3_64bits(out->data + start, out->len - start), CHECKSUM_BYTES);
    if (out->err) buf_truncate(out, start);
    return out->err;
}

/* ---- Reading ---- */

/* What is left to read. Once something did not fit, nothing is left and all numbers are 0. */
struct reader {
    const char *at, *end;
    bool is_bad;
};

static uint64_t read_bad(struct reader *r)
{
    r->at = r->end;
    r->is_bad = true;
    return 0;
}

static uint64_t read_fixed(struct reader *r, int n_bytes)
{
    uint64_t value = 0;
    if (r->end - r->at < n_bytes) return read_bad(r);
    for (int i = 0; i < n_bytes; i++) value |= (uint64_t)(unsigned char)*r->at++ << 8 * i;
    return value;
}

static uint32_t read_number(struct reader *r, uint32_t max)
{
    uint64_t value = 0;
    unsigned byte = 0x80;
    for (int i = 0; byte & 0x80; i++) {
        if (r->at == r->end || i == NUMBER_BYTES_MAX) return (uint32_t)read_bad(r);
        byte = (unsigned char)*r->at++;
        value |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (i > 0 && byte == 0) return (uint32_t)read_bad(r); /* needlessly long */
    }
    return value <= max ? (uint32_t)value : (uint32_t)read_bad(r);
}

static const char *read_string(struct reader *r, size_t max, size_t *len)
{
    *len = read_number(r, (uint32_t)max);
    if ((size_t)(r->end - r->at) < *len) *len = (size_t)read_bad(r);
    const char *bytes = r->at;
    r->at += *len;
    return bytes;
}

static void read_candidate(struct reader *r, struct record_candidate *out)
{
    out->end = (enum record_end)read_number(r, RECORD_RULE);
    out->n_tokens = (int32_t)read_number(r, INT32_MAX);
    uint32_t bits = (uint32_t)read_fixed(r, 4);
    memcpy(&out->mean_logprob, &bits, sizeof bits);
    out->text = read_string(r, RECORD_TEXT_MAX, &out->len);
    if (!is_candidate(out)) read_bad(r);
}

static void read_source(struct reader *r, struct record_source *out)
{
    out->file = read_fixed(r, 8);
    out->line = read_number(r, UINT32_MAX);
    out->n_lines = read_number(r, UINT32_MAX);
    out->hash = read_fixed(r, 8);
}

static bool is_unchanged(const char *bytes, size_t len)
{
    struct reader sum = {.at = bytes + len - CHECKSUM_BYTES, .end = bytes + len};
    return XXH3_64bits(bytes, len - CHECKSUM_BYTES) == read_fixed(&sum, CHECKSUM_BYTES);
}

enum err record_read(const char *bytes, size_t len, struct record *out)
{
    *out = (struct record){0};
    if (len <= CHECKSUM_BYTES || len > RECORD_BYTES_MAX || !is_unchanged(bytes, len)) return ERR_FORMAT;
    struct reader r = {.at = bytes, .end = bytes + len - CHECKSUM_BYTES};
    if (read_fixed(&r, 1) != VERSION) return ERR_FORMAT;
    uint64_t flags = read_fixed(&r, 1);
    if (flags & ~(uint64_t)FLAG_PRIVATE) return ERR_FORMAT;
    out->is_private = flags & FLAG_PRIVATE;
    out->maker = read_fixed(&r, 8);
    out->line[0] = read_fixed(&r, 8);
    out->line[1] = read_fixed(&r, 8);
    out->typed = read_string(&r, RECORD_TYPED_MAX, &out->typed_len);
    out->n_candidates = (int32_t)read_number(&r, RECORD_CANDIDATES_MAX);
    for (int32_t i = 0; i < out->n_candidates; i++) read_candidate(&r, &out->candidates[i]);
    out->n_sources = (int32_t)read_number(&r, RECORD_SOURCES_MAX);
    for (int32_t i = 0; i < out->n_sources; i++) read_source(&r, &out->sources[i]);
    out->room = read_number(&r, UINT32_MAX);
    return r.is_bad || r.at != r.end || out->n_candidates < 1 ? ERR_FORMAT : OK;
}

bool record_suits(const struct record *r, const struct store_key *key, size_t *n_typed)
{
    if (r->line[0] != key->line[0] || r->line[1] != key->line[1] || r->typed_len > key->typed_len)
        return false;
    size_t rest = key->typed_len - r->typed_len;
    const struct record_candidate *first = &r->candidates[0];
    if (rest > first->len) return false;
    if (r->typed_len > 0 && memcmp(r->typed, key->typed, r->typed_len) != 0) return false;
    if (rest > 0 && memcmp(first->text, key->typed + r->typed_len, rest) != 0) return false;
    *n_typed = rest;
    return true;
}

/* The vocabulary: built in two passes over the file's texts, one to measure and one to fill. */
#include "model/tok_vocab.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "model/tok_special.h"
#include "model/tokenizer.h"

#define FLAG_TYPE    0x07
#define FLAG_LITERAL 0x40
#define FLAG_EOG     0x80

/* More tokens than any model has; keeps every index, and the hash table's size, far from overflow. */
#define MAX_TOKENS (1 << 24)

/* The length before a text. It is read once: later it could be another, if somebody writes to the file. */
#define RECORD_HEAD sizeof(uint64_t)

/* U+2581 in UTF-8. */
static const char space_mark[] = "\xe2\x96\x81";

/* GPT-2's alphabet. A printable Latin-1 character stands for the byte of its own number; the other bytes
 * are spelled by U+0100 and following, in order. */
static bool is_own_letter(int32_t byte)
{
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

static void fill_alphabet(int16_t byte_of[TOK_ALPHABET_END])
{
    int32_t next = 256;
    for (int32_t code = 0; code < TOK_ALPHABET_END; code++) byte_of[code] = -1;
    for (int32_t byte = 0; byte < 256; byte++) byte_of[is_own_letter(byte) ? byte : next++] = (int16_t)byte;
}

static ptrdiff_t decode_byte_level(const int16_t *byte_of, const char *text, size_t len, char *out)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        uint32_t code = s[i++];
        if (code >= 0x80) {
            /* The alphabet ends below U+0800, so a letter has at most two bytes. */
            if ((code & 0xe0) != 0xc0 || i == len || (s[i] & 0xc0) != 0x80) return -1;
            code = (code & 0x1f) << 6 | (s[i++] & 0x3f);
            if (code < 0x80) return -1; /* overlong */
        }
        if (code >= TOK_ALPHABET_END || byte_of[code] < 0) return -1;
        out[n++] = (char)byte_of[code];
    }
    return (ptrdiff_t)n;
}

static ptrdiff_t decode_space_mark(const char *text, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len;) {
        if (len - i >= 3 && !memcmp(text + i, space_mark, 3)) {
            out[n++] = ' ';
            i += 3;
        } else {
            out[n++] = text[i++];
        }
    }
    return (ptrdiff_t)n;
}

ptrdiff_t tok_vocab_decode(const struct tok_vocab *v, const char *text, size_t len, char *out)
{
    if (v->spelling == TOK_SPACE_MARK) return decode_space_mark(text, len, out);
    return decode_byte_level(v->byte_of, text, len, out);
}

uint64_t tok_vocab_hash(enum tok_namespace space, const char *key, size_t len)
{
    return XXH3_64bits_withSeed(key, len, (XXH64_hash_t)space);
}

struct gguf_str tok_vocab_text(const struct tok_vocab *v, int32_t id)
{
    size_t at = v->record_at[id] + RECORD_HEAD;
    return (struct gguf_str){(const char *)v->records + at, v->record_at[id + 1] - at};
}

struct gguf_str tok_vocab_key(const struct tok_vocab *v, int32_t id)
{
    return (struct gguf_str){v->keys + v->key_at[id], v->key_at[id + 1] - v->key_at[id]};
}

enum tok_type tok_vocab_type(const struct tok_vocab *v, int32_t id)
{
    return v->flags[id] & FLAG_TYPE;
}

enum tok_namespace tok_vocab_namespace(const struct tok_vocab *v, int32_t id)
{
    return v->flags[id] & FLAG_LITERAL ? TOK_LITERAL : TOK_ORDINARY;
}

bool tok_vocab_is_eog(const struct tok_vocab *v, int32_t id)
{
    return v->flags[id] & FLAG_EOG;
}

void tok_vocab_prefetch(const struct tok_vocab *v, uint64_t hash)
{
    __builtin_prefetch(&v->slots[hash & v->slot_mask]);
}

int32_t tok_vocab_find_hashed(const struct tok_vocab *v, enum tok_namespace space, uint64_t hash,
                              const char *key, size_t len)
{
    for (uint64_t i = hash & v->slot_mask;; i = (i + 1) & v->slot_mask) {
        struct tok_vocab_slot slot = v->slots[i];
        if (!slot.id_plus1) return TOKEN_NONE;
        if (slot.tag != hash >> 32) continue;
        int32_t id = slot.id_plus1 - 1;
        struct gguf_str have = tok_vocab_key(v, id);
        if (have.len == len && !memcmp(have.data, key, len) && tok_vocab_namespace(v, id) == space) return id;
    }
}

int32_t tok_vocab_find(const struct tok_vocab *v, enum tok_namespace space, const char *key, size_t len)
{
    return tok_vocab_find_hashed(v, space, tok_vocab_hash(space, key, len), key, len);
}

static uint64_t hash_of(const struct tok_vocab *v, int32_t id)
{
    struct gguf_str key = tok_vocab_key(v, id);
    return tok_vocab_hash(tok_vocab_namespace(v, id), key.data, key.len);
}

static void add_slot(struct tok_vocab *v, int32_t id, uint64_t hash)
{
    uint64_t i = hash & v->slot_mask;
    while (v->slots[i].id_plus1) i = (i + 1) & v->slot_mask;
    v->slots[i] = (struct tok_vocab_slot){.tag = (uint32_t)(hash >> 32), .id_plus1 = id + 1};
}

/* Tokens are added in the order of their ids, so a lookup meets the lowest id first. Slots are prefetched
 * some tokens ahead: nearly every one is a cache miss. */
static void add_slots(struct tok_vocab *v)
{
    enum { AHEAD = 16 };
    uint64_t hashes[AHEAD];
    for (int32_t id = 0; id < v->n + AHEAD; id++) {
        if (id >= AHEAD) add_slot(v, id - AHEAD, hashes[id % AHEAD]);
        if (id >= v->n) continue;
        hashes[id % AHEAD] = hash_of(v, id);
        tok_vocab_prefetch(v, hashes[id % AHEAD]);
    }
}

static bool has_text(const struct tok_vocab *v, int32_t id, const char *text, size_t len)
{
    struct gguf_str have = tok_vocab_text(v, id);
    return have.len == len && !memcmp(have.data, text, len);
}

int32_t tok_vocab_find_text(const struct tok_vocab *v, const char *text, size_t len)
{
    char *key = mem_try(len, 1);
    if (!key) return TOKEN_NONE;
    ptrdiff_t key_len = tok_vocab_decode(v, text, len, key);
    int32_t found[3] = {TOKEN_NONE, TOKEN_NONE, tok_vocab_find(v, TOK_LITERAL, text, len)};
    if (key_len >= 0) {
        found[0] = tok_vocab_find(v, TOK_ORDINARY, key, (size_t)key_len);
        found[1] = tok_vocab_find(v, TOK_LITERAL, key, (size_t)key_len);
    }
    mem_free(key);
    bool is_shared = false; /* another text has the same key: SentencePiece spells a space in two ways */
    for (int32_t i = 0; i < 3; i++) {
        if (found[i] == TOKEN_NONE) continue;
        if (has_text(v, found[i], text, len)) return found[i];
        is_shared = true;
    }
    for (int32_t id = 0; is_shared && id < v->n; id++) {
        if (has_text(v, id, text, len)) return id;
    }
    return TOKEN_NONE;
}

/* The byte that a text of the form <0xNN> names, or -1. */
static int32_t byte_of_text(struct gguf_str text)
{
    if (text.len != 6 || memcmp(text.data, "<0x", 3) || text.data[5] != '>') return -1;
    int32_t byte = 0;
    for (int32_t i = 3; i < 5; i++) {
        char c = text.data[i];
        int32_t digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        byte = byte * 16 + digit;
    }
    return byte;
}

struct gguf_str tok_vocab_piece(const struct tok_vocab *v, int32_t id)
{
    /* Views of single bytes for byte tokens, whose key is "<0xNN>". */
    static const unsigned char bytes[256] = {
#define B4(n)  n, n + 1, n + 2, n + 3
#define B16(n) B4(n), B4(n + 4), B4(n + 8), B4(n + 12)
#define B64(n) B16(n), B16(n + 16), B16(n + 32), B16(n + 48)
        B64(0), B64(64), B64(128), B64(192)
#undef B64
#undef B16
#undef B4
    };
    switch (tok_vocab_type(v, id)) {
    case TOK_NORMAL:
    case TOK_USER_DEFINED:
        return tok_vocab_key(v, id);
    case TOK_BYTE: {
        int32_t byte = byte_of_text(tok_vocab_text(v, id));
        if (byte < 0) return tok_vocab_key(v, id);
        return (struct gguf_str){(const char *)&bytes[byte], 1};
    }
    default:
        return (struct gguf_str){"", 0};
    }
}

static enum err read_types(struct tok_vocab *v, const struct gguf *g, struct errmsg *msg)
{
    static const char key[] = "tokenizer.ggml.token_type";
    struct gguf_array types;
    memset(v->flags, TOK_NORMAL, (size_t)v->n);
    enum err err = gguf_get_array(g, key, GGUF_I32, &types, msg);
    if (err == ERR_FORMAT) err = gguf_get_array(g, key, GGUF_U32, &types, msg);
    if (err == ERR_NOT_FOUND) return OK;
    if (err) return err;
    if (types.n != (uint64_t)v->n) {
        return err_set(msg, ERR_FORMAT, "key %s: %llu entries for %d tokens", key,
                       (unsigned long long)types.n, v->n);
    }
    for (int32_t i = 0; i < v->n; i++) {
        int64_t type = gguf_array_int(&types, (uint64_t)i);
        if (type < 0 || type >= TOK_TYPE_END) {
            return err_set(msg, ERR_FORMAT, "key %s: token %d has type %lld", key, i, (long long)type);
        }
        v->flags[i] = type == TOK_UNDEFINED ? TOK_NORMAL : (uint8_t)type;
    }
    v->has_types = true;
    return OK;
}

/* Note where each text starts and how many bytes they have in all. */
static enum err measure_texts(struct tok_vocab *v, const struct gguf_array *texts, size_t *total,
                              struct errmsg *msg)
{
    const unsigned char *record = texts->data;
    *total = 0;
    v->record_at[0] = 0;
    for (int32_t i = 0; i < v->n; i++) {
        if ((size_t)(texts->end - record) < RECORD_HEAD)
            return err_set(msg, ERR_IO,
                           "key tokenizer.ggml.tokens: the file was written to while it was read");
        size_t len = gguf_next_str(texts, &record).len;
        *total += len;
        if (len > v->max_text_len) v->max_text_len = len;
        size_t at = (size_t)(record - texts->data);
        if (at > UINT32_MAX) {
            return err_set(msg, ERR_FORMAT, "key tokenizer.ggml.tokens: more than 4 GiB of text");
        }
        v->record_at[i + 1] = (uint32_t)at;
    }
    return OK;
}

/* A token's key into the arena: never longer than its text, so the arena cannot overflow. */
static void fill_keys(struct tok_vocab *v)
{
    size_t at = 0;
    for (int32_t id = 0; id < v->n; id++) {
        struct gguf_str text = tok_vocab_text(v, id);
        enum tok_type type = tok_vocab_type(v, id);
        ptrdiff_t len = -1;
        v->key_at[id] = (uint32_t)at;
        if (v->spelling == TOK_SPACE_MARK) {
            len = decode_space_mark(text.data, text.len, v->keys + at);
        } else if (type == TOK_NORMAL) {
            len = decode_byte_level(v->byte_of, text.data, text.len, v->keys + at);
        }
        if (type != TOK_NORMAL || len < 0) v->flags[id] |= FLAG_LITERAL;
        if (len < 0) {
            memcpy(v->keys + at, text.data, text.len);
            len = (ptrdiff_t)text.len;
        }
        if ((size_t)len > v->max_key_len) v->max_key_len = (size_t)len;
        at += (size_t)len;
    }
    v->key_at[v->n] = (uint32_t)at;
}

static void find_bytes(struct tok_vocab *v)
{
    for (int32_t byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        v->byte_ids[byte] =
            v->spelling == TOK_BYTE_LEVEL ? tok_vocab_find(v, TOK_ORDINARY, &c, 1) : TOKEN_NONE;
    }
    if (v->spelling == TOK_BYTE_LEVEL) return;
    for (int32_t id = 0; id < v->n; id++) {
        if (tok_vocab_type(v, id) != TOK_BYTE) continue;
        int32_t byte = byte_of_text(tok_vocab_text(v, id));
        if (byte >= 0 && v->byte_ids[byte] == TOKEN_NONE) v->byte_ids[byte] = id;
    }
}

enum err tok_vocab_init(struct tok_vocab *v, const struct gguf *g, enum tok_spelling spelling,
                        struct errmsg *msg)
{
    static const char key[] = "tokenizer.ggml.tokens";
    struct gguf_array texts;
    size_t total;
    *v = (struct tok_vocab){.spelling = spelling, .bos = TOKEN_NONE, .eos = TOKEN_NONE, .unk = TOKEN_NONE};
    enum err err = gguf_get_array(g, key, GGUF_STRING, &texts, msg);
    if (err) return err == ERR_NOT_FOUND ? ERR_FORMAT : err;
    if (texts.n < 1 || texts.n > MAX_TOKENS) {
        return err_set(msg, ERR_FORMAT, "key %s: %llu tokens", key, (unsigned long long)texts.n);
    }
    fill_alphabet(v->byte_of);
    v->n = (int32_t)texts.n;
    v->records = texts.data;
    /* At most two thirds full, so that probes stay short, with room for tokens that tok_special.c moves. */
    size_t n = (size_t)v->n, n_slots = 16;
    while (n_slots < n + n / 2 + TOK_SPECIAL_MAX) n_slots *= 2;
    v->slot_mask = n_slots - 1;

    v->record_at = mem_try(n + 1, sizeof *v->record_at);
    v->key_at = mem_try(n + 1, sizeof *v->key_at);
    v->flags = mem_try(n, sizeof *v->flags);
    v->slots = mem_try_aligned(n_slots, sizeof *v->slots);
    if (!v->record_at || !v->key_at || !v->flags || !v->slots) goto nomem;
    err = measure_texts(v, &texts, &total, msg);
    if (!err) err = read_types(v, g, msg);
    if (err) return err;
    v->keys = mem_try(total, 1);
    if (!v->keys) goto nomem;
    fill_keys(v);
    add_slots(v);
    find_bytes(v);
    return OK;
nomem:
    return err_set(msg, ERR_NOMEM, "not enough memory for a vocabulary of %d tokens", v->n);
}

void tok_vocab_clear(struct tok_vocab *v)
{
    mem_free(v->record_at);
    mem_free(v->keys);
    mem_free(v->key_at);
    mem_free(v->flags);
    mem_free(v->slots);
    *v = (struct tok_vocab){0};
}

void tok_vocab_set_control(struct tok_vocab *v, int32_t id)
{
    bool was_literal = v->flags[id] & FLAG_LITERAL;
    v->flags[id] = (uint8_t)((v->flags[id] & ~FLAG_TYPE) | TOK_CONTROL | FLAG_LITERAL);
    /* The old slot stays behind: lookups compare namespaces and pass over it. The spelling of a marker is
     * printable ASCII or is not in the byte-level alphabet, so its key need not change. */
    if (!was_literal) add_slot(v, id, hash_of(v, id));
}

void tok_vocab_set_eog(struct tok_vocab *v, int32_t id)
{
    v->flags[id] |= FLAG_EOG;
}

/* The vocabulary of a GGUF file: each token's text, bytes, type and role.
 *
 * A token's *key* is what encoding looks up. For ordinary tokens it is the bytes that the token stands for;
 * for all others (control tokens, byte tokens ...) it is their text, and those keys live in a namespace of
 * their own: the ordinary token for two spaces and an added token spelled as two spaces do not meet.
 * All keys lie in one arena, found through one open-addressing hash table; no allocation per token.
 * Immutable after tok_vocab_init. */
#ifndef MODEL_TOK_VOCAB_H
#define MODEL_TOK_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/gguf.h"

/* The file's numbers (tokenizer.ggml.token_type). */
enum tok_type {
    TOK_UNDEFINED,
    TOK_NORMAL,
    TOK_UNKNOWN,
    TOK_CONTROL,
    TOK_USER_DEFINED,
    TOK_UNUSED,
    TOK_BYTE,
    TOK_TYPE_END
};

/* How token texts spell bytes. */
enum tok_spelling {
    TOK_BYTE_LEVEL, /* GPT-2's alphabet: one printable character for each byte */
    TOK_SPACE_MARK, /* SentencePiece: UTF-8, with U+2581 for a space and <0xNN> for single bytes */
};

enum tok_namespace { TOK_ORDINARY, TOK_LITERAL };

/* Last code point of GPT-2's alphabet, plus one: 256 + the 68 bytes that are not printable. */
#define TOK_ALPHABET_END 324

struct tok_vocab_slot {
    uint32_t tag;     /* high half of the key's hash */
    int32_t id_plus1; /* 0: empty */
};

struct tok_vocab {
    enum tok_spelling spelling;
    int32_t n;                    /* tokens */
    const unsigned char *records; /* the file's array of texts, lengths and all; view into its map */
    uint32_t *record_at;          /* [n + 1] owned; where in records a token's length and text start */
    char *keys;                   /* owned arena */
    uint32_t *key_at;             /* [n + 1] owned; where in keys a token's key starts */
    uint8_t *flags;               /* [n] owned; type, namespace, end of generation */
    struct tok_vocab_slot *slots; /* owned; a power of two of them */
    uint64_t slot_mask;
    size_t max_key_len, max_text_len;
    int16_t byte_of[TOK_ALPHABET_END]; /* GPT-2's alphabet, by code point; -1: not one of its letters */
    bool has_types;                    /* the file gives token types; without them all are TOK_NORMAL */
    int32_t byte_ids[256];             /* token of each single byte, or TOKEN_NONE */
    int32_t bos, eos, unk;             /* or TOKEN_NONE */
};

/* Read texts and types from g, whose map must outlive v. The caller clears v in every case. */
MUST_CHECK enum err tok_vocab_init(struct tok_vocab *v, const struct gguf *g, enum tok_spelling spelling,
                                   struct errmsg *msg);
void tok_vocab_clear(struct tok_vocab *v);

/* The token with this key, or TOKEN_NONE; of equal keys, the lowest id. */
int32_t tok_vocab_find(const struct tok_vocab *v, enum tok_namespace space, const char *key, size_t len);

/* tok_vocab_find in steps, for callers with many keys at hand: hash and prefetch all, then find. */
uint64_t tok_vocab_hash(enum tok_namespace space, const char *key, size_t len);
void tok_vocab_prefetch(const struct tok_vocab *v, uint64_t hash);
int32_t tok_vocab_find_hashed(const struct tok_vocab *v, enum tok_namespace space, uint64_t hash,
                              const char *key, size_t len);

/* The token with exactly this text, or TOKEN_NONE. */
int32_t tok_vocab_find_text(const struct tok_vocab *v, const char *text, size_t len);

/* The key that an ordinary token of this text has, into out (room for len bytes); -1 if the text is not
 * spelled in the vocabulary's alphabet. */
ptrdiff_t tok_vocab_decode(const struct tok_vocab *v, const char *text, size_t len, char *out);

struct gguf_str tok_vocab_text(const struct tok_vocab *v, int32_t id);
struct gguf_str tok_vocab_key(const struct tok_vocab *v, int32_t id);
/* The bytes that a token stands for; empty for control and unknown tokens. */
struct gguf_str tok_vocab_piece(const struct tok_vocab *v, int32_t id);

enum tok_type tok_vocab_type(const struct tok_vocab *v, int32_t id);
enum tok_namespace tok_vocab_namespace(const struct tok_vocab *v, int32_t id);
bool tok_vocab_is_eog(const struct tok_vocab *v, int32_t id);

/* Used while loading (tok_special.c). An ordinary token that becomes a control token moves namespace. */
void tok_vocab_set_control(struct tok_vocab *v, int32_t id);
void tok_vocab_set_eog(struct tok_vocab *v, int32_t id);

#endif

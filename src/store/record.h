/* An answer of a model as caches keep it: what was generated, before any rule cut it, and what its prompt was
 * drawn from. One flat string of bytes, the same in memory, on disk and on a server.
 *
 * Bytes come from disks and networks: reading them checks everything. Integers are little-endian base-128
 * (LEB128), so that a usual record has some 150 bytes. Thread: any. */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define RECORD_CANDIDATES_MAX 4
#define RECORD_SOURCES_MAX    64
#define RECORD_TYPED_MAX      ((size_t)4096)
#define RECORD_TEXT_MAX       ((size_t)32 << 10) /* of one candidate */
#define RECORD_BYTES_MAX      ((size_t)192 << 10)

/* Where an answer belongs. Two places that could have different answers never share a key. */
struct store_key {
    uint64_t line[2];  /* 128-bit hash of all that decides the answer, but for: */
    const char *typed; /* the line of the cursor, before the cursor */
    size_t typed_len;  /* <= RECORD_TYPED_MAX */
};

/* Why generation ended. */
enum record_end {
    RECORD_EOG,   /* the model ended the text */
    RECORD_LIMIT, /* of tokens */
    RECORD_RULE   /* what follows was not wanted where this was asked */
};

struct record_candidate {
    const char *text; /* UTF-8, lines end in '\n'; all that was generated */
    size_t len;
    enum record_end end;
    int32_t n_tokens;
    float mean_logprob; /* natural logarithm; 0 without tokens */
};

/* Lines that the prompt showed. */
struct record_source {
    uint64_t
        file; /* names it, for as long as the cache lives: hash of its path in the project, or of its URI */
    uint32_t line, n_lines; /* from 1; 0, 0: not known */
    uint64_t hash;          /* of the text that was shown */
};

struct record {
    uint64_t maker; /* hash of the model's content, of the prompt's layout and of how numbers are computed */
    uint64_t line[2]; /* store_key */
    const char *typed;
    size_t typed_len;
    /* Bytes of its text that may be typed and still continue the same prompt: beyond, something of it would
     * have to be cut off to make room. */
    uint32_t room;
    bool is_private; /* drawn from text that held secrets: never leaves this machine */
    struct record_candidate candidates[RECORD_CANDIDATES_MAX]; /* best first; at least one */
    int32_t n_candidates;
    struct record_source sources[RECORD_SOURCES_MAX];
    int32_t n_sources;
};

/* Append r's bytes, or nothing. ERR_LIMIT: a part is longer than the limits above, or out is full;
 * ERR_FORMAT: r could not be read again (text that is not UTF-8, no candidate, a number that is none);
 * ERR_NOMEM. */
MUST_CHECK enum err record_write(const struct record *r, struct buf *out);

/* Views of bytes. ERR_FORMAT: these are not the bytes of a record, whole and unchanged (they end in a
 * checksum), or of another version. */
MUST_CHECK enum err record_read(const char *bytes, size_t len, struct record *out);

/* Whether the record answers at this key, after part of its first candidate was typed: its line is the key's,
 * what was typed then begins what is typed now, and the candidate goes on with the rest. *n_typed: bytes of
 * the candidate that were typed. */
bool record_suits(const struct record *r, const struct store_key *key, size_t *n_typed);

#endif

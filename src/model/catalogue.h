/* The models that `inline model pull` knows by name: a data table, best first. */
#ifndef MODEL_CATALOGUE_H
#define MODEL_CATALOGUE_H

#include <stdbool.h>
#include <stdint.h>

/* What is needed to foretell how a model will run and what for. From the models' cards, papers and
 * configurations; `is_estimate` marks entries where some of it is inferred from the rest. */
struct catalogue_facts {
    int64_t n_params, n_active; /* all, and those that a token goes through; both with embeddings */
    int32_t n_vocab, n_embd;    /* the embedding table has n_vocab x n_embd of the parameters */
    bool is_tied;               /* the output head is the embedding table; else a second one of its size */
    int32_t n_layers, n_kv_heads, head_dim;
    int32_t n_ctx;         /* that it was trained for */
    double bits;           /* of the listed file for each weight, on average */
    bool is_4_bit;         /* the listed file's format: Q4_K_M; else Q8_0 */
    int32_t rank;          /* 1: completes code best, as far as we can tell from size and training */
    const char *strong;    /* languages that it is made for or known for, as language.h names them; or "" */
    const char *languages; /* all that it was trained on, if they are few; or null */
    int32_t n_languages;   /* that its makers count; 0: not told */
    const char *licence;
    bool is_estimate, is_general; /* general: not made for code */
};

struct catalogue_entry {
    const char *name;     /* "qwen2.5-coder-0.5b" */
    const char *hub_path; /* "owner/repo/file.gguf" on the hub */
    int64_t bytes;        /* size of the file; 0 if not known for certain: the server then tells */
    const char *sha256;   /* hex, or null if not known for certain: then the server's header is used */
    const char *note;     /* what it is good for, one line */
    struct catalogue_facts facts;
};

const struct catalogue_entry *catalogue_find(const char *name); /* case ignored; null if unknown */
const struct catalogue_entry *catalogue_at(int32_t i);          /* null past the end */

/* About as many bytes as the file has: exact where that is known, else from the facts, within some percent.
 */
int64_t catalogue_bytes(const struct catalogue_entry *e);
/* Parameters of the embedding table. */
int64_t catalogue_embeddings(const struct catalogue_entry *e);
/* Bytes of one position in an F16 KV cache. */
int64_t catalogue_kv_bytes(const struct catalogue_entry *e);

#endif

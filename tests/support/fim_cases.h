/* Every FIM family: a vocabulary of bytes and its special tokens, and golden prompts. */
#ifndef SUPPORT_FIM_CASES_H
#define SUPPORT_FIM_CASES_H

#include <stdbool.h>
#include <stddef.h>

#include "context/fim.h"
#include "model/model.h"

#define FIM_CASE_SPECIALS 12

/* A vocabulary: 256 bytes, two merged tokens, then the special tokens in the order given. */
struct fim_vocab {
    const char *kind; /* tokenizer.ggml.model */
    const char *pre;
    bool adds_bos;
    const char *specials[FIM_CASE_SPECIALS];
    struct {
        const char *key;
        const char *token;
    } keys[4];         /* tokenizer.ggml.KEY = id of the token */
    const char *order; /* inline.fim.order, or null */
};

/* A model of nothing but metadata and tokenizer. */
struct fim_fake {
    struct model model;
    void *image;
    struct fim fim;
};

/* Aborts with a message where that cannot be made. */
struct fim_fake *fim_fake_open(const struct fim_vocab *vocab);
void fim_fake_close(struct fim_fake *f);

/* Prompts of "a(" and ");\n", as token texts. */
struct fim_case {
    const char *family, *order, *detected;
    struct fim_vocab vocab;
    const char *alone;   /* the prompt of one file without a name */
    const char *project; /* with a name, two other files and a repository; or null */
};

extern const struct fim_case fim_cases[];
extern const size_t fim_n_cases;

#endif

/* The tokenizers of tests/fixtures/tokenizers, loaded. */
#ifndef SUPPORT_FIXTURE_TOKENIZER_H
#define SUPPORT_FIXTURE_TOKENIZER_H

#include "base/buf.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

/* A tokenizer and what it was loaded from. */
struct fixture_tokenizer {
    struct gguf *gguf;
    struct buf image; /* of a file that was written in memory; else empty */
    struct tokenizer *t;
};

/* By the file's name without its ending: "qwen2". Aborts with a message if it cannot be loaded. */
struct fixture_tokenizer fixture_tokenizer_load(const char *name);
void fixture_tokenizer_clear(struct fixture_tokenizer *l);

#endif

#include "support/fixture_tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

struct fixture_tokenizer fixture_tokenizer_load(const char *name)
{
    struct fixture_tokenizer l = {0};
    struct errmsg msg = {""};
    char path[512];
    snprintf(path, sizeof path, FIXTURES "/tokenizers/%s.gguf", name);
    if (gguf_open(path, &l.gguf, &msg) || tokenizer_new(l.gguf, &l.t, &msg)) {
        fprintf(stderr, "%s: %s\n", name, msg.text);
        abort();
    }
    return l;
}

void fixture_tokenizer_clear(struct fixture_tokenizer *l)
{
    tokenizer_free(&l->t);
    gguf_close(&l->gguf);
    buf_clear(&l->image);
}

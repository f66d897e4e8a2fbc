/* Prints token ids, for comparison with reference tokenizers (tools/reference/tokenizers.py).
 *
 * usage: tok_ids MODEL.gguf [--special] [--bos]
 * Standard input is a sequence of texts, each a little-endian 32-bit length and that many bytes. Each text
 * gives one line of ids. At the end, one line on stderr says how long loading and encoding took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/gguf.h"
#include "model/tokenizer.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/usage.h"

static void check(enum err err, const char *what)
{
    if (!err) return;
    fprintf(stderr, "tok_ids: %s\n", what);
    exit(1);
}

static void print_ids(const struct token_list *ids)
{
    for (int32_t i = 0; i < ids->n; i++) printf(i ? " %d" : "%d", ids->ids[i]);
    putchar('\n');
}

int main(int argc, char **argv)
{
    struct errmsg msg = {""};
    struct gguf *g;
    struct tokenizer *t;
    struct buf in;
    struct usage before, after;
    unsigned flags = 0;
    if (argc < 2) {
        fprintf(stderr, "usage: tok_ids MODEL.gguf [--special] [--bos] < texts\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        flags |= !strcmp(argv[i], "--special") ? TOKENIZER_SPECIAL : TOKENIZER_BOS;
    }
    check(gguf_open(argv[1], &g, &msg), msg.text);
    usage_self(&before);
    int64_t start_ns = clock_ns();
    check(tokenizer_new(g, &t, &msg), msg.text);
    double load_ms = clock_ms_since(start_ns);
    usage_self(&after);

    buf_init(&in, (size_t)1 << 30);
    check(file_read("-", &in, &msg), msg.text);
    double encode_ms = 0;
    size_t n_bytes = 0, n_tokens = 0;
    struct token_list ids = {0};
    for (size_t at = 0; at + 4 <= in.len;) {
        uint32_t len;
        memcpy(&len, in.data + at, 4);
        at += 4;
        if (len > in.len - at) break;
        ids.n = 0;
        start_ns = clock_ns();
        check(tokenizer_encode(t, in.data + at, len, flags, &ids), "encoding failed");
        encode_ms += clock_ms_since(start_ns);
        n_bytes += len;
        n_tokens += (size_t)ids.n;
        print_ids(&ids);
        at += len;
    }
    fprintf(stderr, "load_ms %.2f anon_mb %.2f encode_ms %.2f bytes %zu tokens %zu\n", load_ms,
            (double)(after.rss_anon_bytes - before.rss_anon_bytes) / 1e6, encode_ms, n_bytes, n_tokens);
    token_list_clear(&ids);
    buf_clear(&in);
    tokenizer_free(&t);
    gguf_close(&g);
    return 0;
}

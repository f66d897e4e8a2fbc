/* The typing trace of `inline bench context`: how much of a prompt's beginning, and so of its KV, the next
 * keystroke leaves as it is, and how many lines can be typed before the window is anchored anew. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/bench/bench.h"
#include "cli/bench/code.h"
#include "cli/bench/context.h"
#include "infer/token_diff.h"

#define N_KEYS    500
#define LINES_MAX 1000 /* without two anchorings in as many, there is no telling how far apart they are */

static enum err type_key(struct bench_document *d, size_t *cursor, int32_t i, struct errmsg *msg)
{
    char key = bench_code_typed[(size_t)i % strlen(bench_code_typed)];
    if (documents_splice(d->asker.docs, d->doc, *cursor, *cursor, &key, 1))
        return err_set(msg, ERR_NOMEM, "not enough memory");
    (*cursor)++;
    return bench_ask_document(&d->asker, d->doc, *cursor, msg);
}

static enum err type_keys(struct bench_document *d, size_t *cursor, struct bench_reuse *out,
                          struct errmsg *msg)
{
    double shares[N_KEYS], n_common = 0, n_all = 0;
    int32_t n_shares = 0;
    struct token_list last = {0};
    const struct token_list *prompt = &d->asker.prompt.tokens;
    enum err err = bench_ask_document(&d->asker, d->doc, *cursor, msg);
    for (; out->n_keys < N_KEYS && !err; out->n_keys++) {
        last.n = 0;
        err = token_list_add_all(&last, prompt->ids, prompt->n);
        if (!err) err = type_key(d, cursor, out->n_keys, msg);
        if (err) break;
        int32_t n = token_common(last.ids, last.n, prompt->ids, prompt->n);
        n_common += n;
        n_all += prompt->n;
        out->n_lines += d->doc->text.bytes[*cursor - 1] == '\n';
        out->n_anchored += d->asker.is_anchored_anew;
        if (!d->asker.is_anchored_anew) shares[n_shares++] = (double)n / prompt->n;
    }
    out->share = n_all > 0 ? n_common / n_all : 0;
    out->share_p50 = bench_percentile(shares, n_shares, 0.5);
    out->share_min = bench_percentile(shares, n_shares, 0);
    token_list_clear(&last);
    return err;
}

static enum err type_lines(struct bench_document *d, size_t *cursor, struct bench_reuse *out,
                           struct errmsg *msg)
{
    int32_t n_lines = 0, n_anchored = 0, first = 0;
    enum err err = OK;
    for (int32_t i = out->n_keys; n_anchored < 2 && n_lines < LINES_MAX && !err; i++) {
        err = type_key(d, cursor, i, msg);
        if (err) break;
        n_lines += d->doc->text.bytes[*cursor - 1] == '\n';
        n_anchored += d->asker.is_anchored_anew;
        if (n_anchored == 0) first = n_lines;
    }
    out->lines_between = n_lines - first;
    return err;
}

enum err bench_reuse(struct bench_document *d, struct bench_reuse *out, struct errmsg *msg)
{
    enum fim_order order = d->asker.fim.order;
    size_t cursor = d->doc->text.len / 2;
    *out = (struct bench_reuse){0};
    while (cursor > 0 && strncmp(d->doc->text.bytes + cursor - 1, "\n\n", 2) != 0) cursor--;
    cursor += cursor > 0; /* after an empty line, between definitions */
    if (order == FIM_PSM) d->asker.fim.order = FIM_SPM;
    enum err err = type_keys(d, &cursor, out, msg);
    if (!err) err = type_lines(d, &cursor, out, msg);
    d->asker.fim.order = order;
    return err;
}

void bench_reuse_json(struct json *j, const struct bench_reuse *r)
{
    json_begin_object(j, "reuse");
    json_int(j, "keys", r->n_keys);
    json_int(j, "lines", r->n_lines);
    json_int(j, "anchored", r->n_anchored);
    json_num(j, "unchanged_share", r->share, 5);
    json_num(j, "unchanged_share_p50", r->share_p50, 5);
    json_num(j, "unchanged_share_min", r->share_min, 5);
    json_int(j, "lines_between_anchorings", r->lines_between);
    json_end_object(j);
}

void bench_reuse_print(const struct bench_reuse *r)
{
    printf("%d keys, %d lines typed: anchored anew %d times; of each prompt's tokens %.2f %% are the one's "
           "before (p50 %.2f %%, least %.2f %%)\n",
           r->n_keys, r->n_lines, r->n_anchored, 100 * r->share, 100 * r->share_p50, 100 * r->share_min);
    printf("%d lines typed between one anchoring and the next\n", r->lines_between);
}

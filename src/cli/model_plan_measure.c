/* What plans cost in quality: perplexities. See model_plan.h. */
#include "cli/model_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cli/sample_text.h"
#include "cli/text_loss.h"
#include "model/model.h"
#include "model/weight_pack.h"
#include "os/dirs.h"

#define SAMPLE_LIMIT ((size_t)1 << 20)
#define PATH_LIMIT   65536

/* Of the calibration text: a model of 24 blocks goes through it 25 times. */
#define CALIBRATION_TOKENS 512

static enum err open_seq(struct model *m, const struct engine_options *o, struct engine **e,
                         struct engine_seq **seq, struct errmsg *msg)
{
    enum err err = engine_open(m, o, e, msg);
    if (!err && o->pack_build && !engine_wait_packed(*e))
        err = err_set(msg, ERR_IO, "%s", engine_pack_message(*e));
    return err ? err : engine_seq_open(*e, TEXT_LOSS_WINDOW, seq, msg);
}

static enum err measure_text(struct model *m, const struct engine_options *o, const struct buf *text,
                             struct text_loss *loss, struct errmsg *msg)
{
    struct engine *e = NULL;
    struct engine_seq *seq = NULL;
    enum err err = open_seq(m, o, &e, &seq, msg);
    if (!err) err = text_loss_add(loss, seq, text->data, text->len, 0, msg);
    engine_seq_close(&seq);
    engine_close(&e);
    return err;
}

enum err model_plan_measure(struct model *m, const struct model_plan *p, struct model_plan_loss *out,
                            struct errmsg *msg)
{
    struct text_loss stored = {0}, planned = {0};
    struct engine_options as_stored = p->engine, as_planned = p->engine;
    struct buf text;
    buf_init(&text, SAMPLE_LIMIT);
    for (int32_t i = 0; sample_text[i]; i++) buf_add_str(&text, sample_text[i]);
    as_stored.plan = NULL;
    as_stored.precision = PRECISION_FULL;
    as_planned.pack_build = as_planned.pack_now = p->precision.converts;
    enum err err = measure_text(m, &as_stored, &text, &stored, msg);
    if (!err && p->precision.converts) err = measure_text(m, &as_planned, &text, &planned, msg);
    out->stored = text_loss_perplexity(&stored);
    out->planned = p->precision.converts ? text_loss_perplexity(&planned) : out->stored;
    out->n_tokens = stored.n;
    buf_clear(&text);
    return err;
}

/* --- Sensitivity of blocks --------------------------------------------------------------------------- */

/* A new directory in the cache's, for converted weights that nobody else should use. */
static char *make_directory(struct errmsg *msg)
{
    char *cache = dirs_path(DIR_CACHE, NULL);
    struct buf path;
    buf_init(&path, PATH_LIMIT);
    buf_printf(&path, "%s/calibration-XXXXXX", cache);
    char *dir = dirs_make(cache, msg) == OK ? buf_take(&path) : NULL;
    if (dir && !mkdtemp(dir)) {
        err_set(msg, ERR_IO, "cannot create a directory in %s", cache);
        mem_free(dir);
        dir = NULL;
    }
    buf_clear(&path);
    mem_free(cache);
    return dir;
}

static void show_progress(int32_t done, int32_t total)
{
    if (isatty(STDERR_FILENO)) fprintf(stderr, "\rmeasuring block %d of %d", done, total);
    if (isatty(STDERR_FILENO) && done == total) fputc('\n', stderr);
}

static enum err measure_layers(struct engine_seq *seq, struct engine *e, const char *text, size_t len,
                               double *sensitivity, struct errmsg *msg)
{
    int32_t n = engine_model(e)->p.n_layers;
    double as_stored = 0;
    for (int32_t i = -1; i < n; i++) {
        struct text_loss loss = {0};
        engine_seq_clear(seq, false);
        engine_use_layer(e, i);
        enum err err = text_loss_add(&loss, seq, text, len, CALIBRATION_TOKENS, msg);
        if (err) return err;
        if (i < 0)
            as_stored = text_loss_mean(&loss);
        else
            sensitivity[i] = text_loss_mean(&loss) - as_stored;
        show_progress(i + 1, n);
    }
    return OK;
}

enum err model_plan_calibrate(struct model *m, const struct settings *s,
                              const struct model_plan_wishes *wishes, const char *text, size_t len,
                              double *sensitivity, struct errmsg *msg)
{
    struct model_plan_wishes all = *wishes;
    struct model_plan plan = {0};
    struct engine *e = NULL;
    struct engine_seq *seq = NULL;
    char *dir = NULL;
    all.all_blocks = true;
    enum err err = model_plan_make(m, s, &all, &plan, msg);
    if (!err && !plan.precision.converts)
        err = err_set(msg, ERR_UNSUPPORTED, "%s: there is nothing to convert", m->path);
    if (!err && !(dir = make_directory(msg))) err = ERR_IO;
    plan.engine.pack_dir = dir;
    plan.engine.pack_build = plan.engine.pack_now = true;
    if (!err) err = open_seq(m, &plan.engine, &e, &seq, msg);
    if (dir) { /* the engine keeps what it has mapped */
        weight_pack_remove(m, dir);
        rmdir(dir);
    }
    if (!err) err = measure_layers(seq, e, text, len, sensitivity, msg);
    engine_seq_close(&seq);
    engine_close(&e);
    model_plan_clear(&plan);
    mem_free(dir);
    return err;
}

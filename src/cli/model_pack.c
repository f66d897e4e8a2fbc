/* `inline model pack`: the packed weights of a model, written while the user waits. */
#include "cli/model.h"

#include <stdio.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "cli/interrupt.h"
#include "cli/meter.h"
#include "cli/model_plan.h"
#include "model/model.h"
#include "model/weight_pack.h"

#define REPORT_LIMIT 65536
#define LOOK_NS      50000000 /* between looks at the builder; twice for each time that the bar is drawn */

static bool is_set(const atomic_bool *flag)
{
    return atomic_load_explicit(flag, memory_order_relaxed);
}

/* Show how far p is until it ends. False if the user does not want to wait any more. */
static bool watch(struct weight_pack *p, const char *name, const atomic_bool *interrupted)
{
    char label[128];
    struct meter meter;
    snprintf(label, sizeof label, "packing %s", name);
    meter_init(&meter, label);
    int64_t total = weight_pack_bytes(p);
    while (weight_pack_state(p) == WEIGHT_PACK_BUILDING && !is_set(interrupted)) {
        meter_update(&meter, (int64_t)(weight_pack_progress(p) * (double)total), total, "");
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    if (weight_pack_state(p) == WEIGHT_PACK_READY) meter_update(&meter, total, total, "");
    meter_end(&meter);
    return weight_pack_state(p) != WEIGHT_PACK_BUILDING;
}

/* Build this pack of m and wait; a pack that is there is compared with the model and, if need be, replaced.
 */
static enum err pack_planned(struct model *m, const struct settings *s, const struct precision_plan *plan,
                             struct weight_pack **out, struct errmsg *msg)
{
    struct weight_pack_options o = {
        .build = true, .is_foreground = true, .max_bytes = (int64_t)s->packs_mb * 1000000, .precision = plan};
    struct weight_pack *p = NULL;
    enum err err = weight_pack_open(m, &o, &p, msg);
    if (err) return err;
    if (weight_pack_state(p) == WEIGHT_PACK_READY && weight_pack_verify(p, msg) == ERR_FORMAT) {
        weight_pack_remove(m, NULL);
        weight_pack_close(&p);
        err = weight_pack_open(m, &o, &p, msg);
        if (err) return err;
    }
    if (weight_pack_state(p) == WEIGHT_PACK_BUILDING) {
        struct sigaction before;
        bool is_over = watch(p, m->name, interrupt_begin(&before));
        interrupt_end(&before);
        if (!is_over) err = err_set(msg, ERR_CANCELLED, "interrupted; nothing was written");
    }
    if (!err && weight_pack_state(p) == WEIGHT_PACK_FAILED)
        err = err_set(msg, ERR_IO, "%s", weight_pack_message(p));
    if (err)
        weight_pack_close(&p);
    else
        *out = p;
    return err;
}

static enum err pack(struct model *m, const struct settings *s, struct weight_pack **out, struct errmsg *msg)
{
    struct model_plan plan = {0};
    enum err err = model_plan_make(m, s, &(struct model_plan_wishes){0}, &plan, msg);
    if (!err) err = pack_planned(m, s, &plan.precision, out, msg);
    model_plan_clear(&plan);
    return err;
}

void cli_model_pack_installed(const char *path, const struct settings *s)
{
    struct errmsg msg = {0};
    struct model *m = NULL;
    struct weight_pack *p = NULL;
    const struct kern *kern = kern_select(*s->isa ? s->isa : NULL);
    if (!cli_pack_dir(s) || !kern || !kern->reads_packed) return;
    enum err err = model_open(path, &m, &msg);
    if (!err) err = pack(m, s, &p, &msg);
    /* Not found: the model's formats are not packed. */
    if (err && err != ERR_NOT_FOUND) fprintf(stderr, "inline: without packed weights: %s\n", msg.text);
    weight_pack_close(&p);
    model_unref(&m);
}

static int report_pack(const struct model *m, const struct weight_pack *p, bool is_json)
{
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    char size[SIZE_TEXT_MAX];
    if (is_json) {
        struct json j;
        json_init(&j, &out);
        json_begin_object(&j, NULL);
        json_str(&j, "name", m->name);
        json_str(&j, "path", weight_pack_path(p));
        json_int(&j, "bytes", weight_pack_bytes(p));
        json_end_object(&j);
        buf_add_char(&out, '\n');
    } else {
        buf_printf(&out, "packed %s (%s) as %s\n", m->name, size_text(weight_pack_bytes(p), size),
                   weight_pack_path(p));
    }
    return cli_print(&out);
}

static int report_removed(const struct model *m, int64_t bytes, bool is_json)
{
    char size[SIZE_TEXT_MAX];
    if (is_json) {
        struct buf out;
        struct json j;
        buf_init(&out, REPORT_LIMIT);
        json_init(&j, &out);
        json_begin_object(&j, NULL);
        json_str(&j, "name", m->name);
        json_int(&j, "removed_bytes", bytes);
        json_end_object(&j);
        buf_add_char(&out, '\n');
        return cli_print(&out);
    }
    if (bytes > 0)
        printf("deleted the packed weights of %s (%s)\n", m->name, size_text(bytes, size));
    else
        printf("%s has no packed weights\n", m->name);
    return CLI_OK;
}

int cli_model_pack(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, is_removal = false;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0}, {"remove", CLI_FLAG, &is_removal, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1) return cli_usage_error("model pack takes one MODEL");
    struct errmsg msg = {0};
    struct model *m = NULL;
    struct weight_pack *p = NULL;
    if (!cli_model_open(n_args ? argv[1] : NULL, s, &m)) return CLI_FAILED;
    int status;
    if (is_removal)
        status = report_removed(m, weight_pack_remove(m, NULL), is_json);
    else
        status = pack(m, s, &p, &msg) == OK ? report_pack(m, p, is_json) : cli_fail(&msg);
    weight_pack_close(&p);
    model_unref(&m);
    return status;
}

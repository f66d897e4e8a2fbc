/* `inline doctor`: looks for what keeps Inline from working well, says what to do, and recommends a model. */
#include "cli/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/recommend.h"

#define REPORT_LIMIT ((size_t)1 << 20)
#define TEXT_MAX     ERRMSG_MAX

void doctor_tell(struct doctor *d, enum doctor_level level, const char *name, const char *advice,
                 const char *fmt, ...)
{
    static const char *const LEVELS[] = {
        [DOCTOR_OK] = "ok", [DOCTOR_WARNING] = "warning", [DOCTOR_PROBLEM] = "problem"};
    char text[TEXT_MAX];
    struct errmsg line;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    (void)err_set(&line, OK, "%s", text); /* what others say may hold anything: one printable line of it */
    d->n[level]++;
    if (!d->is_json) {
        buf_printf(&d->out, "%-8s %-11s %s\n", LEVELS[level], name, line.text);
        if (*advice) buf_printf(&d->out, "%-20s -> %s\n", "", advice);
        return;
    }
    json_begin_object(&d->j, NULL);
    json_str(&d->j, "name", name);
    json_str(&d->j, "level", LEVELS[level]);
    json_str(&d->j, "text", line.text);
    json_str(&d->j, "advice", advice);
    json_end_object(&d->j);
}

static void check_all(struct doctor *d)
{
    if (d->is_json) {
        json_begin_object(&d->j, NULL);
        json_begin_array(&d->j, "checks");
    }
    doctor_check_gpus(d);
    doctor_check_processors(d);
    doctor_check_memory(d);
    doctor_check_power(d);
    doctor_check_disk(d);
    doctor_check_settings(d);
    doctor_check_models(d);
    doctor_check_remotes(d);
    doctor_check_daemon(d);
    doctor_check_editors(d);
    if (d->is_json) json_end_array(&d->j);
}

static void recommend(struct doctor *d, const char *dir)
{
    struct errmsg msg = {0};
    struct recommendation r;
    enum err err = recommend_make(dir, 0, d->s, &r, &msg);
    if (err) {
        if (d->is_json)
            json_str(&d->j, "recommendation", NULL);
        else
            buf_printf(&d->out, "\nNo recommendation: %s\n", msg.text);
    } else if (d->is_json) {
        json_begin_object(&d->j, "recommendation");
        recommend_write(&r, &d->j);
        json_end_object(&d->j);
    } else {
        buf_add_char(&d->out, '\n');
        recommend_add_choice(&r, &d->out);
    }
}

int cli_doctor(int argc, char **argv, const struct settings *s)
{
    struct doctor d = {.s = s};
    const struct cli_option options[] = {{"json", CLI_FLAG, &d.is_json, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 1) return cli_usage_error("doctor takes one folder at most");
    buf_init(&d.out, REPORT_LIMIT);
    json_init(&d.j, &d.out);
    check_all(&d);
    recommend(&d, n_args ? argv[1] : ".");
    if (d.is_json) {
        json_int(&d.j, "warnings", d.n[DOCTOR_WARNING]);
        json_int(&d.j, "problems", d.n[DOCTOR_PROBLEM]);
        json_end_object(&d.j);
        buf_add_char(&d.out, '\n');
    }
    int status = cli_print(&d.out);
    return d.n[DOCTOR_PROBLEM] > 0 ? CLI_FAILED : status;
}

/* The program's frame: version, help, dispatch, and the option parser that commands share. Nothing here
 * may be slow: `inline --version` answers before settings or models are looked at. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/nearest.h"
#include "model/library.h"

#define HELP_LIMIT 65536

int cli_fail(const struct errmsg *msg)
{
    fflush(stdout);
    fprintf(stderr, "inline: %s\n", msg->text);
    return CLI_FAILED;
}

int cli_usage_error(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("inline: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return CLI_USAGE;
}

int cli_print(struct buf *out)
{
    int status = CLI_OK;
    struct errmsg msg;
    if (out->err) {
        err_set(&msg, out->err, "cannot print the result: %s", err_text(out->err));
        status = cli_fail(&msg);
    } else {
        fwrite(buf_str(out), 1, out->len, stdout);
    }
    buf_clear(out);
    return status;
}

/* --- Options ----------------------------------------------------------------------------------------- */

static bool set_number(const struct cli_option *o, const char *text)
{
    char *end;
    errno = 0;
    if (o->kind == CLI_INT) {
        int64_t value = strtoll(text, &end, 10);
        if (end != text && !*end && !errno && (double)value >= o->min && (double)value <= o->max) {
            *(int64_t *)o->value = value;
            return true;
        }
        cli_usage_error("--%s is a whole number from %.0f to %.0f, not \"%s\"", o->name, o->min, o->max,
                        text);
        return false;
    }
    double value = strtod(text, &end);
    if (end != text && !*end && isfinite(value) && value >= o->min && value <= o->max) {
        *(double *)o->value = value;
        return true;
    }
    cli_usage_error("--%s is a number from %g to %g, not \"%s\"", o->name, o->min, o->max, text);
    return false;
}

/* The option that "name" or "name=value" means; null after saying that there is none. */
static const struct cli_option *find_option(const char *command, const struct cli_option *options,
                                            const char *text)
{
    char name[64]; /* longer ones match nothing */
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "="), text);
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (const struct cli_option *o = options; o->name; o++) {
        if (strcmp(o->name, name) == 0) return o;
        nearest_offer(&nearest, o->name);
    }
    if (nearest.best) {
        cli_usage_error("%s has no option --%s; did you mean --%s?", command, name, nearest.best);
    } else {
        cli_usage_error("%s has no option --%s; see: inline --help", command, name);
    }
    return NULL;
}

bool cli_parse(int argc, char **argv, const struct cli_option *options, int *n_args)
{
    int n = 0;
    bool is_ended = false;
    for (int i = 1; i < argc; i++) {
        char *text = argv[i];
        if (!is_ended && strcmp(text, "--") == 0) {
            is_ended = true;
            continue;
        }
        if (is_ended || text[0] != '-' || text[1] == '\0') {
            argv[1 + n++] = text;
            continue;
        }
        if (text[1] != '-') {
            cli_usage_error("%s: options are written with two dashes, not \"%s\"", argv[0], text);
            return false;
        }
        const struct cli_option *o = find_option(argv[0], options, text + 2);
        if (!o) return false;
        const char *value = strchr(text, '=');
        if (o->kind == CLI_FLAG) {
            if (value) return cli_usage_error("--%s takes no value", o->name), false;
            *(bool *)o->value = true;
            continue;
        }
        value = value ? value + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!value) return cli_usage_error("--%s needs a value", o->name), false;
        if (o->kind == CLI_STRING) {
            *(const char **)o->value = value;
        } else if (!set_number(o, value)) {
            return false;
        }
    }
    *n_args = n;
    return true;
}

enum err cli_pick_model(const char *name, const struct settings *s, char **path, struct errmsg *msg)
{
    if (!name || !*name) name = s->model;
    const struct settings_remote *remote = settings_remote(s, name);
    if (remote)
        return err_set(
            msg, ERR_ARG,
            "%s is a model on other machines (%s), of which there is no file here; the daemon completes "
            "with it: inline serve",
            remote->name, remote->origin);
    if (*name) return library_find(s->models_dir, name, path, msg);
    return library_default(s->models_dir, path, msg);
}

const char *cli_pack_dir(const struct settings *s)
{
    return strcmp(s->pack, "off") == 0 ? NULL : "";
}

void cli_set_log(const struct settings *s)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++) {
        if (strcmp(s->log_level, levels[i]) == 0) log_set_level((enum log_level)i);
    }
    log_set_format(strcmp(s->log_format, "json") == 0 ? LOG_JSON : LOG_TEXT);
}

/* --- Help -------------------------------------------------------------------------------------------- */

static const struct cli_command *find_command(const char *name)
{
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        if (strcmp(c->name, name) == 0) return c;
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    if (name[0] == '-') return cli_usage_error("there is no option %s; see: inline --help", name);
    struct nearest nearest;
    nearest_init(&nearest, name);
    for (const struct cli_command *c = cli_commands; c->name; c++) nearest_offer(&nearest, c->name);
    if (nearest.best)
        return cli_usage_error("there is no command \"%s\"; did you mean %s?", name, nearest.best);
    return cli_usage_error("there is no command \"%s\"; see: inline --help", name);
}

static void add_overview(struct buf *out)
{
    buf_add_str(out,
                "Code completion on your own machine.\n\nUsage: inline COMMAND [ARGUMENTS]\n\nCommands:\n");
    for (const struct cli_command *c = cli_commands; c->name; c++) {
        buf_printf(out, "  %-10s %s\n", c->name, c->summary);
    }
    buf_add_str(out, "\nSettings, for every command:\n");
    settings_describe_flags(out);
    buf_add_str(out, "\nMore: inline COMMAND --help, inline config\n");
}

static int print_help(const char *command)
{
    struct buf out;
    buf_init(&out, HELP_LIMIT);
    const struct cli_command *c = command ? find_command(command) : NULL;
    if (command && !c) return unknown_command(command);
    if (c) {
        buf_printf(&out, "Usage: inline %s %s\n\n%s.\n\n%s", c->name, c->usage, c->summary, c->help);
        buf_add_str(&out, "\nSettings, for every command:\n");
        settings_describe_flags(&out);
    } else {
        add_overview(&out);
    }
    return cli_print(&out);
}

/* --help or -h among the arguments of a command, before "--". */
static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    }
    return false;
}

/* --- Start ------------------------------------------------------------------------------------------- */

static int run_command(int argc, char **argv)
{
    struct errmsg msg = {0};
    struct settings settings;
    enum err err = settings_load(&argc, argv, &settings, &msg);
    if (err) {
        cli_fail(&msg);
        return err == ERR_ARG ? CLI_USAGE : CLI_FAILED;
    }
    cli_set_log(&settings);
    const struct cli_command *c = argc > 1 ? find_command(argv[1]) : NULL;
    int status = c          ? c->run(argc - 1, argv + 1, &settings)
                 : argc > 1 ? unknown_command(argv[1])
                            : cli_usage_error("say what to do; see: inline --help");
    settings_clear(&settings);
    return status;
}

/* "stats, clear LAST verify" */
static void add_names(struct buf *out, const struct cli_subcommand *list, const char *last)
{
    for (const struct cli_subcommand *c = list; c->name; c++) {
        const char *between = c == list ? "" : c[1].name ? ", " : last;
        buf_printf(out, "%s%s", between, c->name);
    }
}

int cli_subcommand(const char *group, const struct cli_subcommand *list, int argc, char **argv,
                   const struct settings *s)
{
    struct nearest nearest;
    struct buf names;
    nearest_init(&nearest, argc > 1 ? argv[1] : "");
    for (const struct cli_subcommand *c = list; argc > 1 && c->name; c++) {
        if (strcmp(c->name, argv[1]) == 0) return c->run(argc - 1, argv + 1, s);
        nearest_offer(&nearest, c->name);
    }
    if (nearest.best)
        return cli_usage_error("%s has no command \"%s\"; did you mean %s?", group, argv[1], nearest.best);
    buf_init(&names, HELP_LIMIT);
    add_names(&names, list, argc > 1 ? " and " : " or ");
    if (argc > 1) {
        cli_usage_error("%s has no command \"%s\"; there are %s", group, argv[1], buf_str(&names));
    } else {
        cli_usage_error("say which: inline %s %s", group, buf_str(&names));
    }
    buf_clear(&names);
    return CLI_USAGE;
}

int cli_main(int argc, char **argv)
{
    /* A file size limit is then an error of write(2), with a message, instead of a silent death. */
    signal(SIGXFSZ, SIG_IGN);
    const char *first = argc > 1 ? argv[1] : "";
    int status;
    if (argc < 2) {
        struct buf out;
        buf_init(&out, HELP_LIMIT);
        add_overview(&out);
        fputs(buf_str(&out), stderr);
        buf_clear(&out);
        status = CLI_USAGE;
    } else if (strcmp(first, "--version") == 0 || strcmp(first, "version") == 0) {
        puts("inline " INLINE_VERSION);
        status = CLI_OK;
    } else if (strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0 || strcmp(first, "help") == 0) {
        status = print_help(argc > 2 ? argv[2] : NULL);
    } else if (find_command(first) && wants_help(argc - 1, argv + 1)) {
        status = print_help(first);
    } else {
        status = run_command(argc, argv);
    }
    /* What was printed may still fail to reach a full disk. */
    if (fflush(stdout) != 0 && status == CLI_OK) {
        fprintf(stderr, "inline: cannot write the output: %s\n", strerror(errno));
        status = CLI_FAILED;
    }
    return status;
}

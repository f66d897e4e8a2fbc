/* `inline lsp`: what editors run as a language server. All it does is join them to the daemon. */
#include "base/buf.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "serve/daemon.h"

#define IDLE_EXIT "--idle-exit=600" /* a daemon that nobody started by hand leaves after ten minutes */
#define ARG_LIMIT 65536
#define ARGS_MAX  (SETTINGS_COUNT + 8)

/* The command line of a daemon to start. */
struct command {
    char *args[ARGS_MAX]; /* owned; null-terminated */
    int n;
};

static void add(struct command *c, const char *arg)
{
    c->args[c->n++] = mem_dup_str(arg);
}

static void add_flag(void *ctx, const char *flag, const char *value)
{
    struct command *c = ctx;
    struct buf arg;
    buf_init(&arg, ARG_LIMIT);
    buf_printf(&arg, "%s=%s", flag, value);
    c->args[c->n++] = buf_take(&arg);
}

int cli_lsp(int argc, char **argv, const struct settings *s)
{
    bool is_stdio = false; /* what editors add by habit, and what is the case anyway */
    const struct cli_option options[] = {{"stdio", CLI_FLAG, &is_stdio, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("lsp takes no arguments; see: inline lsp --help");

    struct errmsg msg = {0};
    struct command command = {0};
    char *socket = NULL;
    add(&command, "inline");
    add(&command, "serve");
    add(&command, "--if-free");
    if (settings_is_default(s, "serve.idle_exit_s")) add(&command, IDLE_EXIT);
    settings_each_flag(s, add_flag, &command);
    enum err err = cli_socket(s, &socket, &msg);
    if (!err) err = attach_run(socket, command.args, &msg);
    for (int i = 0; i < command.n; i++) mem_free(command.args[i]);
    mem_free(socket);
    return err ? cli_fail(&msg) : CLI_OK;
}

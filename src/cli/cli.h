/* The command line: one file per command, one table of commands (commands.c), one of settings
 * (settings.c). Commands print results to stdout, one-line errors to stderr. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cli/settings.h"

struct buf;
struct json_value;

enum cli_status { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* One command. argv[0] is its name; options that several commands share (settings) are already removed
 * from argv and are in s. Returns the process's exit status. */
struct cli_command {
    const char *name;    /* "complete"; subcommands are the command's own business */
    const char *usage;   /* "FILE --line L --column C [--json] ..." */
    const char *summary; /* one line for `inline --help` */
    const char *help;    /* the rest of `inline COMMAND --help`; whole lines */
    int (*run)(int argc, char **argv, const struct settings *s);
};

/* All commands; ends with a null name. */
extern const struct cli_command cli_commands[];

int cli_complete(int argc, char **argv, const struct settings *s);
int cli_model(int argc, char **argv, const struct settings *s);
int cli_tokenize(int argc, char **argv, const struct settings *s);
int cli_logits(int argc, char **argv, const struct settings *s);
int cli_bench(int argc, char **argv, const struct settings *s);
int cli_serve(int argc, char **argv, const struct settings *s);
int cli_lsp(int argc, char **argv, const struct settings *s);
int cli_config(int argc, char **argv, const struct settings *s);
int cli_cache(int argc, char **argv, const struct settings *s);
int cli_status(int argc, char **argv, const struct settings *s);
int cli_top(int argc, char **argv, const struct settings *s);
int cli_explain(int argc, char **argv, const struct settings *s);
int cli_doctor(int argc, char **argv, const struct settings *s);

/* A command that is a group of others, "inline GROUP NAME ...": runs the one that argv[1] names. The list
 * ends with a null name. */
struct cli_subcommand {
    const char *name;
    int (*run)(int argc, char **argv, const struct settings *s);
};
int cli_subcommand(const char *group, const struct cli_subcommand *list, int argc, char **argv,
                   const struct settings *s);

/* The whole program: parses the command line, loads settings, runs a command. */
int cli_main(int argc, char **argv);

/* Print "inline: MESSAGE" to stderr and return CLI_FAILED, or CLI_USAGE for the second. */
int cli_fail(const struct errmsg *msg);
int cli_usage_error(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Write the buffer to stdout and clear it; a failed buffer (out of memory) is reported. */
int cli_print(struct buf *out);

/* A command's own options, parsed by table: "--name", "--name VALUE" or "--name=VALUE". */
enum cli_option_kind { CLI_FLAG, CLI_INT, CLI_FLOAT, CLI_STRING };
struct cli_option {
    const char *name; /* without dashes */
    enum cli_option_kind kind;
    void *value;     /* bool *, int64_t *, double *, const char ** */
    double min, max; /* of numbers, inclusive */
};
/* Fill options from argv; what is not an option is moved to the front of argv (from argv[1] on) and
 * *n_args tells how many those are. "--" ends options; "-" is an argument. The table ends with a null
 * name. False after printing what is wrong. */
bool cli_parse(int argc, char **argv, const struct cli_option *options, int *n_args);

/* The model file that a command works on: `name` if given, else settings' model, else the best installed one
 * (its path goes to *path; mem_free). ERR_ARG: a model on other machines, which only the daemon asks. */
MUST_CHECK enum err cli_pick_model(const char *name, const struct settings *s, char **path,
                                   struct errmsg *msg);

/* The path of the daemon's socket (mem_free); the usual one's directory is made. */
MUST_CHECK enum err cli_socket(const struct settings *s, char **path, struct errmsg *msg);

/* Ask the running daemon (serve/ask.h). ERR_NOT_FOUND: there is none. */
MUST_CHECK enum err cli_ask(const struct settings *s, const char *path, const char *body,
                            struct json_value **answer, struct errmsg *msg);

void cli_set_log(const struct settings *s); /* level and format */

/* For engine_options.pack_dir: the usual directory of packed weights, or null if they are switched off. */
const char *cli_pack_dir(const struct settings *s);

#endif

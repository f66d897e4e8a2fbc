/* `inline cache ...`: its subcommands, one function each. argv[0] is the subcommand's name. */
#ifndef CLI_CACHE_H
#define CLI_CACHE_H

#include "cli/cli.h"

int cli_cache_stats(int argc, char **argv, const struct settings *s);
int cli_cache_clear(int argc, char **argv, const struct settings *s);
int cli_cache_verify(int argc, char **argv, const struct settings *s);

#endif
